//! `kiln build`.

mod agent; // --ssh
mod annotation; // --annotation
mod arguments; // flags
mod attestation; // --attest, --provenance, --sbom
mod cache; // --cache-from, --cache-to
mod call; // --call, --check
mod compression; // compression=, compression-level=
mod deletion; // outputs that delete
mod entitlement; // --allow
mod named_context; // --build-context
mod output; // --output
mod plan; // --plan
mod request; // from flags to a request
mod result; // --iidfile, --metadata-file
mod secret; // --secret
mod sources; // the context and -f
mod values; // hosts, limits, pairs
mod verification; // --verify

use arguments::ProgressChoice;
pub(crate) use arguments::{BuildArguments, ResourceAliases};
use call::Call;
use kiln_engine::{Error, Io, StoresPurpose, verbs};
pub(crate) use values::{parse_extra_host, parse_ulimit, set_resource, split_pair};

use crate::diagnostics::{self, LogExtent, Look};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome, exit_of};
use crate::progress::{BuildState, Display, Mode, Palette, Settings};
use crate::terminal;
use crate::{interrupt, logging, session};

/// Lines of a failed step's output that are repeated where all of it has been shown already.
const REPEATED_LINES: usize = 10;

/// Builds an image, or answers a question about it.
pub(crate) fn build(arguments: &BuildArguments, environment: &Environment) -> Outcome {
    for warning in arguments.ignored() {
        terminal::warn(&warning);
    }
    let mode = mode(arguments, environment)?;
    let call = Call::of(arguments)?;
    let request = request::request(arguments, environment)?;
    if arguments.verify {
        verification::check(&request)?;
    }
    if !arguments.plan {
        result::prepare(arguments, &request.outputs)?;
    }
    session::enter_for_state(environment)?;
    let display = Display::start(mode, Settings::of(environment));
    let mut insecure = output::insecure_registries(&request, arguments);
    insecure.extend(cache::insecure_hosts(
        &request.cache_from,
        &request.cache_to,
    ));
    let registry_flags = session::RegistryFlags {
        insecure,
        credentials: arguments.authfile.clone(),
    };
    let session = session::open_with(
        environment,
        display.warner(),
        &registry_flags,
        StoresPurpose::Work,
    )?;
    let (mut stdin, mut stdout) = (std::io::stdin(), terminal::ArchiveOutput);
    let io = Io::new(&mut stdin, &mut stdout, &display);
    if let Some(call) = call {
        let answer = call.ask(&session, &request, prose_width(environment), &io);
        let shown = display.finish();
        return match answer {
            Ok(answer) => {
                let exit = call.deliver(&answer, arguments)?;
                if let Some(problem) = &answer.problem {
                    complain(problem, &shown, mode, environment);
                }
                Ok(exit)
            }
            Err(error) => {
                complain(&error, &shown, mode, environment);
                Ok(exit_of(&error))
            }
        };
    }
    interrupt::watch(&session)?;
    if arguments.plan {
        let forecast = verbs::forecast(&session.stores, &session.outside, &request, &io);
        let shown = display.finish();
        return match forecast {
            Ok(forecast) => plan::print(&forecast, environment).map(|()| Exit::SUCCESS),
            Err(error) => {
                complain(&error, &shown, mode, environment);
                Ok(exit_of(&error))
            }
        };
    }
    let mut compared = None;
    let built = if arguments.verify {
        verbs::check_reproducibility(&session.stores, &session.outside, &request, &io)
            .map(|comparison| compared.insert(comparison).result.clone())
    } else {
        verbs::build(&session.stores, &session.outside, &request, &io)
    };
    let shown = display.finish();
    if matches!(mode, Mode::Terminal | Mode::Plain) {
        let mut text = diagnostics::warnings(shown.findings(), &Palette::of_stderr(environment));
        if built.is_err() && !text.is_empty() {
            text.push('\n');
        }
        terminal::tell_styled(&text);
    }
    match built {
        Ok(built) => {
            result::write(arguments, &request, &built)?;
            if arguments.is_quiet() && !verification::writes_to_stdout(&request) {
                terminal::print_line(&built.id.to_string())?;
            }
            crate::cache::start_if_due(session, environment);
            match &compared {
                Some(comparison) => verification::deliver(comparison, &request, arguments),
                None => Ok(Exit::SUCCESS),
            }
        }
        Err(error) => {
            complain(&error, &shown, mode, environment);
            Ok(exit_of(&error))
        }
    }
}

/// Says why there is no image.
fn complain(error: &Error, shown: &BuildState, mode: Mode, environment: &Environment) {
    let extent = match mode {
        Mode::Plain => LogExtent::LastLines(REPEATED_LINES),
        Mode::Terminal | Mode::Quiet | Mode::RawJson => LogExtent::Everything,
    };
    let look = look(mode, environment);
    let label = Palette::of_stderr(environment)
        .failed
        .apply_to("ERROR:")
        .to_string();
    let mut text = diagnostics::failed_step(shown, extent);
    text.push_str(&diagnostics::places(error, &look));
    text.push_str(&format!(
        "{label} failed to build: {}\n",
        diagnostics::summary(error)
    ));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    terminal::tell_styled(&text);
}

/// Returns how many characters a line on standard output may have: a terminal's, or what `COLUMNS`
/// says; no limit where programs read.
fn prose_width(environment: &Environment) -> Option<usize> {
    if terminal::stdout_is_terminal() {
        Some(terminal::TerminalSize::of_stderr().width)
    } else {
        environment.text("COLUMNS")?.parse().ok()
    }
}

fn look(mode: Mode, environment: &Environment) -> Look {
    match mode {
        Mode::Plain | Mode::RawJson => Look::Plain,
        Mode::Terminal | Mode::Quiet if !terminal::stderr_is_terminal() => Look::Plain,
        Mode::Terminal | Mode::Quiet => Look::Drawn {
            palette: Palette::of_stderr(environment),
            width: terminal::TerminalSize::of_stderr().width,
        },
    }
}

/// Decides how progress is shown: the flag, else the variable, else what suits standard error.
fn mode(arguments: &BuildArguments, environment: &Environment) -> Result<Mode, Failure> {
    let choice = match (arguments.progress, environment.text("BUILDKIT_PROGRESS")) {
        (Some(choice), _) => choice,
        (None, Some(text)) => ProgressChoice::parse(&text).ok_or_else(|| {
            Failure::flag(format!("invalid progress mode {text} in BUILDKIT_PROGRESS"))
        })?,
        (None, None) => ProgressChoice::Auto,
    };
    if arguments.is_quiet() {
        return match (arguments.progress, choice) {
            (None, _) | (_, ProgressChoice::Auto | ProgressChoice::Quiet) => Ok(Mode::Quiet),
            (Some(_), choice) => Err(Failure::flag(format!(
                "progress={} and quiet cannot be used together",
                choice.as_str()
            ))),
        };
    }
    let is_terminal = terminal::stderr_is_terminal();
    Ok(match choice {
        // A log and lines that are redrawn would overwrite each other.
        ProgressChoice::Auto if is_terminal && !logging::is_on() => Mode::Terminal,
        ProgressChoice::Auto | ProgressChoice::Plain => Mode::Plain,
        ProgressChoice::Tty if is_terminal => Mode::Terminal,
        ProgressChoice::Tty => {
            return Err(Failure::new(
                "failed to get console: standard error is not a terminal",
            ));
        }
        ProgressChoice::Quiet | ProgressChoice::None => Mode::Quiet,
        ProgressChoice::RawJson => Mode::RawJson,
    })
}
