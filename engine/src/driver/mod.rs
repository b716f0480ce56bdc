//! Completions: what the kernel finished, told in one form whatever the kernel interface.
//!
//! Owns the contract ([`Driver`]), the memory that the kernel is working on, and the drivers behind the
//! contract: [`uring`], [`epoll`], [`memory`] for tests of applications, and for the engine's own the seeded
//! simulator `sim`. A driver knows sockets,
//! buffers and keys; it must not know HTTP, connections' states or configuration.
//!
//! The contract in short:
//!
//! - Operations are queued by [`accept`](Driver::accept), [`receive`](Driver::receive),
//!   [`send`](Driver::send), [`watch`](Driver::watch) and [`close`](Driver::close) and start at the next
//!   [`turn`](Driver::turn), the only place that may block. Afterwards [`next`](Driver::next) hands out what has
//!   completed.
//! - `accept` and `receive` repeat: they yield any number of events and end with exactly one event that has
//!   `more == false`. `send` and `watch` yield exactly one event. A key may be forgotten by its owner only after
//!   the last event of everything that was started for it.
//! - Memory handed to [`send`](Driver::send) belongs to the driver until its event hands it back. Memory
//!   received into belongs to the driver until the event hands out the lease.
//! - The driver neither retries short sends nor restarts ended receives: the connection decides.

mod bufring;
mod coalesce;
#[cfg(test)]
mod contract;
pub(crate) mod epoll;
pub(crate) mod memory;
pub(crate) mod op;
pub(crate) mod secure;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "tests use more of it than fuzz targets"))]
pub(crate) mod sim;
pub(crate) mod timer;
pub(crate) mod uring;

use std::io;

use peregrine_pool::{Key, Lease};

pub(crate) use crate::sys::Fd;
pub(crate) use crate::sys::clock::Now;
pub(crate) use op::SendBuffer;

/// What a driver reports, in the order in which it learnt of it.
#[derive(Debug)]
pub(crate) enum Event {
    /// A listener accepted a connection, or could not. Without `more` the listener has stopped.
    Accepted { listener: u32, result: Result<Fd, Errno>, more: bool },
    /// Something arrived for the receive of `key`. Without `more` the receive has ended.
    Received { key: Key, outcome: Received, more: bool },
    /// A send has ended: `result` bytes of `buffer` are with the kernel for good.
    Sent { key: Key, buffer: SendBuffer, result: Result<u32, Errno> },
    /// A watch has ended: the descriptor is ready for `interest`, has failed or hung up, which the next system
    /// call tells; or `ECANCELED` after [`Driver::unwatch`].
    Ready { key: Key, interest: Interest, result: Result<(), Errno> },
    /// The connection is secured, before anything is received on it.
    #[cfg(feature = "tls")]
    Secured { key: Key, info: std::rc::Rc<secure::TlsInfo> },
    /// Another thread called [`Waker::wake`](crate::sys::wake::Waker::wake).
    Woken,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read or to accept, or the end of it.
    Read,
    /// Room to write; on a connecting socket: it is connected, or could not be.
    Write,
}

/// The outcome of one receive.
#[derive(Debug)]
pub(crate) enum Received {
    /// The first `len` bytes of the lease are the peer's.
    Data { lease: Lease, len: u32 },
    /// The peer has shut down its sending side.
    Eof,
    /// No free receive block was left: start again once some are.
    Starved,
    /// The receive was stopped by [`Driver::stop_receiving`].
    Stopped,
    /// The socket failed.
    Failed(Errno),
    /// The connection could not be secured, or is so no longer. What still arrives is dropped.
    #[cfg(feature = "tls")]
    Broken(secure::Breach),
}

/// An error number of the kernel, e.g. `ECONNRESET`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.0))
    }
}

/// Completions, whatever the kernel interface. See the module's text for the rules.
pub(crate) trait Driver {
    /// Starts accepting on a listening socket; `listener` comes back in the events.
    fn accept(&mut self, socket: Fd, listener: u32);

    /// Asks the accepts of `listener` to end; an [`Event::Accepted`] without `more` follows.
    fn stop_accepting(&mut self, socket: Fd, listener: u32);

    /// Lets the driver know that a socket that `listener` has accepted is the connection `key`, before anything is
    /// started on it.
    fn opened(&mut self, socket: Fd, key: Key, listener: u32) {
        let _ = (socket, key, listener);
    }

    /// Starts receiving on a connection.
    fn receive(&mut self, socket: Fd, key: Key);

    /// The same for a peer that sends much: as many blocks at once as there is data for, where the driver can.
    fn receive_bulk(&mut self, socket: Fd, key: Key) {
        self.receive(socket, key);
    }

    /// The same for a time in which blocks are scarce: one block, then the receive ends.
    fn receive_one(&mut self, socket: Fd, key: Key) {
        self.receive(socket, key);
    }

    /// Whether [`receive_bulk`](Self::receive_bulk) is any different.
    fn has_bulk(&self) -> bool {
        false
    }

    /// Asks the receive of `key` to end; an [`Event::Received`] without `more` follows, unless it is already
    /// on its way.
    fn stop_receiving(&mut self, socket: Fd, key: Key);

    /// Sends what `buffer` holds. At most one send per connection may be open.
    fn send(&mut self, socket: Fd, key: Key, buffer: SendBuffer);

    /// Has [`Event::Ready`] told once when a descriptor is ready, which it may be already. Any that can be polled:
    /// connecting and connected sockets, datagram sockets, listeners that [`accept`](Self::accept) does not know,
    /// eventfds. At most one watch per key and interest may be open, none for reading beside a receive, and
    /// whatever was watched is closed by [`close`](Self::close).
    ///
    /// Between the readiness and the next system call another may have taken what there was: `EAGAIN` is possible.
    fn watch(&mut self, socket: Fd, key: Key, interest: Interest);

    /// Asks a watch to end; its event follows, unless it is already on its way.
    fn unwatch(&mut self, socket: Fd, key: Key, interest: Interest);

    /// Ends the connection's sending direction: the peer reads end of file after what was sent before. No
    /// send may be open.
    fn shutdown_write(&mut self, socket: Fd);

    /// Makes everything that is open on the connection end at once, as stopped or cancelled, with an error or
    /// just in time with success, and its close a reset. Nothing may be started on it after this.
    fn abort(&mut self, socket: Fd);

    /// Closes a socket on which nothing is open any more.
    fn close(&mut self, socket: Fd);

    /// Closes a socket whatever is open on it, of which nothing more will be told. Only for before the driver
    /// is dropped.
    fn abandon(&mut self, socket: Fd);

    /// Something has come that many others wait for the like of, `waiting` of them: the next turn may wait a little for
    /// several completions.
    fn coalesce(&mut self, waiting: usize) {
        let _ = waiting;
    }

    /// Starts what was queued, then waits until something completes or the monotonic clock shows `until`
    /// milliseconds; `Some(0)` does not wait. Returning early without an event is allowed.
    ///
    /// # Errors
    /// Only such as make the worker useless, e.g. a ring that the kernel refuses to enter.
    fn turn(&mut self, until: Option<u64>) -> io::Result<()>;

    /// The next thing that has completed; `None` when it is time for another turn.
    fn next(&mut self) -> Option<Event>;

    /// The clocks as of the last turn.
    fn now(&self) -> Now;

    /// Whether a receive that starved would find a block now.
    fn has_receive_blocks(&self) -> bool;

    /// Whether a receive may miss that its peer has gone, until it is started anew.
    fn may_miss_ends(&self) -> bool {
        false
    }

    /// Whether its clocks are not the system's.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Whether an earlier peak has left so much that it is worth while to [`trim`](Self::trim).
    fn is_sparse(&self) -> bool {
        false
    }

    /// Gives memory back that an earlier peak has left. For quiet moments.
    fn trim(&mut self);

    /// Operations that the kernel has not finished, accepts and wake-ups not counted.
    fn in_flight(&self) -> usize;
}
