//! The way in: what is received, what is torn, what must wait.
//!
//! Whole requests are served out of the block that the kernel filled. Only what is torn, or must wait for a
//! send, is copied into an assembly.

use peregrine_pool::{Key, Lease};

use super::serving::{Outgoing, Served, Stop};
use super::{Assembly, Connections, EndReason, Phase, SPARE_BYTES_MAX, Service, flag};
use crate::driver::{Driver, Received, SendBuffer};
use crate::proto::Rejection;
use crate::proto::h1::Machine;

/// So many bytes wait for a send before the connection is no longer received from.
const PARKED_BYTES_MAX: usize = 64 * 1024;

impl<D: Driver, S: Service> Connections<D, S> {
    #[inline]
    pub(super) fn handle_received(&mut self, key: Key, outcome: Received, more: bool) {
        let Some(connection) = self.table.get_mut(key) else {
            debug_assert!(false, "a connection outlives its operations");
            return;
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
        }
        if !more {
            self.after_operation(key);
        }
    }

    fn starve(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase != Phase::Ending {
            connection.flags |= flag::STARVED;
            self.starved.push(key);
        }
    }

    #[inline]
    fn handle_data(&mut self, key: Key, mut lease: Lease, len: usize) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase != Phase::Open || connection.has(flag::LAST) {
            return;
        }
        if connection.assembly.is_some() || connection.has(flag::SENDING) {
            self.append(key, &lease[..len]);
            drop(lease);
            self.serve_assembly(key);
            return;
        }
        let bytes = &mut lease[..len];
        let served = self.server.serve(&connection.info, &mut self.machine, bytes);
        if matches!(served.stop, Stop::Torn | Stop::Full) {
            self.park(key, &bytes[served.bytes..]);
        }
        drop(lease);
        self.after_serving(key, served.outgoing, served.stop);
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
                self.send(key, SendBuffer::new(lease, len, payload));
            }
            // Nothing to say before the end: there was no memory to say it with.
            _ if last.is_some() => {
                self.end(key, EndReason::OutOfMemory);
                return;
            }
            _ => {}
        }
        let millis = match stop {
            Stop::Torn if self.waits_for_head(key) => self.settings.request_headers_millis,
            _ => self.settings.keep_alive_millis,
        };
        self.arm(key, millis);
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
        if let Some(connection) = self.table.get_mut(key) {
            connection.assembly = Some(assembly);
        }
    }

    fn spare_assembly(&mut self) -> Box<Assembly> {
        let (simd, limits) = (self.machine.simd(), self.settings.machine);
        self.spares.take_or(|| Box::new(Assembly { machine: Machine::new(simd, limits), bytes: Vec::new() }))
    }

    /// Adds bytes behind those that wait already.
    fn append(&mut self, key: Key, bytes: &[u8]) {
        if self.table.get(key).is_some_and(|connection| connection.assembly.is_none()) {
            let assembly = self.spare_assembly();
            if let Some(connection) = self.table.get_mut(key) {
                connection.assembly = Some(assembly);
            }
        }
        let Some(connection) = self.table.get_mut(key) else { return };
        let sending = connection.has(flag::SENDING);
        let Some(assembly) = &mut connection.assembly else { return };
        let kept = assembly.machine.compact(&mut assembly.bytes);
        assembly.bytes.truncate(kept);
        // Double, but not beyond what the request is known to need.
        let (have, expected) = (kept + bytes.len(), assembly.machine.expected_bytes());
        if have > assembly.bytes.capacity() && have <= expected {
            assembly.bytes.reserve_exact((expected - kept).min(have));
        }
        assembly.bytes.extend_from_slice(bytes);
        let assembly_bytes = assembly.bytes.len();
        let parked = sending && assembly_bytes > PARKED_BYTES_MAX;
        if parked && connection.has(flag::RECEIVING) {
            // Said again should the kernel have missed it the first time.
            let again = assembly_bytes > 4 * PARKED_BYTES_MAX;
            if !connection.has(flag::PAUSED) || again {
                self.driver.stop_receiving(connection.info.socket, key);
            }
        }
        if parked {
            connection.flags |= flag::PAUSED;
        }
    }

    /// Serves what has been assembled, unless a send must end first.
    pub(super) fn serve_assembly(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING | flag::LAST) || connection.phase != Phase::Open {
            return;
        }
        let Some(mut assembly) = connection.assembly.take() else { return };
        let was_reading_head = assembly.machine.is_started() && !assembly.machine.is_reading_body();
        let Assembly { machine, bytes } = &mut *assembly;
        let Served { bytes: served, stop, outgoing } = self.server.serve(&connection.info, machine, bytes);
        assembly.bytes.drain(..served);
        if served > SPARE_BYTES_MAX {
            assembly.bytes.shrink_to(SPARE_BYTES_MAX);
        }
        let connection = self.table.get_mut(key).expect("it was there above");
        if matches!(stop, Stop::Torn | Stop::Full) {
            connection.assembly = Some(assembly);
        } else {
            self.recycle(assembly);
        }
        // A head in parts has until the time that its first part set.
        let same_head = stop == Stop::Torn && served == 0 && was_reading_head && self.waits_for_head(key);
        if !same_head {
            self.after_serving(key, outgoing, stop);
        }
        self.resume(key);
    }

    /// Receives again once what was parked has been served.
    fn resume(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let parked = connection.assembly.as_ref().map_or(0, |assembly| assembly.bytes.len());
        if connection.has(flag::PAUSED) && (parked <= PARKED_BYTES_MAX || !connection.has(flag::SENDING)) {
            connection.flags &= !flag::PAUSED;
            self.receive(key);
        }
    }

    /// Keeps an assembly's memory for the next one, unless it has grown large.
    pub(super) fn recycle(&mut self, mut assembly: Box<Assembly>) {
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
            // A client that has shut down its sending side still gets its answers.
            Phase::Open if connection.has(flag::SENDING) => {}
            Phase::Open => self.end_of_input(key),
        }
    }

    /// Nothing more will arrive and nothing is being sent.
    pub(super) fn end_of_input(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        let torn = connection.assembly.as_ref().is_some_and(|assembly| assembly.machine.is_started());
        self.end(key, if torn { EndReason::UnexpectedEndOfRequest } else { EndReason::ClosedByPeer });
    }

    /// A deadline has passed.
    pub(super) fn expire(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        match connection.phase {
            Phase::Lingering | Phase::Ending => {
                let reason = connection.reason;
                self.end(key, reason);
            }
            Phase::Open if connection.has(flag::SENDING) => self.end(key, EndReason::StalledTransfer),
            Phase::Open => match &connection.assembly {
                None => self.close(key, EndReason::KeepAliveTimeout),
                Some(assembly) if !assembly.machine.is_started() => {
                    self.close(key, EndReason::KeepAliveTimeout);
                }
                Some(assembly) if assembly.machine.is_reading_body() => {
                    self.end(key, EndReason::StalledTransfer);
                }
                Some(_) => self.refuse(key, Rejection::HeadTimeout, EndReason::RequestHeadersTimeout),
            },
        }
    }

    /// Answers a request that has not arrived whole with a rejection, and closes.
    fn refuse(&mut self, key: Key, rejection: Rejection, reason: EndReason) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let assembly = connection.assembly.take();
        let mut outgoing = Outgoing::default();
        self.server.reject(&mut outgoing, rejection, reason);
        if let Some(assembly) = assembly {
            self.recycle(assembly);
        }
        self.after_serving(key, outgoing, Stop::Last);
    }
}
