//! Connections: what ties a socket's completions to a protocol machine.
//!
//! Owns the state of every connection of one worker, its back-pressure, its deadlines and its end. The parts:
//! this file holds the types, `table` the connections and their events, `reading` the way in, `serving` the
//! answers, `writing` the way out, `closing` every way to end. Knows drivers and machines; must not know routes or configuration
//! files.

mod closing;
mod reading;
mod serving;
mod table;
#[cfg(test)]
mod tests;
mod writing;

use std::cell::OnceCell;
use std::net::SocketAddr;

use peregrine_pool::Spare;

use crate::driver::Fd;
use crate::driver::timer::TimerLink;
use crate::proto::RequestParts;
use crate::proto::h1::{Machine, ResponseWriter};
use crate::sys::socket;

pub(crate) use table::{Connections, Settings};

/// What answers requests.
pub(crate) trait Service {
    /// Answers one request. A panic in here becomes a 500 and the end of the connection.
    fn call(
        &mut self,
        request: &RequestParts<'_>,
        connection: &ConnectionInfo,
        response: &mut ResponseWriter<'_>,
    );
}

/// Why a connection ended; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The peer closed between two requests.
    ClosedByPeer,
    /// The peer closed in the middle of a request.
    UnexpectedEndOfRequest,
    /// The peer reset the connection, or the socket failed.
    ConnectionReset,
    /// After a response with `Connection: close`.
    ClosedAfterResponse,
    /// After a request that was refused.
    InvalidRequest,
    /// No request for as long as the limit allows.
    KeepAliveTimeout,
    /// The head did not arrive in time.
    RequestHeadersTimeout,
    /// The body or the peer's reading stood still.
    StalledTransfer,
    /// The worker is draining.
    ShuttingDown,
    /// The drain took too long.
    ShutdownTimeout,
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
    /// Requests refused before the service saw them.
    pub(crate) rejections: u64,
    /// Handlers that panicked.
    pub(crate) panics: u64,
    /// Connections ended, by reason.
    pub(crate) ended: [u64; EndReason::COUNT],
}

/// What a handler may ask about the connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) id: u64,
    socket: Fd,
    /// Asked of the kernel once, when somebody wants to know.
    addresses: OnceCell<Box<Addresses>>,
}

#[derive(Debug)]
struct Addresses {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl ConnectionInfo {
    fn new(id: u64, socket: Fd) -> Self {
        Self { id, socket, addresses: OnceCell::new() }
    }

    fn addresses(&self) -> &Addresses {
        self.addresses.get_or_init(|| {
            let peer = socket::peer_address(self.socket);
            let local = socket::local_address(self.socket);
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
    pub(super) const RECEIVING: u8 = 1;
    /// A send is open.
    pub(super) const SENDING: u8 = 1 << 1;
    /// The peer will send no more.
    pub(super) const EOF: u8 = 1 << 2;
    /// The connection ends when the open send has ended. Set only together with `SENDING`.
    pub(super) const LAST: u8 = 1 << 3;
    /// Enough is parked: no receive until it is served. Set only where there is an assembly.
    pub(super) const PAUSED: u8 = 1 << 4;
    /// Waits in the list of starved connections.
    pub(super) const STARVED: u8 = 1 << 5;
}

/// One connection. What it holds while idle is all in here.
struct Connection {
    info: ConnectionInfo,
    timer: TimerLink,
    /// Bytes of a request that is not complete, or that must wait for a send.
    assembly: Option<Box<Assembly>>,
    phase: Phase,
    flags: u8,
    /// Why the connection is ending; meaningful from the decision on.
    reason: EndReason,
}

/// What an idle connection costs: its place in the table, and nothing else.
pub(crate) const CONNECTION_BYTES: usize = size_of::<Connection>() + 8;

const _: () = assert!(CONNECTION_BYTES <= 136);

impl Connection {
    fn new(id: u64, socket: Fd) -> Self {
        Self {
            info: ConnectionInfo::new(id, socket),
            timer: TimerLink::default(),
            assembly: None,
            phase: Phase::Open,
            flags: 0,
            reason: EndReason::ClosedByPeer,
        }
    }

    /// Whether a part of a request is here.
    fn has_begun(&self) -> bool {
        self.assembly.as_ref().is_some_and(|assembly| assembly.machine.is_started())
    }

    #[inline]
    fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// A request in parts: bytes from its first one on, and how far they are understood.
struct Assembly {
    machine: Machine,
    bytes: Vec<u8>,
}

/// Buffers of assemblies up to this size are kept for the next one.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// How many assemblies a worker keeps.
const SPARES_MAX: usize = 64;

type Assemblies = Spare<Box<Assembly>>;
