//! What only the epoll driver does; what it promises is tested with the contract.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use super::*;
use crate::driver::contract::{End, OnEpoll, Rig, Seen, Subject};

fn rig(block_bytes: usize, max_blocks: u32) -> Rig<Epoll> {
    OnEpoll.rig(block_bytes, max_blocks)
}

fn data(index: u32, bytes: &[u8]) -> Seen {
    Seen::Data(index, bytes.to_vec())
}

#[test]
fn receive_goes_on_after_data() {
    let mut rig = rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    for bytes in [b"1", b"2"] {
        peer.write_all(bytes).unwrap();
        rig.driver.turn(None).unwrap();
        let event = rig.driver.next();
        assert!(matches!(event, Some(Event::Received { outcome: Received::Data { .. }, more: true, .. })));
    }
}

#[test]
fn receive_that_starves_again_says_so_once_per_turn() {
    let mut rig = rig(64, 1);
    let (first, mut first_peer) = rig.pair();
    let (second, mut second_peer) = rig.pair();
    rig.receive(first);
    rig.receive(second);
    rig.holds_leases = true;
    first_peer.write_all(b"one").unwrap();
    assert_eq!(rig.events(1), [data(first, b"one")]);
    second_peer.write_all(b"two").unwrap();
    for _ in 0..3 {
        assert_eq!(rig.events(1), [Seen::Ended(second, End::Starved)]);
        rig.receive(second);
    }
}

#[test]
fn flood_leaves_the_others_their_turn() {
    let mut rig = rig(8, 4);
    let (flooded, mut flood) = rig.pair();
    let (quiet, mut peer) = rig.pair();
    rig.receive(flooded);
    rig.receive(quiet);
    flood.write_all(&[b'f'; 8 * 100]).unwrap();
    peer.write_all(b"q").unwrap();
    let first = rig.turn(1000);
    let block = data(flooded, &[b'f'; 8]);
    assert_eq!(first.iter().filter(|event| **event == block).count(), usize::from(BURST));
    assert!(first[..2].contains(&data(quiet, b"q")));
    // And one that becomes readable while the flood goes on is noticed.
    peer.write_all(b"r").unwrap();
    let next = [rig.turn(0), rig.turn(0)].concat();
    assert!(next.contains(&data(quiet, b"r")), "{next:?}");
    assert_eq!(next.len(), usize::from(2 * BURST) + 1);
    assert_eq!(rig.events(88).len(), 88);
}

#[test]
fn number_used_again_at_once_inherits_nothing() {
    let mut rig = rig(8, 4);
    let (old, mut old_peer) = rig.pair();
    rig.renumber(old, 901);
    rig.receive(old);
    old_peer.write_all(&[b'o'; 100]).unwrap();
    assert_eq!(rig.turn(1000).len(), usize::from(BURST));
    // It is still due to be received from when it is stopped, closed, and its number taken.
    rig.stop_receiving(old);
    assert_eq!(rig.turn(0), [Seen::Ended(old, End::Stopped)]);
    rig.close(old);

    let (new, mut new_peer) = rig.pair();
    rig.renumber(new, 901);
    rig.receive(new);
    rig.assert_silent();
    new_peer.write_all(b"n").unwrap();
    assert_eq!(rig.events(1), [data(new, b"n")]);
}

#[test]
fn burst_of_connections_is_accepted_in_shares() {
    let mut rig = rig(64, 4);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    rig.accept(Fd(listener.as_raw_fd()));
    rig.assert_silent();
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(rig.turn(1000).len(), ACCEPTS_PER_TURN);
    assert_eq!(rig.events(100 - ACCEPTS_PER_TURN).len(), 100 - ACCEPTS_PER_TURN);
    let peers: Vec<Option<SocketAddr>> = (0..100).map(|index| socket::peer_address(rig.fd(index))).collect();
    let expected: Vec<_> = clients.iter().map(|client| client.local_addr().ok()).collect();
    assert_eq!(peers, expected);
}

#[test]
fn operation_after_an_abort_fails() {
    let mut rig = rig(64, 4);
    let (it, mut peer) = rig.tcp_pair();
    rig.receive(it);
    rig.fill(it);
    rig.abort(it);
    assert_eq!(rig.events(2).len(), 2);
    // The contract forbids it; here it ends as if it had been open at the time.
    rig.receive(it);
    rig.send(it, b"late", None);
    let failed = [Seen::Ended(it, End::Failed(ABORTED)), Seen::Sent(it, Err(ABORTED))];
    assert_eq!(rig.events(2), failed);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    rig.close(it);
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn sending_direction_ends_after_the_open_send() {
    let mut rig = rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    rig.send(it, b"last words", None);
    rig.driver.shutdown_write(rig.fd(it));
    assert_eq!(rig.events(1), [Seen::Sent(it, Ok(10))]);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    peer.write_all(b"heard").unwrap();
    assert_eq!(rig.events(1), [data(it, b"heard")]);
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut rig = rig(64, 4);
    let pairs: Vec<_> = (0..60).map(|_| rig.pair()).collect();
    for (it, _) in &pairs {
        rig.receive(*it);
        rig.stop_receiving(*it);
    }
    assert_eq!(rig.events(60).len(), 60);
    assert_eq!(rig.driver.sockets.len(), 60);
    for (it, _) in &pairs {
        rig.close(*it);
    }
    rig.driver.tidy();
    assert_eq!((rig.driver.sockets.capacity_mapped(), rig.driver.by_fd.capacity()), (0, 0));
}
