//! All connections of one worker, and where their events go.

use std::io;

use peregrine_parser::Simd;
use peregrine_pool::{Blocks, Key, Slab, Spare};

use super::serving::Server;
use super::{Assemblies, Connection, Counters, EndReason, Phase, SPARES_MAX, Service, flag};
use crate::driver::timer::{TimerLink, Timers, Wheel};
use crate::driver::{Driver, Errno, Event, Fd};
use crate::proto::h1::{Machine, MachineLimits, Preamble};

/// What connections are told once, at the worker's start. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) machine: MachineLimits,
    pub(crate) keep_alive_millis: u64,
    pub(crate) request_headers_millis: u64,
    pub(crate) server_field: bool,
    /// The block that responses are written into.
    pub(crate) send_blocks: Blocks,
    /// The id of the first connection.
    pub(crate) first_id: u64,
    /// Connections that may be open at once.
    pub(crate) max_connections: u32,
}

impl Timers for Slab<Connection> {
    #[inline]
    fn link(&mut self, key: Key) -> &mut TimerLink {
        &mut self.get_mut(key).expect("a connection is disarmed before it goes").timer
    }
}

/// Receives that found no block are tried again after so long at the latest.
const STARVED_MILLIS: u64 = 100;

/// Below so many slots in memory it is not worth while to give any back.
const SPARSE_SLOTS: u32 = 256;

/// The connections of a worker, with everything that serving them takes.
pub(crate) struct Connections<D, S> {
    pub(crate) driver: D,
    pub(super) server: Server<S>,
    pub(super) settings: Settings,
    pub(super) table: Slab<Connection>,
    pub(super) wheel: Wheel,
    /// For requests that arrive whole: most of them.
    pub(super) machine: Machine,
    pub(super) spares: Assemblies,
    pub(super) starved: Vec<Key>,
    /// Fewer connections than this are worth another trim.
    trim_below: u32,
    pub(super) next_id: u64,
}

impl<D: Driver, S: Service> Connections<D, S> {
    pub(crate) fn new(driver: D, service: S, simd: Simd, settings: Settings) -> Self {
        let now = driver.now();
        Self {
            server: Server {
                service,
                preamble: Preamble::new(settings.server_field, now.unix_seconds),
                blocks: settings.send_blocks.clone(),
                counters: Counters::default(),
                draining: false,
            },
            table: Slab::new(settings.max_connections),
            wheel: Wheel::new(now.millis),
            machine: Machine::new(simd, settings.machine),
            spares: Spare::new(SPARES_MAX),
            starved: Vec::new(),
            trim_below: u32::MAX,
            next_id: settings.first_id,
            driver,
            settings,
        }
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> &Counters {
        &self.server.counters
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> u32 {
        self.table.len()
    }

    /// Lets the driver work, until `until` or the next deadline at the latest, then brings the date up to
    /// date. The events come first now, then [`end_overdue`](Self::end_overdue).
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn turn(&mut self, until: Option<u64>) -> io::Result<()> {
        self.revive_starved();
        let due = self.wheel.next_due();
        let until = match (until, due) {
            (Some(until), Some(due)) => Some(until.min(due)),
            (until, due) => until.or(due),
        };
        // Blocks may come back without an event that tells of it.
        let retry = (!self.starved.is_empty()).then(|| self.driver.now().millis + STARVED_MILLIS);
        let until = match (until, retry) {
            (Some(until), Some(retry)) => Some(until.min(retry)),
            (until, retry) => until.or(retry),
        };
        self.driver.turn(until)?;
        self.server.preamble.refresh(self.driver.now().unix_seconds);
        Ok(())
    }

    /// Ends what is overdue. After the turn's events: what has arrived counts as in time.
    pub(crate) fn end_overdue(&mut self) {
        let now = self.driver.now().millis;
        // Without any deadline this only brings the wheel's position up to date.
        if self.wheel.next_due().is_none_or(|due| due <= now) {
            while let Some(key) = self.wheel.pop_expired(&mut self.table, now) {
                self.expire(key);
            }
        }
    }

    /// Takes one event of a connection; others come back.
    #[inline]
    pub(crate) fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Received { key, outcome, more } => self.handle_received(key, outcome, more),
            Event::Sent { key, buffer, result } => self.handle_sent(key, buffer, result),
            other => return Some(other),
        }
        None
    }

    /// Takes a new connection in.
    pub(crate) fn open(&mut self, socket: Fd) {
        let id = self.next_id;
        self.next_id += 1;
        self.server.counters.accepted += 1;
        let Ok(key) = self.table.insert(Connection::new(id, socket)) else {
            self.driver.close(socket);
            return;
        };
        self.receive(key);
        self.arm(key, self.settings.keep_alive_millis);
    }

    /// Starts a receive, unless there is one or a reason not to.
    pub(super) fn receive(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let unwanted = flag::RECEIVING | flag::EOF | flag::PAUSED | flag::STARVED;
        if connection.has(unwanted) || connection.phase == Phase::Ending {
            return;
        }
        connection.flags |= flag::RECEIVING;
        self.driver.receive(connection.info.socket, key);
    }

    /// Sets the connection's deadline `millis` from now.
    #[inline]
    pub(super) fn arm(&mut self, key: Key, millis: u64) {
        let deadline = self.driver.now().millis.saturating_add(millis);
        self.wheel.arm(&mut self.table, key, deadline);
    }

    /// Starts the receives again that found no block, as soon as there are blocks.
    fn revive_starved(&mut self) {
        if self.starved.is_empty() || !self.driver.has_receive_blocks() {
            return;
        }
        for key in std::mem::take(&mut self.starved) {
            if let Some(connection) = self.table.get_mut(key) {
                connection.flags &= !flag::STARVED;
                self.receive(key);
            }
        }
    }

    /// Whether a good part of the memory for connections is not used, and so much less than at the last
    /// [`trim`](Self::trim) that another is worth while.
    pub(crate) fn is_sparse(&mut self) -> bool {
        let (len, capacity) = (self.table.len(), self.table.capacity_mapped());
        if len >= capacity / 2 {
            self.trim_below = u32::MAX;
        }
        capacity > SPARSE_SLOTS && len < capacity / 2 && len < self.trim_below
    }

    /// Gives memory back that an earlier peak has left. For quiet moments.
    pub(crate) fn trim(&mut self) {
        self.trim_below = self.table.len() / 2;
        self.table.trim();
        self.driver.trim();
        if self.table.is_empty() {
            self.spares.trim(0);
            self.server.blocks.trim(0);
        }
    }

    pub(super) fn reset_reason(error: Errno) -> EndReason {
        if error.0 == libc::ENOMEM { EndReason::OutOfMemory } else { EndReason::ConnectionReset }
    }
}
