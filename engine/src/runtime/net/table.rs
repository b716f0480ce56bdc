//! All sockets of one worker's handlers, from the driver's side.
//!
//! Owns what is known of each, and starts, continues and ends what is open on it at the driver. A task changes what
//! it wants of its socket at any time; right before the driver's turn each changed socket is settled: what it
//! wants is compared with what is open, and the difference is started. It must not know who the tasks are.

use std::task::Waker;

use peregrine_pool::{Blocks, Key, Lease, Slab};

use super::queues::{Inbox, Outbox, QUEUED_MAX};
use crate::driver::{Driver, Errno, Fd, Interest, Received, SendBuffer};

/// Sockets of a worker, at most.
const SOCKETS_MAX: u32 = 1 << 20;

/// What tells a socket's key from a connection's at the driver: no table is so large.
const OF_SOCKET: u32 = 1 << 31;

/// Receives that found no block are tried again after so long at the latest, in milliseconds.
const STARVED_MILLIS: u64 = 100;

/// Where a receive may miss the peer's end, it is started anew when nothing has come for so long, once.
const CHECK_MILLIS: u64 = 1000;

/// What is so, or is wanted, of a socket.
pub(super) mod flag {
    /// Open at the driver.
    pub(in super::super) const RECEIVING: u16 = 1;
    pub(in super::super) const SENDING: u16 = 1 << 1;
    pub(super) const AWAITS_INPUT: u16 = 1 << 2;
    pub(super) const AWAITS_ROOM: u16 = 1 << 3;
    pub(super) const OPEN: u16 = RECEIVING | SENDING | AWAITS_INPUT | AWAITS_ROOM;
    /// The receive was told to end.
    pub(super) const STOPPING: u16 = 1 << 4;
    /// Everything was.
    pub(super) const ABORTED: u16 = 1 << 5;
    /// Waits to be settled.
    pub(super) const CHANGED: u16 = 1 << 6;
    /// Its handle is gone: it is closed once nothing is open.
    pub(super) const CLOSING: u16 = 1 << 7;
    /// Somebody has read: it is received from, ahead of the next read.
    pub(in super::super) const READ: u16 = 1 << 8;
    /// Too much waits to be read.
    pub(in super::super) const PAUSED: u16 = 1 << 9;
    /// The last receive found no block.
    pub(super) const STARVED: u16 = 1 << 10;
    /// Something has come since the last look for missed ends.
    pub(super) const RECENT: u16 = 1 << 11;
    /// Is among those to be looked at.
    pub(super) const UNCHECKED: u16 = 1 << 12;
    /// The sending direction ends with what is written.
    pub(in super::super) const SHUT: u16 = 1 << 13;
    /// It has ended.
    pub(super) const HAS_SHUT: u16 = 1 << 14;
}

/// How a socket is received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One receive for any number of blocks.
    Stream,
    /// One for each: on Unix sockets those for many may lose the end of file (see the driver).
    OneByOne,
    /// By system calls, when a watch says that it is time.
    Watched,
}

/// Why no more can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Eof,
    Failed(Errno),
}

/// A watch, from the task's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    #[default]
    Unwanted,
    Wanted,
    /// It has ended so since the last look.
    Over(Result<(), Errno>),
}

/// One socket.
pub(super) struct Socket {
    pub(super) fd: Fd,
    pub(super) flags: u16,
    kind: Kind,
    pub(super) inbox: Inbox,
    pub(super) end: Option<End>,
    pub(super) outbox: Outbox,
    pub(super) send_error: Option<Errno>,
    /// By [`Interest`].
    pub(super) watches: [Watch; 2],
    /// Who waits for something to read, and for room to write or the end of sending.
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Socket {
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Bytes that the peer may still get.
    pub(super) fn unsent(&self) -> usize {
        if self.send_error.is_some() { 0 } else { self.outbox.unsent() }
    }

    fn wants_input(&self) -> bool {
        let unwanted = flag::RECEIVING | flag::PAUSED | flag::STARVED;
        self.has(flag::READ) && !self.has(unwanted) && self.end.is_none()
    }

    fn waiter(&mut self, interest: Interest) -> Option<Waker> {
        match interest {
            Interest::Read => self.reader.take(),
            Interest::Write => self.writer.take(),
        }
    }
}

fn of_watch(interest: Interest) -> u16 {
    match interest {
        Interest::Read => flag::AWAITS_INPUT,
        Interest::Write => flag::AWAITS_ROOM,
    }
}

/// See the module's text.
pub(in crate::runtime) struct Sockets {
    table: Slab<Socket>,
    /// Which are to be settled.
    changed: Vec<Key>,
    /// Who waits for a receive block.
    starved: Vec<Key>,
    retry_at: Option<u64>,
    /// Whose end may be missed, and when to look.
    unchecked: Vec<Key>,
    check_at: Option<u64>,
    /// As of the last turn, in milliseconds.
    now: u64,
    /// What is written is copied into these.
    pub(super) send_blocks: Blocks,
    /// Receive blocks that wait to be read, of all sockets, and how many these may be.
    held: u32,
    max_held: u32,
    /// The worker has ended.
    is_over: bool,
    /// Something was received since this was last looked at.
    pub(super) has_heard: bool,
}

impl Sockets {
    pub(in crate::runtime) fn new(now: u64, send_blocks: Blocks, max_held: u32) -> Self {
        Self {
            table: Slab::new(SOCKETS_MAX),
            changed: Vec::new(),
            starved: Vec::new(),
            retry_at: None,
            unchecked: Vec::new(),
            check_at: None,
            now,
            send_blocks,
            held: 0,
            max_held,
            is_over: false,
            has_heard: false,
        }
    }

    /// Takes a socket in, which is closed from here on. `None` when there is no memory for it.
    pub(super) fn insert(&mut self, fd: Fd, kind: Kind) -> Option<Key> {
        if self.is_over {
            return None;
        }
        let socket = Socket {
            fd,
            flags: 0,
            kind,
            inbox: Inbox::default(),
            end: None,
            outbox: Outbox::default(),
            send_error: None,
            watches: [Watch::Unwanted; 2],
            reader: None,
            writer: None,
        };
        self.table.insert(socket).ok()
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Socket> {
        self.table.get_mut(key)
    }

    /// What waits to be read, up to `room` bytes. `None` when the worker has ended.
    pub(super) fn read(&mut self, key: Key, room: usize, put: impl FnMut(&[u8])) -> Option<usize> {
        let socket = self.table.get_mut(key)?;
        let before = socket.inbox.leases();
        let read = socket.inbox.read(room, put);
        self.held -= before - socket.inbox.leases();
        if socket.has(flag::PAUSED) && socket.inbox.bytes() <= QUEUED_MAX / 2 {
            socket.flags &= !flag::PAUSED;
            self.change(key);
        }
        Some(read)
    }

    /// Has a socket settled before the next turn.
    pub(super) fn change(&mut self, key: Key) {
        if let Some(socket) = self.table.get_mut(key)
            && !socket.has(flag::CHANGED)
        {
            socket.flags |= flag::CHANGED;
            self.changed.push(key);
        }
    }

    /// Closes a socket, once what is open on it has ended. Returns who has waited, whom nobody wakes any more.
    pub(super) fn close(&mut self, key: Key) -> Option<[Option<Waker>; 2]> {
        let socket = self.table.get_mut(key)?;
        socket.flags |= flag::CLOSING;
        self.held -= socket.inbox.leases();
        socket.inbox = Inbox::default();
        let waiters = [socket.reader.take(), socket.writer.take()];
        self.change(key);
        Some(waiters)
    }

    /// When [`start`](Self::start) has something to do of its own accord.
    pub(in crate::runtime) fn next_due(&self) -> Option<u64> {
        [self.retry_at, self.check_at].into_iter().flatten().min()
    }

    pub(in crate::runtime) fn trim(&mut self) {
        self.table.trim();
        self.changed.shrink_to_fit();
        self.starved.shrink_to_fit();
        self.unchecked.shrink_to_fit();
    }

    /// Starts and ends at the driver whatever has to be. For the moment before its turn.
    pub(in crate::runtime) fn start(&mut self, driver: &mut impl Driver) {
        if self.changed.is_empty() && self.retry_at.is_none() && self.check_at.is_none() {
            return;
        }
        self.now = driver.now().millis;
        if self.check_at.is_some_and(|at| at <= self.now) {
            self.check_ends(driver);
        }
        if self.retry_at.is_some() {
            self.revive(driver);
        }
        let mut changed = std::mem::take(&mut self.changed);
        for key in changed.drain(..) {
            self.settle(key, driver);
        }
        self.changed = changed;
    }

    fn settle(&mut self, key: Key, driver: &mut impl Driver) {
        let Some(socket) = self.table.get_mut(key) else { return };
        socket.flags &= !flag::CHANGED;
        let (fd, name) = (socket.fd, outward(key));
        if socket.has(flag::CLOSING) {
            if socket.has(flag::SENDING) && !socket.has(flag::ABORTED) {
                socket.flags |= flag::ABORTED;
                driver.abort(fd);
            } else if !socket.has(flag::ABORTED) {
                if socket.has(flag::RECEIVING) && !socket.has(flag::STOPPING) {
                    socket.flags |= flag::STOPPING;
                    driver.stop_receiving(fd, name);
                }
                for interest in [Interest::Read, Interest::Write] {
                    if socket.has(of_watch(interest)) {
                        driver.unwatch(fd, name, interest);
                    }
                }
            }
            if !socket.has(flag::OPEN) {
                driver.close(fd);
                drop(self.table.remove(key));
            }
            return;
        }
        for interest in [Interest::Read, Interest::Write] {
            let is_wanted = socket.watches[interest as usize] == Watch::Wanted;
            if is_wanted && !socket.has(of_watch(interest)) {
                socket.flags |= of_watch(interest);
                driver.watch(fd, name, interest);
            }
        }
        if socket.wants_input() {
            socket.flags |= flag::RECEIVING;
            match socket.kind {
                Kind::Stream => driver.receive(fd, name),
                Kind::OneByOne | Kind::Watched => driver.receive_one(fd, name),
            }
        } else if socket.has(flag::PAUSED) && socket.has(flag::RECEIVING) && !socket.has(flag::STOPPING) {
            socket.flags |= flag::STOPPING;
            driver.stop_receiving(fd, name);
        }
        if socket.send_error.is_none() && !socket.has(flag::SENDING) {
            if let Some(buffer) = socket.outbox.next() {
                socket.flags |= flag::SENDING;
                driver.send(fd, name, buffer);
            } else if socket.has(flag::SHUT) && !socket.has(flag::HAS_SHUT) {
                socket.flags |= flag::HAS_SHUT;
                driver.shutdown_write(fd);
            }
        }
    }

    /// Receives again where no block was found, as soon as there are blocks.
    fn revive(&mut self, driver: &impl Driver) {
        if !driver.has_receive_blocks() {
            self.retry_at = Some(self.now + STARVED_MILLIS);
            return;
        }
        self.retry_at = None;
        let mut starved = std::mem::take(&mut self.starved);
        for key in starved.drain(..) {
            if let Some(socket) = self.table.get_mut(key) {
                socket.flags &= !flag::STARVED;
                self.change(key);
            }
        }
        self.starved = starved;
    }

    /// Ends the receives of which nothing has come since the last look: they go on, and find what was missed.
    fn check_ends(&mut self, driver: &mut impl Driver) {
        let Self { table, unchecked, .. } = self;
        unchecked.retain(|key| {
            let Some(socket) = table.get_mut(*key) else { return false };
            if socket.has(flag::RECENT) {
                socket.flags &= !flag::RECENT;
                return true;
            }
            socket.flags &= !flag::UNCHECKED;
            if socket.has(flag::RECEIVING) && !socket.has(flag::STOPPING | flag::CLOSING) {
                socket.flags |= flag::STOPPING;
                driver.stop_receiving(socket.fd, outward(*key));
            }
            false
        });
        self.check_at = (!self.unchecked.is_empty()).then(|| self.now + CHECK_MILLIS);
    }

    /// Takes what was received for a socket. Returns whom to wake.
    pub(in crate::runtime) fn received(
        &mut self,
        key: Key,
        outcome: Received,
        more: bool,
        driver: &impl Driver,
    ) -> Option<Waker> {
        let key = inward(key);
        let Some(socket) = self.table.get_mut(key) else {
            debug_assert!(false, "a socket outlives its operations");
            return None;
        };
        if !more {
            socket.flags &= !(flag::RECEIVING | flag::STOPPING);
        }
        if socket.has(flag::CLOSING) {
            // Should the kernel have missed that it is to end.
            socket.flags &= !flag::STOPPING;
            self.change(key);
            return None;
        }
        match outcome {
            Received::Data { lease, len } => self.take_data(key, lease, len as usize, more, driver),
            Received::Eof => socket.end = Some(End::Eof),
            Received::Failed(error) => socket.end = Some(End::Failed(error)),
            Received::Stopped => {}
            #[cfg(feature = "tls")]
            Received::Broken(_) => {}
            Received::Starved => {
                socket.flags |= flag::STARVED;
                self.starved.push(key);
                self.retry_at = Some(driver.now().millis);
            }
        }
        if !more {
            self.change(key);
        }
        let socket = self.table.get_mut(key)?;
        if socket.inbox.is_empty() && socket.end.is_none() { None } else { socket.reader.take() }
    }

    fn take_data(&mut self, key: Key, lease: Lease, len: usize, more: bool, driver: &impl Driver) {
        let Some(socket) = self.table.get_mut(key) else { return };
        self.has_heard = true;
        let before = socket.inbox.leases();
        socket.inbox.push(lease, len, self.held < self.max_held);
        self.held += socket.inbox.leases() - before;
        if socket.inbox.bytes() >= QUEUED_MAX {
            // Said again should the kernel have missed it.
            if socket.inbox.bytes() >= 4 * QUEUED_MAX {
                socket.flags &= !flag::STOPPING;
            }
            socket.flags |= flag::PAUSED;
            self.change(key);
        } else if more && driver.may_miss_ends() {
            let is_known = socket.has(flag::UNCHECKED);
            socket.flags |= flag::RECENT | flag::UNCHECKED;
            if !is_known {
                self.unchecked.push(key);
                self.check_at = self.check_at.or(Some(driver.now().millis + CHECK_MILLIS));
            }
        }
    }

    /// A send of a socket has ended. Returns whom to wake.
    pub(in crate::runtime) fn sent(
        &mut self,
        key: Key,
        buffer: SendBuffer,
        result: Result<u32, Errno>,
    ) -> Option<Waker> {
        let key = inward(key);
        let Some(socket) = self.table.get_mut(key) else {
            debug_assert!(false, "a socket outlives its operations");
            return None;
        };
        socket.flags &= !flag::SENDING;
        match result {
            Ok(sent) if sent > 0 => socket.outbox.sent(buffer, sent),
            failed => {
                socket.send_error = Some(failed.err().unwrap_or(Errno(libc::EPIPE)));
                socket.outbox = Outbox::default();
            }
        }
        let waiter = if socket.unsent() <= QUEUED_MAX / 2 { socket.writer.take() } else { None };
        self.change(key);
        waiter
    }

    /// A watch of a socket has ended. Returns whom to wake.
    pub(in crate::runtime) fn ready(
        &mut self,
        key: Key,
        interest: Interest,
        result: Result<(), Errno>,
    ) -> Option<Waker> {
        let key = inward(key);
        let Some(socket) = self.table.get_mut(key) else {
            debug_assert!(false, "a socket outlives its operations");
            return None;
        };
        socket.flags &= !of_watch(interest);
        if socket.has(flag::CLOSING) {
            self.change(key);
            return None;
        }
        socket.watches[interest as usize] = Watch::Over(result);
        socket.waiter(interest)
    }

    /// Closes and forgets every socket, with whatever is open on it: the driver is about to go. Returns who has
    /// waited.
    pub(in crate::runtime) fn abandon(&mut self, driver: &mut impl Driver) -> Vec<Waker> {
        self.is_over = true;
        let mut waiters = Vec::new();
        let keys: Vec<Key> = self.table.iter_keys().collect();
        for key in keys {
            let Some(socket) = self.table.remove(key) else { continue };
            // What is cut off must not look as if it were whole.
            if socket.unsent() > 0 && !socket.has(flag::ABORTED) {
                driver.abort(socket.fd);
            }
            driver.abandon(socket.fd);
            waiters.extend([socket.reader, socket.writer].into_iter().flatten());
        }
        self.changed.clear();
        self.starved.clear();
        self.unchecked.clear();
        (self.held, self.retry_at, self.check_at) = (0, None, None);
        waiters
    }

    /// Sockets that are not closed, and receive blocks that they hold.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.table.len(), self.held)
    }
}

/// The key of a socket as the driver knows it.
fn outward(key: Key) -> Key {
    Key { index: key.index | OF_SOCKET, ..key }
}

fn inward(key: Key) -> Key {
    debug_assert!(key.index & OF_SOCKET != 0, "{key:?} is a connection's");
    Key { index: key.index & !OF_SOCKET, ..key }
}
