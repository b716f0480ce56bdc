//! Sockets for handlers and spawned tasks, on the worker's own driver.
//!
//! What a socket wants is started together with everything else that the worker does, by the one system call of its
//! next turn; no other thread is involved. A socket belongs to the worker that has made it, and is not `Send`.
//!
//! ```
//! use peregrine::net::TcpStream;
//! use peregrine::prelude::*;
//!
//! async fn banner() -> Result<Vec<u8>> {
//!     let mut peer = TcpStream::connect("127.0.0.1:2525").await?;
//!     let mut greeting = [0; 512];
//!     let len = peer.read(&mut greeting).await?;
//!     peer.write_all(b"QUIT\r\n").await?;
//!     peer.shutdown().await?;
//!     Ok(greeting[..len].to_vec())
//! }
//! # let mut app = App::new();
//! # app.get("/banner", banner);
//! ```
//!
//! Nothing in here waits for a limited time only: [`timeout`](crate::timeout) ends what takes too long, and whatever
//! is dropped where it waits is cancelled, and leaves nothing behind.
//!
//! With the feature `tokio-io` the streams and their halves are `tokio::io::AsyncRead` and `AsyncWrite`, so that
//! clients which are written for these work without a runtime of tokio's.
//
// Owns the sockets' public face (here, `tcp`, `unix`, `udp`, `halves`), their side of the tasks (`handle`) and of the
// driver (`table`), and what is in between (`queues`). It must not know connections of clients or HTTP.

mod endpoint;
mod halves;
mod handle;
mod queues;
mod table;
mod tcp;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod udp;
mod unix;

pub use endpoint::Endpoint;
pub use halves::{ReadHalf, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::UnixStream;

pub(super) use table::Sockets;

use std::rc::Rc;

use peregrine_pool::Key;

use super::{Runtime, drop_foreign};
use crate::driver::{Driver, Errno, Interest, Received, SendBuffer};

impl Runtime {
    /// Starts what sockets have come to want. Right before the driver's turn.
    #[inline]
    pub(crate) fn start_sockets(&self, driver: &mut impl Driver) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.start(driver);
        if std::mem::take(&mut sockets.has_heard) {
            driver.coalesce(self.slots.placed());
        }
    }

    /// Takes an event that no connection has a key for.
    #[cold]
    pub(crate) fn socket_received(&self, key: Key, outcome: Received, more: bool, driver: &impl Driver) {
        let waiter = self.sockets.borrow_mut().received(key, outcome, more, driver);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// The same for a send.
    #[cold]
    pub(crate) fn socket_sent(&self, key: Key, buffer: SendBuffer, result: Result<u32, Errno>) {
        let waiter = self.sockets.borrow_mut().sent(key, buffer, result);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// The same for a watch, which connections have none of.
    pub(crate) fn socket_ready(&self, key: Key, interest: Interest, result: Result<(), Errno>) {
        let waiter = self.sockets.borrow_mut().ready(key, interest, result);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Closes all sockets: the driver is about to go, and the tasks are gone.
    pub(crate) fn abandon_sockets(self: &Rc<Self>, driver: &mut impl Driver) {
        let waiters = self.sockets.borrow_mut().abandon(driver);
        drop_foreign(waiters);
    }

    /// Sockets that are not closed, and receive blocks that they hold.
    #[cfg(test)]
    pub(crate) fn sockets(&self) -> (u32, u32) {
        self.sockets.borrow().counts()
    }
}
