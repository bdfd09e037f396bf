use std::fmt;
use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// What is timed.
pub(crate) enum Action {
    /// Programs, started at once; the action ends with the last of them.
    Programs(Vec<Command>),
    /// Work of this process; only limits are done so.
    Here(Box<dyn FnOnce() -> io::Result<()>>),
}

/// Why an action did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    #[error("cannot be done: {0}")]
    Io(#[from] io::Error),
    #[error("{program} ended with {status}")]
    Status { program: String, status: ExitStatus },
}

impl Action {
    /// Returns an action of one program.
    pub(crate) fn program(command: Command) -> Self {
        Self::Programs(vec![command])
    }

    /// Does it, to the end. What programs print goes to a file.
    pub(crate) fn perform(self, log: &File) -> Result<(), ActionError> {
        match self {
            Self::Here(work) => Ok(work()?),
            Self::Programs(commands) => perform_programs(commands, log),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs(commands) => formatter.debug_tuple("Programs").field(commands).finish(),
            Self::Here(_) => formatter.write_str("Here"),
        }
    }
}

fn perform_programs(commands: Vec<Command>, log: &File) -> Result<(), ActionError> {
    let mut running = Vec::with_capacity(commands.len());
    let mut result = Ok(());
    for mut command in commands {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let program = command.get_program().to_string_lossy().into_owned();
        match command.spawn() {
            Ok(child) => running.push((program, child)),
            Err(error) => {
                result = Err(ActionError::Io(error));
                break;
            }
        }
    }
    // All of them end before the next action begins, also after a failure.
    for (program, mut child) in running {
        match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => result = result.and(Err(ActionError::Status { program, status })),
            Err(error) => result = result.and(Err(ActionError::Io(error))),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kiln_testbed::Scratch;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn programs_run_side_by_side() {
        let scratch = Scratch::new();
        let log = File::create(scratch.join("log")).unwrap();
        let (first, second) = (scratch.join("first"), scratch.join("second"));
        for fifo in [&first, &second] {
            assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        }
        // One after the other, the first would wait for ever.
        Action::Programs(vec![
            shell(&format!(
                "echo > {}; cat {}",
                first.display(),
                second.display()
            )),
            shell(&format!(
                "cat {}; echo > {}",
                first.display(),
                second.display()
            )),
        ])
        .perform(&log)
        .unwrap();
    }

    #[test]
    fn a_failing_program_is_named_and_its_words_are_kept() {
        let scratch = Scratch::new();
        let path = scratch.join("log");
        let log = File::create(&path).unwrap();
        let error = Action::Programs(vec![shell("true"), shell("echo no room >&2; exit 3")])
            .perform(&log)
            .unwrap_err();
        assert_eq!(error.to_string(), "sh ended with exit status: 3");
        assert_eq!(fs::read_to_string(path).unwrap(), "no room\n");
    }
}
