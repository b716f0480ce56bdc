//! Opens all listening sockets before any worker starts, so that a server starts on all of its addresses or
//! on none.
//!
//! Every worker gets a TCP listener of its own for each address, among which the kernel spreads the
//! connections; of a Unix socket there is one, which all workers accept from.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::address::{Address, Endpoint};
use super::error::{Result, StartError};
use crate::sys::socket::{self, ListenOptions, SocketFile};
use crate::sys::{Fd, limits};

/// How often a port that is free on both loopback addresses is looked for.
const LOCALHOST_TRIES: usize = 16;

/// A listening socket of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// The socket. Shared by all workers where the kernel does not spread connections over several.
    pub(crate) fd: Arc<OwnedFd>,
    /// The number of its address among those that are configured, if that is one of https.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "who asks is of TLS"))]
    pub(crate) secured: Option<usize>,
}

/// The files of a server's Unix sockets; dropping them removes them.
#[derive(Debug, Default)]
pub(crate) struct SocketFiles(Vec<SocketFile>);

/// All listening sockets of a server.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What each endpoint is reached by, with the ports that the kernel chose.
    pub(crate) urls: Vec<String>,
    /// The TCP addresses, with the ports that the kernel chose.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The listeners of each worker.
    pub(crate) per_worker: Vec<Vec<Listener>>,
    /// What was not as asked for, but no reason to stop: one sentence each, for the log.
    pub(crate) warnings: Vec<String>,
    /// What to drop when nobody listens any more.
    pub(crate) files: SocketFiles,
}

/// Opens the listeners of all endpoints for a number of workers.
///
/// # Errors
/// The first endpoint that cannot be listened on. Then nothing stays open.
pub(crate) fn bind(addresses: &[Address], workers: usize, backlog: u32) -> Result<Bound> {
    let bound = Bound {
        urls: Vec::new(),
        addresses: Vec::new(),
        per_worker: vec![Vec::new(); workers],
        warnings: Vec::new(),
        files: SocketFiles::default(),
    };
    let mut binder = Binder { backlog, bound, secured: None };
    binder.warn_of_capped_backlog();
    for (number, address) in addresses.iter().enumerate() {
        binder.secured = address.is_https.then_some(number);
        let url = binder.endpoint(&address.endpoint)?;
        binder.bound.urls.push(url);
    }
    Ok(binder.bound)
}

/// The listeners of one TCP address, one per worker.
struct Group {
    address: SocketAddr,
    listeners: Vec<Arc<OwnedFd>>,
}

struct Binder {
    backlog: u32,
    bound: Bound,
    /// The number of the address that is being bound, if it is one of https.
    secured: Option<usize>,
}

impl Binder {
    /// Returns the URL that the endpoint is reached by.
    fn endpoint(&mut self, endpoint: &Endpoint) -> Result<String> {
        let fail = |binder: &Self, port, error| binder.failure(endpoint, port, error);
        match *endpoint {
            Endpoint::Ip(address) => {
                let group = self.group(address).map_err(|error| fail(self, address.port(), error))?;
                let address = self.keep(group);
                Ok(self.url(&Endpoint::Ip(address)))
            }
            Endpoint::Any { port } => {
                let group = self.any(port).map_err(|error| fail(self, port, error))?;
                let address = self.keep(group);
                Ok(self.url(&Endpoint::Ip(address)))
            }
            Endpoint::Localhost { port } => {
                let groups = self.localhost(port).map_err(|error| fail(self, port, error))?;
                let mut port = port;
                for group in groups {
                    port = self.keep(group).port();
                }
                Ok(self.url(&Endpoint::Localhost { port }))
            }
            Endpoint::Unix(ref path) => {
                self.unix(path)?;
                Ok(self.url(endpoint))
            }
        }
    }

    fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// What an endpoint of the address that is being bound is reached by.
    fn url(&self, endpoint: &Endpoint) -> String {
        endpoint.url(self.scheme())
    }

    /// All interfaces: one IPv6 socket that takes IPv4 too, or IPv4 alone where there is no IPv6.
    fn any(&mut self, port: u16) -> io::Result<Group> {
        match self.group((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(error) if !is_final(&error) => {
                let scheme = self.scheme();
                self.bound.warnings.push(format!(
                    "Failed to bind to {scheme}://[::]:{port}: {error}. Listening on {scheme}://0.0.0.0:{port} \
                     instead."
                ));
                self.group((Ipv4Addr::UNSPECIFIED, port).into())
            }
            outcome => outcome,
        }
    }

    /// Both loopback addresses, on the same port.
    fn localhost(&mut self, port: u16) -> io::Result<Vec<Group>> {
        let mut tries = if port == 0 { LOCALHOST_TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.both_loopbacks(port) {
                // The port that the kernel chose for one address was taken on the other.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                outcome => return outcome,
            }
        }
    }

    fn both_loopbacks(&mut self, port: u16) -> io::Result<Vec<Group>> {
        let v4 = self.group((Ipv4Addr::LOCALHOST, port).into());
        let chosen = v4.as_ref().map_or(port, |group| group.address.port());
        let v6 = self.group((Ipv6Addr::LOCALHOST, chosen).into());
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
            (Ok(_), Err(error)) | (Err(error), Ok(_)) if is_final(&error) => Err(error),
            (Ok(v4), Err(error)) => Ok(vec![self.one_loopback(v4, IpAddr::V6(Ipv6Addr::LOCALHOST), &error)]),
            (Err(error), Ok(v6)) => Ok(vec![self.one_loopback(v6, IpAddr::V4(Ipv4Addr::LOCALHOST), &error)]),
            (Err(v4), Err(v6)) => Err(if is_final(&v6) { v6 } else { v4 }),
        }
    }

    fn one_loopback(&mut self, group: Group, other: IpAddr, error: &io::Error) -> Group {
        let failed = SocketAddr::new(other, group.address.port());
        let scheme = self.scheme();
        self.bound.warnings.push(format!(
            "Failed to bind to {scheme}://{failed}: {error}. Listening on {scheme}://{} alone.",
            group.address
        ));
        group
    }

    /// One listener per worker on one address. The first one binds alone, which is refused if anybody
    /// listens there; then it lets the others join it.
    fn group(&mut self, address: SocketAddr) -> io::Result<Group> {
        let options = ListenOptions {
            backlog: self.backlog,
            reuse_port: false,
            only_v6: !address.ip().is_unspecified(),
            nodelay: true,
            deferred: self.secured.is_some(),
        };
        let first = socket::listen_tcp(address, options)?;
        let address = socket::local_address(Fd(first.as_raw_fd())).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let workers = self.bound.per_worker.len();
        let join = || -> io::Result<Vec<OwnedFd>> {
            if workers > 1 {
                socket::share_port(&first)?;
            }
            let joining = ListenOptions { reuse_port: true, ..options };
            (1..workers).map(|_| socket::listen_tcp(address, joining)).collect()
        };
        let listeners = match join() {
            Ok(others) => std::iter::once(first).chain(others).map(Arc::new).collect(),
            Err(error) if is_out_of_descriptors(&error) => return Err(error),
            // The address is ours, so this kernel cannot share ports, or not after the fact.
            Err(error) => {
                let scheme = self.scheme();
                self.bound.warnings.push(format!(
                    "Failed to open one listener per worker on {scheme}://{address}: {error}. All workers \
                     accept from one."
                ));
                let shared = Arc::new(first);
                vec![shared; workers]
            }
        };
        Ok(Group { address, listeners })
    }

    fn unix(&mut self, path: &Path) -> Result<()> {
        let (listener, file) =
            socket::listen_unix(path, self.backlog).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => StartError::SocketInUse { path: path.to_owned() },
                io::ErrorKind::AlreadyExists => StartError::NotASocket { path: path.to_owned() },
                io::ErrorKind::NotFound => StartError::MissingDirectory { path: path.to_owned() },
                _ if is_out_of_descriptors(&source) => too_few_descriptors(),
                _ => StartError::Bind { url: self.url(&Endpoint::Unix(path.to_owned())), source },
            })?;
        self.bound.files.0.push(file);
        let workers = self.bound.per_worker.len();
        let shared = Arc::new(listener);
        self.hand_out(vec![shared; workers]);
        Ok(())
    }

    fn keep(&mut self, group: Group) -> SocketAddr {
        self.bound.addresses.push(group.address);
        self.hand_out(group.listeners);
        group.address
    }

    fn hand_out(&mut self, listeners: Vec<Arc<OwnedFd>>) {
        for (worker, fd) in self.bound.per_worker.iter_mut().zip(listeners) {
            worker.push(Listener { fd, secured: self.secured });
        }
    }

    /// The sentence for a TCP endpoint that could not be bound.
    fn failure(&self, endpoint: &Endpoint, port: u16, source: io::Error) -> StartError {
        let url = self.url(endpoint);
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                StartError::AddressInUse { url, port, holder: self.holder(endpoint, port) }
            }
            io::ErrorKind::AddrNotAvailable => StartError::AddressNotAvailable { url },
            io::ErrorKind::PermissionDenied if port < lowest_free_port() => {
                StartError::PortPrivileged { url, lowest_free: lowest_free_port() }
            }
            _ if is_out_of_descriptors(&source) => too_few_descriptors(),
            _ => StartError::Bind { url, source },
        }
    }

    /// The address of this server that is in the way of `endpoint`, if one is.
    fn holder(&self, endpoint: &Endpoint, port: u16) -> Option<String> {
        let wanted = match *endpoint {
            Endpoint::Ip(address) => vec![address.ip()],
            Endpoint::Localhost { .. } => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Endpoint::Any { .. } => vec![Ipv6Addr::UNSPECIFIED.into()],
            Endpoint::Unix(_) => return None,
        };
        let overlaps =
            |taken: IpAddr, ip: &IpAddr| taken == *ip || taken.is_unspecified() || ip.is_unspecified();
        let mut taken = self.bound.addresses.iter().filter(|address| address.port() == port);
        let holder = taken.find(|address| wanted.iter().any(|ip| overlaps(address.ip(), ip)))?;
        Some(Endpoint::Ip(*holder).to_string())
    }

    fn warn_of_capped_backlog(&mut self) {
        let cap = read_number("/proc/sys/net/core/somaxconn");
        if let Some(cap) = cap.filter(|&cap| cap < self.backlog) {
            self.bound.warnings.push(format!(
                "The backlog of {} is capped at {cap} by this kernel. To raise it: sysctl -w \
                 net.core.somaxconn={}",
                self.backlog, self.backlog
            ));
        }
    }
}

/// Whether another address of the same endpoint is no way out.
fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
        || is_out_of_descriptors(error)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn too_few_descriptors() -> StartError {
    StartError::TooFewDescriptors { available: limits::raise_descriptors().unwrap_or(0) }
}

/// The lowest port that needs no privilege.
fn lowest_free_port() -> u16 {
    let configured = read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    configured.and_then(|port| u16::try_from(port).ok()).unwrap_or(1024)
}

fn read_number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::process;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    const V4: Endpoint = Endpoint::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

    fn bind(endpoints: &[Endpoint], workers: usize, backlog: u32) -> Result<Bound> {
        let plain = |endpoint: &Endpoint| Address {
            url: endpoint.to_string(),
            endpoint: endpoint.clone(),
            is_https: false,
        };
        super::bind(&endpoints.iter().map(plain).collect::<Vec<_>>(), workers, backlog)
    }

    fn bind_one(endpoint: Endpoint) -> Result<Bound> {
        bind(&[endpoint], 1, 16)
    }

    fn refusal(endpoints: &[Endpoint]) -> String {
        bind(endpoints, 2, 16).unwrap_err().to_string()
    }

    fn has_ipv6() -> bool {
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }

    /// Says why a test proves less here.
    fn skip(why: &str) {
        eprintln!("skipped: {why}");
    }

    /// An address on which nobody listens, nor will: no other process nor test uses its loopback address.
    fn free_address() -> SocketAddr {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, 78 + COUNT.fetch_add(1, Ordering::Relaxed), high, low);
        TcpListener::bind((own, 0)).unwrap().local_addr().unwrap()
    }

    /// A binder that has bound these addresses, as far as it knows.
    fn binder(addresses: Vec<SocketAddr>) -> Binder {
        let bound = Bound {
            urls: Vec::new(),
            addresses,
            per_worker: vec![Vec::new()],
            warnings: Vec::new(),
            files: SocketFiles::default(),
        };
        Binder { backlog: 1, bound, secured: None }
    }

    #[test]
    fn every_worker_gets_every_endpoint_under_the_chosen_ports() {
        if !has_ipv6() {
            return skip("this machine has no IPv6");
        }
        let bound = bind(&[V4, Endpoint::Any { port: 0 }, Endpoint::Localhost { port: 0 }], 3, 16).unwrap();
        assert_eq!(bound.warnings, [""; 0]);
        assert_eq!(bound.addresses.len(), 4, "localhost is two addresses");
        assert!(bound.addresses.iter().all(|address| address.port() != 0));
        let ports: Vec<u16> = bound.addresses.iter().map(SocketAddr::port).collect();
        let expected = [
            format!("http://127.0.0.1:{}", ports[0]),
            format!("http://[::]:{}", ports[1]),
            format!("http://localhost:{}", ports[2]),
        ];
        assert_eq!(bound.urls, expected);
        assert_eq!(ports[2], ports[3]);
        assert_eq!(bound.per_worker.len(), 3);
        assert!(bound.per_worker.iter().all(|listeners| listeners.len() == 4));
        // All interfaces means IPv4 too.
        TcpStream::connect((Ipv4Addr::LOCALHOST, ports[1])).unwrap();
        TcpStream::connect((Ipv6Addr::LOCALHOST, ports[1])).unwrap();
    }

    #[test]
    fn a_port_in_use_is_refused_with_advice() {
        let other = bind(&[V4], 2, 16).unwrap();
        let address = other.addresses[0];
        assert_eq!(
            refusal(&[Endpoint::Ip(address)]),
            format!(
                "Failed to bind to address http://{address}: address already in use. Choose another port with \
                 --urls, or see who has it: ss -ltnp 'sport = :{}'",
                address.port()
            )
        );
        assert!(
            refusal(&[Endpoint::Any { port: address.port() }]).contains("address already in use. Choose")
        );
    }

    #[test]
    fn without_ipv6_every_worker_gets_what_is_left() {
        if has_ipv6() {
            return skip("this machine has IPv6");
        }
        let bound = bind(&[V4, Endpoint::Any { port: 0 }, Endpoint::Localhost { port: 0 }], 3, 16).unwrap();
        assert_eq!(bound.warnings.len(), 2, "{:?}", bound.warnings);
        let ports: Vec<u16> = bound.addresses.iter().map(SocketAddr::port).collect();
        let expected = [
            format!("http://127.0.0.1:{}", ports[0]),
            format!("http://0.0.0.0:{}", ports[1]),
            format!("http://localhost:{}", ports[2]),
        ];
        assert_eq!(bound.urls, expected);
        assert!(bound.per_worker.iter().all(|listeners| listeners.len() == 3));
    }

    #[test]
    fn localhost_fails_when_either_loopback_is_in_use() {
        let loopbacks: &[&str] = if has_ipv6() { &["127.0.0.1:0", "[::1]:0"] } else { &["127.0.0.1:0"] };
        for taken in loopbacks {
            let other = TcpListener::bind(taken).unwrap();
            let port = other.local_addr().unwrap().port();
            let refused = bind_one(Endpoint::Localhost { port }).unwrap_err();
            assert!(matches!(refused, StartError::AddressInUse { holder: None, .. }), "{refused}");
        }
    }

    #[test]
    fn an_address_that_is_named_twice_is_its_own_holder() {
        let address = free_address();
        let twice = Endpoint::Ip(address);
        assert_eq!(
            refusal(&[twice.clone(), twice]),
            format!(
                "Failed to bind to address http://{address}: address already in use by http://{address}, on \
                 which this server listens too. Name each address once."
            )
        );
    }

    #[test]
    fn an_address_within_a_wider_endpoint_is_its_holder() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
        for (bound, holder) in [(v4, "http://127.0.0.1:80"), (v6, "http://[::1]:80")] {
            for endpoint in [Endpoint::Localhost { port: 80 }, Endpoint::Any { port: 80 }] {
                assert_eq!(binder(vec![bound]).holder(&endpoint, 80).as_deref(), Some(holder), "{endpoint}");
                assert_eq!(binder(vec![bound]).holder(&endpoint, 81), None, "{endpoint}");
            }
        }
        assert_eq!(binder(vec![v4]).holder(&Endpoint::Ip(v6), 80), None);
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let elsewhere = Endpoint::Ip("192.0.2.1:0".parse().unwrap());
        assert!(
            refusal(&[elsewhere]).contains("http://192.0.2.1:0: this machine does not have that address")
        );
    }

    #[test]
    fn one_failing_endpoint_leaves_none_open() {
        let holder = bind_one(V4).unwrap();
        let free = free_address();
        bind(&[Endpoint::Ip(free), Endpoint::Ip(holder.addresses[0])], 2, 16).unwrap_err();
        TcpStream::connect(free).expect_err("nobody listens");
    }

    #[test]
    fn failures_are_told_apart() {
        let binder = binder(Vec::new());
        let fail = |port, errno| {
            let source = io::Error::from_raw_os_error(errno);
            binder.failure(&Endpoint::Localhost { port }, port, source)
        };
        assert!(
            matches!(fail(80, libc::EACCES), StartError::PortPrivileged { .. }) || lowest_free_port() == 0
        );
        assert!(matches!(fail(5000, libc::EACCES), StartError::Bind { .. }));
        assert!(matches!(fail(5000, libc::EMFILE), StartError::TooFewDescriptors { .. }));
        assert!(matches!(fail(5000, libc::EAFNOSUPPORT), StartError::Bind { .. }));
    }

    #[test]
    fn a_backlog_above_the_kernels_cap_is_told() {
        let Some(cap) = read_number("/proc/sys/net/core/somaxconn") else {
            return skip("this kernel does not tell its cap");
        };
        let warnings = |backlog| bind(&[V4], 1, backlog).unwrap().warnings;
        assert_eq!(warnings(cap), [""; 0]);
        let told = warnings(cap + 1);
        assert!(told[0].contains(&format!("The backlog of {} is capped at {cap}", cap + 1)), "{told:?}");
    }

    #[test]
    fn a_unix_socket_is_shared_by_all_workers_and_removed_at_the_end() {
        let directory = std::env::temp_dir().join(format!("peregrine-listener-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let endpoint = Endpoint::Unix(directory.join("app.sock"));
        let path: PathBuf = directory.join("app.sock");

        let bound = bind(std::slice::from_ref(&endpoint), 2, 16).unwrap();
        assert_eq!(bound.urls, [format!("http://unix:{}", path.display())]);
        assert_eq!(bound.addresses, []);
        assert!(Arc::ptr_eq(&bound.per_worker[0][0].fd, &bound.per_worker[1][0].fd));
        UnixStream::connect(&path).unwrap();
        assert!(refusal(&[endpoint]).contains("a server is listening on it"));
        drop(bound);
        assert!(!path.exists());

        let nowhere = refusal(&[Endpoint::Unix(directory.join("no/app.sock"))]);
        assert!(nowhere.contains("its directory does not exist. Make it first: mkdir -p"), "{nowhere}");
        fs::write(&path, "").unwrap();
        assert!(refusal(&[Endpoint::Unix(path)]).contains("not a socket"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
