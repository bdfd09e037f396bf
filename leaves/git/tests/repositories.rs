//! Repositories as a server has them, fetched, checked out and fetched again.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use kiln_git::{
    Checkout, CheckoutOptions, Error, Events, FoundCommit, Git, GitFiles, GitSettings, Mirror,
    ObjectFormat,
};
use kiln_testbed::{GitSite, need};
use kiln_threads::Stop;

/// When the testbed's repositories commit.
const COMMITTED: i64 = 1_700_000_000;

const WHOLE: CheckoutOptions<'_> = CheckoutOptions {
    reference: None,
    subdirectory: None,
    with_submodules: false,
    git_files: GitFiles::None,
    time: None,
};

#[derive(Default)]
struct Heard(RefCell<Vec<String>>);

impl Events for Heard {
    fn log(&self, line: &str) {
        self.0.borrow_mut().push(line.to_owned());
    }

    fn warn(&self, message: String) {
        self.0.borrow_mut().push(message);
    }
}

/// What git knows of the environment: where programs are.
#[expect(clippy::disallowed_methods, reason = "git is where PATH says")]
fn environment() -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    vec![("PATH".into(), path)]
}

fn settings<'a>(
    remote: &str,
    environment: &'a [(OsString, OsString)],
    work: &'a Path,
    stop: &'a Stop,
) -> GitSettings<'a> {
    let prepare: fn(&mut Command) = |_| {};
    GitSettings {
        remote: remote.to_owned(),
        shown: "the remote".to_owned(),
        environment,
        ceiling: work,
        work,
        authorization: None,
        known_hosts: Vec::new(),
        agent: None,
        prepare,
        stop,
    }
}

#[test]
fn a_damaged_mirror_is_fetched_again() {
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    repository.write("sub/v", "one").commit("one");
    repository.publish();
    let (_daemon, address) = need!(site.serve());
    let remote = format!("git://{address}/app.git");
    let directory = tempfile::tempdir().unwrap();
    let (environment, stop) = (environment(), Stop::default());
    let mirror = Mirror::new(directory.path().join("mirror"), ObjectFormat::Sha1);
    let mut told = Vec::new();
    for round in ["first", "second", "third"] {
        let work = directory.path().join(round);
        fs::create_dir(&work).unwrap();
        let git = Git::new(settings(&remote, &environment, &work, &stop)).unwrap();
        let FoundCommit { commit, .. } = git.find(Some("main")).unwrap().unwrap();
        let is_known = mirror.known_time(&git, &commit).is_some();
        assert_eq!(is_known, round == "second", "{round}");
        let options = CheckoutOptions {
            subdirectory: Some("sub"),
            ..WHOLE
        };
        let heard = Heard::default();
        let checkout = Checkout::new(&git, &commit, options).unwrap();
        checkout.take_from(&mirror, &heard).unwrap();
        let done = checkout.finish(&heard).unwrap();
        assert_eq!(done.seconds, COMMITTED);
        let file = done.directory.join("v");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
        assert_eq!(metadata.mtime(), COMMITTED);
        told.push(heard.0.into_inner());
        if round == "second" {
            let objects = directory.path().join("mirror/objects");
            fs::remove_dir_all(&objects).unwrap();
            fs::create_dir(&objects).unwrap();
        }
    }
    let words: Vec<usize> = told.iter().map(Vec::len).collect();
    assert_eq!(
        words,
        [0, 0, 0],
        "an object that is gone is fetched: {told:?}"
    );
    fs::write(directory.path().join("mirror/HEAD"), "nonsense").unwrap();
    let work = directory.path().join("last");
    fs::create_dir(&work).unwrap();
    let git = Git::new(settings(&remote, &environment, &work, &stop)).unwrap();
    let FoundCommit { commit, .. } = git.find(None).unwrap().unwrap();
    let heard = Heard::default();
    let checkout = Checkout::new(&git, &commit, WHOLE).unwrap();
    checkout.take_from(&mirror, &heard).unwrap();
    assert_eq!(
        fs::read_to_string(checkout.finish(&heard).unwrap().directory.join("sub/v")).unwrap(),
        "one"
    );
    let heard = heard.0.into_inner();
    assert!(
        heard[0].contains("the remote before cannot be used"),
        "{heard:?}"
    );
    assert_eq!(mirror.known_time(&git, &commit), Some(COMMITTED));
}

#[test]
fn missing_references_are_named() {
    let site = need!(GitSite::new());
    let repository = site.repository("app");
    let commit = repository.write("v", "one").commit("one");
    repository.publish();
    let (_daemon, address) = need!(site.serve());
    let remote = format!("git://{address}/app.git");
    let directory = tempfile::tempdir().unwrap();
    let (environment, stop) = (environment(), Stop::default());
    let git = Git::new(settings(&remote, &environment, directory.path(), &stop)).unwrap();
    let mirror = Mirror::new(directory.path().join("mirror"), ObjectFormat::Sha1);
    let heard = Heard::default();
    assert!(matches!(
        git.find(Some("side")),
        Err(Error::UnknownReference { .. })
    ));
    // It may be the beginning of a commit's name, which only what was fetched can tell.
    assert_eq!(git.find(Some(&commit[..8])).unwrap(), None);
    let whole = mirror.find_abbreviated(&git, &commit[..8], &heard);
    assert_eq!(whole.unwrap().as_ref(), Some(&commit));
    let none = mirror.find_abbreviated(&git, "0000000", &heard);
    assert_eq!(none.unwrap(), None);
    for (subdirectory, message) in [
        ("none", "subdirectory \"none\" is not in the repository"),
        ("v", "\"v\" is not a directory of the repository"),
    ] {
        let options = CheckoutOptions {
            subdirectory: Some(subdirectory),
            ..WHOLE
        };
        let checkout = Checkout::new(&git, &commit, options).unwrap();
        checkout.take_from(&mirror, &heard).unwrap();
        let error = checkout.finish(&heard).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    stop.ask();
    assert!(matches!(git.find(None), Err(Error::Stopped)));
}
