//! Connections on the simulated kernel: whatever it does, answers are right and nothing leaks.

mod streaming;

use std::panic;
use std::sync::Arc;

use peregrine_parser::{HeadLimits, Simd};
use peregrine_pool::{BlockConfig, Blocks, Payload};

use super::*;
use crate::driver::sim::{Faults, Peer, Sim, World, with_seeds};
use crate::driver::{Driver, Event};
use crate::proto::MinDataRate;
use crate::proto::h1::MachineLimits;
use crate::sys::wake::Waker as Bell;

const LISTENER: Fd = Fd(3);
const KEEP_ALIVE: u64 = 130_000;
const HEADERS: u64 = 30_000;
const LARGE_BYTES: usize = 100_000;
static LARGE: [u8; LARGE_BYTES] = [b'L'; LARGE_BYTES];

/// Answers with the method, the path and the body; with something large, or not at all, if asked to.
struct TestService;

/// Paths that begin with `/s/` are answered by tasks, see `streaming`.
impl Service for TestService {
    fn call(
        &mut self,
        request: &RequestParts<'_>,
        _: &ConnectionInfo,
        response: &mut ResponseWriter<'_>,
    ) -> bool {
        match request.path {
            path if streaming::is_streamed(path) => return false,
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
        true
    }

    fn admit(&self, request: &RequestParts<'_>) -> Admission {
        let min_rate = Some(Rate::from(RATE));
        match request.path {
            path if streaming::is_streamed(path) => {
                Admission::Stream(BodyLimits { max_bytes: 1 << 20, min_rate })
            }
            b"/unwanted" => Admission::Unwanted,
            b"/small" => Admission::Whole(BodyLimits { max_bytes: 5, min_rate }),
            _ => Admission::Whole(BodyLimits { max_bytes: 1 << 20, min_rate }),
        }
    }

    fn stream(&mut self, request: &RequestParts<'_>, exchange: Rc<Shared>) -> Streaming {
        let task = streaming::task(request.path, exchange);
        Streaming { task, min_response_rate: Some(Rate::from(RATE)) }
    }
}

const RATE: MinDataRate = MinDataRate::new(240, std::time::Duration::from_secs(5));

struct Harness {
    connections: Connections<Sim, TestService>,
    world: World,
    send_blocks: Blocks,
}

impl Harness {
    fn new(seed: u64, faults: Faults) -> Self {
        let (driver, world) = Sim::new(seed, faults);
        Self::with_driver(driver, world)
    }

    fn with_driver(driver: Sim, world: World) -> Self {
        Self::with_settings(driver, world, |_| {})
    }

    fn with_settings(mut driver: Sim, world: World, change: impl FnOnce(&mut Settings)) -> Self {
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
            keep_alive_millis: KEEP_ALIVE,
            request_headers_millis: HEADERS,
            server_field: true,
            send_blocks: send_blocks.clone(),
            first_id: 1,
            max_connections: 1000,
        };
        change(&mut settings);
        let connections = Connections::new(driver, TestService, Simd::detect(), settings);
        Self { connections, world, send_blocks }
    }

    /// One turn of the worker's loop that does not wait.
    fn turn(&mut self) {
        let now = self.world.millis();
        self.connections.turn(Some(now)).expect("a working kernel");
        while let Some(event) = self.connections.driver.next() {
            match self.connections.handle(event) {
                None | Some(Event::Woken) => {}
                Some(Event::Accepted { result, more, .. }) => {
                    if let Ok(socket) = result {
                        self.connections.open(socket);
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

    fn turns(&mut self, count: u32) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("never: {what}");
    }

    fn connect(&mut self) -> Peer {
        let peer = self.world.connect();
        let before = self.connections.counters().accepted;
        self.turn_until("accepted", |harness| harness.connections.counters().accepted > before);
        peer
    }

    fn ended(&self, reason: EndReason) -> u64 {
        self.connections.counters().ended[reason as usize]
    }

    /// Everything is as it was at the start.
    fn assert_nothing_left(&mut self) {
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
fn responses(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
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

/// A few numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}

/// A request and the body of its answer.
fn request(dice: &mut Dice, number: usize) -> (Vec<u8>, Vec<u8>) {
    let mut body = vec![b'b'; [0, 1, 10, 100, 5000, 20_000][dice.roll(6)]];
    for (index, byte) in body.iter_mut().enumerate() {
        *byte = b'a' + (index % 26) as u8;
    }
    let answer = |method: &str, body: &[u8]| [format!("{method} /{number} ").as_bytes(), body].concat();
    match dice.roll(6) {
        0 => (b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), LARGE.to_vec()),
        1 => (b"GET /text HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), LARGE[..20_000].to_vec()),
        2 | 3 => (format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), answer("GET", b"")),
        4 => {
            let head =
                format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            ([head.as_bytes(), &body].concat(), answer("POST", &body))
        }
        _ => {
            let mut bytes =
                format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((1 + dice.roll(3000)).min(rest.len()));
                bytes += &format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk));
                rest = after;
            }
            bytes += "0\r\n\r\n";
            (bytes.into_bytes(), answer("PUT", &body))
        }
    }
}

/// Lets several peers send several requests each, in pieces, and half-close.
fn converse(seed: u64, faults: Faults, check_answers: bool) {
    let mut harness = Harness::new(seed, faults);
    let mut dice = Dice(seed);
    struct Script {
        peer: Peer,
        unsent: Vec<u8>,
        expected: Vec<(u16, Vec<u8>)>,
    }
    let mut scripts: Vec<Script> = (0..1 + dice.roll(6))
        .map(|_| {
            let (mut unsent, mut expected) = (Vec::new(), Vec::new());
            for number in 0..dice.roll(12) {
                let (bytes, body) = request(&mut dice, number);
                unsent.extend_from_slice(&bytes);
                expected.push((200, body));
            }
            Script { peer: harness.world.connect(), unsent, expected }
        })
        .collect();
    while scripts.iter().any(|script| !script.unsent.is_empty()) {
        for Script { peer, unsent, .. } in &mut scripts {
            if unsent.is_empty() {
                continue;
            }
            let len = (1 + dice.roll(6000)).min(unsent.len());
            peer.send(&unsent[..len]);
            unsent.drain(..len);
            if unsent.is_empty() {
                peer.shutdown();
            }
        }
        harness.turns(dice.roll(4) as u32);
    }
    scripts.iter().for_each(|script| script.peer.shutdown());
    harness.turn_until("all accepted", |harness| {
        harness.connections.counters().accepted == scripts.len() as u64
    });
    harness.assert_nothing_left();
    for Script { peer, expected, .. } in &scripts {
        if check_answers {
            assert_eq!(responses(&peer.received()), *expected);
            assert!(peer.saw_eof(), "the end was not orderly");
        }
    }
}

#[test]
fn every_request_is_answered_in_order_by_a_kind_kernel() {
    with_seeds(100, |seed| converse(seed, Faults::NONE, true));
}

#[test]
fn every_request_is_answered_in_order_by_an_unkind_kernel() {
    with_seeds(300, |seed| converse(seed, Faults::UNKIND, true));
}

#[test]
fn nothing_leaks_when_connections_break() {
    with_seeds(300, |seed| converse(seed, Faults::BREAKING, false));
}

#[test]
fn receives_that_do_not_repeat_serve_as_well() {
    let single = Faults { ended: 100, ..Faults::NONE };
    with_seeds(50, |seed| converse(seed, single, true));
}

const PIPELINE: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
    PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n";

fn pipeline_answers() -> Vec<(u16, Vec<u8>)> {
    [&b"GET /a "[..], b"POST /b abc", b"PUT /c xyz"].map(|body| (200, body.to_vec())).to_vec()
}

#[test]
fn short_reads_of_every_length() {
    for read_at_most in 1..=PIPELINE.len() {
        let mut harness = Harness::new(0, Faults { read_at_most, ..Faults::NONE });
        let peer = harness.connect();
        peer.send(PIPELINE);
        peer.shutdown();
        harness.assert_nothing_left();
        assert_eq!(responses(&peer.received()), pipeline_answers(), "reads of {read_at_most}");
    }
}

#[test]
fn short_sends_of_every_length() {
    for send_at_most in 1..=400 {
        let mut harness = Harness::new(0, Faults { send_at_most, ..Faults::NONE });
        let peer = harness.connect();
        peer.send(PIPELINE);
        peer.shutdown();
        harness.assert_nothing_left();
        assert_eq!(responses(&peer.received()), pipeline_answers(), "sends of {send_at_most}");
    }
}

#[test]
fn a_short_send_may_end_in_the_payload() {
    for send_at_most in [1000, 4096, 99_999, 100_100, 100_200] {
        let mut harness = Harness::new(0, Faults { send_at_most, ..Faults::NONE });
        let peer = harness.connect();
        peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /close HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.turn_until("a close", |_| peer.saw_eof());
        peer.close();
        harness.assert_nothing_left();
        let got = responses(&peer.received());
        assert_eq!(got, [(200, LARGE.to_vec()), (200, Vec::new())]);
    }
}

#[test]
fn one_batch_is_answered_by_one_send() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(&b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50));
    harness.turn_until("a send", |harness| harness.connections.counters().requests > 0);
    assert_eq!(harness.connections.counters().requests, 50);
    assert_eq!(harness.send_blocks.stats().leased, 1);
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()).len(), 50);
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(PIPELINE);
    harness.turn_until("answers", |_| peer.received().len() > 300);
    harness.turns(3);
    assert_eq!(harness.send_blocks.stats().leased, 0);
    let key = harness.connections.table.iter_keys().next().expect("one connection");
    let connection = harness.connections.table.get(key).expect("it is there");
    assert!(connection.assembly.is_none());
    assert_eq!(connection.flags, flag::RECEIVING);
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::ClosedByPeer), 1);
}

#[test]
fn starved_receives_go_on_once_blocks_are_back() {
    let shape = BlockConfig { block_bytes: 64, stride_bytes: 64, max_blocks: 2, chunk_blocks: 2 };
    with_seeds(50, |seed| {
        let (driver, world) =
            Sim::with_blocks(seed, Faults { starved: 50, ..Faults::UNKIND }, Blocks::new(shape));
        let mut harness = Harness::with_driver(driver, world);
        let peers: Vec<Peer> = (0..8).map(|_| harness.world.connect()).collect();
        peers.iter().for_each(|peer| peer.send(PIPELINE));
        peers.iter().for_each(Peer::shutdown);
        harness.turn_until("accepted", |harness| harness.connections.counters().accepted == 8);
        harness.assert_nothing_left();
        for peer in peers {
            assert_eq!(responses(&peer.received()), pipeline_answers());
        }
    });
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from_and_bounded_in_memory() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(0));
    for _ in 0..200 {
        peer.send(&b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
        harness.turn();
    }
    let key = harness.connections.table.iter_keys().next().expect("one connection");
    let connection = harness.connections.table.get(key).expect("it is there");
    let parked = connection.assembly.as_ref().expect("something waits").bytes.len();
    assert!(parked < 80 * 1024, "{parked} bytes wait");
    assert!(connection.has(flag::PAUSED) && !connection.has(flag::RECEIVING));
    assert_eq!(harness.send_blocks.stats().leased, 1);
    // It reads at last, and gets every answer.
    peer.set_window(None);
    harness.turn_until("all answers", |harness| harness.connections.counters().requests == 20_000);
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()).len(), 20_000);
}

#[test]
fn a_peer_that_never_reads_is_ended() {
    with_seeds(30, |seed| {
        let mut harness = Harness::new(seed, Faults { late: 50, delayed: 30, ..Faults::NONE });
        let peer = harness.connect();
        peer.set_window(Some(10));
        peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.turns(30);
        harness.world.advance(KEEP_ALIVE + 1000);
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::StalledTransfer), 1);
    });
}

#[test]
fn kestrel_1_1_keep_alive_timeout_closes_without_an_answer() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    harness.world.advance(KEEP_ALIVE - 1000);
    harness.turns(3);
    peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(5);
    harness.world.advance(KEEP_ALIVE - 1000);
    harness.turns(3);
    assert!(!peer.saw_eof(), "a request starts the time anew");
    harness.world.advance(2000);
    harness.turns(3);
    assert!(peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::KeepAliveTimeout), 1);
    assert_eq!(responses(&peer.received()).len(), 1);
}

#[test]
fn kestrel_1_1_a_slow_head_is_answered_with_408_however_it_drips() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    for byte in b"GET /a HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if peer.saw_eof() {
            break;
        }
        peer.send(&[*byte]);
        harness.turns(2);
        harness.world.advance(1000);
    }
    harness.turns(5);
    assert!(peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(408, Vec::new())]);
    assert_eq!(harness.ended(EndReason::RequestHeadersTimeout), 1);
}

#[test]
fn a_peer_that_lingers_is_let_go() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turn_until("the end", |_| peer.saw_eof());
    for _ in 0..10 {
        peer.send(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.turns(2);
        harness.world.advance(1000);
    }
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::ClosedAfterResponse), 1);
    assert_eq!(harness.connections.counters().requests, 1);
}

#[test]
fn after_a_rejection_nothing_more_is_answered() {
    with_seeds(50, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let peer = harness.connect();
        peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost : b\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.turn_until("the end", |_| peer.saw_eof());
        peer.send(b"GET /d HTTP/1.1\r\nHost: a\r\n\r\n");
        harness.turns(50);
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(responses(&peer.received()), [(200, b"GET /a ".to_vec()), (400, Vec::new())]);
        assert_eq!(harness.ended(EndReason::InvalidRequest), 1);
    });
}

#[test]
fn a_panic_is_a_500_and_the_others_live_on() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (unlucky, other) = (harness.connect(), harness.connect());
    unlucky.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n");
    other.send(PIPELINE);
    harness.turn_until("the end", |_| unlucky.saw_eof());
    unlucky.close();
    other.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&unlucky.received()), [(200, b"GET /a ".to_vec()), (500, Vec::new())]);
    assert_eq!(responses(&other.received()), pipeline_answers());
    assert_eq!(harness.connections.counters().panics, 1);
}

#[test]
fn resets_at_any_moment_leak_nothing() {
    with_seeds(300, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let mut dice = Dice(seed);
        let peers: Vec<Peer> = (0..6).map(|_| harness.world.connect()).collect();
        for peer in &peers {
            let (bytes, _) = request(&mut dice, 0);
            peer.set_window([None, Some(dice.roll(50_000))][dice.roll(2)]);
            peer.send(&bytes[..dice.roll(bytes.len() + 1)]);
            harness.turns(dice.roll(10) as u32);
            match dice.roll(3) {
                0 => peer.reset(),
                1 => peer.close(),
                _ => {}
            }
        }
        harness.turn_until("accepted", |harness| harness.connections.counters().accepted == 6);
        // The rest is ended by the worker, with completions still to come.
        harness.connections.end_all();
        harness.assert_nothing_left();
    });
}

#[test]
fn a_drain_finishes_what_is_open_and_closes_what_is_idle() {
    with_seeds(50, |seed| {
        let mut harness = Harness::new(seed, Faults { delayed: 20, ..Faults::NONE });
        let (idle, torn, uploading) = (harness.connect(), harness.connect(), harness.connect());
        torn.send(b"GET /a HTT");
        uploading.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
        harness.turns(30);
        harness.connections.drain();
        harness.turn_until("the idle one is closed", |_| idle.saw_eof());
        idle.close();
        harness.turns(30);
        assert!(!torn.saw_eof() && !uploading.saw_eof());
        torn.send(b"P/1.1\r\nHost: a\r\n\r\n");
        uploading.send(b"bc");
        harness.turn_until("both are closed", |_| torn.saw_eof() && uploading.saw_eof());
        torn.close();
        uploading.close();
        harness.assert_nothing_left();
        for (peer, body) in [(torn, &b"GET /a "[..]), (uploading, b"POST /b abc")] {
            let bytes = peer.received();
            assert!(memchr::memmem::find(&bytes, b"\r\nConnection: close\r\n").is_some());
            assert_eq!(responses(&bytes), [(200, body.to_vec())]);
        }
        assert_eq!(harness.ended(EndReason::ShuttingDown), 3);
    });
}

#[test]
fn a_drain_closes_what_was_sending_when_it_began() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(10));
    peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turn_until("a request", |harness| harness.connections.counters().requests == 1);
    harness.connections.drain();
    peer.set_window(None);
    harness.turn_until("the end", |_| peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(200, b"GET /a ".to_vec())]);
}

#[test]
fn rfc9110_10_1_1_continue_is_sent_before_the_body() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"POST /b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    harness.turn_until("100", |_| !peer.received().is_empty());
    assert_eq!(peer.received(), b"HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(b"abc");
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(200, b"POST /b abc".to_vec())]);
}
