//! The driver against real sockets: pairs of Unix ones, and TCP over loopback where TCP differs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use peregrine_pool::{BlockConfig, Lease, Payload};

use super::*;
use crate::driver::sim::echo::Echo;

/// A driver and what a worker would keep beside it.
struct Rig {
    driver: Epoll,
    blocks: Blocks,
    sends: Blocks,
    waker: Waker,
}

fn pool(block_bytes: usize, max_blocks: u32) -> Blocks {
    Blocks::new(BlockConfig { block_bytes, stride_bytes: block_bytes, max_blocks, chunk_blocks: max_blocks })
}

fn rig(block_bytes: usize, max_blocks: u32) -> Rig {
    let blocks = pool(block_bytes, max_blocks);
    let waker = Waker::new().unwrap();
    let config = Config { receive_blocks: blocks.clone(), waker: waker.clone(), busy_poll_micros: 0 };
    Rig { driver: Epoll::new(&config).unwrap(), blocks, sends: pool(4096, 16), waker }
}

/// A connection of the driver's and its peer.
fn pair() -> (Fd, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (Fd(near.into_raw_fd()), far)
}

fn tcp_pair() -> (Fd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (Fd(listener.accept().unwrap().0.into_raw_fd()), far)
}

fn key(index: u32) -> Key {
    Key { index, generation: 1 }
}

/// Events in a form that can be compared; leases are given back.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Accepted(u32, Result<Fd, Errno>, bool),
    Data(u32, Vec<u8>),
    Eof(u32),
    Starved(u32),
    Stopped(u32),
    Failed(u32, Errno),
    Sent(u32, Result<u32, Errno>),
    Woken,
}

fn seen(event: Event) -> Seen {
    match event {
        Event::Accepted { listener, result, more } => Seen::Accepted(listener, result, more),
        Event::Received { key, outcome, more } => {
            assert_eq!(more, matches!(outcome, Received::Data { .. }));
            match outcome {
                Received::Data { lease, len } => Seen::Data(key.index, lease[..len as usize].to_vec()),
                Received::Eof => Seen::Eof(key.index),
                Received::Starved => Seen::Starved(key.index),
                Received::Stopped => Seen::Stopped(key.index),
                Received::Failed(error) => Seen::Failed(key.index, error),
            }
        }
        Event::Sent { key, result, .. } => Seen::Sent(key.index, result),
        Event::Woken => Seen::Woken,
    }
}

impl Rig {
    /// Everything that one turn tells.
    fn turn(&mut self, wait_millis: u64) -> Vec<Seen> {
        let until = clock::now().millis + wait_millis;
        self.driver.turn(Some(until)).unwrap();
        std::iter::from_fn(|| self.driver.next()).map(seen).collect()
    }

    /// Everything that is told until there are `count` events, or nothing for a long time.
    fn events(&mut self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut events = Vec::new();
        while events.len() < count && Instant::now() < deadline {
            events.extend(self.turn(1000));
        }
        events
    }

    /// Asserts that nothing is told for a while.
    fn assert_silent(&mut self) {
        for _ in 0..3 {
            assert_eq!(self.turn(5), []);
        }
    }

    fn send_buffer(&self, bytes: &[u8], payload: Option<Payload>) -> SendBuffer {
        let mut lease = self.sends.lease().unwrap();
        lease[..bytes.len()].copy_from_slice(bytes);
        SendBuffer::new(lease, bytes.len() as u32, payload)
    }

    fn send(&mut self, fd: Fd, index: u32, bytes: &[u8]) {
        let buffer = self.send_buffer(bytes, None);
        self.driver.send(fd, key(index), buffer);
    }

    /// Sends until the socket takes no more and one send stays open.
    fn fill(&mut self, fd: Fd, index: u32) {
        loop {
            let buffer = self.send_buffer(b"", Some(Payload::Owned(vec![b'x'; 1 << 20])));
            self.driver.send(fd, key(index), buffer);
            if self.turn(20).is_empty() {
                return;
            }
        }
    }

    /// The next event's lease, which must be data.
    fn lease(&mut self) -> Lease {
        loop {
            match self.driver.next() {
                Some(Event::Received { outcome: Received::Data { lease, .. }, .. }) => return lease,
                Some(event) => panic!("{event:?}"),
                None => self.driver.turn(Some(clock::now().millis + 1000)).unwrap(),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !thread::panicking() {
            while self.driver.next().is_some() {}
            assert_eq!(self.blocks.stats().leased, 0);
        }
    }
}

fn data(index: u32, bytes: &[u8]) -> Seen {
    Seen::Data(index, bytes.to_vec())
}

#[test]
fn data_comes_and_goes() {
    let mut rig = rig(64, 4);
    let (fd, mut peer) = pair();
    rig.driver.receive(fd, key(7));
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 1);
    peer.write_all(b"ping").unwrap();
    assert_eq!(rig.events(1), [data(7, b"ping")]);
    peer.write_all(b"more").unwrap();
    assert_eq!(rig.events(1), [data(7, b"more")]);

    rig.send(fd, 7, b"pong");
    assert_eq!(rig.driver.in_flight(), 2);
    assert_eq!(rig.events(1), [Seen::Sent(7, Ok(4))]);
    let payload = Some(Payload::Static(b", payload"));
    let buffer = rig.send_buffer(b"block", payload);
    rig.driver.send(fd, key(7), buffer);
    assert_eq!(rig.events(1), [Seen::Sent(7, Ok(14))]);
    let mut got = [0; 18];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"pongblock, payload");
    assert_eq!(rig.driver.in_flight(), 1);
}

#[test]
fn data_longer_than_a_block_comes_in_order() {
    let mut rig = rig(8, 4);
    let (fd, mut peer) = pair();
    peer.write_all(b"0123456789abcdefXYZ").unwrap();
    rig.driver.receive(fd, key(1));
    assert_eq!(rig.events(3), [data(1, b"01234567"), data(1, b"89abcdef"), data(1, b"XYZ")]);
    // Exactly a block: whether more is there has to be asked.
    peer.write_all(b"01234567").unwrap();
    assert_eq!(rig.events(1), [data(1, b"01234567")]);
    rig.assert_silent();
    peer.write_all(b"!").unwrap();
    assert_eq!(rig.events(1), [data(1, b"!")]);
}

#[test]
fn end_of_file_comes_after_data_and_once() {
    let mut rig = rig(64, 4);
    for (fd, mut peer) in [pair(), pair()] {
        peer.write_all(b"last").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        rig.driver.receive(fd, key(1));
        assert_eq!(rig.events(2), [data(1, b"last"), Seen::Eof(1)]);
        rig.assert_silent();
        assert_eq!(rig.driver.in_flight(), 0);
        rig.driver.close(fd);
    }
}

#[test]
fn end_of_file_alone_is_told() {
    let mut rig = rig(64, 4);
    let (fd, peer) = tcp_pair();
    rig.driver.receive(fd, key(1));
    rig.assert_silent();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig.events(1), [Seen::Eof(1)]);
    rig.assert_silent();
}

#[test]
fn half_closed_peer_still_gets_its_answer() {
    let mut rig = rig(64, 4);
    let (fd, mut peer) = tcp_pair();
    rig.driver.receive(fd, key(1));
    peer.write_all(b"request").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig.events(2), [data(1, b"request"), Seen::Eof(1)]);
    rig.send(fd, 1, b"answer");
    assert_eq!(rig.events(1), [Seen::Sent(1, Ok(6))]);
    rig.driver.shutdown_write(fd);
    rig.driver.close(fd);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
}

#[test]
fn slow_reader_gets_everything() {
    let mut rig = rig(64, 4);
    let (unix, unix_peer) = pair();
    let (tcp, tcp_peer) = tcp_pair();
    let readers: [(Fd, Box<dyn Read + Send>); 2] = [(unix, Box::new(unix_peer)), (tcp, Box::new(tcp_peer))];
    for (fd, peer) in readers {
        let payload: Vec<u8> = (0..16_000_000_u32).map(|n| (n / 251) as u8).collect();
        let mut expected = b"head".to_vec();
        expected.extend(&payload);
        let buffer = rig.send_buffer(b"head", Some(Payload::Shared(payload.into())));
        rig.driver.send(fd, key(1), buffer);

        let mut reader = None;
        let mut peer = Some(peer);
        let mut short = 0;
        let mut silent = 0;
        loop {
            rig.driver.turn(Some(clock::now().millis + 20)).unwrap();
            match rig.driver.next() {
                Some(Event::Sent { mut buffer, result, .. }) => {
                    buffer.advance(result.unwrap());
                    if buffer.remaining() == 0 {
                        break;
                    }
                    short += 1;
                    rig.driver.send(fd, key(1), buffer);
                }
                Some(event) => panic!("{event:?}"),
                None => silent += 1,
            }
            // The peer reads nothing until the send has been stuck for a while.
            if silent == 3 && reader.is_none() {
                assert_eq!(rig.driver.in_flight(), 1);
                let mut peer = peer.take().unwrap();
                reader = Some(thread::spawn(move || {
                    let mut got = Vec::new();
                    peer.read_to_end(&mut got).map(|_| got)
                }));
            }
        }
        assert!(short > 0);
        rig.driver.close(fd);
        assert!(reader.unwrap().join().unwrap().unwrap() == expected);
    }
}

#[test]
fn stopped_receive_ends_and_leaves_data_in_the_socket() {
    let mut rig = rig(64, 4);
    let (fd, mut peer) = pair();
    rig.driver.receive(fd, key(1));
    rig.assert_silent();
    rig.driver.stop_receiving(fd, key(1));
    rig.driver.stop_receiving(fd, key(1));
    peer.write_all(b"later").unwrap();
    assert_eq!(rig.events(1), [Seen::Stopped(1)]);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    rig.driver.receive(fd, key(1));
    assert_eq!(rig.events(1), [data(1, b"later")]);
}

#[test]
fn receive_without_a_block_starves_and_can_be_started_again() {
    let mut rig = rig(64, 1);
    let (first, mut first_peer) = pair();
    let (second, mut second_peer) = pair();
    rig.driver.receive(first, key(1));
    rig.driver.receive(second, key(2));
    first_peer.write_all(b"one").unwrap();
    let held = rig.lease();
    assert!(!rig.driver.has_receive_blocks());
    second_peer.write_all(b"two").unwrap();
    assert_eq!(rig.events(1), [Seen::Starved(2)]);
    rig.driver.receive(second, key(2));
    assert_eq!(rig.events(1), [Seen::Starved(2)], "and only once per turn");
    drop(held);
    assert!(rig.driver.has_receive_blocks());
    rig.driver.receive(second, key(2));
    assert_eq!(rig.events(1), [data(2, b"two")]);
    assert_eq!(rig.driver.in_flight(), 2);
}

#[test]
fn flood_leaves_the_others_their_turn() {
    let mut rig = rig(8, 4);
    let (flooded, mut flood) = pair();
    let (quiet, mut peer) = pair();
    rig.driver.receive(flooded, key(1));
    rig.driver.receive(quiet, key(2));
    flood.write_all(&[b'f'; 8 * 100]).unwrap();
    peer.write_all(b"q").unwrap();
    let first = rig.turn(1000);
    assert_eq!(first.iter().filter(|event| **event == data(1, &[b'f'; 8])).count(), usize::from(BURST));
    assert!(first[..2].contains(&data(2, b"q")));
    // And one that becomes readable while the flood goes on is noticed.
    peer.write_all(b"r").unwrap();
    let next = [rig.turn(0), rig.turn(0)].concat();
    assert!(next.contains(&data(2, b"r")), "{next:?}");
    assert_eq!(next.len(), usize::from(2 * BURST) + 1);
    assert_eq!(rig.events(88).len(), 88);
}

#[test]
fn number_used_again_inherits_nothing() {
    let mut rig = rig(8, 4);
    let (old, mut old_peer) = pair();
    let old = sys::renumber(old, 901);
    rig.driver.receive(old, key(1));
    old_peer.write_all(&[b'o'; 100]).unwrap();
    assert_eq!(rig.turn(1000).len(), usize::from(BURST));
    // It is still due to be received from when it is stopped, closed, and its number taken.
    rig.driver.stop_receiving(old, key(1));
    rig.driver.turn(Some(0)).unwrap();
    assert_eq!(rig.driver.next().map(seen), Some(Seen::Stopped(1)));
    rig.driver.close(old);

    let (new, mut new_peer) = pair();
    let new = sys::renumber(new, 901);
    assert_eq!(old, new);
    rig.driver.receive(new, key(2));
    rig.assert_silent();
    new_peer.write_all(b"n").unwrap();
    assert_eq!(rig.events(1), [data(2, b"n")]);
}

#[test]
fn event_of_a_closed_connection_finds_nothing() {
    let mut rig = rig(64, 4);
    let (near, mut peer) = UnixStream::pair().unwrap();
    // Its other descriptor keeps the socket open, and with it in epoll, after the close.
    let _other = near.try_clone().unwrap();
    let old = sys::renumber(Fd(near.into_raw_fd()), 911);
    rig.driver.receive(old, key(1));
    rig.assert_silent();
    rig.driver.stop_receiving(old, key(1));
    assert_eq!(rig.events(1), [Seen::Stopped(1)]);
    rig.driver.close(old);
    let (new, mut new_peer) = pair();
    let new = sys::renumber(new, 911);
    rig.driver.receive(new, key(2));
    peer.write_all(b"for the old one").unwrap();
    rig.assert_silent();
    new_peer.write_all(b"new").unwrap();
    assert_eq!(rig.events(1), [data(2, b"new")]);
}

#[test]
fn burst_of_connections_is_accepted_in_shares() {
    let mut rig = rig(64, 4);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Fd(listener.as_raw_fd());
    rig.driver.accept(socket, 3);
    rig.assert_silent();
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let first = rig.turn(1000);
    assert_eq!(first.len(), ACCEPTS_PER_TURN);
    let mut peers: Vec<SocketAddr> = Vec::new();
    for event in first.into_iter().chain(rig.events(100 - ACCEPTS_PER_TURN)) {
        let Seen::Accepted(3, Ok(fd), true) = event else { panic!("{event:?}") };
        rig.driver.receive(fd, key(peers.len() as u32));
        peers.push(clients[peers.len()].local_addr().unwrap());
        rig.driver.stop_receiving(fd, key(peers.len() as u32 - 1));
        while rig.turn(0) != [Seen::Stopped(peers.len() as u32 - 1)] {}
        rig.driver.close(fd);
    }
    assert_eq!(peers.len(), 100);

    rig.driver.stop_accepting(socket, 3);
    rig.driver.stop_accepting(socket, 3);
    let _late = TcpStream::connect(address).unwrap();
    assert_eq!(rig.events(1), [Seen::Accepted(3, Err(Errno(libc::ECANCELED)), false)]);
    rig.assert_silent();
    rig.driver.accept(socket, 3);
    assert!(matches!(rig.events(1)[..], [Seen::Accepted(3, Ok(_), true)]));
}

#[test]
fn failed_listener_stops_and_can_be_started_again() {
    let mut rig = rig(64, 4);
    // Readable, but no listener.
    let (fd, mut peer) = pair();
    peer.write_all(b"x").unwrap();
    for _ in 0..2 {
        rig.driver.accept(fd, 2);
        assert_eq!(rig.events(1), [Seen::Accepted(2, Err(Errno(libc::EINVAL)), false)]);
        rig.assert_silent();
    }
}

#[test]
fn workers_share_a_listener() {
    let mut rigs = [rig(64, 4), rig(64, 4)];
    let path = std::env::temp_dir().join(format!("peregrine-epoll-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    for rig in &mut rigs {
        rig.driver.accept(Fd(listener.as_raw_fd()), 1);
    }
    let clients: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut accepted = 0;
    for _ in 0..10 {
        for rig in &mut rigs {
            for event in rig.turn(5) {
                let Seen::Accepted(1, Ok(fd), true) = event else { panic!("{event:?}") };
                rig.driver.close(fd);
                accepted += 1;
            }
        }
    }
    assert_eq!(accepted, clients.len());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn many_connections_get_their_echo() {
    let blocks = pool(1000, 8);
    let config =
        Config { receive_blocks: blocks.clone(), waker: Waker::new().unwrap(), busy_poll_micros: 20 };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut echo = Echo::new(Epoll::new(&config).unwrap(), Fd(listener.as_raw_fd()));
    let clients: Vec<_> = (0..20)
        .map(|number: u8| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let bytes: Vec<u8> = (0..400_000_u32).map(|n| (n / 7) as u8 ^ number).collect();
                let mut writer = stream.try_clone().unwrap();
                let sent = bytes.clone();
                let writer = thread::spawn(move || {
                    for part in sent.chunks(1 + 997 * usize::from(number)) {
                        writer.write_all(part).unwrap();
                    }
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                writer.join().unwrap();
                assert!(got == bytes, "client {number} got something else");
            })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while echo.closed < 20 && Instant::now() < deadline {
        echo.turn(Some(clock::now().millis + 100));
    }
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!((echo.closed, echo.failed, echo.driver.in_flight()), (20, 0, 0));
    assert_eq!(blocks.stats().leased, 0);
}

#[test]
fn what_is_no_socket_fails() {
    let mut rig = rig(64, 4);
    let file = std::fs::File::open("/dev/null").unwrap();
    rig.driver.accept(Fd(file.as_raw_fd()), 1);
    rig.driver.receive(Fd(file.as_raw_fd()), key(1));
    rig.send(Fd(file.as_raw_fd()), 1, b"x");
    assert_eq!(
        rig.events(3),
        [
            Seen::Accepted(1, Err(Errno(libc::EPERM)), false),
            Seen::Failed(1, Errno(libc::EPERM)),
            Seen::Sent(1, Err(Errno(libc::ENOTSOCK))),
        ]
    );
    assert_eq!(rig.driver.in_flight(), 0);
}

#[test]
fn waker_ends_the_wait() {
    for busy_poll_micros in [0, 50] {
        let mut rig = rig(64, 4);
        rig.driver.busy_poll_nanos = busy_poll_micros * 1000;
        let waker = rig.waker.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            waker.wake();
            waker.wake();
        });
        let start = Instant::now();
        rig.driver.turn(None).unwrap();
        assert_eq!(rig.driver.next().map(seen), Some(Seen::Woken));
        assert!(start.elapsed() >= Duration::from_millis(20));
        thread.join().unwrap();
        while !rig.turn(0).is_empty() {}
        rig.assert_silent();
    }
}

#[test]
fn turn_ends_in_time() {
    for busy_poll_micros in [0, 1000] {
        let mut rig = rig(64, 4);
        rig.driver.busy_poll_nanos = busy_poll_micros * 1000;
        let start = Instant::now();
        rig.driver.turn(Some(0)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        let until = clock::now().millis + 40;
        let mut turns = 0;
        while rig.driver.now().millis < until {
            rig.driver.turn(Some(until)).unwrap();
            assert!(rig.driver.next().is_none());
            turns += 1;
        }
        assert!(start.elapsed() >= Duration::from_millis(35), "{:?}", start.elapsed());
        assert!(turns < 20, "{turns} turns to wait once");
        assert!(rig.driver.now().unix_seconds > 1_700_000_000);
    }
}

#[test]
fn abort_ends_each_operation_once_and_resets() {
    let mut rig = rig(64, 4);
    let (fd, mut peer) = tcp_pair();
    rig.driver.receive(fd, key(1));
    rig.fill(fd, 1);
    assert_eq!(rig.driver.in_flight(), 2);
    rig.driver.abort(fd);
    let failed = [Seen::Failed(1, ABORTED), Seen::Sent(1, Err(ABORTED))];
    assert_eq!(rig.events(2), failed);
    // A driver with queued operations tells their end, too.
    rig.driver.receive(fd, key(1));
    rig.send(fd, 1, b"late");
    assert_eq!(rig.events(2), failed);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    rig.driver.close(fd);
    let mut got = Vec::new();
    let error = peer.read_to_end(&mut got).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn reset_by_the_peer_is_told_to_both_directions() {
    let mut rig = rig(64, 4);
    let (fd, peer) = tcp_pair();
    rig.driver.receive(fd, key(1));
    rig.fill(fd, 1);
    let peer = Fd(peer.into_raw_fd());
    crate::sys::socket::reset_on_close(peer).unwrap();
    sys::close(peer);
    let mut events = rig.events(2);
    events.sort_by_key(|event| matches!(event, Seen::Sent(..)));
    assert!(matches!(events[..], [Seen::Failed(1, _) | Seen::Eof(1), Seen::Sent(1, Err(_))]), "{events:?}");
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    rig.driver.close(fd);
}

#[test]
fn sending_direction_ends_after_the_open_send() {
    let mut rig = rig(64, 4);
    let (fd, mut peer) = pair();
    rig.driver.receive(fd, key(1));
    rig.send(fd, 1, b"last words");
    rig.driver.shutdown_write(fd);
    assert_eq!(rig.events(1), [Seen::Sent(1, Ok(10))]);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    peer.write_all(b"heard").unwrap();
    assert_eq!(rig.events(1), [data(1, b"heard")]);
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let mut rig = rig(64, 4);
    let pairs: Vec<_> = (0..60).map(|_| pair()).collect();
    for (index, (fd, _)) in pairs.iter().enumerate() {
        rig.driver.receive(*fd, key(index as u32));
        rig.driver.stop_receiving(*fd, key(index as u32));
    }
    assert_eq!(rig.events(60).len(), 60);
    assert_eq!(rig.driver.sockets.len(), 60);
    for (fd, _) in &pairs {
        rig.driver.close(*fd);
    }
    rig.driver.tidy();
    assert_eq!((rig.driver.sockets.capacity_mapped(), rig.driver.by_fd.capacity()), (0, 0));
}
