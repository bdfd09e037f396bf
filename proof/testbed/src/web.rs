use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A request that reached a [`Web`].
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// What stands before the question mark.
    pub path: String,
    /// What stands behind it.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent.
    pub body: Vec<u8>,
}

/// What a [`Web`] answers.
#[derive(Debug, Clone)]
pub struct WebAnswer {
    /// The status.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

impl WebAnswer {
    /// Returns an answer without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Handler = dyn Fn(&WebRequest) -> WebAnswer + Send + Sync;

/// An HTTP server on a free port of loopback that answers as a test wants, and notes who asked.
///
/// It understands what clients like git and kiln send, one request for each connection.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Web").field(&self.address).finish()
    }
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<WebRequest>>,
    stopping: AtomicBool,
}

impl Web {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If there is no port left.
    pub fn start(handler: impl Fn(&WebRequest) -> WebAnswer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback should have a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if own.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let own = Arc::clone(&own);
                // A client that goes away in the middle is a case that tests make on purpose.
                std::thread::spawn(move || drop(own.serve(&client)));
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

    /// Returns the URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the requests so far, and forgets them.
    pub fn requests(&self) -> Vec<WebRequest> {
        let mut requests = self.shared.lock();
        std::mem::take(&mut requests)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<WebRequest>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let request = read_request(client)?;
        self.lock().push(request.clone());
        let answer = (self.handler)(&request);
        let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // An answer whose announced length is wrong is one that breaks off.
        let announced = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-length");
        if !answer.headers.iter().any(announced) && answer.status != 304 {
            head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
        }
        head.push_str("\r\n");
        let mut client = client;
        client.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            client.write_all(&answer.body)?;
        }
        client.flush()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            // It panics for no reason of the test's.
            let _ = thread.join();
        }
    }
}

fn read_request(client: &TcpStream) -> io::Result<WebRequest> {
    let mut reader = BufReader::new(client);
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = WebRequest {
        method: words.next().unwrap_or_default(),
        ..WebRequest::default()
    };
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    (request.path, request.query) = (path.to_owned(), query.to_owned());
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        request.headers.insert(name, value.trim().to_owned());
    }
    request.body = read_body(&mut reader, &request.headers)?;
    Ok(request)
}

fn read_body(
    reader: &mut BufReader<&TcpStream>,
    headers: &BTreeMap<String, String>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let encoding = headers.get("transfer-encoding");
    if encoding.is_some_and(|encoding| encoding == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            reader.take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = headers.get("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}
