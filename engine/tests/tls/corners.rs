//! What clients may do and seldom do: hellos in pieces, keys that change, goodbyes before the answer.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use peregrine::Options;

use crate::serving::{Https, everywhere};
use crate::support::client::{assert_same_bytes, get, pattern, post};
use crate::support::tls::{self, Folder, TlsClient, VERSIONS};

/// Runs a test where handshakes are computed by the workers, and where they are computed beside them.
fn in_both_places(test: fn(&mut TlsClient)) {
    everywhere(|_| {}, test);
    everywhere(|options| options.tls.offload_handshakes = true, test);
}

/// What the client says next, which is not sent.
fn said(client: &mut TlsClient) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.stream.conn.wants_write() {
        client.stream.conn.write_tls(&mut bytes).expect("memory takes all");
    }
    bytes
}

/// Sends bytes in pieces of this size, each in a segment of its own.
fn send_in_pieces(client: &mut TlsClient, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        client.stream.sock.write_all(piece).expect("an open socket");
    }
}

/// Shakes hands and asks, with all that the client says cut into pieces of this size.
fn ask_in_pieces(client: &mut TlsClient, size: usize) {
    while client.stream.conn.is_handshaking() {
        let bytes = said(client);
        send_in_pieces(client, &bytes, size);
        while client.stream.conn.is_handshaking() && !client.stream.conn.wants_write() {
            client.stream.conn.read_tls(&mut client.stream.sock).expect("an open socket");
            client.stream.conn.process_new_packets().expect("a sound server");
        }
    }
    client.stream.conn.writer().write_all(get("/").as_bytes()).expect("memory takes all");
    let bytes = said(client);
    send_in_pieces(client, &bytes, size);
    assert_eq!(client.receive().text(), "Hello, World!");
}

/// Sends the hello in records that hold so many bytes each.
fn send_hello_in_records(client: &mut TlsClient, size: usize) {
    let hello = said(client);
    let (header, body) = hello.split_at(5);
    for piece in body.chunks(size) {
        let len = u16::try_from(piece.len()).expect("a small piece").to_be_bytes();
        client.stream.sock.write_all(&[&header[..3], &len, piece].concat()).expect("an open socket");
    }
}

#[test]
fn a_handshake_may_come_in_pieces() {
    in_both_places(|client| ask_in_pieces(client, 1));
    in_both_places(|client| ask_in_pieces(client, 61));
}

#[test]
fn a_hello_may_lie_in_several_records() {
    in_both_places(|client| {
        send_hello_in_records(client, 100);
        assert_eq!(client.get("/").text(), "Hello, World!");
    });
}

#[test]
fn a_hello_in_several_records_finds_its_name() {
    let folder = Folder::new();
    let other = tls::pair("other.example.org");
    for driver in tls::drivers() {
        let https = Https::start(|options: &mut Options| {
            options.driver = driver;
            let name = peregrine::tls::TlsName::new("other.example.org", folder.pair("other", &other));
            options.tls.names = vec![name];
        });
        for version in VERSIONS {
            let config = tls::config(&[&other], None, &[version]);
            let mut client = tls::connect(https.server.addresses()[0], "other.example.org", &config);
            send_hello_in_records(&mut client, 7);
            assert_eq!(client.get("/").text(), "Hello, World!");
        }
    }
}

#[test]
fn a_large_body_may_follow_the_handshake_at_once() {
    in_both_places(|client| {
        let body = pattern(1 << 20);
        client.send(post("/echo", &body));
        assert_same_bytes(&client.receive().body, &body);
    });
}

#[test]
fn keys_may_change_at_any_time() {
    for driver in tls::drivers() {
        let https = Https::start(|options| options.driver = driver);
        let mut client = https.connect(VERSIONS[0]);
        let body = pattern(100_000);
        assert_eq!(client.get("/").status, 200);
        for _ in 0..20 {
            client.stream.conn.refresh_traffic_keys().expect("TLS 1.3");
            client.send(post("/echo", &body));
            assert_same_bytes(&client.receive().body, &body);
            client.stream.conn.refresh_traffic_keys().expect("TLS 1.3");
            assert_eq!(client.get("/").text(), "Hello, World!");
        }
    }
}

#[test]
fn a_goodbye_right_behind_a_request_does_not_cost_its_answer() {
    for path in ["/", "/slow"] {
        for is_shut in [false, true] {
            for driver in tls::drivers() {
                let https = Https::start(|options| options.driver = driver);
                for version in VERSIONS {
                    let mut client = https.connect(version);
                    client.shake().expect("a handshake");
                    client.stream.conn.writer().write_all(get(path).as_bytes()).expect("memory takes all");
                    client.stream.conn.send_close_notify();
                    client.stream.flush().expect("an open socket");
                    if is_shut {
                        client.stream.sock.shutdown(Shutdown::Write).expect("an open socket");
                    }
                    assert_eq!(client.receive().status, 200, "{path}, {is_shut}, {:?}", version.version);
                    client.expect_end();
                }
            }
        }
    }
}

#[test]
fn many_handshakes_at_once_are_all_served() {
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let https = Https::start(|options| {
                options.driver = driver;
                options.tls.offload_handshakes = offloads;
            });
            // More flights come at once than a worker computes in a turn.
            let mut clients: Vec<TlsClient> =
                (0..60).map(|number| https.connect(VERSIONS[number % 2])).collect();
            for client in &mut clients {
                let bytes = said(client);
                client.stream.sock.write_all(&bytes).expect("an open socket");
            }
            // Every third is gone before its turn may have come.
            let mut number = 0;
            clients.retain(|_| {
                number += 1;
                number % 3 != 0
            });
            for client in &mut clients {
                assert_eq!(client.get("/").text(), "Hello, World!");
            }
        }
    }
}

/// Shakes hands as far as it goes with a flight of the client's in which one byte is another; reads to the end.
fn damage(client: &mut TlsClient, flight: usize, random: &mut fastrand::Rng) {
    client.stream.sock.set_read_timeout(Some(Duration::from_millis(500))).expect("an open socket");
    let mut number = 0;
    while client.stream.conn.is_handshaking() {
        let mut bytes = said(client);
        if number == flight && !bytes.is_empty() {
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..8);
        }
        number += 1;
        if client.stream.sock.write_all(&bytes).is_err() {
            return;
        }
        while client.stream.conn.is_handshaking() && !client.stream.conn.wants_write() {
            // Where the server waits for the rest of a record that was made longer, nothing comes.
            match client.stream.conn.read_tls(&mut client.stream.sock) {
                Ok(1..) if client.stream.conn.process_new_packets().is_ok() => {}
                _ => return,
            }
        }
    }
    let mut bytes = said(client);
    if flight >= number && !bytes.is_empty() {
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
    }
    let _ = client.stream.sock.write_all(&bytes);
    let _ = client.stream.sock.shutdown(Shutdown::Write);
    let _ = std::io::copy(&mut client.stream.sock, &mut std::io::sink());
}

#[test]
fn damaged_flights_harm_nobody_else() {
    let folder = Folder::new();
    let authority = tls::authority("clients");
    let own = tls::issue("client", &authority, 2900);
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let https = Https::start(|options| {
                options.driver = driver;
                options.tls.offload_handshakes = offloads;
                options.tls.client_certificates = peregrine::tls::ClientCertificates::Allow;
                options.tls.client_ca = Some(folder.write("clients.pem", authority.pem()));
                options.tls.handshake_timeout = Some(Duration::from_millis(200));
            });
            let address = https.server.addresses()[0];
            let mut random = fastrand::Rng::with_seed(u64::from(offloads));
            for round in 0..200 {
                let version = VERSIONS[round % 2];
                let config = tls::config(&[&https.pair], Some(&own), &[version]);
                let mut client = tls::connect(address, tls::NAME, &config);
                damage(&mut client, round / 2 % 2, &mut random);
                assert_eq!(https.connect(version).get("/").status, 200, "round {round}");
            }
            https.server.shutdown().expect("workers that do not fail");
        }
    }
}
