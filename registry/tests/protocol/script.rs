//! A server that does exactly what a test tells it to, one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_testbed::{Tool, run};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter();
        found
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .next()
    }

    /// Returns method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn body_text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How much of the body is sent before the connection breaks.
    sent: Option<usize>,
    /// The pause after each byte.
    drip: Option<Duration>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            sent: None,
            drip: None,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn cut_after(mut self, count: usize) -> Self {
        self.sent = Some(count);
        self
    }

    /// Sends the body byte by byte.
    pub(crate) fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    fn write(&self, stream: &mut impl Write, is_head: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", self.status);
        let own_length = self.headers.iter();
        if !own_length
            .map(|(name, _)| name)
            .any(|name| name == "Content-Length")
        {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if !is_head {
            let count = self.sent.unwrap_or(self.body.len());
            match self.drip {
                None => stream.write_all(&self.body[..count])?,
                Some(pause) => {
                    for byte in &self.body[..count] {
                        stream.write_all(&[*byte])?;
                        stream.flush()?;
                        thread::sleep(pause);
                    }
                }
            }
        }
        stream.flush()
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port of the loopback interface. Ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    ending: AtomicBool,
    /// What proves to clients who this is; none speaks plain HTTP.
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", None, handler)
    }

    /// Starts a server of which nothing comes by plain HTTP.
    pub(crate) fn start_tls(
        certificate: &Certificate,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1", Some(certificate), handler)
    }

    /// Starts a server at another address of this machine, which is another host.
    pub(crate) fn start_elsewhere(
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.2", None, handler)
    }

    fn start_at(
        address: &str,
        certificate: Option<&Certificate>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::new(Vec::new()),
            ending: AtomicBool::new(false),
            tls: certificate.map(|certificate| Arc::clone(&certificate.config)),
        });
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if served.ending.load(Ordering::SeqCst) {
                    break;
                }
                let served = Arc::clone(&served);
                connections.push(thread::spawn(move || served.serve(stream.unwrap())));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Returns host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = match self.shared.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}{path}", self.address)
    }

    pub(crate) fn image(&self, name: &str) -> kiln_oci::TaggedRef {
        format!("{}/{name}", self.address).parse().unwrap()
    }

    /// Returns everything that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns methods and paths of everything that was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            if !thread::panicking() {
                outcome.unwrap();
            }
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let tcp = stream.try_clone().unwrap();
        let Some(config) = &self.tls else {
            self.converse(stream, |_| tcp.shutdown(Shutdown::Write));
            return;
        };
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let stream = StreamOwned::new(connection, stream);
        self.converse(stream, |stream| {
            stream.conn.send_close_notify();
            stream.flush()?;
            tcp.shutdown(Shutdown::Write)
        });
    }

    fn converse<S: Read + Write>(
        &self,
        stream: S,
        close: impl FnOnce(&mut S) -> std::io::Result<()>,
    ) {
        let mut reader = BufReader::new(stream);
        let Some(mut request) = read_head(&mut reader) else {
            return;
        };
        // Some servers refuse before they have read what is sent to them.
        let early = request.path.contains("early");
        if !early && read_body(&mut reader, &mut request).is_none() {
            return;
        }
        self.requests.lock().unwrap().push(request.clone());
        let reply = (self.handler)(&request);
        let is_head = request.method == "HEAD";
        // A client that has seen enough may be gone.
        if reply.write(reader.get_mut(), is_head).is_err() {
            return;
        }
        let _ = close(reader.get_mut());
        if early {
            // Closing with unread data would reset the connection under the answer.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        }
    }
}

/// What a server on 127.0.0.1 has for its TLS.
pub(crate) struct Certificate {
    config: Arc<ServerConfig>,
    /// Holds `cert.pem`, and `key.pem` for it.
    pub(crate) directory: tempfile::TempDir,
}

impl Certificate {
    pub(crate) fn new(openssl: &Tool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        run(openssl
            .command()
            .current_dir(root)
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test".split(' '))
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args("-keyout key.pem -out cert.pem".split(' ')));
        let certificate = CertificateDer::from_pem_file(root.join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(root.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            directory,
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = next()?;
    let mut words = first.split(' ');
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Request::default()
    };
    loop {
        let line = next()?;
        if line.is_empty() {
            return Some(request);
        }
        let (name, value) = line.split_once(':')?;
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_body(reader: &mut impl Read, request: &mut Request) -> Option<()> {
    let length = match request.header("content-length") {
        Some(length) => length.parse().ok()?,
        None => 0,
    };
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()
}
