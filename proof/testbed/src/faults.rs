use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is closed as soon as it is there.
    Close,
    /// It is closed after so many bytes of answers.
    Cut(u64),
    /// Its first request is answered with this status and not passed on.
    Status(u16),
    /// Its answers come a few bytes at a time, for so many bytes.
    Slow(u64),
    /// The lowest bit of this byte of its answers is turned around.
    Damage(u64),
}

type Choose = dyn Fn(u64) -> Fault + Send + Sync;

/// A server on loopback that passes connections on to another one, and does to each what a test wants.
///
/// Only answers suffer, so that what the other side was told is known to be what was said.
pub struct FaultyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    choose: Box<Choose>,
    connections: AtomicU64,
    faults: AtomicU64,
    stopping: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl fmt::Debug for FaultyProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyProxy").field(&self.address).finish()
    }
}

impl FaultyProxy {
    /// Starts a proxy for `target`. `choose` is asked for each connection, with its number.
    ///
    /// # Panics
    ///
    /// If there is no port left.
    pub fn start(
        target: SocketAddr,
        choose: impl Fn(u64) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback should have a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let shared = Arc::new(Shared {
            target,
            choose: Box::new(choose),
            connections: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if own.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let own = Arc::clone(&own);
                // Broken connections are what this is for.
                std::thread::spawn(move || drop(own.serve(client)));
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Returns host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections that something was done to.
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::SeqCst)
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        for stream in self.shared.lock().drain(..) {
            // One that is closed already is as good.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let fault = (self.choose)(number);
        self.lock().push(client.try_clone()?);
        match fault {
            Fault::Close => {
                self.happened();
                return client.shutdown(Shutdown::Both);
            }
            Fault::Status(status) => {
                let mut head = [0; 4096];
                if client.read(&mut head)? == 0 {
                    return Ok(());
                }
                self.happened();
                let answer = format!(
                    "HTTP/1.1 {status} Fault\r\nretry-after: 0\r\nconnection: close\r\n\
                     content-length: 0\r\n\r\n"
                );
                client.write_all(answer.as_bytes())?;
                return client.shutdown(Shutdown::Both);
            }
            _ => {}
        }
        let server = TcpStream::connect(self.target)?;
        self.lock().push(server.try_clone()?);
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let copied = io::copy(&mut from, &mut to);
            drop(to.shutdown(Shutdown::Write));
            copied
        });
        let passed = self.pass_answers(&server, &client, fault);
        drop(server.shutdown(Shutdown::Both));
        drop(client.shutdown(Shutdown::Both));
        passed
    }

    fn happened(&self) {
        self.faults.fetch_add(1, Ordering::SeqCst);
    }

    fn pass_answers(
        &self,
        mut server: &TcpStream,
        mut client: &TcpStream,
        fault: Fault,
    ) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        let mut passed = 0;
        loop {
            let room = match fault {
                Fault::Slow(count) if passed < count => 512,
                _ => buffer.len(),
            };
            let count = server.read(&mut buffer[..room])?;
            if count == 0 {
                return Ok(());
            }
            let bytes = &mut buffer[..count];
            let end = passed + count as u64;
            match fault {
                Fault::Cut(at) if at < end => {
                    self.happened();
                    let rest = usize::try_from(at - passed).unwrap_or(0);
                    return client.write_all(&bytes[..rest]);
                }
                Fault::Damage(at) if (passed..end).contains(&at) => {
                    self.happened();
                    bytes[usize::try_from(at - passed).unwrap_or(0)] ^= 1;
                }
                Fault::Slow(_) if room < 16 << 10 => {
                    if passed == 0 {
                        self.happened();
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => {}
            }
            client.write_all(bytes)?;
            passed = end;
        }
    }
}
