//! Every limit over loopback: at the limit, one over, and at its default.
//!
//! Deadlines and buffers are tested on the simulator's clock, where a second is a second; here they are seen to
//! reach the running server.

mod support;

use std::time::{Duration, Instant};

use peregrine::{App, Exchange, ExchangeError, Limits, Method, MinDataRate, Request, Response, Server};
use support::client::{Client, PATIENCE, await_some};

async fn count(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut bytes = 0;
    while let Some(chunk) = exchange.body().read().await? {
        bytes += chunk.len();
    }
    exchange.respond(|response| response.text(&bytes.to_string()))
}

async fn echo(mut exchange: Exchange) -> Result<(), ExchangeError> {
    match exchange.upgrade("echo", |_| {}) {
        Ok(mut stream) => {
            while let Some(chunk) = stream.read().await? {
                stream.write(&chunk).await?;
            }
            Ok(())
        }
        Err(error) => exchange.respond(|response| response.status(503).text(&error.to_string())),
    }
}

fn start(change: impl FnOnce(&mut Limits)) -> Server {
    let mut options = support::options();
    change(&mut options.limits);
    let mut app = App::with_options(options);
    app.get("/", |_: &Request, response: &mut Response| response.text("hi"));
    app.get("/{*rest}", |_: &Request, response: &mut Response| response.text("hi"));
    app.post("/", |request: &Request, response: &mut Response| {
        response.text(&request.body().len().to_string());
    });
    app.post("/small", |request: &Request, response: &mut Response| {
        response.text(&request.body().len().to_string());
    });
    app.limits_for("/small", |limits| limits.max_request_body_size = Some(10));
    app.on(Method::Post, "/count", count);
    app.on(Method::Post, "/large", count);
    app.limits_for("/large", |limits| limits.max_request_body_size = None);
    app.on(Method::Get, "/echo", echo);
    app.start().expect("a server")
}

fn connect(server: &Server) -> Client {
    Client::connect(server.addresses()[0])
}

/// The status of the answer to `bytes`, on a connection of its own; a rejection must end it.
#[track_caller]
fn status(server: &Server, bytes: impl AsRef<[u8]>) -> u16 {
    let mut client = connect(server);
    client.send(bytes);
    let response = client.receive();
    if response.status >= 400 {
        assert!(response.is_last() && response.body.is_empty(), "{response:?}");
        client.expect_end();
    }
    response.status
}

/// A request whose line has so many bytes, its end included.
fn with_line(bytes: usize) -> String {
    let around = "GET / HTTP/1.1\r\n".len();
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - around))
}

/// A request whose fields have so many bytes, the empty line not included.
fn with_fields(bytes: usize) -> String {
    let around = "Host: a\r\nA: \r\n".len();
    format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(bytes - around))
}

fn with_field_count(count: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
}

#[test]
fn max_request_line_size() {
    for (server, limit) in [(start(|limits| limits.max_request_line_size = 100), 100), (start(|_| {}), 8192)]
    {
        assert_eq!(status(&server, with_line(limit)), 200);
        assert_eq!(status(&server, with_line(limit + 1)), 414);
    }
}

#[test]
fn max_request_headers_total_size() {
    let small = start(|limits| limits.max_request_headers_total_size = 200);
    for (server, limit) in [(small, 200), (start(|_| {}), 32_768)] {
        assert_eq!(status(&server, with_fields(limit)), 200);
        assert_eq!(status(&server, with_fields(limit + 1)), 431);
    }
}

#[test]
fn max_request_header_count() {
    for (server, limit) in [(start(|limits| limits.max_request_header_count = 5), 5), (start(|_| {}), 100)] {
        assert_eq!(status(&server, with_field_count(limit)), 200);
        assert_eq!(status(&server, with_field_count(limit + 1)), 431);
    }
}

fn post(path: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let size = format!("{:x}\r\n", body.len());
    [head.as_bytes(), size.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

#[test]
fn max_request_body_size() {
    let server = start(|limits| limits.max_request_body_size = Some(1000));
    let body = [b'x'; 1001];
    for path in ["/", "/count"] {
        assert_eq!(status(&server, post(path, 1000, &body[..1000])), 200, "{path}");
        assert_eq!(status(&server, post(path, 1001, b"")), 413, "{path}: by its announcement");
        assert_eq!(status(&server, chunked(path, &body[..1000])), 200, "{path}");
        assert_eq!(status(&server, chunked(path, &body)), 413, "{path}: by what has arrived");
    }
    // A route's own limit, above and below the server's.
    assert_eq!(status(&server, post("/small", 10, &body[..10])), 200);
    assert_eq!(status(&server, post("/small", 11, b"")), 413);
    assert_eq!(status(&server, post("/large", 1001, &body)), 200);

    let server = start(|_| {});
    assert_eq!(status(&server, post("/", 30_000_000, &vec![b'x'; 30_000_000])), 200);
    assert_eq!(status(&server, post("/", 30_000_001, b"")), 413);
    let none = start(|limits| limits.max_request_body_size = None);
    assert_eq!(status(&none, post("/count", 30_000_001, &vec![b'x'; 30_000_001])), 200);
}

#[test]
fn max_buffered_bodies_size() {
    let server = start(|limits| limits.max_buffered_bodies_size = Some(1_000_000));
    // One of the two comes too late, whichever it is.
    let mut clients = [connect(&server), connect(&server)];
    clients.iter_mut().for_each(|client| client.send(post("/", 900_000, &vec![b'x'; 600_000])));
    let refused = await_some("a refusal", || {
        clients.iter_mut().position(|client| {
            let timeout = Some(Duration::from_millis(20));
            client.stream.set_read_timeout(timeout).expect("an open socket");
            client.stream.peek(&mut [0]).is_ok_and(|len| len > 0)
        })
    });
    clients.iter().for_each(|client| client.stream.set_read_timeout(Some(PATIENCE)).expect("an open socket"));
    let response = clients[refused].receive();
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("1")));
    assert!(response.is_last());
    let other = &mut clients[1 - refused];
    other.send(vec![b'x'; 300_000]);
    assert_eq!(other.receive().text(), "900000");
    // Streams are not collected.
    assert_eq!(status(&server, post("/count", 2_000_000, &vec![b'x'; 2_000_000])), 200);
}

#[test]
fn max_concurrent_connections() {
    let server = start(|limits| limits.max_concurrent_connections = Some(2));
    let mut clients = [connect(&server), connect(&server)];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let mut third = connect(&server);
    let refused = third.get("/");
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("1")));
    assert!(refused.is_last());
    third.expect_end();
    drop(clients);
    let served = || {
        let mut client = connect(&server);
        (client.get("/").status == 200).then_some(())
    };
    await_some("a place", served);
}

#[test]
fn max_connections_per_address() {
    let server = start(|limits| limits.max_connections_per_address = Some(1));
    let mut first = connect(&server);
    assert_eq!(first.get("/").status, 200);
    let refused = connect(&server).get("/");
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("1")));
    // Another address of ours.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let other = std::net::SocketAddr::from((support::own_address(), 0));
    socket.bind(&other.into()).expect("an address of the loopback network");
    socket.connect(&server.addresses()[0].into()).expect("a listener");
    socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    assert_eq!(Client::over(std::net::TcpStream::from(socket)).get("/").status, 200);
    drop(first);
    await_some("a place", || (connect(&server).get("/").status == 200).then_some(()));
}

const UPGRADE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn max_concurrent_upgraded_connections() {
    let server = start(|limits| {
        limits.max_concurrent_upgraded_connections = Some(1);
        limits.max_concurrent_connections = Some(2);
    });
    let mut first = connect(&server);
    first.send(UPGRADE);
    assert_eq!(first.receive_head().status, 101);
    first.send("any bytes");
    assert_eq!(first.take(9), b"any bytes");
    let mut second = connect(&server);
    second.send(UPGRADE);
    let refused = second.receive();
    assert_eq!((refused.status, refused.is_last()), (503, false));
    assert!(refused.text().contains("max_concurrent_upgraded_connections"), "{}", refused.text());
    // An upgraded connection does not count among the others.
    let mut third = connect(&server);
    assert_eq!((second.get("/").status, third.get("/").status), (200, 200));
    assert_eq!(connect(&server).get("/").status, 503);
    first.finish_sending();
    first.expect_end();
    drop(first);
    await_some("a place", || {
        second.send(UPGRADE);
        let is_upgraded = second.receive_head().status == 101;
        if !is_upgraded {
            second = connect(&server);
        }
        is_upgraded.then_some(())
    });
}

#[test]
fn max_requests_per_connection() {
    let server = start(|limits| limits.max_requests_per_connection = Some(2));
    let mut client = connect(&server);
    assert!(!client.get("/").is_last());
    assert!(client.get("/").is_last());
    client.expect_end();
    let server = start(|_| {});
    let mut client = connect(&server);
    assert!((0..1000).all(|_| !client.get("/").is_last()));
}

#[test]
fn timeouts_reach_the_running_server() {
    let second = Duration::from_secs(1);
    let rate = MinDataRate::new(1000, Duration::from_millis(1500));
    let server = start(|limits| {
        limits.keep_alive_timeout = 3 * second;
        limits.request_headers_timeout = second;
        limits.max_connection_lifetime = Some(2 * second);
        limits.min_request_body_data_rate = Some(rate);
    });
    let begin = Instant::now();
    let (mut head, mut body, mut stream, mut old) =
        (connect(&server), connect(&server), connect(&server), connect(&server));
    head.send("GET / HTTP");
    body.send(post("/", 10, b"x"));
    stream.send(post("/count", 10, b"x"));
    assert_eq!(head.receive().status, 408);
    head.expect_end_after(begin, second);
    for client in [&mut body, &mut stream] {
        assert_eq!(client.receive().status, 408);
        client.expect_end_after(begin, rate.grace_period);
    }
    old.expect_end_after(begin, 2 * second);
}

#[test]
fn a_client_that_reads_too_slowly_is_cut_off() {
    let server = start(|limits| {
        limits.min_response_data_rate = Some(MinDataRate::new(1_000_000, Duration::from_millis(1500)));
    });
    let mut client = connect(&server);
    // More than the buffers of both ends hold.
    let request = b"GET /path HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    client.stream.set_write_timeout(Some(Duration::from_millis(100))).expect("an open socket");
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if std::io::Write::write_all(&mut client.stream, &request)
            .is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        {
            return;
        }
    }
    panic!("still connected after {PATIENCE:?}");
}

#[test]
fn the_defaults_are_those_of_kestrel() {
    let limits = Limits::default();
    let rate = Some(MinDataRate::new(240, Duration::from_secs(5)));
    assert_eq!(limits.max_request_line_size, 8192);
    assert_eq!(limits.max_request_headers_total_size, 32_768);
    assert_eq!(limits.max_request_header_count, 100);
    assert_eq!(limits.max_request_body_size, Some(30_000_000));
    assert_eq!(limits.max_request_buffer_size, Some(1_048_576));
    assert_eq!(limits.max_response_buffer_size, Some(65_536));
    assert_eq!(limits.keep_alive_timeout, Duration::from_secs(130));
    assert_eq!(limits.request_headers_timeout, Duration::from_secs(30));
    assert_eq!((limits.min_request_body_data_rate, limits.min_response_data_rate), (rate, rate));
    assert_eq!((limits.max_concurrent_connections, limits.max_concurrent_upgraded_connections), (None, None));
}

#[test]
fn a_limit_for_a_route_that_does_not_exist_is_refused_at_the_start() {
    let mut app = App::with_options(support::options());
    app.limits_for("/nowhere", |_| {});
    let error = app.start().expect_err("no such route").to_string();
    assert!(error.contains("/nowhere") && error.contains("has limits, but no handler"), "{error}");
}
