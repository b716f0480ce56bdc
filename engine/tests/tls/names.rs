//! The names that clients ask for (SNI), and endpoints with TLS of their own.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use peregrine::prelude::*;
use peregrine::tls::{ClientCertificates, TlsName, TlsVersion};
use peregrine::{Options, Server, Tls};
use rustls::{AlertDescription, CertificateError};

use crate::support::client::get;
use crate::support::tls::{self, Folder, NAME, Pair, VERSIONS, alert, config, connect};

fn start(options: Options) -> Server {
    let mut app = App::with_options(options);
    app.get("/", |Tls(tls): Tls| format!("name={}", tls.server_name.as_deref().unwrap_or("none")));
    app.start().expect("a server")
}

/// Certificates for one name, for all names below another, and for all others.
struct Names {
    folder: Folder,
    default: Pair,
    exact: Pair,
    wild: Pair,
}

impl Names {
    fn new() -> Self {
        let [default, exact, wild] = [NAME, "exact.example.org", "*.wild.example.org"].map(tls::pair);
        Self { folder: Folder::new(), default, exact, wild }
    }

    fn options(&self, has_default: bool) -> Options {
        let default = self.folder.pair("default", &self.default);
        let mut options = tls::options(has_default.then_some(default));
        options.tls.names = vec![
            TlsName::new("exact.example.org", self.folder.pair("exact", &self.exact)),
            TlsName::new("*.wild.example.org", self.folder.pair("wild", &self.wild)),
        ];
        options
    }

    /// What a client for a name is told that trusts one certificate alone.
    #[track_caller]
    fn ask(&self, server: &Server, name: &str, trusted: &Pair) -> String {
        let mut told = Vec::new();
        for version in VERSIONS {
            let config = config(&[trusted], None, &[version]);
            told.push(connect(server.addresses()[0], name, &config).get("/").text().to_owned());
        }
        assert_eq!(told[0], told[1]);
        told.remove(0)
    }
}

#[test]
fn each_name_has_its_certificate_and_the_handler_sees_the_name() {
    let names = Names::new();
    for driver in tls::drivers() {
        let mut options = names.options(true);
        options.driver = driver;
        let server = start(options);
        assert_eq!(names.ask(&server, "exact.example.org", &names.exact), "name=exact.example.org");
        assert_eq!(names.ask(&server, "a.wild.example.org", &names.wild), "name=a.wild.example.org");
        assert_eq!(names.ask(&server, NAME, &names.default), format!("name={NAME}"));
        // Two labels are not one.
        let roots = [&names.default, &names.exact, &names.wild];
        let client = connect(server.addresses()[0], "a.b.wild.example.org", &config(&roots, None, &VERSIONS));
        let error = { client }.shake().expect_err("the default certificate is for another name");
        let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        assert!(
            matches!(
                error,
                Some(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_name_that_nobody_has_is_told_by_an_alert() {
    let names = Names::new();
    for driver in tls::drivers() {
        let mut options = names.options(false);
        options.driver = driver;
        let server = start(options);
        for version in VERSIONS {
            // An address is no name to ask for.
            for name in [NAME, "wild.example.org", "127.0.0.1"] {
                let config = config(&[&names.default], None, &[version]);
                let error = connect(server.addresses()[0], name, &config).shake().expect_err("no handshake");
                assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{name}: {error:?}");
            }
        }
        assert_eq!(names.ask(&server, "exact.example.org", &names.exact), "name=exact.example.org");
    }
}

#[test]
fn a_name_may_have_versions_and_rules_of_its_own() {
    let names = Names::new();
    let authority = tls::authority("clients");
    let good = tls::issue("good", &authority, 2900);
    let mut options = names.options(true);
    options.tls.client_ca = Some(names.folder.write("clients.pem", authority.pem()));
    options.tls.names[0].client_certificates = Some(ClientCertificates::Require);
    options.tls.names[1].min_version = Some(TlsVersion::Tls13);
    let server = start(options);
    let address = server.addresses()[0];
    let roots = [&names.default, &names.exact, &names.wild];
    let ask = |name, own, version| connect(address, name, &config(&roots, own, &[version])).try_get("/");
    for version in VERSIONS {
        ask(NAME, None, version).expect("an answer");
        let error = ask("exact.example.org", None, version).expect_err("no certificate");
        assert_eq!(alert(&error), Some(AlertDescription::CertificateRequired));
        ask("exact.example.org", Some(&good), version).expect("an answer");
    }
    ask("a.wild.example.org", None, VERSIONS[0]).expect("an answer");
    let error = ask("a.wild.example.org", None, VERSIONS[1]).expect_err("an old version");
    assert_eq!(alert(&error), Some(AlertDescription::ProtocolVersion));
}

#[test]
fn an_endpoint_may_have_tls_of_its_own() {
    let folder = Folder::new();
    let [one, other] = [tls::pair(NAME), tls::pair("other.example.org")];
    let mut options = tls::options(Some(folder.pair("one", &one)));
    options.urls.push("https://127.0.0.2:0".to_owned());
    let mut own = peregrine::tls::TlsOptions::default();
    own.certificate = Some(folder.pair("other", &other));
    own.min_version = TlsVersion::Tls13;
    options.endpoint_tls = vec![("https://127.0.0.2:0".to_owned(), own)];
    let server = start(options);
    let [first, second] = server.addresses()[..] else { panic!("{:?}", server.addresses()) };
    for version in VERSIONS {
        let told = connect(first, NAME, &config(&[&one], None, &[version])).get("/").text().to_owned();
        assert_eq!(told, format!("name={NAME}"));
    }
    let told = connect(second, "other.example.org", &config(&[&other], None, &VERSIONS[..1])).get("/");
    assert_eq!(told.text(), "name=other.example.org");
    let error = connect(second, "other.example.org", &config(&[&other], None, &VERSIONS[1..]));
    let error = { error }.shake().expect_err("an old version");
    assert_eq!(alert(&error), Some(AlertDescription::ProtocolVersion));
}

/// What OpenSSL is answered when it asks for a name, which may be one that rustls' client would not ask for.
fn openssl(address: SocketAddr, name: &str, version: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", version, "-connect", &address.to_string(), "-servername", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let request = get("/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    child.stdin.as_mut().expect("piped").write_all(request.as_bytes()).expect("an open pipe");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn an_address_in_the_place_of_a_name_is_served_with_the_default() {
    let names = Names::new();
    let server = start(names.options(true));
    for version in ["-tls1_3", "-tls1_2"] {
        for name in ["127.0.0.1", "::1"] {
            let told = openssl(server.addresses()[0], name, version);
            assert!(told.contains(&format!("name={name}")), "{told}");
        }
    }
    // It is looked up as any name is: without a default nobody has it.
    let server = start(names.options(false));
    let told = openssl(server.addresses()[0], "127.0.0.1", "-tls1_3");
    assert!(told.contains("unrecognized name"), "{told}");
}
