//! TCP: connections that handlers make, and listeners of their own.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::endpoint::{Endpoint, Form};
use super::halves::{ReadHalf, WriteHalf, reading, split, writing};
use super::handle::Handle;
use super::table::Kind;
use crate::driver::{Fd, Interest};
use crate::runtime::Runtime;
use crate::runtime::resolve;
use crate::sys::socket::{self, ListenOptions, client};

/// Connections of a [`TcpListener`] that may wait to be accepted, as of the standard library's.
const BACKLOG: u32 = 4096;

/// A TCP connection.
///
/// Dropped, it is closed; what was written before is still sent, for five seconds at most, which a worker that drains
/// waits for.
#[derive(Debug)]
pub struct TcpStream {
    handle: Handle,
}

reading!(TcpStream);
writing!(TcpStream);

impl TcpStream {
    /// Connects to `peer`: of a name's addresses to the first that accepts, one after the other.
    ///
    /// Small writes wait for what is under way (Nagle's algorithm), as the standard library leaves it; protocols of
    /// requests and responses should [`set_nodelay`](Self::set_nodelay).
    ///
    /// # Errors
    /// The last address's, e.g. [`ConnectionRefused`](io::ErrorKind::ConnectionRefused), or that of the name's
    /// look-up. No limit but the kernel's, of about two minutes, is set to its time.
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub async fn connect(peer: impl Into<Endpoint>) -> io::Result<Self> {
        let runtime = Runtime::current("TcpStream::connect");
        let addresses = match peer.into().0 {
            Form::Address(address) => return Self::connect_to(&runtime, address).await,
            Form::Name(name, port) => resolve(&name, port).await?,
            Form::Malformed => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither an address nor a name and a port",
                ));
            }
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match Self::connect_to(&runtime, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect_to(runtime: &Rc<Runtime>, address: SocketAddr) -> io::Result<Self> {
        let handle = Handle::new(runtime, client::connect_tcp(address)?, Kind::Stream)?;
        Self::connected(handle, client::take_error).await
    }

    /// A connection that has begun, once it is there.
    async fn connected(
        handle: Handle,
        take_error: impl FnOnce(Fd) -> io::Result<Option<io::Error>>,
    ) -> io::Result<Self> {
        handle.ready(Interest::Write).await?;
        match take_error(handle.fd()?)? {
            None => Ok(Self { handle }),
            Some(error) => Err(error),
        }
    }

    /// The same for a socket of the simulator.
    #[cfg(test)]
    pub(crate) fn connect_simulated(
        socket: Fd,
        take_error: impl FnOnce(Fd) -> io::Result<Option<io::Error>> + 'static,
    ) -> impl Future<Output = io::Result<Self>> + 'static {
        let runtime = Runtime::current("a test");
        let handle = Handle::adopt(&runtime, socket, Kind::Stream);
        async { Self::connected(handle?, take_error).await }
    }

    /// The address of this end.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_address(self.handle.fd()?).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) when it has gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer_address(self.handle.fd()?).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends small writes at once (`TCP_NODELAY`, off by default), or lets them wait for what is under way.
    ///
    /// # Errors
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        client::set_nodelay(self.handle.fd()?, nodelay)
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

/// A TCP listener of a task's own, beside those that the server accepts on.
///
/// It accepts on the worker that has made it and on no other, and is closed when it is dropped.
///
/// ```
/// use peregrine::net::TcpListener;
///
/// async fn echo() -> std::io::Result<()> {
///     let mut listener = TcpListener::bind(([127, 0, 0, 1], 7))?;
///     loop {
///         let (mut stream, _) = listener.accept().await?;
///         peregrine::spawn(async move {
///             let mut bytes = [0; 4096];
///             while let Ok(len @ 1..) = stream.read(&mut bytes).await {
///                 if stream.write_all(&bytes[..len]).await.is_err() {
///                     break;
///                 }
///             }
///         });
///     }
/// }
/// # let mut app = peregrine::App::new();
/// # app.get("/echo", async || { peregrine::spawn(echo()); "it listens" });
/// ```
#[derive(Debug)]
pub struct TcpListener {
    handle: Handle,
}

impl TcpListener {
    /// Listens on `address`; port 0 is any free one. `[::]` listens on IPv4 as well.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) and so on as the kernel reports them.
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let runtime = Runtime::current("TcpListener::bind");
        let options = ListenOptions {
            backlog: BACKLOG,
            reuse_port: false,
            only_v6: false,
            nodelay: false,
            deferred: false,
        };
        let listener = client::listen_tcp_nonblocking(address.into(), options)?;
        Ok(Self { handle: Handle::new(&runtime, listener, Kind::Watched)? })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_address(self.handle.fd()?).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// The listener's, e.g. when no descriptors are left. It goes on all the same, and so may whoever waits a little.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match client::accept(self.handle.fd()?) {
                Ok((accepted, peer)) => {
                    let handle = Handle::new(&self.handle.runtime, accepted, Kind::Stream)?;
                    let peer = peer.ok_or(io::ErrorKind::Unsupported)?;
                    return Ok((TcpStream { handle }, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.handle.ready(Interest::Read).await?;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a failed accept says something about the one connection, which is gone, and not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR))
}
