use std::path::{Path, PathBuf};

use kiln_testbed::Tool;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::{Seed, write_big, write_dockerfile};
use crate::error::Error;
use crate::limits;

/// The file, within the context.
const FILE: &str = "files/big";

/// A COPY of one file that no builder has seen before.
pub(super) struct CopyBig<'run> {
    area: &'run Area,
    context: PathBuf,
    /// What the limit writes.
    copy: PathBuf,
    bytes: u64,
}

impl<'run> CopyBig<'run> {
    pub(super) fn prepare(area: &'run Area, bytes: u64) -> Result<Box<dyn Scenario + 'run>, Error> {
        Tool::find("openssl")?;
        Ok(Box::new(Self {
            area,
            context: area.fresh("context")?,
            copy: area.unused("copy"),
            bytes,
        }))
    }
}

impl Scenario for CopyBig<'_> {
    fn title(&self) -> String {
        format!("COPY of one new file of {} MiB", self.bytes >> 20)
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        self.area.discard(&self.context.join(FILE))?;
        self.area.discard(&self.copy)?;
        self.context = self.area.fresh("context")?;
        let directory = self.context.join("files");
        write_big(&directory, self.bytes, Seed(u64::from(round)))?;
        write_dockerfile(&self.context, "FROM busybox\nCOPY files /data\n")
    }

    fn new_files(&self) -> Option<&Path> {
        Some(&self.context)
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let work = limits::copy_and_digest(&self.context.join(FILE), &self.copy);
        Ok(vec![("cp and openssl dgst -sha256 at once", work)])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        image.expect_tree("/data", &self.context.join("files"))?;
        image.discard(outcome.area, "/data/big")
    }
}
