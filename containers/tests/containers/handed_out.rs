//! Output that a container passes to a program outside before it ends.

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use kiln_containers::{Attachment, Follow};
use kiln_runtime::Stream;
use kiln_testbed::{FLOOD_BYTES, cases, flood, outsider};

use crate::fixture::{ContainerRequest, Fixture, log, monitor_of, run_this_program, text};

pub(crate) const CASES: &[crate::Case] = cases![output_that_others_go_on_writing_ends];

/// Passes standard output to whoever listens. Runs in the container.
pub(crate) fn hand_out(address: &str) -> ExitCode {
    kiln_testbed::hand_out(address, std::io::stdout().as_fd());
    ExitCode::SUCCESS
}

fn output_that_others_go_on_writing_ends(fixture: &Fixture) {
    let address = fixture.directory().display().to_string();
    let container = fixture.make_with(&ContainerRequest::new(""), |spec| {
        run_this_program(spec, &["--hand-out", &address]);
    });
    let (end, ended) = channel();
    let writer = outsider(&address, move |given, socket| flood(given, socket, &end));
    let mut ended = Some(ended);
    let mut take = |_: Stream, _: &[u8]| {
        // The first when the process has ended, and the others not faster than there is more.
        if let Some(ended) = ended.take() {
            ended.recv().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
        Ok(())
    };
    let attachment = Attachment {
        output: Some(&mut take),
        ..Attachment::default()
    };
    let state = container
        .run(monitor_of(&container), attachment)
        .unwrap()
        .state;
    assert_eq!(state.exit_code, 0, "{state:?}");
    writer.join().unwrap();
    let records = log(&container, Follow::No);
    let kept = text(&records, Stream::Stdout).len();
    assert!(kept < FLOOD_BYTES / 8, "{kept}");
}
