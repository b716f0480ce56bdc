//! All connections of one worker, and where their events go.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use peregrine_parser::Simd;
use peregrine_pool::{Blocks, Key, Slab, Slots, Spare};

use super::exchange::Common;
use super::serving::Server;
use super::{
    Assemblies, Connection, Counters, EndReason, Gate, Phase, SPARES_KEPT, SPARES_MAX, Service, flag,
};
use crate::driver::timer::{TimerLink, Timers, Wheel};
use crate::driver::{Driver, Errno, Event, Fd};
use crate::proto::h1::{Machine, MachineLimits, Preamble};
use crate::proto::{Rate, Rejection};
use crate::runtime::{Runtime, TaskWaker};
use crate::sys::memory;
use crate::sys::wake::Waker as Bell;

/// What connections are told once, at the worker's start. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) machine: MachineLimits,
    pub(crate) keep_alive_millis: u64,
    pub(crate) request_headers_millis: u64,
    /// How long a handler may go on whose client sends no more and is sent nothing.
    pub(crate) half_closed_millis: u64,
    pub(crate) min_response_rate: Option<Rate>,
    /// Bytes that may wait to be read, or to be sent, before the other side has to wait.
    pub(crate) max_request_buffer: usize,
    pub(crate) max_response_buffer: usize,
    /// Bytes of memory that incomplete requests may take together.
    pub(crate) max_assembled: usize,
    /// Receive blocks that may wait to be read, of all connections.
    pub(crate) max_held_blocks: u32,
    pub(crate) max_requests: Option<u64>,
    pub(crate) lifetime_millis: Option<u64>,
    pub(crate) gate: Arc<Gate>,
    /// What ends the worker's sleep.
    pub(crate) bell: Bell,
    /// Tell of every request that is refused.
    pub(crate) log_rejections: bool,
    /// Tell clients in detail why a handler has failed.
    pub(crate) shows_details: bool,
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

/// So many connections that are one too many are told so at once; more are closed without a word.
const REFUSED_MAX: u32 = 256;

/// For so long a connection that is one too many may take to ask for something.
const REFUSED_MILLIS: u64 = 5000;

/// So many receives that found no block are started again at once.
const REVIVED_PER_TURN: usize = 512;

/// Once so many wait for a block, blocks are taken to be scarce for so long, in milliseconds. A few that send much may
/// well wait for each other.
pub(super) const SCARCE_CONNECTIONS: usize = 16;
pub(super) const SCARCE_MILLIS: u64 = 1000;

/// So many send blocks are kept for what comes next.
const SPARE_SEND_BLOCKS: u32 = 32;

/// Bodies that took so many bytes together are worth a trim when they are gone.
const PEAK_BYTES: usize = 4 << 20;

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
    /// Until when receives take a block at a time, because some have found none.
    pub(super) scarce_until: u64,
    /// Who waits for a receive block, the longest first.
    pub(super) starved: VecDeque<Key>,
    /// What tasks run on.
    pub(crate) runtime: Rc<Runtime>,
    /// Empty, for the next look at what is woken.
    pub(super) woken: Vec<Arc<TaskWaker>>,
    /// Bytes of memory that assemblies take.
    pub(super) assembled: usize,
    /// The most of that since the last trim.
    pub(super) peak_assembled: usize,
    /// Connections that are one too many and wait to be told so.
    refused: u32,
    /// Fewer connections than this are worth another trim.
    trim_below: u32,
    /// Send blocks that the last trim has left in memory.
    mapped_after_trim: u32,
    pub(super) next_id: u64,
}

impl<D: Driver, S: Service> Connections<D, S> {
    pub(crate) fn new(
        driver: D,
        service: impl FnOnce(Slots, &Rc<Common>) -> S,
        simd: Simd,
        settings: Settings,
    ) -> Self {
        let now = driver.now();
        let preamble = || {
            let mut preamble = Preamble::new(settings.server_field, now.unix_seconds);
            preamble.shows_details = settings.shows_details;
            preamble
        };
        let runtime = Runtime::enter(
            settings.bell.clone(),
            now.millis,
            driver.is_simulated(),
            settings.send_blocks.clone(),
            settings.max_held_blocks,
        );
        let common = Common {
            preamble: RefCell::new(preamble()),
            preambles: RefCell::default(),
            blocks: settings.send_blocks.clone(),
            draining: Cell::new(false),
            gate: Arc::clone(&settings.gate),
            max_response_buffer: settings.max_response_buffer,
            held_blocks: Rc::default(),
            max_held_blocks: settings.max_held_blocks,
        };
        let common = Rc::new(common);
        Self {
            server: Server {
                service: service(runtime.slots.clone(), &common),
                preamble: preamble(),
                common,
                counters: Counters::default(),
                log_rejections: settings.log_rejections,
                runtime: Rc::clone(&runtime),
                waiting: None,
                spare_shared: Spare::new(SPARES_MAX),
                spare_exchanges: Spare::new(SPARES_MAX),
            },
            runtime,
            woken: Vec::new(),
            assembled: 0,
            peak_assembled: 0,
            refused: 0,
            table: Slab::new(settings.max_connections),
            wheel: Wheel::new(now.millis),
            machine: Machine::new(simd, settings.machine),
            spares: Spare::new(SPARES_MAX),
            scarce_until: 0,
            starved: VecDeque::new(),
            trim_below: u32::MAX,
            mapped_after_trim: 0,
            next_id: settings.first_id,
            driver,
            settings,
        }
    }

    #[cfg(any(test, fuzzing))]
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
        let until = if self.run_woken() { Some(0) } else { until };
        self.runtime.start_sockets(&mut self.driver);
        let until = [until, self.wheel.next_due(), self.runtime.next_due()].into_iter().flatten().min();
        // Blocks may come back without an event that tells of it.
        let retry = (!self.starved.is_empty()).then(|| {
            let rest = if self.driver.has_receive_blocks() { 0 } else { STARVED_MILLIS };
            self.driver.now().millis + rest
        });
        let until = match (until, retry) {
            (Some(until), Some(retry)) => Some(until.min(retry)),
            (until, retry) => until.or(retry),
        };
        self.driver.turn(until)?;
        let seconds = self.driver.now().unix_seconds;
        self.server.preamble.refresh(seconds);
        self.server.common.preamble.borrow_mut().refresh(seconds);
        self.runtime.advance(self.driver.now().millis);
        Ok(())
    }

    /// When time alone makes something happen: a deadline of a connection's, or what a handler waits for.
    pub(crate) fn next_due(&self) -> Option<u64> {
        [self.wheel.next_due(), self.runtime.next_due()].into_iter().flatten().min()
    }

    /// Whether the connection on `socket` has a whole request that is being answered. It looks through all
    /// connections: for tests of applications.
    pub(crate) fn is_answering(&self, socket: Fd) -> bool {
        let mut open = self.table.iter_keys().filter_map(|key| self.table.get(key));
        open.any(|connection| {
            let exchange = connection.exchange.as_ref().filter(|_| connection.info.socket() == socket);
            exchange.is_some_and(|exchange| exchange.handler.is_some() && exchange.body.is_done())
        })
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

    /// Takes one event of a connection, or of a handler's socket; others come back.
    #[inline]
    pub(crate) fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Received { key, outcome, more } => self.handle_received(key, outcome, more),
            Event::Sent { key, buffer, result } => self.handle_sent(key, buffer, result),
            Event::Ready { key, interest, result } => self.runtime.socket_ready(key, interest, result),
            #[cfg(feature = "tls")]
            Event::Secured { key, info } => {
                if let Some(connection) = self.table.get_mut(key) {
                    connection.info.tls = Some(info);
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Takes a new connection in, or lets it know that it is one too many.
    pub(crate) fn open(&mut self, socket: Fd, listener: u32) {
        let id = self.next_id;
        self.next_id += 1;
        self.server.counters.accepted += 1;
        let mut connection = Connection::new(id, socket);
        let gate = &self.settings.gate;
        let address = if gate.wants_addresses() { connection.info.peer_address() } else { None };
        let admitted = gate.enter(address.map(|address| address.ip()));
        if let Err(rejection) = admitted {
            connection.flags |= flag::REFUSED;
            connection.reason = match rejection {
                Rejection::TooManyConnections => EndReason::TooManyConnections,
                _ => EndReason::TooManyConnectionsOfAddress,
            };
        }
        let now = self.driver.now().millis;
        if let Some(most) = self.settings.max_requests {
            connection.requests_left = u32::try_from(most).unwrap_or(u32::MAX);
        }
        if let Some(lifetime) = self.settings.lifetime_millis {
            connection.expires = now.saturating_add(lifetime);
        }
        // Those that wait to be told must not become the next flood.
        let is_flood = admitted.is_err() && self.refused >= REFUSED_MAX;
        let reason = connection.reason;
        let deadline = match admitted {
            Ok(()) => self.idle_deadline(connection.expires),
            Err(_) => now + REFUSED_MILLIS,
        };
        let inserted = if is_flood { Err(connection) } else { self.table.insert(connection) };
        match inserted {
            Ok(key) => {
                if admitted.is_err() {
                    self.refused += 1;
                }
                self.driver.opened(socket, key, listener);
                self.receive(key);
                self.wheel.arm(&mut self.table, key, deadline);
            }
            Err(connection) => {
                self.driver.close(socket);
                if admitted.is_ok() {
                    self.settings.gate.leave(address.map(|address| address.ip()), false);
                }
                let reason = if is_flood { reason } else { EndReason::OutOfMemory };
                self.server.counters.ended[reason as usize] += 1;
                drop(connection);
            }
        }
    }

    /// Takes note that a connection is gone.
    pub(super) fn leave_gate(&mut self, connection: &Connection) {
        if connection.has(flag::REFUSED) {
            self.refused -= 1;
            return;
        }
        let gate = &self.settings.gate;
        // Looked up when it came, where it counts.
        let address = if gate.wants_addresses() { connection.info.peer_address() } else { None };
        gate.leave(address.map(|address| address.ip()), connection.has(flag::UPGRADED));
    }

    /// Starts a receive, unless there is one or a reason not to.
    pub(super) fn receive(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let unwanted = flag::RECEIVING | flag::EOF | flag::PAUSED | flag::STARVED;
        if connection.has(unwanted) || connection.phase == Phase::Ending {
            return;
        }
        connection.flags |= flag::RECEIVING;
        if self.driver.now().millis < self.scarce_until {
            // One that sends much would take dozens, and leave none for those who ask for little.
            self.driver.receive_one(connection.info.socket(), key);
        } else if connection.has(flag::BULK) {
            self.driver.receive_bulk(connection.info.socket(), key);
        } else {
            self.driver.receive(connection.info.socket(), key);
        }
    }

    /// Sets the connection's deadline `millis` from now.
    #[inline]
    pub(super) fn arm(&mut self, key: Key, millis: u64) {
        let deadline = self.driver.now().millis.saturating_add(millis);
        self.wheel.arm(&mut self.table, key, deadline);
    }

    /// Starts receives again that found no block, as soon as there are blocks; in order, because whoever has waited
    /// longest must not be last again.
    fn revive_starved(&mut self) {
        if self.starved.is_empty() || !self.driver.has_receive_blocks() {
            return;
        }
        for _ in 0..REVIVED_PER_TURN {
            let Some(key) = self.starved.pop_front() else { break };
            if let Some(connection) = self.table.get_mut(key) {
                connection.flags &= !flag::STARVED;
                self.receive(key);
            }
        }
    }

    /// Whether a good part of the memory of an earlier peak is not used, and so much less than at the last
    /// [`trim`](Self::trim) that another is worth while.
    pub(crate) fn is_sparse(&mut self) -> bool {
        let (len, capacity) = (self.table.len(), self.table.capacity_mapped());
        if len >= capacity / 2 {
            self.trim_below = u32::MAX;
        }
        let blocks = self.server.common.blocks.stats();
        let many_blocks = blocks.mapped_blocks > blocks.leased * 4 + 4 * SPARE_SEND_BLOCKS;
        let is_table_sparse = capacity > SPARSE_SLOTS && len < capacity / 2 && len < self.trim_below;
        let were_bodies = self.peak_assembled > PEAK_BYTES && self.assembled < self.peak_assembled / 4;
        is_table_sparse
            || were_bodies
            || self.driver.is_sparse()
            || (many_blocks && blocks.mapped_blocks > self.mapped_after_trim)
    }

    /// Gives memory back that an earlier peak has left. For quiet moments.
    pub(crate) fn trim(&mut self) {
        self.trim_below = self.table.len() / 2;
        self.table.trim();
        self.driver.trim();
        let is_empty = self.table.is_empty();
        let kept = if is_empty { 0 } else { SPARES_KEPT };
        self.spares.trim(kept);
        self.server.spare_shared.trim(kept);
        self.server.spare_exchanges.trim(kept);
        self.runtime.trim();
        let blocks = &self.server.common.blocks;
        blocks.trim(if is_empty { 0 } else { SPARE_SEND_BLOCKS });
        self.mapped_after_trim = blocks.stats().mapped_blocks;
        self.peak_assembled = self.assembled;
        memory::give_back();
    }

    pub(super) fn reset_reason(error: Errno) -> EndReason {
        if error.0 == libc::ENOMEM { EndReason::OutOfMemory } else { EndReason::ConnectionReset }
    }
}
