//! The load of handshakes: connections one after the other, each with one request, on several threads at once. It
//! knows nothing of the servers' processes and of what they cost.

use std::fmt;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, Stream};

use crate::tls::{self, Client};
use crate::wrk::Summary;

const TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure, so that a server that is gone is not asked a million times.
const PAUSE: Duration = Duration::from_millis(10);

/// One run's load.
#[derive(Debug)]
pub struct Load<'a> {
    /// The server's address and port.
    pub authority: &'a str,
    /// What is offered, and whether sessions are resumed.
    pub client: &'a Client,
    /// The path that each connection asks for.
    pub path: &'a str,
    /// Connections at once, each with a thread and a store of tickets of its own.
    pub connections: u32,
    /// How long new connections are begun.
    pub seconds: u32,
}

/// What was agreed upon in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    version: String,
    suite: String,
    group: String,
    alpn: String,
}

impl fmt::Display for Agreed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, suite, group, alpn } = self;
        write!(out, "{version}, {suite}, {group}, ALPN {alpn}")
    }
}

/// Connects once, or twice if sessions are resumed, and tells what was agreed upon. Fails if the handshake is not of
/// the kind that is to be measured.
pub fn look(load: &Load<'_>) -> Result<Agreed> {
    let config = tls::config(load.client)?;
    if load.client.resumes {
        connect(load, &config, HandshakeKind::Full)?;
    }
    let (connection, _) = connect(load, &config, wanted(load.client))?;
    let unknown = || "none".to_owned();
    Ok(Agreed {
        version: connection.protocol_version().map_or_else(unknown, |version| format!("{version:?}")),
        suite: connection
            .negotiated_cipher_suite()
            .map_or_else(unknown, |suite| tls::suite_name(suite.suite())),
        group: connection
            .negotiated_key_exchange_group()
            .map_or_else(unknown, |group| format!("{:?}", group.name())),
        alpn: connection
            .alpn_protocol()
            .map_or_else(unknown, |name| String::from_utf8_lossy(name).into_owned()),
    })
}

/// Runs the load to its end. `begin` is called when all is ready, tickets included, and before the first connection
/// that counts; what it returns is handed back. In the summary a request is a connection, and the percentile is of
/// the time from before it was made to its end.
pub fn run<T>(load: &Load<'_>, begin: impl FnOnce() -> Result<T>) -> Result<(T, Summary)> {
    let (ready, begun) =
        (Barrier::new(load.connections as usize + 1), Barrier::new(load.connections as usize + 1));
    let (moment, tallies) = thread::scope(|scope| {
        let one = || {
            let primed = prime(load);
            ready.wait();
            begun.wait();
            Ok::<_, Error>(repeat(load, &primed?))
        };
        let threads: Vec<_> = (0..load.connections).map(|_| scope.spawn(one)).collect();
        ready.wait();
        let moment = begin();
        begun.wait();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| Error::other("a thread panicked")));
        (moment, joined.map(|tally| tally.and_then(|tally| tally)).collect::<Result<Vec<_>>>())
    });
    let tallies = tallies?;
    if let Some(error) = tallies.iter().find_map(|tally| tally.error.as_ref()) {
        eprintln!("{}: {error}", load.authority);
    }
    Ok((moment?, summary(&tallies)))
}

/// What one thread did.
#[derive(Debug, Default)]
struct Tally {
    micros: Vec<u32>,
    bytes: usize,
    failures: u64,
    error: Option<Error>,
    lasted: Duration,
}

/// A configuration with a ticket in its store, if sessions are resumed.
fn prime(load: &Load<'_>) -> Result<Arc<ClientConfig>> {
    let config = tls::config(load.client)?;
    if load.client.resumes {
        connect(load, &config, HandshakeKind::Full)?;
    }
    Ok(config)
}

fn repeat(load: &Load<'_>, config: &Arc<ClientConfig>) -> Tally {
    let (mut tally, wanted) = (Tally::default(), wanted(load.client));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(load.seconds.into()) {
        let connected = Instant::now();
        match connect(load, config, wanted) {
            Ok((_, bytes)) => {
                tally.bytes += bytes;
                tally.micros.push(u32::try_from(connected.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Err(error) => {
                tally.failures += 1;
                tally.error.get_or_insert(error);
                sleep(PAUSE);
            }
        }
    }
    tally.lasted = begun.elapsed();
    tally
}

fn wanted(client: &Client) -> HandshakeKind {
    if client.resumes { HandshakeKind::Resumed } else { HandshakeKind::Full }
}

/// One connection from its beginning to its end, and how many bytes its answer had. The end must be told by TLS, not by
/// TCP alone.
fn connect(
    load: &Load<'_>,
    config: &Arc<ClientConfig>,
    wanted: HandshakeKind,
) -> Result<(ClientConnection, usize)> {
    let mut socket = TcpStream::connect(load.authority)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    let mut connection = tls::connection(config)?;
    // Kept until the handshake is done, and sent with the client's last words of it.
    let Load { path, authority, .. } = load;
    write!(connection.writer(), "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    Stream::new(&mut connection, &mut socket).read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(Error::new(ErrorKind::InvalidData, format!("{path} is not answered with 200")));
    }
    match connection.handshake_kind() {
        Some(kind) if kind == wanted => Ok((connection, answer.len())),
        kind => {
            Err(Error::new(ErrorKind::InvalidData, format!("the handshake is {kind:?}, expected {wanted:?}")))
        }
    }
}

fn summary(tallies: &[Tally]) -> Summary {
    let mut micros: Vec<u32> = tallies.iter().flat_map(|tally| &tally.micros).copied().collect();
    micros.sort_unstable();
    let lasted = tallies.iter().map(|tally| tally.lasted).max().unwrap_or_default();
    let (requests, failures) = (micros.len() as u64, tallies.iter().map(|tally| tally.failures).sum());
    let bytes: usize = tallies.iter().map(|tally| tally.bytes).sum();
    Summary {
        requests,
        rate: requests as f64 / lasted.as_secs_f64(),
        response_bytes: bytes as f64 / requests.max(1) as f64,
        p99_micros: micros.get(micros.len() * 99 / 100).map_or(f64::NAN, |&micros| micros.into()),
        socket_errors: [0, failures, 0, 0],
        bad_statuses: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustls::crypto::aws_lc_rs::Ticketer;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::tls::Version;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// A server for so many connections, one after the other; gives its address.
    fn server(connections: usize, tickets: bool, says_goodbye: bool) -> String {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let builder =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let mut config = builder.with_single_cert(vec![own.cert.into()], key).expect("a configuration");
        if tickets {
            config.ticketer = Ticketer::new().expect("random keys");
        } else {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        }
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || {
            for socket in listener.incoming().take(connections) {
                let mut socket = socket.expect("a connection");
                let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let mut stream = Stream::new(&mut connection, &mut socket);
                // What a client does wrong is for the client's side of the test to see.
                let _ = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(ANSWER));
                if says_goodbye {
                    connection.send_close_notify();
                    let _ = connection.write_tls(&mut socket);
                }
            }
        });
        address
    }

    fn load<'a>(authority: &'a str, client: &'a Client) -> Load<'a> {
        Load { authority, client, path: "/", connections: 2, seconds: 0 }
    }

    #[test]
    fn what_was_agreed_upon_is_told() {
        let authority = server(3, true, true);
        let client = Client { suite: Some("TLS_AES_128_GCM_SHA256".into()), ..Client::default() };
        let agreed = look(&load(&authority, &client)).expect("a full handshake").to_string();
        assert_eq!(agreed, "TLSv1_3, TLS_AES_128_GCM_SHA256, X25519, ALPN none");
        let client = Client { version: Version::Tls12, resumes: true, ..Client::default() };
        let agreed = look(&load(&authority, &client)).expect("a resumed handshake").to_string();
        assert!(agreed.starts_with("TLSv1_2, TLS_ECDHE_ECDSA_WITH_"), "{agreed}");
    }

    #[test]
    fn sessions_are_resumed_with_the_ticket_of_the_connection_before() {
        let (authority, client) = (server(4, true, true), Client { resumes: true, ..Client::default() });
        let load = load(&authority, &client);
        let config = prime(&load).expect("a full handshake");
        for _ in 0..3 {
            let (_, bytes) = connect(&load, &config, HandshakeKind::Resumed).expect("a resumed handshake");
            assert_eq!(bytes, ANSWER.len());
        }
    }

    #[test]
    fn a_server_that_resumes_nothing_is_an_error() {
        let (authority, client) = (server(2, false, true), Client { resumes: true, ..Client::default() });
        let error = look(&load(&authority, &client)).expect_err("it has no tickets");
        assert_eq!(error.to_string(), "the handshake is Some(Full), expected Resumed");
    }

    #[test]
    fn a_connection_that_ends_without_a_word_is_an_error() {
        let authority = server(1, true, false);
        let error = look(&load(&authority, &Client::default())).expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_load_begins_when_all_have_tickets() {
        let (authority, client) = (server(2, true, true), Client { resumes: true, ..Client::default() });
        let (begun, summary) = run(&load(&authority, &client), || Ok("begun")).expect("both are primed");
        // It lasts no time at all.
        assert_eq!((begun, summary.requests, summary.socket_errors), ("begun", 0, [0; 4]));
    }

    #[test]
    fn tallies_add_up() {
        let tally = |micros: &[u32], seconds| Tally {
            micros: micros.to_vec(),
            bytes: 100 * micros.len(),
            failures: 1,
            lasted: Duration::from_secs(seconds),
            ..Tally::default()
        };
        let summary = summary(&[tally(&[30, 10], 2), tally(&[20, 40], 1)]);
        assert_eq!((summary.requests, summary.socket_errors), (4, [0, 2, 0, 0]));
        assert_eq!((summary.rate, summary.response_bytes, summary.p99_micros), (2.0, 100.0, 40.0));
    }
}
