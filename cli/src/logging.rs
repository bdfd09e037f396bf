//! What kiln does, for users who look for a mistake: `-D`, and `KILN_LOG`.
//!
//! Nothing is set up unless one of them is given; each place that could speak then costs the look at
//! one number. Only kiln's own crates speak: the libraries below them show what they send, such as
//! the headers of requests. What is logged never holds credentials, secrets, arguments or
//! environments; `cli/tests/commands/logging.rs` holds that.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::{terminal, version};

/// What the names of kiln's crates begin with.
const OURS: &str = "kiln";
/// What `-D` shows.
const DEBUG: &str = "kiln=debug";

/// Starts logging to standard error if the user asked for it: the flag, or the variable, which says
/// in more detail what is wanted.
///
/// # Errors
/// When the variable cannot be understood.
pub(crate) fn start(is_debug: bool, environment: &Environment) -> Result<(), Failure> {
    let text = match environment.text("KILN_LOG") {
        Some(text) => text,
        None if is_debug => DEBUG.to_owned(),
        None => return Ok(()),
    };
    let filter = filter(&text)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_ansi(false)
        .with_writer(|| CleanStderr)
        .with_filter(filter);
    // Once in the life of a process; a second call, in a test, changes nothing.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    tracing::debug!(
        version = version::VERSION,
        process = std::process::id(),
        is_root = environment.is_root(),
        "kiln begins"
    );
    Ok(())
}

/// Says whether anything is logged.
pub(crate) fn is_on() -> bool {
    tracing::dispatcher::has_been_set()
}

/// Parses `info`, or `info,kiln_solver=debug`: levels, of everything or of crates and modules.
fn filter(
    text: &str,
) -> Result<FilterFn<impl Fn(&tracing::Metadata<'_>) -> bool + use<>>, Failure> {
    let targets: Targets = text.parse().map_err(|error| {
        Failure::new(format!("invalid KILN_LOG {text:?}: {error}")).with_hint(
            "give a level (error, warn, info, debug), or levels of parts: \
             info,kiln_registry=debug",
        )
    })?;
    let most = targets.iter().map(|(_, level)| level);
    let most = most.chain(targets.default_level()).max();
    let passes = move |metadata: &tracing::Metadata<'_>| {
        metadata.target().starts_with(OURS)
            && targets.would_enable(metadata.target(), metadata.level())
    };
    Ok(FilterFn::new(passes).with_max_level_hint(most.unwrap_or(LevelFilter::OFF)))
}

/// Standard error, one record at a time, without what a terminal would obey.
struct CleanStderr;

impl io::Write for CleanStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        terminal::tell(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_everything_or_of_parts() {
        for text in [
            "debug",
            "info,kiln_solver=debug",
            "kiln_registry=warn",
            "off",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
        let failure = filter("kiln_solver=loud").expect_err("there is no such level");
        assert!(failure.message.starts_with("invalid KILN_LOG"));
    }

    #[test]
    fn nothing_is_set_up_unless_asked_for() {
        start(false, &Environment::with(&[])).unwrap();
        assert!(!is_on());
    }
}
