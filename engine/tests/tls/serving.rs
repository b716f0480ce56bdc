//! Requests and responses of all shapes, the end of a connection, drains and deadlines.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use peregrine::prelude::*;
use peregrine::{MinDataRate, Options, Server, Tls, sleep};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};

use crate::support::client::{
    Client, PATIENCE, assert_same_bytes, await_some, get, pattern, post, post_chunked,
};
use crate::support::tls::{self, Folder, NAME, Pair, TlsClient, VERSIONS, config, connect};

const LARGE: usize = 10 << 20;
const UPLOAD: usize = 5 << 20;

static LARGE_BODY: LazyLock<&'static [u8]> = LazyLock::new(|| Vec::leak(pattern(LARGE)));

async fn echo(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.start(|_| {})?;
    while let Some(chunk) = exchange.body().read().await? {
        stream.write(&chunk).await?;
    }
    stream.finish()
}

/// Another protocol, which says how what it was sent has ended.
async fn tell_end(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.upgrade("end", |_| {})?;
    let end = loop {
        match stream.read().await {
            Ok(Some(_)) => {}
            Ok(None) => break "closed",
            Err(ExchangeError::UnexpectedEnd) => break "torn",
            Err(error) => return Err(error),
        }
    };
    stream.write(end.as_bytes()).await
}

async fn slow() -> &'static str {
    sleep(Duration::from_millis(300)).await;
    "slow"
}

fn secured(request: &Request, Tls(tls): Tls) -> String {
    format!("{} {} {}", tls.version, tls.alpn.as_deref().unwrap_or("none"), request.is_https())
}

/// A server with a certificate for [`NAME`].
pub(crate) struct Https {
    pub(crate) server: Server,
    pub(crate) pair: Pair,
    _folder: Folder,
}

impl Https {
    pub(crate) fn start(change: impl FnOnce(&mut Options)) -> Self {
        let folder = Folder::new();
        let pair = tls::pair(NAME);
        let mut options = tls::options(Some(folder.pair("server", &pair)));
        change(&mut options);
        let mut app = App::with_options(options);
        app.get("/", || "Hello, World!").get("/slow", slow).get("/secured", secured);
        app.get("/number/{number}", |request: &Request, response: &mut Response| {
            response.text(request.param("number").unwrap_or_default());
        });
        app.post("/echo", |request: &Request, response: &mut Response| response.bytes(request.body()));
        app.on(Method::Post, "/stream", echo);
        app.on(Method::Get, "/end", tell_end);
        app.get("/large", |_: &Request, response: &mut Response| response.body("", *LARGE_BODY));
        Self { server: app.start().expect("a server"), pair, _folder: folder }
    }

    pub(crate) fn connect(&self, version: &'static SupportedProtocolVersion) -> TlsClient {
        connect(self.server.addresses()[0], NAME, &config(&[&self.pair], None, &[version]))
    }
}

/// Runs a test with each version of TLS on each driver.
pub(crate) fn everywhere(change: fn(&mut Options), test: fn(&mut TlsClient)) {
    for driver in tls::drivers() {
        let https = Https::start(|options| {
            options.driver = driver;
            change(options);
        });
        for version in VERSIONS {
            test(&mut https.connect(version));
        }
        https.server.shutdown().expect("workers that do not fail");
    }
}

#[test]
fn the_handler_sees_what_was_agreed_upon() {
    for driver in tls::drivers() {
        let https = Https::start(|options| options.driver = driver);
        for (version, name) in VERSIONS.into_iter().zip(["TLS 1.3", "TLS 1.2"]) {
            let mut without = https.connect(version);
            assert_eq!(without.get("/secured").text(), format!("{name} none true"));
            let mut config = (*config(&[&https.pair], None, &[version])).clone();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let mut with = connect(https.server.addresses()[0], NAME, &config.into());
            assert_eq!(with.get("/secured").text(), format!("{name} http/1.1 true"));
        }
    }
}

#[test]
fn large_bodies_go_up_and_down() {
    everywhere(
        |_| {},
        |client| {
            let body = pattern(UPLOAD);
            client.send(post("/echo", &body));
            assert_same_bytes(&client.receive().body, &body);
            assert_same_bytes(&client.get("/large").body, *LARGE_BODY);
            client.send(post_chunked("/echo", &body, 100_000));
            assert_same_bytes(&client.receive().body, &body);
            assert_eq!(client.get("/").text(), "Hello, World!");
        },
    );
}

#[test]
fn streams_run_both_ways() {
    everywhere(
        |_| {},
        |client| {
            let body = pattern(200_000);
            client.send(post_chunked("/stream", &body, 7_000));
            assert_same_bytes(&client.receive_stream().body, &body);
            // Each part is answered before the next one is sent.
            client.send(
                "POST /stream HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
            );
            let head = client.receive_head();
            client.send("6\r\nsecond\r\n0\r\n\r\n");
            assert_eq!(client.receive_chunks(head).body, b"firstsecond");
        },
    );
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_lie_in_records() {
    everywhere(
        |_| {},
        |client| {
            let path = |number: usize| format!("/number/{number}");
            let batch: String = (0..100).map(|number| get(&path(number))).collect();
            // One record takes all of it; then records cut requests wherever they like.
            for size in [batch.len(), 1000, 7] {
                for piece in batch.as_bytes().chunks(size) {
                    client.send(piece);
                }
                for number in 0..100 {
                    assert_eq!(client.receive().text(), number.to_string(), "records of {size} bytes");
                }
            }
        },
    );
}

#[test]
fn the_last_response_is_followed_by_close_notify() {
    everywhere(
        |_| {},
        |client| {
            client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            let response = client.receive();
            assert!(response.is_last());
            client.expect_end();
        },
    );
}

#[test]
fn a_client_that_says_goodbye_is_answered_with_one() {
    everywhere(
        |_| {},
        |client| {
            assert_eq!(client.get("/").status, 200);
            client.stream.conn.send_close_notify();
            client.stream.flush().expect("an open socket");
            client.expect_end();
        },
    );
}

#[test]
fn a_body_is_sent_when_100_continue_has_come() {
    everywhere(
        |_| {},
        |client| {
            let head =
                "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
            client.send(head);
            assert_eq!(client.receive().status, 100);
            client.send("body");
            assert_eq!(client.receive().text(), "body");
        },
    );
}

#[test]
fn handshakes_on_other_threads_serve_the_same() {
    everywhere(
        |options| options.tls.offload_handshakes = true,
        |client| {
            // Together with the end of the handshake, and after it.
            assert_eq!(client.get("/").text(), "Hello, World!");
            assert_same_bytes(&client.get("/large").body, *LARGE_BODY);
            client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            assert_eq!(client.receive().text(), "Hello, World!");
            client.expect_end();
        },
    );
    let https = Https::start(|options| options.tls.offload_handshakes = true);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..10 {
                    assert_eq!(https.connect(VERSIONS[round % 2]).get("/").text(), "Hello, World!");
                }
            });
        }
    });
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let timeout = Duration::from_millis(200);
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let https = Https::start(|options| {
                options.driver = driver;
                options.tls.handshake_timeout = Some(timeout);
                options.tls.offload_handshakes = offloads;
            });
            // One says nothing, one begins a record, one sends its hello and no more.
            let mut hello = Vec::new();
            https.connect(VERSIONS[0]).stream.conn.write_tls(&mut hello).expect("memory takes all");
            for begin in [&[][..], &[22, 3, 1][..], &hello] {
                let since = Instant::now();
                let mut client = Client::connect(https.server.addresses()[0]);
                client.send(begin);
                client.await_any_end();
                assert!(since.elapsed() >= timeout / 2, "after {:?} already", since.elapsed());
            }
            // Whoever has shaken hands may be idle for longer.
            let mut client = https.connect(VERSIONS[0]);
            assert_eq!(client.get("/").status, 200);
            thread::sleep(2 * timeout);
            assert_eq!(client.get("/").status, 200);
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off_by_the_rate() {
    for driver in tls::drivers() {
        let https = Https::start(|options| {
            options.driver = driver;
            let rate = MinDataRate::new(1_000_000_000, Duration::from_millis(1100));
            options.limits.min_response_data_rate = Some(rate);
        });
        let mut client = https.connect(VERSIONS[0]);
        client.send(get("/large"));
        // The socket tells without reading anything from it.
        await_some("the abort", || client.stream.sock.take_error().expect("an open socket"));
        let mut rest = Vec::new();
        assert!(client.stream.read_to_end(&mut rest).is_err());
        assert!(rest.len() < LARGE);
        assert_eq!(https.connect(VERSIONS[0]).get("/").status, 200);
    }
}

#[test]
fn a_drain_says_goodbye_to_the_idle_and_answers_the_busy() {
    for driver in tls::drivers() {
        let https = Https::start(|options| options.driver = driver);
        let mut idle = VERSIONS.map(|version| https.connect(version));
        idle.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        let mut silent = VERSIONS.map(|version| https.connect(version));
        silent.iter_mut().for_each(|client| client.shake().expect("a handshake"));
        let mut busy = VERSIONS.map(|version| https.connect(version));
        for client in &mut busy {
            assert_eq!(client.get("/").status, 200);
            client.send(get("/slow"));
        }
        // Answered by the one worker, after it has seen the others.
        assert_eq!(https.connect(VERSIONS[0]).get("/").status, 200);
        let Https { server, .. } = https;
        let since = Instant::now();
        let drain = thread::spawn(|| server.shutdown());
        idle.iter_mut().for_each(Client::expect_end);
        silent.iter_mut().for_each(Client::expect_end);
        for client in &mut busy {
            let response = client.receive();
            assert_eq!((response.text(), response.is_last()), ("slow", true));
            client.expect_end();
        }
        drain.join().expect("no panic").expect("workers that do not fail");
        assert!(since.elapsed() < PATIENCE, "it waited for its timeout");
    }
}

#[test]
fn a_drain_does_not_wait_for_handshakes() {
    for driver in tls::drivers() {
        let https = Https::start(|options| options.driver = driver);
        let mut stalled = Client::connect(https.server.addresses()[0]);
        stalled.send([22, 3, 1]);
        assert_eq!(https.connect(VERSIONS[0]).get("/").status, 200);
        let since = Instant::now();
        https.server.shutdown().expect("workers that do not fail");
        assert!(since.elapsed() < Duration::from_secs(9), "it waited for the handshake's timeout");
        stalled.await_any_end();
    }
}

#[test]
fn an_end_without_goodbye_is_no_request() {
    everywhere(
        |_| {},
        |client| {
            assert_eq!(client.get("/").status, 200);
            client.send("GET / HTTP/1.1\r\n");
            client.stream.sock.shutdown(Shutdown::Write).expect("an open socket");
            let mut rest = Vec::new();
            let end = client.stream.read_to_end(&mut rest);
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
            assert!(matches!(end.map_err(|error| error.kind()), Ok(_) | Err(ErrorKind::ConnectionReset)));
        },
    );
}

#[test]
fn rfc8446_6_1_another_protocol_is_told_whether_its_peer_has_said_goodbye() {
    const UPGRADE: &str = "GET /end HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: end\r\n\r\n";
    for says_goodbye in [true, false] {
        let test = if says_goodbye {
            |client: &mut TlsClient| end_upgraded(client, true)
        } else {
            |client: &mut TlsClient| end_upgraded(client, false)
        };
        everywhere(|_| {}, test);
    }

    fn end_upgraded(client: &mut TlsClient, says_goodbye: bool) {
        client.send(UPGRADE);
        assert_eq!(client.receive_head().status, 101);
        client.send("some bytes");
        if says_goodbye {
            client.stream.conn.send_close_notify();
            client.stream.flush().expect("an open socket");
        }
        client.stream.sock.shutdown(Shutdown::Write).expect("an open socket");
        let expected: &[u8] = if says_goodbye { b"closed" } else { b"torn" };
        assert_eq!(client.take(expected.len()), expected);
    }
}

#[test]
fn an_endpoint_of_https_may_be_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.path("server.sock");
    for driver in tls::drivers() {
        let https = Https::start(|options| {
            options.driver = driver;
            options.urls = vec![format!("https://unix:{}", path.display())];
        });
        for version in VERSIONS {
            let socket = UnixStream::connect(&path).expect("a listener");
            socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
            let name = ServerName::try_from(NAME).expect("a name");
            let connection = ClientConnection::new(config(&[&https.pair], None, &[version]), name);
            let mut client = Client::over(StreamOwned::new(connection.expect("a client"), socket));
            client.send(get("/secured"));
            assert!(client.receive().text().ends_with(" true"));
            let body = pattern(UPLOAD);
            client.send(post("/echo", &body));
            assert_same_bytes(&client.receive().body, &body);
        }
        https.server.shutdown().expect("workers that do not fail");
    }
}
