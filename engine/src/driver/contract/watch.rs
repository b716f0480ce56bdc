//! The contract of watches: one event each, whatever is watched and however it ends.
//!
//! Whether a watch that is told to end still reports a readiness is left open; that it reports once is not.

use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Socket as AnySocket, Type};

use super::*;
use crate::driver::Interest::{Read as Input, Write as Room};
use crate::sys::socket::client;

instances!([
    what_is_ready_is_told_at_once
    what_becomes_ready_is_told_then
    watches_can_be_repeated
    cancelled_watch_ends_once
    cancellation_may_race_with_readiness
    both_watches_of_a_descriptor_end_by_themselves
    connection_becomes_writable_when_it_is_there
    refused_connection_is_told
    end_of_the_peer_is_told
    many_watches_start_in_one_turn
    connection_is_received_from_after_its_watch
    connection_is_received_from_during_its_watch
    stopped_receive_may_be_followed_by_a_watch
    watch_for_room_beside_a_send
    abort_ends_watches
    watch_of_a_former_number_tells_nothing
    what_cannot_be_polled_is_told_once
    end_of_the_driver_ends_watches
]);

const READY: Option<Result<(), Errno>> = Some(Ok(()));
const CANCELLED: Option<Result<(), Errno>> = Some(Err(Errno(libc::ECANCELED)));

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An eventfd that the rig owns.
fn eventfd<D: Driver>(rig: &mut Rig<D>) -> (u32, Waker) {
    let waker = Waker::new().unwrap();
    // The rig closes it, so that the waker must not.
    mem::forget(waker.clone());
    (rig.add(waker.fd().0), waker)
}

/// A client's connection to `address`, made as a handler makes it.
fn dial<D: Driver>(rig: &mut Rig<D>, address: SocketAddr) -> u32 {
    rig.add(client::connect_tcp(address).unwrap())
}

/// Turns until a watch has ended, then until nothing more can come.
fn ended<D: Driver>(rig: &mut Rig<D>, it: u32, interest: Interest) -> Option<Result<(), Errno>> {
    rig.until("ended", |rig| rig.ready(it, interest).is_some());
    rig.assert_silent();
    rig.ready(it, interest)
}

fn what_is_ready_is_told_at_once(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, mut unix_peer) = rig.pair();
    unix_peer.write_all(b"x").unwrap();
    let (tcp, mut tcp_peer) = rig.tcp_pair();
    tcp_peer.write_all(b"x").unwrap();
    let udp = client::bind_udp(loopback()).unwrap();
    let udp_is_at = socket::local_address(Fd(udp.as_raw_fd())).unwrap();
    let udp = rig.add(udp);
    UdpSocket::bind(loopback()).unwrap().send_to(b"x", udp_is_at).unwrap();
    for it in [unix, tcp, udp] {
        for interest in [Input, Room] {
            rig.watch(it, interest);
            assert_eq!(rig.driver.in_flight(), 1);
            assert_eq!(ended(&mut rig, it, interest), READY);
            assert_eq!(rig.driver.in_flight(), 0);
        }
    }
    let listener = TcpListener::bind(loopback()).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let listener = rig.add(listener);
    let (eventfd, waker) = eventfd(&mut rig);
    waker.wake();
    for it in [listener, eventfd] {
        rig.watch(it, Input);
        assert_eq!(ended(&mut rig, it, Input), READY);
    }
    assert_eq!(rig.driver.in_flight(), 0);
}

fn what_becomes_ready_is_told_then(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, mut unix_peer) = rig.pair();
    let (tcp, mut tcp_peer) = rig.tcp_pair();
    let udp = client::bind_udp(loopback()).unwrap();
    let udp_is_at = socket::local_address(Fd(udp.as_raw_fd())).unwrap();
    let udp = rig.add(udp);
    let listener = TcpListener::bind(loopback()).unwrap();
    let listener_is_at = listener.local_addr().unwrap();
    let listener = rig.add(listener);
    let (eventfd, waker) = eventfd(&mut rig);
    for it in [unix, tcp, udp, listener, eventfd] {
        rig.watch(it, Input);
    }
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 5);
    let mut clients = Vec::new();
    for it in [eventfd, listener, udp, tcp, unix] {
        match it {
            _ if it == unix => unix_peer.write_all(b"x").unwrap(),
            _ if it == tcp => tcp_peer.write_all(b"x").unwrap(),
            _ if it == udp => {
                let peer = UdpSocket::bind(loopback()).unwrap();
                peer.send_to(b"x", udp_is_at).map(drop).unwrap();
            }
            _ if it == listener => clients.push(TcpStream::connect(listener_is_at).unwrap()),
            _ => waker.wake(),
        }
        assert_eq!(rig.events(1), [Seen::Ready(it, Input, Ok(()))]);
    }
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);

    // Room, once the peer has read.
    for (it, mut peer) in [(unix, Box::new(unix_peer) as Box<dyn Read>), (tcp, Box::new(tcp_peer))] {
        stuff(&rig, it);
        rig.watch(it, Room);
        rig.assert_silent();
        let mut got = vec![0; 1 << 16];
        rig.until("writable", |rig| {
            // As long as it blocks nobody.
            let is_ready = rig.ready(it, Room).is_some();
            if !is_ready {
                assert!(peer.read(&mut got).unwrap() > 0);
            }
            is_ready
        });
        assert_eq!(rig.ready(it, Room), READY);
    }
}

/// Writes into a socket of ours, past the driver, until it takes no more.
fn stuff<D: Driver>(rig: &Rig<D>, it: u32) {
    let bytes = vec![b'f'; 1 << 16];
    // What is under way may make room once more.
    for _ in 0..3 {
        while sys::send(rig.fd(it), &bytes, &[], false).is_ok() {}
        while sys::send(rig.fd(it), b"f", &[], false).is_ok() {}
        thread::sleep(Duration::from_millis(2));
    }
}

fn watches_can_be_repeated(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    let (eventfd, waker) = eventfd(&mut rig);
    for _ in 0..3 {
        rig.watch(it, Input);
        rig.watch(eventfd, Input);
        rig.assert_silent();
        peer.write_all(b"x").unwrap();
        waker.wake();
        // As long as it is the case, whether or not it has been told before.
        for _ in 0..3 {
            assert_eq!(ended(&mut rig, it, Input), READY);
            assert_eq!(ended(&mut rig, eventfd, Input), READY);
            rig.watch(it, Input);
            rig.watch(eventfd, Input);
        }
        assert_eq!(ended(&mut rig, it, Input), READY);
        assert_eq!(ended(&mut rig, eventfd, Input), READY);
        assert_eq!(sys::receive(rig.fd(it), &mut [0; 8]).unwrap(), 1);
        assert!(waker.drain());
    }
    assert_eq!(rig.driver.in_flight(), 0);
}

fn cancelled_watch_ends_once(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    for is_started in [false, true, false, true] {
        rig.watch(it, Input);
        if is_started {
            rig.assert_silent();
        }
        rig.unwatch(it, Input);
        rig.unwatch(it, Input);
        assert_eq!(ended(&mut rig, it, Input), CANCELLED);
        assert_eq!(rig.driver.in_flight(), 0);
        // It ends nothing but an open watch.
        rig.unwatch(it, Input);
        rig.assert_silent();
    }
    peer.write_all(b"x").unwrap();
    rig.assert_silent();
    rig.watch(it, Input);
    assert_eq!(ended(&mut rig, it, Input), READY);
    rig.receive(it);
    rig.until("received", |rig| rig.data(it) == b"x");
}

fn cancellation_may_race_with_readiness(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    for round in 0..30 {
        if round % 3 == 0 {
            peer.write_all(b"x").unwrap();
        }
        rig.watch(it, Input);
        if round % 2 == 0 {
            rig.turn(0);
        }
        if round % 3 == 1 {
            peer.write_all(b"x").unwrap();
        }
        if round % 5 == 0 {
            // It may have happened, and is not told yet.
            rig.driver.turn(Some(0)).unwrap();
        }
        rig.unwatch(it, Input);
        if round % 3 == 2 {
            peer.write_all(b"x").unwrap();
        }
        // More than one event would fail in the rig.
        let result = ended(&mut rig, it, Input);
        assert!(result == READY || result == CANCELLED, "{result:?}");
        assert_eq!(rig.driver.in_flight(), 0);
        // A cancellation on its way ends no later watch.
        rig.watch(it, Input);
        rig.unwatch(it, Input);
        rig.until("ended", |rig| rig.ready(it, Input).is_some());
        rig.watch(it, Input);
        rig.until("ended", |rig| rig.ready(it, Input).is_some());
        assert_eq!(rig.ready(it, Input), READY);
        assert_eq!(sys::receive(rig.fd(it), &mut [0; 8]).unwrap(), 1);
    }
}

fn both_watches_of_a_descriptor_end_by_themselves(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.watch(it, Input);
    rig.watch(it, Room);
    assert_eq!(rig.driver.in_flight(), 2);
    assert_eq!(rig.events(1), [Seen::Ready(it, Room, Ok(()))]);
    rig.assert_silent();
    peer.write_all(b"x").unwrap();
    assert_eq!(rig.events(1), [Seen::Ready(it, Input, Ok(()))]);
    assert_eq!(sys::receive(rig.fd(it), &mut [0; 8]).unwrap(), 1);

    stuff(&rig, it);
    rig.watch(it, Room);
    rig.watch(it, Input);
    rig.assert_silent();
    peer.write_all(b"x").unwrap();
    assert_eq!(rig.events(1), [Seen::Ready(it, Input, Ok(()))]);
    rig.assert_silent();
    rig.watch(it, Input);
    rig.unwatch(it, Input);
    rig.until("ended", |rig| rig.ready(it, Input).is_some());
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 1);
    let mut got = vec![0; 1 << 16];
    while rig.ready(it, Room).is_none() {
        assert!(peer.read(&mut got).unwrap() > 0);
        rig.turn(5);
    }
    assert_eq!(rig.ready(it, Room), READY);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
}

/// A listener that lets nobody in until it has accepted, and the connection that fills it.
fn full_listener() -> (TcpListener, TcpStream) {
    let listener = AnySocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&loopback().into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let first = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, first)
}

fn connection_becomes_writable_when_it_is_there(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    // One each: a second connection to a full listener may take half a minute.
    let listeners = [(); 3].map(|()| full_listener());
    let [it, receiving, unwanted] =
        listeners.each_ref().map(|(listener, _)| dial(&mut rig, listener.local_addr().unwrap()));
    for it in [it, receiving, unwanted] {
        rig.watch(it, Room);
    }
    rig.receive(receiving);
    rig.assert_silent();
    rig.unwatch(unwanted, Room);
    assert_eq!(ended(&mut rig, unwanted, Room), CANCELLED);
    rig.close(unwanted);
    assert_eq!(rig.driver.in_flight(), 3);
    // The kernel tries again a second later.
    let [first, second, _third] = listeners;
    let address = first.0.local_addr().unwrap();
    let server = thread::spawn(move || {
        [first, second].map(|(listener, _)| {
            listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"welcome").unwrap();
            stream
        })
    });
    rig.until("connected", |rig| [it, receiving].iter().all(|it| rig.ready(*it, Room) == READY));
    assert!(client::take_error(rig.fd(it)).unwrap().is_none());
    assert_eq!(socket::peer_address(rig.fd(it)), Some(address));
    rig.receive(it);
    rig.until("received", |rig| [it, receiving].iter().all(|it| rig.data(*it) == b"welcome"));
    drop(server.join().unwrap());
    rig.until("ended", |rig| [it, receiving].iter().all(|it| rig.end(*it) == Some(End::Eof)));
    assert_eq!(rig.driver.in_flight(), 0);
}

fn refused_connection_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let address = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let asked = dial(&mut rig, address);
    rig.watch(asked, Room);
    assert_eq!(ended(&mut rig, asked, Room), READY);
    let error = client::take_error(rig.fd(asked)).unwrap().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    rig.close(asked);

    let received = dial(&mut rig, address);
    rig.watch(received, Room);
    rig.watch(received, Input);
    rig.until("ended", |rig| rig.ready(received, Room).is_some() && rig.ready(received, Input).is_some());
    assert_eq!([rig.ready(received, Room), rig.ready(received, Input)], [READY; 2]);
    rig.receive(received);
    rig.until("ended", |rig| rig.end(received).is_some());
    assert_eq!(rig.end(received), Some(End::Failed(Errno(libc::ECONNREFUSED))));
    rig.close(received);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
}

fn end_of_the_peer_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, unix_peer) = rig.pair();
    let (tcp, tcp_peer) = rig.tcp_pair();
    let (half, half_peer) = rig.tcp_pair();
    let (reset, reset_peer) = rig.tcp_pair();
    for it in [unix, tcp, half, reset] {
        rig.watch(it, Input);
    }
    for it in [unix, reset] {
        stuff(&rig, it);
        rig.watch(it, Room);
    }
    rig.assert_silent();
    drop((unix_peer, tcp_peer));
    half_peer.shutdown(Shutdown::Write).unwrap();
    socket::reset_on_close(Fd(reset_peer.as_raw_fd())).unwrap();
    drop(reset_peer);
    rig.until("ended", |rig| rig.driver.in_flight() == 0);
    for it in [unix, tcp, half, reset] {
        assert_eq!(rig.ready(it, Input), READY);
    }
    for it in [unix, reset] {
        assert_eq!(rig.ready(it, Room), READY);
    }
    rig.assert_silent();
    // The next call tells.
    for it in [tcp, half] {
        assert_eq!(sys::receive(rig.fd(it), &mut [0]).unwrap(), 0);
    }
    let error = sys::receive(rig.fd(reset), &mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    // And another watch is ready at once.
    rig.watch(reset, Room);
    assert_eq!(ended(&mut rig, reset, Room), READY);
}

fn many_watches_start_in_one_turn(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let mut pairs: Vec<(u32, UnixStream)> = (0..300).map(|_| rig.pair()).collect();
    for (it, _) in &pairs {
        rig.watch(*it, Input);
        rig.watch(*it, Room);
    }
    assert_eq!(rig.driver.in_flight(), 600);
    rig.until("writable", |rig| rig.driver.in_flight() == 300);
    rig.assert_silent();
    for (it, peer) in &mut pairs {
        assert_eq!([rig.ready(*it, Room), rig.ready(*it, Input)], [READY, None]);
        if *it % 2 == 0 {
            peer.write_all(b"x").unwrap();
        } else {
            rig.unwatch(*it, Input);
        }
    }
    rig.until("ended", |rig| rig.driver.in_flight() == 0);
    rig.assert_silent();
    rig.driver.trim();
    for (it, _) in &pairs {
        let expected = if *it % 2 == 0 { READY } else { CANCELLED };
        assert_eq!(rig.ready(*it, Input), expected);
        rig.close(*it);
    }
    rig.turn(0);
}

fn connection_is_received_from_after_its_watch(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let listener = TcpListener::bind(loopback()).unwrap();
    for comes_early in [false, true] {
        let it = dial(&mut rig, listener.local_addr().unwrap());
        rig.watch(it, Room);
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        if comes_early {
            peer.write_all(b"hello").unwrap();
        }
        assert_eq!(ended(&mut rig, it, Room), READY);
        rig.receive(it);
        rig.send(it, b"request", None);
        if !comes_early {
            rig.until("sent", |rig| rig.sent(it) == [Ok(7)]);
            // Nothing is there when the receive starts, however the descriptor was made.
            rig.assert_silent();
            assert_eq!(rig.end(it), None);
            peer.write_all(b"hello").unwrap();
        }
        rig.until("received", |rig| rig.data(it) == b"hello" && rig.sent(it) == [Ok(7)]);
        let mut got = [0; 7];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"request");
        drop(peer);
        rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
        rig.close(it);
        rig.turn(0);
    }
    assert_eq!(rig.driver.in_flight(), 0);
}

fn connection_is_received_from_during_its_watch(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, unix_peer) = rig.pair();
    let (tcp, tcp_peer) = rig.tcp_pair();
    trait Stream: Read + Write {}
    impl<T: Read + Write> Stream for T {}
    let mut pairs: [(u32, Box<dyn Stream>); 2] = [(unix, Box::new(unix_peer)), (tcp, Box::new(tcp_peer))];
    for (it, peer) in &mut pairs {
        let it = *it;
        let others = rig.driver.in_flight();
        for is_watched_first in [true, false] {
            stuff(&rig, it);
            if is_watched_first {
                rig.watch(it, Room);
                rig.assert_silent();
                rig.receive(it);
            } else {
                rig.watch(it, Room);
            }
            rig.assert_silent();
            assert_eq!(rig.driver.in_flight(), others + 2);
            let before = rig.data(it).len();
            peer.write_all(b"hello").unwrap();
            rig.until("received", |rig| rig.data(it).len() == before + 5);
            assert_eq!(rig.ready(it, Room), None);
            let mut got = vec![0; 1 << 16];
            while rig.ready(it, Room).is_none() {
                assert!(peer.read(&mut got).unwrap() > 0);
                rig.turn(5);
            }
            assert_eq!(ended(&mut rig, it, Room), READY);
            assert_eq!(rig.driver.in_flight(), others + 1);
        }
    }
}

fn stopped_receive_may_be_followed_by_a_watch(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    for round in 1..=4 {
        rig.receive(it);
        peer.write_all(b"x").unwrap();
        rig.until("received", |rig| rig.data(it).len() == round);
        rig.stop_receiving(it);
        rig.until("ended", |rig| rig.end(it).is_some());
        if round % 2 == 0 {
            // It comes while nobody asks, and is not forgotten.
            peer.write_all(b"y").unwrap();
            rig.assert_silent();
            rig.watch(it, Input);
        } else {
            rig.watch(it, Input);
            rig.assert_silent();
            peer.write_all(b"y").unwrap();
        }
        assert_eq!(ended(&mut rig, it, Input), READY);
        let mut got = [0; 8];
        assert_eq!(sys::receive(rig.fd(it), &mut got).unwrap(), 1);
        assert_eq!(got[0], b'y');
    }
}

fn watch_for_room_beside_a_send(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.tcp_pair();
    for _ in 0..2 {
        rig.fill(it);
        rig.watch(it, Room);
        rig.assert_silent();
        assert_eq!(rig.driver.in_flight(), 2);
        let mut got = vec![0; 1 << 16];
        while rig.ready(it, Room).is_none() || rig.is_sending(it) {
            // Whichever takes the room, there is some again.
            assert!(peer.read(&mut got).unwrap() > 0);
            rig.turn(5);
        }
        rig.connection(it).unsent = None;
        assert_eq!(rig.ready(it, Room), READY);
        assert_eq!(rig.driver.in_flight(), 0);
    }
}

fn abort_ends_watches(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (listener, _first) = full_listener();
    let connecting = dial(&mut rig, listener.local_addr().unwrap());
    rig.watch(connecting, Room);
    let (tcp, mut peer) = rig.tcp_pair();
    stuff(&rig, tcp);
    rig.watch(tcp, Input);
    rig.watch(tcp, Room);
    let (receiving, _receiving_peer) = rig.pair();
    rig.receive(receiving);
    stuff(&rig, receiving);
    rig.watch(receiving, Room);
    rig.assert_silent();
    let (fresh, _fresh_peer) = rig.tcp_pair();
    rig.watch(fresh, Input);
    for it in [connecting, tcp, receiving, fresh] {
        rig.abort(it);
    }
    rig.until("ended", |rig| rig.driver.in_flight() == 0);
    let ends = [(connecting, Room), (tcp, Input), (tcp, Room), (receiving, Room), (fresh, Input)];
    for (it, interest) in ends {
        let end = rig.ready(it, interest);
        assert!(end == CANCELLED || end == READY, "{end:?}");
    }
    rig.assert_silent();
    for it in [connecting, tcp, receiving, fresh] {
        rig.close(it);
    }
    rig.turn(0);
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

fn watch_of_a_former_number_tells_nothing(subject: &impl Subject) {
    let _alone = CHOSEN_NUMBERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rig = subject.rig(64, 4);
    for round in 0..6 {
        let (near, mut old_peer) = UnixStream::pair().unwrap();
        // It stays open by another number.
        let _other = near.try_clone().unwrap();
        let old = rig.add(near);
        rig.renumber(old, 941);
        rig.watch(old, Input);
        rig.watch(old, Room);
        if round % 2 == 0 {
            rig.turn(0);
        }
        rig.unwatch(old, Input);
        rig.until("ended", |rig| rig.ready(old, Input).is_some() && rig.ready(old, Room).is_some());
        rig.close(old);
        rig.turn(0);

        let (new, mut new_peer) = rig.pair();
        rig.renumber(new, 941);
        rig.watch(new, Input);
        old_peer.write_all(b"for the old one").unwrap();
        rig.assert_silent();
        new_peer.write_all(b"x").unwrap();
        assert_eq!(ended(&mut rig, new, Input), READY);
        rig.close(new);
        rig.turn(0);
    }
}

fn what_cannot_be_polled_is_told_once(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let it = rig.add(std::fs::File::open("/dev/null").unwrap());
    for interest in [Input, Room, Input] {
        rig.watch(it, interest);
        // As ready, which it always is, or as nothing for this.
        assert!(ended(&mut rig, it, interest).is_some_and(|result| result != Err(Errno(libc::ECANCELED))));
        assert_eq!(rig.driver.in_flight(), 0);
    }
    rig.close(it);
}

fn end_of_the_driver_ends_watches(subject: &impl Subject) {
    let mut rig = subject.rig(64, 16);
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let listening = rig.add(listener);
    rig.watch(listening, Input);
    let (full, _connected) = full_listener();
    let connecting = dial(&mut rig, full.local_addr().unwrap());
    rig.watch(connecting, Room);
    let (idle, _idle_peer) = rig.pair();
    rig.watch(idle, Input);
    let (busy, _busy_peer) = rig.pair();
    rig.receive(busy);
    stuff(&rig, busy);
    rig.watch(busy, Room);
    let (eventfd, _waker) = eventfd(&mut rig);
    rig.watch(eventfd, Input);
    rig.assert_silent();
    // One whose event nobody takes, one that was told to end, one that has not been started.
    let (ready, _ready_peer) = rig.pair();
    rig.watch(ready, Room);
    rig.driver.turn(Some(clock::now().millis + 1000)).unwrap();
    rig.unwatch(idle, Input);
    let (unstarted, _unstarted_peer) = rig.pair();
    rig.watch(unstarted, Input);
    let start = Instant::now();
    let Rig { driver, blocks, connections, .. } = rig;
    drop(driver);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // It looks.
    drop(blocks);
    drop(connections);
    // Nothing holds the listener.
    assert!(TcpStream::connect(address).is_err());
    TcpListener::bind(address).unwrap();
}
