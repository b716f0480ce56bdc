//! Connections on the simulated kernel, with a service of their own: what tests and fuzz targets drive.
//!
//! Owns the loop of a worker, without one. It must not know what is being tested.

use std::panic;
use std::sync::Arc;

use peregrine_parser::{HeadLimits, Simd, TargetForm};
use peregrine_pool::{BlockConfig, Blocks, Payload};

use super::*;
use crate::driver::sim::{Faults, Peer, Sim, World};
use crate::driver::{Driver, Event};
use crate::proto::MinDataRate;
use crate::proto::h1::MachineLimits;
use crate::sys::wake::Waker as Bell;

pub(super) const LISTENER: Fd = Fd(3);
pub(super) const KEEP_ALIVE: u64 = 130_000;
pub(super) const HEADERS: u64 = 30_000;
pub(super) const HALF_CLOSED: u64 = 1000;
pub(super) const LARGE_BYTES: usize = 100_000;
pub(super) static LARGE: [u8; LARGE_BYTES] = [b'L'; LARGE_BYTES];

/// Answers with the method, the path and the body; with something large, or not at all, if asked to.
pub(super) struct TestService {
    slots: Slots,
}

/// Paths that begin with `/s/` are answered by tasks that stream, see [`stream`], and those with `/a/` by tasks whose
/// responses come when they are ready, see [`answer_later`].
impl Service for TestService {
    fn call(
        &mut self,
        request: &RequestParts<'_>,
        _: &ConnectionInfo,
        response: &mut ResponseWriter<'_>,
    ) -> Called {
        match request.path {
            path if is_streamed(path) => return Called::Streams,
            _ if request.form == TargetForm::Authority => return Called::Streams,
            path if path.starts_with(b"/a/") => return Called::Begun(answer_later(&self.slots, path)),
            b"/notify" => PARKED.with(|parked| {
                let exchange = parked.borrow_mut().take().expect("one waits");
                exchange.respond(|response| response.write_body("", b"news")).expect("an answer");
            }),
            b"/unwanted" => response.set_status(404).expect("a final status"),
            b"/large" => response.set_payload("", Payload::Static(&LARGE)).expect("no type"),
            b"/panic" => panic::resume_unwind(Box::new("asked to")),
            b"/close" => response.close(),
            b"/text" => response.write_body("", &LARGE[..20_000]),
            path => {
                response.begin_body("");
                response.push_body(request.method_name);
                response.push_body(b" ");
                response.push_body(path);
                response.push_body(b" ");
                response.push_body(request.body);
                response.end_body();
            }
        }
        Called::Answered
    }

    fn admit(&self, request: &RequestParts<'_>) -> Admission {
        let min_rate = Some(Rate::from(RATE));
        match request.path {
            path if is_streamed(path) => Admission::Stream(BodyLimits { max_bytes: 1 << 20, min_rate }),
            _ if request.form == TargetForm::Authority => {
                Admission::Stream(BodyLimits { max_bytes: 1 << 20, min_rate })
            }
            b"/unwanted" => Admission::Unwanted,
            b"/small" => Admission::Whole(BodyLimits { max_bytes: 5, min_rate }),
            _ => Admission::Whole(BodyLimits { max_bytes: 1 << 20, min_rate }),
        }
    }

    fn stream(&mut self, request: &RequestParts<'_>, exchange: Rc<Shared>) -> Streaming {
        let is_connect = request.form == TargetForm::Authority;
        let task = stream(&self.slots, if is_connect { b"/s/tunnel" } else { request.path }, exchange);
        Streaming { task, min_response_rate: Some(Rate::from(RATE)) }
    }
}

pub(super) const RATE: MinDataRate = MinDataRate::new(240, std::time::Duration::from_secs(5));

pub(super) struct Harness {
    pub(super) connections: Connections<Sim, TestService>,
    pub(super) world: World,
    pub(super) send_blocks: Blocks,
}

impl Harness {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let (driver, world) = Sim::new(seed, faults);
        Self::with_driver(driver, world)
    }

    pub(super) fn with_driver(driver: Sim, world: World) -> Self {
        Self::with_settings(driver, world, |_| {})
    }

    pub(super) fn with_settings(mut driver: Sim, world: World, change: impl FnOnce(&mut Settings)) -> Self {
        driver.accept(LISTENER, 0);
        let shape = BlockConfig {
            block_bytes: 16 * 1024,
            stride_bytes: 16 * 1024,
            max_blocks: 256,
            chunk_blocks: 16,
        };
        let send_blocks = Blocks::new(shape);
        let mut settings = Settings {
            machine: MachineLimits { head: HeadLimits::default(), max_fields: 100 },
            min_response_rate: None,
            max_request_buffer: 256 * 1024,
            max_response_buffer: 64 * 1024,
            max_assembled: 64 << 20,
            max_held_blocks: 8,
            max_requests: None,
            lifetime_millis: None,
            gate: Arc::default(),
            bell: Bell::new().expect("an eventfd"),
            log_rejections: false,
            shows_details: false,
            keep_alive_millis: KEEP_ALIVE,
            request_headers_millis: HEADERS,
            half_closed_millis: HALF_CLOSED,
            server_field: true,
            send_blocks: send_blocks.clone(),
            first_id: 1,
            max_connections: 1000,
        };
        change(&mut settings);
        let connections =
            Connections::new(driver, |slots, _| TestService { slots }, Simd::detect(), settings);
        Self { connections, world, send_blocks }
    }

    /// One turn of the worker's loop that does not wait.
    pub(super) fn turn(&mut self) {
        let now = self.world.millis();
        self.connections.turn(Some(now)).expect("a working kernel");
        while let Some(event) = self.connections.driver.next() {
            match self.connections.handle(event) {
                None | Some(Event::Woken) => {}
                Some(Event::Accepted { result, more, .. }) => {
                    if let Ok(socket) = result {
                        self.connections.open(socket, 0);
                    }
                    if !more {
                        self.connections.driver.accept(LISTENER, 0);
                    }
                }
                Some(other) => panic!("not an event of a listener: {other:?}"),
            }
        }
        self.connections.end_overdue();
    }

    pub(super) fn turns(&mut self, count: u32) {
        for _ in 0..count {
            self.turn();
        }
    }

    pub(super) fn turn_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("never: {what}");
    }

    pub(super) fn connect(&mut self) -> Peer {
        let peer = self.world.connect();
        let before = self.connections.counters().accepted;
        self.turn_until("accepted", |harness| harness.connections.counters().accepted > before);
        peer
    }

    pub(super) fn ended(&self, reason: EndReason) -> u64 {
        self.connections.counters().ended[reason as usize]
    }

    /// Everything is as it was at the start.
    pub(super) fn assert_nothing_left(&mut self) {
        self.turn_until("all connections gone", |harness| harness.connections.len() == 0);
        self.turn();
        self.world.assert_quiescent();
        assert_eq!(self.send_blocks.stats().leased, 0, "send blocks did not come back");
        assert_eq!(self.connections.driver.in_flight(), 0);
        assert!(self.connections.starved.is_empty());
        assert_eq!(self.connections.assembled, 0, "memory is charged for nobody");
        assert_eq!(self.connections.server.common.held_blocks.get(), 0, "receive blocks are held for nobody");
        assert_eq!(self.connections.wheel.next_due(), None, "a timer is armed for nobody");
        let counters = self.connections.counters();
        assert_eq!(counters.ended.iter().sum::<u64>(), counters.accepted, "each connection ends once");
    }
}

/// The bodies of the responses in `bytes`, and the statuses; panics on anything else.
pub(super) fn responses(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let head_end = memchr::memmem::find(bytes, b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&bytes[..head_end]).expect("ASCII");
        assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
        let status: u16 = head[9..12].parse().expect("a status");
        if status == 100 {
            bytes = &bytes[head_end..];
            continue;
        }
        assert_eq!(head.matches("\r\nDate: ").count(), 1, "{head:?}");
        let length = head.split("\r\nContent-Length: ").nth(1).expect("a length");
        let length: usize = length.split("\r\n").next().expect("a line").parse().expect("a number");
        let end = head_end + length;
        assert!(bytes.len() >= end, "a torn body");
        found.push((status, bytes[head_end..end].to_vec()));
        bytes = &bytes[end..];
    }
    found
}

thread_local! {
    /// An exchange that waits for another request.
    static PARKED: std::cell::RefCell<Option<Rc<Shared>>> = const { std::cell::RefCell::new(None) };
}

/// Whether the test service answers a path by a task.
pub(super) fn is_streamed(path: &[u8]) -> bool {
    path.starts_with(b"/s/")
}

/// The handlers.
pub(super) fn stream(slots: &Slots, path: &[u8], exchange: Rc<Shared>) -> Task {
    let path = path.to_vec();
    task(slots, async move {
        let result = match &path[..] {
            b"/s/count" => count(&exchange).await,
            b"/s/echo" => echo(&exchange).await,
            b"/s/large" => large(&exchange).await,
            b"/s/ignore" => exchange.respond(|response| response.write_body("", b"ignored")),
            b"/s/nothing" => Ok(()),
            b"/s/error" => return Err("as asked".to_owned()),
            b"/s/panic" => panic::resume_unwind(Box::new("asked to")),
            b"/s/late-error" => {
                exchange.start(|_| None).and(exchange.push(PieceToSend::Bytes(b"part"))).expect("a response");
                return Err("as asked".to_owned());
            }
            b"/s/later-error" => {
                exchange.start(|_| None).and(exchange.push(PieceToSend::Bytes(b"part"))).expect("a response");
                let _ = exchange.wait_for_room(true).await;
                return Err("as asked".to_owned());
            }
            b"/s/give-up" => {
                let mut read = Box::pin(exchange.read());
                std::future::poll_fn(|context| {
                    let _ = read.as_mut().poll(context);
                    Poll::Ready(())
                })
                .await;
                drop(read);
                std::future::pending::<()>().await;
                Ok(())
            }
            b"/s/upgrade-much" => exchange
                .switch(Some("echo"), |_| {})
                .and_then(|()| (0..10).try_for_each(|_| exchange.push(PieceToSend::Bytes(&LARGE[..4000])))),
            b"/s/half-line" => half_line(&exchange).await,
            b"/s/payloads" => payloads(&exchange).await,
            b"/s/park" => {
                PARKED.with(|parked| *parked.borrow_mut() = Some(Rc::clone(&exchange)));
                std::future::pending::<()>().await;
                Ok(())
            }
            b"/s/tunnel" => match exchange.switch(None, |_| {}) {
                Ok(()) => echo_raw(&exchange).await,
                Err(error) => Err(error),
            },
            b"/s/short" => exchange.start(|_| Some(10)).and(exchange.push(PieceToSend::Bytes(b"part"))),
            b"/s/long" => {
                exchange.start(|_| Some(4)).expect("a response");
                exchange.push(PieceToSend::Bytes(b"full")).expect("within the length");
                assert_eq!(exchange.push(PieceToSend::Bytes(b"!")), Err(ExchangeError::TooLong));
                Ok(())
            }
            b"/s/upgrade" => match exchange.switch(Some("echo"), |_| {}) {
                Ok(()) => echo_raw(&exchange).await,
                Err(error) => exchange.respond(|response| {
                    response.set_status(426).expect("a final status");
                    response.write_body("", error.to_string().as_bytes());
                }),
            },
            b"/s/upgrade-end" => tell_end(&exchange).await,
            b"/s/upgrade-late" => {
                crate::sleep(std::time::Duration::from_millis(100)).await;
                tell_end(&exchange).await
            }
            b"/s/wait" => {
                std::future::pending::<()>().await;
                Ok(())
            }
            b"/s/trailers" => trailers(&exchange).await,
            _ => Err(ExchangeError::NotRequested),
        };
        result.map_err(|error| error.to_string())
    })
}

/// Another protocol that says how what it was sent has ended.
async fn tell_end(exchange: &Shared) -> Result<(), ExchangeError> {
    exchange.switch(Some("end"), |_| {})?;
    let end = loop {
        match exchange.read().await {
            Ok(Some(_)) => {}
            Ok(None) => break &b"closed"[..],
            Err(ExchangeError::UnexpectedEnd) => break &b"torn"[..],
            Err(error) => return Err(error),
        }
    };
    exchange.push(PieceToSend::Bytes(end))
}

async fn count(exchange: &Shared) -> Result<(), ExchangeError> {
    let mut bytes = 0;
    while let Some(piece) = exchange.read().await? {
        assert!(!piece.is_empty(), "an empty piece says nothing");
        bytes += piece.len();
    }
    exchange.respond(|response| response.write_body("", bytes.to_string().as_bytes()))
}

async fn echo(exchange: &Shared) -> Result<(), ExchangeError> {
    exchange.start(|_| None)?;
    while let Some(piece) = exchange.read().await? {
        exchange.push(PieceToSend::Bytes(&piece))?;
        exchange.wait_for_room(false).await?;
    }
    exchange.finish()
}

async fn echo_raw(exchange: &Shared) -> Result<(), ExchangeError> {
    while let Some(piece) = exchange.read().await? {
        exchange.push(PieceToSend::Bytes(&piece))?;
        exchange.wait_for_room(false).await?;
    }
    Ok(())
}

async fn large(exchange: &Shared) -> Result<(), ExchangeError> {
    exchange.start(|_| None)?;
    for _ in 0..20 {
        exchange.push(PieceToSend::Payload(Payload::Static(&LARGE)))?;
        exchange.push(PieceToSend::Bytes(b"between"))?;
        exchange.wait_for_room(false).await?;
    }
    exchange.finish()
}

/// Leaves two bytes of a block for a chunk's line, then goes on although it was told that it cannot.
async fn half_line(exchange: &Shared) -> Result<(), ExchangeError> {
    exchange.start(|_| None)?;
    let have = exchange.state.borrow().outbox.bytes();
    let data = 16 * 1024 - have - 2 - "xxxx\r\n\r\n".len();
    exchange.push(PieceToSend::Bytes(&vec![b'd'; data]))?;
    let _ = exchange.push(PieceToSend::Bytes(&[b'e'; 1000]));
    let _ = exchange.wait_for_room(true).await;
    let _ = exchange.push(PieceToSend::Bytes(b"more"));
    exchange.finish()
}

async fn payloads(exchange: &Shared) -> Result<(), ExchangeError> {
    exchange.start(|_| None)?;
    for _ in 0..200 {
        exchange.push(PieceToSend::Payload(Payload::Static(&LARGE[..9000])))?;
        exchange.push(PieceToSend::Payload(Payload::Static(&LARGE[..1025])))?;
        exchange.wait_for_room(false).await?;
    }
    exchange.finish()
}

async fn trailers(exchange: &Shared) -> Result<(), ExchangeError> {
    while exchange.read().await?.is_some() {}
    let told = exchange.with_trailers(|trailers| {
        let of =
            |span: peregrine_parser::Span| String::from_utf8_lossy(span.of(&trailers.bytes)).into_owned();
        trailers.fields.iter().map(|field| of(field.name) + "=" + &of(field.value)).collect::<Vec<_>>()
    });
    exchange.start(|_| None)?;
    exchange.push(PieceToSend::Bytes(told.join(",").as_bytes()))?;
    assert!(exchange.trailer("Content-Length", b"1").is_err());
    exchange.trailer("X-Sum", b"7")?;
    exchange.finish()
}

/// A task whose response is written when it is ready.
struct Later<F> {
    future: Pin<Box<F>>,
    body: Option<Vec<u8>>,
}

impl<F: Future<Output = Vec<u8>>> Work for Later<F> {
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.future.as_mut().poll(context).map(|body| {
            self.body = Some(body);
            Ok(())
        })
    }

    fn has_response(&self) -> bool {
        self.body.is_some()
    }

    fn respond(self: Pin<&mut Self>, response: &mut ResponseWriter<'_>) {
        if self.body.as_deref() == Some(b"panic") {
            panic::resume_unwind(Box::new("as asked"));
        }
        response.write_body("", self.body.as_deref().unwrap_or_default());
    }
}

thread_local! {
    /// How many tasks of [`answer_later`] are alive.
    pub(super) static ALIVE: Cell<u32> = const { Cell::new(0) };
    /// How many have come to their end.
    pub(super) static FINISHED: Cell<u32> = const { Cell::new(0) };
}

struct Alive;

impl Alive {
    fn new() -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

/// `/a/ready` does not wait, `/a/yield/N` waits N times to be woken at once, `/a/sleep/N` for N ms; `/a/detached/N` the
/// same, whatever becomes of the client.
fn answer_later(slots: &Slots, path: &[u8]) -> Task {
    let alive = Alive::new();
    let path = String::from_utf8(path.to_vec()).expect("a path of a test");
    let future = async move {
        let _alive = alive;
        let mut parts = path.split('/').skip(2);
        let what = parts.next().expect("a name");
        let count: u64 = parts.next().map_or(0, |count| count.parse().expect("a number"));
        match what {
            "yield" => {
                for _ in 0..count {
                    yield_once().await;
                }
            }
            "sleep" => crate::sleep(std::time::Duration::from_millis(count)).await,
            "detached" => {
                crate::detach();
                crate::sleep(std::time::Duration::from_millis(count)).await;
            }
            "panic" => panic::resume_unwind(Box::new("as asked")),
            "late-panic" => {
                yield_once().await;
                panic::resume_unwind(Box::new("as asked"))
            }
            "respond-panic" => {
                yield_once().await;
                return b"panic".to_vec();
            }
            _ => {}
        }
        FINISHED.set(FINISHED.get() + 1);
        path.into_bytes()
    };
    task(slots, Later { future: Box::pin(future), body: None })
}

async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
