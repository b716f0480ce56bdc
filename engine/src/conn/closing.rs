//! Every way to end a connection: orderly, at once, and for a worker as a whole.

use peregrine_pool::Key;

use super::{Connections, EndReason, Phase, Service, flag};
use crate::driver::Driver;

/// How long a peer may take to read our last bytes and close too, in milliseconds.
const LINGER_MILLIS: u64 = 2000;

/// The same for a peer that was refused, and may still be busy sending the rest of its request.
const REFUSED_LINGER_MILLIS: u64 = 5000;

impl<D: Driver, S: Service> Connections<D, S> {
    /// Closes in order: our side now, everything when the peer has closed too.
    pub(super) fn close(&mut self, key: Key, reason: EndReason) {
        let Some(connection) = self.table.get_mut(key) else { return };
        debug_assert!(!connection.has(flag::SENDING), "an open send would be cut off");
        if connection.has(flag::EOF) || connection.phase != Phase::Open {
            return self.end(key, reason);
        }
        connection.phase = Phase::Lingering;
        connection.reason = reason;
        connection.flags &= !flag::PAUSED;
        let assembly = connection.assembly.take();
        Self::drop_exchange(&self.runtime, connection);
        self.driver.shutdown_write(connection.info.socket());
        if let Some(assembly) = assembly {
            self.recycle(assembly);
        }
        self.receive(key);
        let refused = matches!(
            reason,
            EndReason::InvalidRequest
                | EndReason::RequestBodyTimeout
                | EndReason::TooManyConnections
                | EndReason::TooManyConnectionsOfAddress
        );
        self.arm(key, if refused { REFUSED_LINGER_MILLIS } else { LINGER_MILLIS });
    }

    /// Ends at once. What the kernel still works on is cancelled; the connection goes when that is over.
    pub(super) fn end(&mut self, key: Key, reason: EndReason) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase == Phase::Ending {
            return;
        }
        let lingering = connection.phase == Phase::Lingering;
        connection.phase = Phase::Ending;
        connection.reason = reason;
        let assembly = connection.assembly.take();
        let is_torn = Self::drop_exchange(&self.runtime, connection);
        if lingering && connection.has(flag::RECEIVING) {
            // No abort: the last response may still be in the kernel, and a reset would throw it away.
            self.driver.stop_receiving(connection.info.socket(), key);
        } else if is_torn || connection.has(flag::RECEIVING | flag::SENDING) {
            // A response that is not whole must not end as one that ends with its connection.
            self.driver.abort(connection.info.socket());
        }
        if let Some(assembly) = assembly {
            self.recycle(assembly);
        }
        self.wheel.disarm(&mut self.table, key);
        self.after_operation(key);
    }

    /// After an operation has ended: removes a connection that was waiting for it, or starts a receive that
    /// the kernel has ended again.
    pub(super) fn after_operation(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        if connection.phase != Phase::Ending {
            return self.receive(key);
        }
        if connection.has(flag::RECEIVING | flag::SENDING) {
            return;
        }
        self.driver.close(connection.info.socket());
        let reason = connection.reason;
        if let Some(connection) = self.table.remove(key) {
            self.leave_gate(&connection);
        }
        self.server.counters.ended[reason as usize] += 1;
    }

    /// Begins to drain: idle connections close, the others with their next response.
    pub(crate) fn drain(&mut self) {
        self.server.common.draining.set(true);
        let keys: Vec<Key> = self.table.iter_keys().collect();
        for key in keys {
            let Some(connection) = self.table.get(key) else { continue };
            let idle = !connection.has_begun() && !connection.has(flag::SENDING | flag::REFUSED);
            if idle && connection.phase == Phase::Open {
                self.close(key, EndReason::ShuttingDown);
            }
        }
    }

    /// Resets and forgets every connection, with whatever is open on it: the driver is about to go.
    pub(crate) fn abandon(&mut self) {
        let keys: Vec<Key> = self.table.iter_keys().collect();
        for key in keys {
            let Some(mut connection) = self.table.remove(key) else { continue };
            Self::drop_exchange(&self.runtime, &mut connection);
            self.leave_gate(&connection);
            self.driver.abort(connection.info.socket());
            self.driver.abandon(connection.info.socket());
        }
        self.runtime.leave();
        self.runtime.abandon_sockets(&mut self.driver);
    }

    /// Ends every connection at once.
    pub(crate) fn end_all(&mut self) {
        let keys: Vec<Key> = self.table.iter_keys().collect();
        for key in keys {
            self.end(key, EndReason::ShutdownTimeout);
        }
    }
}
