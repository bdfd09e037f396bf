//! Descriptors that a process passes to a program outside before it ends.

#![expect(unsafe_code, reason = "maps a file into memory")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kiln_runtime::{End, ExecError, Executor as _, Job, JobNetwork, Stream};
use kiln_testbed::{FLOOD_BYTES, cases, flood, outsider};
use kiln_threads::Stop;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    files_that_others_may_write_to_are_refused
    files_that_were_written_to_are_not
    directories_are_of_no_use
    files_to_read_are_of_no_use
    containers_keep_their_files
    output_that_others_go_on_writing_ends
];

/// Passes something to whoever listens, and waits until that has it. Runs in the sandbox.
pub(crate) fn hand_out(address: &str, what: &str) -> ExitCode {
    let given = match what {
        "written" | "read" | "deleted" => {
            fs::write("/data", "AAAA").unwrap();
            let options = File::options()
                .read(true)
                .write(what == "written")
                .open("/data");
            if what == "deleted" {
                fs::remove_file("/data").unwrap();
            }
            OwnedFd::from(options.unwrap())
        }
        "directory" => OwnedFd::from(File::open("/").unwrap()),
        "stdout" => std::io::stdout().as_fd().try_clone_to_owned().unwrap(),
        other => panic!("{other}"),
    };
    kiln_testbed::hand_out(address, given.as_fd());
    ExitCode::SUCCESS
}

/// Describes a process that passes something, the file with its changes, and where it is awaited.
fn job(fixture: &Fixture, what: &str) -> (Job, std::path::PathBuf, String) {
    let unique = fixture.directory();
    let address = unique.display().to_string();
    let (mut job, upper) = fixture.own_job(&["--hand-out", &address, what]);
    job.network = JobNetwork::Host;
    (job, upper, address)
}

/// Takes what it is given along.
fn keep(given: OwnedFd, socket: UnixStream) -> OwnedFd {
    (&socket).write_all(b"x").unwrap();
    given
}

/// Maps a file and closes it; the map stays until this program ends.
fn map(given: OwnedFd, socket: UnixStream) {
    // SAFETY: a new map, at an address of the kernel's choice, that nobody looks at.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            given.as_raw_fd(),
            0,
        )
    };
    assert_ne!(map, libc::MAP_FAILED);
    drop(given);
    drop(keep(socket.as_fd().try_clone_to_owned().unwrap(), socket));
}

fn files_that_others_may_write_to_are_refused(fixture: &Fixture) {
    let refused = |job: &Job| match fixture.try_run(job) {
        Err(error @ ExecError::StillWritten) => {
            let words = error.to_string();
            assert!(words.contains("a process outside this step"), "{words}");
        }
        Err(other) => panic!("{other}"),
        Ok(ran) => panic!("{:?}", ran.outcome),
    };
    for what in ["written", "deleted"] {
        let (job, _, address) = job(fixture, what);
        let kept = outsider(&address, keep);
        refused(&job);
        drop(kept.join().unwrap());
    }
    let (job, _, address) = job(fixture, "written");
    let mapped = outsider(&address, map);
    refused(&job);
    mapped.join().unwrap();
}

fn files_that_were_written_to_are_not(fixture: &Fixture) {
    let (job, upper, address) = job(fixture, "written");
    let wrote = outsider(&address, |given, socket| {
        let mut file = File::from(given);
        file.write_all(b"BBBB").unwrap();
        drop(file);
        (&socket).write_all(b"x").unwrap();
    });
    fixture.output(&job);
    wrote.join().unwrap();
    assert_eq!(fs::read(upper.join("data")).unwrap(), b"BBBB");
}

fn directories_are_of_no_use(fixture: &Fixture) {
    let (job, upper, address) = job(fixture, "directory");
    let kept = outsider(&address, keep);
    fixture.output(&job);
    let directory = kept.join().unwrap();
    let before = list(&upper);
    let open = |name: &str, flags| rustix::fs::openat(&directory, name, flags, Mode::RWXU);
    let planted = open("planted", OFlags::CREATE | OFlags::RDWR);
    assert_eq!(planted.unwrap_err(), Errno::ROFS);
    let changed = open("etc/passwd", OFlags::RDWR);
    assert_eq!(changed.unwrap_err(), Errno::ROFS);
    assert_eq!(list(&upper), before);
}

fn files_to_read_are_of_no_use(fixture: &Fixture) {
    let (job, upper, address) = job(fixture, "read");
    let kept = outsider(&address, keep);
    fixture.output(&job);
    let file = kept.join().unwrap();
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let written = rustix::fs::open(again, OFlags::WRONLY, Mode::empty());
    assert_eq!(written.unwrap_err(), Errno::ROFS);
    let made = rustix::fs::fchmod(&file, Mode::RWXU);
    assert_eq!(made.unwrap_err(), Errno::ROFS);
    assert_eq!(fs::read(upper.join("data")).unwrap(), b"AAAA");
}

fn containers_keep_their_files(fixture: &Fixture) {
    // Nobody makes something of them that is named by its content.
    let (mut job, _, address) = job(fixture, "written");
    job.changes = kiln_runtime::RootChanges::Lasting;
    let kept = outsider(&address, keep);
    fixture.output(&job);
    let mut file = File::from(kept.join().unwrap());
    file.write_all(b"BBBB").unwrap();
}

/// Takes output, the first of it when the process has ended, and what follows not faster than there
/// is more; returns how much it was.
fn take_slowly(bytes: &[u8], ended: &mut Option<Receiver<()>>) -> usize {
    if let Some(ended) = ended.take() {
        ended.recv().unwrap();
    }
    std::thread::sleep(Duration::from_millis(2));
    bytes.len()
}

fn output_that_others_go_on_writing_ends(fixture: &Fixture) {
    let (job, _, address) = job(fixture, "stdout");
    let (end, ended) = channel();
    let writer = outsider(&address, move |given, socket| flood(given, socket, &end));
    let (mut taken, mut ended) = (0, Some(ended));
    let mut take = |_: Stream, bytes: &[u8]| taken += take_slowly(bytes, &mut ended);
    let stop = Stop::default();
    let outcome = fixture.executor.run(&job, &mut take, &stop).unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert!(taken < FLOOD_BYTES / 8, "{taken}");
    writer.join().unwrap();
}
