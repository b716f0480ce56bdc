//! Clients that show a certificate, or should.

use std::io;

use peregrine::prelude::*;
use peregrine::tls::ClientCertificates;
use peregrine::{Options, Server, Tls};
use rustls::{AlertDescription, HandshakeKind, SupportedProtocolVersion};

use crate::support::client::await_some;
use crate::support::tls::{self, Authority, Folder, NAME, Pair, VERSIONS, alert, config, connect};

/// A server and the certificates of its clients.
struct Clients {
    folder: Folder,
    pair: Pair,
    authority: Authority,
    good: Pair,
}

impl Clients {
    fn new() -> Self {
        let authority = tls::authority("clients");
        let good = tls::issue("good", &authority, 2900);
        Self { folder: Folder::new(), pair: tls::pair(NAME), authority, good }
    }

    fn start(&self, mode: ClientCertificates, change: impl FnOnce(&mut Options)) -> Server {
        let mut options = tls::options(Some(self.folder.pair("server", &self.pair)));
        options.tls.client_certificates = mode;
        options.tls.client_ca = Some(self.folder.write("clients.pem", self.authority.pem()));
        change(&mut options);
        let mut app = App::with_options(options);
        app.get("/", |Tls(tls): Tls| tls.client_certificates.concat());
        app.start().expect("a server")
    }

    /// The certificates that the handler sees of a client.
    fn seen(
        &self,
        server: &Server,
        own: Option<&Pair>,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Vec<u8>> {
        let config = config(&[&self.pair], own, &[version]);
        Ok(connect(server.addresses()[0], NAME, &config).try_get("/")?.body)
    }

    #[track_caller]
    fn refused(
        &self,
        server: &Server,
        own: Option<&Pair>,
        version: &'static SupportedProtocolVersion,
    ) -> AlertDescription {
        let error = self.seen(server, own, version).expect_err("no answer");
        alert(&error).unwrap_or_else(|| panic!("no alert: {error:?}"))
    }
}

#[test]
fn who_is_not_asked_shows_nothing() {
    let clients = Clients::new();
    let server = clients.start(ClientCertificates::None, |_| {});
    for version in VERSIONS {
        assert_eq!(clients.seen(&server, Some(&clients.good), version).expect("an answer"), b"");
    }
}

#[test]
fn who_may_show_a_certificate_is_seen_with_it_or_without() {
    let clients = Clients::new();
    for driver in tls::drivers() {
        let server = clients.start(ClientCertificates::Allow, |options| options.driver = driver);
        for version in VERSIONS {
            assert_eq!(clients.seen(&server, None, version).expect("an answer"), b"");
            let seen = clients.seen(&server, Some(&clients.good), version).expect("an answer");
            assert_eq!(seen, clients.good.der().as_ref());
        }
    }
}

#[test]
fn who_must_show_a_certificate_is_turned_away_without() {
    let clients = Clients::new();
    for driver in tls::drivers() {
        for offloads in [false, true] {
            let server = clients.start(ClientCertificates::Require, |options| {
                options.driver = driver;
                options.tls.offload_handshakes = offloads;
            });
            for version in VERSIONS {
                let seen = clients.seen(&server, Some(&clients.good), version).expect("an answer");
                assert_eq!(seen, clients.good.der().as_ref());
                assert_eq!(clients.refused(&server, None, version), AlertDescription::CertificateRequired);
            }
        }
    }
}

#[test]
fn a_certificate_that_is_no_good_is_refused_also_where_none_is_needed() {
    let clients = Clients::new();
    let stranger = tls::issue("stranger", &tls::authority("others"), 2900);
    let expired = tls::issue("expired", &clients.authority, 2021);
    let revoked = tls::issue("revoked", &clients.authority, 2900);
    let list = tls::revocation(&clients.authority, &[&revoked]);
    for mode in [ClientCertificates::Allow, ClientCertificates::Require] {
        for driver in tls::drivers() {
            let server = clients.start(mode, |options| {
                options.driver = driver;
                options.tls.client_crl = Some(clients.folder.write("revoked.pem", &list));
            });
            for version in VERSIONS {
                let refused = |own| clients.refused(&server, Some(own), version);
                assert_eq!(refused(&stranger), AlertDescription::UnknownCA);
                assert_eq!(refused(&expired), AlertDescription::CertificateExpired);
                assert_eq!(refused(&revoked), AlertDescription::CertificateRevoked);
                let seen = clients.seen(&server, Some(&clients.good), version).expect("an answer");
                assert_eq!(seen, clients.good.der().as_ref());
            }
        }
    }
}

#[test]
fn a_list_of_the_revoked_is_taken_anew_while_clients_come() {
    let clients = Clients::new();
    let list = |revoked: &[&Pair]| tls::revocation(&clients.authority, revoked);
    let file = clients.folder.write("revoked.pem", list(&[]));
    let server = clients.start(ClientCertificates::Require, |options| {
        options.tls.client_crl = Some(file);
    });
    for version in VERSIONS {
        let own = Some(&clients.good);
        clients.folder.write("revoked.pem", list(&[&clients.good]));
        let told = await_some("a refusal", || clients.seen(&server, own, version).err());
        assert_eq!(alert(&told), Some(AlertDescription::CertificateRevoked));
        clients.folder.write("revoked.pem", list(&[]));
        await_some("an answer", || clients.seen(&server, own, version).ok());
    }
}

#[test]
fn a_client_that_comes_back_with_a_ticket_is_seen_with_its_certificate() {
    let clients = Clients::new();
    let server = clients.start(ClientCertificates::Require, |_| {});
    for version in VERSIONS {
        let config = config(&[&clients.pair], Some(&clients.good), &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = connect(server.addresses()[0], NAME, &config);
            assert_eq!(client.get("/").body, clients.good.der().as_ref());
            let got = client.stream.conn.handshake_kind();
            // With a hello retried it is full, too.
            assert_eq!(got == Some(HandshakeKind::Resumed), kind == HandshakeKind::Resumed, "{got:?}");
        }
    }
}
