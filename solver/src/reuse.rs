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

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;
    use kiln_oci::Sha256;
    use kiln_parser::Span;

    use super::*;
    use crate::graph::{FromOp, StepId, WorkdirOp};

    /// A base image, a directory in stage `one`, another on top of it in stage `two`, and one on the
    /// base in stage `two`.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        let mut add = |stage: &str, op: Op, parent: Option<StepId>| {
            graph.add(Step {
                op,
                parent,
                name: String::new(),
                span: Span { start: 0, end: 0 },
                stage: stage.to_owned(),
                shared_with: Vec::new(),
            })
        };
        let directory = |path: &str| {
            Op::Workdir(WorkdirOp {
                path: GuestPath::new(path),
                user: String::new(),
                time: None,
            })
        };
        let manifest = Sha256::of(b"base");
        let base = add("one", Op::From(FromOp { manifest }), None);
        let first = add("one", directory("/first"), Some(base));
        add("two", directory("/second"), Some(first));
        add("two", directory("/beside"), Some(base));
        graph
    }

    #[test]
    fn refused_steps_and_what_stands_on_them_are_made_anew_and_bases_never() {
        let refused = |stage: &str| Reuse::AllBut(vec![stage.to_owned()]);
        for (reuse, expected) in [
            (Reuse::All, [false, false, false, false]),
            (Reuse::Nothing, [false, true, true, true]),
            (refused("one"), [false, true, true, false]),
            (refused("two"), [false, false, true, true]),
            (refused("three"), [false, false, false, false]),
        ] {
            assert_eq!(reuse.made_anew(&graph()), expected, "{reuse:?}");
        }
    }

    #[test]
    fn refused_stage_is_named_only_for_its_steps() {
        let graph = graph();
        let reuse = Reuse::AllBut(vec!["one".to_owned()]);
        let found: Vec<_> = graph
            .steps()
            .map(|(_, step)| (reuse.refused_stage(step), reuse.allows(step)))
            .collect();
        let expected = [
            (Some("one"), false),
            (Some("one"), false),
            (None, true),
            (None, true),
        ];
        assert_eq!(found, expected);
    }
}
