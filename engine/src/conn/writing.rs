//! The way out: one send at a time, continued until the kernel has all of it.

use peregrine_pool::Key;

use super::{Connections, EndReason, Phase, Service, flag};
use crate::driver::{Driver, Errno, SendBuffer};

impl<D: Driver, S: Service> Connections<D, S> {
    #[inline]
    pub(super) fn send(&mut self, key: Key, buffer: SendBuffer) {
        let Some(connection) = self.table.get_mut(key) else { return };
        debug_assert!(!connection.has(flag::SENDING), "one send at a time keeps the order");
        connection.flags |= flag::SENDING;
        self.driver.send(connection.info.socket, key, buffer);
    }

    #[inline]
    pub(super) fn handle_sent(&mut self, key: Key, mut buffer: SendBuffer, result: Result<u32, Errno>) {
        let Some(connection) = self.table.get_mut(key) else {
            debug_assert!(false, "a connection outlives its operations");
            return;
        };
        let sent = match result {
            Ok(sent) if sent > 0 => sent,
            Ok(_) => return self.send_failed(key, EndReason::ConnectionReset),
            Err(error) => return self.send_failed(key, Self::reset_reason(error)),
        };
        buffer.advance(sent);
        if buffer.remaining() > 0 && connection.phase == Phase::Open {
            self.driver.send(connection.info.socket, key, buffer);
            self.arm(key, self.settings.keep_alive_millis);
            return;
        }
        connection.flags &= !flag::SENDING;
        // The common case: nothing waits for this send.
        if connection.phase == Phase::Open
            && connection.assembly.is_none()
            && !connection.has(flag::LAST | flag::EOF)
            && !self.server.draining
        {
            debug_assert!(!connection.has(flag::PAUSED), "what is parked is served first");
            return;
        }
        drop(buffer);
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
    fn after_send(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase == Phase::Ending {
            return self.after_operation(key);
        }
        if connection.has(flag::LAST) {
            let reason = connection.reason;
            return self.close(key, reason);
        }
        self.serve_assembly(key);
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING) || connection.phase != Phase::Open {
            return;
        }
        if connection.has(flag::EOF) {
            self.end_of_input(key);
        } else if self.server.draining && !connection.has_begun() {
            // Its last response was written before the drain began, and does not say that it was the last.
            self.close(key, EndReason::ShuttingDown);
        } else if self.waits_for_head(key) {
            // So far the deadline was the send's.
            self.wheel.disarm(&mut self.table, key);
            self.arm(key, self.settings.request_headers_millis);
        }
    }
}
