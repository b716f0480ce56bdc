//! Certificates that are replaced while clients come and stay, and the tickets that outlive them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use peregrine::prelude::*;
use peregrine::{Options, Server, Tls, WorkerInfo};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, HandshakeKind};

use crate::support::client::await_some;
use crate::support::tls::{self, Folder, NAME, Pair, VERSIONS, config, connect};

struct Number(usize);

fn start(options: Options) -> Server {
    let mut app = App::with_options(options);
    app.state(|worker: &WorkerInfo| Number(worker.index));
    app.get("/", |Tls(tls): Tls| if tls.is_resumed { "resumed" } else { "full" });
    app.get("/worker", |State(number): State<Number>| number.0.to_string());
    app.start().expect("a server")
}

/// A client that comes without a ticket each time.
fn fresh(trusted: &[&Pair]) -> Arc<ClientConfig> {
    let mut config = (*config(trusted, None, &VERSIONS)).clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The certificate that a new client sees.
fn seen(server: &Server, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut client = connect(server.addresses()[0], NAME, config);
    assert_eq!(client.get("/").text(), "full");
    client.stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[test]
fn no_request_is_lost_while_certificates_are_replaced() {
    const CLIENTS: usize = 8;
    const PAIRS: usize = 25;
    const PERIOD: Duration = Duration::from_millis(200);
    let pairs: Vec<Pair> = (0..PAIRS).map(|_| tls::pair(NAME)).collect();
    let trusted: Vec<&Pair> = pairs.iter().collect();
    let folder = Folder::new();
    // A link to a folder is replaced as a whole; where there is no link both files are written over.
    for (number, pair) in pairs.iter().enumerate() {
        fs::create_dir(folder.path(&number.to_string())).expect("a new folder");
        folder.pair(&format!("{number}/server"), pair);
    }
    let link = |number: usize| {
        symlink(folder.path(&number.to_string()), folder.path("next")).expect("a new link");
        fs::rename(folder.path("next"), folder.path("live")).expect("a link in its place");
    };
    link(0);
    let certificate =
        peregrine::tls::Certificate::pem(folder.path("live/server.pem"), folder.path("live/server.key"));
    for driver in tls::drivers() {
        let mut options = tls::options(Some(certificate.clone()));
        options.driver = driver;
        options.workers = Some(2);
        let server = start(options);
        let is_over = AtomicBool::new(false);
        let config = fresh(&trusted);
        let (old, new): (Vec<usize>, Vec<Vec<CertificateDer>>) = thread::scope(|scope| {
            let staying: Vec<_> = (0..CLIENTS / 2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = connect(server.addresses()[0], NAME, &config);
                        let mut requests = 0;
                        while !is_over.load(Ordering::Relaxed) {
                            assert_eq!(client.get("/").text(), "full");
                            requests += 1;
                            thread::sleep(Duration::from_millis(1));
                        }
                        requests
                    })
                })
                .collect();
            let coming: Vec<_> = (0..CLIENTS / 2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut certificates = Vec::new();
                        while !is_over.load(Ordering::Relaxed) {
                            certificates.push(seen(&server, &config));
                        }
                        certificates.dedup();
                        certificates
                    })
                })
                .collect();
            for (round, pair) in pairs.iter().enumerate().skip(1) {
                thread::sleep(PERIOD);
                if round % 3 == 0 {
                    folder.pair("live/server", pair);
                } else {
                    link(round);
                }
            }
            is_over.store(true, Ordering::Relaxed);
            let staying = staying.into_iter().map(|thread| thread.join().expect("no lost request"));
            (
                staying.collect(),
                coming.into_iter().map(|thread| thread.join().expect("no lost client")).collect(),
            )
        });
        assert!(old.iter().all(|&requests| requests > 0), "{old:?}");
        for certificates in new {
            assert!(certificates.len() >= 3, "{} certificates in 5 s", certificates.len());
        }
        server.shutdown().expect("workers that do not fail");
    }
}

#[test]
fn files_of_no_use_change_nothing_until_they_are_of_use() {
    let [one, other] = [tls::pair(NAME), tls::pair(NAME)];
    let folder = Folder::new();
    let server = start(tls::options(Some(folder.pair("server", &one))));
    let config = fresh(&[&one, &other]);
    for broken in ["", "no certificate", &other.chain] {
        folder.write("server.pem", broken);
        // It looks each second; that it goes on looking is seen below.
        thread::sleep(Duration::from_millis(1300));
        assert_eq!(seen(&server, &config), one.der());
    }
    fs::remove_file(folder.path("server.key")).expect("a file");
    assert_eq!(seen(&server, &config), one.der());
    folder.write("server.key", &other.key);
    await_some("the other certificate", || (seen(&server, &config) == other.der()).then_some(()));
}

#[test]
fn tickets_outlive_the_certificate_that_they_were_given_under() {
    let [one, other] = [tls::pair(NAME), tls::pair(NAME)];
    for version in VERSIONS {
        let folder = Folder::new();
        let server = start(tls::options(Some(folder.pair("server", &one))));
        let config = config(&[&one], None, &[version]);
        assert_eq!(connect(server.addresses()[0], NAME, &config).get("/").text(), "full");
        folder.pair("server", &other);
        let fresh = fresh(&[&one, &other]);
        await_some("the other certificate", || (seen(&server, &fresh) == other.der()).then_some(()));
        let mut client = connect(server.addresses()[0], NAME, &config);
        assert_eq!(client.get("/").text(), "resumed");
        assert_eq!(client.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn every_worker_takes_the_tickets_of_the_others() {
    let pair = tls::pair(NAME);
    let folder = Folder::new();
    let certificate = folder.pair("server", &pair);
    for driver in tls::drivers() {
        let mut options = tls::options(Some(certificate.clone()));
        options.driver = driver;
        options.workers = Some(2);
        let server = start(options);
        for version in VERSIONS {
            let config = config(&[&pair], None, &[version]);
            let mut told = vec![connect(server.addresses()[0], NAME, &config).get("/").text().to_owned()];
            let mut changes = 0;
            let mut last = None;
            // From one worker to the other and back; which one it is the kernel chooses by the client's port.
            for _ in 0..200 {
                let mut client = connect(server.addresses()[0], NAME, &config);
                told.push(client.get("/").text().to_owned());
                let worker = client.get("/worker").text().to_owned();
                changes += usize::from(last.as_ref().is_some_and(|last| *last != worker));
                last = Some(worker);
                if changes >= 4 {
                    break;
                }
            }
            assert!(changes >= 4, "the kernel has chosen one worker 200 times");
            assert_eq!(told.remove(0), "full");
            assert!(told.iter().all(|told| told == "resumed"), "{told:?}");
        }
    }
}

#[test]
fn without_tickets_every_handshake_is_a_full_one() {
    let pair = tls::pair(NAME);
    let folder = Folder::new();
    let mut options = tls::options(Some(folder.pair("server", &pair)));
    options.tls.tickets = false;
    let server = start(options);
    for version in VERSIONS {
        let config = config(&[&pair], None, &[version]);
        for _ in 0..3 {
            assert_eq!(connect(server.addresses()[0], NAME, &config).get("/").text(), "full");
        }
    }
}
