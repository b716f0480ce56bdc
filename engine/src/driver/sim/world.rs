//! The test's side of the simulator: the world that the driver deals with, and the far ends of its connections.
//!
//! Owns nothing: it changes what the simulator keeps. It must not know the code under test.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use super::{CONNECT_MILLIS_MAX, Connection, Errno, Faults, Fd, State};

/// What the driver deals with: the test's hold on it.
#[derive(Clone)]
pub(crate) struct World {
    pub(super) state: Rc<RefCell<State>>,
}

/// The far end of one connection.
#[derive(Clone)]
pub(crate) struct Peer {
    state: Rc<RefCell<State>>,
    connection: usize,
}

impl World {
    /// What the driver was told to coalesce for, since this was last asked.
    pub(crate) fn take_waiting(&self) -> Option<usize> {
        self.state.borrow_mut().waiting.take()
    }

    /// A client connects: the listener is told in a later turn.
    pub(crate) fn connect(&self) -> Peer {
        let mut state = self.state.borrow_mut();
        let connection = state.connections.len();
        state.connections.push(Connection::default());
        state.backlog.push_back(connection);
        Peer { state: Rc::clone(&self.state), connection }
    }

    /// Our side begins a connection of its own, as a handler does by a system call. It is there, or refused, some
    /// time later, which a watch for writing tells.
    pub(crate) fn dial(&self) -> (Fd, Peer) {
        let mut state = self.state.borrow_mut();
        let connection = state.connections.len();
        let connects_at = Some(state.millis + state.below(CONNECT_MILLIS_MAX + 1) as u64);
        state.connections.push(Connection { connects_at, ..Connection::default() });
        let socket = state.open_as(connection);
        (socket, Peer { state: Rc::clone(&self.state), connection })
    }

    /// What `SO_ERROR` of a socket of ours says, once.
    pub(crate) fn take_error(&self, socket: Fd) -> Option<Errno> {
        let mut state = self.state.borrow_mut();
        std::mem::take(&mut state.socket(socket).is_refused).then_some(Errno(libc::ECONNREFUSED))
    }

    /// Moves the clock, which the driver's owner sees after its next turn.
    pub(crate) fn advance(&self, millis: u64) {
        self.state.borrow_mut().millis += millis;
    }

    /// Milliseconds of the virtual clock.
    pub(crate) fn millis(&self) -> u64 {
        self.state.borrow().millis
    }

    /// Another thread wakes the worker.
    pub(crate) fn wake(&self) {
        self.state.borrow_mut().is_woken = true;
    }

    /// From now on these things go wrong.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// How many accepted connections are not closed.
    pub(crate) fn open_sockets(&self) -> usize {
        self.state.borrow().sockets.len()
    }

    /// Asserts that nothing is left of any connection: no event, operation, descriptor or block. Listeners
    /// may be open.
    pub(crate) fn assert_quiescent(&self) {
        let state = self.state.borrow();
        assert!(state.events.is_empty(), "events that nobody took: {:?}", state.events);
        assert_eq!(state.in_flight(), 0, "operations are open");
        assert!(state.sockets.is_empty(), "sockets are open: {:?}", state.sockets.keys());
        let stats = state.blocks.stats();
        assert_eq!(stats.leased + stats.lent, 0, "receive blocks did not come back");
    }
}

impl Peer {
    fn connection(&self) -> RefMut<'_, Connection> {
        RefMut::map(self.state.borrow_mut(), |state| &mut state.connections[self.connection])
    }

    /// Sends; what comes after the close is answered by a reset.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut connection = self.connection();
        assert!(!connection.inbound_has_ended, "a peer sends after its end");
        if connection.is_closed {
            connection.peer_saw_reset = true;
        } else if !connection.is_broken {
            connection.inbound.extend(bytes);
        }
    }

    /// Sends no more, but goes on reading.
    pub(crate) fn shutdown(&self) {
        self.connection().inbound_has_ended = true;
    }

    /// Sends no more and reads no more.
    pub(crate) fn close(&self) {
        let mut connection = self.connection();
        connection.inbound_has_ended = true;
        connection.peer_is_gone = true;
        // What was stuck finds out.
        connection.window = None;
    }

    /// Resets the connection. What was sent before may or may not be received.
    pub(crate) fn reset(&self) {
        let is_lost = self.state.borrow_mut().roll(50);
        let mut connection = self.connection();
        connection.is_broken = true;
        if is_lost {
            connection.inbound.clear();
        }
    }

    /// From now on there is room for so many bytes; without limit if `None`. A send that finds no room for the
    /// rest stays open.
    pub(crate) fn set_window(&self, bytes: Option<usize>) {
        self.connection().window = bytes;
    }

    /// All bytes that have been sent to this peer.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.connection().outbound.clone()
    }

    /// The connection was ended in order, as far as the sending direction of the other end goes.
    pub(crate) fn saw_eof(&self) -> bool {
        let connection = self.connection();
        connection.has_ended && !connection.peer_saw_reset
    }

    /// The connection was aborted, or closed before everything was received that had been sent.
    pub(crate) fn saw_reset(&self) -> bool {
        self.connection().peer_saw_reset
    }

    /// The other end has closed its descriptor.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection().is_closed
    }
}
