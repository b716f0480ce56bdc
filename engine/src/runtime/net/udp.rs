//! UDP sockets.

use std::io;
use std::net::SocketAddr;

use super::handle::Handle;
use super::table::Kind;
use crate::driver::{Fd, Interest};
use crate::runtime::Runtime;
use crate::sys::epoll;
use crate::sys::socket::{self, client};

/// A UDP socket. Datagrams are sent and received by a system call each, which waits only if it has to.
#[derive(Debug)]
pub struct UdpSocket {
    handle: Handle,
}

impl UdpSocket {
    /// A socket bound to `address`; port 0 is any free one.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) and so on as the kernel reports them.
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let runtime = Runtime::current("UdpSocket::bind");
        let handle = Handle::new(&runtime, client::bind_udp(address.into())?, Kind::Watched)?;
        Ok(Self { handle })
    }

    /// From here on it sends to `peer` and receives from nobody else.
    ///
    /// # Errors
    /// As the kernel reports them; it does not ask the peer.
    pub fn connect(&mut self, peer: impl Into<SocketAddr>) -> io::Result<()> {
        client::connect_udp(self.handle.fd()?, peer.into())
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_address(self.handle.fd()?).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends a datagram to `peer`.
    ///
    /// # Errors
    /// As the kernel reports them, e.g. when it is too long for any datagram.
    pub async fn send_to(&mut self, datagram: &[u8], peer: impl Into<SocketAddr>) -> io::Result<usize> {
        let peer = peer.into();
        self.call(Interest::Write, |socket| client::send_to(socket, datagram, peer)).await
    }

    /// Waits for a datagram, and says whose it is. What does not fit `into` is lost.
    ///
    /// # Errors
    /// As the kernel reports them.
    pub async fn recv_from(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.call(Interest::Read, |socket| client::recv_from(socket, into)).await
    }

    /// Sends a datagram to the peer that it is [`connect`](Self::connect)ed to.
    ///
    /// # Errors
    /// As of [`send_to`](Self::send_to), and what became of earlier ones, e.g.
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    pub async fn send(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.call(Interest::Write, |socket| epoll::send(socket, datagram, &[], false)).await
    }

    /// Waits for a datagram. What does not fit `into` is lost.
    ///
    /// # Errors
    /// As of [`recv_from`](Self::recv_from), and on a connected socket what became of those sent.
    pub async fn recv(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.recv_from(into).await.map(|(len, _)| len)
    }

    /// Makes a system call until it has not met that it would have to wait.
    async fn call<T>(
        &mut self,
        interest: Interest,
        mut call: impl FnMut(Fd) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(self.handle.fd()?) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.handle.ready(interest).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}
