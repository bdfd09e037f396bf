use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::{Files, Seed, write_dockerfile};
use crate::error::Error;
use crate::limits;

/// As a web application has it, with a stand-in for `npm install`. What the RUN writes is
/// different each time it runs, which tells whether it came from the cache.
const DOCKERFILE: &str = r#"FROM busybox
WORKDIR /app
COPY package.json ./
RUN cat /proc/sys/kernel/random/uuid > /installed
COPY . .
CMD ["node", "src/main.js"]
"#;

/// Bytes. 20,000 files of a JavaScript project measured 60 MB.
const SOURCE_SIZE: usize = 3_000;

/// What changes in the context from one build to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    OneFile,
}

/// An application that was built before is built again.
pub(super) struct NodeApp<'run> {
    area: &'run Area,
    context: PathBuf,
    sources: Files,
    change: Change,
    changed_file: Option<PathBuf>,
    /// What the RUN of the first build wrote, by builder.
    installed: HashMap<&'static str, String>,
}

impl<'run> NodeApp<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        files: usize,
        change: Change,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        let context = area.fresh("context")?;
        let sources = Files {
            count: files,
            bytes: SOURCE_SIZE,
        };
        sources.write(&context, Seed(0))?;
        write_dockerfile(&context, DOCKERFILE)?;
        let package = context.join("package.json");
        fs::write(&package, "{\"name\": \"app\", \"version\": \"1.0.0\"}\n")
            .map_err(Error::at(&package))?;
        Ok(Box::new(Self {
            area,
            context,
            sources,
            change,
            changed_file: None,
            installed: HashMap::new(),
        }))
    }
}

impl Scenario for NodeApp<'_> {
    fn title(&self) -> String {
        let what = match self.change {
            Change::Nothing => "nothing changed",
            Change::OneFile => "one source file changed under the last COPY",
        };
        format!("rebuild, {what}, context of {} files", self.sources.count)
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        if self.change == Change::OneFile {
            let number = self.sources.count / 2;
            let seed = Seed(u64::from(round));
            self.changed_file = Some(self.sources.write_one(&self.context, number, seed)?);
        }
        Ok(())
    }

    fn is_warm(&self) -> bool {
        true
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let context = self.context.clone();
        Ok(match self.change {
            Change::Nothing => vec![
                ("stat walk", limits::walk(context.clone())),
                ("reading all files", limits::read_tree(context)),
            ],
            Change::OneFile => {
                let file = self
                    .changed_file
                    .clone()
                    .unwrap_or_else(|| context.join("package.json"));
                let copy = self.area.unused("copy");
                let copy_of_all = self.area.unused("copy");
                vec![
                    (
                        "stat walk, one file copied",
                        limits::walk_and_copy_one(context.clone(), file, copy),
                    ),
                    (
                        "cp -a of the context",
                        Action::program(limits::copy_tree(&context, &copy_of_all)),
                    ),
                ]
            }
        })
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        image.expect_tree("/app", &self.context)?;
        image.expect_command(&["node", "src/main.js"])?;
        let installed = image.read("/installed")?;
        if installed.trim().is_empty() {
            return Err("the RUN step wrote nothing".to_owned());
        }
        let first = self
            .installed
            .entry(outcome.builder.name())
            .or_insert_with(|| installed.clone());
        if *first == installed {
            Ok(())
        } else {
            Err("the RUN step ran again".to_owned())
        }
    }
}
