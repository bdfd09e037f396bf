use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::base::BUSYBOX;
use crate::builders::Builder;
use crate::context::write_dockerfile;
use crate::error::Error;
use crate::limits;

/// Many trivial RUN instructions, none of which was run before.
pub(super) struct RunSteps<'run> {
    area: &'run Area,
    context: PathBuf,
    steps: usize,
    round: u32,
}

impl<'run> RunSteps<'run> {
    pub(super) fn prepare(
        area: &'run Area,
        steps: usize,
    ) -> Result<Box<dyn Scenario + 'run>, Error> {
        Ok(Box::new(Self {
            area,
            context: area.fresh("context")?,
            steps,
            round: 0,
        }))
    }
}

/// Returns a Dockerfile whose first RUN differs in every round, so that none of them is cached.
fn dockerfile(steps: usize, round: u32) -> String {
    let mut text = "FROM busybox\n".to_owned();
    for step in 1..=steps {
        // Writing to a string cannot fail.
        let _ = match step {
            1 => writeln!(text, "RUN echo round {round} > /step-1"),
            _ => writeln!(text, "RUN echo {step} > /step-{step}"),
        };
    }
    text
}

impl Scenario for RunSteps<'_> {
    fn title(&self) -> String {
        format!("{} trivial RUN steps, none of them cached", self.steps)
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        self.round = round;
        write_dockerfile(&self.context, &dockerfile(self.steps, round))
    }

    fn is_warm(&self) -> bool {
        true
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let directory = self.area.fresh("steps")?;
        Ok(vec![(
            "unshare, overlay, chroot by a shell",
            Action::program(limits::run_steps(
                self.area.rootfs(BUSYBOX)?,
                &directory,
                self.steps,
            )),
        )])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        for step in 1..=self.steps {
            let expected = match step {
                1 => format!("round {}\n", self.round),
                _ => format!("{step}\n"),
            };
            let found = image.read(&format!("/step-{step}"))?;
            if found != expected {
                return Err(format!("/step-{step} holds {found:?}, not {expected:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_changes_the_first_step() {
        assert_eq!(
            dockerfile(2, 7),
            "FROM busybox\nRUN echo round 7 > /step-1\nRUN echo 2 > /step-2\n"
        );
    }
}
