//! What commands have in common: the environment, the namespaces, the open state directory.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_engine::{Damage, Outside, RepairOutcome, Stores, StoresOptions, StoresPurpose, verbs};
use kiln_registry::{Client, Notice};
use kiln_runtime::userns::{self, PrivilegeLevel, UsernsError};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::terminal;

/// Takes warnings, one line each, while something else may be drawing.
pub(crate) type Warner = Arc<dyn Fn(&str) + Send + Sync>;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// The open state directory.
    pub(crate) stores: Stores,
    /// Registries, with what the flags of the command say about them, and programs of this machine.
    pub(crate) outside: Outside,
}

/// Opens the state directory without entering namespaces: enough for looking and naming.
pub(crate) fn open(environment: &Environment) -> Result<Session, Failure> {
    let warner = Arc::new(terminal::warn);
    open_with(
        environment,
        warner,
        &RegistryFlags::default(),
        StoresPurpose::Look,
    )
}

/// Opens the state directory in a process that has entered its namespaces.
pub(crate) fn open_to_work(environment: &Environment) -> Result<Session, Failure> {
    let warner = Arc::new(terminal::warn);
    open_with(
        environment,
        warner,
        &RegistryFlags::default(),
        StoresPurpose::Work,
    )
}

/// What flags say about registries besides the environment.
#[derive(Debug, Default)]
pub(crate) struct RegistryFlags {
    /// Hosts that need not prove who they are.
    pub(crate) insecure: Vec<String>,
    /// A file of logins that goes before all others.
    pub(crate) credentials: Option<PathBuf>,
}

/// As [`open`], with a say in where warnings go.
pub(crate) fn open_with(
    environment: &Environment,
    warner: Warner,
    flags: &RegistryFlags,
    purpose: StoresPurpose,
) -> Result<Session, Failure> {
    let mut registry = environment.client_options()?;
    for host in &flags.insecure {
        registry.registries.allow_insecure(host);
    }
    if let Some(file) = &flags.credentials {
        registry.credentials.docker_directory = None;
        registry.credentials.auth_files = vec![file.clone()];
    }
    let noticing = Arc::clone(&warner);
    registry.notice = Arc::new(move |notice| noticing(&notice_text(&notice)));
    let outside = Outside {
        client: Client::new(registry),
        programs: environment.programs(),
        outer_proc: environment.outer_proc(),
    };
    let (stores, damaged) = verbs::open(&StoresOptions {
        root: environment.state_directory()?,
        purpose,
        unpack_limit: environment.unpack_limit()?,
    })?;
    for damage in &damaged {
        warner(&damage_text(damage));
    }
    Ok(Session { stores, outside })
}

/// Says what a kiln left behind that did not come to its end.
fn damage_text(damage: &Damage) -> String {
    let outcome = match damage.outcome {
        RepairOutcome::Left => "left as it is",
        RepairOutcome::Unread => "left, because it cannot be read now",
        RepairOutcome::Repaired => "repaired",
        RepairOutcome::Discarded => "discarded",
    };
    let Damage { object, what, .. } = damage;
    format!("{object} was damaged when a kiln did not come to its end: {what}; {outcome}")
}

/// Enters the namespaces and opens the state directory: for commands that mount, run, or touch files that
/// belong to ids of images. Must be called while there is one thread.
pub(crate) fn enter_and_open(environment: &Environment) -> Result<Session, Failure> {
    enter_for_state(environment)?;
    open_to_work(environment)
}

/// As [`enter`], for commands that open the state directory then.
pub(crate) fn enter_for_state(environment: &Environment) -> Result<(), Failure> {
    verbs::check_owner(&environment.state_directory()?)?;
    enter().map(drop)
}

/// Makes this process root in namespaces of its own, as far as the machine allows.
pub(crate) fn enter() -> Result<PrivilegeLevel, Failure> {
    userns::enter(&userns::Options::default()).map_err(|error| Failure::new(enter_error(&error)))
}

fn enter_error(error: &UsernsError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("cannot enter a user namespace: {error}: {cause}"),
        None => format!("cannot enter a user namespace: {error}"),
    }
}

fn notice_text(notice: &Notice) -> String {
    match notice {
        Notice::Retrying {
            host,
            reason,
            delay,
        } => {
            let seconds = delay.as_secs_f64();
            match host.as_str() {
                "" => format!("{reason}; trying again in {seconds:.1}s"),
                host => format!("{host}: {reason}; trying again in {seconds:.1}s"),
            }
        }
        Notice::NoCredentials { domain, reason } => {
            format!("going on without credentials for {domain}: {reason}")
        }
        Notice::MirrorFailed { mirror, reason } => {
            format!("mirror {mirror} does not serve: {reason}")
        }
    }
}
