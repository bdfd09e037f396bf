//! Containers: made, started, watched, stopped, removed, and their monitors killed.

use std::process::Command;
use std::time::Duration;

use kiln_containers::{
    Attachment, Container, ContainerError, ContainerId, ContainerName, ContainerStatus, Follow,
    Force, HeldContainer, LogStart, Removal, SignalNumber, StopPatience,
};
use kiln_runtime::Stream;
use kiln_testbed::{assert_no_leftovers, cases};
use kiln_threads::Stop;

use crate::fixture::{ContainerRequest, Fixture, await_line, log, monitor_of, start, text};

pub(crate) const CASES: &[crate::Case] = cases![
    changes_stay_between_runs
    detached_container_runs_until_it_is_killed
    stop_asks_then_kills
    kill_needs_a_running_container
    programs_that_do_not_start
    names_are_unique
    containers_are_found_by_name_and_id
    removing_takes_force_while_it_runs
    automatic_removal_follows_the_end
    logs_are_followed_to_the_end
    etc_files_are_its_own
    killed_monitors_leave_nothing
    drafts_that_are_dropped_vanish
];

fn changes_stay_between_runs(fixture: &Fixture) {
    let script = "cat /count 2>/dev/null; echo x >> /count";
    let container = fixture.make(&ContainerRequest::new(script));
    for _ in 0..3 {
        assert_eq!(
            container
                .run(monitor_of(&container), Attachment::default())
                .unwrap()
                .state
                .exit_code,
            0
        );
    }
    let records = log(&container, Follow::No);
    assert_eq!(text(&records, Stream::Stdout), "x\nx\nx\n");
}

fn detached_container_runs_until_it_is_killed(fixture: &Fixture) {
    let container = fixture.make(&ContainerRequest::new("echo up; read x; sleep 10000"));
    // Input that ends at once: it goes on to sleep.
    let state = start(&container);
    assert_eq!(state.status, ContainerStatus::Running);
    assert!(state.process.is_some() && state.started.is_some());
    assert_eq!(container.state().unwrap().status, ContainerStatus::Running);
    let error = container
        .start_detached(monitor_of(&container))
        .unwrap_err();
    assert!(matches!(error, ContainerError::AlreadyRunning(_)));
    assert!(matches!(
        container.run(monitor_of(&container), Attachment::default()),
        Err(ContainerError::AlreadyRunning(_))
    ));
    await_line(&container, "up\n");
    container.kill(SignalNumber::KILL).unwrap();
    let state = container.wait().unwrap();
    assert_eq!(
        (state.status, state.exit_code),
        (ContainerStatus::Exited, 137)
    );
    assert_eq!(
        text(&log(&container, Follow::UntilEnd), Stream::Stdout),
        "up\n"
    );
}

fn stop_asks_then_kills(fixture: &Fixture) {
    let polite = "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.1; done";
    let container = fixture.make(&ContainerRequest::new(polite));
    start(&container);
    await_line(&container, "up\n");
    container
        .stop(SignalNumber::TERM, StopPatience::Forever)
        .unwrap();
    assert_eq!(container.state().unwrap().exit_code, 3);
    assert_eq!(
        text(&log(&container, Follow::No), Stream::Stdout),
        "up\nbye\n"
    );
    // Stopping what has stopped is fine.
    container
        .stop(SignalNumber::TERM, StopPatience::Forever)
        .unwrap();

    let stubborn = fixture.make(&ContainerRequest::new(
        "trap '' TERM; echo up; while true; do sleep 1; done",
    ));
    start(&stubborn);
    await_line(&stubborn, "up\n");
    stubborn
        .stop(
            SignalNumber::TERM,
            StopPatience::For(Duration::from_millis(50)),
        )
        .unwrap();
    assert_eq!(stubborn.state().unwrap().exit_code, 137);
}

fn kill_needs_a_running_container(fixture: &Fixture) {
    let container = fixture.make(&ContainerRequest::new("true"));
    let error = container.kill(SignalNumber::TERM).unwrap_err();
    assert!(matches!(error, ContainerError::NotRunning(_)));
    assert!(error.to_string().ends_with("is not running"));
}

fn programs_that_do_not_start(fixture: &Fixture) {
    let store = fixture.store();
    for (program, code, text) in [
        ("nocmd", 127, "executable file not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
    ] {
        let draft = store.draft(ContainerId::random()).unwrap();
        let mut spec = fixture.spec(&draft, &ContainerRequest::new(""));
        spec.path = program.to_owned();
        spec.args = Vec::new();
        let container = store.create(draft, None, &spec).unwrap().release();
        let state = start(&container);
        assert_eq!(
            (state.status, state.exit_code),
            (ContainerStatus::Exited, code)
        );
        assert!(state.error.unwrap().ends_with(text));
    }
    let draft = store.draft(ContainerId::random()).unwrap();
    let mut spec = fixture.spec(&draft, &ContainerRequest::new("true"));
    spec.own.user.uid = 4_294_967_294;
    spec.own.layers = vec!["/does/not/exist".into()];
    let container = store.create(draft, None, &spec).unwrap().release();
    assert_eq!(start(&container).exit_code, 128);
}

fn names_are_unique(fixture: &Fixture) {
    let store = fixture.store();
    let create = |name: Option<&str>| {
        let draft = store.draft(ContainerId::random()).unwrap();
        let spec = fixture.spec(&draft, &ContainerRequest::new("true"));
        let name = name.map(|name| name.parse::<ContainerName>().unwrap());
        store.create(draft, name, &spec).map(HeldContainer::release)
    };
    let first = create(Some("web")).unwrap();
    let error = create(Some("/web")).unwrap_err().to_string();
    assert!(error.starts_with("Conflict. The container name \"/web\" is already in use by"));
    assert!(error.contains(first.id().as_str()));
    let made_up = create(None).unwrap().name().unwrap();
    assert!(made_up.as_str().contains('_'));
    let other = create(Some("other")).unwrap();
    assert!(store.rename(&other, &"web".parse().unwrap()).is_err());
    store.rename(&other, &"db".parse().unwrap()).unwrap();
    assert_eq!(store.find("db").unwrap().id(), other.id());
    assert!(store.find("other").is_err());
    assert_eq!(store.list().unwrap().len(), 3);
    // Many at the same time: one gets it.
    let winners = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| create(Some("race")).is_ok()))
            .collect();
        threads
            .into_iter()
            .filter(|_| true)
            .map(|t| u32::from(t.join().unwrap()))
            .sum::<u32>()
    });
    assert_eq!(winners, 1);
}

fn containers_are_found_by_name_and_id(fixture: &Fixture) {
    let store = fixture.store();
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let draft = store.draft(ContainerId::random()).unwrap();
        let spec = fixture.spec(&draft, &ContainerRequest::new("true"));
        let name = Some(name.parse().unwrap());
        let container = store.create(draft, name, &spec).unwrap().release();
        ids.push(container.id().clone());
    }
    let found = |reference: &str| {
        store
            .find(reference)
            .map(|container| container.id().clone())
    };
    assert_eq!(found("one").unwrap(), ids[0]);
    assert_eq!(found("/two").unwrap(), ids[1]);
    assert_eq!(found(ids[1].as_str()).unwrap(), ids[1]);
    assert_eq!(found(ids[1].short()).unwrap(), ids[1]);
    assert_eq!(
        found("three").unwrap_err().to_string(),
        "No such container: three"
    );
    assert!(matches!(
        found("").unwrap_err(),
        ContainerError::NotFound(_)
    ));
    // A name goes before the beginning of an id.
    let digit = &ids[0].as_str()[..2];
    store
        .rename(&store.find("two").unwrap(), &digit.parse().unwrap())
        .unwrap();
    assert_eq!(found(digit).unwrap(), ids[1]);
}

fn removing_takes_force_while_it_runs(fixture: &Fixture) {
    let container = fixture.make(&ContainerRequest::new("sleep 10000"));
    start(&container);
    let error = container.remove(Force::No).unwrap_err().to_string();
    assert!(
        error.contains("stop the container before removing or force remove"),
        "{error}"
    );
    container.remove(Force::Kill).unwrap();
    assert!(!container.directory().exists());
    assert!(matches!(
        container.state(),
        Err(ContainerError::NotFound(_))
    ));
    assert_no_leftovers(container.directory());
}

fn automatic_removal_follows_the_end(fixture: &Fixture) {
    let request = ContainerRequest {
        removal: Removal::Automatic,
        ..ContainerRequest::new("exit 4")
    };
    let container = fixture.make(&request);
    assert_eq!(
        container
            .run(monitor_of(&container), Attachment::default())
            .unwrap()
            .state
            .exit_code,
        4
    );
    let parent = container.directory().parent().unwrap();
    let left: Vec<_> = parent
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"]);
}

fn logs_are_followed_to_the_end(fixture: &Fixture) {
    let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.02; done; printf last";
    let container = fixture.make(&ContainerRequest::new(script));
    start(&container);
    let records = log(&container, Follow::UntilEnd);
    assert_eq!(text(&records, Stream::Stdout), "1\n2\n3\n4\n5\nlast");
    // A reader that is told to stop does, though the container goes on.
    let endless = fixture.make(&ContainerRequest::new("sleep 10000"));
    start(&endless);
    let stop = Stop::default();
    let mut reader = endless.logs(LogStart::Oldest, Follow::UntilEnd).unwrap();
    stop.ask();
    assert_eq!(reader.next_record(&stop).unwrap(), None);
    endless.remove(Force::Kill).unwrap();
}

fn etc_files_are_its_own(fixture: &Fixture) {
    let store = fixture.store();
    let draft = store.draft(ContainerId::random()).unwrap();
    let script = "cat /etc/hostname /etc/hosts; echo changed > /etc/hosts";
    let spec = fixture.spec(&draft, &ContainerRequest::new(script));
    draft.etc_file("hostname", "name\n").unwrap();
    draft.etc_file("hosts", "127.0.0.1 localhost\n").unwrap();
    let container = store.create(draft, None, &spec).unwrap().release();
    let state = container
        .run(monitor_of(&container), Attachment::default())
        .unwrap()
        .state;
    assert_eq!(state.exit_code, 0, "{state:?}");
    let records = log(&container, Follow::No);
    assert_eq!(
        text(&records, Stream::Stdout),
        "name\n127.0.0.1 localhost\n"
    );
    let hosts = container.directory().join("hosts");
    assert_eq!(std::fs::read_to_string(hosts).unwrap(), "changed\n");
    let upper = container.directory().join("upper");
    assert_eq!(std::fs::read_dir(upper).unwrap().count(), 0);
}

fn killed_monitors_leave_nothing(fixture: &Fixture) {
    let container = fixture.make(&ContainerRequest::new(
        "echo up; sleep 10000 & sleep 10000; true",
    ));
    start(&container);
    await_line(&container, "up\n");
    let mut follower = container.logs(LogStart::Oldest, Follow::UntilEnd).unwrap();
    kill_monitor(&container);
    // Following ends, waiting ends, and the state tells the truth.
    let stop = Stop::default();
    while follower.next_record(&stop).unwrap().is_some() {}
    let state = container.wait().unwrap();
    assert_eq!(
        (state.status, state.exit_code),
        (ContainerStatus::Exited, 137)
    );
    assert!(state.error.unwrap().contains("monitor"));
    container
        .stop(SignalNumber::TERM, StopPatience::Forever)
        .unwrap();
    assert!(container.kill(SignalNumber::TERM).is_err());
    // It can be run again.
    start(&container);
    container.remove(Force::Kill).unwrap();
    assert_no_leftovers(container.directory());
}

fn kill_monitor(container: &Container) {
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|&byte| byte == 0).collect();
        let directory = std::os::unix::ffi::OsStrExt::as_bytes(container.directory().as_os_str());
        if words.get(1) == Some(&&b"--monitor"[..]) && words.get(2) == Some(&directory) {
            let id = process.file_name();
            let killed = Command::new("kill").arg("-9").arg(id).status().unwrap();
            assert!(killed.success());
            return;
        }
    }
    panic!("no monitor");
}

fn drafts_that_are_dropped_vanish(fixture: &Fixture) {
    let store = fixture.store();
    let draft = store.draft(ContainerId::random()).unwrap();
    let directory = store.directory_of(draft.id());
    let root = directory.parent().unwrap().to_owned();
    let left = || root.read_dir().unwrap().count();
    assert_eq!(left(), 2);
    drop(draft);
    assert_eq!(left(), 1);
    // What a crash leaves is swept by the next draft; what is still being made is not.
    std::fs::create_dir(root.join("new-crashed")).unwrap();
    std::fs::write(root.join("new-crashed/lock"), "").unwrap();
    let first = store.draft(ContainerId::random()).unwrap();
    let _second = store.draft(ContainerId::random()).unwrap();
    assert_eq!(left(), 3);
    // It may have got even less far.
    std::fs::create_dir_all(root.join("new-early/upper")).unwrap();
    std::fs::create_dir_all(root.join("gone-nearly/upper")).unwrap();
    store.sweep().unwrap();
    assert_eq!(left(), 3);
    let spec = fixture.spec(&first, &ContainerRequest::new("true"));
    let held = store.create(first, None, &spec).unwrap();
    // Until it is let go of or started, it is not one that nobody needs.
    let container = held.container().clone();
    assert!(container.is_held().unwrap());
    drop(held);
    // A process that another test cloned meanwhile has the lock too, until it is its own program.
    let is_free = (0..1000).any(|_| {
        let is_held = container.is_held().unwrap();
        if is_held {
            std::thread::sleep(Duration::from_millis(10));
        }
        !is_held
    });
    assert!(is_free);
}
