//! Sockets: listening ones of both families, and the few questions asked about a connected one. What only sockets
//! of handlers need is in [`client`].
//!
//! Knows addresses and paths; URLs, endpoints and workers are for those above.

pub(crate) mod client;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Fd, check};

/// How a TCP listener is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenOptions {
    /// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub(crate) backlog: u32,
    /// Join the listeners of the same address that [`share_port`] has opened to others.
    pub(crate) reuse_port: bool,
    /// Leave IPv4 alone when the address is `[::]`.
    pub(crate) only_v6: bool,
    /// `TCP_NODELAY` on the listener: accepted connections inherit it, which saves a call for each.
    pub(crate) nodelay: bool,
    /// Accept a connection only when its client has sent something, or has not for some seconds
    /// (`TCP_DEFER_ACCEPT`): accept and first receive cost one wake-up instead of two.
    pub(crate) deferred: bool,
}

/// A client that has said nothing for so long is accepted all the same, and falls to our own deadlines.
const DEFER_SECONDS: libc::c_int = 1;

/// Opens a TCP listener. It blocks; a driver that needs otherwise sets it so.
///
/// # Errors
/// `EADDRINUSE` when anybody listens there, unless both have said that they share the port; `EACCES`,
/// `EADDRNOTAVAIL`, `EAFNOSUPPORT` and so on as the kernel reports them.
pub(crate) fn listen_tcp(address: SocketAddr, options: ListenOptions) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former server may linger in TIME_WAIT on this address.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(options.only_v6)?;
    }
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if options.deferred {
        defer_accept(&socket);
    }
    socket.bind(&address.into())?;
    socket.listen(clamp_backlog(options.backlog))?;
    Ok(socket.into())
}

/// Best effort: without it everything works the same, with one wake-up more.
fn defer_accept(socket: &Socket) {
    let seconds: libc::c_int = DEFER_SECONDS;
    // SAFETY: `seconds` is of the type and size that the option has, and outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Opens the address of a listener to further listeners of this process, which join with
/// [`reuse_port`](ListenOptions::reuse_port).
///
/// The order (bind, listen, then share) is what keeps everybody else out. A first listener that shared from
/// the start would silently join whoever shares that port already, another instance of ourselves included,
/// and take a part of its connections. And sharing before listening would leave a gap: two processes can bind
/// the same address as long as neither of them listens.
pub(crate) fn share_port(listener: &OwnedFd) -> io::Result<()> {
    SockRef::from(listener).set_reuse_port(true)
}

/// Opens a Unix socket listener at `path`, in the place of a socket file that nobody listens on any more.
///
/// # Errors
/// `AddrInUse` when somebody listens there, `AlreadyExists` when the path is something else than a socket,
/// `NotFound` when its directory is missing.
pub(crate) fn listen_unix(path: &Path, backlog: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        outcome => outcome?,
    }
    let file = SocketFile::new(path)?;
    socket.listen(clamp_backlog(backlog))?;
    Ok((socket.into(), file))
}

/// Removes the socket file at `path` if a connection to it is refused.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also when the connection would have to wait: somebody's backlog is full.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The file of a Unix socket; dropping it removes the file, unless another server's has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| ours(&metadata)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The address that a socket is bound to; `None` for Unix sockets.
pub(crate) fn local_address(socket: Fd) -> Option<SocketAddr> {
    address_by(socket, libc::getsockname)
}

/// The address of a connection's peer; `None` for Unix sockets and when the peer has gone.
pub(crate) fn peer_address(socket: Fd) -> Option<SocketAddr> {
    address_by(socket, libc::getpeername)
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_by(socket: Fd, call: AddressCall) -> Option<SocketAddr> {
    // SAFETY: `try_init` hands out room for any address and its size; the kernel writes no more than that
    // and says how much it wrote. A descriptor that is not open is an error.
    let address = unsafe {
        SockAddr::try_init(|storage, length| {
            check(call(socket.0, storage.cast(), length))?;
            Ok(())
        })
    };
    address.ok()?.1.as_socket()
}

/// Ends the sending direction: the peer reads end of file after what was sent.
pub(crate) fn shutdown_write(socket: Fd) -> io::Result<()> {
    // SAFETY: takes two integers.
    check(unsafe { libc::shutdown(socket.0, libc::SHUT_WR) })?;
    Ok(())
}

/// Makes the coming close a reset: the peer gets no orderly end and this side keeps no `TIME_WAIT`.
pub(crate) fn reset_on_close(socket: Fd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).unwrap_or(0);
    // SAFETY: the pointer and the length describe `linger`, which the kernel only reads.
    check(unsafe {
        libc::setsockopt(socket.0, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length)
    })?;
    Ok(())
}

fn clamp_backlog(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    const ALONE: ListenOptions =
        ListenOptions { backlog: 64, reuse_port: false, only_v6: true, nodelay: true, deferred: false };
    const JOINING: ListenOptions = ListenOptions { reuse_port: true, ..ALONE };

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn address_of(listener: &OwnedFd) -> SocketAddr {
        local_address(Fd(listener.as_raw_fd())).unwrap()
    }

    fn in_use(outcome: io::Result<OwnedFd>) -> bool {
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }

    #[test]
    fn listeners_of_one_group_share_the_port_that_the_first_one_got() {
        let first = listen_tcp(loopback(), ALONE).unwrap();
        let address = address_of(&first);
        share_port(&first).unwrap();
        let second = listen_tcp(address, JOINING).unwrap();
        let third = listen_tcp(address, JOINING).unwrap();
        let listeners: Vec<TcpListener> = [first, second, third].map(TcpListener::from).into();
        // The kernel spreads them by a hash of their ports: that one of three gets none of 60 does not happen.
        let clients: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = Vec::new();
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
            accepted.push(std::iter::from_fn(|| listener.accept().ok()).count());
        }
        assert_eq!(accepted.iter().sum::<usize>(), clients.len());
        assert!(accepted.iter().all(|&count| count > 0), "uneven: {accepted:?}");
    }

    #[test]
    fn an_address_in_use_is_refused_even_when_its_holder_shares_it() {
        let first = listen_tcp(loopback(), ALONE).unwrap();
        let address = address_of(&first);
        assert!(in_use(listen_tcp(address, ALONE)));
        assert!(in_use(listen_tcp(address, JOINING)), "not shared yet");
        share_port(&first).unwrap();
        assert!(in_use(listen_tcp(address, ALONE)), "a second instance starts with a listener of its own");
    }

    #[test]
    fn of_two_that_bound_before_either_listened_one_is_refused() {
        let bound = |address: SocketAddr| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket
        };
        let one = bound(loopback());
        let two = bound(one.local_addr().unwrap().as_socket().unwrap());
        one.listen(1).unwrap();
        one.set_reuse_port(true).unwrap();
        assert_eq!(two.listen(1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_connections_inherit_nodelay() {
        let listener = listen_tcp(loopback(), ALONE).unwrap();
        let address = address_of(&listener);
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = TcpListener::from(listener).accept().unwrap();
        assert!(server.nodelay().unwrap());
        assert_eq!(peer_address(Fd(server.as_raw_fd())), Some(client.local_addr().unwrap()));
        assert_eq!(local_address(Fd(server.as_raw_fd())), Some(address));
    }

    #[test]
    fn linger_zero_resets() {
        let listener = TcpListener::from(listen_tcp(loopback(), ALONE).unwrap());
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        reset_on_close(Fd(server.as_raw_fd())).unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(reset_on_close(Fd(-1)).is_err());
        assert_eq!(peer_address(Fd(-1)), None);
    }

    /// A directory of this test alone, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("peregrine-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn unix_sockets_are_served_and_their_file_removed_at_the_end() {
        let scratch = Scratch::new("served");
        let path = scratch.0.join("app.sock");
        let (listener, file) = listen_unix(&path, 16).unwrap();
        assert_eq!(local_address(Fd(listener.as_raw_fd())), None);
        let _client = UnixStream::connect(&path).unwrap();
        UnixListener::from(listener).accept().unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let scratch = Scratch::new("stale");
        let path = scratch.0.join("app.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let (_listener, file) = listen_unix(&path, 16).unwrap();
        let refused = listen_unix(&path, 16).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).expect("the refused one left the socket alone");

        // Somebody put another socket into our place: it is not ours to remove.
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_live_socket_with_a_full_backlog_counts_as_live() {
        let scratch = Scratch::new("full");
        let path = scratch.0.join("app.sock");
        let (_listener, _file) = listen_unix(&path, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(listen_unix(&path, 0).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let scratch = Scratch::new("file");
        let path = scratch.0.join("notes.txt");
        fs::write(&path, "keep me").unwrap();
        assert_eq!(listen_unix(&path, 16).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "keep me");
        let missing = scratch.0.join("nowhere/app.sock");
        assert_eq!(listen_unix(&missing, 16).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
