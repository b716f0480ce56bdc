//! A driver without a kernel: seeded, so that a failure can be had again, and as unkind as the contract allows.
//!
//! Owns both ends of every connection, the virtual clock and the faults. It panics when its caller breaks the
//! contract of [`Driver`]. It must not know what the bytes mean.
//!
//! A test keeps the [`World`]: it plays the [`Peer`]s and moves the clock, then lets the code under test take
//! its turns. Nothing happens by itself, and nothing depends on anything but the seed and the calls made.

pub(crate) mod echo;
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use peregrine_pool::{BlockConfig, Blocks, Key};

use super::{Driver, Errno, Event, Fd, Interest, Now, Received, SendBuffer};
pub(crate) use world::{Peer, World};

/// What goes wrong. Chances are in percent of the occasions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// No receive yields more bytes than this.
    pub(crate) read_at_most: usize,
    /// No send takes more bytes than this.
    pub(crate) send_at_most: usize,
    /// A receive yields only some of the bytes that are there.
    pub(crate) short_reads: u64,
    /// A send ends before it is through.
    pub(crate) short_sends: u64,
    /// A receive finds no block, with or without data waiting.
    pub(crate) starved: u64,
    /// A receive fails, and the connection with it.
    pub(crate) receive_errors: u64,
    /// A send fails, and the connection with it.
    pub(crate) send_errors: u64,
    /// A listener fails for want of descriptors.
    pub(crate) accept_errors: u64,
    /// A connection that our side begins is refused.
    pub(crate) connect_errors: u64,
    /// A repeating operation ends with a success. At 100 it is one that does not repeat.
    pub(crate) ended: u64,
    /// What could complete in this turn does so in a later one. Below 100.
    pub(crate) delayed: u64,
    /// An operation that was told to end completes with a success before, or instead.
    pub(crate) late: u64,
    /// Different operations complete in any order.
    pub(crate) reordered: bool,
    /// A receive that finds data and an end behind it misses the end, until it is started anew.
    pub(crate) missed_ends: bool,
}

impl Faults {
    /// A kernel at its best.
    pub(crate) const NONE: Self = Self {
        read_at_most: usize::MAX,
        send_at_most: usize::MAX,
        short_reads: 0,
        short_sends: 0,
        starved: 0,
        receive_errors: 0,
        send_errors: 0,
        accept_errors: 0,
        connect_errors: 0,
        ended: 0,
        delayed: 0,
        late: 0,
        reordered: false,
        missed_ends: false,
    };

    /// Whatever may happen on a sound connection.
    pub(crate) const UNKIND: Self = Self {
        short_reads: 30,
        short_sends: 30,
        starved: 5,
        accept_errors: 5,
        ended: 20,
        delayed: 30,
        late: 50,
        reordered: true,
        ..Self::NONE
    };

    /// The same, and connections break.
    pub(crate) const BREAKING: Self =
        Self { receive_errors: 3, send_errors: 3, connect_errors: 30, ..Self::UNKIND };
}

/// Runs a test with `count` seeds and names the one that it fails with.
pub(crate) fn with_seeds(count: u64, test: impl Fn(u64)) {
    for seed in 0..count {
        if let Err(failure) = panic::catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with seed {seed}");
            panic::resume_unwind(failure);
        }
    }
}

/// The driver.
pub(crate) struct Sim {
    state: Rc<RefCell<State>>,
}

struct State {
    random: u64,
    faults: Faults,
    millis: u64,
    /// The clocks as of the last turn.
    seen: Now,
    blocks: Blocks,
    listeners: Vec<Listener>,
    /// Connections that nobody has accepted.
    backlog: VecDeque<usize>,
    /// Every connection that there ever was.
    connections: Vec<Connection>,
    /// The open descriptors and their connections.
    sockets: BTreeMap<i32, usize>,
    /// What has completed, with the connection that it is about.
    events: VecDeque<(Option<usize>, Event)>,
    is_woken: bool,
    /// What `coalesce` was last told.
    waiting: Option<usize>,
}

struct Listener {
    socket: Fd,
    number: u32,
    accept: Op,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Op {
    #[default]
    None,
    Open,
    /// Told to end.
    Ending,
    /// Its last event is not handed out yet.
    Ended,
}

#[derive(Default)]
struct Connection {
    key: Option<Key>,
    receive: Op,
    send: Op,
    /// By [`Interest`].
    watches: [Op; 2],
    buffer: Option<SendBuffer>,
    /// Bytes of `buffer` that the kernel has taken.
    taken: usize,
    has_told_eof: bool,
    /// Its open receive has missed the end, see [`Faults::missed_ends`].
    is_blind: bool,
    is_aborted: bool,
    is_closed: bool,
    /// When it will be known whether the connection that our side has begun is there, in milliseconds.
    connects_at: Option<u64>,
    /// It is not, and `SO_ERROR` has not been asked for it.
    is_refused: bool,
    /// Our sending direction has ended.
    has_ended: bool,

    /// On the way to us.
    inbound: VecDeque<u8>,
    inbound_has_ended: bool,
    /// What the peer has got.
    outbound: Vec<u8>,
    /// What the peer and the socket buffers still have room for.
    window: Option<usize>,
    /// The peer has closed: what is sent to it breaks the connection.
    peer_is_gone: bool,
    is_broken: bool,
    peer_saw_reset: bool,
}

impl Sim {
    /// A driver with 64 receive blocks of 4 KiB, and its world.
    pub(crate) fn new(seed: u64, faults: Faults) -> (Self, World) {
        let shape = BlockConfig { block_bytes: 4096, stride_bytes: 4096, max_blocks: 64, chunk_blocks: 64 };
        Self::with_blocks(seed, faults, Blocks::new(shape))
    }

    /// A driver that receives into `blocks`, and its world.
    pub(crate) fn with_blocks(seed: u64, faults: Faults, blocks: Blocks) -> (Self, World) {
        assert!(faults.delayed < 100, "nothing would ever complete");
        let state = Rc::new(RefCell::new(State {
            random: seed,
            faults,
            millis: START_MILLIS,
            seen: clocks(START_MILLIS),
            blocks,
            listeners: Vec::new(),
            backlog: VecDeque::new(),
            connections: Vec::new(),
            sockets: BTreeMap::new(),
            events: VecDeque::new(),
            is_woken: false,
            waiting: None,
        }));
        (Self { state: Rc::clone(&state) }, World { state })
    }
}

impl Driver for Sim {
    fn accept(&mut self, socket: Fd, listener: u32) {
        let mut state = self.state.borrow_mut();
        let is_open = state.listeners.iter().any(|open| open.number == listener || open.socket == socket);
        assert!(!is_open, "listener {listener} accepts already");
        state.listeners.push(Listener { socket, number: listener, accept: Op::Open });
    }

    fn stop_accepting(&mut self, socket: Fd, listener: u32) {
        let mut state = self.state.borrow_mut();
        let open = state.listeners.iter_mut().find(|open| open.number == listener);
        if let Some(open) = open {
            assert_eq!(open.socket, socket, "listener {listener} has another socket");
            open.accept.end();
        }
    }

    fn receive(&mut self, socket: Fd, key: Key) {
        let mut state = self.state.borrow_mut();
        let connection = state.start(socket, key);
        assert_eq!(connection.receive, Op::None, "two receives on {socket:?}");
        assert!(!connection.has_told_eof, "a receive after the end of file on {socket:?}");
        assert_eq!(connection.watch(Interest::Read), Op::None, "a receive beside a watch on {socket:?}");
        connection.is_blind = false;
        connection.receive = Op::Open;
    }

    fn stop_receiving(&mut self, socket: Fd, key: Key) {
        let mut state = self.state.borrow_mut();
        let connection = state.socket(socket);
        assert_eq!(connection.key, Some(key), "another connection's receive is stopped");
        connection.receive.end();
    }

    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer) {
        let mut state = self.state.borrow_mut();
        let connection = state.start(socket, key);
        assert_eq!(connection.send, Op::None, "two sends on {socket:?}");
        assert!(!connection.has_ended, "a send after the end of sending on {socket:?}");
        connection.send = Op::Open;
        connection.buffer = Some(buffer);
        connection.taken = 0;
    }

    fn watch(&mut self, socket: Fd, key: Key, interest: Interest) {
        let mut state = self.state.borrow_mut();
        let connection = state.start(socket, key);
        assert_eq!(connection.watch(interest), Op::None, "two watches on {socket:?}");
        let is_beside = interest == Interest::Read && connection.receive != Op::None;
        assert!(!is_beside, "a watch beside a receive on {socket:?}");
        connection.watches[interest as usize] = Op::Open;
    }

    fn unwatch(&mut self, socket: Fd, key: Key, interest: Interest) {
        let mut state = self.state.borrow_mut();
        let connection = state.socket(socket);
        assert_eq!(connection.key, Some(key), "another connection's watch is stopped");
        connection.watches[interest as usize].end();
    }

    fn shutdown_write(&mut self, socket: Fd) {
        let mut state = self.state.borrow_mut();
        let connection = state.socket(socket);
        assert_eq!(connection.send, Op::None, "the end of sending cuts off a send on {socket:?}");
        connection.has_ended = true;
    }

    fn abort(&mut self, socket: Fd) {
        let mut state = self.state.borrow_mut();
        let connection = state.socket(socket);
        connection.is_aborted = true;
        connection.receive.end();
        connection.send.end();
        connection.watches.iter_mut().for_each(Op::end);
    }

    fn close(&mut self, socket: Fd) {
        let mut state = self.state.borrow_mut();
        let connection = state.socket(socket);
        assert_eq!(connection.receive, Op::None, "closed with a receive open: {socket:?}");
        assert_eq!(connection.send, Op::None, "closed with a send open: {socket:?}");
        assert_eq!(connection.watches, [Op::None; 2], "closed with a watch open: {socket:?}");
        connection.is_closed = true;
        connection.has_ended = true;
        // As TCP does it: unread bytes at the close make a reset.
        connection.peer_saw_reset |=
            connection.is_aborted || connection.is_broken || !connection.inbound.is_empty();
        connection.inbound.clear();
        state.sockets.remove(&socket.0);
    }

    fn turn(&mut self, until: Option<u64>) -> io::Result<()> {
        self.state.borrow_mut().turn(until);
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        let mut state = self.state.borrow_mut();
        let (about, event) = state.events.pop_front()?;
        match &event {
            Event::Accepted { listener, more: false, .. } => {
                state.listeners.retain(|open| open.number != *listener);
            }
            Event::Received { more: false, .. } => {
                let ended = about.map(|index| &mut state.connections[index].receive);
                assert_eq!(ended.map(std::mem::take), Some(Op::Ended));
            }
            Event::Sent { .. } => {
                let ended = about.map(|index| &mut state.connections[index].send);
                assert_eq!(ended.map(std::mem::take), Some(Op::Ended));
            }
            Event::Ready { interest, .. } => {
                let ended = about.map(|index| &mut state.connections[index].watches[*interest as usize]);
                assert_eq!(ended.map(std::mem::take), Some(Op::Ended));
            }
            _ => {}
        }
        Some(event)
    }

    fn coalesce(&mut self, waiting: usize) {
        self.state.borrow_mut().waiting = Some(waiting);
    }

    fn now(&self) -> Now {
        self.state.borrow().seen
    }

    fn has_receive_blocks(&self) -> bool {
        let stats = self.state.borrow().blocks.stats();
        stats.leased + stats.lent < stats.max
    }

    fn may_miss_ends(&self) -> bool {
        self.state.borrow().faults.missed_ends
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn trim(&mut self) {}

    fn abandon(&mut self, _socket: Fd) {}

    fn in_flight(&self) -> usize {
        self.state.borrow().in_flight()
    }
}

/// Something that may complete in a turn, by index.
#[derive(Clone, Copy)]
enum Candidate {
    Accept(usize),
    Receive(usize),
    Send(usize),
    Watch(usize, Interest),
}

impl State {
    /// The connection of an open descriptor.
    fn socket(&mut self, socket: Fd) -> &mut Connection {
        let index = self.sockets.get(&socket.0);
        let index = *index.unwrap_or_else(|| panic!("{socket:?} is not open"));
        &mut self.connections[index]
    }

    /// The connection that an operation is started on.
    fn start(&mut self, socket: Fd, key: Key) -> &mut Connection {
        let namesake = self.sockets.iter().find(|(_, index)| self.connections[**index].key == Some(key));
        assert!(namesake.is_none_or(|(fd, _)| *fd == socket.0), "{key:?} names {namesake:?} and {socket:?}");
        let connection = self.socket(socket);
        assert_eq!(*connection.key.get_or_insert(key), key, "{socket:?} under two keys");
        assert!(!connection.is_aborted, "an operation on {socket:?} after its abort");
        connection
    }

    fn in_flight(&self) -> usize {
        let open = |op: Op| usize::from(op != Op::None);
        let of = |connection: &Connection| {
            let [read, write] = connection.watches.map(open);
            open(connection.receive) + open(connection.send) + read + write
        };
        self.connections.iter().map(of).sum()
    }

    fn turn(&mut self, until: Option<u64>) {
        if std::mem::take(&mut self.is_woken) {
            self.events.push_back((None, Event::Woken));
        }
        let next_connect = self.connect();
        let mut candidates: Vec<Candidate> = (0..self.listeners.len()).map(Candidate::Accept).collect();
        for index in self.sockets.values() {
            candidates.extend([Candidate::Receive(*index), Candidate::Send(*index)]);
            let is_watched = |it: &Interest| self.connections[*index].watch(*it) != Op::None;
            let watched = [Interest::Read, Interest::Write].into_iter().filter(is_watched);
            candidates.extend(watched.map(|it| Candidate::Watch(*index, it)));
        }
        if self.faults.reordered {
            for end in (1..candidates.len()).rev() {
                candidates.swap(end, self.below(end + 1));
            }
        }
        let mut is_delayed = false;
        for candidate in candidates {
            while self.is_due(candidate) {
                if self.roll(self.faults.delayed) {
                    is_delayed = true;
                    break;
                }
                self.complete(candidate);
            }
        }
        if self.events.is_empty() && !is_delayed {
            // Early, when something is about to happen.
            let until = until.into_iter().chain(next_connect).min();
            self.millis = self.millis.max(until.unwrap_or(0));
        }
        self.seen = clocks(self.millis);
    }

    /// Settles the connections whose time has come; returns when the next one will be.
    fn connect(&mut self) -> Option<u64> {
        let mut next = None;
        for index in self.sockets.values().copied().collect::<Vec<_>>() {
            match self.connections[index].connects_at {
                Some(at) if at <= self.millis => {
                    let is_refused = self.roll(self.faults.connect_errors);
                    let connection = &mut self.connections[index];
                    connection.connects_at = None;
                    connection.is_refused = is_refused;
                    connection.is_broken |= is_refused;
                    if is_refused {
                        connection.inbound.clear();
                    }
                }
                at => next = next.into_iter().chain(at).min(),
            }
        }
        next
    }

    /// Whether the kernel could do something about an operation.
    fn is_due(&mut self, candidate: Candidate) -> bool {
        match candidate {
            Candidate::Accept(index) => match self.listeners[index].accept {
                Op::Open => !self.backlog.is_empty(),
                op => op == Op::Ending,
            },
            Candidate::Receive(index) => {
                let connection = &self.connections[index];
                match connection.receive {
                    Op::Open => connection.has_input() || self.roll(self.faults.starved),
                    op => op == Op::Ending,
                }
            }
            Candidate::Send(index) => {
                let connection = &self.connections[index];
                match connection.send {
                    Op::Open => connection.is_writable(),
                    op => op == Op::Ending,
                }
            }
            Candidate::Watch(index, interest) => {
                let connection = &self.connections[index];
                match connection.watch(interest) {
                    Op::Open => connection.is_ready(interest),
                    op => op == Op::Ending,
                }
            }
        }
    }

    fn complete(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Accept(index) => self.complete_accept(index),
            Candidate::Receive(index) => self.complete_receive(index),
            Candidate::Send(index) => self.complete_send(index),
            Candidate::Watch(index, interest) => self.complete_watch(index, interest),
        }
    }

    fn complete_accept(&mut self, index: usize) {
        let is_ending = self.listeners[index].accept == Op::Ending;
        let is_late = is_ending && !self.backlog.is_empty() && self.roll(self.faults.late);
        let result = if is_ending && !is_late {
            Err(Errno(libc::ECANCELED))
        } else if self.roll(self.faults.accept_errors) {
            Err(Errno(libc::EMFILE))
        } else {
            Ok(self.open())
        };
        let more = result.is_ok() && !self.roll(self.faults.ended);
        if !more {
            self.listeners[index].accept = Op::Ended;
        }
        let listener = self.listeners[index].number;
        self.events.push_back((None, Event::Accepted { listener, result, more }));
    }

    /// Opens the first connection of the backlog.
    fn open(&mut self) -> Fd {
        let connection = self.backlog.pop_front().expect("a backlog, or nothing is due");
        self.open_as(connection)
    }

    /// Gives a connection the lowest free number, as a kernel does.
    fn open_as(&mut self, connection: usize) -> Fd {
        let number = (FIRST_FD..).find(|number| !self.sockets.contains_key(number));
        let number = number.expect("fewer sockets than numbers");
        self.sockets.insert(number, connection);
        Fd(number)
    }

    fn complete_receive(&mut self, index: usize) {
        let is_ending = self.connections[index].receive == Op::Ending;
        let is_late = is_ending && self.connections[index].has_input() && self.roll(self.faults.late);
        let outcome = if is_ending && !is_late {
            // A driver may end the receive of an aborted connection in either way.
            let is_failure = self.connections[index].is_aborted && self.roll(50);
            if is_failure { Received::Failed(Errno(libc::ECONNABORTED)) } else { Received::Stopped }
        } else {
            self.input(index)
        };
        let more = matches!(outcome, Received::Data { .. }) && !self.roll(self.faults.ended);
        let misses_ends = self.faults.missed_ends && matches!(outcome, Received::Data { .. });
        let connection = &mut self.connections[index];
        connection.is_blind = misses_ends && (connection.inbound_has_ended || connection.is_broken);
        if !more {
            connection.receive = Op::Ended;
        }
        connection.has_told_eof |= matches!(outcome, Received::Eof);
        connection.is_broken |= matches!(outcome, Received::Failed(_));
        let key = connection.key.expect("set by the start");
        self.events.push_back((Some(index), Event::Received { key, outcome, more }));
    }

    /// What a receive finds on a connection.
    fn input(&mut self, index: usize) -> Received {
        let waiting = self.connections[index].inbound.len();
        if !self.connections[index].has_input() || self.roll(self.faults.starved) {
            return Received::Starved;
        }
        if waiting == 0 && !self.connections[index].is_broken {
            return Received::Eof;
        }
        if waiting == 0 || self.roll(self.faults.receive_errors) {
            let is_refused = std::mem::take(&mut self.connections[index].is_refused);
            return Received::Failed(Errno(if is_refused { libc::ECONNREFUSED } else { libc::ECONNRESET }));
        }
        let Some(mut lease) = self.blocks.lease() else { return Received::Starved };
        let len =
            self.some_of(waiting.min(lease.len()).min(self.faults.read_at_most), self.faults.short_reads);
        // Whoever looks behind the data finds nothing that makes sense.
        lease.fill(POISON);
        for (place, byte) in lease.iter_mut().zip(self.connections[index].inbound.drain(..len)) {
            *place = byte;
        }
        Received::Data { lease, len: u32::try_from(len).expect("a block is shorter than 4 GiB") }
    }

    fn complete_send(&mut self, index: usize) {
        let is_ending = self.connections[index].send == Op::Ending;
        let is_stuck = self.connections[index].window == Some(0);
        let is_aborted = is_ending && (is_stuck || !self.roll(self.faults.late));
        let is_failure = self.roll(self.faults.send_errors);
        let is_short = self.roll(self.faults.short_sends);
        let connection = &mut self.connections[index];
        let buffer = connection.buffer.as_ref().expect("an open send has one");
        let remaining = buffer.remaining();
        let result = if is_aborted {
            if connection.taken > 0 { Ok(connection.taken) } else { Err(Errno(libc::ECANCELED)) }
        } else if connection.is_broken || is_failure {
            connection.is_broken = true;
            Err(Errno(if is_failure { libc::ECONNRESET } else { libc::EPIPE }))
        } else {
            // The bytes are read as late as this: a kernel would not have copied them earlier.
            let start = connection.taken;
            let room = connection.window.unwrap_or(usize::MAX);
            let wanted = (remaining - start).min(self.faults.send_at_most);
            let len = wanted.min(room);
            let len = if is_short { self.some_of(len, 100) } else { len };
            self.transmit(index, len);
            let connection = &self.connections[index];
            if len == room && len < wanted && !is_short && connection.send == Op::Open {
                return;
            }
            Ok(connection.taken)
        };
        let connection = &mut self.connections[index];
        connection.send = Op::Ended;
        let key = connection.key.expect("set by the start");
        let buffer = connection.buffer.take().expect("an open send has one");
        let result = result.map(|sent| u32::try_from(sent).expect("a kernel takes at most 2 GiB"));
        self.events.push_back((Some(index), Event::Sent { key, buffer, result }));
    }

    fn complete_watch(&mut self, index: usize, interest: Interest) {
        let connection = &self.connections[index];
        let is_ready = connection.is_ready(interest);
        let is_ending = connection.watch(interest) == Op::Ending;
        let result = if is_ready && (!is_ending || self.roll(self.faults.late)) {
            Ok(())
        } else {
            Err(Errno(libc::ECANCELED))
        };
        let connection = &mut self.connections[index];
        connection.watches[interest as usize] = Op::Ended;
        let key = connection.key.expect("set by the start");
        self.events.push_back((Some(index), Event::Ready { key, interest, result }));
    }

    /// Hands the next `len` bytes of the open send to the peer.
    fn transmit(&mut self, index: usize, len: usize) {
        let connection = &mut self.connections[index];
        let buffer = connection.buffer.as_ref().expect("an open send has one");
        let bytes = buffer.block().iter().chain(buffer.payload().unwrap_or_default());
        let bytes = bytes.skip(connection.taken).take(len).copied();
        if connection.peer_is_gone {
            connection.is_broken = true;
        } else {
            connection.outbound.extend(bytes);
        }
        connection.taken += len;
        connection.window = connection.window.map(|window| window - len);
    }

    /// True in `percent` of all cases.
    fn roll(&mut self, percent: u64) -> bool {
        percent > 0 && (self.below(100) as u64) < percent
    }

    /// `len`, or with a chance of `percent` anything from 1 to `len`.
    fn some_of(&mut self, len: usize, percent: u64) -> usize {
        if len > 1 && self.roll(percent) { 1 + self.below(len) } else { len }
    }

    /// A number below `end` (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }
}

impl Connection {
    /// Whether a receive has anything to tell.
    fn has_input(&self) -> bool {
        let may_end = !self.is_blind && (self.inbound_has_ended || self.is_broken);
        self.connects_at.is_none() && (!self.inbound.is_empty() || may_end)
    }

    /// Whether a send has anything to do.
    fn is_writable(&self) -> bool {
        self.connects_at.is_none() && (self.is_broken || self.window != Some(0))
    }

    fn watch(&self, interest: Interest) -> Op {
        self.watches[interest as usize]
    }

    /// Whether a watch has anything to tell. Unlike a receive it misses no end: it looks when it is started.
    fn is_ready(&self, interest: Interest) -> bool {
        match interest {
            Interest::Read => {
                let has_ended = self.inbound_has_ended || self.is_broken;
                self.connects_at.is_none() && (!self.inbound.is_empty() || has_ended)
            }
            Interest::Write => self.is_writable(),
        }
    }
}

impl Op {
    /// Tells an operation to end, unless it is over.
    fn end(&mut self) {
        if *self == Self::Open {
            *self = Self::Ending;
        }
    }
}

fn clocks(millis: u64) -> Now {
    Now { millis, unix_seconds: START_UNIX_SECONDS + millis / 1000 }
}

/// The clock does not start at zero, so that differences are not mistaken for times.
const START_MILLIS: u64 = 1_000_000;
const START_UNIX_SECONDS: u64 = 1_800_000_000;
/// No connection takes longer to be made, in milliseconds.
const CONNECT_MILLIS_MAX: usize = 300;
/// Far above the numbers that the process really has open.
const FIRST_FD: i32 = 1 << 20;
const POISON: u8 = 0xdb;

#[cfg(test)]
mod tests;
