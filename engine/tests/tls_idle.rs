//! What idle connections of https cost, measured at the process that holds them; and what rustls' own connections take.

#![allow(unsafe_code, reason = "the limit of descriptors is raised by a system call")]

mod support;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use peregrine::App;
use peregrine::tls::Certificate;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use support::client::{await_some, get};
use support::tls::{self, Folder, NAME, Pair, TlsClient, VERSIONS, config, connect};

/// So many are measured unless [`WANTED`] says otherwise.
const CONNECTIONS: usize = 2_000;
const WANTED: &str = "PEREGRINE_IDLE_CONNECTIONS";

/// With fewer the figure would say nothing.
const CONNECTIONS_MIN: usize = 800;

/// Connections that are opened before their answers are read, so few that blocks for active ones do not count.
const BATCH: usize = 16;

/// Connections that are open before anything is measured: what is made once is made for them.
const WARM_UP: usize = 200;

/// Descriptors that this process needs for other things.
const OTHER_DESCRIPTORS: usize = 100;

/// Nothing changes for so long while nothing happens; after a burst it takes longer to show.
const STEADY: Duration = Duration::from_millis(300);
const TIDIED: Duration = Duration::from_millis(2500);

/// By so much ours may be above rustls': a connection's own cost without TLS.
const MORE_BYTES_MAX: f64 = 256.0;

/// By these variables a child knows where its certificate is, and which version and how many connections are measured.
const FOLDER: &str = "PEREGRINE_TEST_FOLDER";
const VERSION: &str = "PEREGRINE_TEST_VERSION";
const COUNT: &str = "PEREGRINE_TEST_COUNT";

/// Takes all the descriptors that this process may have; returns how many those are.
fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which fills it in.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` outlives the call, which only reads it.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}

/// The memory that a process has written for itself, in bytes; none where the kernel does not tell. Clean pages are of
/// files, and come and go as the kernel likes.
fn private_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let own = ["Private_Dirty:", "Private_Hugetlb:", "Swap:"];
    let kib = rollup.lines().filter_map(|line| {
        let rest = own.iter().find_map(|name| line.strip_prefix(name))?;
        rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    Some(kib.sum::<u64>() * 1024)
}

/// Waits until the memory has not changed for so long, then says what it is.
fn settled_bytes(pid: u32, steady_for: Duration) -> u64 {
    let mut last = private_bytes(pid);
    let mut since = Instant::now();
    await_some("steady memory", || {
        let now = private_bytes(pid);
        if now != last {
            last = now;
            since = Instant::now();
        }
        if since.elapsed() >= steady_for { now } else { None }
    })
}

/// The server, in a process of its own: it says its address, and serves until its input ends.
#[test]
#[ignore = "is run by the test that measures"]
fn serves() {
    let Some(folder) = env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let certificate = Certificate::pem(folder.join("server.pem"), folder.join("server.key"));
    let mut app = App::with_options(tls::options(Some(certificate)));
    app.get("/", || "Hello, World!");
    let server = app.start().expect("a server");
    println!("\nlistening on {}", server.addresses()[0]);
    println!("\nserves with {}", server.driver());
    let _ = std::io::stdin().read(&mut [0]);
    drop(server);
}

/// Connections of rustls', in a process of their own: it says what each takes.
#[test]
#[ignore = "is run by the test that measures"]
fn holds() {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (Some(version), Some(count)) = (number(VERSION), number(COUNT)) else { return };
    println!("\ntakes {}", of_rustls(&tls::pair(NAME), VERSIONS[version], count));
}

/// This program with one of the tests that are ignored otherwise.
fn child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a program"));
    command.args(["--ignored", "--exact", test, "--nocapture"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A server in a process of its own; killed when dropped.
struct Served {
    child: Child,
    address: SocketAddr,
    driver: String,
}

impl Served {
    fn start(folder: &Folder) -> Self {
        let mut child = child("serves").env(FOLDER, folder.root()).spawn().expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut find = |prefix: &str| {
            let line = lines.find_map(|line| line.expect("text").strip_prefix(prefix).map(str::to_owned));
            line.unwrap_or_else(|| panic!("it has not said '{prefix}'"))
        };
        let address = find("listening on ").parse().expect("an address");
        let driver = find("serves with ");
        Self { child, address, driver }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that keeps nothing for later.
fn client_config(pair: &Pair, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = (*config(&[pair], None, &[version])).clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Opens connections in batches, each of which makes one request.
fn open(address: SocketAddr, config: &Arc<ClientConfig>, count: usize) -> Vec<TlsClient> {
    let mut clients: Vec<TlsClient> = Vec::with_capacity(count);
    while clients.len() < count {
        let begin = clients.len();
        clients.extend((0..BATCH.min(count - begin)).map(|_| connect(address, NAME, config)));
        clients[begin..].iter_mut().for_each(|client| client.send(get("/")));
        clients[begin..].iter_mut().for_each(|client| assert_eq!(client.receive().status, 200));
    }
    clients
}

/// Bytes that each of so many idle connections takes of a server's memory.
fn of_ours(pair: &Pair, folder: &Folder, version: &'static SupportedProtocolVersion, count: usize) -> f64 {
    let served = Served::start(folder);
    let config = client_config(pair, version);
    let pid = served.child.id();
    let warm_up = open(served.address, &config, WARM_UP);
    let before = settled_bytes(pid, TIDIED);
    let clients = open(served.address, &config, count);
    let during = settled_bytes(pid, STEADY);
    println!("{}: {before} bytes before, {during} with {count} more connections", served.driver);
    drop((warm_up, clients));
    during.saturating_sub(before) as f64 / count as f64
}

/// A configuration as the engine makes it.
fn server_config(pair: &Pair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![pair.der()], key)
        .expect("a pair");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().expect("keys");
    config.send_tls13_tickets = 1;
    Arc::new(config)
}

/// A connection of rustls' after its handshake and one request, whose client is gone.
fn warm(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> ServerConnection {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    client.writer().write_all(get("/").as_bytes()).expect("memory takes all");
    let mut request = Vec::new();
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes all");
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("memory gives all");
            server.process_new_packets().expect("a sound client");
        }
        let mut block = [0; 1024];
        while let Ok(len @ 1..) = server.reader().read(&mut block) {
            request.extend_from_slice(&block[..len]);
        }
        if request.ends_with(b"\r\n\r\n") {
            break;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory takes all");
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("memory gives all");
            client.process_new_packets().expect("a sound server");
        }
    }
    server.writer().write_all(&[b'x'; 150]).expect("memory takes all");
    let mut bytes = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut bytes).expect("memory takes all");
    }
    server
}

/// Bytes that each of so many connections of rustls' takes, in this process, which must not have had others: what they
/// have left would be taken by these.
fn of_rustls(pair: &Pair, version: &'static SupportedProtocolVersion, count: usize) -> f64 {
    let (server, client) = (server_config(pair), client_config(pair, version));
    let pid = process::id();
    let warm_up: Vec<_> = (0..WARM_UP).map(|_| warm(&server, &client)).collect();
    let before = settled_bytes(pid, STEADY);
    let held: Vec<_> = (0..count).map(|_| warm(&server, &client)).collect();
    let during = settled_bytes(pid, STEADY);
    assert_eq!((warm_up.len(), held.len()), (WARM_UP, count), "they are held until here");
    during.saturating_sub(before) as f64 / count as f64
}

#[test]
fn an_idle_connection_costs_no_more_than_one_of_rustls_and_256_bytes() {
    let descriptors = raise_descriptors();
    let wanted = env::var(WANTED).ok().and_then(|text| text.parse().ok()).unwrap_or(CONNECTIONS);
    let count = wanted.min(descriptors.saturating_sub(WARM_UP + OTHER_DESCRIPTORS));
    if count < CONNECTIONS_MIN {
        return eprintln!("skipped: only {descriptors} descriptors are allowed");
    }
    if private_bytes(process::id()).is_none() {
        return eprintln!("skipped: this kernel does not tell what memory is private");
    }
    let folder = Folder::new();
    let pair = tls::pair(NAME);
    folder.pair("server", &pair);
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let mut child = child("holds");
        child.env(VERSION, number.to_string()).env(COUNT, count.to_string());
        let output = child.output().expect("a process");
        let output = String::from_utf8_lossy(&output.stdout);
        let said = output.lines().find_map(|line| line.strip_prefix("takes ")?.parse::<f64>().ok());
        let rustls = said.unwrap_or_else(|| panic!("it has not said what it takes: {output}"));
        let ours = of_ours(&pair, &folder, version, count);
        println!("{:?}, {count} idle: {ours:.0} bytes each, {rustls:.0} of rustls", version.version);
        assert!(ours <= rustls + MORE_BYTES_MAX, "{ours:.0} bytes each, {rustls:.0} of rustls");
    }
}
