use super::{Outcome, Scenario};
use crate::action::Action;
use crate::area::Area;
use crate::base::BUSYBOX;
use crate::builders::Builder;
use crate::error::Error;
use crate::image::succeed;
use crate::limits;

/// A container is started, does nothing, and is removed.
pub(super) struct RunContainer<'run> {
    area: &'run Area,
}

impl<'run> RunContainer<'run> {
    pub(super) fn prepare(area: &'run Area) -> Result<Box<dyn Scenario + 'run>, Error> {
        Ok(Box::new(Self { area }))
    }
}

impl Scenario for RunContainer<'_> {
    fn title(&self) -> String {
        "run --rm busybox true".to_owned()
    }

    fn begin_round(&mut self, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn is_warm(&self) -> bool {
        true
    }

    fn action(&self, builder: &dyn Builder, _: &str) -> Option<Action> {
        builder.run(BUSYBOX, &["true"]).map(Action::program)
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        let directory = self.area.fresh("container")?;
        let command = limits::run_one(self.area.rootfs(BUSYBOX)?, &directory, "/bin/true");
        Ok(vec![(
            "unshare, overlay, chroot by a shell",
            Action::program(command),
        )])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let run = |script: &str| {
            let command = outcome.builder.run(BUSYBOX, &["sh", "-c", script]);
            command.ok_or("it runs no containers")
        };
        // Only in a container is a shell the first process and the root as small as this.
        let said = succeed(&mut run("echo $$ $(ls -d /bin /home /usr)")?)?;
        if said.trim_end() != "1 /bin" {
            return Err(format!("a container said {said:?}"));
        }
        let status = run("exit 7")?.output().map(|output| output.status.code());
        match status {
            Ok(Some(7)) => Ok(()),
            other => Err(format!(
                "a container that exits with 7 ended with {other:?}"
            )),
        }
    }
}
