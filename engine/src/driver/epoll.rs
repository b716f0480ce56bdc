//! Completions out of readiness: the driver for kernels and containers that refuse `io_uring`.
//!
//! Owns what has to be remembered between an operation's start and its event: per connection whether it is
//! readable, what it is watched for and the send that found no room. It must not know HTTP or why a connection
//! wants to receive, send or close.
//!
//! A connection is added to epoll once, edge-triggered, when it first receives. Room to send is watched for
//! from the first time on that a send finds none: most connections never ask, and sockets that would report
//! room after every read of the peer (Unix ones) stay silent. A descriptor that is only watched is armed for
//! each watch anew, so that it is silent in between.
//!
//! Sends are tried in [`turn`](Driver::turn), receives only in [`next`](Driver::next), one by one: so each
//! block is looked at while it is in the cache, and few are out at the same time.

use std::collections::VecDeque;
use std::hint;
use std::io;
use std::mem;

use peregrine_pool::{Blocks, Key, Slab};

use super::{Driver, Errno, Event, Interest, Now, Received, SendBuffer};
use crate::sys::epoll::{self as sys, Poller};
use crate::sys::{Fd, wake::Waker};
use crate::sys::{clock, socket};

/// What the driver is made with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The blocks to receive into; one receive fills at most one.
    pub(crate) receive_blocks: Blocks,
    pub(crate) waker: Waker,
    /// How long a turn polls before it sleeps, in microseconds.
    pub(crate) busy_poll_micros: u32,
}

/// The driver on epoll.
pub(crate) struct Epoll {
    poller: Poller,
    blocks: Blocks,
    waker: Waker,
    busy_poll_nanos: u64,
    now: Now,
    /// Epoll's tokens are keys of this slab, so that an event of a closed connection finds nothing, whatever
    /// became of its descriptor's number.
    sockets: Slab<Socket>,
    /// By descriptor: the packed key in `sockets`, or `NONE`.
    by_fd: Vec<u64>,
    listeners: Vec<Listener>,
    /// Sends since the last turn.
    sending: Vec<(Key, SendBuffer)>,
    /// Events that are known before the next turn and told after it.
    held: Vec<Event>,
    completed: VecDeque<Event>,
    /// Connections to receive from before the next turn.
    ready: VecDeque<Key>,
    /// Connections to receive from after the next turn.
    later: VecDeque<Key>,
    in_flight: usize,
    /// The last turn did not ask epoll, because there was something to hand out anyway.
    has_skipped: bool,
    tidy_at_millis: u64,
}

struct Listener {
    socket: Fd,
    number: u32,
}

/// What is remembered of a connection, or of another descriptor that has been watched. An idle one costs this, a
/// tag of the slab and a place in `by_fd`.
struct Socket {
    /// The send that waits for room.
    blocked: Option<Box<SendBuffer>>,
    key: Key,
    fd: Fd,
    /// What epoll was asked to tell.
    armed: Option<sys::Interest>,
    is_receiving: bool,
    is_sending: bool,
    /// A watch for reading is open.
    awaits_input: bool,
    /// A watch for writing is open.
    awaits_room: bool,
    /// There may be something to receive.
    is_readable: bool,
    /// The peer or the socket has ended: after the last data, the end is to be read without a further event.
    has_ended: bool,
    /// In `ready` or `later`.
    is_queued: bool,
    is_aborted: bool,
    /// The sending direction ends once the open send is through.
    ends_after_send: bool,
    /// Receives in a row since the last turn.
    burst: u8,
}

const _: () = assert!(size_of::<Socket>() + size_of::<u32>() + size_of::<u64>() <= 48);

impl Epoll {
    /// Makes the driver, which reports wake-ups from the start.
    ///
    /// # Errors
    /// No descriptor, or no memory in the kernel, is left for an epoll.
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let poller = Poller::new(BATCH)?;
        poller.add(config.waker.fd(), sys::Interest::Wake, TOKEN_WAKER)?;
        let now = clock::now();
        Ok(Self {
            poller,
            blocks: config.receive_blocks.clone(),
            waker: config.waker.clone(),
            busy_poll_nanos: u64::from(config.busy_poll_micros) * 1000,
            now,
            sockets: Slab::new(SOCKETS_MAX),
            by_fd: Vec::new(),
            listeners: Vec::new(),
            sending: Vec::with_capacity(BATCH),
            held: Vec::new(),
            completed: VecDeque::with_capacity(BATCH),
            ready: VecDeque::with_capacity(BATCH),
            later: VecDeque::with_capacity(BATCH),
            in_flight: 0,
            has_skipped: false,
            tidy_at_millis: now.millis + TIDY_MILLIS,
        })
    }

    fn find(&self, fd: Fd) -> Option<Key> {
        let packed = *self.by_fd.get(fd.0.cast_unsigned() as usize)?;
        (packed != NONE).then(|| Key::unpack(packed))
    }

    /// What is remembered of `fd`, from now on if nothing was. `None` when there is no memory for it.
    fn find_or_insert(&mut self, fd: Fd, key: Key) -> Option<(Key, &mut Socket)> {
        let id = match self.find(fd) {
            Some(id) => id,
            None => {
                let id = self.sockets.insert(Socket::new(fd, key)).ok()?;
                let index = fd.0.cast_unsigned() as usize;
                if self.by_fd.len() <= index {
                    self.by_fd.resize(index + 1, NONE);
                }
                self.by_fd[index] = id.pack();
                id
            }
        };
        let socket = self.sockets.get_mut(id)?;
        debug_assert_eq!(socket.key, key, "one descriptor under two keys");
        Some((id, socket))
    }

    /// Starts what was queued since the last turn.
    fn start(&mut self) {
        self.completed.extend(self.held.drain(..));
        self.ready.append(&mut self.later);
        let mut sending = mem::take(&mut self.sending);
        for (id, buffer) in sending.drain(..) {
            self.try_send(id, buffer);
        }
        self.sending = sending;
    }

    /// Asks epoll, waiting until `until` if it must, and takes note of the answers.
    fn wait(&mut self, until: Option<u64>) -> io::Result<()> {
        let millis = until.map(|until| until.saturating_sub(clock::now().millis));
        let mut count = 0;
        if self.busy_poll_nanos > 0 && millis != Some(0) {
            let limit = millis.map_or(u64::MAX, |millis| millis.saturating_mul(1_000_000));
            let end = clock::precise_nanos() + self.busy_poll_nanos.min(limit);
            while count == 0 && clock::precise_nanos() < end {
                hint::spin_loop();
                count = self.poller.wait(Some(0))?;
            }
        }
        if count == 0 {
            count = self.poller.wait(millis)?;
        }
        for index in 0..count {
            let (flags, token) = self.poller.event(index);
            match token >> TOKEN_KIND_SHIFT {
                KIND_SOCKET => self.socket_event(Key::unpack(token), flags),
                KIND_LISTENER => self.accept_all(token as u32),
                _ if self.waker.drain() => self.completed.push_back(Event::Woken),
                _ => {}
            }
        }
        Ok(())
    }

    fn socket_event(&mut self, id: Key, flags: u32) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        socket.has_ended |= flags & sys::ENDED != 0;
        if flags & (sys::IN | sys::ENDED) != 0 {
            socket.is_readable = true;
            if socket.is_receiving && !socket.is_queued {
                socket.is_queued = true;
                self.ready.push_back(id);
            }
        }
        let is_writable = flags & (sys::OUT | sys::BROKEN) != 0;
        let blocked = if is_writable { socket.blocked.take() } else { None };
        if socket.is_watched() {
            let is_readable = flags & (sys::IN | sys::ENDED) != 0;
            self.end_watches(id, is_readable, is_writable);
        }
        if let Some(buffer) = blocked {
            self.try_send(id, *buffer);
        }
    }

    /// Tells the watches of a descriptor that what they are for has come.
    fn end_watches(&mut self, id: Key, is_readable: bool, is_writable: bool) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let key = socket.key;
        let mut tell = |interest, result| self.completed.push_back(Event::Ready { key, interest, result });
        if is_readable && mem::take(&mut socket.awaits_input) {
            tell(Interest::Read, Ok(()));
        }
        if is_writable && mem::take(&mut socket.awaits_room) {
            tell(Interest::Write, Ok(()));
        }
        // The one event that was asked for may have been the other watch's.
        if !socket.is_stream()
            && let Err(error) = socket.arm_watches(&self.poller, id)
        {
            let error = errno(&error);
            if mem::take(&mut socket.awaits_input) {
                tell(Interest::Read, Err(error));
            }
            if mem::take(&mut socket.awaits_room) {
                tell(Interest::Write, Err(error));
            }
        }
    }

    /// Sends what the socket takes now; if it takes nothing, keeps the buffer until there is room.
    fn try_send(&mut self, id: Key, buffer: SendBuffer) {
        let Some(socket) = self.sockets.get_mut(id) else {
            debug_assert!(false, "closed with a send open");
            return;
        };
        let result = match socket.send(&buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let is_armed = socket.armed == Some(sys::Interest::ReceiveAndSend);
                let armed = if is_armed {
                    Ok(())
                } else {
                    socket.arm(&self.poller, id, sys::Interest::ReceiveAndSend)
                };
                match armed {
                    Ok(()) => {
                        socket.blocked = Some(Box::new(buffer));
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            result => result,
        };
        socket.is_sending = false;
        if socket.ends_after_send && result.as_ref().is_ok_and(|sent| *sent as usize == buffer.remaining()) {
            socket.ends_after_send = false;
            // Fails only when the connection is gone, which its receive tells.
            let _ = socket::shutdown_write(socket.fd);
        }
        let result = result.map_err(|error| errno(&error));
        self.completed.push_back(Event::Sent { key: socket.key, buffer, result });
    }

    /// The next event of a connection in `ready`, if its receive has anything to tell.
    fn receive_from(&mut self, id: Key) -> Option<Event> {
        let socket = self.sockets.get_mut(id)?;
        socket.is_queued = false;
        if !socket.is_receiving || !socket.is_readable {
            return None;
        }
        let key = socket.key;
        let outcome = match self.blocks.lease() {
            None => Received::Starved,
            Some(mut lease) => match retry_interrupted(|| sys::receive(socket.fd, &mut lease)) {
                Ok(0) => Received::Eof,
                Ok(len) => {
                    // Less than was asked for is all there was: the next byte makes a new event. Not so for
                    // an end that came with the data.
                    socket.is_readable = len == lease.len() || socket.has_ended;
                    if !socket.is_readable {
                        socket.burst = 0;
                    } else {
                        socket.is_queued = true;
                        socket.burst += 1;
                        if socket.burst < BURST {
                            self.ready.push_back(id);
                        } else {
                            socket.burst = 0;
                            self.later.push_back(id);
                        }
                    }
                    let outcome = Received::Data { lease, len: len as u32 };
                    return Some(Event::Received { key, outcome, more: true });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // An end would have been read: what looked like one was not.
                    socket.has_ended = false;
                    socket.is_readable = false;
                    socket.burst = 0;
                    return None;
                }
                Err(error) => Received::Failed(errno(&error)),
            },
        };
        socket.is_receiving = false;
        socket.burst = 0;
        Some(Event::Received { key, outcome, more: false })
    }

    /// Accepts what waits at a listener, within its share of a turn: epoll tells again if more is left.
    fn accept_all(&mut self, number: u32) {
        let Some(position) = self.listeners.iter().position(|listener| listener.number == number) else {
            return;
        };
        let socket = self.listeners[position].socket;
        for _ in 0..ACCEPTS_PER_TURN {
            let result = match sys::accept(socket).map_err(|error| errno(&error)) {
                Ok(accepted) => Ok(accepted),
                Err(Errno(libc::EAGAIN)) => return,
                Err(error) if is_of_one_connection(error) => continue,
                Err(error) => Err(error),
            };
            let more = result.is_ok();
            self.completed.push_back(Event::Accepted { listener: number, result, more });
            if !more {
                self.listeners.swap_remove(position);
                let _ = self.poller.remove(socket);
                return;
            }
        }
    }

    /// Gives the memory of a burst of connections back.
    fn tidy(&mut self) {
        self.tidy_at_millis = self.now.millis + TIDY_MILLIS;
        self.sockets.trim();
        let used = self.by_fd.iter().rposition(|packed| *packed != NONE).map_or(0, |last| last + 1);
        self.by_fd.truncate(used);
        if self.by_fd.capacity() > used * 2 {
            self.by_fd.shrink_to(used + used / 4);
        }
    }
}

impl Driver for Epoll {
    fn accept(&mut self, socket: Fd, listener: u32) {
        let token = KIND_LISTENER << TOKEN_KIND_SHIFT | u64::from(listener);
        let started =
            sys::set_nonblocking(socket).and_then(|()| self.poller.add(socket, sys::Interest::Accept, token));
        match started {
            Ok(()) => self.listeners.push(Listener { socket, number: listener }),
            Err(error) => {
                let result = Err(errno(&error));
                self.held.push(Event::Accepted { listener, result, more: false });
            }
        }
    }

    fn stop_accepting(&mut self, socket: Fd, listener: u32) {
        let Some(position) = self.listeners.iter().position(|open| open.number == listener) else { return };
        self.listeners.swap_remove(position);
        let _ = self.poller.remove(socket);
        self.held.push(Event::Accepted { listener, result: Err(Errno(libc::ECANCELED)), more: false });
    }

    fn receive(&mut self, socket: Fd, key: Key) {
        self.in_flight += 1;
        let failure = match self.find_or_insert(socket, key) {
            None => Some(Errno(libc::ENOMEM)),
            Some((_, socket)) if socket.is_aborted => Some(ABORTED),
            Some((id, _)) => self.start_receiving(id).err(),
        };
        if let Some(error) = failure {
            let outcome = Received::Failed(error);
            self.held.push(Event::Received { key, outcome, more: false });
        }
    }

    fn stop_receiving(&mut self, socket: Fd, key: Key) {
        let Some(id) = self.find(socket) else { return };
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if mem::take(&mut socket.is_receiving) {
            self.held.push(Event::Received { key, outcome: Received::Stopped, more: false });
        }
    }

    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer) {
        self.in_flight += 1;
        match self.find_or_insert(socket, key) {
            Some((id, socket)) => {
                debug_assert!(!socket.is_sending, "two sends on one connection");
                socket.is_sending = true;
                self.sending.push((id, buffer));
            }
            None => self.held.push(Event::Sent { key, buffer, result: Err(Errno(libc::ENOMEM)) }),
        }
    }

    fn watch(&mut self, socket: Fd, key: Key, interest: Interest) {
        self.in_flight += 1;
        let failure = match self.find_or_insert(socket, key) {
            None => Some(Errno(libc::ENOMEM)),
            Some((_, socket)) if socket.is_aborted => Some(Errno(libc::ECANCELED)),
            Some((id, _)) => self.start_watching(id, interest).err(),
        };
        if let Some(error) = failure {
            self.held.push(Event::Ready { key, interest, result: Err(error) });
        }
    }

    fn unwatch(&mut self, socket: Fd, _key: Key, interest: Interest) {
        let Some(id) = self.find(socket) else { return };
        let Some(socket) = self.sockets.get_mut(id) else { return };
        // Epoll may tell of it once more, which is then nobody's.
        self.held.extend(socket.cancel_watch(interest));
    }

    fn shutdown_write(&mut self, socket: Fd) {
        let id = self.find(socket);
        match id.and_then(|id| self.sockets.get_mut(id)) {
            Some(socket) if socket.is_sending => socket.ends_after_send = true,
            // Fails only when the connection is gone, which its receive tells.
            _ => drop(socket::shutdown_write(socket)),
        }
    }

    fn abort(&mut self, socket: Fd) {
        // The reset goes out with the close, which the end of these operations makes possible. Where there is
        // no such thing as a reset, the close alone has to do.
        let _ = socket::reset_on_close(socket);
        let id = self.find(socket);
        let Some(socket) = id.and_then(|id| self.sockets.get_mut(id)) else { return };
        let key = socket.key;
        socket.is_aborted = true;
        if mem::take(&mut socket.is_receiving) {
            let outcome = Received::Failed(ABORTED);
            self.held.push(Event::Received { key, outcome, more: false });
        }
        self.held.extend(socket.cancel_watch(Interest::Read));
        self.held.extend(socket.cancel_watch(Interest::Write));
        // A send that has not been tried yet fails when its turn comes.
        if let Some(buffer) = socket.blocked.take() {
            socket.is_sending = false;
            self.held.push(Event::Sent { key, buffer: *buffer, result: Err(ABORTED) });
        }
    }

    fn close(&mut self, socket: Fd) {
        if let Some(id) = self.find(socket) {
            self.by_fd[socket.0.cast_unsigned() as usize] = NONE;
            let known = self.sockets.remove(id);
            debug_assert!(
                known
                    .is_some_and(|socket| !socket.is_receiving && !socket.is_sending && !socket.is_watched()),
                "closed with an operation open"
            );
        }
        sys::close(socket);
    }

    fn turn(&mut self, until: Option<u64>) -> io::Result<()> {
        self.start();
        let has_events = !self.completed.is_empty() || !self.ready.is_empty();
        // What has come up already is told first, for the price of no system call; but never twice in a row,
        // or connections that always have something would keep the others from being noticed.
        self.has_skipped = has_events && !self.has_skipped;
        if !self.has_skipped {
            self.wait(if has_events { Some(0) } else { until })?;
        }
        self.now = clock::now();
        if self.now.millis >= self.tidy_at_millis {
            self.tidy();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        let event = match self.completed.pop_front() {
            Some(event) => event,
            None => loop {
                let id = self.ready.pop_front()?;
                if let Some(event) = self.receive_from(id) {
                    break event;
                }
            },
        };
        if matches!(event, Event::Sent { .. } | Event::Received { more: false, .. } | Event::Ready { .. }) {
            self.in_flight -= 1;
        }
        Some(event)
    }

    fn now(&self) -> Now {
        self.now
    }

    fn has_receive_blocks(&self) -> bool {
        // Not by counting: the system may refuse the memory for one that would be allowed.
        self.blocks.lease().is_some()
    }

    fn abandon(&mut self, socket: Fd) {
        sys::close(socket);
    }

    fn trim(&mut self) {
        self.tidy();
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Epoll {
    fn start_receiving(&mut self, id: Key) -> Result<(), Errno> {
        let Some(socket) = self.sockets.get_mut(id) else { return Err(Errno(libc::EBADF)) };
        debug_assert!(!socket.is_receiving, "two receives on one connection");
        debug_assert!(!socket.awaits_input, "a receive beside a watch for reading");
        if !socket.is_stream() {
            let interest =
                if socket.awaits_room { sys::Interest::ReceiveAndSend } else { sys::Interest::Receive };
            socket.arm(&self.poller, id, interest).map_err(|error| errno(&error))?;
        }
        socket.is_receiving = true;
        if socket.is_readable && !socket.is_queued {
            socket.is_queued = true;
            self.later.push_back(id);
        }
        Ok(())
    }

    fn start_watching(&mut self, id: Key, interest: Interest) -> Result<(), Errno> {
        let Some(socket) = self.sockets.get_mut(id) else { return Err(Errno(libc::EBADF)) };
        match interest {
            Interest::Read => {
                debug_assert!(!socket.is_receiving, "a watch for reading beside a receive");
                debug_assert!(!socket.awaits_input, "two watches for reading");
                socket.awaits_input = true;
            }
            Interest::Write => {
                debug_assert!(!socket.awaits_room, "two watches for writing");
                socket.awaits_room = true;
            }
        }
        socket.arm_watches(&self.poller, id).map_err(|error| {
            match interest {
                Interest::Read => socket.awaits_input = false,
                Interest::Write => socket.awaits_room = false,
            }
            errno(&error)
        })
    }
}

impl Socket {
    fn new(fd: Fd, key: Key) -> Self {
        Self {
            blocked: None,
            key,
            fd,
            armed: None,
            is_receiving: false,
            is_sending: false,
            awaits_input: false,
            awaits_room: false,
            is_readable: false,
            has_ended: false,
            is_queued: false,
            is_aborted: false,
            ends_after_send: false,
            burst: 0,
        }
    }

    /// Has epoll tell of `interest`, and of what is the case already, even if it has told of that before.
    fn arm(&mut self, poller: &Poller, id: Key, interest: sys::Interest) -> io::Result<()> {
        let token = KIND_SOCKET << TOKEN_KIND_SHIFT | id.pack();
        match self.armed {
            Some(_) => poller.modify(self.fd, interest, token)?,
            None => poller.add(self.fd, interest, token)?,
        }
        self.armed = Some(interest);
        Ok(())
    }

    /// Has epoll tell of what the open watches are for.
    fn arm_watches(&mut self, poller: &Poller, id: Key) -> io::Result<()> {
        let interest = match (self.awaits_input, self.awaits_room) {
            (false, false) => return Ok(()),
            _ if self.armed == Some(sys::Interest::ReceiveAndSend) => sys::Interest::ReceiveAndSend,
            (_, true) if self.is_stream() => sys::Interest::ReceiveAndSend,
            (true, false) if self.is_stream() => sys::Interest::Receive,
            (true, true) => sys::Interest::ReadOrWriteOnce,
            (true, false) => sys::Interest::ReadOnce,
            (false, true) => sys::Interest::WriteOnce,
        };
        self.arm(poller, id, interest)
    }

    /// It has received or been full: epoll tells of every change.
    fn is_stream(&self) -> bool {
        matches!(self.armed, Some(sys::Interest::Receive | sys::Interest::ReceiveAndSend))
    }

    fn is_watched(&self) -> bool {
        self.awaits_input || self.awaits_room
    }

    /// Ends a watch, if it is open, and returns its event.
    fn cancel_watch(&mut self, interest: Interest) -> Option<Event> {
        let is_open = match interest {
            Interest::Read => &mut self.awaits_input,
            Interest::Write => &mut self.awaits_room,
        };
        let result = Err(Errno(libc::ECANCELED));
        mem::take(is_open).then_some(Event::Ready { key: self.key, interest, result })
    }

    fn send(&self, buffer: &SendBuffer) -> io::Result<u32> {
        if self.is_aborted {
            return Err(io::Error::from_raw_os_error(ABORTED.0));
        }
        let payload = buffer.payload().unwrap_or_default();
        let sent = retry_interrupted(|| sys::send(self.fd, buffer.block(), payload, buffer.is_last()))?;
        // The kernel takes at most 2 GiB at a time.
        Ok(sent as u32)
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Whether a failed accept says something about the one connection, which is gone, and not about the listener.
fn is_of_one_connection(error: Errno) -> bool {
    matches!(
        error.0,
        libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// How operations end that were open when their connection was aborted.
const ABORTED: Errno = Errno(libc::ECONNABORTED);

/// Tokens: the kind in the top 8 bits, which a packed key leaves free, then a key or a listener's number.
const TOKEN_KIND_SHIFT: u32 = 56;
const KIND_SOCKET: u64 = 0;
const KIND_LISTENER: u64 = 1;
const TOKEN_WAKER: u64 = 2 << TOKEN_KIND_SHIFT;

/// No packed key has the top 8 bits set.
const NONE: u64 = u64::MAX;

/// Events taken from epoll at a time.
const BATCH: usize = 512;
/// Connections that one listener may accept in a turn, so that a flood of new ones leaves time for the others.
const ACCEPTS_PER_TURN: usize = 64;
/// Full blocks that one connection may receive in a turn.
const BURST: u8 = 4;
/// Address space only: 40 bytes per connection are mapped as they come.
const SOCKETS_MAX: u32 = 1 << 22;
/// How often memory is given back.
const TIDY_MILLIS: u64 = 10_000;

#[cfg(test)]
mod tests;
