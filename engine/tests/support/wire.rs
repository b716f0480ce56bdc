//! Conversations as bytes: what goes in, what comes out, and whether the connection goes on afterwards. One
//! server for a whole test binary; its answers are short enough to be written out in a test.

#![allow(dead_code, reason = "every test binary uses another part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{LazyLock, Once};
use std::{panic, thread};

use peregrine::{App, Options, Request, Response, Server};

use super::client::PATIENCE;

/// The request behind one that keeps the connection: that it is answered proves it.
pub(crate) const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
pub(crate) const NEXT_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext";

/// The request behind one that ends the connection: it must never be answered.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
pub(crate) const SMUGGLED_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 8\r\n\r\nsmuggled";

/// Answers with what was understood: method, path, query and body, with a bar between them.
fn show(request: &Request, response: &mut Response) {
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    let head = format!("{} {}{query}|", request.method_name(), request.path());
    response.body("", [head.as_bytes(), request.body()].concat());
}

/// Answers with the value of the request's `X` fields, with a bar behind each.
fn values(request: &Request, response: &mut Response) {
    let mut all = Vec::new();
    for (name, value) in request.fields() {
        if name.eq_ignore_ascii_case("x") {
            all.extend_from_slice(value);
            all.push(b'|');
        }
    }
    response.body("", all);
}

/// The application of all conversations: no `Server`, no `Content-Type`, so that answers are short.
pub(crate) fn app(change: impl FnOnce(&mut Options)) -> App {
    silence_workers();
    let mut options = super::options();
    options.server_header = false;
    change(&mut options);
    let mut app = App::with_options(options);
    app.get("/", |_: &Request, response: &mut Response| response.body("", &b"hello"[..]));
    app.get("/next", |_: &Request, response: &mut Response| response.body("", &b"next"[..]));
    app.get("/smuggled", |_: &Request, response: &mut Response| response.body("", &b"smuggled"[..]));
    app.post("/echo", |request: &Request, response: &mut Response| {
        response.body("", request.body().to_vec());
    });
    app.any("/show", show).any("/show/{*rest}", show).any("/values", values);
    app.get("/close", |_: &Request, response: &mut Response| response.close().body("", &b"bye"[..]));
    app.get("/typed", |_: &Request, response: &mut Response| response.text("typed"));
    app.get("/status/{status}", |request: &Request, response: &mut Response| {
        let status = request.param("status").and_then(|status| status.parse().ok()).unwrap_or(0);
        response.status(status).body("", &b"body"[..]);
    });
    app.get("/split", |_: &Request, response: &mut Response| {
        response.field("X", "a\r\nSet-Cookie: b").body("", &b"body"[..]);
    });
    app.get("/framing", |_: &Request, response: &mut Response| {
        response.field("Transfer-Encoding", "chunked").body("", &b"body"[..]);
    });
    app.get("/lying", |_: &Request, response: &mut Response| {
        response.field("Content-Length", "99").body("", &b"body"[..]);
    });
    app.get("/panic", |_: &Request, _: &mut Response| panic!("as asked"));
    super::streams::register(&mut app);
    app
}

/// Keeps panics of handlers, which are on purpose, out of the tests' output.
fn silence_workers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !thread::current().name().is_some_and(|name| name.starts_with("peregrine-")) {
                print(info);
            }
        }));
    });
}

/// The server of the test binary. It ends with the process.
static SERVER: LazyLock<Server> =
    LazyLock::new(|| app(|options| options.workers = Some(2)).start().expect("a server"));

pub(crate) fn address() -> SocketAddr {
    SERVER.addresses()[0]
}

/// What a client does with its side of the connection when all is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// Leaves it open: the server must end the connection by itself.
    Wait,
    /// Shuts it down.
    Finish,
}

/// Sends the pieces, each with a write of its own, and reads all that comes until the end of the connection.
pub(crate) fn converse(
    address: SocketAddr,
    pieces: &[&[u8]],
    then: Then,
) -> Result<Vec<u8>, (String, Vec<u8>)> {
    let connect = || {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok::<_, std::io::Error>(stream)
    };
    let mut stream = connect().map_err(|error| (format!("could not connect: {error}"), Vec::new()))?;
    for piece in pieces {
        // The server may have refused an earlier piece and be gone: what it said is read all the same.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    if then == Then::Finish {
        // Refused if the server has gone already.
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => Ok(received),
        Err(error) => Err((format!("instead of an orderly end: {error}"), received)),
    }
}

/// Answers as text, with `Date: -` for every date that is one.
pub(crate) fn masked(received: &[u8]) -> String {
    const DATE: &str = "\r\nDate: ";
    const DATE_CHARS: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
    let text = String::from_utf8_lossy(received);
    let mut parts = text.split(DATE);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(DATE);
        match part.split_once("\r\n") {
            Some((date, _)) if date.len() == DATE_CHARS && date.ends_with(" GMT") => {
                masked.push('-');
                masked.push_str(&part[DATE_CHARS..]);
            }
            _ => masked.push_str(part),
        }
    }
    masked
}

/// All answers to the bytes. The client shuts its side down behind them.
#[track_caller]
pub(crate) fn exchange(request: impl AsRef<[u8]>) -> String {
    finish(converse(address(), &[request.as_ref()], Then::Finish), request.as_ref())
}

#[track_caller]
fn finish(outcome: Result<Vec<u8>, (String, Vec<u8>)>, request: &[u8]) -> String {
    match outcome {
        Ok(received) => masked(&received),
        Err((problem, received)) => {
            panic!("{problem}; received {:?}; sent {:?}", masked(&received), shown(request))
        }
    }
}

/// The beginning of a request, for messages.
pub(crate) fn shown(request: &[u8]) -> String {
    let head = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
    if request.len() > 300 { format!("{head}... ({} bytes)", request.len()) } else { head }
}

/// Asserts that a request gets exactly this answer, and that its connection serves the next one.
#[track_caller]
pub(crate) fn assert_stays(request: impl AsRef<[u8]>, answer: &str) {
    let bytes = [request.as_ref(), NEXT.as_bytes()].concat();
    let got = finish(converse(address(), &[&bytes], Then::Wait), &bytes);
    assert_eq!(got, format!("{answer}{NEXT_ANSWER}"), "to {:?}", shown(request.as_ref()));
}

/// Asserts that a request gets exactly this answer, that a request behind it gets none, and that the server ends
/// the connection by itself.
#[track_caller]
pub(crate) fn assert_ends(request: impl AsRef<[u8]>, answer: &str) {
    let bytes = [request.as_ref(), SMUGGLED.as_bytes()].concat();
    let got = finish(converse(address(), &[&bytes], Then::Wait), &bytes);
    assert_eq!(got, answer, "to {:?}", shown(request.as_ref()));
}

/// Asserts that a request is refused with exactly `HTTP/1.1 STATUS REASON`, `Date`, `Connection: close` and
/// `Content-Length: 0`, as [`assert_ends`] does.
#[track_caller]
pub(crate) fn assert_rejected(request: impl AsRef<[u8]>, status: u16) {
    assert_ends(request, &rejection(status));
}

/// Takes a chunked body off: its data, its trailer lines, and what follows it.
pub(crate) fn take_chunked(mut rest: &str) -> Option<(String, String, &str)> {
    let mut data = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            let end = if after.starts_with("\r\n") { 0 } else { after.find("\r\n\r\n")? + 2 };
            return Some((data, after[..end].to_owned(), &after[end + 2..]));
        }
        data.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// Asserts that a request is answered with this head, with a chunked body of this data and these trailer lines,
/// and that its connection serves the next one. How the data is cut into chunks is not asserted.
#[track_caller]
pub(crate) fn assert_stays_chunked(request: impl AsRef<[u8]>, head: &str, data: &str, trailers: &str) {
    let got = exchange([request.as_ref(), NEXT.as_bytes()].concat());
    let body = got.strip_prefix(head).unwrap_or_else(|| panic!("no such head: {got:?}"));
    let taken = take_chunked(body).unwrap_or_else(|| panic!("no chunked body: {got:?}"));
    assert_eq!(taken, (data.to_owned(), trailers.to_owned(), NEXT_ANSWER), "{got:?}");
}

/// Asserts that bytes that the client ends with its side of the connection get no answer at all.
#[track_caller]
pub(crate) fn assert_unanswered(request: impl AsRef<[u8]>) {
    assert_eq!(exchange(request.as_ref()), "", "to {:?}", shown(request.as_ref()));
}

/// The bytes of a rejection.
pub(crate) fn rejection(status: u16) -> String {
    let reason = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        other => panic!("no rejection has the status {other}"),
    };
    format!("HTTP/1.1 {status} {reason}\r\nDate: -\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

/// A `200` that keeps the connection.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % end
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
