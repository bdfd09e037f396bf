//! Containers in the foreground: their output, their input, their terminal, their signals.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use kiln_containers::{
    Attachment, ContainerError, ContainerStatus, Containers, Follow, Force, Signals,
};
use kiln_runtime::{Stream, Streams, WindowSize, userns};
use kiln_testbed::cases;

use crate::fixture::{ContainerRequest, Fixture, await_line, log, monitor_of, start, text};

pub(crate) const CASES: &[crate::Case] = cases![
    foreground_container_shows_its_output
    input_reaches_the_container
    terminal_can_be_resized
    signals_are_passed_on
];

/// Runs a container in the foreground, as a command line would.
pub(crate) fn foreground(root: &Path, name: &str) -> ExitCode {
    let signals = Signals::take().unwrap();
    userns::enter(&userns::Options::default()).unwrap();
    let container = Containers::open(root).unwrap().find(name).unwrap();
    let mut print = |_: Stream, bytes: &[u8]| {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    let attachment = Attachment {
        output: Some(&mut print),
        signals: Some(&signals),
        ..Attachment::default()
    };
    ExitCode::from(
        container
            .run(monitor_of(&container), attachment)
            .unwrap()
            .state
            .exit_code,
    )
}

fn foreground_container_shows_its_output(fixture: &Fixture) {
    let container = fixture.make(&ContainerRequest::new("hostname; echo err >&2; exit 5"));
    assert_eq!(container.state().unwrap().status, ContainerStatus::Created);
    let mut seen = Vec::new();
    let mut collect = |_: Stream, bytes: &[u8]| {
        seen.extend_from_slice(bytes);
        Ok(())
    };
    let attachment = Attachment {
        output: Some(&mut collect),
        ..Attachment::default()
    };
    let state = container
        .run(monitor_of(&container), attachment)
        .unwrap()
        .state;
    assert_eq!(
        (state.status, state.exit_code),
        (ContainerStatus::Exited, 5)
    );
    assert_eq!(container.state().unwrap(), state);
    assert!(state.started.unwrap() <= state.finished.unwrap());
    let id = container.id().short();
    let all = String::from_utf8(seen).unwrap();
    assert!(all.contains(&format!("{id}\n")) && all.contains("err\n"));
    let records = log(&container, Follow::No);
    assert_eq!(text(&records, Stream::Stdout), format!("{id}\n"));
    assert_eq!(text(&records, Stream::Stderr), "err\n");
}

fn input_reaches_the_container(fixture: &Fixture) {
    let request = ContainerRequest {
        streams: Streams::Piped,
        ..ContainerRequest::new("wc -c; echo end")
    };
    let container = fixture.make(&request);
    let (read, write) = std::io::pipe().unwrap();
    // More than fits into a pipe.
    let writer = std::thread::spawn(move || (&write).write_all(&[b'x'; 300_000]).unwrap());
    let attachment = Attachment {
        input: Some(std::os::fd::AsFd::as_fd(&read)),
        ..Attachment::default()
    };
    container.run(monitor_of(&container), attachment).unwrap();
    writer.join().unwrap();
    let records = log(&container, Follow::No);
    assert_eq!(text(&records, Stream::Stdout), "300000\nend\n");
}

fn terminal_can_be_resized(fixture: &Fixture) {
    let request = ContainerRequest {
        streams: Streams::Terminal(WindowSize {
            rows: 10,
            columns: 20,
        }),
        ..ContainerRequest::new(
            "trap 'stty size; exit' WINCH; stty size; while true; do sleep 0.1; done",
        )
    };
    let container = fixture.make(&request);
    start(&container);
    await_line(&container, "10 20\r\n");
    container
        .resize(WindowSize {
            rows: 30,
            columns: 40,
        })
        .unwrap();
    container.wait().unwrap();
    let records = log(&container, Follow::No);
    assert_eq!(text(&records, Stream::Stdout), "10 20\r\n30 40\r\n");
    let plain = fixture.make(&ContainerRequest::new("sleep 10000"));
    start(&plain);
    let size = WindowSize {
        rows: 1,
        columns: 1,
    };
    assert!(matches!(
        plain.resize(size),
        Err(ContainerError::Refused { .. })
    ));
    plain.remove(Force::Kill).unwrap();
}

fn signals_are_passed_on(fixture: &Fixture) {
    let script = "trap 'echo got; exit 9' USR1; echo up; while true; do sleep 0.1; done";
    let container = fixture.make(&ContainerRequest::new(script));
    let root = container.directory().parent().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--foreground")
        .args([root.as_os_str(), container.id().as_str().as_ref()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let sent = Command::new("kill")
        .args(["-USR1", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}
