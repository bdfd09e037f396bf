//! `kiln logs`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use clap::Args;
use kiln_oci::Timestamp;
use kiln_runtime::Cancel;
use kiln_runtime::containers::{Follow, LogRecord, LogStream};

use super::failure;
use super::list::find;
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
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now));
    let since = time(&arguments.since).transpose()?;
    let until = time(&arguments.until).transpose()?;
    let tail = parse_tail(&arguments.tail)?;
    // Following takes as long as the container does: nobody must wait for this kiln meanwhile.
    let containers = session::open(environment)?.containers()?;
    let container = find(&containers, &arguments.container)?;
    let cancel = Cancel::new()
        .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
    let is_wanted = |record: &LogRecord| {
        since.is_none_or(|since| record.time >= since)
            && until.is_none_or(|until| record.time <= until)
    };
    let mut lines = Lines {
        timestamps: arguments.timestamps,
        begun: [false; 2],
        onward: Onward::new(Ownership::Person),
    };
    let follow = match arguments.follow {
        true => Follow::UntilEnd,
        false => Follow::No,
    };
    let mut log = container.logs(follow).map_err(failure)?;
    // What there is now may have to be counted from its end; what comes later has not.
    if let Some(most) = tail {
        let mut kept: VecDeque<LogRecord> = VecDeque::new();
        while let Some(record) = log.written_record().map_err(unreadable)? {
            if is_wanted(&record) {
                kept.push_back(record);
            }
            if kept.len() > most {
                kept.pop_front();
            }
        }
        for record in &kept {
            if lines.write(record)? == Reader::Gone {
                return Ok(Exit::SUCCESS);
            }
        }
    }
    while let Some(record) = log.next_record(&cancel).map_err(unreadable)? {
        if until.is_some_and(|until| record.time > until) {
            break;
        }
        if is_wanted(&record) && lines.write(&record)? == Reader::Gone {
            return Ok(Exit::SUCCESS);
        }
    }
    match container.state() {
        Ok(state) if state.lost_log_lines > 0 => terminal::warn(&lost_lines(state.lost_log_lines)),
        // It may be gone by now.
        _ => {}
    }
    Ok(Exit::SUCCESS)
}

/// Says that the end of a log is missing.
pub(super) fn lost_lines(count: u64) -> String {
    format!("the log lacks its last {count} lines: the disk was full")
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(format!("cannot read the log: {error}"))
}

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// Writes records; a long line comes in several.
struct Lines {
    timestamps: bool,
    /// Whether a line is unfinished, of standard output and standard error.
    begun: [bool; 2],
    onward: Onward,
}

impl Lines {
    /// Writes a record.
    fn write(&mut self, record: &LogRecord) -> Result<Reader, Failure> {
        let begun = match record.stream {
            LogStream::Stdout => &mut self.begun[0],
            LogStream::Stderr => &mut self.begun[1],
        };
        let stamp = match self.timestamps && !*begun {
            true => format!("{} ", nanoseconds(record.time)),
            false => String::new(),
        };
        *begun = !record.log.ends_with('\n');
        let text = format!("{stamp}{}", record.log);
        let (name, written) = match record.stream {
            LogStream::Stdout => ("output", self.onward.stdout(text.as_bytes())),
            LogStream::Stderr => ("error", self.onward.stderr(text.as_bytes())),
        };
        match written {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(Failure::new(format!(
                "cannot write to standard {name}: {error}"
            ))),
        }
    }
}

/// Returns a time with all nine digits: RFC 3339 as docker prints it.
fn nanoseconds(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(second) => {
            let second = second.strftime("%Y-%m-%dT%H:%M:%S");
            format!("{second}.{:09}Z", time.nanoseconds)
        }
        Err(_) => time.to_string(),
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

/// Parses RFC 3339, seconds since 1970, or how long ago.
pub(crate) fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && fraction.len() <= 9
    {
        let nanoseconds = format!("{fraction:0<9}").parse().unwrap_or_default();
        return Ok(Timestamp {
            seconds,
            nanoseconds,
        });
    }
    // A date alone, or a time without a zone, is meant where the person is.
    if let Ok(local) = text.parse::<jiff::civil::DateTime>()
        && let Ok(time) = local.to_zoned(jiff::tz::TimeZone::system())
    {
        return Ok(Timestamp::from_seconds(time.timestamp().as_second()));
    }
    let ago = text.parse::<jiff::SignedDuration>().ok();
    let ago = ago.and_then(|ago| Duration::try_from(ago).ok());
    let ago = ago.ok_or_else(|| Failure::flag(format!("invalid time: {text}")))?;
    let seconds = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp {
        seconds: now.seconds.saturating_sub(seconds),
        ..now
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_distances() {
        let now = Timestamp::from_seconds(10_000);
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:01:00Z", 60, 0),
            ("1970-01-01T01:01:00+01:00", 60, 0),
            ("1234", 1234, 0),
            ("1234.5", 1234, 500_000_000),
            ("42m", 10_000 - 42 * 60, 0),
            ("1h30m", 10_000 - 5400, 0),
        ] {
            let expected = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(parse_time(text, now), Ok(expected), "{text}");
        }
        assert!(parse_time("yesterday", now).is_err());
    }

    #[test]
    fn stamps_have_nine_digits() {
        let time = Timestamp {
            seconds: 1_400_000_000,
            nanoseconds: 1,
        };
        assert_eq!(nanoseconds(time), "2014-05-13T16:53:20.000000001Z");
    }

    #[test]
    fn tails_are_numbers_or_everything() {
        assert_eq!(parse_tail("all"), Ok(None));
        assert_eq!(parse_tail("0"), Ok(Some(0)));
        assert!(parse_tail("few").is_err());
    }
}
