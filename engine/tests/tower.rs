//! The bytes of an axum application on this engine are those of the same application on hyper, but for the date.
//!
//! Not compared: what the servers refuse before it becomes a request, and where a service sends on what it reads,
//! whose pieces are as large as each server happens to receive them.

mod support;

#[path = "../examples/axum/router.rs"]
mod router;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use peregrine::{App, Server};
use support::client::{PATIENCE, post, post_chunked};

/// How the reading of a response ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// A last request is added, whose response says `connection: close`: what a server does with the connection after
    /// the one before it shows as well.
    Asked,
    /// The server closes by itself.
    Own,
    /// It need not: the head of one response is read and its length.
    One,
}

struct Script {
    request: Vec<u8>,
    /// Sent when `100 Continue` has come.
    continued: Vec<u8>,
    end: End,
}

fn script(request: impl Into<Vec<u8>>) -> Script {
    Script { request: request.into(), continued: Vec::new(), end: End::Asked }
}

/// A request without a body, whose further lines are given.
fn plain(line: &str, fields: &[&str]) -> Script {
    let mut text = format!("{line} HTTP/1.1\r\nHost: test\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    script(text + "\r\n")
}

fn typed(path: &str, kind: &str, body: &str) -> Script {
    let length = body.len();
    script(format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn ending(script: Script, end: End) -> Script {
    Script { end, ..script }
}

fn both(first: &Script, second: &Script) -> Script {
    script([&*first.request, &*second.request].concat())
}

fn scripts() -> Vec<Script> {
    let close = "Connection: close";
    let origin = "Origin: http://elsewhere";
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let old = |line: &str, fields: &str| script(format!("{line} HTTP/1.0\r\nHost: test\r\n{fields}\r\n"));
    let kilobytes = |count: usize| support::client::pattern(count * 1024);
    vec![
        plain("GET /", &[]),
        plain("HEAD /", &[]),
        plain("GET /empty", &[]),
        plain("HEAD /empty", &[]),
        plain("GET /large", &[]),
        plain("HEAD /large", &[]),
        plain("GET /moved", &[]),
        plain("BREW /teapot", &[]),
        plain("GET /cached", &[]),
        plain("HEAD /cached", &[]),
        plain("GET /reset", &[]),
        ending(plain("GET /bye", &[]), End::Own),
        plain("GET /dated", &[]),
        plain("GET /numbers/30", &[]),
        plain("GET /numbers/0", &[]),
        plain("HEAD /numbers/3", &[]),
        plain("GET /trailers", &["TE: trailers"]),
        plain("GET /trailers", &[]),
        script(
            "POST /trailers HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: x-in\r\n\r\n\
             4\r\nwith\r\n0\r\nX-In: 1\r\nx-in: 2\r\n\r\n",
        ),
        plain("GET /nowhere", &[]),
        plain("HEAD /nowhere", &[]),
        plain("POST /", &[]),
        plain("OPTIONS /", &[]),
        plain("OPTIONS /api/items/1", &[origin, "Access-Control-Request-Method: DELETE"]),
        plain("OPTIONS /api/items/1", &[]),
        plain("GET /api/items/7", &[origin]),
        plain("GET /api/items/x", &[]),
        plain("GET /api/nowhere", &[]),
        plain("DELETE /api/items/7", &[]),
        plain("PUT /api/items/7", &[]),
        plain("GET /api/list?page=2&tag=a%20b", &[]),
        plain("GET /api/list", &[]),
        typed("/api/orders", json, r#"{"item":"pen","count":3}"#),
        typed("/api/orders", json, r#"{"item":"#),
        typed("/api/orders", json, r#"{"item":"pen","count":"three"}"#),
        typed("/api/orders", "text/plain", "{}"),
        plain("GET /api/orders", &[]),
        typed("/api/form", form, "item=pen&count=3"),
        typed("/api/form", form, "item=pen&count=many"),
        typed("/api/form", json, "{}"),
        plain("GET /packed/text", &["Accept-Encoding: gzip, br"]),
        plain("GET /packed/text", &[]),
        plain("HEAD /packed/text", &["Accept-Encoding: gzip"]),
        script(post("/limited/echo", b"small")),
        script(post("/limited/echo", &[b'x'; 2000])),
        // hyper closes then, and does not say so.
        ending(script(post_chunked("/limited/echo", &[b'x'; 2000], 100)), End::One),
        typed("/echo", "text/x", "hello"),
        script(post("/echo", b"")),
        script(post_chunked("/echo", &kilobytes(1), 17)),
        script(post("/echo", &kilobytes(300))),
        script(post_chunked("/echo", &kilobytes(300), 10_000)),
        Script {
            request:
                b"POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
                    .into(),
            continued: b"hello".into(),
            end: End::Asked,
        },
        Script {
            request: b"POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\
                       Transfer-Encoding: chunked\r\n\r\n"
                .into(),
            continued: b"5\r\nhello\r\n0\r\n\r\n".into(),
            end: End::Asked,
        },
        ending(plain("POST /limited/echo", &["Content-Length: 3000000"]), End::One),
        script(post("/relay", &kilobytes(100))),
        plain("GET /fields?a=b&%20", &["X-One: 1", "x-two:  a b ", "X-ONE: 2", "Cookie: a=b", "X-Empty:"]),
        script(b"GET /fields HTTP/1.1\r\nHost: test\r\nX-Text: gr\xFC\xDF\r\n\r\n"),
        script("GET http://example.com/fields?x=1 HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        plain("PROPFIND /fields", &["Depth: 1"]),
        ending(plain("GET /", &[close]), End::Own),
        ending(plain("GET /numbers/2", &[close]), End::Own),
        ending(plain("HEAD /", &[close]), End::Own),
        ending(old("GET /", ""), End::Own),
        ending(old("GET /numbers/3", ""), End::Own),
        ending(old("HEAD /numbers/3", ""), End::Own),
        old("GET /", "Connection: keep-alive\r\n"),
        both(&plain("GET /", &[]), &plain("GET /api/items/1", &[])),
        both(&script(post("/echo", b"first")), &plain("GET /numbers/3", &[])),
        both(&plain("GET /numbers/3", &[]), &plain("HEAD /", &[])),
        both(&script(post_chunked("/echo", b"chunked", 3)), &plain("DELETE /api/items/7", &[])),
        both(&script(post("/nowhere", &kilobytes(1))), &plain("GET /", &[])),
    ]
}

/// All bytes of the responses.
fn play(address: SocketAddr, script: &Script) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    stream.set_nodelay(true).expect("an open socket");
    let mut received = Vec::new();
    stream.write_all(&script.request).expect("an open connection");
    if !script.continued.is_empty() {
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).expect("an interim response");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&script.continued).expect("an open connection");
    }
    match script.end {
        End::Own => {}
        End::Asked => {
            stream.write_all(b"GET /bye HTTP/1.1\r\nHost: test\r\n\r\n").expect("an open connection");
        }
        End::One => {
            let mut byte = [0];
            while !received.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).expect("a head");
                received.push(byte[0]);
            }
            let head = String::from_utf8(received.clone()).expect("a head of text");
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let mut body = vec![0; length.parse().expect("a number")];
            stream.read_exact(&mut body).expect("a body");
            return [received, body].concat();
        }
    }
    stream.read_to_end(&mut received).expect("an orderly end");
    received
}

/// Without the lines of dates, of which there must be one for each response.
fn without_dates(mut bytes: Vec<u8>) -> Vec<u8> {
    const NAME: &[u8] = b"\r\ndate: ";
    while let Some(at) = bytes.windows(NAME.len()).position(|window| window == NAME) {
        let line = &bytes[at + 2..at + NAME.len() + 31];
        assert!(line.ends_with(b" GMT\r\n"), "no date: {:?}", line.escape_ascii().to_string());
        bytes.drain(at + 2..at + NAME.len() + 31);
        // Marks the place.
        bytes.splice(at..at + 2, *b"\r\n<date>\r\n");
    }
    bytes
}

/// The same application, on hyper and tokio.
fn start_on_hyper() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("an open socket");
    let address = listener.local_addr().expect("an open socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router::router()).await.expect("no failure");
        });
    });
    address
}

fn start() -> Server {
    let mut options = support::options();
    options.server_header = false;
    let mut app = App::with_options(options);
    app.tower(router::router());
    app.start().expect("a server")
}

#[test]
fn every_byte_is_that_of_hyper() {
    let hyper = start_on_hyper();
    let server = start();
    let address = server.addresses()[0];
    let scripts = scripts();
    assert!(scripts.len() >= 50);
    let mut differences = Vec::new();
    for script in &scripts {
        let expected = without_dates(play(hyper, script));
        let got = without_dates(play(address, script));
        if got != expected {
            let show = |bytes: &[u8]| {
                bytes[..bytes.len().min(1500)].escape_ascii().to_string().replace("\\r\\n", "\n")
            };
            let request = show(&script.request[..script.request.len().min(100)]);
            differences.push(format!("{request}\n--- hyper\n{}\n--- here\n{}", show(&expected), show(&got)));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n=====\n"));
    server.shutdown().expect("no failure");
}
