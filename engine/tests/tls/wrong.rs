//! Peers that speak something else: HTTP where TLS is spoken, TLS where HTTP is, and noise.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use peregrine::prelude::*;
use peregrine::{Options, Server};
use rustls::AlertDescription;

use crate::support;
use crate::support::client::{Client, get};
use crate::support::tls::{self, Folder, NAME, VERSIONS, alert, config, connect};

fn start(options: Options) -> (Server, Arc<AtomicU32>) {
    let served = Arc::new(AtomicU32::new(0));
    let mut app = App::with_options(options);
    app.shared(Arc::clone(&served));
    app.get("/", |Shared(count): Shared<AtomicU32>| {
        count.fetch_add(1, Ordering::Relaxed);
        "Hello, World!"
    });
    (app.start().expect("a server"), served)
}

#[test]
fn http_on_a_port_of_https_is_answered_in_clear_and_not_served() {
    let folder = Folder::new();
    let pair = tls::pair(NAME);
    for driver in tls::drivers() {
        let mut options = tls::options(Some(folder.pair("server", &pair)));
        options.driver = driver;
        let (server, served) = start(options);
        for request in
            [get("/"), get("/").repeat(5), String::from("G"), String::from("PRI * HTTP/2.0\r\n\r\n")]
        {
            let mut client = Client::connect(server.addresses()[0]);
            client.send(&request);
            let response = client.receive();
            assert_eq!((response.status, response.is_last()), (400, true), "{request}");
            client.finish_sending();
            client.await_any_end();
        }
        assert_eq!(served.load(Ordering::Relaxed), 0);
        assert_eq!(
            connect(server.addresses()[0], NAME, &config(&[&pair], None, &VERSIONS)).get("/").status,
            200
        );
        assert_eq!(served.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn tls_on_a_port_of_http_is_answered_with_an_alert() {
    for driver in tls::drivers() {
        let mut options = support::options();
        options.driver = driver;
        let (server, served) = start(options);
        for version in VERSIONS {
            let mut client = connect(server.addresses()[0], NAME, &config(&[], None, &[version]));
            let error = client.shake().expect_err("no handshake");
            // An alert, and no bytes that a client takes for a broken record.
            assert!(alert(&error).is_some(), "{error:?}");
        }
        assert_eq!(Client::connect(server.addresses()[0]).get("/").status, 200);
        assert_eq!(served.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn noise_ends_the_connection_with_an_alert_at_most() {
    let folder = Folder::new();
    let pair = tls::pair(NAME);
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let mut options = tls::options(Some(folder.pair("server", &pair)));
            options.driver = driver;
            options.tls.offload_handshakes = offloads;
            let (server, served) = start(options);
            let mut noise = vec![0; 3000];
            for seed in 0..20 {
                fastrand::Rng::with_seed(seed).fill(&mut noise);
                // What begins with a letter is taken for HTTP, and what begins with 22 for a record.
                noise[0] = if seed % 2 == 0 { 22 } else { 0x80 | noise[0] };
                if seed % 4 == 0 {
                    noise[1..5].copy_from_slice(&[3, 1, 1, 0]);
                }
                let mut socket = tls::raw(server.addresses()[0]);
                socket.write_all(&noise).expect("an open socket");
                socket.shutdown(std::net::Shutdown::Write).expect("an open socket");
                let mut answer = Vec::new();
                if let Err(error) = socket.read_to_end(&mut answer) {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "seed {seed}");
                }
                assert!(
                    answer.is_empty() || (answer[0] == 21 && answer.len() == 7),
                    "seed {seed}: {answer:?}"
                );
            }
            assert_eq!(served.load(Ordering::Relaxed), 0);
            let mut client = connect(server.addresses()[0], NAME, &config(&[&pair], None, &VERSIONS));
            assert_eq!(client.get("/").status, 200);
        }
    }
}

#[test]
fn a_record_that_no_key_fits_is_told_and_ends_the_connection() {
    let folder = Folder::new();
    let pair = tls::pair(NAME);
    for driver in tls::drivers() {
        let mut options = tls::options(Some(folder.pair("server", &pair)));
        options.driver = driver;
        let (server, served) = start(options);
        for version in VERSIONS {
            let mut client = connect(server.addresses()[0], NAME, &config(&[&pair], None, &[version]));
            assert_eq!(client.get("/").status, 200);
            let record = [&[23, 3, 3, 0, 64][..], &[0xA5; 64]].concat();
            client.stream.sock.write_all(&record).expect("an open socket");
            let error = client.stream.read_to_end(&mut Vec::new()).expect_err("an alert");
            assert_eq!(alert(&error), Some(AlertDescription::BadRecordMac), "{error:?}");
        }
        assert_eq!(served.load(Ordering::Relaxed), 2);
    }
}
