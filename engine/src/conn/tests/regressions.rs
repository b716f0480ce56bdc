//! What was found by reading and by fuzzing, and must not come back.

use super::*;

const GET_A: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Send blocks of the usual size, but only so many.
fn few_blocks(max_blocks: u32) -> Blocks {
    let block_bytes = 16 * 1024;
    Blocks::new(BlockConfig { block_bytes, stride_bytes: block_bytes, max_blocks, chunk_blocks: 1 })
}

#[test]
fn a_refused_body_leaves_nothing_behind_for_a_streamed_request_of_another() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (attacker, victim) = (harness.connect(), harness.connect());
    attacker.send(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\n");
    harness.turn_until("413", |_| attacker.saw_eof());
    attacker.close();
    victim.send(b"GET /s/ignore HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(20);
    victim.send(GET_A);
    harness.turns(20);
    victim.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    victim.shutdown();
    harness.assert_nothing_left();
    let expected = [(200, b"ignored".to_vec()), (200, b"GET /a ".to_vec()), (200, b"GET /b ".to_vec())];
    assert_eq!(responses(&victim.received()), expected);
}

#[test]
fn a_cut_response_is_a_reset_even_for_a_client_that_has_shut_down() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"GET /s/later-error HTTP/1.0\r\n\r\n");
    peer.shutdown();
    harness.turn_until("the end", |harness| harness.connections.len() == 0);
    assert!(peer.received().ends_with(b"part"));
    assert_eq!(harness.ended(EndReason::ErrorAfterStartingResponse), 1);
    assert!(peer.saw_reset(), "a part is taken for all");
}

#[test]
fn an_unwanted_body_behind_much_else_is_received() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(0));
    peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(20);
    peer.send(b"POST /unwanted HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    peer.send(&vec![b'x'; 300_000]);
    peer.send(GET_A);
    harness.turns(200);
    peer.set_window(None);
    harness.turns(500);
    harness.world.advance(6000);
    harness.turns(100);
    peer.shutdown();
    harness.assert_nothing_left();
    let statuses: Vec<u16> = responses(&peer.received()).iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn a_read_that_is_given_up_blames_nobody() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"POST /s/give-up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    harness.turns(20);
    for _ in 0..20 {
        harness.world.advance(1000);
        harness.turns(3);
    }
    assert!(peer.received().is_empty());
    assert_eq!(harness.connections.counters().rejections[Rejection::BodyTimeout.kind()], 0);
    peer.reset();
    harness.assert_nothing_left();
}

#[test]
fn rfc9110_9_3_6_connect_with_a_body_or_from_http_1_0_is_no_tunnel() {
    let requests = [
        &b"CONNECT s:1 HTTP/1.1\r\nHost: s:1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"[..],
        b"CONNECT s:1 HTTP/1.0\r\n\r\n",
        b"POST /s/tunnel HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
        b"GET /s/tunnel HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in requests {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(request);
        harness.turns(10);
        let got = peer.received();
        assert!(got.starts_with(b"HTTP/1.1 500 "), "{}", got.escape_ascii());
        peer.close();
        harness.assert_nothing_left();
    }
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"CONNECT s:1 HTTP/1.1\r\nHost: s:1\r\n\r\nearly");
    peer.shutdown();
    harness.assert_nothing_left();
    let got = String::from_utf8_lossy(&peer.received()).into_owned();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\nearly"), "{got}");
    assert!(!got.contains("Content-Length") && !got.contains("Transfer-Encoding"), "{got}");
}

#[test]
fn an_upgrade_that_ends_at_once_leaves_the_gate_right() {
    let (driver, world) = Sim::new(0, Faults::NONE);
    let limits = GateLimits { connections: Some(1), upgraded: Some(1), per_address: None };
    let mut harness = Harness::with_settings(driver, world, |settings| {
        settings.gate = Arc::new(Gate::new(limits));
        settings.send_blocks = few_blocks(1);
    });
    let peer = harness.connect();
    peer.send(b"GET /s/upgrade-much HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    harness.turn_until("gone", |harness| harness.connections.len() == 0);
    assert_eq!(harness.ended(EndReason::OutOfMemory), 1);
    let other = harness.connect();
    other.send(GET_A);
    other.shutdown();
    harness.turn_until("gone", |harness| harness.connections.len() == 0);
    assert_eq!(responses(&other.received()), [(200, b"GET /a ".to_vec())]);
}

#[test]
fn half_a_chunk_line_is_never_followed_by_more() {
    let (driver, world) = Sim::new(0, Faults::NONE);
    let mut harness = Harness::with_settings(driver, world, |settings| settings.send_blocks = few_blocks(1));
    let peer = harness.connect();
    peer.send(b"GET /s/half-line HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turn_until("gone", |harness| harness.connections.len() == 0);
    assert_eq!(harness.ended(EndReason::OutOfMemory), 1);
    assert!(!peer.received().ends_with(b"0\r\n\r\n"));
}

#[test]
fn what_a_slow_reader_holds_is_counted_in_blocks_too() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(0));
    peer.send(b"GET /s/payloads HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(50);
    let held = harness.send_blocks.stats().leased;
    assert!(held <= 10, "{held} blocks for 64 KiB");
    peer.set_window(None);
    peer.shutdown();
    harness.assert_nothing_left();
}

#[test]
fn a_handler_may_answer_another_exchange() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (waiting, peer) = (harness.connect(), harness.connect());
    waiting.send(b"GET /s/park HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(10);
    peer.send(b"GET /notify HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(20);
    assert_eq!(harness.connections.counters().panics, 0);
    assert!(waiting.received().ends_with(b"news"));
    waiting.close();
    peer.close();
    harness.connections.end_all();
    harness.assert_nothing_left();
}
