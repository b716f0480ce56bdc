//! The stage between a driver and its connections: a driver itself, on which what is received is plaintext and what is
//! sent is encrypted.
//!
//! Owns the sessions of the connections that listeners of https have accepted, their handshakes and what is still to be
//! said to their peers. Connections know nothing of it but what [`Event::Secured`] and [`Received::Broken`] tell, and
//! those of other listeners pass through. It must not know HTTP, beyond what its first byte looks like.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "tests use more of it than fuzz targets"))]
mod harness;
mod opening;
mod sending;
mod shaking;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use peregrine_pool::{BlockConfig, Blocks, Key, Lease};

use super::context::Context;
use super::handshake::{Handshake, Secrets};
use super::metrics::Tally;
use super::offload::{Offload, Returns};
use super::record::{OVERHEAD_MAX, PLAIN_MAX, RECORD_MAX};
use crate::driver::secure::Breach;
use crate::driver::{Driver, Errno, Event, Fd, Interest, Now, Received, SendBuffer};

/// So many flights of handshakes are computed in one turn; the others wait, and the open connections do not. One takes
/// some tenths of a millisecond at most.
const FLIGHTS_PER_TURN: u32 = 8;

/// How long what is last said to a peer may take before the socket is closed without it, in milliseconds.
const LEAVE_MILLIS: u64 = 2000;

/// What found no block to be sent from is tried again after so long.
const RETRY_MILLIS: u64 = 20;

/// That our key is new from the next record on, and that the peer's may stay (RFC 8446 section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The level of an alert that is no failure.
const WARNING: u8 = 1;

/// Records that are put together from several receives lie in blocks of their own. They stay as long as a part of a
/// record is missing, or as what they hold is unread.
pub(crate) const WHOLE_BLOCKS: BlockConfig = BlockConfig {
    block_bytes: RECORD_MAX,
    stride_bytes: (RECORD_MAX + 64).next_multiple_of(64),
    max_blocks: 64 * 1024,
    chunk_blocks: 16,
};

/// Sends that do not fit into a block of the worker's take one of these: four whole records.
pub(crate) const LARGE_BLOCKS: BlockConfig = BlockConfig {
    block_bytes: 4 * (PLAIN_MAX + OVERHEAD_MAX),
    stride_bytes: (4 * (PLAIN_MAX + OVERHEAD_MAX) + 64).next_multiple_of(64),
    max_blocks: 4096,
    chunk_blocks: 4,
};

/// What an idle session takes with its keys and whom it has met, in bytes: rounded from what `tls_idle` measures.
pub(crate) const SESSION_BYTES: usize = 2816;

/// So many blocks of each kind stay in memory when a peak is over.
const BLOCKS_KEPT: u32 = 16;

/// How an outside receive was asked for, to ask for it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Normal,
    Bulk,
    One,
}

enum State {
    Shaking(Box<Handshake>),
    /// The handshake is on another thread; this has come in the meantime.
    Away(Vec<u8>),
    Open(Box<Secrets>),
    /// The peer does without; what is sent to it is not encrypted.
    Plain,
    /// Nothing more is understood.
    Broken,
}

/// What the driver is sending.
enum Flight {
    /// The stage's own bytes.
    Own,
    /// The first `taken` bytes of the connection's `plain`, encrypted.
    Sealed { plain: SendBuffer, taken: u32 },
    /// The connection's bytes as they are.
    Through,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    No,
    Wanted,
    Done,
}

/// One secured connection.
struct Session {
    key: Key,
    socket: Fd,
    state: State,
    mode: Mode,
    shut: Shut,
    /// The connection has a receive open; the driver has one.
    is_receiving: bool,
    is_receiving_inside: bool,
    /// The connection wants its receive to end.
    is_stopping: bool,
    is_aborted: bool,
    /// Its handshake is for other threads.
    offloads: bool,
    /// Waits for its turn to shake hands.
    is_queued: bool,
    /// The peer has said that it sends no more.
    is_peer_closed: bool,
    /// It has not: its socket has ended, though it was to say goodbye first.
    is_truncated: bool,
    /// We have said so.
    has_said_goodbye: bool,
    /// What the peer has asked for is answered, and the answer is not on its way yet.
    is_answering: bool,
    /// Enough has come while the handshake waits.
    is_parked: bool,
    /// The peer's end has come while its handshake waits.
    holds_eof: bool,
    /// The kernel has not taken a send at once.
    is_slow: bool,
    /// Records without data since the last one with any.
    idle_records: u8,
    /// A handshake's message that has not come whole.
    message: Vec<u8>,
    /// A record that has not come whole, and how much of it has.
    partial: Option<(Lease, usize)>,
    flight: Option<Flight>,
    /// Bytes of the stage's own that are to be sent, before all else.
    own: Vec<u8>,
    /// What the connection wants to be sent and has to wait.
    held: Option<SendBuffer>,
}

impl Session {
    /// Whether its handshake is not over.
    fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking(_) | State::Away(_))
    }

    /// The socket has ended.
    fn hear_end(&mut self) {
        self.is_truncated = !self.is_peer_closed && matches!(self.state, State::Open(_));
        self.is_peer_closed = true;
    }
}

/// A driver with TLS.
pub(crate) struct Stage<D: Driver> {
    driver: D,
    /// By listener; none for those without TLS.
    contexts: Vec<Option<Arc<Context>>>,
    /// By the key's index.
    sessions: Vec<Option<Box<Session>>>,
    /// The keys of sessions by their sockets' numbers.
    by_socket: Vec<Option<Key>>,
    /// Sessions whose connections are gone, and that still have something to say.
    leaving: HashMap<Key, Box<Session>>,
    /// When each of them is cut off if it has not ended, the earliest first.
    leave_by: VecDeque<(u64, Key)>,
    /// What is told before what the driver tells next.
    ready: VecDeque<Event>,
    /// Who waits for a turn to shake hands, the longest first.
    backlog: VecDeque<Key>,
    flights_left: u32,
    /// Whose own bytes go out before the next turn, so that a response can still join them.
    unflushed: Vec<Key>,
    /// By listener: until when each handshake must be over, the earliest first.
    deadlines: Vec<VecDeque<(u64, Key)>>,
    /// The worker's blocks for sends.
    small: Blocks,
    large: Blocks,
    whole: Blocks,
    /// Of `large` and `whole`: how many blocks the last trim has left, and how many of these were in use.
    after_trim: [(u32, u32); 2],
    tally: Arc<Tally>,
    /// Where handshakes are computed, and come back, if that is not here.
    offload: Option<(Arc<Offload>, Arc<Returns>)>,
    /// Where each failure is told, with the socket, if that is wanted.
    log: Option<fn(Fd, &str)>,
}

impl<D: Driver> Stage<D> {
    /// A stage on `driver`. `contexts` are those of its listeners, by number; `small` the blocks that the worker's
    /// responses are written into; `tally` is what the worker counts in.
    pub(crate) fn new(
        driver: D,
        contexts: Vec<Option<Arc<Context>>>,
        small: Blocks,
        tally: Arc<Tally>,
        log: Option<fn(Fd, &str)>,
    ) -> Self {
        let deadlines = contexts.iter().map(|_| VecDeque::new()).collect();
        Self {
            driver,
            contexts,
            sessions: Vec::new(),
            by_socket: Vec::new(),
            leaving: HashMap::new(),
            leave_by: VecDeque::new(),
            ready: VecDeque::new(),
            backlog: VecDeque::new(),
            flights_left: FLIGHTS_PER_TURN,
            unflushed: Vec::new(),
            deadlines,
            small,
            large: Blocks::new(LARGE_BLOCKS),
            whole: Blocks::new(WHOLE_BLOCKS),
            after_trim: [(0, 0); 2],
            tally,
            offload: None,
            log,
        }
    }

    /// The same with handshakes on other threads. They come back by `returns`.
    pub(crate) fn with_offload(mut self, offload: Arc<Offload>, returns: Arc<Returns>) -> Self {
        self.offload = Some((offload, returns));
        self
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    #[inline]
    fn has(&self, key: Key) -> bool {
        let session = self.sessions.get(key.index() as usize);
        matches!(session, Some(Some(session)) if session.key == key)
    }

    /// Lets `work` have a session while it has the stage.
    #[inline]
    fn with(&mut self, key: Key, work: impl FnOnce(&mut Self, &mut Session)) {
        let index = key.index() as usize;
        let Some(mut session) = self.sessions.get_mut(index).and_then(Option::take) else { return };
        work(self, &mut session);
        self.sessions[index] = Some(session);
    }

    fn key_of(&self, socket: Fd) -> Option<Key> {
        self.by_socket.get(usize::try_from(socket.0).ok()?).copied().flatten()
    }

    /// Tells the connection of something received; whether more comes is for [`settle`](Self::settle).
    fn tell(&mut self, session: &Session, outcome: Received) {
        self.ready.push_back(Event::Received { key: session.key, outcome, more: true });
    }

    /// The driver's receive has ended: so has the connection's, with the last of what was told since `first`, or
    /// nobody is told and it is started anew.
    fn settle(&mut self, session: &mut Session, first: usize) {
        let is_waiting =
            session.holds_eof || (session.is_parked && !session.is_stopping && !session.is_aborted);
        if session.is_receiving_inside || !session.is_receiving || is_waiting {
            return;
        }
        if self.ready.len() > first
            && let Some(Event::Received { key, more, .. }) = self.ready.back_mut()
            && *key == session.key
        {
            *more = false;
        } else if session.is_peer_closed {
            let outcome =
                if session.is_truncated { Received::Broken(Breach::Truncated) } else { Received::Eof };
            self.ready.push_back(Event::Received { key: session.key, outcome, more: false });
        } else if session.is_stopping || session.is_aborted {
            let outcome = Received::Stopped;
            self.ready.push_back(Event::Received { key: session.key, outcome, more: false });
        } else {
            return self.receive_inside(session);
        }
        session.is_receiving = false;
        session.is_stopping = false;
    }

    fn receive_inside(&mut self, session: &mut Session) {
        let (socket, key) = (session.socket, session.key);
        match session.mode {
            Mode::Normal => self.driver.receive(socket, key),
            Mode::Bulk => self.driver.receive_bulk(socket, key),
            Mode::One => self.driver.receive_one(socket, key),
        }
        session.is_receiving_inside = true;
    }

    fn start_receiving(&mut self, socket: Fd, key: Key, mode: Mode) {
        if !self.has(key) {
            return match mode {
                Mode::Normal => self.driver.receive(socket, key),
                Mode::Bulk => self.driver.receive_bulk(socket, key),
                Mode::One => self.driver.receive_one(socket, key),
            };
        }
        self.with(key, |stage, session| {
            session.mode = mode;
            session.is_receiving = true;
            if session.is_peer_closed {
                stage.settle(session, stage.ready.len());
            } else {
                stage.receive_inside(session);
            }
        });
    }

    fn received(&mut self, key: Key, outcome: Received, more: bool) {
        self.with(key, |stage, session| {
            session.is_receiving_inside = more;
            let first = stage.ready.len();
            match outcome {
                Received::Data { lease, len } => stage.take(session, lease, len as usize),
                Received::Eof if session.is_peer_closed => {}
                // What has come before it comes first.
                Received::Eof if session.is_queued || matches!(session.state, State::Away(_)) => {
                    session.holds_eof = true;
                    return;
                }
                Received::Eof => session.hear_end(),
                // What was asked for by `park`: it goes on when the handshake does.
                Received::Stopped if session.is_parked && !session.is_stopping && !session.is_aborted => {
                    return;
                }
                // The end that close_notify has asked for.
                Received::Stopped if session.is_peer_closed => {}
                other => stage.tell(session, other),
            }
            stage.settle(session, first);
        });
    }

    /// Takes what has come for a session.
    #[inline]
    fn take(&mut self, session: &mut Session, lease: Lease, len: usize) {
        match &mut session.state {
            _ if session.is_peer_closed || session.is_aborted => {}
            State::Open(_) => self.open(session, lease, len),
            State::Shaking(_) => self.take_flight(session, lease, len),
            State::Away(_) => self.take_meanwhile(session, &lease[..len]),
            State::Plain => self.tell(session, Received::Data { lease, len: len as u32 }),
            State::Broken => {}
        }
    }

    fn note(&self, session: &Session, breach: Breach, detail: &str) {
        if let Some(log) = self.log {
            let colon = if detail.is_empty() { "" } else { ": " };
            log(session.socket, &format!("{breach}{colon}{detail}"));
        }
    }

    /// When the next handshake must be over, or the next leaving session is cut off.
    fn next_deadline(&mut self) -> Option<u64> {
        while self.leave_by.front().is_some_and(|(_, key)| !self.leaving.contains_key(key)) {
            self.leave_by.pop_front();
        }
        let mut next = self.leave_by.front().map(|&(deadline, _)| deadline);
        for listener in 0..self.deadlines.len() {
            while let Some(&(deadline, key)) = self.deadlines[listener].front() {
                if self.is_shaking(key) {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                    break;
                }
                self.deadlines[listener].pop_front();
            }
        }
        next
    }

    fn end_overdue(&mut self) {
        let now = self.driver.now().millis;
        for listener in 0..self.deadlines.len() {
            while let Some(&(deadline, key)) = self.deadlines[listener].front() {
                if deadline > now {
                    break;
                }
                self.deadlines[listener].pop_front();
                if !self.is_shaking(key) {
                    continue;
                }
                self.with(key, |stage, session| {
                    let first = stage.ready.len();
                    stage.fail(session, Breach::Timeout, "");
                    stage.hear_held_end(session);
                    stage.settle(session, first);
                });
            }
        }
        while let Some(&(deadline, key)) = self.leave_by.front()
            && deadline <= now
        {
            self.leave_by.pop_front();
            if let Some(session) = self.leaving.get_mut(&key) {
                session.is_aborted = true;
                self.driver.abort(session.socket);
            }
        }
    }
}

impl<D: Driver> Drop for Stage<D> {
    /// Nobody else knows of those that are leaving.
    fn drop(&mut self) {
        for session in self.leaving.values() {
            self.driver.abandon(session.socket);
        }
    }
}

impl<D: Driver> Driver for Stage<D> {
    fn accept(&mut self, socket: Fd, listener: u32) {
        self.driver.accept(socket, listener);
    }

    fn stop_accepting(&mut self, socket: Fd, listener: u32) {
        self.driver.stop_accepting(socket, listener);
    }

    fn opened(&mut self, socket: Fd, key: Key, listener: u32) {
        let Some(Some(context)) = self.contexts.get(listener as usize) else { return };
        let (index, number) = (key.index() as usize, usize::try_from(socket.0).unwrap_or(0));
        if self.sessions.len() <= index {
            self.sessions.resize_with(index + 1, || None);
        }
        if self.by_socket.len() <= number {
            self.by_socket.resize(number + 1, None);
        }
        self.tally.active.increase();
        if let Some(timeout) = context.handshake_timeout() {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let deadline = self.driver.now().millis.saturating_add(millis);
            self.deadlines[listener as usize].push_back((deadline, key));
        }
        let session = Session {
            key,
            socket,
            state: State::Shaking(Box::new(Handshake::new(context.snapshot()))),
            mode: Mode::Normal,
            shut: Shut::No,
            is_receiving: false,
            is_receiving_inside: false,
            is_stopping: false,
            is_aborted: false,
            offloads: self.offload.is_some() && context.offload_handshakes(),
            is_queued: false,
            is_peer_closed: false,
            is_truncated: false,
            has_said_goodbye: false,
            is_answering: false,
            is_parked: false,
            holds_eof: false,
            is_slow: false,
            idle_records: 0,
            message: Vec::new(),
            partial: None,
            flight: None,
            own: Vec::new(),
            held: None,
        };
        self.sessions[index] = Some(Box::new(session));
        self.by_socket[number] = Some(key);
    }

    fn receive(&mut self, socket: Fd, key: Key) {
        self.start_receiving(socket, key, Mode::Normal);
    }

    fn receive_bulk(&mut self, socket: Fd, key: Key) {
        self.start_receiving(socket, key, Mode::Bulk);
    }

    fn receive_one(&mut self, socket: Fd, key: Key) {
        self.start_receiving(socket, key, Mode::One);
    }

    fn has_bulk(&self) -> bool {
        self.driver.has_bulk()
    }

    fn stop_receiving(&mut self, socket: Fd, key: Key) {
        if !self.has(key) {
            return self.driver.stop_receiving(socket, key);
        }
        self.with(key, |stage, session| {
            if session.is_receiving {
                session.is_stopping = true;
                if session.is_receiving_inside {
                    stage.driver.stop_receiving(socket, key);
                } else {
                    stage.settle(session, stage.ready.len());
                }
            }
        });
    }

    #[inline]
    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer) {
        if !self.has(key) {
            return self.driver.send(socket, key, buffer);
        }
        self.with(key, |stage, session| stage.send_for(session, buffer));
    }

    fn watch(&mut self, socket: Fd, key: Key, interest: Interest) {
        self.driver.watch(socket, key, interest);
    }

    fn unwatch(&mut self, socket: Fd, key: Key, interest: Interest) {
        self.driver.unwatch(socket, key, interest);
    }

    fn shutdown_write(&mut self, socket: Fd) {
        let Some(key) = self.key_of(socket) else { return self.driver.shutdown_write(socket) };
        self.with(key, |stage, session| {
            if session.shut == Shut::No {
                session.shut = Shut::Wanted;
                stage.flush(session);
            }
        });
    }

    fn abort(&mut self, socket: Fd) {
        self.driver.abort(socket);
        let Some(key) = self.key_of(socket) else { return };
        self.with(key, |stage, session| {
            session.is_aborted = true;
            session.own = Vec::new();
            if let Some(buffer) = session.held.take() {
                let result = Err(Errno(libc::ECANCELED));
                stage.ready.push_back(Event::Sent { key, buffer, result });
            }
            stage.settle(session, stage.ready.len());
        });
    }

    fn close(&mut self, socket: Fd) {
        let Some(key) = self.key_of(socket) else { return self.driver.close(socket) };
        let Some(mut session) = self.sessions.get_mut(key.index() as usize).and_then(Option::take) else {
            return;
        };
        if session.is_shaking() {
            self.tally.active.decrease();
            self.tally.abandoned.increase();
        }
        // Whoever closes says so, also to a peer that has said it first (RFC 8446 section 6.1).
        if !session.is_aborted && !session.has_said_goodbye && matches!(session.state, State::Open(_)) {
            session.shut = Shut::Wanted;
            self.flush(&mut session);
        }
        if session.flight.is_none() {
            return self.release(socket);
        }
        session.partial = None;
        self.by_socket[usize::try_from(socket.0).unwrap_or(0)] = None;
        if !session.is_aborted {
            self.leave_by.push_back((self.driver.now().millis + LEAVE_MILLIS, key));
        }
        self.leaving.insert(key, session);
    }

    fn abandon(&mut self, socket: Fd) {
        if let Some(key) = self.key_of(socket) {
            if self.is_shaking(key) {
                self.tally.active.decrease();
                self.tally.abandoned.increase();
            }
            self.sessions[key.index() as usize] = None;
            self.by_socket[usize::try_from(socket.0).unwrap_or(0)] = None;
        }
        self.driver.abandon(socket);
    }

    fn coalesce(&mut self, waiting: usize) {
        self.driver.coalesce(waiting);
    }

    fn turn(&mut self, until: Option<u64>) -> io::Result<()> {
        for key in std::mem::take(&mut self.unflushed) {
            if self.has(key) {
                self.with(key, Self::flush);
            }
        }
        let is_busy = !self.backlog.is_empty() || !self.ready.is_empty();
        let retry = (!self.unflushed.is_empty()).then(|| self.driver.now().millis + RETRY_MILLIS);
        let deadlines = [until, self.next_deadline(), retry];
        let until = if is_busy { Some(0) } else { deadlines.into_iter().flatten().min() };
        self.driver.turn(until)?;
        self.flights_left = FLIGHTS_PER_TURN;
        self.work_off();
        self.end_overdue();
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.driver.next()? {
                Event::Received { key, outcome, more } if self.has(key) => self.received(key, outcome, more),
                Event::Sent { key, buffer, result } if self.has(key) => {
                    self.with(key, |stage, session| stage.sent(session, buffer, result));
                }
                Event::Sent { key, buffer, result } if self.is_leaving(key) => {
                    self.sent_last(key, buffer, result);
                }
                Event::Woken => {
                    self.welcome();
                    return Some(Event::Woken);
                }
                event => return Some(event),
            }
        }
    }

    fn now(&self) -> Now {
        self.driver.now()
    }

    fn has_receive_blocks(&self) -> bool {
        self.driver.has_receive_blocks()
    }

    fn may_miss_ends(&self) -> bool {
        self.driver.may_miss_ends()
    }

    fn is_simulated(&self) -> bool {
        self.driver.is_simulated()
    }

    fn is_sparse(&self) -> bool {
        let mut all = [&self.large, &self.whole].into_iter().zip(self.after_trim);
        let is_any = all.any(|(blocks, (mapped, leased))| {
            let now = blocks.stats();
            let has_changed = now.mapped_blocks > mapped || now.leased < leased / 2;
            has_changed && now.mapped_blocks > (now.leased + BLOCKS_KEPT) * 4
        });
        is_any || self.driver.is_sparse()
    }

    fn trim(&mut self) {
        self.driver.trim();
        self.leaving.shrink_to_fit();
        self.leave_by.shrink_to_fit();
        for (blocks, after_trim) in [&self.large, &self.whole].into_iter().zip(&mut self.after_trim) {
            blocks.trim(BLOCKS_KEPT);
            let stats = blocks.stats();
            *after_trim = (stats.mapped_blocks, stats.leased);
        }
    }

    fn in_flight(&self) -> usize {
        self.driver.in_flight()
    }
}
