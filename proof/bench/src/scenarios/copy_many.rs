use std::path::{Path, PathBuf};

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::{Files, Seed, write_dockerfile};
use crate::error::Error;
use crate::limits;

/// A COPY of many small files that no builder has seen before.
pub(super) struct CopyMany<'run> {
    area: &'run Area,
    context: PathBuf,
    files: Files,
}

impl<'run> CopyMany<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        files: usize,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        Ok(Box::new(Self {
            area,
            context: area.fresh("context")?,
            files: Files {
                count: files,
                bytes: 1_000,
            },
        }))
    }
}

impl Scenario for CopyMany<'_> {
    fn title(&self) -> String {
        format!(
            "COPY of {} files of {} bytes, all new",
            self.files.count, self.files.bytes
        )
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        // Another directory and other content in every file, so that no kind of cache helps.
        self.context = self.area.fresh("context")?;
        self.files
            .write(&self.context.join("files"), Seed(u64::from(round)))?;
        write_dockerfile(&self.context, "FROM busybox\nCOPY files /data\n")
    }

    fn new_files(&self) -> Option<&Path> {
        Some(&self.context)
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let files = self.context.join("files");
        let copy = self.area.fresh("copy")?;
        let copies = limits::copy_halves(&files, &copy)?;
        Ok(vec![("cp -a of both halves at once", copies)])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        image.expect_tree("/data", &self.context.join("files"))
    }
}
