use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::context::{Files, Seed, write_dockerfile};
use crate::error::Error;
use crate::limits;

/// One RUN among this many instructions; the others are COPY, ENV and LABEL in turn.
const RUN_EVERY: usize = 25;

const FILES: Files = Files {
    count: 200,
    bytes: 1_000,
};

/// Builds an image per instruction, which takes minutes the first time.
const TOO_SLOW: &str = "buildah";

/// A very long Dockerfile is built again, and nothing changed.
pub(super) struct Instructions {
    context: PathBuf,
    instructions: usize,
    /// What the last RUN of the first build wrote, by builder.
    written: HashMap<&'static str, String>,
}

impl Instructions {
    pub(super) fn prepare(
        area: &Area,
        instructions: usize,
    ) -> Result<Box<dyn Scenario + '_>, Error> {
        let context = area.fresh("context")?;
        FILES.write(&context.join("files"), Seed(0))?;
        write_dockerfile(&context, &dockerfile(instructions))?;
        Ok(Box::new(Self {
            context,
            instructions,
            written: HashMap::new(),
        }))
    }
}

fn dockerfile(instructions: usize) -> String {
    let mut text = "FROM busybox\n".to_owned();
    for number in 2..=instructions {
        // Writing to a string cannot fail.
        let _ = match (number % RUN_EVERY, number % 3) {
            (0, _) => writeln!(
                text,
                "RUN cat /proc/sys/kernel/random/uuid > /random-{number}"
            ),
            (_, 0) => writeln!(text, "COPY files/part-0000 /copy-{number}"),
            (_, 1) => writeln!(text, "ENV NUMBER_{number}={number}"),
            _ => writeln!(text, "LABEL number.{number}={number}"),
        };
    }
    text
}

impl Scenario for Instructions {
    fn title(&self) -> String {
        format!(
            "rebuild, nothing changed, Dockerfile of {} instructions",
            self.instructions
        )
    }

    fn begin_round(&mut self, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn is_warm(&self) -> bool {
        true
    }

    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action> {
        if builder.name() == TOO_SLOW {
            return None;
        }
        builder.build(tag, &self.context).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        Ok(vec![("stat walk", limits::walk(self.context.clone()))])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let image = outcome.image()?;
        let numbers = 2..=self.instructions;
        for number in numbers.filter(|number| number % RUN_EVERY != 0 && number % 3 == 0) {
            let copied = self.context.join("files/part-0000");
            image.expect_tree(&format!("/copy-{number}"), &copied)?;
        }
        let last_run = self.instructions / RUN_EVERY * RUN_EVERY;
        let written = image.read(&format!("/random-{last_run}"))?;
        let first = self
            .written
            .entry(outcome.builder.name())
            .or_insert_with(|| written.clone());
        if *first == written {
            Ok(())
        } else {
            Err("the RUN steps ran again".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_instructions_alternate() {
        let text = dockerfile(50);
        assert_eq!(text.lines().count(), 50);
        let count = |word| text.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(
            (count("RUN"), count("COPY"), count("ENV"), count("LABEL")),
            (2, 16, 15, 16)
        );
        assert!(text.ends_with("RUN cat /proc/sys/kernel/random/uuid > /random-50\n"));
    }
}
