//! Connections on the simulated kernel: whatever it does, answers are right and nothing leaks.

mod reasons;
mod regressions;
mod sockets;
mod streaming;
mod tasks;

use std::sync::Arc;

use peregrine_pool::{BlockConfig, Blocks};

use super::harness::*;
use super::*;
use crate::driver::sim::{Faults, Peer, Sim, with_seeds};

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
