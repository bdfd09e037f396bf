//! What a caller puts into the namespaces of a process that is not the program yet.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use kiln_runtime::{End, ExecError, JobNetwork, Read, Running, Stream};
use kiln_testbed::{assert_no_leftovers, cases};
use rustix::event::{PollFd, PollFlags};
use rustix::thread::LinkNameSpaceType;

use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    network_is_plugged_in_before_the_program_starts
    failed_plug_starts_nothing
    failed_start_is_told_to_who_plugs
];

/// Listens in a network namespace.
fn listen_in(network: OwnedFd) -> TcpListener {
    let listen = move || {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(network.as_fd(), kind).unwrap();
        TcpListener::bind("0.0.0.0:7").unwrap()
    };
    std::thread::spawn(listen).join().unwrap()
}

/// Waits for a process's end and sums up.
fn finish(mut running: Running) -> Result<kiln_runtime::JobOutcome, ExecError> {
    let mut end = [PollFd::from_borrowed_fd(running.end(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, None)).unwrap();
    let ended = running.reap().unwrap();
    running.read_reports().unwrap();
    running.finish(ended)
}

fn network_is_plugged_in_before_the_program_starts(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["nc", "127.0.0.1", "7"]);
    job.network = JobNetwork::None;
    let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
    let mut server = None;
    let running = fixture.executor.start_plugged(&job, |born| {
        let network = born.network()?;
        assert_ne!(rustix::fs::fstat(&network)?.st_ino, own);
        let listener = listen_in(network);
        server = Some(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            io::Write::write_all(&mut stream, b"plugged\n").unwrap();
        }));
        Ok(())
    });
    let running = running.unwrap();
    let mut output = [PollFd::from_borrowed_fd(
        running.output(Stream::Stdout),
        PollFlags::IN,
    )];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut output, None)).unwrap();
    let mut buffer = [0; 64];
    let read = running.read(Stream::Stdout, &mut buffer).unwrap();
    assert_eq!(read, Read::Bytes(b"plugged\n"));
    server.unwrap().join().unwrap();
    assert_eq!(finish(running).unwrap().end, End::Exited(0));
}

fn failed_plug_starts_nothing(fixture: &Fixture) {
    let (mut job, upper) = fixture.job(&["sh", "-c", ": > /started"]);
    job.network = JobNetwork::None;
    let refuse = |_: &kiln_runtime::WaitingProcess<'_>| Err(io::Error::other("no address is left"));
    let error = fixture.executor.start_plugged(&job, refuse).unwrap_err();
    let ExecError::Setup { what, source } = &error else {
        panic!("{error}");
    };
    assert_eq!(what, "plugging in the network");
    assert_eq!(source.to_string(), "no address is left");
    assert!(!upper.join("started").exists());
    assert_no_leftovers(upper.parent().unwrap());
}

fn failed_start_is_told_to_who_plugs(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["nobody-has-this"]);
    job.network = JobNetwork::None;
    let running = fixture.executor.start_plugged(&job, |_| Ok(())).unwrap();
    let end = finish(running).unwrap().end;
    assert!(matches!(end, End::NotFound { .. }), "{end:?}");
}
