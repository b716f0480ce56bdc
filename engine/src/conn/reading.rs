//! The way in: what is received, what is torn, what must wait.
//!
//! Whole requests are served out of the block that the kernel filled. Only what is torn, or must wait for a
//! send, is copied into an assembly.

use peregrine_pool::{Key, Lease};

use super::running::Exchange;
use super::serving::{Outgoing, Quota, Served, Server, Stop};
use super::table::{SCARCE_CONNECTIONS, SCARCE_MILLIS};
use super::{Assembly, Connection, Connections, EndReason, Phase, SPARE_BYTES_MAX, Service, flag};
#[cfg(feature = "tls")]
use crate::driver::secure::Breach;
use crate::driver::{Driver, Received, SendBuffer};
use crate::proto::Rejection;
use crate::proto::h1::Machine;

/// So many bytes wait for something else to end, and are worth to be reserved at once.
const PARKED_BYTES_MAX: usize = 64 * 1024;

/// The exchange that serving has stopped for, and how many of `bytes`, behind what is served, are used up with it.
fn begin<S: Service>(
    stop: Stop,
    server: &mut Server<S>,
    (key, connection): (Key, &mut Connection),
    machine: &mut Machine,
    bytes: &[u8],
    now: u64,
) -> (Box<Exchange>, usize) {
    let head_bytes = machine.head_bytes();
    match stop {
        Stop::Wait => (server.take_waiting(), 0),
        Stop::Drain => (Exchange::drained(machine.take_body(), now), head_bytes),
        _ => {
            let quota = Quota { left: &mut connection.requests_left, is_expired: now >= connection.expires };
            (server.begin_exchange((key, &connection.info), quota, machine, bytes), head_bytes)
        }
    }
}

impl<D: Driver, S: Service> Connections<D, S> {
    #[inline]
    pub(super) fn handle_received(&mut self, key: Key, outcome: Received, more: bool) {
        let Some(connection) = self.table.get_mut(key) else {
            // A connection outlives its operations: it is a handler's socket's.
            return self.runtime.socket_received(key, outcome, more, &self.driver);
        };
        if !more {
            connection.flags &= !flag::RECEIVING;
        }
        match outcome {
            Received::Data { lease, len } => self.handle_data(key, lease, len as usize),
            Received::Eof => self.handle_eof(key),
            Received::Starved => self.starve(key),
            Received::Stopped => {}
            // A peer that has its last response and resets changes nothing about why it ended.
            Received::Failed(_) if connection.phase == Phase::Lingering => {
                let reason = connection.reason;
                self.end(key, reason);
            }
            Received::Failed(error) => self.end(key, Self::reset_reason(error)),
            #[cfg(feature = "tls")]
            Received::Broken(breach) => self.handle_breach(key, breach),
        }
        if !more {
            self.after_operation(key);
        }
    }

    fn starve(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase != Phase::Ending {
            connection.flags |= flag::STARVED;
            self.starved.push_back(key);
            if self.starved.len() >= SCARCE_CONNECTIONS {
                self.scarce_until = self.driver.now().millis + SCARCE_MILLIS;
            }
        }
    }

    #[inline]
    fn handle_data(&mut self, key: Key, mut lease: Lease, len: usize) {
        let now = self.driver.now().millis;
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase != Phase::Open || connection.has(flag::LAST | flag::REFUSED) {
            return self.handle_unwanted(key);
        }
        if connection.exchange.is_some() {
            return self.feed(key, lease, 0..len);
        }
        if connection.assembly.is_some() || connection.has(flag::SENDING) {
            self.append(key, &lease[..len]);
            drop(lease);
            self.serve_assembly(key);
            return;
        }
        debug_assert!(!self.machine.is_started(), "another connection's request is in the machine");
        let bytes = &mut lease[..len];
        let quota = Quota { left: &mut connection.requests_left, is_expired: now >= connection.expires };
        let served = self.server.serve((key, &connection.info), quota, &mut self.machine, bytes);
        match served.stop {
            Stop::Served | Stop::Last => drop(lease),
            Stop::Torn | Stop::Full => {
                self.park(key, &bytes[served.bytes..]);
                drop(lease);
            }
            Stop::Stream | Stop::Drain | Stop::Wait => {
                return self.leave_straight_way(key, served, lease, len);
            }
        }
        self.after_serving(key, served.outgoing, served.stop);
    }

    /// The connection could not be secured, or is so no longer.
    #[cfg(feature = "tls")]
    #[cold]
    fn handle_breach(&mut self, key: Key, breach: Breach) {
        let Some(connection) = self.table.get(key) else { return };
        let is_quiet = connection.phase == Phase::Open && !connection.has(flag::SENDING | flag::LAST);
        let reason = match breach {
            Breach::Handshake => EndReason::TlsHandshakeFailed,
            Breach::Timeout => EndReason::TlsHandshakeTimeout,
            Breach::Record => EndReason::TlsRecordInvalid,
            Breach::PlainHttp if is_quiet => {
                return self.refuse(key, Rejection::PlainHttpOnTls, EndReason::InvalidRequest);
            }
            Breach::PlainHttp => EndReason::InvalidRequest,
            Breach::Truncated => {
                if let Some(connection) = self.table.get_mut(key) {
                    connection.flags |= flag::TORN;
                }
                self.tear_raw(key);
                return self.handle_eof(key);
            }
        };
        if is_quiet {
            // The alert is on its way: the end must not overtake it.
            self.close(key, reason);
        } else {
            self.end(key, reason);
        }
    }

    /// Goes on with an exchange that begins in a block.
    #[inline(never)]
    fn leave_straight_way(&mut self, key: Key, served: Served, lease: Lease, len: usize) {
        let now = self.driver.now().millis;
        let Some(connection) = self.table.get_mut(key) else { return };
        let bytes = &lease[served.bytes..len];
        let (exchange, head_bytes) =
            begin(served.stop, &mut self.server, (key, connection), &mut self.machine, bytes, now);
        self.machine.reset();
        self.after_serving(key, served.outgoing, served.stop);
        let rest = Some((lease, served.bytes + head_bytes..len));
        match served.stop {
            Stop::Wait => self.run_waiting(key, exchange, rest),
            _ => self.run_exchange(key, exchange, rest),
        }
    }

    /// What comes to a connection that serves no more. One too many is told so, now that it has asked.
    #[cold]
    pub(super) fn handle_unwanted(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase == Phase::Open && connection.has(flag::REFUSED) && !connection.has(flag::LAST) {
            let reason = connection.reason;
            let rejection = match reason {
                EndReason::TooManyConnections => Rejection::TooManyConnections,
                _ => Rejection::TooManyConnectionsOfAddress,
            };
            self.refuse(key, rejection, reason);
        }
    }

    /// Sends what serving has produced and sets the deadline that fits what it is waiting for.
    #[inline]
    fn after_serving(&mut self, key: Key, outgoing: Outgoing, stop: Stop) {
        let Outgoing { lease, len, payload, last } = outgoing;
        if let Some(reason) = last
            && let Some(connection) = self.table.get_mut(key)
        {
            connection.flags |= flag::LAST;
            connection.reason = reason;
        }
        match lease {
            Some(lease) if len > 0 || payload.is_some() => {
                let len = u32::try_from(len).expect("a block is shorter than 4 GiB");
                return self.send(key, SendBuffer::new(lease, len, payload));
            }
            // Nothing to say before the end: there was no memory to say it with.
            _ if last.is_some() => {
                self.end(key, EndReason::OutOfMemory);
                return;
            }
            _ => {}
        }
        if !matches!(stop, Stop::Stream | Stop::Wait) {
            self.rearm(key);
        }
    }

    /// Whether the rest of a head is what the connection waits for. While a send is open it is the send.
    pub(super) fn waits_for_head(&self, key: Key) -> bool {
        let Some(connection) = self.table.get(key) else { return false };
        let Some(assembly) = &connection.assembly else { return false };
        let machine = &assembly.machine;
        machine.is_started() && !machine.is_reading_body() && !connection.has(flag::SENDING)
    }

    /// Copies the rest of a block away, together with how far the worker's machine has understood it.
    fn park(&mut self, key: Key, bytes: &[u8]) {
        let mut assembly = self.spare_assembly();
        std::mem::swap(&mut assembly.machine, &mut self.machine);
        assembly.bytes.reserve(assembly.machine.expected_bytes().min(PARKED_BYTES_MAX).max(bytes.len()));
        assembly.bytes.extend_from_slice(bytes);
        self.charge(&mut assembly);
        if let Some(connection) = self.table.get_mut(key) {
            connection.assembly = Some(assembly);
            connection.flags &= !flag::CHECKED;
        }
    }

    fn spare_assembly(&mut self) -> Box<Assembly> {
        let (simd, limits) = (self.machine.simd(), self.settings.machine);
        let make = || {
            Box::new(Assembly {
                machine: Machine::new(simd, limits),
                bytes: Vec::new(),
                since: 0,
                charged: 0,
            })
        };
        let mut assembly = self.spares.take_or(make);
        assembly.since = self.driver.now().millis;
        assembly
    }

    /// Brings up to date what an assembly counts for in the memory of all bodies.
    fn charge(&mut self, assembly: &mut Assembly) {
        let bytes = assembly.bytes.capacity();
        self.assembled = self.assembled - assembly.charged + bytes;
        self.peak_assembled = self.peak_assembled.max(self.assembled);
        assembly.charged = bytes;
    }

    /// Adds bytes behind those that wait already.
    pub(super) fn append(&mut self, key: Key, bytes: &[u8]) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let taken = connection.assembly.take();
        let must_wait = connection.has(flag::SENDING) || connection.exchange.is_some();
        let mut assembly = taken.unwrap_or_else(|| self.spare_assembly());
        let kept = assembly.machine.compact(&mut assembly.bytes);
        assembly.bytes.truncate(kept);
        // Double, but not beyond what the request is known to need.
        let (have, expected) = (kept + bytes.len(), assembly.machine.expected_bytes());
        if have > assembly.bytes.capacity() && have <= expected {
            assembly.bytes.reserve_exact((expected - kept).min(have));
        }
        assembly.bytes.extend_from_slice(bytes);
        self.charge(&mut assembly);
        let assembly_bytes = assembly.bytes.len();
        let max = self.max_parked();
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.assembly = Some(assembly);
        connection.flags &= !flag::CHECKED;
        if must_wait && assembly_bytes > max {
            self.pause(key, assembly_bytes > 4 * max);
        }
    }

    /// Serves what has been assembled, unless something else must end first.
    pub(super) fn serve_assembly(&mut self, key: Key) {
        let now = self.driver.now().millis;
        let is_too_much = self.assembled > self.settings.max_assembled;
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING | flag::LAST)
            || connection.phase != Phase::Open
            || connection.exchange.is_some()
        {
            return;
        }
        let Some(mut assembly) = connection.assembly.take() else { return };
        let was_reading_body = assembly.machine.is_reading_body();
        let Assembly { machine, bytes, .. } = &mut *assembly;
        let quota = Quota { left: &mut connection.requests_left, is_expired: now >= connection.expires };
        let Served { bytes: served, stop, outgoing } =
            self.server.serve((key, &connection.info), quota, machine, bytes);
        let begun = if matches!(stop, Stop::Stream | Stop::Drain | Stop::Wait) {
            let connection = self.table.get_mut(key).expect("it was there above");
            let begun = begin(stop, &mut self.server, (key, connection), machine, &bytes[served..], now);
            machine.reset();
            Some(begun)
        } else {
            None
        };
        let head_bytes = begun.as_ref().map_or(0, |(_, len)| *len);
        let done = served.saturating_add(head_bytes).min(assembly.bytes.len());
        assembly.bytes.drain(..done);
        if done > SPARE_BYTES_MAX {
            assembly.bytes.shrink_to(SPARE_BYTES_MAX);
        }
        // A head in parts has until the time that its first part set, a body until that of the head's end.
        if served > 0 || assembly.machine.is_reading_body() != was_reading_body {
            assembly.since = now;
        }
        let is_collecting = assembly.machine.is_reading_body();
        let keep = matches!(stop, Stop::Torn | Stop::Full)
            || (matches!(stop, Stop::Stream | Stop::Drain | Stop::Wait) && !assembly.bytes.is_empty());
        if keep {
            self.charge(&mut assembly);
            if let Some(connection) = self.table.get_mut(key) {
                connection.assembly = Some(assembly);
            }
        } else {
            self.recycle(assembly);
        }
        self.after_serving(key, outgoing, stop);
        match begun {
            Some((exchange, _)) if stop == Stop::Wait => return self.run_waiting(key, exchange, None),
            Some((exchange, _)) => return self.run_exchange(key, exchange, None),
            None if is_too_much && is_collecting && keep => {
                return self.refuse(key, Rejection::BodiesTooLarge, EndReason::InvalidRequest);
            }
            None => {}
        }
        self.update_receiving(key);
    }

    /// So many bytes wait behind a send or an exchange before the connection is no longer received from.
    pub(super) fn max_parked(&self) -> usize {
        PARKED_BYTES_MAX.min(self.settings.max_request_buffer)
    }

    /// Keeps an assembly's memory for the next one, unless it has grown large.
    pub(super) fn recycle(&mut self, mut assembly: Box<Assembly>) {
        self.assembled -= std::mem::take(&mut assembly.charged);
        assembly.bytes.clear();
        assembly.bytes.shrink_to(SPARE_BYTES_MAX);
        assembly.machine.reset();
        self.spares.give(assembly);
    }

    fn handle_eof(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.flags |= flag::EOF;
        match connection.phase {
            Phase::Ending => {}
            Phase::Lingering => {
                let reason = connection.reason;
                self.end(key, reason);
            }
            Phase::Open if connection.exchange.is_some() => self.exchange_eof(key),
            // A client that has shut down its sending side still gets its answers.
            Phase::Open if connection.has(flag::SENDING) => {}
            Phase::Open => self.end_of_input(key),
        }
    }

    /// Nothing more will arrive and nothing is being sent.
    pub(super) fn end_of_input(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        if connection.has(flag::REFUSED) {
            let reason = connection.reason;
            return self.end(key, reason);
        }
        let torn = connection.assembly.as_ref().is_some_and(|assembly| assembly.machine.is_started());
        self.end(key, if torn { EndReason::UnexpectedEndOfRequest } else { EndReason::ClosedByPeer });
    }

    /// Answers a request that has not arrived whole with a rejection, and closes.
    pub(super) fn refuse(&mut self, key: Key, rejection: Rejection, reason: EndReason) {
        let told = self.table.get(key).and_then(|connection| connection.assembly.as_ref());
        let told = told.map_or(&[][..], |assembly| &assembly.bytes);
        self.server.note_rejection(rejection, told);
        let Some(connection) = self.table.get_mut(key) else { return };
        let assembly = connection.assembly.take();
        if let Some(assembly) = assembly {
            self.recycle(assembly);
        }
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING) {
            // An answer is on its way: the connection ends with it.
            connection.flags |= flag::LAST;
            connection.reason = reason;
            return;
        }
        let mut outgoing = Outgoing::default();
        self.server.reject(&mut outgoing, rejection, reason);
        self.after_serving(key, outgoing, Stop::Last);
    }
}
