//! The three standard streams: writing that survives closed pipes, and what a terminal is like.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::fd::AsFd;

use kiln_runtime::{Stream, was_closed};
use rustix::io::Errno;

use crate::clean;
use crate::failure::Failure;

/// Writes text to standard output, without anything that a terminal would obey.
///
/// # Errors
/// When it cannot be written. That a reader went away is no error: it has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write(&clean::text(text))
}

/// Writes text that kiln coloured to standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_styled(text: &str) -> Result<(), Failure> {
    write(&clean::styled(text))
}

fn write(text: &str) -> Result<(), Failure> {
    match pass_to_stdout(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

/// Writes text to standard error, without anything that a terminal would obey. A failure
/// cannot be shown.
pub(crate) fn tell(text: &str) {
    order(&clean::text(text));
}

/// Writes text that kiln coloured to standard error.
pub(crate) fn tell_styled(text: &str) {
    order(&clean::styled(text));
}

/// Writes to standard error what is kiln's own to the last byte, orders to the terminal included.
pub(crate) fn order(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a line to standard error.
pub(crate) fn tell_line(line: &str) {
    tell(&format!("{line}\n"));
}

/// Writes `WARNING: …` to standard error.
pub(crate) fn warn(message: &str) {
    tell_line(&format!("WARNING: {message}"));
}

/// Standard output for an archive. If the process that started kiln had closed it, nothing can be
/// written: Rust's own would take everything and say that all was well.
#[derive(Debug)]
pub(crate) struct ArchiveOutput;

impl Write for ArchiveOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check(Stream::Stdout)?;
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Writes a container's bytes to standard output as they are.
///
/// # Errors
/// When they cannot be written; also because no process reads any more.
fn pass_to_stdout(bytes: &[u8]) -> io::Result<()> {
    check(Stream::Stdout)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// Writes a container's bytes to standard error as they are.
///
/// # Errors
/// As [`pass_to_stdout`].
fn pass_to_stderr(bytes: &[u8]) -> io::Result<()> {
    check(Stream::Stderr)?;
    io::stderr().lock().write_all(bytes)
}

/// The way of a container's output to our own streams: as it is to a file or a pipe, and without
/// anything that a terminal would obey on the user's terminal.
#[derive(Debug)]
pub(crate) struct Onward {
    stdout: Option<clean::ChunkCleaner>,
    stderr: Option<clean::ChunkCleaner>,
}

/// Whose terminal our streams are, if they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The container was given it, and may do with it as it likes.
    Container,
    /// The user's.
    Person,
}

impl Onward {
    /// Looks what our streams are.
    pub(crate) fn new(ownership: Ownership) -> Self {
        let chunks = |is_terminal: bool| {
            (is_terminal && ownership == Ownership::Person).then(clean::ChunkCleaner::default)
        };
        Self {
            stdout: chunks(stdout_is_terminal()),
            stderr: chunks(stderr_is_terminal()),
        }
    }

    /// Passes on what was written to standard output.
    ///
    /// # Errors
    /// As [`pass_to_stdout`].
    pub(crate) fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stdout {
            Some(chunks) => pass_to_stdout(chunks.push(bytes).as_bytes()),
            None => pass_to_stdout(bytes),
        }
    }

    /// Passes on what was written to standard error.
    ///
    /// # Errors
    /// As [`pass_to_stdout`].
    pub(crate) fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stderr {
            Some(chunks) => pass_to_stderr(chunks.push(bytes).as_bytes()),
            None => pass_to_stderr(bytes),
        }
    }
}

impl Drop for Onward {
    fn drop(&mut self) {
        // There is no way to report a failure here.
        if let Some(chunks) = &mut self.stdout {
            let _ = pass_to_stdout(chunks.end().as_bytes());
        }
        if let Some(chunks) = &mut self.stderr {
            let _ = pass_to_stderr(chunks.end().as_bytes());
        }
    }
}

/// A stream that was closed by the process that started kiln takes everything and passes nothing on.
fn check(stream: Stream) -> io::Result<()> {
    if was_closed(stream) {
        Err(Errno::BADF.into())
    } else {
        Ok(())
    }
}

/// Asks a question that is answered with yes or no. Any other answer than yes is no, the end of the
/// input too.
pub(crate) fn confirm(question: &str) -> bool {
    tell(&format!("{question} [y/N] "));
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).is_err() {
        return false;
    }
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Says whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Says whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Says whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Characters in a line and lines on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Lines.
    pub(crate) height: usize,
}

impl TerminalSize {
    /// What terminals have been since the VT100; also taken where there is none.
    pub(crate) const USUAL: Self = Self {
        width: 80,
        height: 24,
    };

    /// Asks the terminal behind standard error.
    pub(crate) fn of_stderr() -> Self {
        Self::of(io::stderr())
    }

    /// Asks the terminal behind standard output.
    pub(crate) fn of_stdout() -> Self {
        Self::of(io::stdout())
    }

    fn of(stream: impl AsFd) -> Self {
        match rustix::termios::tcgetwinsize(stream) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Self {
                width: size.ws_col.into(),
                height: size.ws_row.into(),
            },
            _ => Self::USUAL,
        }
    }
}
