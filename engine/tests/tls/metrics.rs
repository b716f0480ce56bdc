//! What a server tells of its handshakes and records.

use std::io::Write;
use std::time::Duration;

use peregrine::Options;
use peregrine::tls::TlsMetrics;

use crate::serving::Https;
use crate::support::client::await_some;
use crate::support::tls::{self, NAME, VERSIONS, config, connect, raw};

fn short(options: &mut Options) {
    options.workers = Some(2);
    options.tls.handshake_timeout = Some(Duration::from_millis(300));
}

/// Waits for the numbers: what ends a connection is counted when the worker comes to it.
#[track_caller]
fn assert_becomes(https: &Https, expected: impl Fn(&TlsMetrics) -> bool) {
    await_some("the numbers", || expected(&https.server.tls_metrics()).then_some(()));
}

#[test]
fn handshakes_are_counted_by_how_they_end() {
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let https = Https::start(|options| {
                short(options);
                options.driver = driver;
                options.tls.offload_handshakes = offloads;
            });
            let address = https.server.addresses()[0];
            assert_eq!(https.server.tls_metrics(), TlsMetrics::default());
            // In full, and with the ticket of the first.
            for version in VERSIONS {
                let config = config(&[&https.pair], None, &[version]);
                for _ in 0..2 {
                    assert_eq!(connect(address, NAME, &config).get("/").status, 200);
                }
            }
            assert_becomes(&https, |now| (now.full_handshakes, now.resumed_handshakes) == (2, 2));
            // Neither TLS nor HTTP, HTTP in the clear, and a client that trusts somebody else.
            raw(address).write_all(b"\x99\x99\x99\x99\x99\x99").expect("an open socket");
            raw(address).write_all(b"GET / HTTP/1.1\r\n\r\n").expect("an open socket");
            let stranger = config(&[&tls::pair("stranger")], None, &VERSIONS);
            connect(address, NAME, &stranger).try_get("/").expect_err("no trust");
            assert_becomes(&https, |now| now.failed_handshakes == 3);
            // One that says nothing after its beginning.
            let mut stalled = raw(address);
            stalled.write_all(b"\x16\x03\x01").expect("an open socket");
            assert_becomes(&https, |now| now.timed_out_handshakes == 1);
            // One that goes in the middle.
            raw(address).write_all(b"\x16\x03\x01").expect("an open socket");
            assert_becomes(&https, |now| now.abandoned_handshakes == 1);
            let now = https.server.tls_metrics();
            let told = (now.full_handshakes, now.resumed_handshakes, now.failed_handshakes);
            assert_eq!((told, now.timed_out_handshakes, now.broken_connections), ((2, 2, 3), 1, 0));
            assert_eq!(now.active_handshakes, 0);
        }
    }
}

#[test]
fn handshakes_that_go_on_are_counted_while_they_do() {
    let https = Https::start(|options| options.workers = Some(2));
    let mut waiting: Vec<_> = (0..5).map(|_| raw(https.server.addresses()[0])).collect();
    for socket in &mut waiting {
        socket.write_all(b"\x16\x03\x01").expect("an open socket");
    }
    assert_becomes(&https, |now| now.active_handshakes == 5);
    waiting.truncate(2);
    assert_becomes(&https, |now| now.active_handshakes == 2);
}

#[test]
fn broken_records_are_counted() {
    let https = Https::start(|_| {});
    let mut client = https.connect(VERSIONS[0]);
    assert_eq!(client.get("/").status, 200);
    client
        .stream
        .sock
        .write_all(b"\x17\x03\x03\x00\x20 no key fits what is behind this")
        .expect("an open socket");
    assert_becomes(&https, |now| now.broken_connections == 1);
}
