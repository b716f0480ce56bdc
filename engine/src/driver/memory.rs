//! A driver in memory: for tests of applications, which need no socket and no clock.
//!
//! Owns the bytes between both ends of every connection, and a clock that stands still unless it is told. It keeps the
//! contract of [`Driver`] without any fault: what can complete does so in the next turn, whole. It must not know what
//! the bytes mean. Its unkind relative, for the engine's own tests, is `sim`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use peregrine_pool::{Blocks, Key};

use super::{Driver, Errno, Event, Fd, Interest, Now, Received, SendBuffer};
use crate::sys::clock;
use crate::sys::epoll::{Interest as Readiness, Poller};
use crate::sys::wake::Waker as Bell;

/// A receive yields so many blocks in a turn, as if the rest were still on its way: nobody can take all of a body of
/// any length at once.
const BLOCKS_PER_TURN: usize = 16;

/// The number of the first socket. Below -1, so that no descriptor of the process is ever meant.
const FIRST_SOCKET: i32 = -2;

/// See the module's text.
pub(crate) struct Memory {
    blocks: Blocks,
    bell: Bell,
    poller: Poller,
    sockets: BTreeMap<i32, Socket>,
    next_socket: i32,
    events: VecDeque<Event>,
    /// Both clocks when it was made, and how far time has come since, in milliseconds.
    start: Now,
    passed: u64,
    /// The clocks as of the last turn.
    seen: Now,
}

/// How the application's side has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After all that was sent.
    Orderly,
    /// By a reset.
    Reset,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Op {
    #[default]
    None,
    Open,
    /// Told to end.
    Ending,
}

impl Op {
    fn end(&mut self) {
        if *self == Self::Open {
            *self = Self::Ending;
        }
    }
}

#[derive(Default)]
struct Socket {
    key: Option<Key>,
    receive: Op,
    /// The open send. Aborted, it ends without a byte.
    send: Option<SendBuffer>,
    /// By [`Interest`].
    watches: [Op; 2],
    is_aborted: bool,
    end: Option<End>,
    is_closed: bool,
    /// On the way to the application.
    inbound: VecDeque<u8>,
    inbound_has_ended: bool,
    /// What the peer has got.
    outbound: Vec<u8>,
    /// The peer is there no more.
    is_broken: bool,
    /// Nobody asks for what it has got any more.
    is_left: bool,
}

impl Memory {
    /// A driver that receives into `blocks` and is woken by `bell`.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub(crate) fn new(blocks: Blocks, bell: Bell) -> io::Result<Self> {
        let poller = Poller::new(1)?;
        poller.add(bell.fd(), Readiness::Wake, 0)?;
        let start = clock::now();
        Ok(Self {
            blocks,
            bell,
            poller,
            sockets: BTreeMap::new(),
            next_socket: FIRST_SOCKET,
            events: VecDeque::new(),
            start,
            passed: 0,
            seen: start,
        })
    }

    /// A new connection, as if it had been accepted.
    pub(crate) fn connect(&mut self) -> Fd {
        let number = self.next_socket;
        self.next_socket -= 1;
        self.sockets.insert(number, Socket::default());
        Fd(number)
    }

    /// The peer sends.
    pub(crate) fn deliver(&mut self, socket: Fd, bytes: &[u8]) {
        self.socket(socket).inbound.extend(bytes);
    }

    /// The peer will send no more.
    pub(crate) fn finish(&mut self, socket: Fd) {
        self.socket(socket).inbound_has_ended = true;
    }

    /// The peer is gone: a reset.
    pub(crate) fn reset(&mut self, socket: Fd) {
        let socket = self.socket(socket);
        socket.inbound.clear();
        socket.is_broken = true;
    }

    /// What the peer has got and not taken yet, and how the connection has ended for it, if it has.
    pub(crate) fn received(&self, socket: Fd) -> (&[u8], Option<End>) {
        self.sockets.get(&socket.0).map_or((&[], Some(End::Reset)), |it| (&it.outbound, it.end))
    }

    /// The peer takes the first `len` bytes.
    pub(crate) fn take(&mut self, socket: Fd, len: usize) -> Vec<u8> {
        self.socket(socket).outbound.drain(..len).collect()
    }

    /// The peer has no more questions about a socket: it goes once the application has closed it.
    pub(crate) fn leave(&mut self, socket: Fd) {
        let it = self.socket(socket);
        it.inbound_has_ended = true;
        it.is_left = true;
        if it.is_closed {
            self.sockets.remove(&socket.0);
        }
    }

    /// Lets time pass, until the monotonic clock shows `millis`. It does not go back.
    pub(crate) fn pass_until(&mut self, millis: u64) {
        self.passed = self.passed.max(millis.saturating_sub(self.start.millis));
    }

    /// Waits for a wake-up by another thread, in real time. Returns whether there was one.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn await_bell(&mut self, patience: Duration) -> io::Result<bool> {
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        Ok(self.poller.wait(Some(millis))? > 0)
    }

    fn socket(&mut self, socket: Fd) -> &mut Socket {
        self.sockets.get_mut(&socket.0).unwrap_or_else(|| panic!("{socket:?} is not open"))
    }

    /// The socket that an operation is started on.
    fn start(&mut self, socket: Fd, key: Key) -> &mut Socket {
        let socket = self.socket(socket);
        debug_assert!(!socket.is_aborted && !socket.is_closed, "an operation after the end");
        socket.key = Some(key);
        socket
    }
}

impl Socket {
    /// Completes what can complete.
    fn complete(&mut self, blocks: &Blocks, events: &mut VecDeque<Event>) {
        let Some(key) = self.key else { return };
        if let Some(buffer) = self.send.take() {
            let result = if self.is_aborted {
                Err(Errno(libc::ECANCELED))
            } else if self.is_broken {
                Err(Errno(libc::EPIPE))
            } else {
                self.outbound.extend_from_slice(buffer.block());
                self.outbound.extend_from_slice(buffer.payload().unwrap_or_default());
                Ok(u32::try_from(buffer.remaining()).expect("a send is shorter than 4 GiB"))
            };
            events.push_back(Event::Sent { key, buffer, result });
        }
        for _ in 0..BLOCKS_PER_TURN {
            let Some(outcome) = self.input(blocks) else { break };
            let more = matches!(outcome, Received::Data { .. });
            if !more {
                self.receive = Op::None;
            }
            events.push_back(Event::Received { key, outcome, more });
        }
        for interest in [Interest::Read, Interest::Write] {
            let result = match self.watches[interest as usize] {
                Op::Open if self.is_ready(interest) => Ok(()),
                Op::Ending => Err(Errno(libc::ECANCELED)),
                Op::Open | Op::None => continue,
            };
            self.watches[interest as usize] = Op::None;
            events.push_back(Event::Ready { key, interest, result });
        }
    }

    /// What the open receive finds, if there is one and it finds anything.
    fn input(&mut self, blocks: &Blocks) -> Option<Received> {
        match self.receive {
            Op::None => return None,
            Op::Ending => return Some(Received::Stopped),
            Op::Open => {}
        }
        if self.is_broken {
            return Some(Received::Failed(Errno(libc::ECONNRESET)));
        }
        if self.inbound.is_empty() {
            return self.inbound_has_ended.then_some(Received::Eof);
        }
        let Some(mut lease) = blocks.lease() else { return Some(Received::Starved) };
        let len = self.inbound.len().min(lease.len());
        for (place, byte) in lease.iter_mut().zip(self.inbound.drain(..len)) {
            *place = byte;
        }
        Some(Received::Data { lease, len: u32::try_from(len).expect("a block is shorter than 4 GiB") })
    }

    fn is_ready(&self, interest: Interest) -> bool {
        let can_read = !self.inbound.is_empty() || self.inbound_has_ended || self.is_broken;
        interest == Interest::Write || can_read
    }
}

impl Driver for Memory {
    fn accept(&mut self, _: Fd, _: u32) {
        unreachable!("connections are made by the peer's side, `connect`");
    }

    fn stop_accepting(&mut self, _: Fd, _: u32) {}

    fn receive(&mut self, socket: Fd, key: Key) {
        self.start(socket, key).receive = Op::Open;
    }

    fn stop_receiving(&mut self, socket: Fd, _: Key) {
        self.socket(socket).receive.end();
    }

    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer) {
        let socket = self.start(socket, key);
        debug_assert!(socket.send.is_none() && socket.end.is_none(), "two sends, or one after the end");
        socket.send = Some(buffer);
    }

    fn watch(&mut self, socket: Fd, key: Key, interest: Interest) {
        self.start(socket, key).watches[interest as usize] = Op::Open;
    }

    fn unwatch(&mut self, socket: Fd, _: Key, interest: Interest) {
        self.socket(socket).watches[interest as usize].end();
    }

    fn shutdown_write(&mut self, socket: Fd) {
        self.socket(socket).end.get_or_insert(End::Orderly);
    }

    fn abort(&mut self, socket: Fd) {
        let socket = self.socket(socket);
        socket.is_aborted = true;
        // What the peer has been told is the end stays that.
        socket.end.get_or_insert(End::Reset);
        socket.receive.end();
        socket.watches.iter_mut().for_each(Op::end);
    }

    fn close(&mut self, socket: Fd) {
        let it = self.socket(socket);
        debug_assert!(it.receive == Op::None && it.send.is_none(), "closed with something open");
        it.is_closed = true;
        it.end.get_or_insert(End::Orderly);
        it.inbound.clear();
        if it.is_left {
            self.sockets.remove(&socket.0);
        }
    }

    fn abandon(&mut self, socket: Fd) {
        let socket = self.socket(socket);
        socket.is_closed = true;
        socket.end.get_or_insert(End::Reset);
    }

    /// Never waits: whoever holds the driver decides what time does.
    fn turn(&mut self, _: Option<u64>) -> io::Result<()> {
        if self.bell.drain() {
            self.events.push_back(Event::Woken);
        }
        for socket in self.sockets.values_mut() {
            socket.complete(&self.blocks, &mut self.events);
        }
        self.seen = Now {
            millis: self.start.millis + self.passed,
            unix_seconds: self.start.unix_seconds + self.passed / 1000,
        };
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn now(&self) -> Now {
        self.seen
    }

    fn has_receive_blocks(&self) -> bool {
        self.blocks.lease().is_some()
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn trim(&mut self) {
        self.blocks.trim(0);
    }

    fn in_flight(&self) -> usize {
        let open = |op: Op| usize::from(op != Op::None);
        let of = |socket: &Socket| {
            let [read, write] = socket.watches.map(open);
            open(socket.receive) + usize::from(socket.send.is_some()) + read + write
        };
        self.sockets.values().map(of).sum::<usize>() + self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use peregrine_pool::BlockConfig;

    use super::*;

    const KEY: Key = Key::unpack(7);

    struct Rig {
        driver: Memory,
        bell: Bell,
        blocks: Blocks,
    }

    fn rig() -> Rig {
        let shape = BlockConfig { block_bytes: 4, stride_bytes: 4, max_blocks: 64, chunk_blocks: 64 };
        let (blocks, bell) = (Blocks::new(shape), Bell::new().expect("an eventfd"));
        let driver = Memory::new(blocks.clone(), bell.clone()).expect("an epoll");
        Rig { driver, bell, blocks }
    }

    impl Rig {
        fn turn(&mut self) -> Vec<Event> {
            self.driver.turn(None).expect("memory never fails");
            std::iter::from_fn(|| self.driver.next()).collect()
        }

        fn send(&mut self, socket: Fd, bytes: &[u8]) {
            let mut lease = self.blocks.lease().expect("a block");
            lease[..bytes.len()].copy_from_slice(bytes);
            let buffer = SendBuffer::new(lease, bytes.len() as u32, None);
            self.driver.send(socket, KEY, buffer);
        }
    }

    #[test]
    fn bytes_arrive_in_order_and_then_the_end() {
        let mut rig = rig();
        let socket = rig.driver.connect();
        rig.driver.receive(socket, KEY);
        assert!(rig.turn().is_empty(), "nothing was sent");
        rig.driver.deliver(socket, b"abcdef");
        rig.driver.finish(socket);
        let mut got = Vec::new();
        let mut ends = 0;
        for event in rig.turn() {
            match event {
                Event::Received { key: KEY, outcome: Received::Data { lease, len }, more: true } => {
                    got.extend_from_slice(&lease[..len as usize]);
                }
                Event::Received { key: KEY, outcome: Received::Eof, more: false } => ends += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((got.as_slice(), ends), (&b"abcdef"[..], 1));
        assert_eq!(rig.driver.in_flight(), 0);
    }

    #[test]
    fn no_turn_takes_all_of_a_long_body() {
        let mut rig = rig();
        let socket = rig.driver.connect();
        rig.driver.receive(socket, KEY);
        rig.driver.deliver(socket, &[b'x'; 4 * BLOCKS_PER_TURN + 1]);
        assert_eq!(rig.turn().len(), BLOCKS_PER_TURN);
        rig.driver.stop_receiving(socket, KEY);
        let events = rig.turn();
        assert!(
            matches!(events[..], [Event::Received { outcome: Received::Stopped, more: false, .. }]),
            "{events:?}"
        );
        rig.driver.receive(socket, KEY);
        let all: Vec<_> = (0..BLOCKS_PER_TURN * 4).map(|_| rig.blocks.lease()).collect();
        assert!(!rig.driver.has_receive_blocks());
        let events = rig.turn();
        assert!(
            matches!(events[..], [Event::Received { outcome: Received::Starved, more: false, .. }]),
            "{events:?}"
        );
        drop(all);
        rig.driver.receive(socket, KEY);
        assert!(matches!(
            rig.turn()[..],
            [Event::Received { outcome: Received::Data { len: 1, .. }, more: true, .. }]
        ));
    }

    #[test]
    fn what_is_sent_is_got_until_the_peer_is_gone() {
        let mut rig = rig();
        let socket = rig.driver.connect();
        rig.send(socket, b"ab");
        assert!(matches!(rig.turn()[..], [Event::Sent { result: Ok(2), .. }]));
        assert_eq!(rig.driver.received(socket), (&b"ab"[..], None));
        assert_eq!(rig.driver.take(socket, 1), b"a");
        rig.driver.reset(socket);
        rig.send(socket, b"c");
        rig.driver.receive(socket, KEY);
        let events = rig.turn();
        assert!(
            matches!(
                events[..],
                [
                    Event::Sent { result: Err(Errno(libc::EPIPE)), .. },
                    Event::Received { outcome: Received::Failed(Errno(libc::ECONNRESET)), more: false, .. }
                ]
            ),
            "{events:?}"
        );
        assert_eq!(rig.driver.received(socket).0, b"b");
    }

    #[test]
    fn an_orderly_end_stays_one_and_an_abort_is_a_reset() {
        let mut rig = rig();
        let (orderly, aborted) = (rig.driver.connect(), rig.driver.connect());
        rig.driver.shutdown_write(orderly);
        rig.driver.abort(orderly);
        assert_eq!(rig.driver.received(orderly).1, Some(End::Orderly));
        rig.driver.receive(aborted, KEY);
        rig.send(aborted, b"lost");
        rig.driver.abort(aborted);
        assert_eq!(rig.turn().len(), 2);
        assert_eq!(rig.driver.received(aborted), (&b""[..], Some(End::Reset)));
        for socket in [orderly, aborted] {
            rig.driver.leave(socket);
            rig.driver.close(socket);
        }
        assert!(rig.driver.sockets.is_empty(), "places are kept for nobody");
    }

    #[test]
    fn watches_are_ready_at_once_or_wait() {
        let mut rig = rig();
        let socket = rig.driver.connect();
        rig.driver.watch(socket, KEY, Interest::Write);
        rig.driver.watch(socket, KEY, Interest::Read);
        assert!(matches!(rig.turn()[..], [Event::Ready { interest: Interest::Write, result: Ok(()), .. }]));
        rig.driver.deliver(socket, b"a");
        assert!(matches!(rig.turn()[..], [Event::Ready { interest: Interest::Read, result: Ok(()), .. }]));
        rig.driver.take(socket, 0);
        rig.driver.watch(socket, KEY, Interest::Read);
        rig.driver.unwatch(socket, KEY, Interest::Read);
        assert!(matches!(
            rig.turn()[..],
            [Event::Ready { interest: Interest::Read, result: Err(Errno(libc::ECANCELED)), .. }]
        ));
    }

    #[test]
    fn time_stands_still_until_it_is_told_and_a_bell_is_heard() {
        let mut rig = rig();
        rig.turn();
        let before = rig.driver.now();
        rig.turn();
        assert_eq!(rig.driver.now(), before);
        rig.driver.pass_until(before.millis + 2000);
        rig.driver.pass_until(before.millis);
        assert_eq!(rig.driver.now(), before, "as of the last turn");
        rig.turn();
        assert_eq!(rig.driver.now().millis, before.millis + 2000);
        assert_eq!(rig.driver.now().unix_seconds, before.unix_seconds + 2);
        assert!(!rig.driver.await_bell(Duration::ZERO).expect("an epoll"));
        rig.bell.wake();
        assert!(rig.driver.await_bell(Duration::ZERO).expect("an epoll"));
        assert!(matches!(rig.turn()[..], [Event::Woken]));
        assert!(!rig.driver.await_bell(Duration::ZERO).expect("an epoll"));
    }
}
