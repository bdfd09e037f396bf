//! Packages on the loopback interface, so that no builder waits for a server elsewhere.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kiln_testbed::{Daemon, busybox};

use crate::error::Error;

const PATIENCE: Duration = Duration::from_secs(5);

/// An HTTP server of the files in one directory: busybox's. What it uses counts for everybody
/// alike.
#[derive(Debug)]
pub(crate) struct Mirror {
    _server: Daemon,
    port: u16,
}

impl Mirror {
    /// Starts to serve a directory; ends when it is dropped.
    pub(crate) fn of(directory: &Path) -> Result<Self, Error> {
        let busybox = busybox()?;
        // Between choosing a port and listening on it, another process may take it.
        for _ in 0..10 {
            let port = free_port().map_err(Error::at(directory))?;
            let mut server = Daemon::spawn(
                std::process::Command::new(&busybox)
                    .args(["httpd", "-f", "-p"])
                    .arg(format!("127.0.0.1:{port}"))
                    .arg("-h")
                    .arg(directory)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null()),
                PATIENCE,
            )
            .map_err(Error::at(&busybox))?;
            if answers(&mut server, port) {
                return Ok(Self {
                    _server: server,
                    port,
                });
            }
        }
        Err(Error::Lacking("busybox serves no files here".to_owned()))
    }

    /// Returns how addresses of its files begin, up to the slash.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn answers(server: &mut Daemon, port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + PATIENCE;
    while server.is_running() && Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};

    use kiln_testbed::{Scratch, need};

    use super::*;

    #[test]
    fn files_are_served() {
        need!(busybox());
        let scratch = Scratch::new();
        fs::write(scratch.join("package"), "its content").unwrap();
        let mirror = Mirror::of(scratch.path()).unwrap();
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, mirror.port)).unwrap();
        connection
            .write_all(b"GET /package HTTP/1.0\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 OK"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nits content"), "{answer}");
    }
}
