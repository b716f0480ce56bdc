//! Streams over loopback: real sockets, real drivers, and clients that do as they like.

mod support;

use std::time::{Duration, Instant};

use peregrine::http::Upgraded;
use peregrine::{App, Exchange, ExchangeError, Method, Request, Response, Server};
use support::client::{Client, assert_same_bytes, pattern, post, post_chunked};

async fn echo(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let kind = exchange.request().field("Content-Type").unwrap_or("none").to_owned();
    let mut stream = exchange.start(|head| {
        head.field("X-Kind", &kind);
    })?;
    while let Some(chunk) = exchange.body().read().await? {
        stream.write(&chunk).await?;
    }
    stream.finish()
}

async fn count(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut bytes = 0;
    while let Some(chunk) = exchange.body().read().await? {
        bytes += chunk.len();
    }
    exchange.respond(|response| response.text(&bytes.to_string()))
}

async fn download(mut exchange: Exchange) -> Result<(), ExchangeError> {
    static PIECE: [u8; 64 * 1024] = [b'd'; 64 * 1024];
    let pieces = exchange.request().param("pieces").and_then(|text| text.parse().ok()).unwrap_or(0);
    let length = exchange.request().query_value("length").is_some();
    let mut stream = exchange.start(|head| {
        if length {
            head.content_length(pieces * PIECE.len() as u64);
        }
    })?;
    for _ in 0..pieces {
        stream.send(&PIECE[..]).await?;
    }
    Ok(())
}

async fn hints(mut exchange: Exchange) -> Result<(), ExchangeError> {
    assert!(exchange.inform(101, &[]).is_err() && exchange.inform(200, &[]).is_err());
    assert!(exchange.inform(103, &[("Link", "a\r\nX: b")]).is_err());
    exchange.inform(103, &[("Link", "</a.css>; rel=preload")])?;
    exchange.inform(102, &[])?;
    exchange.respond(|response| response.text("done"))?;
    assert_eq!(exchange.inform(103, &[]), Err(ExchangeError::AlreadyStarted));
    Ok(())
}

async fn reverse(mut stream: Upgraded) -> Result<(), ExchangeError> {
    while let Some(chunk) = stream.read().await? {
        let reversed: Vec<u8> = chunk.iter().rev().copied().collect();
        stream.send(reversed).await?;
        stream.flush().await?;
    }
    stream.write(b"bye").await
}

async fn upgrade(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let stream = exchange.upgrade("reverse", |head| {
        head.field("X-Extra", "1");
    })?;
    reverse(stream).await
}

async fn tunnel(mut exchange: Exchange) -> Result<(), ExchangeError> {
    if exchange.request().target() == "closed:1" {
        return exchange.respond(|response| {
            response.status(502);
        });
    }
    let (mut reader, mut writer) = exchange.accept_connect(|_| {})?.split();
    while let Some(chunk) = reader.read().await? {
        let reversed: Vec<u8> = chunk.iter().rev().copied().collect();
        writer.send(reversed).await?;
        writer.flush().await?;
    }
    writer.write(b"bye").await
}

/// Waits for a thread, which wakes it from outside.
async fn from_a_thread(mut exchange: Exchange) -> Result<(), ExchangeError> {
    use std::sync::{Arc, Mutex};
    use std::task::{Poll, Waker};

    let state: Arc<Mutex<(Option<u32>, Option<Waker>)>> = Arc::default();
    let theirs = Arc::clone(&state);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let mut state = theirs.lock().expect("no panic");
        state.0 = Some(42);
        // On a slow machine nobody may wait yet; then the value is found by the first look.
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    });
    let answer = std::future::poll_fn(|context| {
        let mut state = state.lock().expect("no panic");
        state.1 = Some(context.waker().clone());
        state.0.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    thread.join().expect("no panic");
    exchange.respond(|response| response.text(&answer.to_string()))
}

fn start() -> Server {
    let mut app = App::with_options(support::options());
    app.get("/", |_: &Request, response: &mut Response| response.text("hi"));
    app.post("/trailers", |request: &Request, response: &mut Response| {
        let told = |(name, value): (&str, &[u8])| format!("{name}={}", String::from_utf8_lossy(value));
        let fields = request.fields().filter(|(name, _)| name.starts_with("X-")).map(told);
        let trailers = request.trailers().map(told);
        response
            .text(&[fields.collect::<Vec<_>>().join(","), trailers.collect::<Vec<_>>().join(",")].join("|"));
    });
    app.on(Method::Post, "/echo", echo);
    app.on(Method::Post, "/count", count);
    app.limits_for("/count", |limits| limits.max_request_body_size = None);
    app.on(Method::Get, "/download/{pieces}", download);
    app.on(Method::Get, "/hints", hints);
    app.on(Method::Get, "/upgrade", upgrade);
    app.on(Method::Get, "/thread", from_a_thread);
    app.connect(tunnel);
    app.start().expect("a server")
}

fn connect(server: &Server) -> Client {
    Client::connect(server.addresses()[0])
}

#[test]
fn a_large_body_goes_through_and_back() {
    let server = start();
    let body = pattern(8 << 20);
    for request in [post("/echo", &body), post_chunked("/echo", &body, 70_000)] {
        let client = connect(&server);
        let mut sender = client.stream.try_clone().expect("a second handle");
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &request));
        let mut client = client;
        let response = client.receive_stream();
        sending.join().expect("no panic").expect("the server reads all of it");
        assert_eq!((response.status, response.field("X-Kind")), (200, Some("none")));
        assert_same_bytes(&response.body, &body);
        assert_eq!(client.get("/").text(), "hi");
    }
}

#[test]
fn downloads_are_chunked_or_as_long_as_promised() {
    let server = start();
    let mut client = connect(&server);
    client.send("GET /download/40 HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.receive_stream();
    assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
    assert_same_bytes(&response.body, &vec![b'd'; 40 << 16]);
    client.send("GET /download/3?length HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_same_bytes(&client.receive().body, &vec![b'd'; 3 << 16]);
    client.send("HEAD /download/3?length HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_head().field("Content-Length"), Some("196608"));
    client.send("GET /download/0 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_stream().body, b"");
    assert_eq!(client.get("/").text(), "hi");
}

#[test]
fn rfc8297_early_hints_come_before_the_answer_and_never_to_http_1_0() {
    let server = start();
    let mut client = connect(&server);
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.receive();
    assert_eq!((hints.status, hints.field("Link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(hints.status_line, "HTTP/1.1 103 Early Hints");
    assert_eq!((client.receive().status, client.receive().text()), (102, "done"));
    let mut client = connect(&server);
    client.send("GET /hints HTTP/1.0\r\n\r\n");
    assert_eq!(client.receive().text(), "done");
}

#[test]
fn trailers_of_collected_bodies_are_apart_from_the_fields() {
    let server = start();
    let mut client = connect(&server);
    client.send(
        "POST /trailers HTTP/1.1\r\nHost: a\r\nX-Field: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nX-Trailer: 2\r\nX-More: 3\r\n\r\n",
    );
    assert_eq!(client.receive().text(), "X-Field=1|X-Trailer=2,X-More=3");
    client.send(post("/trailers", b"a"));
    assert_eq!(client.receive().text(), "|");
}

#[test]
fn rfc9110_7_8_an_upgraded_connection_is_the_handlers() {
    let server = start();
    let mut client = connect(&server);
    client.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: reverse\r\n\r\nabc");
    let head = client.receive_head();
    assert_eq!(
        (head.status, head.field("Upgrade"), head.field("X-Extra")),
        (101, Some("reverse"), Some("1"))
    );
    assert_eq!(head.fields("Connection"), ["upgrade"]);
    assert_eq!((head.field("Content-Length"), head.field("Transfer-Encoding")), (None, None));
    assert_eq!(client.take(3), b"cba");
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.take(16), b"\n\r1.1/PTTH / TEG");
    client.finish_sending();
    assert_eq!(client.take(3), b"bye");
    client.expect_end();
}

#[test]
fn rfc9110_9_3_6_connect_makes_a_tunnel_if_the_handler_wants_it() {
    let server = start();
    let mut client = connect(&server);
    client.send("CONNECT closed:1 HTTP/1.1\r\nHost: closed:1\r\n\r\n");
    assert_eq!(client.receive().status, 502);
    client.send("CONNECT open:1 HTTP/1.1\r\nHost: open:1\r\n\r\nxyz");
    let head = client.receive_head();
    assert_eq!(
        (head.status, head.field("Content-Length"), head.field("Transfer-Encoding")),
        (200, None, None)
    );
    assert_eq!(client.take(3), b"zyx");
    client.finish_sending();
    assert_eq!(client.take(3), b"bye");
    client.expect_end();
}

#[test]
fn a_handler_is_woken_by_other_threads() {
    let server = start();
    let mut client = connect(&server);
    assert_eq!(client.get("/thread").text(), "42");
    assert_eq!(client.get("/thread").text(), "42");
}

#[test]
fn the_process_ends_in_time_with_handlers_that_never_do() {
    let mut options = support::options();
    options.shutdown_timeout = Duration::from_millis(200);
    let mut app = App::with_options(options);
    app.on(Method::Get, "/never", |_exchange: Exchange| async {
        std::future::pending::<()>().await;
    });
    let server = app.start().expect("a server");
    let mut client = connect(&server);
    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    server.shutdown().expect("an orderly end");
    assert!(begin.elapsed() < support::client::PATIENCE);
    client.await_any_end();
}
