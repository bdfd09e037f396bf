//! Garbage collection behind builds: by a process of its own, so that no build waits for it.
//!
//! A build that ends asks whether it is time, which costs a look at a small file and at the disk; if
//! so it starts this very program once more, detached, which collects beside whatever else is built.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_engine::{
    Amount, CacheSettings, Collection, StoresOptions, StoresPurpose, UnnamedImages, UnpackLimit,
    verbs,
};

use super::settings::settings;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::{session, terminal};

/// The hidden command that collects garbage.
pub(crate) const COLLECTOR: &str = "cache-collector";

/// Out of the way of the user's next commands, but not so far that builds on all processors fill the
/// disk meanwhile.
const NICENESS: i32 = 5;

/// Starts a collector if it is time.
pub(crate) fn start_if_due(session: Session, environment: &Environment) {
    let settings = match settings(environment) {
        Ok(settings) => settings,
        Err(failure) => {
            terminal::warn(&format!("no garbage is collected: {}", failure.message));
            return;
        }
    };
    if !verbs::is_collection_due(&session.stores, &settings) {
        return;
    }
    let Ok(limits) = verbs::cache_limits(&session.stores, &settings) else {
        return;
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg(COLLECTOR).arg(session.stores.root());
    let numbers = [
        Some(limits.reserved_bytes),
        limits.max_used_bytes,
        limits.min_free_bytes,
        limits.max_used_inodes,
        limits.min_free_inodes,
        limits.max_age.map(|age| age.as_secs()),
        Some(u64::from(settings.unnamed == UnnamedImages::Stay)),
    ];
    command.args(numbers.map(|number| number.map_or("-".to_owned(), |n| n.to_string())));
    // It must not find this kiln at work.
    drop(session);
    use std::os::unix::process::CommandExt as _;
    // Without a collector nothing is collected this time.
    let _ = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn();
}

/// Collects garbage; the arguments are those of [`start_if_due`].
pub(crate) fn collect(arguments: &[OsString]) -> Outcome {
    let [root, numbers @ ..] = arguments else {
        return Err(Failure::new("no state directory"));
    };
    let mut numbers = numbers
        .iter()
        .map(|text| text.to_str().and_then(|text| text.parse::<u64>().ok()));
    let mut next = || numbers.next().flatten();
    let mut amount = || next().map(Amount::Number);
    let settings = CacheSettings {
        reserved: amount(),
        max_used: amount(),
        min_free: amount(),
        max_used_inodes: amount(),
        min_free_inodes: amount(),
        max_age: next().map(Duration::from_secs),
        unnamed: match next() {
            Some(1) => UnnamedImages::Stay,
            _ => UnnamedImages::AreCache,
        },
        collection: Collection::Automatic,
    };
    // A process may always become nicer; where it may not, it collects all the same.
    let _ = rustix::process::nice(NICENESS);
    session::enter()?;
    let (stores, _) = verbs::open(&StoresOptions {
        root: PathBuf::from(root),
        purpose: StoresPurpose::Work,
        unpack_limit: UnpackLimit::default(),
    })?;
    verbs::collect(&stores, &settings)?;
    Ok(Exit::SUCCESS)
}
