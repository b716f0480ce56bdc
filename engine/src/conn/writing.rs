//! The way out: one send at a time, continued until the kernel has all of it.

use peregrine_pool::Key;

use super::timing::NEVER;
use super::{Connections, EndReason, Phase, Service, flag};
use crate::driver::{Driver, Errno, SendBuffer};

impl<D: Driver, S: Service> Connections<D, S> {
    #[inline]
    pub(super) fn send(&mut self, key: Key, buffer: SendBuffer) {
        let Some(connection) = self.table.get_mut(key) else { return };
        debug_assert!(!connection.has(flag::SENDING), "one send at a time keeps the order");
        connection.flags |= flag::SENDING;
        let buffer = if connection.has(flag::LAST) { buffer.last() } else { buffer };
        let (socket, bytes) = (connection.info.socket(), buffer.remaining());
        self.driver.send(socket, key, buffer);
        let send_by = self.send_deadline(self.settings.min_response_rate, bytes);
        let stall_by = self.idle_deadline(NEVER);
        if let Some(connection) = self.table.get_mut(key) {
            connection.send_by = send_by;
            connection.stall_by = stall_by;
        }
        self.wheel.arm(&mut self.table, key, send_by.min(stall_by));
    }

    #[inline]
    pub(super) fn handle_sent(&mut self, key: Key, mut buffer: SendBuffer, result: Result<u32, Errno>) {
        let Some(connection) = self.table.get_mut(key) else {
            // A connection outlives its operations: it is a handler's socket's.
            return self.runtime.socket_sent(key, buffer, result);
        };
        let sent = match result {
            Ok(sent) if sent > 0 => sent,
            Ok(_) => return self.send_failed(key, EndReason::ConnectionReset),
            Err(error) => return self.send_failed(key, Self::reset_reason(error)),
        };
        buffer.advance(sent);
        let is_all = buffer.remaining() == 0;
        if !is_all && connection.phase == Phase::Open {
            self.driver.send(connection.info.socket(), key, buffer);
            let stall_by = self.idle_deadline(NEVER);
            let Some(connection) = self.table.get_mut(key) else { return };
            connection.stall_by = stall_by;
            if connection.exchange.is_some() {
                self.exchange_sent(key, sent as usize, false);
            }
            return self.rearm(key);
        }
        connection.flags &= !flag::SENDING;
        // The common case: nothing waits for this send.
        if connection.phase == Phase::Open
            && connection.assembly.is_none()
            && connection.exchange.is_none()
            && !connection.has(flag::LAST | flag::EOF)
            && !self.server.common.draining.get()
        {
            debug_assert!(!connection.has(flag::PAUSED), "what is parked is served first");
            let expires = connection.expires;
            let deadline = self.idle_deadline(expires);
            self.wheel.arm(&mut self.table, key, deadline);
            return;
        }
        drop(buffer);
        if connection.phase == Phase::Open && connection.exchange.is_some() {
            self.exchange_sent(key, sent as usize, is_all);
            if !self.table.get(key).is_some_and(|connection| connection.has(flag::LAST)) {
                return self.pump(key);
            }
        }
        self.after_send(key);
    }

    #[cold]
    fn send_failed(&mut self, key: Key, reason: EndReason) {
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.flags &= !flag::SENDING;
        self.end(key, reason);
        self.after_operation(key);
    }

    /// Goes on with whatever has waited for a send.
    pub(super) fn after_send(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase == Phase::Ending {
            return self.after_operation(key);
        }
        if connection.has(flag::LAST) {
            let reason = connection.reason;
            if connection.has(flag::EOF) {
                // It is closed without lingering, but not at once: what is held back for the end would wait for that.
                self.driver.shutdown_write(connection.info.socket());
            }
            return self.close(key, reason);
        }
        self.serve_assembly(key);
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING) || connection.phase != Phase::Open {
            return;
        }
        if connection.exchange.is_some() {
            // It goes on by itself.
        } else if connection.has(flag::EOF) {
            self.end_of_input(key);
        } else if self.server.common.draining.get() && !connection.has_begun() {
            // Its last response was written before the drain began, and does not say that it was the last.
            self.close(key, EndReason::ShuttingDown);
        } else {
            // So far the deadline was the send's.
            let now = self.driver.now().millis;
            let waits_for_head = self.waits_for_head(key);
            if let Some(assembly) =
                self.table.get_mut(key).and_then(|connection| connection.assembly.as_mut())
                && waits_for_head
            {
                assembly.since = now;
            }
            self.rearm(key);
        }
    }
}
