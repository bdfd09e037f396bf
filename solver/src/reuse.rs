//! Which earlier results a build may use: `--no-cache` and `--no-cache-filter`.

use crate::graph::{Graph, Op, Step};

/// Which earlier results may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// All.
    All,
    /// None (`--no-cache`).
    Nothing,
    /// All but those of these stages, named in lower case (`--no-cache-filter`).
    AllBut(Vec<String>),
}

impl Reuse {
    /// Says whether an earlier result of a step may be used.
    pub(crate) fn allows(&self, step: &Step) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::AllBut(_) => self.refused_stage(step).is_none(),
        }
    }

    /// Returns the stage of a step whose earlier results must not be used.
    pub(crate) fn refused_stage<'a>(&self, step: &'a Step) -> Option<&'a str> {
        match self {
            Self::All | Self::Nothing => None,
            Self::AllBut(refused) => step
                .stages()
                .find(|stage| refused.iter().any(|name| name == stage)),
        }
    }

    /// Returns for each step whether it, or one that it is made from, must run again. A record
    /// under its recipe key then proves nothing: what it is made from may come out differently.
    pub(crate) fn made_anew(&self, graph: &Graph) -> Vec<bool> {
        let mut anew = vec![false; graph.len()];
        // Steps stand behind those they are made from.
        for (id, step) in graph.steps() {
            let inherits = graph.inputs(id).any(|input| anew[input.index()]);
            let is_base = matches!(step.op, Op::From(_));
            anew[id.index()] = inherits || (!is_base && !self.allows(step));
        }
        anew
    }
}
