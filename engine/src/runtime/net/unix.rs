//! Unix stream sockets.

use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::path::Path;
use std::time::Duration;

use super::halves::{ReadHalf, WriteHalf, reading, split, writing};
use super::handle::Handle;
use super::table::Kind;
use crate::runtime::{Runtime, sleep};
use crate::sys::socket::client;

/// How long to rest between two looks at a listener whose backlog is full.
const RESTS_MILLIS: [u64; 6] = [1, 2, 5, 10, 20, 50];

/// A connection by a Unix socket. See [`TcpStream`](super::TcpStream) for what happens when it is dropped.
#[derive(Debug)]
pub struct UnixStream {
    handle: Handle,
}

reading!(UnixStream);
writing!(UnixStream);

impl UnixStream {
    /// Connects to the listener at `path`. While its backlog is full, which no kernel reports the end of, it is asked
    /// again and again.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound), [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) and so on as
    /// the kernel reports them.
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let runtime = Runtime::current("UnixStream::connect");
        let mut tries = 0;
        loop {
            match client::connect_unix(path.as_ref()) {
                Ok(socket) => return Ok(Self { handle: Handle::new(&runtime, socket, Kind::OneByOne)? }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            sleep(Duration::from_millis(RESTS_MILLIS[tries])).await;
            tries = (tries + 1).min(RESTS_MILLIS.len() - 1);
        }
    }

    /// Two ends of one connection.
    ///
    /// # Errors
    /// The system's, e.g. when no descriptors are left.
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub fn pair() -> io::Result<(Self, Self)> {
        let runtime = Runtime::current("UnixStream::pair");
        let (one, other) = Blocking::pair()?;
        let take = |end: Blocking| -> io::Result<Self> {
            end.set_nonblocking(true)?;
            Ok(Self { handle: Handle::new(&runtime, end.into(), Kind::OneByOne)? })
        };
        Ok((take(one)?, take(other)?))
    }

    /// Splits it into halves for two tasks.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        split(self.handle)
    }

    #[cfg(feature = "tokio-io")]
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
