//! The calls on sockets that handlers open: made non-blocking and closed on exec, connected, accepted from,
//! and the datagrams sent and received here and now.
//!
//! Nothing in here waits. It must not know who waits for readiness, nor how.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Fd, ListenOptions, check, listen_tcp};

/// Makes a TCP socket and begins to connect it. Once it is writable, [`take_error`] says how that went.
///
/// # Errors
/// What is known at once, e.g. `ENETUNREACH`, or `EMFILE` when no descriptor is left.
pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    begin_to_connect(&socket, &address.into())?;
    Ok(socket.into())
}

/// Makes a Unix stream socket and connects it to the listener at `path`, which never takes time.
///
/// # Errors
/// `WouldBlock` when the listener's backlog is full: nothing is under way then, and no readiness will tell when
/// to try again. `NotFound`, `ConnectionRefused` and so on as the kernel reports them.
pub(crate) fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Makes a UDP socket bound to `address`; port 0 is any free one.
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL` and so on as the kernel reports them.
pub(crate) fn bind_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Has a UDP socket send to `peer` and receive from nobody else. That is done at once.
///
/// # Errors
/// `ENETUNREACH`, `EAFNOSUPPORT` and so on as the kernel reports them.
pub(crate) fn connect_udp(socket: Fd, peer: SocketAddr) -> io::Result<()> {
    reference(socket, |socket| socket.connect(&peer.into()))
}

/// Opens a TCP listener as [`listen_tcp`] does, for [`accept`].
///
/// # Errors
/// As of [`listen_tcp`].
pub(crate) fn listen_tcp_nonblocking(address: SocketAddr, options: ListenOptions) -> io::Result<OwnedFd> {
    let listener = listen_tcp(address, options)?;
    SockRef::from(&listener).set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts one connection of a non-blocking listener, and says whose; `None` for Unix sockets.
///
/// # Errors
/// `WouldBlock` when none waits; otherwise as the kernel reports it, which may be about the one connection only.
pub(crate) fn accept(listener: Fd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `try_init` hands out room for any address and its size; the kernel writes no more than that and
    // says how much it wrote.
    let (accepted, address) = unsafe {
        SockAddr::try_init(|storage, length| check(libc::accept4(listener.0, storage.cast(), length, flags)))
    }?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, address.as_socket()))
}

/// The error that a socket has met since it was last asked (`SO_ERROR`), e.g. `ECONNREFUSED` of a connect.
///
/// # Errors
/// `EBADF` and `ENOTSOCK`: what was asked is no socket.
pub(crate) fn take_error(socket: Fd) -> io::Result<Option<io::Error>> {
    reference(socket, |socket| socket.take_error())
}

/// Sends small writes at once (`TCP_NODELAY`), or lets them wait for what is under way.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOPROTOOPT` on what is not TCP.
pub(crate) fn set_nodelay(socket: Fd, nodelay: bool) -> io::Result<()> {
    reference(socket, |socket| socket.set_tcp_nodelay(nodelay))
}

/// Sends a datagram.
///
/// # Errors
/// `WouldBlock` when there is no room for it, `EMSGSIZE` when it is too long for any; on a connected socket also
/// what became of earlier ones, e.g. `ECONNREFUSED`.
pub(crate) fn send_to(socket: Fd, datagram: &[u8], peer: SocketAddr) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    reference(socket, |socket| socket.send_to_with_flags(datagram, &peer.into(), flags))
}

/// Receives a datagram, of which what does not fit `into` is lost, and says whose.
///
/// # Errors
/// `WouldBlock` when none is there; on a connected socket also what became of those sent.
pub(crate) fn recv_from(socket: Fd, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    // SAFETY: the same memory in another type, which allows what is not initialised. None of that is put there:
    // the call below promises to write nothing but received bytes.
    let into = unsafe { mem::transmute::<&mut [u8], &mut [MaybeUninit<u8>]>(into) };
    let (length, peer) = reference(socket, |socket| socket.recv_from_with_flags(into, libc::MSG_DONTWAIT))?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((length, peer))
}

fn begin_to_connect(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        outcome => outcome,
    }
}

/// Asks something of a socket that somebody else owns.
fn reference<T>(socket: Fd, ask: impl FnOnce(&SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
    if socket.0 < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: not -1. The borrow ends with this call, in which the number goes to system calls alone: one that is
    // not open makes them fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket.0) };
    ask(&SockRef::from(&borrowed))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use super::super::{local_address, peer_address};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn fd(socket: &impl AsRawFd) -> Fd {
        Fd(socket.as_raw_fd())
    }

    /// Waits as a driver would, by itself.
    fn wait_for(socket: &impl AsRawFd, interest: crate::sys::epoll::Interest) {
        let mut poller = crate::sys::epoll::Poller::new(1).unwrap();
        poller.add(fd(socket), interest, 0).unwrap();
        assert_eq!(poller.wait(Some(PATIENCE.as_millis() as u64)).unwrap(), 1, "never ready");
    }

    fn wait_for_room(socket: &impl AsRawFd) {
        wait_for(socket, crate::sys::epoll::Interest::ReceiveAndSend);
    }

    fn wait_for_input(socket: &impl AsRawFd) {
        wait_for(socket, crate::sys::epoll::Interest::Wake);
    }

    fn would_block<T>(outcome: io::Result<T>) -> bool {
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The flags that every socket in here is made with.
    fn assert_flags(socket: &OwnedFd) {
        let socket = SockRef::from(socket);
        assert!(socket.nonblocking().unwrap());
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0, "{info}");
    }

    #[test]
    fn tcp_connects_and_is_accepted() {
        let options =
            ListenOptions { backlog: 16, reuse_port: false, only_v6: true, nodelay: false, deferred: false };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = match listen_tcp_nonblocking(address.parse().unwrap(), options) {
                Ok(listener) => listener,
                Err(error) => {
                    eprintln!("not tested: {address}: {error}");
                    continue;
                }
            };
            assert_flags(&listener);
            assert!(would_block(accept(fd(&listener))));
            let client = connect_tcp(local_address(fd(&listener)).unwrap()).unwrap();
            assert_flags(&client);
            wait_for_room(&client);
            assert!(take_error(fd(&client)).unwrap().is_none());
            wait_for_input(&listener);
            let (accepted, peer) = accept(fd(&listener)).unwrap();
            assert_flags(&accepted);
            assert_eq!(peer, local_address(fd(&client)));
            assert_eq!(peer_address(fd(&client)), local_address(fd(&listener)));

            assert!(!SockRef::from(&client).tcp_nodelay().unwrap());
            set_nodelay(fd(&client), true).unwrap();
            assert!(SockRef::from(&client).tcp_nodelay().unwrap());
            let (mut client, mut accepted) = (TcpStream::from(client), TcpStream::from(accepted));
            assert!(would_block(accepted.read(&mut [0])));
            client.write_all(b"hello").unwrap();
            wait_for_input(&accepted);
            let mut got = [0; 5];
            accepted.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello");
        }
    }

    #[test]
    fn refused_connect_is_told_once() {
        let address = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
        let client = connect_tcp(address).unwrap();
        wait_for_room(&client);
        let error = take_error(fd(&client)).unwrap().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(take_error(fd(&client)).unwrap().is_none());
        assert_eq!(peer_address(fd(&client)), None);
    }

    #[test]
    fn unix_connects_or_says_why_not() {
        let path = std::env::temp_dir().join(format!("peregrine-client-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert_eq!(connect_unix(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let (listener, file) = super::super::listen_unix(&path, 0).unwrap();
        let client = connect_unix(&path).unwrap();
        assert_flags(&client);
        assert!(would_block(connect_unix(&path)), "the backlog is full");
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true).unwrap();
        let (accepted, peer) = accept(fd(&listener)).unwrap();
        assert_flags(&accepted);
        assert_eq!(peer, None);
        UnixStream::from(accepted).write_all(b"hello").unwrap();
        let mut got = [0; 5];
        UnixStream::from(client).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        assert!(set_nodelay(fd(&listener), true).is_err());
        drop((listener, file));
        assert!(connect_unix(&path).is_err());
    }

    #[test]
    fn datagrams_come_and_go() {
        let socket = bind_udp(loopback()).unwrap();
        assert_flags(&socket);
        let address = local_address(fd(&socket)).unwrap();
        assert_ne!(address.port(), 0);
        assert!(bind_udp(address).is_err(), "in use");
        let mut got = [0; 8];
        assert!(would_block(recv_from(fd(&socket), &mut got)));
        let peer = UdpSocket::bind(loopback()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let peer_is_at = peer.local_addr().unwrap();
        assert_eq!(send_to(fd(&socket), b"ping", peer_is_at).unwrap(), 4);
        assert_eq!(peer.recv_from(&mut got).unwrap(), (4, address));
        assert_eq!(&got[..4], b"ping");
        for datagram in [&b"pong"[..], b"", b"much too long"] {
            peer.send_to(datagram, address).unwrap();
            wait_for_input(&socket);
            let fits = datagram.len().min(8);
            assert_eq!(recv_from(fd(&socket), &mut got).unwrap(), (fits, peer_is_at));
            assert_eq!(got[..fits], datagram[..fits]);
        }
        let error = send_to(fd(&socket), &vec![0; 70_000], peer_is_at).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }

    #[test]
    fn connected_datagram_socket_has_one_peer() {
        let socket = bind_udp(loopback()).unwrap();
        let address = local_address(fd(&socket)).unwrap();
        let [peer, other] = [(); 2].map(|()| UdpSocket::bind(loopback()).unwrap());
        let peer_is_at = peer.local_addr().unwrap();
        connect_udp(fd(&socket), peer_is_at).unwrap();
        assert_eq!(peer_address(fd(&socket)), Some(peer_is_at));
        other.send_to(b"no", address).unwrap();
        peer.send_to(b"yes", address).unwrap();
        wait_for_input(&socket);
        assert_eq!(recv_from(fd(&socket), &mut [0; 8]).unwrap(), (3, peer_is_at));
        drop(peer);
        // Nobody is there any more, which is told by what comes next.
        send_to(fd(&socket), b"hello", peer_is_at).unwrap();
        wait_for_input(&socket);
        let error = recv_from(fd(&socket), &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_is_not_open_is_an_error() {
        for it in [Fd(-1), Fd(i32::MAX)] {
            assert_eq!(take_error(it).unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert_eq!(accept(it).unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert_eq!(recv_from(it, &mut [0]).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = take_error(Fd(file.as_fd().as_raw_fd())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    }
}
