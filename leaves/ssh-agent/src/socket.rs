//! Where an agent listens: a socket in a directory of its own, with a thread behind it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags, poll};

use crate::answer::Agent;

/// A socket that is there, and answered, as long as this value.
#[derive(Debug)]
pub struct ListeningSocket {
    path: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl ListeningSocket {
    /// Makes a socket called `agent` in `directory` that belongs to `owner`, and has `agent` answer
    /// every client.
    ///
    /// # Errors
    /// When the socket cannot be made there, or there is no thread to be had.
    pub fn open(directory: &Path, agent: Arc<Agent>, owner: SocketOwner) -> io::Result<Self> {
        let path = directory.join("agent");
        // An address has room for 107 bytes (unix(7)), a path below a state directory may have more.
        let directory = File::open(directory)?;
        let short = format!("/proc/self/fd/{}/agent", directory.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        listener.set_nonblocking(true)?;
        chown(&path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(&path, Permissions::from_mode(owner.mode & 0o777))?;
        let stop = Stop::default();
        let switch = stop.clone();
        let thread = std::thread::Builder::new()
            .name("ssh agent".to_owned())
            .spawn(move || listen(&listener, &agent, &switch))?;
        Ok(Self {
            path,
            stop,
            thread: Some(thread),
        })
    }

    /// Returns where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Who may use a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// The permission bits.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // A panic in it was said on its own.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes clients until it is asked to stop, and waits for those it has.
fn listen(listener: &UnixListener, agent: &Agent, stop: &Stop) {
    let Ok(asked) = stop.pollable() else {
        return;
    };
    std::thread::scope(|scope| {
        loop {
            let mut events = [
                PollFd::new(listener, PollFlags::IN),
                PollFd::from_borrowed_fd(asked, PollFlags::IN),
            ];
            let waited = poll(&mut events, None);
            if stop.is_asked() || waited.is_err_and(|error| error != rustix::io::Errno::INTR) {
                return;
            }
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    // There is no descriptor left for it; one may be in a moment.
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            let serve = move || serve(&client, agent, stop);
            // A client for whom there is no thread sees the connection closed.
            kiln_threads::spawn_or_skip(scope, serve);
        }
    });
}

fn serve(client: &UnixStream, agent: &Agent, stop: &Stop) {
    // What goes wrong, the client sees as a connection that ends.
    let _ = client
        .set_nonblocking(false)
        .and_then(|()| agent.serve(client, stop));
}
