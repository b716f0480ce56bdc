//! Deadlines: one per connection, for whatever it waits for now.
//!
//! Owns what each wait may take and what happens when it took longer. The clock is the driver's, as of the turn.

use peregrine_pool::Key;

use super::{Connection, Connections, EndReason, Phase, Service, flag};
use crate::driver::Driver;
use crate::proto::{Rate, Rejection};

/// How long a peer may be silent in the middle of something before its receive is started anew.
const CHECK_MILLIS: u64 = 1000;

/// A deadline for nothing.
pub(super) const NEVER: u64 = u64::MAX;

impl<D: Driver, S: Service> Connections<D, S> {
    /// When a send of so many bytes must have ended.
    #[inline]
    pub(super) fn send_deadline(&self, rate: Option<Rate>, bytes: usize) -> u64 {
        let now = self.driver.now().millis;
        rate.map_or(NEVER, |rate| now.saturating_add(rate.millis_for(bytes as u64)))
    }

    /// When an idle connection has been idle for too long.
    #[inline]
    pub(super) fn idle_deadline(&self, expires: u64) -> u64 {
        self.driver.now().millis.saturating_add(self.settings.keep_alive_millis).min(expires)
    }

    /// Whether a silent peer may be gone without the receive having told: see [`Driver::may_miss_ends`]. Once in
    /// each silence the receive is started anew, which finds out.
    fn is_worth_a_check(&self, connection: &Connection) -> bool {
        let is_silent = connection.assembly.is_some() || connection.exchange.is_some();
        is_silent
            && connection.has(flag::RECEIVING)
            && !connection.has(flag::CHECKED | flag::EOF)
            && self.driver.may_miss_ends()
    }

    /// When what the connection waits for now is overdue.
    fn deadline(&self, connection: &Connection) -> u64 {
        let now = self.driver.now().millis;
        let stall = now.saturating_add(self.settings.keep_alive_millis);
        let is_sending = connection.has(flag::SENDING);
        let sending = if is_sending { connection.send_by.min(connection.stall_by) } else { NEVER };
        if let Some(exchange) = &connection.exchange {
            return exchange.deadline(self.settings.keep_alive_millis).min(sending);
        }
        if is_sending {
            return sending;
        }
        match &connection.assembly {
            Some(assembly) if assembly.machine.is_reading_body() => {
                let (received, rate) = assembly.machine.body_progress();
                let rate =
                    rate.map_or(NEVER, |rate| assembly.since.saturating_add(rate.millis_for(received)));
                rate.min(stall)
            }
            Some(assembly) if assembly.machine.is_started() => {
                assembly.since.saturating_add(self.settings.request_headers_millis)
            }
            _ => self.idle_deadline(connection.expires),
        }
    }

    /// Sets the deadline that fits what the connection waits for.
    pub(super) fn rearm(&mut self, key: Key) {
        let now = self.driver.now().millis;
        let half_closed_by = now.saturating_add(self.settings.half_closed_millis);
        let Some(connection) = self.table.get_mut(key) else { return };
        let is_half_closed = connection.has(flag::EOF);
        if let Some(exchange) = &mut connection.exchange {
            if is_half_closed {
                exchange.note_half_closed(half_closed_by);
            }
            if let Some(running) = &mut exchange.handler {
                running.tick(now);
            }
        }
        let Some(connection) = self.table.get(key) else { return };
        if connection.phase == Phase::Open {
            let mut deadline = self.deadline(connection);
            if self.is_worth_a_check(connection) {
                deadline = deadline.min(now + CHECK_MILLIS);
            }
            self.wheel.arm(&mut self.table, key, deadline);
        }
    }

    /// A deadline has passed.
    pub(super) fn expire(&mut self, key: Key) {
        let now = self.driver.now().millis;
        let Some(connection) = self.table.get(key) else { return };
        let is_check = connection.phase == Phase::Open
            && self.is_worth_a_check(connection)
            && self.deadline(connection) > now;
        let Some(connection) = self.table.get_mut(key) else { return };
        if is_check {
            connection.flags |= flag::CHECKED;
            self.driver.stop_receiving(connection.info.socket(), key);
            return self.rearm(key);
        }
        let reason = connection.reason;
        if connection.phase != Phase::Open {
            return self.end(key, reason);
        }
        if connection.has(flag::REFUSED) && !connection.has(flag::LAST) {
            return self.handle_unwanted(key);
        }
        let is_late = now >= connection.send_by;
        if connection.exchange.is_some() && self.expire_exchange(key) {
            return;
        }
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::SENDING) {
            let reason = if is_late { EndReason::MinResponseDataRate } else { EndReason::StalledTransfer };
            return self.end(key, reason);
        }
        match &connection.assembly {
            _ if connection.exchange.is_some() => self.rearm(key),
            Some(assembly) if assembly.machine.is_reading_body() => {
                self.refuse(key, Rejection::BodyTimeout, EndReason::RequestBodyTimeout);
            }
            Some(assembly) if assembly.machine.is_started() => {
                self.refuse(key, Rejection::HeadTimeout, EndReason::RequestHeadersTimeout);
            }
            _ if now >= connection.expires => self.close(key, EndReason::LifetimeReached),
            _ => self.close(key, EndReason::KeepAliveTimeout),
        }
    }
}
