//! The io_uring driver: multishot accepts and receives, one `io_uring_enter` per turn.
//!
//! Owns the ring, the table of sends in flight and the receive blocks. Memory that the kernel works on is
//! reachable only from here until its final completion.

#![allow(unsafe_code, reason = "operations name memory to the kernel")]

use std::io;
use std::mem::ManuallyDrop;

use io_uring::{cqueue, opcode, squeue, types};
use peregrine_pool::{Blocks, Key, Lease, Slab};

use super::bufring::BufferRing;
use super::coalesce::Coalescing;
use super::{Driver, Errno, Event, Fd, Interest, Now, Received, SendBuffer};
use crate::sys::ring::{self, Ring, Rung};
use crate::sys::wake::Waker;
use crate::sys::{clock, socket};

/// The group id of the receive blocks; a ring of ours has only one.
const GROUP: u16 = 0;

/// The most sends in flight; addresses are reserved for them, memory is not.
const SENDS_MAX: u32 = 1 << 20;

/// How long the driver's end waits for cancelled operations, in milliseconds.
const END_MILLIS: u64 = 1000;

/// How a connection's bytes are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiveMode {
    /// The same, and each receive fills as many blocks as there is data for (Linux 6.10).
    Bundle,
    /// One operation yields any number of receives, of a block each (Linux 6.0).
    Multishot,
    /// One operation per receive, which takes its block only when data is there.
    Single,
}

/// What the driver is made with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The blocks to receive into, lent by nobody else. At most 65,536, the width of the kernel's buffer ids.
    pub(crate) receive_blocks: Blocks,
    /// Entries of the ring of receive blocks, a power of two: the most blocks that are lent at once.
    pub(crate) receive_ring_entries: u16,
    pub(crate) waker: Waker,
    /// How long a turn polls before it sleeps, in microseconds.
    pub(crate) busy_poll_micros: u32,
    /// How long a turn may wait for more than the first completion, in microseconds. Linux 6.12.
    pub(crate) coalesce_micros: u32,
    /// Try this rung only.
    pub(crate) rung: Option<Rung>,
}

/// Why there is no io_uring driver: the last thing tried and the kernel's answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) operation: &'static str,
    pub(crate) error: io::Error,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.operation, self.error, ring::refusal_hint(&self.error))
    }
}

/// The kinds of operations, the top byte of what the kernel hands back.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Op {
    Accept = 1,
    Receive,
    Send,
    Cancel,
    Close,
    Wake,
    WatchRead,
    WatchWrite,
}

impl Op {
    fn of_watch(interest: Interest) -> Self {
        match interest {
            Interest::Read => Self::WatchRead,
            Interest::Write => Self::WatchWrite,
        }
    }

    /// What the kernel hands back with each completion of the operation: kind, then generation and slot.
    fn tag(self, key: u64) -> u64 {
        debug_assert!(key < 1 << 56);
        (self as u64) << 56 | key
    }

    fn untag(tag: u64) -> Option<(Self, u64)> {
        let op = match tag >> 56 {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Cancel,
            5 => Self::Close,
            6 => Self::Wake,
            7 => Self::WatchRead,
            8 => Self::WatchWrite,
            _ => return None,
        };
        Some((op, tag & ((1 << 56) - 1)))
    }
}

/// One send in flight. Its address is stable, because the kernel may hold pointers into `message`.
struct InFlight {
    connection: Key,
    buffer: SendBuffer,
    /// For sends of more than one part. Boxed and reused: most sends have one part.
    message: Option<Box<Message>>,
}

struct Message {
    header: libc::msghdr,
    parts: [libc::iovec; 2],
}

/// The blocks of one receive that have not been handed out.
#[derive(Clone, Copy)]
struct Bundle {
    key: Key,
    left_bytes: u32,
    more: bool,
}

/// See the module's text.
pub(crate) struct Uring {
    /// Dropped by hand: before the memory that its operations name.
    ring: ManuallyDrop<Ring>,
    buffers: ManuallyDrop<BufferRing>,
    sends: ManuallyDrop<Slab<InFlight>>,
    #[expect(clippy::vec_box, reason = "boxes that sends take and bring back")]
    spare_messages: Vec<Box<Message>>,
    rung: Rung,
    mode: ReceiveMode,
    /// The kernel has [`ReceiveMode::Bundle`] too.
    has_bundles: bool,
    /// A Unix listener was accepted on, so that sockets may be Unix ones.
    has_unix: bool,
    /// Receives that have not ended.
    receiving: usize,
    /// Accepts that have not ended.
    accepting: usize,
    /// Watches that have not ended.
    watching: usize,
    waker: Waker,
    wake_armed: bool,
    busy_poll_nanos: u64,
    coalescing: Coalescing,
    /// Sends that were queued since the last turn.
    queued_sends: u32,
    /// The length of a receive block.
    block_bytes: u32,
    /// Sends that there was no memory for, to be told as failed.
    refused: Vec<Event>,
    /// What is left of a receive that has filled several blocks, and the block of it that was handed out last.
    bundle: Option<(u16, Bundle)>,
    /// What has broken the ring: the next turn fails with it.
    broken: Option<io::Error>,
    now: Now,
}

impl Uring {
    /// Makes a ring for the calling thread, on the best rung of the ladder that works when tried.
    ///
    /// # Errors
    /// The refusal of the last rung tried.
    pub(crate) fn new(config: &Config) -> Result<Self, Refusal> {
        let modes = [ReceiveMode::Bundle, ReceiveMode::Multishot, ReceiveMode::Single];
        let mut driver = Self::with_modes(config, &modes)?;
        if driver.mode == ReceiveMode::Bundle {
            // For bulk only: what is behind a request need not be here before its answer is taken.
            driver.mode = ReceiveMode::Multishot;
            driver.has_bundles = true;
        }
        Ok(driver)
    }

    /// The same, with the first of `modes` that works.
    ///
    /// # Errors
    /// The refusal of the last rung tried.
    pub(crate) fn with_modes(config: &Config, modes: &[ReceiveMode]) -> Result<Self, Refusal> {
        let mut refusal = Refusal { operation: "io_uring_setup", error: io::ErrorKind::Unsupported.into() };
        for rung in Rung::ALL {
            if config.rung.is_some_and(|only| only != rung) {
                continue;
            }
            match Self::try_rung(config, rung, modes) {
                Ok(driver) => return Ok(driver),
                // Only missing features are worth a lower rung; a refusal stays one.
                Err(tried) if tried.error.raw_os_error() == Some(libc::EINVAL) => refusal = tried,
                Err(tried) => return Err(tried),
            }
        }
        Err(refusal)
    }

    fn try_rung(config: &Config, rung: Rung, modes: &[ReceiveMode]) -> Result<Self, Refusal> {
        let refused = |operation| move |error| Refusal { operation, error };
        let ring = Ring::open(rung).map_err(refused("io_uring_setup"))?;
        // Who polls wants the opposite.
        let can_coalesce = ring.has_min_wait() && config.busy_poll_micros == 0;
        let coalesce_micros = if can_coalesce { config.coalesce_micros } else { 0 };
        let blocks = config.receive_blocks.clone();
        let buffers = BufferRing::register(&ring, blocks, config.receive_ring_entries, GROUP)
            .map_err(refused("io_uring_register"))?;
        let mut driver = Self {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            sends: ManuallyDrop::new(Slab::new(SENDS_MAX)),
            spare_messages: Vec::new(),
            rung,
            mode: ReceiveMode::Multishot,
            has_bundles: false,
            has_unix: false,
            receiving: 0,
            accepting: 0,
            watching: 0,
            waker: config.waker.clone(),
            wake_armed: false,
            busy_poll_nanos: u64::from(config.busy_poll_micros) * 1000,
            coalescing: Coalescing::new(coalesce_micros),
            queued_sends: 0,
            block_bytes: u32::try_from(config.receive_blocks.stats().block_bytes).unwrap_or(u32::MAX),
            refused: Vec::new(),
            bundle: None,
            broken: None,
            now: clock::now(),
        };
        driver.mode = driver.probe_receive(modes).map_err(refused("receive into provided buffers"))?;
        Ok(driver)
    }

    /// What the start-up line says.
    pub(crate) fn describe(&self) -> String {
        let receive = match self.mode {
            ReceiveMode::Bundle => "bundled receive",
            ReceiveMode::Multishot if self.has_bundles => "multishot receive, bundled for bulk",
            ReceiveMode::Multishot => "multishot receive",
            ReceiveMode::Single => "single receive",
        };
        format!("{}, {receive}", self.rung.name())
    }

    /// Receives one byte from a pair of sockets, in the first of `modes` that works: some sandboxes allow a
    /// ring to be set up and then refuse its operations.
    fn probe_receive(&mut self, modes: &[ReceiveMode]) -> io::Result<ReceiveMode> {
        let mut last = io::Error::from_raw_os_error(libc::EINVAL);
        for &mode in modes {
            self.mode = mode;
            let [near, far] = ring::socket_pair()?;
            ring::send_byte(&far)?;
            drop(far);
            let near_fd = Fd(std::os::fd::AsRawFd::as_raw_fd(&near));
            let probe = Key::unpack(0);
            self.receive(near_fd, probe);
            let mut got_byte = false;
            let mut turns = 0;
            while self.receiving > 0 {
                turns += 1;
                if turns > 16 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // No `turn`: a wake-up that comes this early is for the driver's owner.
                self.work(Some(self.now.millis + 100))?;
                while let Some(event) = self.next() {
                    match event {
                        Event::Received { outcome: Received::Data { len: 1, .. }, .. } => got_byte = true,
                        Event::Received { outcome: Received::Failed(errno), .. } => {
                            last = io::Error::from_raw_os_error(errno.0);
                        }
                        _ => {}
                    }
                }
            }
            if got_byte {
                return Ok(mode);
            }
        }
        Err(last)
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// As for [`Ring::push`]: the memory that `entry` names is owned by this driver until the operation's
    /// final completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: promised by the caller.
        if let Err(error) = unsafe { self.ring.push(entry) } {
            self.broken = Some(error);
        }
    }

    fn cancel(&mut self, builder: types::CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(builder).build().user_data(Op::Cancel.tag(0));
        // SAFETY: names no memory.
        unsafe { self.push(&entry) };
    }

    /// How to receive on a socket. On Unix sockets a multishot receive can lose the end of file for good: when
    /// it is there, behind many blocks of data, before the receive starts (seen on Linux 6.18).
    fn mode_for(&self, socket: Fd) -> ReceiveMode {
        if self.has_unix && socket::local_address(socket).is_none() { ReceiveMode::Single } else { self.mode }
    }

    fn receive_as(&mut self, mode: ReceiveMode, socket: Fd, key: Key) {
        let socket = types::Fd(socket.0);
        let entry = match mode {
            ReceiveMode::Bundle => opcode::RecvMultiBundle::new(socket, GROUP).build(),
            ReceiveMode::Multishot => opcode::RecvMulti::new(socket, GROUP).build(),
            // With its length: before Linux 6.0 a length of 0 is not the block's.
            ReceiveMode::Single => opcode::Recv::new(socket, std::ptr::null_mut(), self.block_bytes)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        self.receiving += 1;
        // SAFETY: RECEIVE-RING: names no memory but the group's blocks, which the driver owns.
        unsafe { self.push(&entry.user_data(Op::Receive.tag(key.pack()))) };
    }

    fn arm_wake(&mut self) {
        if self.wake_armed {
            return;
        }
        let eventfd = types::Fd(self.waker.fd().0);
        let entry = opcode::PollAdd::new(eventfd, libc::POLLIN as u32).multi(true).build();
        // SAFETY: names no memory.
        unsafe { self.push(&entry.user_data(Op::Wake.tag(0))) };
        self.wake_armed = true;
    }

    /// Starts what was queued and waits, as a turn does, but leaves wake-ups alone.
    fn work(&mut self, until: Option<u64>) -> io::Result<()> {
        self.buffers.refill();
        let sends = std::mem::take(&mut self.queued_sends);
        let has_found = self.busy_poll_nanos > 0 && self.busy_poll(until)?;
        if !has_found {
            let timeout = until.map(|until| until.saturating_sub(clock::now().millis));
            self.sleep(timeout, sends)?;
        }
        self.now = clock::now();
        Ok(())
    }

    /// Starts what was queued, `sends` among it, and waits for so many milliseconds at most.
    fn sleep(&mut self, timeout: Option<u64>, sends: u32) -> io::Result<()> {
        if timeout == Some(0) {
            self.coalescing.hint(0);
            return self.ring.enter(0, None);
        }
        let Some((enough, micros)) = self.coalescing.begin() else { return self.ring.enter(1, timeout) };
        // The kernel looks at a deadline only after this time.
        let limit = timeout.map_or(u64::MAX, |millis| millis.saturating_mul(1000));
        let micros = u32::try_from(limit).map_or(micros, |limit| limit.min(micros));
        // Sends complete at once, but for those to slow peers.
        self.ring.enter_coalescing(sends + enough, micros, timeout)?;
        self.coalescing.end(enough, self.ring.completions().saturating_sub(sends));
        Ok(())
    }

    /// Starts what was queued and looks for completions without sleeping. Returns whether there are any.
    fn busy_poll(&mut self, until: Option<u64>) -> io::Result<bool> {
        let limit = until.map_or(u64::MAX, |until| until.saturating_sub(clock::now().millis));
        let nanos = self.busy_poll_nanos.min(limit.saturating_mul(1_000_000));
        let end = clock::precise_nanos() + nanos;
        loop {
            self.ring.enter(0, None)?;
            if self.ring.has_completions() {
                return Ok(true);
            }
            if clock::precise_nanos() >= end {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn received(&mut self, key: Key, result: i32, flags: u32) -> Event {
        let more = cqueue::more(flags);
        if !more {
            self.receiving -= 1;
        }
        // A block may come with any result, and is lost unless it is taken.
        let lease = cqueue::buffer_select(flags).map(|block| self.buffers.take(block));
        let left_bytes = u32::try_from(result).unwrap_or(0);
        if left_bytes > self.block_bytes
            && let Some(lease) = lease
        {
            return self.unpack(Bundle { key, left_bytes, more }, lease);
        }
        let outcome = match (result, lease) {
            (len, Some(lease)) if len > 0 => Received::Data { lease, len: len.cast_unsigned() },
            (0, _) => Received::Eof,
            (error, _) if error == -libc::ENOBUFS => {
                self.buffers.starve();
                Received::Starved
            }
            (error, _) if error == -libc::ECANCELED => Received::Stopped,
            (error, _) => Received::Failed(Errno(-error)),
        };
        Event::Received { key, outcome, more }
    }

    /// Hands out `lease`, the next block of a bundle, and keeps the rest.
    fn unpack(&mut self, bundle: Bundle, lease: Lease) -> Event {
        let Bundle { key, left_bytes, more } = bundle;
        let len = left_bytes.min(self.block_bytes);
        let left_bytes = left_bytes - len;
        if left_bytes > 0 {
            self.bundle = Some((lease.index() as u16, Bundle { key, left_bytes, more }));
        }
        let more = more || left_bytes > 0;
        Event::Received { key, outcome: Received::Data { lease, len }, more }
    }

    fn sent(&mut self, key: Key, result: i32) -> Option<Event> {
        let InFlight { connection, buffer, message } = self.sends.remove(key)?;
        self.spare_messages.extend(message);
        let result = if result < 0 { Err(Errno(-result)) } else { Ok(result.cast_unsigned()) };
        Some(Event::Sent { key: connection, buffer, result })
    }

    fn event(&mut self, completion: &cqueue::Entry) -> Option<Event> {
        let (op, key) = Op::untag(completion.user_data())?;
        match op {
            Op::Receive => Some(self.received(Key::unpack(key), completion.result(), completion.flags())),
            Op::Send => self.sent(Key::unpack(key), completion.result()),
            Op::Accept => {
                let result = match completion.result() {
                    fd if fd >= 0 => Ok(Fd(fd)),
                    error => Err(Errno(-error)),
                };
                let more = cqueue::more(completion.flags());
                if !more {
                    self.accepting -= 1;
                }
                Some(Event::Accepted { listener: (key & u64::from(u32::MAX)) as u32, result, more })
            }
            Op::Wake => {
                self.wake_armed = cqueue::more(completion.flags());
                if completion.result() < 0 && completion.result() != -libc::ECANCELED {
                    self.broken = Some(io::Error::from_raw_os_error(-completion.result()));
                }
                self.waker.drain();
                Some(Event::Woken)
            }
            Op::WatchRead => Some(self.ready(Key::unpack(key), Interest::Read, completion.result())),
            Op::WatchWrite => Some(self.ready(Key::unpack(key), Interest::Write, completion.result())),
            Op::Cancel | Op::Close => None,
        }
    }

    fn ready(&mut self, key: Key, interest: Interest, result: i32) -> Event {
        self.watching -= 1;
        let result = if result < 0 { Err(Errno(-result)) } else { Ok(()) };
        Event::Ready { key, interest, result }
    }

    /// Submits what is queued (closes, most of all), ends what is open and waits for it.
    fn wind_up(&mut self) {
        self.cancel(types::CancelBuilder::any().all());
        let deadline = clock::now().millis + END_MILLIS;
        loop {
            let left = deadline.saturating_sub(clock::now().millis);
            if left == 0 || self.ring.enter(1, Some(left)).is_err() {
                break;
            }
            while let Some(event) = self.next() {
                // It has come too late to have an owner.
                if let Event::Accepted { result: Ok(socket), .. } = event {
                    self.close(socket);
                }
            }
            if self.in_flight() == 0 && self.accepting == 0 && !self.wake_armed {
                break;
            }
        }
        // For the closes of the loop. Where it fails, nothing better can be done.
        let _ = self.ring.enter(0, None);
    }
}

impl Driver for Uring {
    fn accept(&mut self, socket: Fd, listener: u32) {
        self.accepting += 1;
        self.has_unix |= self.mode != ReceiveMode::Single && socket::local_address(socket).is_none();
        let entry = opcode::AcceptMulti::new(types::Fd(socket.0)).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: names no memory.
        unsafe { self.push(&entry.user_data(Op::Accept.tag(u64::from(listener)))) };
    }

    fn stop_accepting(&mut self, socket: Fd, _listener: u32) {
        // By descriptor: on some kernels the look-up by user data misses a multishot operation.
        self.cancel(types::CancelBuilder::fd(types::Fd(socket.0)).all());
    }

    fn receive(&mut self, socket: Fd, key: Key) {
        self.receive_as(self.mode_for(socket), socket, key);
    }

    fn receive_bulk(&mut self, socket: Fd, key: Key) {
        let mode = match self.mode_for(socket) {
            ReceiveMode::Multishot if self.has_bundles => ReceiveMode::Bundle,
            mode => mode,
        };
        self.receive_as(mode, socket, key);
    }

    fn receive_one(&mut self, socket: Fd, key: Key) {
        self.receive_as(ReceiveMode::Single, socket, key);
    }

    fn has_bulk(&self) -> bool {
        self.has_bundles
    }

    fn stop_receiving(&mut self, _socket: Fd, key: Key) {
        self.cancel(types::CancelBuilder::user_data(Op::Receive.tag(key.pack())).all());
    }

    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer) {
        let socket = types::Fd(socket.0);
        // No MSG_WAITALL: a short send must be seen, because progress is what moves a deadline.
        let flags = libc::MSG_NOSIGNAL | if buffer.is_last() { libc::MSG_MORE } else { 0 };
        let message = buffer.payload().is_some().then(|| {
            self.spare_messages.pop().unwrap_or_else(|| {
                // SAFETY: zeroes are a valid `msghdr` and valid `iovec`s.
                Box::new(unsafe { std::mem::zeroed::<Message>() })
            })
        });
        self.queued_sends += 1;
        let in_flight = InFlight { connection: key, buffer, message };
        let slot = match self.sends.insert(in_flight) {
            Ok(slot) => slot,
            Err(InFlight { buffer, message, .. }) => {
                self.spare_messages.extend(message);
                self.refused.push(Event::Sent { key, buffer, result: Err(Errno(libc::ENOMEM)) });
                return;
            }
        };
        let in_flight = self.sends.get_mut(slot).expect("just inserted");
        let block = in_flight.buffer.block();
        let entry = match (&mut in_flight.message, in_flight.buffer.payload()) {
            (Some(message), Some(payload)) => {
                message.parts = [block, payload].map(|part| libc::iovec {
                    iov_base: part.as_ptr().cast_mut().cast(),
                    iov_len: part.len(),
                });
                message.header.msg_iov = message.parts.as_mut_ptr();
                message.header.msg_iovlen = message.parts.len();
                opcode::SendMsg::new(socket, &raw const message.header).flags(flags.cast_unsigned()).build()
            }
            _ => {
                let len = u32::try_from(block.len()).expect("a block is shorter than 4 GiB");
                opcode::Send::new(socket, block.as_ptr(), len).flags(flags).build()
            }
        };
        // SAFETY: LENT-UNTIL-FINAL: block, payload and message live in the table of sends until the
        // completion takes them out; boxes and leases do not move their memory.
        unsafe { self.push(&entry.user_data(Op::Send.tag(slot.pack()))) };
    }

    fn watch(&mut self, socket: Fd, key: Key, interest: Interest) {
        // Failures and hang-ups are told whatever is asked for.
        let events = match interest {
            Interest::Read => libc::POLLIN | libc::POLLRDHUP,
            Interest::Write => libc::POLLOUT,
        };
        self.watching += 1;
        let entry = opcode::PollAdd::new(types::Fd(socket.0), events as u32).build();
        // SAFETY: names no memory.
        unsafe { self.push(&entry.user_data(Op::of_watch(interest).tag(key.pack()))) };
    }

    fn unwatch(&mut self, _socket: Fd, key: Key, interest: Interest) {
        self.cancel(types::CancelBuilder::user_data(Op::of_watch(interest).tag(key.pack())));
    }

    fn shutdown_write(&mut self, socket: Fd) {
        // Fails only on a connection that has failed, of which its receive tells.
        let _ = socket::shutdown_write(socket);
    }

    fn abort(&mut self, socket: Fd) {
        // Without it the end is an orderly one, which is not wrong, only less plain.
        let _ = socket::reset_on_close(socket);
        self.cancel(types::CancelBuilder::fd(types::Fd(socket.0)).all());
    }

    fn close(&mut self, socket: Fd) {
        let entry = opcode::Close::new(types::Fd(socket.0)).build().user_data(Op::Close.tag(0));
        // SAFETY: names no memory.
        unsafe { self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS)) };
    }

    fn coalesce(&mut self, waiting: usize) {
        self.coalescing.hint(waiting);
    }

    fn turn(&mut self, until: Option<u64>) -> io::Result<()> {
        self.arm_wake();
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.work(if self.refused.is_empty() { until } else { Some(0) })
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if let Some((last, bundle)) = self.bundle.take() {
            let lease = self.buffers.take_behind(last);
            return Some(self.unpack(bundle, lease));
        }
        loop {
            let Some(completion) = self.ring.next() else { return self.refused.pop() };
            if let Some(event) = self.event(&completion) {
                return Some(event);
            }
        }
    }

    fn now(&self) -> Now {
        self.now
    }

    fn has_receive_blocks(&self) -> bool {
        self.buffers.has_blocks()
    }

    fn may_miss_ends(&self) -> bool {
        // Seen on Linux 6.18: a reset that comes behind data, as a multishot receive goes back to waiting.
        self.mode != ReceiveMode::Single
    }

    fn abandon(&mut self, socket: Fd) {
        // Behind the cancellation in the queue, so that the number is not another's before it is through.
        self.close(socket);
    }

    fn trim(&mut self) {
        self.buffers.trim();
        self.sends.trim();
        self.spare_messages.truncate(self.sends.len() as usize);
        self.spare_messages.shrink_to_fit();
    }

    fn in_flight(&self) -> usize {
        self.receiving + self.watching + self.sends.len() as usize
    }
}

impl Drop for Uring {
    /// Ends what is open and waits for it. Memory that the kernel does not hand back in time is leaked:
    /// closing a ring cancels its operations, but not at once.
    fn drop(&mut self) {
        self.wind_up();
        let is_idle = self.in_flight() == 0;
        // SAFETY: the fields are not used again, in whichever way this ends. The memory of operations goes
        // only when there are none; RECEIVE-RING: then nothing picks or fills a receive block either, the
        // more so as the ring is closed first.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if is_idle {
                self.buffers.reclaim_all();
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.sends);
            }
        }
    }
}

#[cfg(test)]
mod tests;
