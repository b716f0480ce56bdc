//! A raw HTTP/1.1 client: sends exactly the bytes that it is given, and reads responses one by one.

#![allow(dead_code, reason = "every test binary uses another part of it")]

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long anything may take that is to happen. Only a failing test waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long to rest between two looks at something that is about to happen.
const REST: Duration = Duration::from_millis(2);

/// Waits until `look` has found something.
#[track_caller]
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(REST);
    }
}

/// A GET request without further ado.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A POST request whose body is framed by its length.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A POST request whose body comes in chunks of `chunk` bytes.
pub(crate) fn post_chunked(path: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for data in body.chunks(chunk) {
        request.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        request.extend_from_slice(data);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// Bytes in which a lost, doubled or moved piece shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index ^ (index >> 8).wrapping_mul(31) ^ (index >> 16).wrapping_mul(131)) as u8)
        .collect()
}

/// Asserts that two bodies are the same, without printing megabytes.
#[track_caller]
pub(crate) fn assert_same_bytes(got: &[u8], expected: &[u8]) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(got, expected)| got != expected);
        panic!("{} bytes instead of {}, the first difference at {at:?}", got.len(), expected.len());
    }
}

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status_line: String,
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a status line").to_owned();
        assert!(status_line.starts_with("HTTP/1.1 "), "no status line: {status_line:?}");
        let status = status_line[9..12].parse().expect("a status of three digits");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
            (name.to_owned(), value.to_owned())
        };
        Self {
            status_line,
            status,
            fields: lines.map(field).collect(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// All values of the fields with this name, in any letter case.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let same = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only field with this name.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields(name);
        assert!(found.len() <= 1, "{name} is there more than once: {found:?}");
        found.first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// Whether the server says that it is the last one of its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.field("Connection").is_some_and(|options| options.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    /// Received and not yet read.
    bytes: Vec<u8>,
    start: usize,
}

impl Client {
    /// Connects; every write is a segment of its own.
    #[track_caller]
    pub(crate) fn connect(address: impl ToSocketAddrs + Debug) -> Self {
        let stream = TcpStream::connect(&address)
            .unwrap_or_else(|error| panic!("no connection to {address:?}: {error}"));
        stream.set_nodelay(true).expect("an open socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an open socket");
        Self::over(stream)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, bytes: Vec::new(), start: 0 }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap_or_else(|error| panic!("could not send: {error}"));
    }

    /// Sends one request for a path and reads its response.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(get(path));
        self.receive()
    }

    /// Like [`get`](Self::get) where the connection may be refused instead, by its handshake too.
    #[track_caller]
    pub(crate) fn try_get(&mut self, path: &str) -> io::Result<Response> {
        self.stream.write_all(get(path).as_bytes())?;
        let mut first = [0; 1];
        self.stream.read_exact(&mut first)?;
        self.bytes.extend_from_slice(&first);
        Ok(self.receive())
    }

    /// The next response, interim ones included.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Response {
        let mut response = self.receive_head();
        let bodiless = matches!(response.status, 100..=199 | 204 | 304);
        assert_eq!(response.fields("Transfer-Encoding"), [""; 0], "not understood here");
        if !bodiless {
            let length = response.field("Content-Length").expect("a length");
            let length: usize = length.parse().expect("a number");
            response.body = self.take(length);
        }
        response
    }

    /// The next response, whose body is chunked.
    #[track_caller]
    pub(crate) fn receive_stream(&mut self) -> Response {
        let head = self.receive_head();
        self.receive_chunks(head)
    }

    /// The chunks of a response whose head was received.
    #[track_caller]
    pub(crate) fn receive_chunks(&mut self, mut response: Response) -> Response {
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        loop {
            let size = self.take_line();
            let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            if size == 0 {
                break;
            }
            response.body.extend_from_slice(&self.take(size));
            assert_eq!(self.take(2), b"\r\n");
        }
        loop {
            let line = self.take_line();
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "", "no trailer");
                return response;
            };
            response.trailers.push((name.to_owned(), value.to_owned()));
        }
    }

    #[track_caller]
    fn take_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend_from_slice(&self.take(1));
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("a line of text")
    }

    /// The next response as far as its head goes: all there is of one to HEAD.
    #[track_caller]
    pub(crate) fn receive_head(&mut self) -> Response {
        let mut seen = self.start;
        let end = loop {
            let from = seen.saturating_sub(3).max(self.start);
            if let Some(at) = self.bytes[from..].windows(4).position(|window| window == b"\r\n\r\n") {
                break from + at;
            }
            seen = self.bytes.len();
            self.read_more("a response's head");
        };
        let head = std::str::from_utf8(&self.bytes[self.start..end]).expect("a head of text");
        let response = Response::parse(head);
        self.start = end + 4;
        response
    }

    /// The next `length` bytes.
    #[track_caller]
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.bytes.len() - self.start < length {
            self.read_more("a response's body");
        }
        let taken = self.bytes[self.start..self.start + length].to_vec();
        self.start += length;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        taken
    }

    /// All bytes up to the orderly end of the connection.
    #[track_caller]
    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        let mut all = self.bytes.split_off(self.start);
        self.bytes.clear();
        self.start = 0;
        if let Err(error) = self.stream.read_to_end(&mut all) {
            panic!("instead of an orderly end: {error}");
        }
        all
    }

    #[track_caller]
    fn read_more(&mut self, what: &str) {
        let mut block = [0; 64 * 1024];
        match self.stream.read(&mut block) {
            Ok(0) => panic!("the connection ended inside {what}: {:?}", self.unread()),
            Ok(len) => self.bytes.extend_from_slice(&block[..len]),
            Err(error) => panic!("{error} while waiting for {what}: {:?}", self.unread()),
        }
    }

    fn unread(&self) -> String {
        let unread = &self.bytes[self.start..];
        String::from_utf8_lossy(&unread[..unread.len().min(1000)]).into_owned()
    }

    /// Asserts that nothing more comes but the orderly end of the connection.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.unread(), "", "more than was asked for");
        let mut block = [0; 1000];
        match self.stream.read(&mut block) {
            Ok(0) => {}
            Ok(len) => panic!("instead of the end: {:?}", String::from_utf8_lossy(&block[..len])),
            Err(error) => panic!("instead of an orderly end: {error}"),
        }
    }

    /// Asserts that nothing more comes but the orderly end, and that no sooner than `least` after `begin`.
    #[track_caller]
    pub(crate) fn expect_end_after(&mut self, begin: Instant, least: Duration) {
        self.expect_end();
        assert!(begin.elapsed() >= least, "ended after only {:?}", begin.elapsed());
    }

    /// Waits until the connection has ended in whatever way, dropping what comes before; returns whether the
    /// end was orderly.
    #[track_caller]
    pub(crate) fn await_any_end(&mut self) -> bool {
        let mut block = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return false;
                }
                Err(error) => panic!("the connection did not end: {error}"),
            }
        }
    }
}
