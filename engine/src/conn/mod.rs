//! Connections: what ties a socket's completions to a protocol machine.
//!
//! Owns the state of every connection of one worker, its back-pressure, its deadlines and its end. The parts:
//! this file holds the types, `table` the connections and their events, `reading` the way in, `serving` the
//! answers, `running` the exchanges whose bodies are streamed, `writing` the way out, `timing` the deadlines,
//! `closing` every way to end. `exchange` and `outbox` are what a handler at work and its connection share, `gate`
//! what workers share. Knows drivers, machines and the worker's runtime; must not know routes or configuration files.

mod closing;
mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod gate;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "tests use more of it than fuzz targets"))]
mod harness;
mod outbox;
mod reading;
mod running;
mod serving;
mod table;
#[cfg(test)]
mod tests;
mod timing;
mod writing;

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use peregrine_pool::{Placed, Slots, Spare};

use crate::driver::Fd;
use crate::driver::secure::TlsInfo;
use crate::driver::timer::TimerLink;
use crate::proto::h1::{BodyLimits, Machine, ResponseWriter};
use crate::proto::{Rate, Rejection, RequestParts};
use crate::sys::socket;

pub use exchange::ExchangeError;
pub(crate) use exchange::{Common, Piece, PieceToSend, Shared, write_field_line};
pub(crate) use gate::{Gate, GateLimits};
use running::Exchange;
pub(crate) use table::{Connections, Settings};

/// What answers requests.
pub(crate) trait Service {
    /// Answers one request, or begins to. A panic in here becomes a 500 and the end of the connection.
    fn call(
        &mut self,
        request: &RequestParts<'_>,
        connection: &ConnectionInfo,
        response: &mut ResponseWriter<'_>,
    ) -> Called;

    /// What becomes of the body of a request, of which the head is here.
    fn admit(&self, request: &RequestParts<'_>) -> Admission;

    /// Begins to answer a request in a task of its own.
    fn stream(&mut self, request: &RequestParts<'_>, exchange: Rc<Shared>) -> Streaming;
}

/// See [`Service::call`].
pub(crate) enum Called {
    /// The response is written.
    Answered,
    /// It will be, by this task. Nothing is yet.
    Begun(Task),
    /// The answer is to be streamed: [`Service::stream`]. Nothing is written.
    Streams,
}

/// A handler at work.
pub(crate) trait Work {
    /// Goes on. The error is for the log.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>>;

    /// Once it is ready: whether it leaves its response to [`respond`](Self::respond).
    fn has_response(&self) -> bool {
        false
    }

    /// Writes the response.
    fn respond(self: Pin<&mut Self>, _: &mut ResponseWriter<'_>) {}

    /// Its connection goes, and it stays: nothing may be asked of the socket any more.
    fn part(&self) {}

    /// It has waited at its first poll, so that it is an exchange from here on, and may stream its response by that.
    fn attach(self: Pin<&mut Self>, _: &Rc<Shared>) {}
}

/// A future that sends its response itself, by the [`Shared`] that it was given.
impl<F: Future<Output = Result<(), String>>> Work for F {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        Future::poll(self, context)
    }
}

/// A handler at work, where its future lies.
pub(crate) type Task = Placed<dyn Work>;

/// Makes a task of work.
pub(crate) fn task(slots: &Slots, work: impl Work + 'static) -> Task {
    slots.place(work, |work| work as &mut dyn Work)
}

/// See [`Service::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is collected, then [`Service::call`] answers.
    Whole(BodyLimits),
    /// [`Service::stream`] answers, and reads it.
    Stream(BodyLimits),
    /// Nobody wants it: [`Service::call`] answers without it.
    Unwanted,
}

/// See [`Service::stream`].
pub(crate) struct Streaming {
    pub(crate) task: Task,
    pub(crate) min_response_rate: Option<Rate>,
}

impl Streaming {
    /// What a handler comes to that panics as it begins.
    fn failed(slots: &Slots) -> Self {
        let task = task(slots, async { Err(String::from("it panicked")) });
        Self { task, min_response_rate: None }
    }
}

/// Why a connection ended; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "some are of TLS"))]
pub(crate) enum EndReason {
    /// The peer closed between two requests.
    ClosedByPeer,
    /// The peer closed in the middle of a request.
    UnexpectedEndOfRequest,
    /// The peer closed while its request was being answered; nobody was there for the response.
    ClosedBeforeResponse,
    /// The peer reset the connection, or the socket failed.
    ConnectionReset,
    /// After a response with `Connection: close`.
    ClosedAfterResponse,
    /// After a request that was refused.
    InvalidRequest,
    /// No request for as long as the limit allows.
    KeepAliveTimeout,
    /// The connection was as old as it may become.
    LifetimeReached,
    /// After as many requests as a connection may bring.
    RequestLimitReached,
    /// The head did not arrive in time.
    RequestHeadersTimeout,
    /// The body arrived too slowly.
    RequestBodyTimeout,
    /// A body that nobody had read did not arrive in time.
    BodyDrainTimeout,
    /// The peer read too slowly.
    MinResponseDataRate,
    /// The peer's reading stood still.
    StalledTransfer,
    /// There were as many connections as there may be.
    TooManyConnections,
    /// There were as many connections of one address as there may be.
    TooManyConnectionsOfAddress,
    /// A handler failed when a part of its response was out.
    ErrorAfterStartingResponse,
    /// After another protocol that the connection was handed over to.
    UpgradedClosed,
    /// The worker is draining.
    ShuttingDown,
    /// The drain took too long.
    ShutdownTimeout,
    /// The TLS handshake has failed.
    TlsHandshakeFailed,
    /// The TLS handshake has taken too long.
    TlsHandshakeTimeout,
    /// A TLS record was broken, or out of place.
    TlsRecordInvalid,
    /// No memory.
    OutOfMemory,
}

impl EndReason {
    pub(crate) const COUNT: usize = Self::OutOfMemory as usize + 1;
}

/// The counters of one worker, touched by it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Requests answered by the service.
    pub(crate) requests: u64,
    /// Requests refused, by kind.
    pub(crate) rejections: [u64; Rejection::KINDS],
    /// Handlers that panicked.
    pub(crate) panics: u64,
    /// Connections ended, by reason.
    pub(crate) ended: [u64; EndReason::COUNT],
}

/// What a handler may ask about the connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) id: u64,
    /// Of no socket once the connection is gone: its number may be another's by then.
    socket: Cell<Fd>,
    /// Asked of the kernel once, when somebody wants to know.
    addresses: OnceCell<Box<Addresses>>,
    /// What has been agreed upon, if it is secured.
    pub(crate) tls: Option<Rc<TlsInfo>>,
}

#[derive(Debug)]
struct Addresses {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl ConnectionInfo {
    fn new(id: u64, socket: Fd) -> Self {
        Self { id, socket: Cell::new(socket), addresses: OnceCell::new(), tls: None }
    }

    #[inline]
    fn socket(&self) -> Fd {
        self.socket.get()
    }

    /// Forgets the socket.
    pub(crate) fn detach(&self) {
        self.socket.set(Fd(-1));
    }

    /// The same for a handler that may outlive the connection.
    pub(crate) fn share(&self) -> Self {
        Self { tls: self.tls.clone(), ..Self::new(self.id, self.socket()) }
    }

    fn addresses(&self) -> &Addresses {
        self.addresses.get_or_init(|| {
            let peer = socket::peer_address(self.socket());
            let local = socket::local_address(self.socket());
            Box::new(Addresses { peer, local })
        })
    }

    /// The peer's address; none on a Unix socket.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.addresses().peer
    }

    /// The address that the peer connected to; none on a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.addresses().local
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests are served.
    Open,
    /// The last response is sent and our side is shut down: what still arrives is dropped, so that no reset
    /// overtakes the response (RFC 9112 section 9.6).
    Lingering,
    /// Everything open has been told to end.
    Ending,
}

/// What is going on, as bits of [`Connection::flags`].
mod flag {
    /// A receive is open.
    pub(super) const RECEIVING: u16 = 1;
    /// A send is open.
    pub(super) const SENDING: u16 = 1 << 1;
    /// The peer will send no more.
    pub(super) const EOF: u16 = 1 << 2;
    /// The connection ends when the open send has ended. Set only together with `SENDING`.
    pub(super) const LAST: u16 = 1 << 3;
    /// Enough has arrived: no receive until some of it is taken.
    pub(super) const PAUSED: u16 = 1 << 4;
    /// Waits in the list of starved connections.
    pub(super) const STARVED: u16 = 1 << 5;
    /// One too many: the answer to whatever comes says so. `reason` says of what.
    pub(super) const REFUSED: u16 = 1 << 6;
    /// The gate counts it among the upgraded ones.
    pub(super) const UPGRADED: u16 = 1 << 7;
    /// The receive was started anew since the last byte, see `timing`.
    pub(super) const CHECKED: u16 = 1 << 8;
    /// The peer sends much: it is received from in bulk.
    pub(super) const BULK: u16 = 1 << 9;
    /// The peer has ended without a goodbye, so that what it has sent need not be all.
    #[cfg(feature = "tls")]
    pub(super) const TORN: u16 = 1 << 10;
}

/// One connection. What it holds while idle is all in here.
struct Connection {
    info: ConnectionInfo,
    timer: TimerLink,
    /// Bytes of a request that is not complete, or that must wait for a send or an exchange.
    assembly: Option<Box<Assembly>>,
    /// A request whose body, or whose response, is streamed.
    exchange: Option<Box<Exchange>>,
    /// When the open send must have ended, and when it must have come further.
    send_by: u64,
    stall_by: u64,
    /// When the connection has lived long enough.
    expires: u64,
    /// How many requests it may still bring.
    requests_left: u32,
    phase: Phase,
    flags: u16,
    /// Why the connection is ending; meaningful from the decision on.
    reason: EndReason,
}

/// What an idle connection costs: its place in the table, and nothing else.
pub(crate) const CONNECTION_BYTES: usize = size_of::<Connection>() + 8;

const _: () = assert!(CONNECTION_BYTES <= 144);

impl Connection {
    fn new(id: u64, socket: Fd) -> Self {
        Self {
            info: ConnectionInfo::new(id, socket),
            timer: TimerLink::default(),
            assembly: None,
            exchange: None,
            send_by: 0,
            stall_by: 0,
            expires: u64::MAX,
            requests_left: u32::MAX,
            phase: Phase::Open,
            flags: 0,
            reason: EndReason::ClosedByPeer,
        }
    }

    /// Whether a part of a request is here, or one is being answered.
    fn has_begun(&self) -> bool {
        self.exchange.is_some()
            || self.assembly.as_ref().is_some_and(|assembly| assembly.machine.is_started())
    }

    #[inline]
    fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }
}

/// A request in parts: bytes from its first one on, and how far they are understood.
struct Assembly {
    machine: Machine,
    bytes: Vec<u8>,
    /// When the head, or the body, began to be waited for.
    since: u64,
    /// Bytes of memory that it is charged for.
    charged: usize,
}

/// Buffers of assemblies up to this size are kept for the next one.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// How many assemblies a worker keeps, and how many of them when a peak is over.
const SPARES_MAX: usize = 64;
const SPARES_KEPT: usize = 8;

type Assemblies = Spare<Box<Assembly>>;
