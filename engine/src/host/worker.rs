//! One worker: a thread, its driver, its listeners and its connections, from start to drain.
//!
//! Nothing in here is shared with another worker but the stage of the server's life, which is looked at only
//! when somebody has rung the worker's bell.

#[cfg(feature = "tls")]
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use peregrine_parser::Field;
use peregrine_pool::{Blocks, MemoryPlan};

use super::error::StartError;
use super::listener::Listener;
use super::options::{DriverChoice, Options};
use super::settings::{
    Own, RECEIVE_BLOCKS, RECEIVE_BLOCKS_MAX, RECEIVE_STRIDE_BYTES, SEND_BLOCKS, SEND_STRIDE_BYTES,
    connections, settings,
};
use crate::app::{AppService, Blueprint};
use crate::conn::{CONNECTION_BYTES, Connections, Gate};
use crate::driver::epoll::{self, Epoll};
use crate::driver::uring::{self, Refusal, Uring};
use crate::driver::{Driver, Errno, Event};
use crate::http::WorkerInfo;
use crate::sys::Fd;
use crate::sys::ring::{self, Rung};
#[cfg(feature = "tls")]
use crate::sys::socket::peer_address;
use crate::sys::wake::Waker;
#[cfg(feature = "tls")]
use crate::telemetry;
#[cfg(feature = "tls")]
use crate::tls::context::Context;
#[cfg(feature = "tls")]
use crate::tls::metrics::Tally;
#[cfg(feature = "tls")]
use crate::tls::offload::{Offload, Returns};
#[cfg(feature = "tls")]
use crate::tls::stage::{LARGE_BLOCKS, SESSION_BYTES, Stage as TlsStage, WHOLE_BLOCKS};

/// Accepting rests for so long when no descriptors are left, in milliseconds.
const ACCEPT_REST_MILLIS: u64 = 100;

/// How long after a connection has ended memory is given back, in milliseconds.
const TRIM_MILLIS: u64 = 1000;

/// After the drain's deadline, how long cancelled operations may take to end, in milliseconds.
const END_MILLIS: u64 = 1000;

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Serving,
    Draining,
}

/// The TLS of a server's addresses, by their numbers among all that are configured.
#[cfg(feature = "tls")]
pub(super) type Contexts = BTreeMap<usize, Arc<Context>>;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Control {
    stage: AtomicU8,
    /// How long the drain may take, in milliseconds.
    drain_millis: AtomicU64,
}

impl Control {
    pub(super) fn new() -> Self {
        Self { stage: AtomicU8::new(Stage::Serving as u8), drain_millis: AtomicU64::new(0) }
    }

    /// Takes effect once the workers are woken.
    pub(super) fn drain(&self, millis: u64) {
        self.drain_millis.store(millis, Ordering::Relaxed);
        self.stage.store(Stage::Draining as u8, Ordering::Release);
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Serving,
            _ => Stage::Draining,
        }
    }
}

/// What a worker is made of, handed to its thread.
pub(super) struct Plan {
    pub(super) index: usize,
    pub(super) options: Arc<Options>,
    pub(super) listeners: Vec<Listener>,
    pub(super) blueprint: Blueprint,
    /// How many workers there are.
    pub(super) count: usize,
    /// The port of the only endpoint of https.
    pub(super) https_port: Option<u16>,
    pub(super) control: Arc<Control>,
    pub(super) waker: Waker,
    pub(super) gate: Arc<Gate>,
    /// Bytes of memory that incomplete requests may take together.
    pub(super) max_assembled: usize,
    /// Of the addresses of https, by their numbers.
    #[cfg(feature = "tls")]
    pub(super) contexts: Arc<Contexts>,
    /// Where handshakes are computed, if not by the workers.
    #[cfg(feature = "tls")]
    pub(super) offload: Option<Arc<Offload>>,
    /// What it counts about TLS.
    #[cfg(feature = "tls")]
    pub(super) tally: Arc<Tally>,
}

impl Plan {
    /// Serves until drained. `ready` is told once which driver serves, or why none can.
    ///
    /// # Errors
    /// The driver has failed for good.
    pub(super) fn run(self, ready: impl FnOnce(Result<String, StartError>)) -> io::Result<()> {
        let choice = self.options.driver;
        let no_driver = |problem| StartError::NoDriver { choice, problem };
        let receive_blocks = Blocks::new(RECEIVE_BLOCKS);
        let busy_poll_micros = u32::try_from(self.options.busy_poll.as_micros()).unwrap_or(u32::MAX);
        let coalesce_micros = u32::try_from(self.options.coalesce.as_micros()).unwrap_or(u32::MAX);
        let refusal = if choice == DriverChoice::Epoll {
            None
        } else {
            let config = uring::Config {
                receive_blocks: receive_blocks.clone(),
                receive_ring_entries: RECEIVE_BLOCKS_MAX,
                waker: self.waker.clone(),
                busy_poll_micros,
                coalesce_micros,
                rung: self.options.driver_rung.and_then(|rung| Rung::ALL.get(usize::from(rung)).copied()),
            };
            match Uring::new(&config) {
                Ok(driver) => {
                    let told = format!("io_uring ({})", driver.describe());
                    return self.serve(driver, told, ready);
                }
                Err(refusal) => Some(sentence(&refusal)),
            }
        };
        let why = match refusal {
            None => "as asked".to_owned(),
            Some(refusal) if choice == DriverChoice::IoUring => {
                ready(Err(no_driver(refusal)));
                return Ok(());
            }
            Some(refusal) => format!("io_uring refused: {refusal}"),
        };
        let config = epoll::Config { receive_blocks, waker: self.waker.clone(), busy_poll_micros };
        match Epoll::new(&config) {
            Ok(driver) => self.serve(driver, format!("epoll ({why})"), ready),
            Err(error) => {
                ready(Err(no_driver(format!("epoll: {error}"))));
                Ok(())
            }
        }
    }

    /// Serves on a driver, with TLS around it where a listener wants that.
    fn serve<D: Driver>(
        self,
        driver: D,
        told: String,
        ready: impl FnOnce(Result<String, StartError>),
    ) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if self.listeners.iter().any(|listener| listener.secured.is_some()) {
            let context = |listener: &Listener| self.contexts.get(&listener.secured?).map(Arc::clone);
            let contexts = self.listeners.iter().map(context).collect();
            let send_blocks = Blocks::new(SEND_BLOCKS);
            let log = |peer: Fd, told: &str| telemetry::connection_lost(peer_address(peer), told);
            let mut stage =
                TlsStage::new(driver, contexts, send_blocks.clone(), self.tally.clone(), Some(log));
            if let Some(offload) = &self.offload {
                stage = stage.with_offload(Arc::clone(offload), Returns::new(self.waker.clone()));
            }
            return self.serve_on(stage, send_blocks, told, ready);
        }
        self.serve_on(driver, Blocks::new(SEND_BLOCKS), told, ready)
    }

    fn serve_on<D: Driver>(
        self,
        driver: D,
        send_blocks: Blocks,
        told: String,
        ready: impl FnOnce(Result<String, StartError>),
    ) -> io::Result<()> {
        let own = Own {
            index: self.index,
            gate: self.gate,
            bell: self.waker,
            max_assembled: self.max_assembled,
            send_blocks,
        };
        let settings = settings(&self.options, own);
        let worker = WorkerInfo { index: self.index, count: self.count, https_port: self.https_port };
        let connections = match connections(driver, self.blueprint, worker, settings) {
            Ok(connections) => connections,
            Err(error) => {
                ready(Err(error));
                return Ok(());
            }
        };
        ready(Ok(told));
        let listeners = self.listeners.into_iter().map(Listening::new).collect();
        Worker { connections, listeners, control: self.control, deadline: None, trim_at: None }.run()
    }
}

/// A refusal and what is known of its cause.
fn sentence(Refusal { operation, error }: &Refusal) -> String {
    match ring::refusal_hint(error) {
        "" => format!("{operation}: {error}"),
        hint => format!("{operation}: {error} ({hint})"),
    }
}

/// What the queues of one ring take: 1024 submissions of 64 bytes and 16 Ki completions of 16, as `sys::ring`
/// asks for them.
const QUEUES_BYTES: usize = 1024 * 64 + 16 * 1024 * 16;

/// An entry of the ring that lends receive blocks, the kernel's `struct io_uring_buf`.
const LENT_BLOCK_BYTES: usize = 16;

/// Adds up what the engine itself holds in `workers` workers and for 10,000 idle connections. What connections
/// hold that are not idle is told in the notes, for nothing bounds how many these are. With `is_secured` the
/// connections are of https.
pub(super) fn memory_plan(options: &Options, workers: usize, is_secured: bool) -> MemoryPlan {
    let connections = 10_000;
    let head = options.limits.max_request_line_size + options.limits.max_request_headers_total_size;
    let fields = options.limits.max_request_header_count * size_of::<Field>();
    let (body, bodies) = match options.limits.max_buffered_bodies_size {
        Some(most) => (most, "not in the total: up to this for all bodies that are incomplete"),
        None => (0, "not in the total: no limit for bodies that are incomplete"),
    };
    let mut plan = MemoryPlan::new();
    if options.driver != DriverChoice::Epoll {
        plan.hold("rings' queues", QUEUES_BYTES, workers, "submissions and completions").hold(
            "rings of receive blocks",
            usize::from(RECEIVE_BLOCKS_MAX) * LENT_BLOCK_BYTES,
            workers,
            "what lends the blocks to the kernel",
        );
    }
    plan.hold(
        "receive blocks",
        RECEIVE_STRIDE_BYTES,
        workers * usize::from(RECEIVE_BLOCKS_MAX),
        "at most; lent by demand",
    )
    .hold("send blocks", SEND_STRIDE_BYTES, workers, "at least; one per connection with an open send")
    .hold("idle connections", CONNECTION_BYTES, connections, "for 10,000; by demand")
    .hold("torn heads", head, workers, "one per worker; another per connection whose head is incomplete")
    .hold("field tables", fields, workers, "one per worker; another per connection with a torn request")
    .hold("request bodies", usize::try_from(body).unwrap_or(usize::MAX), 0, bodies);
    #[cfg(feature = "tls")]
    if is_secured {
        let record = "not in the total: one per connection with a record that is incomplete or unread";
        let send = "not in the total: one per connection with an open send of more than a send block";
        plan.hold("TLS sessions", SESSION_BYTES, connections, "for 10,000; by demand")
            .hold("TLS records", WHOLE_BLOCKS.stride_bytes, 0, record)
            .hold("TLS send blocks", LARGE_BLOCKS.stride_bytes, 0, send);
    }
    #[cfg(not(feature = "tls"))]
    debug_assert!(!is_secured, "nothing is");
    plan
}

/// A listener and whether its accept is open.
struct Listening {
    listener: Option<Listener>,
    accepting: bool,
    /// When to accept again after a rest.
    resume_at: Option<u64>,
}

impl Listening {
    fn new(listener: Listener) -> Self {
        Self { listener: Some(listener), accepting: false, resume_at: None }
    }

    fn socket(&self) -> Fd {
        Fd(self.listener.as_ref().expect("open until the drain").fd.as_raw_fd())
    }
}

struct Worker<D: Driver> {
    connections: Connections<D, AppService>,
    listeners: Vec<Listening>,
    control: Arc<Control>,
    /// The end of the drain, once it has begun.
    deadline: Option<u64>,
    /// When to give memory back.
    trim_at: Option<u64>,
}

impl<D: Driver> Drop for Worker<D> {
    /// A worker that fails, or drains for too long, takes its connections with it.
    fn drop(&mut self) {
        self.connections.abandon();
    }
}

impl<D: Driver> Worker<D> {
    fn run(mut self) -> io::Result<()> {
        for number in 0..self.listeners.len() {
            self.accept(number);
        }
        loop {
            let until = self.next_wake();
            self.connections.turn(until)?;
            while let Some(event) = self.connections.driver.next() {
                if let Some(event) = self.connections.handle(event) {
                    self.handle(&event);
                }
            }
            self.connections.end_overdue();
            if self.is_over() {
                return Ok(());
            }
            self.do_overdue();
        }
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Accepted { listener, result, more } => self.handle_accepted(listener, result, more),
            Event::Woken => {
                if self.control.stage() == Stage::Draining && self.deadline.is_none() {
                    self.drain();
                }
            }
            _ => unreachable!("the event of a connection or a socket"),
        }
    }

    fn accept(&mut self, number: usize) {
        let listening = &mut self.listeners[number];
        listening.accepting = true;
        listening.resume_at = None;
        let socket = listening.socket();
        self.connections.driver.accept(socket, number as u32);
    }

    fn handle_accepted(&mut self, number: u32, result: Result<Fd, Errno>, more: bool) {
        let number = number as usize;
        match result {
            // Too late: it finds nobody, as if the listener had been closed already.
            Ok(socket) if self.deadline.is_some() => self.connections.driver.close(socket),
            Ok(socket) => self.connections.open(socket, number as u32),
            Err(_) => {}
        }
        if more {
            return;
        }
        self.listeners[number].accepting = false;
        if self.deadline.is_some() {
            // From now on connections are refused.
            self.listeners[number].listener = None;
            return;
        }
        match result {
            // Whatever it is, asking again at once would meet it again: most of all a lack of descriptors.
            Err(error) if !matches!(error.0, libc::ECONNABORTED | libc::EPROTO | libc::EINTR) => {
                let now = self.connections.driver.now().millis;
                self.listeners[number].resume_at = Some(now + ACCEPT_REST_MILLIS);
            }
            _ => self.accept(number),
        }
    }

    fn drain(&mut self) {
        let now = self.connections.driver.now().millis;
        let drain_millis = self.control.drain_millis.load(Ordering::Relaxed);
        self.deadline = Some(now.saturating_add(drain_millis));
        for number in 0..self.listeners.len() {
            let listening = &mut self.listeners[number];
            listening.resume_at = None;
            if listening.accepting {
                self.connections.driver.stop_accepting(listening.socket(), number as u32);
            } else {
                self.listeners[number].listener = None;
            }
        }
        self.connections.drain();
    }

    /// Whether everything is drained, or the drain has taken too long.
    fn is_over(&self) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let accepting = self.listeners.iter().any(|listening| listening.accepting);
        let idle = self.connections.len() == 0 && !accepting && !self.connections.runtime.has_detached();
        idle || self.connections.driver.now().millis >= deadline.saturating_add(END_MILLIS)
    }

    /// The earliest moment at which [`do_overdue`](Self::do_overdue) has something to do.
    fn next_wake(&self) -> Option<u64> {
        let now = self.connections.driver.now().millis;
        let deadline = self.deadline.map(|end| if now < end { end } else { end.saturating_add(END_MILLIS) });
        let accepts = self.listeners.iter().filter_map(|listening| listening.resume_at).min();
        [deadline, self.trim_at, accepts].into_iter().flatten().min()
    }

    fn do_overdue(&mut self) {
        let now = self.connections.driver.now().millis;
        for number in 0..self.listeners.len() {
            if self.listeners[number].resume_at.is_some_and(|at| at <= now) && self.deadline.is_none() {
                self.accept(number);
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.connections.end_all();
        }
        match self.trim_at {
            Some(at) if at <= now => {
                self.connections.trim();
                self.trim_at = None;
            }
            None if self.connections.is_sparse() => self.trim_at = Some(now + TRIM_MILLIS),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_cause_if_that_is_known() {
        let told = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            sentence(&Refusal { operation: "io_uring_setup", error })
        };
        assert!(told(libc::EMFILE).ends_with(" (no descriptor is left)"));
        assert!(told(libc::ENFILE).ends_with(" (no descriptor is left)"));
        assert!(told(libc::EIO).ends_with("(os error 5)"), "nothing is known");
    }

    #[test]
    fn the_plan_holds_rings_only_where_there_are_some_and_no_bodies_in_its_total() {
        let mut options = Options::default();
        let with_rings = memory_plan(&options, 2, false);
        options.driver = DriverChoice::Epoll;
        let without = memory_plan(&options, 2, false);
        let rings = 2 * (QUEUES_BYTES + usize::from(RECEIVE_BLOCKS_MAX) * LENT_BLOCK_BYTES);
        assert_eq!(with_rings.total_bytes() - without.total_bytes(), rings);
        options.limits.max_buffered_bodies_size = None;
        assert_eq!(memory_plan(&options, 2, false).total_bytes(), without.total_bytes());
        assert!(without.to_string().contains("1.0 GiB"), "{without}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_plan_holds_sessions_where_connections_are_secured() {
        let plan = |is_secured| memory_plan(&Options::default(), 2, is_secured);
        assert_eq!(plan(true).total_bytes() - plan(false).total_bytes(), 10_000 * SESSION_BYTES);
        assert!(!plan(false).to_string().contains("TLS"));
    }
}
