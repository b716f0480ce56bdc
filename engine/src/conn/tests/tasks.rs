//! Handlers that are futures: answered in order, woken by time, dropped with their clients.

use super::*;

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// What the test service answers to [`get`] without a task.
fn echo(path: &str) -> (u16, Vec<u8>) {
    (200, format!("GET {path} ").into_bytes())
}

fn ok(path: &str) -> (u16, Vec<u8>) {
    (200, path.as_bytes().to_vec())
}

/// Nothing of any task is left.
fn assert_no_task(harness: &mut Harness) {
    harness.assert_nothing_left();
    assert_eq!(ALIVE.get(), 0, "a task lives on");
    assert_eq!(harness.connections.runtime.slots.placed(), 0, "a slot is taken");
    assert_eq!(harness.connections.runtime.next_due(), None, "a timer waits for nobody");
}

#[test]
fn answers_keep_the_order_of_requests_whoever_is_ready_first() {
    with_seeds(100, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let mut dice = Dice(seed);
        let peer = harness.connect();
        let kinds = ["/b", "/a/ready", "/a/yield/1", "/a/yield/7", "/a/sleep/3", "/s/count"];
        let paths: Vec<&str> = (0..20).map(|_| kinds[dice.roll(kinds.len())]).collect();
        let mut unsent: Vec<u8> = paths.iter().flat_map(|path| get(path)).collect();
        while !unsent.is_empty() {
            let len = (1 + dice.roll(500)).min(unsent.len());
            peer.send(&unsent[..len]);
            unsent.drain(..len);
            harness.turns(dice.roll(4) as u32);
            harness.world.advance(dice.roll(300) as u64);
        }
        let expected: Vec<_> = paths
            .iter()
            .map(|path| match *path {
                "/b" => echo("/b"),
                "/s/count" => (200, b"0".to_vec()),
                path => ok(path),
            })
            .collect();
        harness.turn_until("all answered", |harness| {
            harness.world.advance(50);
            peer.received().windows(4).filter(|window| window == b"HTTP").count() == paths.len()
        });
        peer.shutdown();
        assert_no_task(&mut harness);
        assert_eq!(responses(&peer.received()), expected);
    });
}

#[test]
fn a_task_that_does_not_wait_is_answered_with_its_batch() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(&[get("/b"), get("/a/ready"), get("/c")].concat());
    harness.turns(2);
    assert_eq!(responses(&peer.received()), [echo("/b"), ok("/a/ready"), echo("/c")]);
    assert_eq!(harness.connections.server.spare_shared.len(), 0, "no exchange was needed");
    peer.close();
    assert_no_task(&mut harness);
}

#[test]
fn a_sleep_ends_in_time() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(&get("/a/sleep/5000"));
    harness.turns(5);
    harness.world.advance(4999);
    harness.turns(5);
    assert!(peer.received().is_empty());
    harness.world.advance(1 + 250);
    harness.turns(5);
    assert_eq!(responses(&peer.received()), [ok("/a/sleep/5000")]);
    peer.close();
    assert_no_task(&mut harness);
}

#[test]
fn a_panic_is_a_500_and_the_end_of_its_connection_alone() {
    for path in ["/a/panic", "/a/late-panic", "/a/respond-panic"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let (peer, other) = (harness.connect(), harness.connect());
        peer.send(&[get("/b"), get(path), get("/never")].concat());
        other.send(&get("/a/sleep/1000"));
        harness.turn_until("the end", |_| peer.saw_eof());
        assert_eq!(responses(&peer.received()), [echo("/b"), (500, Vec::new())], "{path}");
        assert_eq!(harness.connections.counters().panics, 1);
        harness.world.advance(1250);
        harness.turns(5);
        assert_eq!(responses(&other.received()), [ok("/a/sleep/1000")]);
        peer.close();
        other.close();
        assert_no_task(&mut harness);
    }
}

#[test]
fn a_task_is_dropped_with_its_client_wherever_it_waits() {
    for faults in [Faults::NONE, Faults::UNKIND] {
        for turns in 0..12 {
            with_seeds(20, |seed| {
                let mut harness = Harness::new(seed, faults);
                let peer = harness.connect();
                peer.send(&[get("/a/yield/8"), get("/a/yield/8")].concat());
                harness.turns(turns);
                peer.reset();
                assert_no_task(&mut harness);
            });
        }
    }
}

#[test]
fn a_client_that_has_closed_ends_its_task_before_long() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let finished = FINISHED.get();
    peer.send(&get("/a/sleep/60000"));
    harness.turns(3);
    peer.close();
    harness.turns(3);
    assert_eq!(ALIVE.get(), 1);
    harness.world.advance(HALF_CLOSED + 500);
    assert_no_task(&mut harness);
    assert_eq!(FINISHED.get(), finished);
    assert_eq!(harness.ended(EndReason::ClosedBeforeResponse), 1);
}

#[test]
fn a_client_that_has_half_closed_gets_what_comes_soon() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(&[get("/a/sleep/500"), get("/a/sleep/300"), get("/b")].concat());
    peer.shutdown();
    for _ in 0..10 {
        harness.turns(3);
        harness.world.advance(250);
    }
    assert_no_task(&mut harness);
    assert_eq!(responses(&peer.received()), [ok("/a/sleep/500"), ok("/a/sleep/300"), echo("/b")]);
}

#[test]
fn a_detached_task_outlives_its_client() {
    for how in [Peer::close, Peer::reset] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        let finished = FINISHED.get();
        peer.send(&get("/a/detached/30000"));
        harness.turns(3);
        how(&peer);
        harness.turns(3);
        harness.world.advance(HALF_CLOSED + 500);
        harness.turn_until("the connection is gone", |harness| harness.connections.len() == 0);
        assert!(harness.connections.runtime.has_detached());
        assert_eq!((ALIVE.get(), FINISHED.get()), (1, finished));
        harness.world.advance(30_000);
        harness.turns(3);
        assert!(!harness.connections.runtime.has_detached());
        assert_no_task(&mut harness);
        assert_eq!(FINISHED.get(), finished + 1);
    }
}

#[test]
fn a_worker_looks_up_when_the_last_detached_task_has_ended() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(&get("/a/detached/1000"));
    harness.turns(3);
    peer.reset();
    harness.turn_until("the connection is gone", |harness| harness.connections.len() == 0);
    assert!(harness.connections.runtime.has_detached());
    assert!(!harness.connections.run_woken(), "it can sleep until then");
    harness.world.advance(1250);
    harness.turn();
    assert!(harness.connections.run_woken(), "a drain would go on until its deadline");
    assert!(!harness.connections.runtime.has_detached());
    assert_no_task(&mut harness);
}

#[test]
fn tasks_of_all_kinds_end_with_their_worker() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peers: Vec<Peer> = (0..3).map(|_| harness.connect()).collect();
    for (peer, path) in peers.iter().zip(["/a/sleep/9999", "/a/detached/9999", "/a/detached/9999"]) {
        peer.send(&get(path));
    }
    harness.turns(3);
    peers[1].reset();
    harness.turns(3);
    assert_eq!(ALIVE.get(), 3);
    let slots = harness.connections.runtime.slots.clone();
    harness.connections.abandon();
    assert_eq!((ALIVE.get(), slots.placed()), (0, 0));
}

#[test]
fn what_a_task_needs_is_used_again() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    for _ in 0..10 {
        peer.send(&get("/a/yield/2"));
        harness.turns(8);
    }
    let server = &harness.connections.server;
    assert_eq!((server.spare_shared.len(), server.spare_exchanges.len()), (1, 1));
    peer.close();
    assert_no_task(&mut harness);
}
