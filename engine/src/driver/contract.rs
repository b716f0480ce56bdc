//! The contract, held against every driver that talks to a kernel: on epoll, and on io_uring on every rung
//! and in both ways of receiving that the machine allows.
//!
//! Owns the [`Rig`]: a driver, an owner that does everything right, and the record of what it was told. A test
//! in here asks for what the contract promises and takes whatever it leaves open: in how many pieces data
//! comes, whether a receive goes on after data, how aborted operations end. What only one driver does is
//! tested beside that driver.

use std::fmt;
use std::io::{Read, Write};
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use peregrine_pool::{BlockConfig, Blocks, Key, Lease, Payload};

use super::epoll::{self, Epoll};
use super::sim::echo::Echo;
use super::uring::{self, ReceiveMode, Uring};
use super::{Driver, Errno, Event, Fd, Interest, Received, SendBuffer};
use crate::sys::ring::Rung;
use crate::sys::wake::Waker;
use crate::sys::{clock, epoll as sys, socket};

/// What a driver is made of.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) receive_blocks: Blocks,
    pub(super) waker: Waker,
    pub(super) busy_poll_micros: u32,
    pub(super) coalesce_micros: u32,
    /// Entries of the ring that lends receive blocks, where there is one.
    pub(super) ring_entries: u16,
}

impl Setup {
    pub(super) fn new(block_bytes: usize, max_blocks: u32) -> Self {
        let receive_blocks = pool(block_bytes, max_blocks);
        Self {
            receive_blocks,
            waker: Waker::new().unwrap(),
            busy_poll_micros: 0,
            coalesce_micros: 0,
            ring_entries: 64,
        }
    }
}

/// A kind of driver to be tested.
pub(super) trait Subject {
    type Driver: Driver;

    fn driver(&self, setup: &Setup) -> Self::Driver;

    fn rig(&self, block_bytes: usize, max_blocks: u32) -> Rig<Self::Driver> {
        self.rig_of(Setup::new(block_bytes, max_blocks))
    }

    fn rig_of(&self, setup: Setup) -> Rig<Self::Driver> {
        Rig {
            driver: self.driver(&setup),
            waker: setup.waker,
            holds_leases: false,
            held: Vec::new(),
            connections: Vec::new(),
            listener: Listener::default(),
            blocks: Balanced(setup.receive_blocks),
            sends: Balanced(pool(4096, 128)),
        }
    }
}

pub(super) struct OnEpoll;

impl Subject for OnEpoll {
    type Driver = Epoll;

    fn driver(&self, setup: &Setup) -> Epoll {
        let Setup { receive_blocks, waker, busy_poll_micros, .. } = setup.clone();
        Epoll::new(&epoll::Config { receive_blocks, waker, busy_poll_micros }).unwrap()
    }
}

pub(super) struct OnUring {
    pub(super) rung: Rung,
    pub(super) mode: ReceiveMode,
}

impl OnUring {
    /// `None`, and a line that says why, where the machine does not allow it.
    pub(super) fn new(rung: Rung, mode: ReceiveMode) -> Option<Self> {
        let subject = Self { rung, mode };
        match subject.attempt(&Setup::new(64, 4)) {
            Ok(_) => Some(subject),
            Err(refusal) => {
                let expected = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ENOMEM, libc::EINVAL];
                let error = refusal.error.raw_os_error();
                assert!(error.is_some_and(|error| expected.contains(&error)), "{refusal}");
                eprintln!("not tested: {rung:?}, {mode:?}: {refusal}");
                None
            }
        }
    }

    /// Every rung and mode that the machine allows.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let modes = [ReceiveMode::Bundle, ReceiveMode::Multishot, ReceiveMode::Single];
        Rung::ALL.into_iter().flat_map(move |rung| modes.map(|mode| Self::new(rung, mode))).flatten()
    }

    fn attempt(&self, setup: &Setup) -> Result<Uring, uring::Refusal> {
        let Setup { receive_blocks, waker, busy_poll_micros, coalesce_micros, ring_entries } = setup.clone();
        let receive_ring_entries = ring_entries;
        let rung = Some(self.rung);
        let config = uring::Config {
            receive_blocks,
            receive_ring_entries,
            waker,
            busy_poll_micros,
            coalesce_micros,
            rung,
        };
        Uring::with_modes(&config, &[self.mode])
    }
}

impl Subject for OnUring {
    type Driver = Uring;

    fn driver(&self, setup: &Setup) -> Uring {
        self.attempt(setup).unwrap()
    }
}

pub(super) fn pool(block_bytes: usize, max_blocks: u32) -> Blocks {
    Blocks::new(BlockConfig { block_bytes, stride_bytes: block_bytes, max_blocks, chunk_blocks: max_blocks })
}

/// Blocks that must all be back when the test ends.
pub(super) struct Balanced(pub(super) Blocks);

impl Drop for Balanced {
    fn drop(&mut self) {
        if !thread::panicking() {
            let stats = self.0.stats();
            assert_eq!((stats.leased, stats.lent), (0, 0), "blocks are lost");
        }
    }
}

/// A socket of the driver's, closed at the end of the test if the driver has not done it.
struct Socket(Fd);

impl Socket {
    fn new(socket: impl IntoRawFd) -> Self {
        Self(Fd(socket.into_raw_fd()))
    }

    /// For somebody else to close.
    fn release(self) -> Fd {
        let fd = self.0;
        mem::forget(self);
        fd
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        sys::close(self.0);
    }
}

/// How a receive has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With data, and was not started again because it had been told to stop.
    Data,
    Eof,
    Starved,
    Stopped,
    Failed(Errno),
}

/// What an event said, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Accepted(u32, Result<(), Errno>, bool),
    Data(u32, Vec<u8>),
    Ended(u32, End),
    Sent(u32, Result<u32, Errno>),
    Ready(u32, Interest, Result<(), Errno>),
    Woken,
}

/// A connection as its owner sees it.
struct Connection {
    socket: Option<Socket>,
    data: Vec<u8>,
    is_receiving: bool,
    /// A receive that ends with data is started again.
    goes_on: bool,
    end: Option<End>,
    open_send: Option<OpenSend>,
    /// What is left of the last send.
    unsent: Option<SendBuffer>,
    sent: Vec<Result<u32, Errno>>,
    /// The bytes that sends have taken, which the peer must get.
    gone: Vec<u8>,
    /// The open watches, by [`Interest`].
    is_watched: [bool; 2],
    /// How the last watches have ended.
    ready: [Option<Result<(), Errno>>; 2],
}

struct OpenSend {
    address: *const u8,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Listener {
    is_accepting: bool,
    /// To accept again on, when an accept ends with success.
    goes_on: Option<Fd>,
    accepted: Vec<u32>,
    error: Option<Errno>,
}

/// A driver and an owner that keeps the rules. Dropped in the order of the fields.
pub(super) struct Rig<D> {
    pub(super) driver: D,
    pub(super) waker: Waker,
    /// Received blocks are kept in `held`.
    pub(super) holds_leases: bool,
    pub(super) held: Vec<Lease>,
    connections: Vec<Connection>,
    listener: Listener,
    pub(super) blocks: Balanced,
    pub(super) sends: Balanced,
}

pub(super) fn key(index: u32) -> Key {
    Key { index, generation: 1 }
}

/// The one listener of a rig.
const LISTENER: u32 = 3;

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(20);

impl<D: Driver> Rig<D> {
    /// Takes a socket in; returns the index of its key.
    pub(super) fn add(&mut self, socket: impl IntoRawFd) -> u32 {
        self.connections.push(Connection {
            socket: Some(Socket::new(socket)),
            data: Vec::new(),
            is_receiving: false,
            goes_on: false,
            end: None,
            open_send: None,
            unsent: None,
            sent: Vec::new(),
            gone: Vec::new(),
            is_watched: [false; 2],
            ready: [None; 2],
        });
        self.connections.len() as u32 - 1
    }

    /// A connection and its peer.
    pub(super) fn pair(&mut self) -> (u32, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        far.set_write_timeout(Some(PATIENCE)).unwrap();
        (self.add(near), far)
    }

    pub(super) fn tcp_pair(&mut self) -> (u32, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        far.set_write_timeout(Some(PATIENCE)).unwrap();
        (self.add(listener.accept().unwrap().0), far)
    }

    /// Gives a connection's socket another number.
    pub(super) fn renumber(&mut self, index: u32, number: i32) {
        let socket = self.connection(index).socket.take().expect("open");
        self.connection(index).socket = Some(Socket(sys::renumber(socket.release(), number)));
    }

    fn connection(&mut self, index: u32) -> &mut Connection {
        &mut self.connections[index as usize]
    }

    pub(super) fn fd(&self, index: u32) -> Fd {
        self.connections[index as usize].socket.as_ref().expect("open").0
    }

    /// Everything received so far.
    pub(super) fn data(&self, index: u32) -> &[u8] {
        &self.connections[index as usize].data
    }

    /// How the last receive ended, if it did.
    pub(super) fn end(&self, index: u32) -> Option<End> {
        self.connections[index as usize].end
    }

    pub(super) fn is_sending(&self, index: u32) -> bool {
        self.connections[index as usize].open_send.is_some()
    }

    /// How all sends ended.
    pub(super) fn sent(&self, index: u32) -> &[Result<u32, Errno>] {
        &self.connections[index as usize].sent
    }

    pub(super) fn receive(&mut self, index: u32) {
        let connection = self.connection(index);
        assert!(!connection.is_receiving);
        connection.is_receiving = true;
        connection.goes_on = true;
        connection.end = None;
        self.driver.receive(self.fd(index), key(index));
    }

    pub(super) fn stop_receiving(&mut self, index: u32) {
        self.connection(index).goes_on = false;
        self.driver.stop_receiving(self.fd(index), key(index));
    }

    pub(super) fn watch(&mut self, index: u32, interest: Interest) {
        let connection = self.connection(index);
        assert!(!mem::replace(&mut connection.is_watched[interest as usize], true), "two watches");
        connection.ready[interest as usize] = None;
        self.driver.watch(self.fd(index), key(index), interest);
    }

    pub(super) fn unwatch(&mut self, index: u32, interest: Interest) {
        self.driver.unwatch(self.fd(index), key(index), interest);
    }

    /// How the last watch has ended, if it did.
    pub(super) fn ready(&self, index: u32, interest: Interest) -> Option<Result<(), Errno>> {
        self.connections[index as usize].ready[interest as usize]
    }

    /// Sends `bytes`, which fit a block, and `payload`.
    pub(super) fn send(&mut self, index: u32, bytes: &[u8], payload: Option<Payload>) {
        let mut lease = self.sends.0.lease().unwrap();
        lease[..bytes.len()].copy_from_slice(bytes);
        self.send_buffer(index, SendBuffer::new(lease, bytes.len() as u32, payload));
    }

    /// The same with nothing behind it.
    fn send_last(&mut self, index: u32, bytes: &[u8], payload: Option<Payload>) {
        let mut lease = self.sends.0.lease().unwrap();
        lease[..bytes.len()].copy_from_slice(bytes);
        self.send_buffer(index, SendBuffer::new(lease, bytes.len() as u32, payload).last());
    }

    fn send_buffer(&mut self, index: u32, buffer: SendBuffer) {
        let address = buffer.block().as_ptr();
        let bytes = [buffer.block(), buffer.payload().unwrap_or_default()].concat();
        let earlier = self.connection(index).open_send.replace(OpenSend { address, bytes });
        assert!(earlier.is_none(), "two sends on one connection");
        self.driver.send(self.fd(index), key(index), buffer);
    }

    /// Sends what the last send left over, if it did.
    pub(super) fn send_rest(&mut self, index: u32) {
        if let Some(buffer) = self.connection(index).unsent.take() {
            self.send_buffer(index, buffer);
        }
    }

    /// Sends until the socket takes no more and a send stays open.
    pub(super) fn fill(&mut self, index: u32) {
        while !self.is_sending(index) {
            let payload = (0..1 << 20).map(|place: u32| (place / 97 + index) as u8).collect();
            self.send(index, format!("connection {index}").as_bytes(), Some(Payload::Owned(payload)));
            self.turn(20);
        }
        self.connection(index).unsent = None;
    }

    pub(super) fn abort(&mut self, index: u32) {
        self.connection(index).goes_on = false;
        self.driver.abort(self.fd(index));
    }

    pub(super) fn close(&mut self, index: u32) {
        let connection = self.connection(index);
        assert!(!connection.is_receiving && connection.open_send.is_none());
        assert_eq!(connection.is_watched, [false; 2]);
        let socket = connection.socket.take().expect("open");
        self.driver.close(socket.release());
    }

    pub(super) fn accept(&mut self, listener: Fd) {
        assert!(!self.listener.is_accepting);
        self.listener.is_accepting = true;
        self.listener.goes_on = Some(listener);
        self.listener.error = None;
        self.driver.accept(listener, LISTENER);
    }

    pub(super) fn stop_accepting(&mut self, listener: Fd) {
        self.listener.goes_on = None;
        self.driver.stop_accepting(listener, LISTENER);
    }

    /// One turn, and everything that it tells.
    pub(super) fn turn(&mut self, wait_millis: u64) -> Vec<Seen> {
        self.driver.turn(Some(clock::now().millis + wait_millis)).unwrap();
        let mut all = Vec::new();
        while let Some(event) = self.driver.next() {
            all.push(self.take(event));
        }
        all
    }

    /// Turns until `is_done`; starved receives are started again as soon as there are blocks.
    pub(super) fn until(&mut self, what: &str, mut is_done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(self) {
            assert!(Instant::now() < deadline, "never {what}: {self:?}");
            self.revive();
            self.turn(100);
        }
    }

    fn revive(&mut self) {
        for index in 0..self.connections.len() as u32 {
            let connection = self.connection(index);
            let is_starved = connection.goes_on && connection.end == Some(End::Starved);
            if is_starved && self.driver.has_receive_blocks() {
                self.receive(index);
            }
        }
    }

    /// Turns until so many events were told.
    pub(super) fn events(&mut self, count: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while all.len() < count && Instant::now() < deadline {
            all.extend(self.turn(100));
        }
        all
    }

    /// Asserts that nothing is told for a while.
    pub(super) fn assert_silent(&mut self) {
        for _ in 0..3 {
            assert_eq!(self.turn(5), []);
        }
    }

    /// Takes note of an event, and checks what holds for any.
    fn take(&mut self, event: Event) -> Seen {
        match event {
            Event::Accepted { listener, result, more } => {
                assert_eq!(listener, LISTENER);
                assert!(mem::replace(&mut self.listener.is_accepting, more), "an event after the last one");
                assert!(!more || result.is_ok(), "a failed accept goes on");
                match result {
                    Ok(fd) => {
                        let index = self.add(fd.0);
                        self.listener.accepted.push(index);
                        if !more && let Some(listener) = self.listener.goes_on {
                            self.accept(listener);
                        }
                    }
                    Err(error) => self.listener.error = Some(error),
                }
                Seen::Accepted(listener, result.map(drop), more)
            }
            Event::Received { key: found, outcome, more } => {
                let index = found.index;
                let connection = &mut self.connections[index as usize];
                assert_eq!(found, key(index));
                assert!(mem::replace(&mut connection.is_receiving, more), "an event after the last one");
                let end = match outcome {
                    Received::Data { lease, len } => {
                        let data = lease[..len as usize].to_vec();
                        assert!(!data.is_empty());
                        connection.data.extend_from_slice(&data);
                        if self.holds_leases {
                            self.held.push(lease);
                        }
                        if !more && connection.goes_on {
                            self.receive(index);
                        } else if !more {
                            connection.end = Some(End::Data);
                        }
                        return Seen::Data(index, data);
                    }
                    Received::Eof => End::Eof,
                    Received::Starved => End::Starved,
                    Received::Stopped => End::Stopped,
                    Received::Failed(error) => End::Failed(error),
                    #[cfg(feature = "tls")]
                    Received::Broken(_) => panic!("no driver secures anything"),
                };
                assert!(!more, "a receive goes on after {end:?}");
                connection.end = Some(end);
                Seen::Ended(index, end)
            }
            Event::Sent { key: found, mut buffer, result } => {
                let index = found.index;
                let connection = &mut self.connections[index as usize];
                assert_eq!(found, key(index));
                let open = connection.open_send.take().expect("an open send");
                assert_eq!(buffer.block().as_ptr(), open.address, "another connection's buffer");
                assert_eq!(buffer.remaining(), open.bytes.len());
                if let Ok(sent) = result {
                    connection.gone.extend_from_slice(&open.bytes[..sent as usize]);
                    buffer.advance(sent);
                    connection.unsent = (buffer.remaining() > 0).then_some(buffer);
                }
                connection.sent.push(result);
                Seen::Sent(index, result)
            }
            Event::Ready { key: found, interest, result } => {
                let index = found.index;
                let connection = &mut self.connections[index as usize];
                assert_eq!(found, key(index));
                assert!(
                    mem::take(&mut connection.is_watched[interest as usize]),
                    "a second event of a watch"
                );
                connection.ready[interest as usize] = Some(result);
                Seen::Ready(index, interest, result)
            }
            #[cfg(feature = "tls")]
            Event::Secured { .. } => panic!("no driver secures anything"),
            Event::Woken => Seen::Woken,
        }
    }
}

impl<D> fmt::Debug for Rig<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (connection, index) in self.connections.iter().zip(0..) {
            let Connection { data, is_receiving, end, open_send, sent, gone, is_watched, ready, .. } =
                connection;
            let (open, data, gone) = (open_send.is_some(), data.len(), gone.len());
            writeln!(
                f,
                "{index}: {data} bytes received, receiving: {is_receiving}, ended: {end:?}, \
                 {gone} bytes sent, sending: {open}, sent: {sent:?}, watched: {is_watched:?}, ready: {ready:?}"
            )?;
        }
        let Listener { is_accepting, accepted, error, .. } = &self.listener;
        write!(f, "accepting: {is_accepting}, accepted: {accepted:?}, error: {error:?}")
    }
}

/// Bytes that differ by where they lie.
fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|place| (place / 251) as u8).collect()
}

/// Makes the tests of one subject, each of which may turn out to be impossible on this machine.
macro_rules! instance {
    ($module:ident $subject:expr; [$($test:ident)*]) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $test() {
                    if let Some(subject) = $subject {
                        super::$test(&subject);
                    }
                }
            )*
        }
    };
}

macro_rules! instances {
    ($tests:tt) => {
        instance!(on_epoll Some(OnEpoll); $tests);
        instance!(no_array_bundle OnUring::new(Rung::DeferredNoArray, ReceiveMode::Bundle); $tests);
        instance!(no_array_multishot OnUring::new(Rung::DeferredNoArray, ReceiveMode::Multishot); $tests);
        instance!(no_array_single OnUring::new(Rung::DeferredNoArray, ReceiveMode::Single); $tests);
        instance!(deferred_bundle OnUring::new(Rung::Deferred, ReceiveMode::Bundle); $tests);
        instance!(deferred_multishot OnUring::new(Rung::Deferred, ReceiveMode::Multishot); $tests);
        instance!(deferred_single OnUring::new(Rung::Deferred, ReceiveMode::Single); $tests);
        instance!(single_issuer_bundle OnUring::new(Rung::SingleIssuer, ReceiveMode::Bundle); $tests);
        instance!(single_issuer_multishot OnUring::new(Rung::SingleIssuer, ReceiveMode::Multishot); $tests);
        instance!(single_issuer_single OnUring::new(Rung::SingleIssuer, ReceiveMode::Single); $tests);
        instance!(cooperative_bundle OnUring::new(Rung::Cooperative, ReceiveMode::Bundle); $tests);
        instance!(cooperative_multishot OnUring::new(Rung::Cooperative, ReceiveMode::Multishot); $tests);
        instance!(cooperative_single OnUring::new(Rung::Cooperative, ReceiveMode::Single); $tests);
    };
}

mod watch;

instances!([
    data_comes_and_goes
    data_longer_than_a_block_comes_in_order
    end_of_file_comes_after_data_and_once
    end_of_file_right_behind_data_is_told
    end_of_file_behind_much_data_is_told
    reset_right_behind_data_is_told
    end_of_file_alone_is_told
    half_closed_peer_still_gets_its_answer
    slow_reader_gets_everything
    stopped_receive_leaves_the_rest_in_the_socket
    receive_stopped_in_the_turn_of_its_start_ends
    flooded_receive_can_be_stopped
    stop_of_a_receive_leaves_the_send_open
    receive_without_a_block_starves_and_can_be_started_again
    more_connections_than_blocks_get_their_echo
    number_used_again_inherits_nothing
    other_descriptor_of_a_closed_socket_stays_silent
    connections_are_accepted_until_told_to_stop
    failed_listener_stops_and_can_be_started_again
    workers_share_a_listener
    what_is_no_socket_fails
    every_wake_up_is_told
    wake_up_before_the_driver_counts
    turn_ends_in_time
    turn_that_may_coalesce_ends_in_time
    turn_may_wait_for_ages
    abort_ends_each_operation_once_and_resets
    abort_ends_what_has_just_been_started
    reset_by_the_peer_is_told_to_both_directions
    sending_direction_ends_after_what_was_sent
    last_send_arrives_with_the_end
    sends_in_flight_keep_their_memory
    any_number_of_operations_starts_in_one_turn
    end_of_the_driver_gives_all_memory_back
    end_of_the_driver_does_the_last_closes
    end_of_the_driver_frees_the_listener
]);

fn data_comes_and_goes(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 1);
    for data in ["ping", "pingmore"] {
        peer.write_all(&data.as_bytes()[data.len() - 4..]).unwrap();
        rig.until("received", |rig| rig.data(it) == data.as_bytes());
    }
    rig.send(it, b"pong", None);
    assert_eq!(rig.driver.in_flight(), 2);
    rig.until("sent", |rig| rig.sent(it) == [Ok(4)]);
    rig.send(it, b"block", Some(Payload::Static(b", payload")));
    rig.until("sent", |rig| rig.sent(it) == [Ok(4), Ok(14)]);
    rig.send(it, b"", Some(Payload::Static(b"!")));
    rig.until("sent", |rig| rig.sent(it) == [Ok(4), Ok(14), Ok(1)]);
    let mut got = [0; 19];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"pongblock, payload!");
    assert_eq!(rig.driver.in_flight(), 1);
}

fn data_longer_than_a_block_comes_in_order(subject: &impl Subject) {
    let mut rig = subject.rig(8, 4);
    let (it, mut peer) = rig.pair();
    let mut sent = Vec::new();
    rig.receive(it);
    // The last one is exactly a block: whether more is there has to be asked.
    for data in ["0123456789abcdefXYZ", "01234567", "!", "0123456789abcdef0123456789abcdef0123456789abcdef"] {
        peer.write_all(data.as_bytes()).unwrap();
        sent.extend(data.bytes());
        rig.until("received", |rig| rig.data(it) == sent);
        rig.revive();
        rig.assert_silent();
    }
}

fn end_of_file_comes_after_data_and_once(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, mut unix_peer) = rig.pair();
    let (tcp, mut tcp_peer) = rig.tcp_pair();
    unix_peer.write_all(b"last").unwrap();
    unix_peer.shutdown(Shutdown::Write).unwrap();
    tcp_peer.write_all(b"last").unwrap();
    tcp_peer.shutdown(Shutdown::Write).unwrap();
    for it in [unix, tcp] {
        rig.receive(it);
        rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
        assert_eq!(rig.data(it), b"last");
        rig.assert_silent();
        assert_eq!(rig.driver.in_flight(), 0);
        rig.close(it);
    }
}

fn end_of_file_right_behind_data_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    for _ in 0..20 {
        let (it, mut peer) = rig.tcp_pair();
        rig.receive(it);
        rig.turn(0);
        peer.write_all(b"last").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
        assert_eq!(rig.data(it), b"last");
        rig.close(it);
    }
}

/// Whatever the number of blocks that are to be received before it.
fn end_of_file_behind_much_data_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 64);
    let (listener, path) = unix_listener();
    rig.accept(Fd(listener.as_raw_fd()));
    for blocks in [1, 16, 31, 32, 33, 40, 60] {
        let mut unix_peer = UnixStream::connect(&path).unwrap();
        let accepted = rig.listener.accepted.len();
        rig.until("accepted", |rig| rig.listener.accepted.len() > accepted);
        let unix = rig.listener.accepted[accepted];
        let (tcp, mut tcp_peer) = rig.tcp_pair();
        let sent = pattern(blocks * 64);
        for block in sent.chunks(64) {
            unix_peer.write_all(block).unwrap();
            tcp_peer.write_all(block).unwrap();
        }
        unix_peer.shutdown(Shutdown::Write).unwrap();
        tcp_peer.shutdown(Shutdown::Write).unwrap();
        for it in [unix, tcp] {
            rig.receive(it);
            rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
            assert_eq!(rig.data(it), sent);
            rig.close(it);
        }
    }
    std::fs::remove_file(&path).unwrap();
}

/// A listener and its file, which the test removes.
fn unix_listener() -> (UnixListener, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("peregrine-driver-{}-{number}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    (UnixListener::bind(&path).unwrap(), path)
}

fn reset_right_behind_data_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    for _ in 0..20 {
        let (it, mut peer) = rig.tcp_pair();
        rig.receive(it);
        rig.turn(0);
        peer.write_all(b"last").unwrap();
        socket::reset_on_close(Fd(peer.as_raw_fd())).unwrap();
        drop(peer);
        rig.until("ended", |rig| matches!(rig.end(it), Some(End::Failed(_) | End::Eof)));
        rig.close(it);
    }
}

fn end_of_file_alone_is_told(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, peer) = rig.tcp_pair();
    rig.receive(it);
    rig.assert_silent();
    peer.shutdown(Shutdown::Write).unwrap();
    rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
    rig.assert_silent();
}

fn half_closed_peer_still_gets_its_answer(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.tcp_pair();
    rig.receive(it);
    peer.write_all(b"request").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
    assert_eq!(rig.data(it), b"request");
    rig.send(it, b"answer", None);
    rig.until("sent", |rig| rig.sent(it) == [Ok(6)]);
    rig.driver.shutdown_write(rig.fd(it));
    rig.close(it);
    rig.turn(0);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
}

fn slow_reader_gets_everything(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (unix, unix_peer) = rig.pair();
    let (tcp, tcp_peer) = rig.tcp_pair();
    let readers: [(u32, Box<dyn Read + Send>); 2] = [(unix, Box::new(unix_peer)), (tcp, Box::new(tcp_peer))];
    for (it, mut peer) in readers {
        let payload = pattern(16_000_000);
        let expected = [b"head", &payload[..]].concat();
        rig.send(it, b"head", Some(Payload::Shared(payload.into())));
        // The peer reads nothing until a send has been stuck for a while.
        loop {
            if rig.turn(20).is_empty() {
                break;
            }
            rig.send_rest(it);
        }
        assert_eq!(rig.driver.in_flight(), 1);
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        rig.until("sent", |rig| {
            rig.send_rest(it);
            !rig.is_sending(it)
        });
        assert!(rig.sent(it).len() > 1);
        rig.close(it);
        rig.turn(0);
        assert!(reader.join().unwrap().unwrap() == expected);
    }
}

fn stopped_receive_leaves_the_rest_in_the_socket(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    rig.assert_silent();
    rig.stop_receiving(it);
    rig.stop_receiving(it);
    peer.write_all(b"later").unwrap();
    rig.until("ended", |rig| rig.end(it).is_some());
    assert!(matches!(rig.end(it), Some(End::Stopped | End::Data)));
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    peer.write_all(b"!").unwrap();
    rig.assert_silent();
    rig.receive(it);
    rig.until("received", |rig| rig.data(it) == b"later!");
}

fn receive_stopped_in_the_turn_of_its_start_ends(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    for byte in 0..50 {
        if byte % 2 == 0 {
            peer.write_all(&[byte]).unwrap();
        }
        rig.receive(it);
        rig.stop_receiving(it);
        rig.until("ended", |rig| rig.end(it).is_some());
    }
    rig.receive(it);
    let sent: Vec<u8> = (0..50).step_by(2).collect();
    rig.until("received", |rig| rig.data(it) == sent);
}

/// However fast the data comes, a receive that is to end finds the time for it.
fn flooded_receive_can_be_stopped(subject: &impl Subject) {
    let mut rig = subject.rig(64, 64);
    let (it, mut peer) = rig.tcp_pair();
    let bytes = pattern(1_500_000);
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
    });
    for stops in 1..=10 {
        rig.receive(it);
        rig.until("received", |rig| rig.data(it).len() >= stops * 1000);
        rig.stop_receiving(it);
        rig.until("ended", |rig| rig.end(it).is_some());
        assert_ne!(rig.end(it), Some(End::Eof), "stopped too late");
        rig.assert_silent();
    }
    rig.receive(it);
    rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
    assert!(rig.data(it) == sent);
    writer.join().unwrap();
}

fn stop_of_a_receive_leaves_the_send_open(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    rig.fill(it);
    let sends = rig.sent(it).len();
    rig.stop_receiving(it);
    rig.until("ended", |rig| rig.end(it).is_some());
    rig.assert_silent();
    assert!(rig.is_sending(it));
    assert_eq!(rig.driver.in_flight(), 1);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).map(|_| got)
    });
    rig.until("sent", |rig| rig.sent(it).len() > sends);
    rig.connection(it).unsent = None;
    assert!(rig.sent(it)[sends].is_ok());
    let expected = mem::take(&mut rig.connection(it).gone);
    rig.close(it);
    rig.turn(0);
    assert!(reader.join().unwrap().unwrap() == expected);
}

fn receive_without_a_block_starves_and_can_be_started_again(subject: &impl Subject) {
    let mut rig = subject.rig(64, 1);
    let (first, mut first_peer) = rig.pair();
    let (second, mut second_peer) = rig.pair();
    rig.receive(first);
    rig.receive(second);
    rig.holds_leases = true;
    first_peer.write_all(b"one").unwrap();
    rig.until("received", |rig| rig.data(first) == b"one");
    assert!(!rig.driver.has_receive_blocks());
    second_peer.write_all(b"two").unwrap();
    rig.until("starved", |rig| rig.end(second) == Some(End::Starved));
    rig.receive(second);
    rig.until("starved", |rig| rig.end(second) == Some(End::Starved));
    rig.holds_leases = false;
    rig.held.clear();
    assert!(rig.driver.has_receive_blocks());
    rig.until("received", |rig| rig.data(second) == b"two");
    first_peer.write_all(b", four").unwrap();
    rig.until("received", |rig| rig.data(first) == b"one, four");
    rig.revive();
    assert_eq!(rig.driver.in_flight(), 2);
}

fn more_connections_than_blocks_get_their_echo(subject: &impl Subject) {
    let mut setup = Setup::new(1000, 8);
    setup.busy_poll_micros = 20;
    serve_echoes(subject, &setup);
}

/// Serves 20 clients that send and receive more than fits the sockets.
pub(super) fn serve_echoes(subject: &impl Subject, setup: &Setup) {
    let blocks = Balanced(setup.receive_blocks.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut echo = Echo::new(subject.driver(setup), Fd(listener.as_raw_fd()));
    let clients: Vec<_> = (0..20)
        .map(|number: u8| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
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
    let deadline = Instant::now() + PATIENCE * 3;
    while echo.closed < 20 && Instant::now() < deadline {
        echo.turn(Some(clock::now().millis + 100));
    }
    echo.driver.turn(Some(0)).unwrap();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!((echo.closed, echo.failed, echo.driver.in_flight()), (20, 0, 0));
    assert_eq!(blocks.0.stats().leased, 0);
    drop(echo);
}

/// Numbers of descriptors that tests choose are one test's at a time.
static CHOSEN_NUMBERS: Mutex<()> = Mutex::new(());

fn number_used_again_inherits_nothing(subject: &impl Subject) {
    let _alone = CHOSEN_NUMBERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rig = subject.rig(8, 4);
    for _ in 0..5 {
        let (old, mut old_peer) = rig.pair();
        rig.renumber(old, 921);
        rig.receive(old);
        old_peer.write_all(&[b'o'; 100]).unwrap();
        rig.turn(1000);
        // Much is still to be received when it is stopped, closed, and its number taken.
        rig.stop_receiving(old);
        rig.until("ended", |rig| rig.end(old).is_some());
        rig.close(old);
        rig.turn(0);

        let (new, mut new_peer) = rig.pair();
        rig.renumber(new, 921);
        rig.receive(new);
        rig.assert_silent();
        new_peer.write_all(b"n").unwrap();
        rig.until("received", |rig| rig.data(new) == b"n");
        rig.stop_receiving(new);
        rig.until("ended", |rig| rig.end(new).is_some());
        rig.close(new);
        rig.turn(0);
    }
}

fn other_descriptor_of_a_closed_socket_stays_silent(subject: &impl Subject) {
    let _alone = CHOSEN_NUMBERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rig = subject.rig(64, 4);
    let (near, mut peer) = UnixStream::pair().unwrap();
    let _other = near.try_clone().unwrap();
    let old = rig.add(near);
    rig.renumber(old, 931);
    rig.receive(old);
    rig.assert_silent();
    rig.stop_receiving(old);
    rig.until("ended", |rig| rig.end(old).is_some());
    rig.close(old);
    rig.turn(0);
    let (new, mut new_peer) = rig.pair();
    rig.renumber(new, 931);
    rig.receive(new);
    peer.write_all(b"for the old one").unwrap();
    rig.assert_silent();
    new_peer.write_all(b"new").unwrap();
    rig.until("received", |rig| rig.data(new) == b"new");
}

fn connections_are_accepted_until_told_to_stop(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Fd(listener.as_raw_fd());
    rig.accept(socket);
    rig.assert_silent();
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    rig.until("accepted", |rig| rig.listener.accepted.len() == 20);
    assert_eq!(rig.driver.in_flight(), 0);
    // In the order in which they came.
    for (client, index) in clients.iter().zip(rig.listener.accepted.clone()) {
        assert_eq!(socket::peer_address(rig.fd(index)), Some(client.local_addr().unwrap()));
        rig.receive(index);
    }
    for (mut client, number) in clients.iter().zip(0..) {
        client.write_all(&[number]).unwrap();
    }
    rig.until("received", |rig| {
        rig.listener.accepted.iter().zip(0..).all(|(index, number)| rig.data(*index) == [number])
    });

    rig.stop_accepting(socket);
    rig.stop_accepting(socket);
    rig.until("stopped", |rig| !rig.listener.is_accepting);
    let _late = TcpStream::connect(address).unwrap();
    rig.assert_silent();
    rig.accept(socket);
    rig.until("accepted", |rig| rig.listener.accepted.len() == 21);
    // And with somebody waiting.
    rig.stop_accepting(socket);
    let _last = TcpStream::connect(address).unwrap();
    rig.until("stopped", |rig| !rig.listener.is_accepting);
    rig.assert_silent();
}

fn failed_listener_stops_and_can_be_started_again(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    // Readable, but no listener.
    let (it, mut peer) = rig.pair();
    peer.write_all(b"x").unwrap();
    for _ in 0..2 {
        rig.accept(rig.fd(it));
        rig.until("failed", |rig| rig.listener.error == Some(Errno(libc::EINVAL)));
        rig.assert_silent();
    }
}

fn workers_share_a_listener(subject: &impl Subject) {
    let mut rigs = [subject.rig(64, 4), subject.rig(64, 4)];
    let (listener, path) = unix_listener();
    for rig in &mut rigs {
        rig.accept(Fd(listener.as_raw_fd()));
    }
    let clients: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let deadline = Instant::now() + PATIENCE;
    let accepted = |rigs: &[Rig<_>; 2]| rigs.iter().map(|rig| rig.listener.accepted.len()).sum::<usize>();
    while accepted(&rigs) < clients.len() && Instant::now() < deadline {
        for rig in &mut rigs {
            rig.turn(5);
        }
    }
    assert_eq!(accepted(&rigs), clients.len());
    std::fs::remove_file(&path).unwrap();
}

fn what_is_no_socket_fails(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let it = rig.add(std::fs::File::open("/dev/null").unwrap());
    rig.accept(rig.fd(it));
    rig.receive(it);
    rig.send(it, b"x", None);
    rig.until("failed", |rig| {
        let has_failed = rig.listener.error.is_some() && matches!(rig.end(it), Some(End::Failed(_)));
        has_failed && rig.sent(it) == [Err(Errno(libc::ENOTSOCK))]
    });
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
}

fn every_wake_up_is_told(subject: &impl Subject) {
    const ROUNDS: u32 = 1000;
    for busy_poll_micros in [0, 50] {
        let mut rig = subject.rig_of(Setup { busy_poll_micros, ..Setup::new(64, 4) });
        let [asked, told] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let threads = [(); 2].map(|()| {
            let (waker, asked, told) = (rig.waker.clone(), Arc::clone(&asked), Arc::clone(&told));
            thread::spawn(move || {
                let deadline = Instant::now() + PATIENCE;
                for _ in 0..ROUNDS {
                    let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    waker.wake();
                    while told.load(Ordering::SeqCst) < number && Instant::now() < deadline {
                        thread::yield_now();
                    }
                }
            })
        });
        while told.load(Ordering::SeqCst) < 2 * ROUNDS {
            let seen = rig.turn(PATIENCE.as_millis() as u64);
            assert!(seen.iter().all(|seen| *seen == Seen::Woken));
            assert!(!seen.is_empty() || threads.iter().all(|thread| !thread.is_finished()), "a lost wake-up");
            if !seen.is_empty() {
                told.store(asked.load(Ordering::SeqCst), Ordering::SeqCst);
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        while !rig.turn(0).is_empty() {}
        rig.assert_silent();
        let start = Instant::now();
        rig.waker.wake();
        rig.waker.wake();
        rig.driver.turn(None).unwrap();
        assert!(matches!(rig.driver.next(), Some(Event::Woken)));
        assert!(start.elapsed() < PATIENCE);
    }
}

fn wake_up_before_the_driver_counts(subject: &impl Subject) {
    let setup = Setup::new(64, 4);
    setup.waker.wake();
    let mut rig = subject.rig_of(setup);
    assert_eq!(rig.events(1), [Seen::Woken]);
    rig.assert_silent();
}

fn turn_ends_in_time(subject: &impl Subject) {
    for busy_poll_micros in [0, 1000, 60_000_000] {
        let mut rig = subject.rig_of(Setup { busy_poll_micros, ..Setup::new(64, 4) });
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
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(turns < 20, "{turns} turns to wait once");
        assert!(rig.driver.now().unix_seconds > 1_700_000_000);
    }
}

fn turn_that_may_coalesce_ends_in_time(subject: &impl Subject) {
    for coalesce_micros in [0, 1000, 60_000_000] {
        let mut rig = subject.rig_of(Setup { coalesce_micros, ..Setup::new(64, 4) });
        let (it, mut peer) = rig.pair();
        rig.receive(it);
        rig.turn(0);
        for sent in 1..20 {
            peer.write_all(b"x").unwrap();
            let start = Instant::now();
            while rig.data(it).len() < sent {
                rig.driver.coalesce(1000);
                rig.turn(40);
                assert!(start.elapsed() < Duration::from_secs(5), "{coalesce_micros} {sent}");
            }
        }
    }
}

fn turn_may_wait_for_ages(subject: &impl Subject) {
    let until = [None, Some(u64::MAX), Some(clock::now().millis + (1 << 40))];
    for (until, coalesce_micros) in until.into_iter().flat_map(|until| [(until, 0), (until, 1000)]) {
        let mut rig = subject.rig_of(Setup { coalesce_micros, ..Setup::new(64, 4) });
        rig.driver.coalesce(1000);
        let waker = rig.waker.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            waker.wake();
        });
        let mut turns = 0;
        let told = loop {
            rig.driver.turn(until).unwrap();
            turns += 1;
            if let Some(event) = rig.driver.next() {
                break rig.take(event);
            }
        };
        assert_eq!(told, Seen::Woken);
        assert!(turns < 20, "{turns} turns to wait once");
        thread.join().unwrap();
    }
}

fn abort_ends_each_operation_once_and_resets(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (tcp, mut peer) = rig.tcp_pair();
    let (unix, _unix_peer) = rig.pair();
    for it in [tcp, unix] {
        rig.receive(it);
        rig.fill(it);
        assert_eq!(rig.driver.in_flight(), 2);
        rig.abort(it);
        rig.until("ended", |rig| rig.end(it).is_some() && !rig.is_sending(it));
        assert!(matches!(rig.end(it), Some(End::Stopped | End::Failed(_))), "{rig:?}");
        rig.assert_silent();
        assert_eq!(rig.driver.in_flight(), 0);
        rig.close(it);
        rig.turn(0);
    }
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

fn abort_ends_what_has_just_been_started(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    for round in 0..40 {
        let (it, mut peer) = rig.tcp_pair();
        if round % 2 == 0 {
            peer.write_all(b"unwanted").unwrap();
        }
        rig.receive(it);
        rig.send(it, b"hello", None);
        if round % 4 < 2 {
            rig.turn(0);
        }
        rig.abort(it);
        rig.until("ended", |rig| rig.end(it).is_some() && !rig.is_sending(it));
        rig.close(it);
        rig.turn(0);
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    }
    rig.assert_silent();
}

fn reset_by_the_peer_is_told_to_both_directions(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, peer) = rig.tcp_pair();
    rig.receive(it);
    rig.fill(it);
    socket::reset_on_close(Fd(peer.as_raw_fd())).unwrap();
    drop(peer);
    rig.until("ended", |rig| rig.end(it).is_some() && !rig.is_sending(it));
    assert!(matches!(rig.end(it), Some(End::Failed(_) | End::Eof)), "{rig:?}");
    assert!(rig.sent(it).last().is_some_and(Result::is_err));
    rig.assert_silent();
    assert_eq!(rig.driver.in_flight(), 0);
    rig.close(it);
}

fn sending_direction_ends_after_what_was_sent(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.receive(it);
    rig.send(it, b"last words", None);
    rig.until("sent", |rig| rig.sent(it) == [Ok(10)]);
    rig.driver.shutdown_write(rig.fd(it));
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    peer.write_all(b"heard").unwrap();
    rig.until("received", |rig| rig.data(it) == b"heard");
}

fn last_send_arrives_with_the_end(subject: &impl Subject) {
    for is_closed_at_once in [false, true] {
        let mut rig = subject.rig(64, 4);
        {
            let (it, mut peer) = rig.tcp_pair();
            rig.receive(it);
            rig.send_last(it, b"the last words", Some(Payload::Static(b", and more")));
            rig.until("sent", |rig| rig.sent(it) == [Ok(24)]);
            if !is_closed_at_once {
                rig.driver.shutdown_write(rig.fd(it));
                peer.write_all(b"heard").unwrap();
                rig.until("received", |rig| rig.data(it) == b"heard");
            }
            peer.shutdown(Shutdown::Write).unwrap();
            rig.until("ended", |rig| rig.end(it) == Some(End::Eof));
            rig.close(it);
            rig.turn(0);
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            assert_eq!(got, b"the last words, and more");
        }
    }
}

fn sends_in_flight_keep_their_memory(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let (it, peer) = rig.pair();
        rig.fill(it);
        peers.push((it, peer));
    }
    assert_eq!(rig.driver.in_flight(), 8);
    assert_eq!(rig.sends.0.stats().leased, 8);
    // Whatever the driver has let go of is written over.
    while let Some(mut lease) = rig.sends.0.lease() {
        lease.fill(b'?');
        rig.held.push(lease);
    }
    let litter: Vec<Vec<u8>> = (0..16).map(|_| vec![b'?'; 1 << 20]).collect();
    let readers: Vec<_> = peers
        .into_iter()
        .map(|(it, mut peer)| {
            let reader = thread::spawn(move || {
                let mut got = Vec::new();
                peer.read_to_end(&mut got).map(|_| got)
            });
            (it, reader)
        })
        .collect();
    rig.until("sent", |rig| rig.driver.in_flight() == 0);
    drop(litter);
    for (it, reader) in readers {
        rig.connection(it).unsent = None;
        rig.close(it);
        rig.turn(0);
        assert!(reader.join().unwrap().unwrap() == rig.connection(it).gone);
    }
}

fn any_number_of_operations_starts_in_one_turn(subject: &impl Subject) {
    let mut rig = subject.rig(64, 64);
    let mut peers: Vec<(u32, UnixStream)> = (0..40).map(|_| rig.pair()).collect();
    for (it, peer) in &mut peers {
        peer.write_all(b"in").unwrap();
        rig.receive(*it);
        rig.send(*it, b"out", None);
        for _ in 0..40 {
            rig.stop_receiving(*it);
        }
    }
    rig.until("ended", |rig| rig.connections.iter().all(|it| !it.is_receiving && it.open_send.is_none()));
    for (it, peer) in &mut peers {
        assert_eq!(rig.sent(*it), [Ok(3)]);
        let mut got = [0; 3];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"out");
        rig.receive(*it);
        rig.until("received", |rig| rig.data(*it) == b"in");
    }
}

fn end_of_the_driver_gives_all_memory_back(subject: &impl Subject) {
    for used_first in [false, true] {
        let mut rig = subject.rig(64, 16);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rig.accept(Fd(listener.as_raw_fd()));
        let (idle, _idle_peer) = rig.pair();
        let (busy, mut busy_peer) = rig.pair();
        let (stuck, _stuck_peer) = rig.pair();
        let (unstarted, _unstarted_peer) = rig.pair();
        for it in [idle, busy, stuck] {
            rig.receive(it);
        }
        if used_first {
            busy_peer.write_all(b"here and").unwrap();
            rig.until("received", |rig| rig.data(busy) == b"here and");
        }
        rig.fill(stuck);
        busy_peer.write_all(&[b'x'; 1000]).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // It has happened, and is not told.
        rig.driver.turn(Some(clock::now().millis + 1000)).unwrap();
        rig.receive(unstarted);
        rig.send(unstarted, b"late", Some(Payload::Static(b"payload")));
        let start = Instant::now();
        let Rig { driver, blocks, sends, connections, .. } = rig;
        drop(driver);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // They look.
        drop((connections, blocks, sends));
    }
}

fn end_of_the_driver_does_the_last_closes(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let (it, mut peer) = rig.pair();
    rig.send(it, b"bye", None);
    rig.until("sent", |rig| rig.sent(it) == [Ok(3)]);
    rig.close(it);
    drop(rig);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"bye");
}

fn end_of_the_driver_frees_the_listener(subject: &impl Subject) {
    let mut rig = subject.rig(64, 4);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    rig.accept(Fd(listener.as_raw_fd()));
    rig.assert_silent();
    drop(rig);
    drop(listener);
    assert!(TcpStream::connect(address).is_err());
    TcpListener::bind(address).unwrap();
}
