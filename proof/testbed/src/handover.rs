//! Descriptors that a process passes to a program outside its sandbox, over an abstract socket.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::PidfdFlags;

/// Passes a descriptor to the [`outsider`] at an address, and waits until that has it. Runs in the
/// sandbox.
///
/// # Panics
/// If no process listens there.
pub fn hand_out(address: &str, given: BorrowedFd<'_>) {
    let socket = UnixStream::connect_addr(&name(address)).expect("a process listens");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [given];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = [IoSlice::new(b"x")];
    rustix::net::sendmsg(&socket, &bytes, &mut ancillary, SendFlags::empty())
        .expect("it is passed");
    (&socket).read_exact(&mut [0]).expect("it has arrived");
}

fn name(address: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(address).expect("the name is short")
}

/// Waits outside for a descriptor, and does something with it, and with the connection, until whose
/// end the process in the sandbox runs. That goes on when it has a byte.
///
/// # Panics
/// If the address is taken.
pub fn outsider<T: Send + 'static>(
    address: &str,
    act: impl FnOnce(OwnedFd, UnixStream) -> T + Send + 'static,
) -> JoinHandle<T> {
    let listener = UnixListener::bind_addr(&name(address)).expect("the address is free");
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client connects");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(&socket, &mut bytes, &mut ancillary, flags).expect("a message comes");
        let given = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut given) => given.next(),
            _ => None,
        });
        act(given.expect("it has a descriptor"), socket)
    })
}

/// Bytes that [`flood`] writes: more than a pipe holds, and than is read at once.
pub const FLOOD_BYTES: usize = 16 << 20;

/// Writes to what an [`outsider`] was given until no process reads any more, and says when the process
/// in the sandbox has ended.
///
/// # Panics
/// If the process cannot be watched.
pub fn flood(given: OwnedFd, socket: UnixStream, ended: &Sender<()>) {
    let process = rustix::net::sockopt::socket_peercred(&socket).expect("it is known");
    let process = rustix::process::pidfd_open(process.pid, PidfdFlags::empty())
        .expect("it waits for our answer");
    let given = &File::from(given);
    std::thread::scope(|scope| {
        // Two, so that there is always something to read.
        for _ in 0..2 {
            scope.spawn(move || {
                let bytes = [b'x'; 64 << 10];
                let mut left = FLOOD_BYTES / 2;
                let mut writer = given;
                while left > 0 && writer.write_all(&bytes).is_ok() {
                    left -= bytes.len();
                }
            });
        }
        (&socket).write_all(b"x").expect("it reads");
        let mut end = [PollFd::new(&process, PollFlags::IN)];
        rustix::event::poll(&mut end, None).expect("it ends");
        ended.send(()).expect("the test waits for it");
    });
}
