use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::write_dockerfile;
use crate::error::Error;

/// Stages that wait for a second each, and a last one that copies from all of them.
pub(super) struct Stages {
    context: PathBuf,
    stages: usize,
    round: u32,
}

impl Stages {
    pub(super) fn prepare(area: &Area, stages: usize) -> Result<Box<dyn Scenario + '_>, Error> {
        Ok(Box::new(Self {
            context: area.fresh("context")?,
            stages,
            round: 0,
        }))
    }
}

fn dockerfile(stages: usize, round: u32) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for stage in 1..=stages {
        let _ = writeln!(text, "FROM busybox AS stage-{stage}");
        let _ = writeln!(text, "RUN sleep 1; echo {round} > /from-{stage}");
    }
    text.push_str("FROM busybox\n");
    for stage in 1..=stages {
        let _ = writeln!(text, "COPY --from=stage-{stage} /from-{stage} /all/");
    }
    text
}

impl Scenario for Stages {
    fn title(&self) -> String {
        format!(
            "{} stages of `sleep 1`, then COPY --from each, not cached",
            self.stages
        )
    }

    fn begin_round(&mut self, round: u32) -> Result<(), Error> {
        self.round = round;
        write_dockerfile(&self.context, &dockerfile(self.stages, round))
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let sleeps = (0..self.stages).map(|_| {
            let mut command = Command::new("sleep");
            command.arg("1");
            command
        });
        Ok(vec![("sleep 1", Action::Programs(sleeps.collect()))])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        for stage in 1..=self.stages {
            let found = image.read(&format!("/all/from-{stage}"))?;
            if found != format!("{}\n", self.round) {
                return Err(format!("/all/from-{stage} holds {found:?}"));
            }
        }
        if image.read("/from-1").is_ok() {
            return Err("it holds what was written in another stage".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_copies_from_all_others() {
        assert_eq!(
            dockerfile(2, 7),
            "FROM busybox AS stage-1\nRUN sleep 1; echo 7 > /from-1\n\
             FROM busybox AS stage-2\nRUN sleep 1; echo 7 > /from-2\n\
             FROM busybox\n\
             COPY --from=stage-1 /from-1 /all/\nCOPY --from=stage-2 /from-2 /all/\n"
        );
    }
}
