//! Services of tower whose bodies are streamed, whose clients leave, and which fail.

mod support;

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::{get, post};
use http_body::Frame;
use peregrine::tower::{IncomingBody, PeerAddr};
use peregrine::{App, Server};
use support::client::{Client, assert_same_bytes, await_some, pattern, post as post_bytes};
use tower_service::Service;

/// What handlers tell of.
#[derive(Clone, Default)]
struct Told {
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    frames: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

/// Counts its end.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Opened by the test, from another thread than that which waits.
#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    async fn pass(&self) {
        poll_fn(|context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            if self.is_open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A body of these frames, which may wait behind them, or be endless without any.
struct Steps {
    frames: VecDeque<Result<Frame<Bytes>, String>>,
    waits: bool,
    endless: Option<Arc<AtomicUsize>>,
    _guard: Option<Guard>,
}

impl Steps {
    fn of(frames: impl IntoIterator<Item = Result<Frame<Bytes>, String>>) -> Self {
        Self { frames: frames.into_iter().collect(), waits: false, endless: None, _guard: None }
    }
}

const FRAME_BYTES: usize = 64 * 1024;

impl HttpBody for Steps {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Some(count) = &self.endless {
            count.fetch_add(1, Ordering::SeqCst);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'e'; FRAME_BYTES])))));
        }
        match self.frames.pop_front() {
            None if self.waits => Poll::Pending,
            next => Poll::Ready(next),
        }
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, String> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn hang(State(told): State<Told>) {
    let _guard = Guard(told.dropped);
    told.begun.fetch_add(1, Ordering::SeqCst);
    pending::<()>().await;
}

async fn hang_in_body(State(told): State<Told>) -> Body {
    let steps = Steps { waits: true, _guard: Some(Guard(told.dropped)), ..Steps::of([data("begun")]) };
    Body::new(steps)
}

async fn endless(State(told): State<Told>) -> Body {
    Body::new(Steps { endless: Some(told.frames), ..Steps::of([]) })
}

async fn torn() -> Body {
    Body::new(Steps::of([data("part"), Err("out of ideas".to_owned())]))
}

async fn slow(State(told): State<Told>) -> &'static str {
    told.begun.fetch_add(1, Ordering::SeqCst);
    told.gate.pass().await;
    "at last"
}

/// Reads the body on a thread of its own.
async fn elsewhere(request: Request) -> String {
    let place = Arc::new(Mutex::new((None::<usize>, None::<Waker>)));
    let filled = Arc::clone(&place);
    let mut body = request.into_body();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(async {
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
            }
            bytes
        });
        let mut place = filled.lock().unwrap();
        place.0 = Some(bytes);
        if let Some(waker) = place.1.take() {
            waker.wake();
        }
    });
    poll_fn(|context| {
        let mut place = place.lock().unwrap();
        place.1 = Some(context.waker().clone());
        place.0.map_or(Poll::Pending, |bytes| Poll::Ready(bytes.to_string()))
    })
    .await
}

async fn relay(request: Request) -> Body {
    request.into_body()
}

async fn trailing() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    Body::new(Steps::of([data("summed"), Ok(Frame::trailers(trailers))]))
}

async fn peer(request: Request) -> String {
    format!("{:?}", request.extensions().get::<PeerAddr>())
}

/// A service that is no axum Router, nor `Sync`, and fails when asked to.
#[derive(Clone, Default)]
struct Failing {
    _not_sync: std::cell::Cell<u8>,
}

impl Service<http::Request<IncomingBody>> for Failing {
    type Response = Response<Steps>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Response<Steps>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<IncomingBody>) -> Self::Future {
        assert!(request.uri().path() != "/failing/panic", "as wanted");
        std::future::ready(match request.uri().path() {
            "/failing/error" => Err(std::io::Error::other("as wanted")),
            "/failing/status" => Ok(Response::builder().status(999).body(Steps::of([])).unwrap()),
            path => Ok(Response::new(Steps::of([Ok(Frame::data(Bytes::from(path.to_owned())))]))),
        })
    }
}

fn start(told: &Told) -> Server {
    let router = Router::new()
        .route("/hang", get(hang).post(hang))
        .route("/hang-in-body", get(hang_in_body))
        .route("/endless", get(endless))
        .route("/torn", get(torn))
        .route("/slow", get(slow))
        .route("/elsewhere", post(elsewhere))
        .route("/relay", post(relay))
        .route("/trailing", get(trailing))
        .route("/peer", get(peer))
        .with_state(told.clone());
    let mut app = App::with_options(support::options());
    app.get("/own", || "the engine's");
    app.tower_at("/failing/{*rest}", Failing::default());
    app.tower(router);
    app.start().unwrap()
}

/// Makes the end of a connection one that nobody takes for a client that reads on.
fn reset(client: &Client) {
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
}

fn connect(server: &Server) -> Client {
    Client::connect(server.addresses()[0])
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let server = start(&Told::default());
    let mut client = connect(&server);
    let body = pattern(3_000_000);
    client.send(format!("POST /relay HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    let head = client.receive_head();
    assert_eq!(head.field("content-length"), Some("3000000"));
    // Each piece comes back before the next is sent.
    for piece in body.chunks(100_000) {
        client.send(piece);
        assert_same_bytes(&client.take(piece.len()), piece);
    }
    client.send("POST /relay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let head = client.receive_head();
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(client.take(8), b"3\r\nabc\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(client.take(5), b"0\r\n\r\n");
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn a_body_may_be_read_on_another_thread() {
    let server = start(&Told::default());
    let mut client = connect(&server);
    let body = pattern(2_000_000);
    for _ in 0..3 {
        client.send(post_bytes("/elsewhere", &body));
        assert_eq!(client.receive().text(), "2000000");
    }
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn a_client_that_does_not_read_holds_the_body_back() {
    let told = Told::default();
    let server = start(&told);
    let mut client = connect(&server);
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    client.receive_head();
    client.take(1_000_000);
    // Another answer of the same worker: it is not kept busy.
    assert_eq!(connect(&server).get("/own").text(), "the engine's");
    // What sockets can hold, at most; the rest waits.
    let most = 64 * 1024 * 1024 / FRAME_BYTES;
    assert!(told.frames.load(Ordering::SeqCst) < most);
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn what_nobody_waits_for_is_dropped() {
    let told = Told::default();
    let server = start(&told);
    let dropped = |count| {
        await_some("a drop", || (told.dropped.load(Ordering::SeqCst) == count).then_some(()));
    };
    let mut client = connect(&server);
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    await_some("a call", || (told.begun.load(Ordering::SeqCst) == 1).then_some(()));
    reset(&client);
    drop(client);
    dropped(1);
    let mut client = connect(&server);
    client.send("GET /hang-in-body HTTP/1.1\r\nHost: a\r\n\r\n");
    client.receive_head();
    assert_eq!(client.take(10), b"5\r\nbegun\r\n");
    assert_eq!(told.dropped.load(Ordering::SeqCst), 1);
    reset(&client);
    drop(client);
    dropped(2);
    let mut client = connect(&server);
    client.send("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    await_some("a call", || (told.begun.load(Ordering::SeqCst) == 2).then_some(()));
    reset(&client);
    drop(client);
    dropped(3);
    server.shutdown().unwrap();
}

#[test]
fn failures_are_never_taken_for_responses() {
    let server = start(&Told::default());
    let mut client = connect(&server);
    client.send("GET /failing/not HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_stream().text(), "/failing/not");
    drop(client);
    for path in ["/failing/error", "/failing/status", "/failing/panic"] {
        let mut client = connect(&server);
        let response = client.get(path);
        assert_eq!((response.status, response.is_last()), (500, true), "{path}");
        assert_eq!(client.take_all(), b"");
    }
    let mut client = connect(&server);
    client.send("GET /torn HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut bytes = Vec::new();
    // A reset may overtake what was sent; the last chunk never is.
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut bytes);
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "{}", bytes.escape_ascii());
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn trailers_are_sent_to_those_who_take_them() {
    let server = start(&Told::default());
    let mut client = connect(&server);
    client.send("GET /trailing HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let response = client.receive_stream();
    assert_eq!(response.text(), "summed");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "42".to_owned())]);
    client.send("GET /trailing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive_stream().trailers, []);
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn routes_of_the_engine_come_first() {
    let server = start(&Told::default());
    let mut client = connect(&server);
    assert_eq!(client.get("/own").text(), "the engine's");
    client.send("POST /own HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive().status, 405);
    let peer = client.get("/peer");
    assert_eq!(peer.text(), format!("Some(PeerAddr({}))", client.stream.local_addr().unwrap()));
    assert_eq!(client.get("/nowhere").status, 404);
    drop(client);
    server.shutdown().unwrap();
}

#[test]
fn a_slow_request_is_finished_at_the_shutdown() {
    let told = Told::default();
    let server = start(&told);
    let mut client = connect(&server);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await_some("a call", || (told.begun.load(Ordering::SeqCst) == 1).then_some(()));
    let address = server.addresses()[0];
    let shutdown = std::thread::spawn(move || server.shutdown());
    await_some("the end of accepting", || std::net::TcpStream::connect(address).is_err().then_some(()));
    told.gate.open();
    let response = client.receive();
    assert_eq!((response.text(), response.is_last()), ("at last", true));
    drop(client);
    shutdown.join().unwrap().unwrap();
}
