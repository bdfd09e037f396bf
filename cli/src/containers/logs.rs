//! `kiln logs`.

use std::io;

use clap::Args;
use kiln_containers::{Follow, LogRecord, LogStart};
use kiln_docker::time;
use kiln_engine::verbs;
use kiln_oci::Timestamp;
use kiln_runtime::Stream;
use kiln_threads::Stop;

use super::failures::failure;
use super::words::lost_lines;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::{Onward, Ownership};
use crate::{session, terminal};

/// What stands below `kiln logs --help`.
const AFTER_HELP: &str = "Of what a container writes the last 80 to 100 MB are kept.";

/// Fetch the logs of a container.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, override_usage = "kiln logs [OPTIONS] CONTAINER")]
pub(crate) struct LogsArguments {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since (a time, or 42m for 42 minutes ago)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written until (a time, or 42m for 42 minutes ago)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only the last lines
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Accepted; there is nothing more to show
    #[arg(long, hide = true)]
    details: bool,
}

/// Prints what a container wrote: to the streams that it wrote to.
pub(crate) fn logs(arguments: &LogsArguments, environment: &Environment) -> Outcome {
    let now = Timestamp::now();
    let parse = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now));
    let since = parse(&arguments.since).transpose()?;
    let until = parse(&arguments.until).transpose()?;
    let tail = parse_tail(&arguments.tail)?;
    // Following takes as long as the container does: no other kiln must wait for this one meanwhile.
    let containers = verbs::containers(&session::open(environment)?.stores)?;
    let container = containers.find(&arguments.container).map_err(failure)?;
    // Signals are not handled here: one ends this process as it ends others.
    let never = Stop::default();
    let is_wanted = |record: &LogRecord| since.is_none_or(|since| record.time >= since);
    let follow = if arguments.follow {
        Follow::UntilEnd
    } else {
        Follow::No
    };
    // As docker counts: the last lines of all, of which those are shown that are of the time asked for.
    let start = tail.map_or(LogStart::Oldest, LogStart::Last);
    let mut log = container.logs(start, follow).map_err(failure)?;
    let mut lines = LogPrinter::new(arguments.timestamps);
    while let Some(record) = log.next_record(&never).map_err(unreadable)? {
        if until.is_some_and(|until| record.time > until) {
            break;
        }
        if is_wanted(&record) {
            lines.push(&record)?;
        }
        if !log.has_more_at_hand() && lines.pass_on()? == Reader::Gone {
            return Ok(Exit::SUCCESS);
        }
    }
    if lines.pass_on()? == Reader::Gone {
        return Ok(Exit::SUCCESS);
    }
    match container.state() {
        Ok(state) if state.lost_log_lines > 0 => terminal::warn(&lost_lines(state.lost_log_lines)),
        // It may be gone by now.
        _ => {}
    }
    Ok(Exit::SUCCESS)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(format!("cannot read the log: {error}"))
}

/// Whether a process still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// Collects records of one stream and writes them together; a long line comes in several.
struct LogPrinter {
    timestamps: bool,
    /// Whether a line is unfinished, of standard output and standard error.
    begun: [bool; 2],
    /// What is not written yet, and where it goes.
    pending: (Stream, Vec<u8>),
    onward: Onward,
    reader: Reader,
}

impl LogPrinter {
    fn new(timestamps: bool) -> Self {
        Self {
            timestamps,
            begun: [false; 2],
            pending: (Stream::Stdout, Vec::new()),
            onward: Onward::new(Ownership::Person),
            reader: Reader::There,
        }
    }

    /// Takes a record. Those of the other stream that came before are written first: both may lead
    /// to one terminal.
    fn push(&mut self, record: &LogRecord) -> Result<(), Failure> {
        if self.pending.0 != record.stream {
            self.pass_on()?;
            self.pending.0 = record.stream;
        }
        let begun = match record.stream {
            Stream::Stdout => &mut self.begun[0],
            Stream::Stderr => &mut self.begun[1],
        };
        let pending = &mut self.pending.1;
        if self.timestamps && !*begun {
            pending.extend_from_slice(time::stamp(record.time).as_bytes());
            pending.push(b' ');
        }
        *begun = !record.log.ends_with('\n');
        pending.extend_from_slice(record.log.as_bytes());
        Ok(())
    }

    /// Writes what is pending.
    fn pass_on(&mut self) -> Result<Reader, Failure> {
        let (stream, bytes) = &mut self.pending;
        if bytes.is_empty() {
            return Ok(self.reader);
        }
        let (name, written) = match stream {
            Stream::Stdout => ("output", self.onward.stdout(bytes)),
            Stream::Stderr => ("error", self.onward.stderr(bytes)),
        };
        bytes.clear();
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.reader = Reader::Gone,
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot write to standard {name}: {error}"
                )));
            }
        }
        Ok(self.reader)
    }
}

fn parse_tail(text: &str) -> Result<Option<usize>, Failure> {
    match text {
        "all" | "-1" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| Failure::flag(format!("invalid number of lines: {number}"))),
    }
}

/// Parses a point in time, or how long ago; without a zone it is meant where the person is.
pub(crate) fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    Ok(time::parse(text, now, &jiff::tz::TimeZone::system())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_numbers_or_everything() {
        assert_eq!(parse_tail("all"), Ok(None));
        assert_eq!(parse_tail("0"), Ok(Some(0)));
        assert!(parse_tail("few").is_err());
    }
}
