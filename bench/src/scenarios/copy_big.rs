use std::path::PathBuf;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::{Seed, write_big, write_dockerfile};
use crate::error::Error;
use crate::limits;

/// A COPY of one file that nobody has seen before.
pub(super) struct CopyBig<'run> {
    area: &'run Area,
    context: PathBuf,
    bytes: u64,
}

impl<'run> CopyBig<'run> {
    pub(super) fn prepare(area: &'run Area, bytes: u64) -> Result<Box<dyn Scenario + 'run>, Error> {
        Ok(Box::new(Self {
            area,
            context: area.fresh("context")?,
            bytes,
        }))
    }
}

impl Scenario for CopyBig<'_> {
    fn title(&self) -> String {
        format!("COPY of one new file of {} MiB", self.bytes >> 20)
    }

    fn begin_round(&mut self, round: u16) -> Result<(), Error> {
        self.context = self.area.fresh("context")?;
        let directory = self.context.join("files");
        write_big(&directory, self.bytes, Seed(u64::from(round)))?;
        write_dockerfile(&self.context, "FROM busybox\nCOPY files /data\n")
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Action {
        Action::program(builder.build(tag, &self.context))
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let copy = self.area.unused("copy");
        let command = limits::copy_tree(&self.context.join("files"), &copy);
        Ok(vec![("cp -a", Action::program(command))])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        image.expect_tree("/data", &self.context.join("files"))
    }
}
