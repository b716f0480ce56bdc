//! The simulator keeps the contract itself, and notices when its caller does not.

use peregrine_pool::Lease;

use super::echo::Echo;
use super::*;

const LISTENER: Fd = Fd(3);
const KEY: Key = Key { index: 5, generation: 9 };

/// A driver with one accepted connection.
fn connected(faults: Faults) -> (Sim, World, Peer, Fd) {
    let (mut sim, world) = Sim::new(1, faults);
    sim.accept(LISTENER, 0);
    let peer = world.connect();
    sim.turn(None).unwrap();
    let Some(Event::Accepted { listener: 0, result: Ok(socket), more: true }) = sim.next() else {
        panic!("not accepted");
    };
    (sim, world, peer, socket)
}

fn send_block(bytes: &[u8]) -> (Lease, u32) {
    let shape = BlockConfig { block_bytes: 64, stride_bytes: 64, max_blocks: 1, chunk_blocks: 1 };
    let mut lease = Blocks::new(shape).lease().unwrap();
    lease[..bytes.len()].copy_from_slice(bytes);
    (lease, bytes.len() as u32)
}

fn send(sim: &mut Sim, socket: Fd, bytes: &[u8]) {
    let (lease, len) = send_block(bytes);
    sim.send(socket, KEY, SendBuffer::new(lease, len, None));
}

fn turn(sim: &mut Sim) -> Option<Event> {
    sim.turn(Some(0)).unwrap();
    sim.next()
}

/// Peers that talk to an echo under faults; returns what each got and how many connections failed.
fn echoes(seed: u64, faults: Faults) -> (Vec<Vec<u8>>, u32) {
    let (sim, world) = Sim::new(seed, faults);
    let mut echo = Echo::new(sim, LISTENER);
    let peers: Vec<Peer> = (0..5).map(|_| world.connect()).collect();
    for round in 0..4_u8 {
        for (peer, number) in peers.iter().zip(0..) {
            peer.send(&vec![round * 16 + number; 50 + 10 * usize::from(number)]);
            peer.set_window(Some(usize::from(round) * 20));
        }
        for _ in 0..3 {
            echo.turn(None);
        }
    }
    for peer in &peers {
        peer.shutdown();
        peer.set_window(None);
    }
    let mut turns = 0;
    while echo.closed < 5 {
        echo.turn(None);
        turns += 1;
        assert!(turns < 10_000, "stuck");
    }
    echo.stop();
    for _ in 0..20 {
        echo.turn(None);
    }
    world.assert_quiescent();
    assert!(peers.iter().all(|peer| peer.is_closed() && peer.saw_eof() != peer.saw_reset()));
    (peers.iter().map(Peer::received).collect(), echo.failed)
}

fn expected(number: u8) -> Vec<u8> {
    (0..4).flat_map(|round| vec![round * 16 + number; 50 + 10 * usize::from(number)]).collect()
}

#[test]
fn bytes_survive_an_unkind_kernel() {
    with_seeds(300, |seed| {
        let (received, failed) = echoes(seed, Faults::UNKIND);
        assert_eq!(failed, 0);
        for (received, number) in received.iter().zip(0..) {
            assert_eq!(*received, expected(number));
        }
    });
}

#[test]
fn every_size_of_receive_and_send_works() {
    for bytes in 1..=20 {
        let faults = Faults { read_at_most: bytes, send_at_most: bytes, ended: 100, ..Faults::NONE };
        let (received, _) = echoes(0, faults);
        assert_eq!(received[4], expected(4));
    }
}

#[test]
fn broken_connections_end_and_the_others_go_on() {
    let mut failures = 0;
    with_seeds(100, |seed| {
        let (received, _) = echoes(seed, Faults::BREAKING);
        for (received, number) in received.iter().zip(0..) {
            assert!(expected(number).starts_with(received));
        }
    });
    for seed in 0..20 {
        failures += echoes(seed, Faults::BREAKING).1;
    }
    assert!((1..100).contains(&failures), "{failures}");
}

#[test]
fn same_seed_makes_the_same_run() {
    for seed in 0..10 {
        assert_eq!(echoes(seed, Faults::BREAKING), echoes(seed, Faults::BREAKING));
    }
}

#[test]
fn aborted_operations_end_once_each() {
    with_seeds(200, |seed| {
        let (sim, world) = Sim::new(seed, Faults::UNKIND);
        let mut echo = Echo::new(sim, LISTENER);
        let peers: Vec<Peer> = (0..5).map(|_| world.connect()).collect();
        for peer in &peers {
            peer.send(b"to and fro");
            peer.set_window(Some(4));
        }
        let mut turns = 0;
        while world.open_sockets() < 5 || turns < 5 {
            echo.turn(None);
            turns += 1;
        }
        echo.abort_all();
        while echo.closed < 5 {
            echo.turn(None);
        }
        world.assert_quiescent();
        assert!(peers.iter().all(Peer::saw_reset));
    });
}

#[test]
fn clock_moves_only_when_nothing_happens() {
    let (mut sim, world, peer, socket) = connected(Faults::NONE);
    let start = sim.now();
    sim.receive(socket, KEY);
    peer.send(b"x");
    sim.turn(Some(start.millis + 5000)).unwrap();
    assert!(matches!(sim.next(), Some(Event::Received { .. })));
    assert_eq!(sim.now(), start);
    sim.turn(Some(start.millis + 5000)).unwrap();
    assert!(sim.next().is_none());
    assert_eq!(sim.now().millis, start.millis + 5000);
    assert_eq!(sim.now().unix_seconds, start.unix_seconds + 5);
    world.advance(1000);
    world.wake();
    assert_eq!(sim.now().millis, start.millis + 5000, "as of the last turn");
    assert!(matches!(turn(&mut sim), Some(Event::Woken)));
    assert_eq!(sim.now().millis, world.millis());
}

#[test]
fn send_waits_for_room() {
    let (mut sim, _world, peer, socket) = connected(Faults::NONE);
    peer.set_window(Some(3));
    send(&mut sim, socket, b"abcdefgh");
    assert!(turn(&mut sim).is_none());
    assert_eq!(peer.received(), b"abc");
    peer.set_window(Some(2));
    assert!(turn(&mut sim).is_none());
    assert_eq!(peer.received(), b"abcde");
    assert_eq!(sim.in_flight(), 1);
    peer.set_window(None);
    assert!(matches!(turn(&mut sim), Some(Event::Sent { result: Ok(8), .. })));
    assert_eq!(peer.received(), b"abcdefgh");
    assert_eq!(sim.in_flight(), 0);
}

#[test]
fn close_with_unread_data_resets() {
    let (mut sim, world, peer, socket) = connected(Faults::NONE);
    send(&mut sim, socket, b"answer");
    assert!(matches!(turn(&mut sim), Some(Event::Sent { .. })));
    sim.shutdown_write(socket);
    assert!(peer.saw_eof());
    peer.send(b"more");
    sim.close(socket);
    assert!(peer.saw_reset() && !peer.saw_eof());
    world.assert_quiescent();
}

#[test]
fn peer_that_is_gone_breaks_the_second_send() {
    let (mut sim, _world, peer, socket) = connected(Faults::NONE);
    peer.close();
    send(&mut sim, socket, b"lost");
    assert!(matches!(turn(&mut sim), Some(Event::Sent { result: Ok(4), .. })));
    send(&mut sim, socket, b"refused");
    assert!(matches!(turn(&mut sim), Some(Event::Sent { result: Err(Errno(libc::EPIPE)), .. })));
}

#[test]
fn reset_by_the_peer_fails_both_directions() {
    with_seeds(20, |seed| {
        let (mut sim, world) = Sim::new(seed, Faults::NONE);
        sim.accept(LISTENER, 0);
        let peer = world.connect();
        let Some(Event::Accepted { result: Ok(socket), .. }) = turn(&mut sim) else { panic!() };
        sim.receive(socket, KEY);
        send(&mut sim, socket, b"late");
        peer.send(b"sent before");
        peer.reset();
        sim.turn(None).unwrap();
        let mut events: Vec<Event> = std::iter::from_fn(|| sim.next()).collect();
        assert!(matches!(events.pop(), Some(Event::Sent { result: Err(_), .. })));
        let failed = events.pop();
        assert!(matches!(failed, Some(Event::Received { outcome: Received::Failed(_), more: false, .. })));
        assert!(events.len() <= 1, "data may come before");
        events.clear();
        sim.close(socket);
        world.assert_quiescent();
    });
}

#[test]
fn faults_can_be_changed_on_the_way() {
    let (mut sim, world, peer, socket) = connected(Faults { receive_errors: 100, ..Faults::NONE });
    world.set_faults(Faults::NONE);
    sim.receive(socket, KEY);
    peer.send(b"sound");
    assert!(matches!(turn(&mut sim), Some(Event::Received { outcome: Received::Data { .. }, .. })));
}

#[test]
fn numbers_and_blocks_are_used_again() {
    let shape = BlockConfig { block_bytes: 4, stride_bytes: 4, max_blocks: 1, chunk_blocks: 1 };
    let (mut sim, world) = Sim::with_blocks(1, Faults::NONE, Blocks::new(shape));
    sim.accept(LISTENER, 0);
    let mut sockets = Vec::new();
    for round in 0..2 {
        let peer = world.connect();
        let Some(Event::Accepted { result: Ok(socket), .. }) = turn(&mut sim) else { panic!() };
        sockets.push(socket);
        let key = Key { generation: round, ..KEY };
        sim.receive(socket, key);
        peer.send(b"abcdef");
        let Some(Event::Received { outcome: Received::Data { lease, len: 4 }, .. }) = turn(&mut sim) else {
            panic!()
        };
        let Some(Event::Received { outcome: Received::Starved, more: false, .. }) = sim.next() else {
            panic!()
        };
        assert!(!sim.has_receive_blocks());
        drop(lease);
        sim.receive(socket, key);
        let Some(Event::Received { outcome: Received::Data { lease, len: 2 }, .. }) = turn(&mut sim) else {
            panic!()
        };
        assert_eq!(lease[..], [b'e', b'f', POISON, POISON]);
        sim.stop_receiving(socket, key);
        assert!(matches!(turn(&mut sim), Some(Event::Received { outcome: Received::Stopped, .. })));
        sim.close(socket);
    }
    assert_eq!(sockets[0], sockets[1]);
    world.assert_quiescent();
}

#[test]
#[should_panic(expected = "two sends")]
fn second_send_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    send(&mut sim, socket, b"a");
    send(&mut sim, socket, b"b");
}

#[test]
#[should_panic(expected = "two receives")]
fn receive_before_the_last_event_of_the_former_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.receive(socket, KEY);
    sim.stop_receiving(socket, KEY);
    sim.turn(None).unwrap();
    sim.receive(socket, KEY);
}

#[test]
#[should_panic(expected = "closed with a receive open")]
fn early_close_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.receive(socket, KEY);
    sim.abort(socket);
    sim.close(socket);
}

#[test]
#[should_panic(expected = "is not open")]
fn use_after_close_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.close(socket);
    sim.receive(socket, KEY);
}

#[test]
#[should_panic(expected = "under two keys")]
fn second_key_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.receive(socket, KEY);
    let (lease, len) = send_block(b"a");
    sim.send(socket, Key { index: 6, ..KEY }, SendBuffer::new(lease, len, None));
}

#[test]
#[should_panic(expected = "after its abort")]
fn operation_after_abort_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.abort(socket);
    sim.receive(socket, KEY);
}

#[test]
#[should_panic(expected = "did not come back")]
fn kept_block_is_noticed() {
    let (mut sim, world, peer, socket) = connected(Faults::NONE);
    sim.receive(socket, KEY);
    peer.send(b"x");
    peer.shutdown();
    let _kept = turn(&mut sim);
    assert!(matches!(sim.next(), Some(Event::Received { outcome: Received::Eof, .. })));
    sim.close(socket);
    world.assert_quiescent();
}

/// Turns until something is told; by itself the clock may take it there.
fn told(sim: &mut Sim) -> Option<Event> {
    (0..100).find_map(|_| {
        sim.turn(None).unwrap();
        sim.next()
    })
}

fn is_ready(event: Option<&Event>, interest: Interest) -> bool {
    matches!(event, Some(Event::Ready { key: KEY, interest: of, result: Ok(()) }) if *of == interest)
}

fn is_cancelled(event: Option<&Event>, interest: Interest) -> bool {
    let cancelled = Err(Errno(libc::ECANCELED));
    matches!(event, Some(Event::Ready { key: KEY, interest: of, result }) if *of == interest && *result == cancelled)
}

#[test]
fn watch_tells_once_what_is_the_case_or_comes() {
    let (mut sim, _world, peer, socket) = connected(Faults::NONE);
    sim.watch(socket, KEY, Interest::Write);
    sim.watch(socket, KEY, Interest::Read);
    assert_eq!(sim.in_flight(), 2);
    assert!(is_ready(turn(&mut sim).as_ref(), Interest::Write));
    assert!(turn(&mut sim).is_none());
    peer.send(b"x");
    assert!(is_ready(turn(&mut sim).as_ref(), Interest::Read));
    assert_eq!(sim.in_flight(), 0);
    sim.watch(socket, KEY, Interest::Read);
    assert!(is_ready(turn(&mut sim).as_ref(), Interest::Read));
    peer.set_window(Some(0));
    sim.watch(socket, KEY, Interest::Write);
    sim.receive(socket, KEY);
    assert!(matches!(turn(&mut sim), Some(Event::Received { .. })));
    assert!(turn(&mut sim).is_none());
    peer.set_window(Some(1));
    assert!(is_ready(turn(&mut sim).as_ref(), Interest::Write));
    assert_eq!(sim.in_flight(), 1);
}

#[test]
fn end_of_the_peer_ends_watches() {
    for is_reset in [false, true] {
        let (mut sim, _world, peer, socket) = connected(Faults::NONE);
        peer.set_window(Some(0));
        sim.watch(socket, KEY, Interest::Read);
        sim.watch(socket, KEY, Interest::Write);
        assert!(turn(&mut sim).is_none());
        if is_reset {
            peer.reset();
        } else {
            peer.close();
        }
        let mut events = [turn(&mut sim), sim.next()];
        events.sort_by_key(|event| is_ready(event.as_ref(), Interest::Write));
        assert!(is_ready(events[0].as_ref(), Interest::Read), "{events:?}");
        assert!(is_ready(events[1].as_ref(), Interest::Write), "{events:?}");
    }
}

#[test]
fn own_connection_is_there_some_time_later() {
    let mut delays = std::collections::BTreeSet::new();
    with_seeds(50, |seed| {
        let (mut sim, world) = Sim::new(seed, Faults::NONE);
        let (socket, peer) = world.dial();
        peer.send(b"early");
        sim.watch(socket, KEY, Interest::Write);
        sim.watch(socket, KEY, Interest::Read);
        let mut events = [told(&mut sim), sim.next()];
        assert!(sim.now().millis <= START_MILLIS + CONNECT_MILLIS_MAX as u64);
        events.sort_by_key(|event| is_ready(event.as_ref(), Interest::Write));
        assert!(is_ready(events[0].as_ref(), Interest::Read), "{events:?}");
        assert!(is_ready(events[1].as_ref(), Interest::Write), "{events:?}");
        assert_eq!(world.take_error(socket), None);
        sim.receive(socket, KEY);
        send(&mut sim, socket, b"hello");
        assert!(matches!(turn(&mut sim), Some(Event::Received { .. })));
        assert!(matches!(sim.next(), Some(Event::Sent { result: Ok(5), .. })));
        assert_eq!(peer.received(), b"hello");
    });
    for seed in 0..50 {
        let (mut sim, world) = Sim::new(seed, Faults::NONE);
        let (socket, _peer) = world.dial();
        sim.watch(socket, KEY, Interest::Write);
        assert!(told(&mut sim).is_some());
        // The turn that tells moves no clock.
        delays.insert(sim.now().millis);
    }
    assert!(delays.len() > 20, "{delays:?}");
}

#[test]
fn own_connection_may_be_refused() {
    for asks in [true, false] {
        let (mut sim, world) = Sim::new(1, Faults { connect_errors: 100, ..Faults::NONE });
        let (socket, peer) = world.dial();
        peer.send(b"lost");
        sim.watch(socket, KEY, Interest::Write);
        assert!(is_ready(told(&mut sim).as_ref(), Interest::Write));
        let refused = Errno(libc::ECONNREFUSED);
        if asks {
            assert_eq!(world.take_error(socket), Some(refused));
            assert_eq!(world.take_error(socket), None);
        } else {
            sim.receive(socket, KEY);
            let Some(Event::Received { outcome: Received::Failed(error), more: false, .. }) = turn(&mut sim)
            else {
                panic!("not refused")
            };
            assert_eq!(error, refused);
        }
        sim.close(socket);
        world.assert_quiescent();
    }
}

#[test]
fn cancelled_watch_ends_once_in_either_way() {
    let mut ends = [0, 0];
    for seed in 0..200 {
        let (mut sim, world) = Sim::new(seed, Faults::UNKIND);
        let (socket, peer) = world.dial();
        let interest = if seed % 2 == 0 { Interest::Read } else { Interest::Write };
        sim.watch(socket, KEY, interest);
        for _ in 0..seed % 5 {
            sim.turn(Some(world.millis() + 50)).unwrap();
        }
        peer.send(b"x");
        sim.unwatch(socket, KEY, interest);
        sim.unwatch(socket, KEY, interest);
        let event = sim.next().or_else(|| told(&mut sim));
        let is_late = is_ready(event.as_ref(), interest);
        assert!(is_late || is_cancelled(event.as_ref(), interest), "{event:?}");
        ends[usize::from(is_late)] += 1;
        for _ in 0..10 {
            assert!(turn(&mut sim).is_none());
        }
        sim.close(socket);
        world.assert_quiescent();
    }
    assert!(ends.iter().all(|count| *count > 20), "{ends:?}");
}

#[test]
fn abort_ends_watches() {
    let (mut sim, world) = Sim::new(1, Faults::NONE);
    let (socket, _peer) = world.dial();
    sim.watch(socket, KEY, Interest::Read);
    sim.watch(socket, KEY, Interest::Write);
    sim.abort(socket);
    assert!(is_cancelled(turn(&mut sim).as_ref(), Interest::Read));
    assert!(is_cancelled(sim.next().as_ref(), Interest::Write));
    sim.close(socket);
    world.assert_quiescent();
}

#[test]
#[should_panic(expected = "two watches")]
fn second_watch_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.watch(socket, KEY, Interest::Read);
    sim.watch(socket, KEY, Interest::Read);
}

#[test]
#[should_panic(expected = "a watch beside a receive")]
fn watch_for_reading_beside_a_receive_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.receive(socket, KEY);
    sim.watch(socket, KEY, Interest::Read);
}

#[test]
#[should_panic(expected = "closed with a watch open")]
fn close_before_the_end_of_a_watch_is_refused() {
    let (mut sim, _world, _peer, socket) = connected(Faults::NONE);
    sim.watch(socket, KEY, Interest::Write);
    sim.unwatch(socket, KEY, Interest::Write);
    sim.close(socket);
}
