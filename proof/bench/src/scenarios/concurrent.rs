use std::path::PathBuf;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::base::BUSYBOX;
use crate::builders::Builder;
use crate::context::{Files, Seed, write_dockerfile};
use crate::error::Error;
use crate::limits;

const FILES: Files = Files {
    count: 500,
    bytes: 3_000,
};
const STEPS: usize = 3;

/// Builds of different images on one base, all started at once.
pub(super) struct Concurrent<'run> {
    area: &'run Area,
    contexts: Vec<PathBuf>,
    round: u32,
}

impl<'run> Concurrent<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        builds: usize,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        let contexts = (0..builds).map(|_| area.fresh("context"));
        Ok(Box::new(Self {
            area,
            contexts: contexts.collect::<Result<_, _>>()?,
            round: 0,
        }))
    }

    /// Returns what the first RUN of a build writes.
    fn greeting(&self, build: usize) -> String {
        format!("round {}, build {build}", self.round)
    }
}

impl Scenario for Concurrent<'_> {
    fn title(&self) -> String {
        format!(
            "{} builds at once, each COPY of {} files and {STEPS} RUN steps, not cached",
            self.contexts.len(),
            FILES.count
        )
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        self.round = round;
        for build in 0..self.contexts.len() {
            let context = self.area.fresh("context")?;
            let seed = Seed(u64::from(round) << 32 | build as u64);
            FILES.write(&context.join("files"), seed)?;
            let mut text = format!(
                "FROM busybox\nCOPY files /data\nRUN echo {} > /greeting\n",
                self.greeting(build)
            );
            for step in 2..=STEPS {
                text.push_str(&format!("RUN echo {step} > /step-{step}\n"));
            }
            write_dockerfile(&context, &text)?;
            self.contexts[build] = context;
        }
        Ok(())
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        let builds = self.contexts.iter().enumerate();
        let commands =
            builds.map(|(build, context)| builder.build(&format!("{tag}:{build}"), context));
        commands.collect::<Option<_>>().map(Action::Programs)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let mut commands = Vec::new();
        for context in &self.contexts {
            commands.push(limits::copy_and_run_steps(
                self.area.rootfs(BUSYBOX)?,
                &self.area.fresh("steps")?,
                STEPS,
                &context.join("files"),
            ));
        }
        Ok(vec![(
            "cp -a, then overlay and chroot, by as many shells",
            Action::Programs(commands),
        )])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        for (build, context) in self.contexts.iter().enumerate() {
            let image = outcome.image_named(&format!("{}:{build}", outcome.tag))?;
            image.expect_tree("/data", &context.join("files"))?;
            let found = image.read("/greeting")?;
            if found.trim_end() != self.greeting(build) {
                return Err(format!("/greeting of build {build} holds {found:?}"));
            }
            image.read(&format!("/step-{STEPS}"))?;
        }
        Ok(())
    }
}
