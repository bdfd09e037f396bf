//! Descriptors that a process passes to a program outside before it ends.

#![expect(unsafe_code, reason = "maps a file into memory")]

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_runtime::containers::{Attachment, Follow, LogStream};
use kiln_runtime::{Cancel, End, ExecError, Executor as _, Job, Network, Stream};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::PidfdFlags;

use crate::cases;
use crate::containers::{Wish, log, spec, store, text};
use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    files_that_others_may_write_to_are_refused
    files_that_were_written_to_are_not
    directories_are_of_no_use
    files_to_read_are_of_no_use
    containers_keep_their_files
    output_that_others_go_on_writing_ends
    output_of_containers_ends_too
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
    let socket = UnixStream::connect_addr(&name(address)).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [given.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = [IoSlice::new(b"x")];
    rustix::net::sendmsg(&socket, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
    (&socket).read_exact(&mut [0]).unwrap();
    ExitCode::SUCCESS
}

fn name(address: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(address).unwrap()
}

/// Waits outside for something, and does something with it, and with the connection, until whose
/// end the process in the sandbox runs. That goes on when it has a byte.
fn outsider<T: Send + 'static>(
    address: &str,
    act: impl FnOnce(OwnedFd, UnixStream) -> T + Send + 'static,
) -> JoinHandle<T> {
    let listener = UnixListener::bind_addr(&name(address)).unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(&socket, &mut bytes, &mut ancillary, flags).unwrap();
        let given = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut given) => given.next(),
            _ => None,
        });
        act(given.unwrap(), socket)
    })
}

/// Describes a process that passes something, the file with its changes, and where it is awaited.
fn job(fixture: &Fixture, what: &str) -> (Job, std::path::PathBuf, String) {
    let unique = fixture.directory();
    let address = unique.display().to_string();
    let (mut job, upper) = fixture.own_job(&["--hand-out", &address, what]);
    job.network = Network::Host;
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
    job.changes = kiln_runtime::Changes::Lasting;
    let kept = outsider(&address, keep);
    fixture.output(&job);
    let mut file = File::from(kept.join().unwrap());
    file.write_all(b"BBBB").unwrap();
}

/// Bytes. More than a pipe holds, and than is read at once.
const FLOOD: usize = 16 << 20;

/// Writes until nobody reads any more, and says when the process in the sandbox has ended.
fn flood(given: OwnedFd, socket: UnixStream, ended: &Sender<()>) {
    let process = rustix::net::sockopt::socket_peercred(&socket).unwrap().pid;
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty()).unwrap();
    let given = &File::from(given);
    std::thread::scope(|scope| {
        // Two, so that there is always something to read.
        for _ in 0..2 {
            scope.spawn(move || {
                let bytes = [b'x'; 64 << 10];
                let mut left = FLOOD / 2;
                let mut writer = given;
                while left > 0 && writer.write_all(&bytes).is_ok() {
                    left -= bytes.len();
                }
            });
        }
        (&socket).write_all(b"x").unwrap();
        let mut end = [PollFd::new(&process, PollFlags::IN)];
        rustix::event::poll(&mut end, None).unwrap();
        ended.send(()).unwrap();
    });
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
    let cancel = Cancel::new().unwrap();
    let outcome = fixture.executor.run(&job, &mut take, &cancel).unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert!(taken < FLOOD / 8, "{taken}");
    writer.join().unwrap();
}

fn output_of_containers_ends_too(fixture: &Fixture) {
    let (job, _, address) = job(fixture, "stdout");
    let store = store(fixture);
    let draft = store.draft().unwrap();
    let mut spec = spec(fixture, &draft, &Wish::new(""));
    spec.job.process.argv = job.process.argv;
    spec.job.mounts = job.mounts;
    spec.job.network = job.network;
    let container = store.create(draft, None, &spec).unwrap().release();
    let (end, ended) = channel();
    let writer = outsider(&address, move |given, socket| flood(given, socket, &end));
    let mut ended = Some(ended);
    let mut take = |_: Stream, bytes: &[u8]| {
        take_slowly(bytes, &mut ended);
        Ok(())
    };
    let attachment = Attachment {
        output: Some(&mut take),
        ..Attachment::default()
    };
    let state = container.run(attachment).unwrap().state;
    assert_eq!(state.exit_code, 0, "{state:?}");
    writer.join().unwrap();
    let records = log(&container, Follow::No);
    let kept = text(&records, LogStream::Stdout).len();
    assert!(kept < FLOOD / 8, "{kept}");
}
