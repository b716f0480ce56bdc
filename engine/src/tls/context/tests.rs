//! Which configuration a name gets, what is in it, and what it comes to in a handshake.

mod reload;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig};

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;

use super::*;
use crate::tls::fixtures::{self, Folder, Pair, client, issue, meet};
use crate::tls::{Certificate, TlsName, TlsVersion};

fn options(certificate: Certificate) -> TlsOptions {
    TlsOptions { certificate: Some(certificate), ..TlsOptions::default() }
}

fn context(options: &TlsOptions) -> Arc<Context> {
    Context::new(options, &[b"http/1.1"]).unwrap()
}

fn refusal(options: &TlsOptions) -> String {
    Context::new(options, &[b"http/1.1"]).err().expect("a refusal").to_string()
}

fn single(context: &Context) -> Arc<ServerConfig> {
    Arc::clone(context.snapshot().is_single().expect("one configuration"))
}

#[test]
fn the_closest_name_decides() {
    let folder = Folder::new();
    let mut options = options(folder.pair("default", &fixtures::pair("default")));
    let patterns = ["www.example.org", "*.example.org", "*.a.example.org", "*.ORG.", "*"];
    for pattern in patterns {
        let certificate = folder.pair(&pattern.replace('*', "any"), &fixtures::pair("name"));
        options.names.push(TlsName::new(pattern, certificate));
    }
    let by_pattern: Vec<String> =
        context(&options).snapshot().certificates().iter().map(|c| c.thumbprint.clone()).collect();
    let which = |options: &TlsOptions, asked: Option<&str>| {
        let snapshot = context(options).snapshot();
        let mut tables = snapshot.exact.iter().chain(&snapshot.patterns);
        let config = snapshot.config(asked)?;
        let found = tables.find(|(_, other)| Arc::ptr_eq(other, &config)).map(|(name, _)| name.clone());
        let is_any = snapshot.any.as_ref().is_some_and(|any| Arc::ptr_eq(any, &config));
        found.or(is_any.then(|| "*".to_owned())).or(Some("default".to_owned()))
    };
    assert_eq!(by_pattern.len(), 6);
    for (asked, expected) in [
        (Some("www.example.org"), "www.example.org"),
        (Some("WWW.Example.ORG."), "www.example.org"),
        (Some("other.example.org"), "example.org"),
        (Some("x.a.example.org"), "a.example.org"),
        (Some("a.example.org"), "example.org"),
        (Some("x.y.example.org"), "*"),
        (Some("example.org"), "org"),
        (Some("org"), "*"),
        (Some("elsewhere.net"), "*"),
        (None, "default"),
    ] {
        assert_eq!(which(&options, asked).as_deref(), Some(expected), "{asked:?}");
    }
    // Without `*` the endpoint's own is for the rest, and without that nobody is.
    options.names.pop();
    assert_eq!(which(&options, Some("elsewhere.net")).as_deref(), Some("default"));
    assert!(context(&options).snapshot().is_single().is_none());
    options.certificate = None;
    assert_eq!(which(&options, Some("elsewhere.net")), None);
    assert_eq!(which(&options, None), None);
    assert_eq!(which(&options, Some("www.example.org")).as_deref(), Some("www.example.org"));
    assert!(context(&options).snapshot().is_single().is_none());
}

#[test]
fn the_certificate_of_the_name_is_shown() {
    let folder = Folder::new();
    let (whole, named) = (fixtures::pair("whole.test"), fixtures::pair("named.test"));
    let mut options = options(folder.pair("whole", &whole));
    options.names.push(TlsName::new("named.test", folder.pair("named", &named)));
    let snapshot = context(&options).snapshot();
    for (pair, name) in [(&whole, "whole.test"), (&named, "named.test")] {
        // It trusts that one alone.
        let met = meet(&Arc::new(client(&[&pair.chain], None)), name, snapshot.config(Some(name)).unwrap());
        assert_eq!(met.unwrap().kind, HandshakeKind::Full, "{name}");
    }
}

#[test]
fn names_that_cannot_be_asked_for_are_refused() {
    let folder = Folder::new();
    let certificate = folder.pair("a", &fixtures::pair("a"));
    for (name, problem) in [
        ("", "it is empty"),
        ("*.", "'*' may stand for the first label alone, as in '*.example.org'"),
        ("www.*.org", "'*' may stand for the first label alone, as in '*.example.org'"),
        ("w*.org", "'*' may stand for the first label alone, as in '*.example.org'"),
        ("bücher.example", "clients ask for names in ASCII; write the form with 'xn--'"),
    ] {
        let mut options = options(certificate.clone());
        options.names.push(TlsName::new(name, certificate.clone()));
        if name == "*." {
            // The dot of the root is dropped: this is `*`.
            assert!(Context::new(&options, &[]).is_ok());
            continue;
        }
        assert_eq!(refusal(&options), format!("The name '{name}' cannot be served with TLS: {problem}."));
    }
    let mut options = options(certificate.clone());
    options.names.push(TlsName::new("a.test", certificate.clone()));
    options.names.push(TlsName::new("A.test.", certificate));
    assert_eq!(refusal(&options), "The name 'A.test.' cannot be served with TLS: it is there twice.");
}

#[test]
fn a_name_takes_what_it_does_not_have_from_the_endpoint() {
    let folder = Folder::new();
    let pair = fixtures::pair("a.test");
    let mut options = options(folder.pair("a", &pair));
    let mut name = TlsName::new("a.test", folder.pair("b", &fixtures::pair("b")));
    name.certificate = None;
    name.max_version = Some(TlsVersion::Tls12);
    options.names.push(name);
    let config = context(&options).snapshot().config(Some("a.test")).unwrap();
    let met = meet(&Arc::new(client(&[&pair.chain], None)), "a.test", config).unwrap();
    assert_eq!(met.version, ProtocolVersion::TLSv1_2);

    options.certificate = None;
    assert_eq!(
        refusal(&options),
        "There is no certificate for the name 'a.test', and none for the endpoint. Name one for either."
    );
    options.names.clear();
    assert_eq!(refusal(&options), "There is no certificate for TLS. Name one with its key.");
}

#[test]
fn configurations_are_as_the_engine_needs_them() {
    let folder = Folder::new();
    let pair = fixtures::pair("a.test");
    let mut options = options(folder.pair("a", &pair));
    let context = context(&options);
    let config = single(&context);
    assert!(config.enable_secret_extraction && !config.send_half_rtt_data && config.ignore_client_order);
    assert_eq!((config.max_early_data_size, config.send_tls13_tickets), (0, 1));
    let suites = &config.crypto_provider().cipher_suites;
    assert_eq!((suites.len(), suites[0].suite()), (9, CipherSuite::TLS13_AES_128_GCM_SHA256));
    assert_eq!(suites[1].suite(), CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    assert!(config.ticketer.enabled() && !config.session_storage.can_cache());
    assert_eq!(config.ticketer.lifetime(), 12 * 60 * 60);
    let mut client = client(&[&pair.chain], None);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let met = meet(&Arc::new(client), "a.test", config).unwrap();
    assert_eq!(met.version, ProtocolVersion::TLSv1_3);
    assert_eq!(met.alpn.as_deref(), Some(&b"http/1.1"[..]));

    assert_eq!(context.handshake_timeout(), Some(Duration::from_secs(10)));
    assert!(!context.offload_handshakes());
    options.handshake_timeout = None;
    options.offload_handshakes = true;
    let context = self::context(&options);
    assert!(context.handshake_timeout().is_none() && context.offload_handshakes());
}

#[test]
fn versions_are_kept_to() {
    let folder = Folder::new();
    let pair = fixtures::pair("a.test");
    let client = Arc::new(client(&[&pair.chain], None));
    for (min, max, spoken) in [
        (TlsVersion::Tls12, TlsVersion::Tls13, ProtocolVersion::TLSv1_3),
        (TlsVersion::Tls12, TlsVersion::Tls12, ProtocolVersion::TLSv1_2),
        (TlsVersion::Tls13, TlsVersion::Tls13, ProtocolVersion::TLSv1_3),
    ] {
        let mut options = options(folder.pair("a", &pair));
        (options.min_version, options.max_version) = (min, max);
        let met = meet(&client, "a.test", single(&context(&options))).unwrap();
        assert_eq!(met.version, spoken);
    }
    let mut options = options(folder.pair("a", &pair));
    (options.min_version, options.max_version) = (TlsVersion::Tls13, TlsVersion::Tls12);
    assert_eq!(
        refusal(&options),
        "No version of TLS is left: the oldest to speak is TLS 1.3, the newest is TLS 1.2. Exchange them."
    );
}

#[test]
fn suites_are_those_named_in_their_order() {
    let folder = Folder::new();
    let pair = fixtures::pair("a.test");
    let client = Arc::new(client(&[&pair.chain], None));
    let mut options = options(folder.pair("a", &pair));
    let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let ecdsa = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    for (first, suite) in [
        ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        ("TLS13_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ] {
        options.cipher_suites = named(&[first, "TLS_AES_256_GCM_SHA384", ecdsa, first]);
        assert_eq!(meet(&client, "a.test", single(&context(&options))).unwrap().suite, suite);
    }
    options.cipher_suites = named(&["TLS_RSA_WITH_RC4_128_SHA"]);
    let text = refusal(&options);
    assert!(
        text.starts_with(
            "There is no cipher suite 'TLS_RSA_WITH_RC4_128_SHA' here. Those that there are: TLS_"
        )
    );
    assert!(text.contains(" TLS_AES_128_GCM_SHA256, ") && text.contains(ecdsa), "{text}");
    assert!(!text.contains("TLS13_"), "{text}");

    options.cipher_suites = named(&[ecdsa]);
    assert_eq!(
        refusal(&options),
        "None of the cipher suites is for TLS 1.3, which is to be spoken. Add one, or leave the version out."
    );
    options.max_version = TlsVersion::Tls12;
    assert_eq!(
        meet(&client, "a.test", single(&context(&options))).unwrap().suite,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    );
    options.cipher_suites = named(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    let text = refusal(&options);
    assert!(text.starts_with(
        "None of the cipher suites for TLS 1.2 goes with the key of the certificate CN=a.test "
    ));
}

/// An endpoint that asks its clients, with its authority.
struct Asking {
    folder: Folder,
    server: Pair,
    root: fixtures::Authority,
    options: TlsOptions,
}

impl Asking {
    fn new(clients: ClientCertificates) -> Self {
        let folder = Folder::new();
        let server = fixtures::pair("a.test");
        let root = fixtures::authority("root");
        let mut options = options(folder.pair("a", &server));
        options.client_certificates = clients;
        options.client_ca = Some(folder.write("ca.pem", root.pem()));
        Self { folder, server, root, options }
    }

    /// A client with a certificate, or with none.
    fn client(&self, own: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        Arc::new(client(&[&self.server.chain], own))
    }
}

#[test]
fn clients_are_asked_for_certificates() {
    let somebody = issue("somebody", &fixtures::authority("other"), ClientAuth);
    for (clients, without, stranger, shown) in [
        (ClientCertificates::None, true, true, 0),
        (ClientCertificates::Allow, true, false, 1),
        (ClientCertificates::Require, false, false, 1),
    ] {
        let asking = Asking::new(clients);
        let known = issue("known", &asking.root, ClientAuth);
        let config = single(&context(&asking.options));
        let meet = |own| meet(&asking.client(own), "a.test", Arc::clone(&config));
        assert_eq!(meet(None).is_ok(), without, "{clients:?}");
        assert_eq!(meet(Some(&somebody)).is_ok(), stranger, "{clients:?}");
        assert_eq!(meet(Some(&known)).unwrap().shown, shown, "{clients:?}");
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let mut asking = Asking::new(ClientCertificates::Require);
    let upper = fixtures::authority("second");
    asking.options.client_ca =
        Some(asking.folder.write("ca.pem", format!("{}{}", asking.root.pem(), upper.pem())));
    let revoked = issue("revoked", &asking.root, ClientAuth);
    let good = issue("good", &asking.root, ClientAuth);
    let unlisted = issue("unlisted", &upper, ClientAuth);
    let list = fixtures::revocation(&asking.root, &[&revoked]);
    let pem = asking.folder.write("crl.pem", list.pem().unwrap());
    let der = asking.folder.write("crl.der", list.der());
    for path in [pem, der] {
        asking.options.client_crl = Some(path);
        let config = single(&context(&asking.options));
        let meet = |own| meet(&asking.client(Some(own)), "a.test", Arc::clone(&config));
        assert!(meet(&revoked).unwrap_err().to_string().contains("Revoked"));
        assert_eq!(meet(&good).unwrap().shown, 1);
        // Its authority has no list.
        assert_eq!(meet(&unlisted).unwrap().shown, 1);
    }
}

#[test]
fn authorities_and_lists_must_be_of_use() {
    let mut asking = Asking::new(ClientCertificates::Require);
    let empty = asking.folder.write("empty.pem", "nothing");
    let missing = asking.folder.path("missing");
    asking.options.client_crl = Some(empty.clone());
    let text = refusal(&asking.options);
    assert!(text.contains("empty.pem cannot be used: there is no list in it."), "{text}");
    asking.options.client_crl = Some(asking.folder.write("bad.der", b"\x30\x03\x02\x01\x01"));
    let text = refusal(&asking.options);
    assert!(
        text.starts_with("The revoked certificates in ") && text.contains("bad.der cannot be used: "),
        "{text}"
    );
    asking.options.client_crl = Some(missing.clone());
    assert!(refusal(&asking.options).starts_with("Cannot read the revoked certificates of clients "));

    asking.options.client_ca = Some(empty);
    let text = refusal(&asking.options);
    assert!(text.contains("empty.pem cannot be used: there is no certificate in it."), "{text}");
    asking.options.client_ca = Some(missing);
    assert!(refusal(&asking.options).starts_with("Cannot read the authorities of clients "));
    asking.options.client_ca = None;
    assert!(
        refusal(&asking.options)
            .starts_with("Clients are asked for certificates, and no authorities are named")
    );
    // Who is not asked needs none.
    asking.options.client_certificates = ClientCertificates::None;
    assert!(Context::new(&asking.options, &[]).is_ok());
}

#[test]
fn tickets_bring_clients_back() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        for tickets in [true, false] {
            let mut asking = Asking::new(ClientCertificates::Require);
            (asking.options.max_version, asking.options.tickets) = (version, tickets);
            if version == TlsVersion::Tls13 {
                asking.options.min_version = version;
            }
            let known = issue("known", &asking.root, ClientAuth);
            let client = asking.client(Some(&known));
            let context = context(&asking.options);
            assert_eq!(meet(&client, "a.test", single(&context)).unwrap().shown, 1);
            let again = meet(&client, "a.test", single(&context)).unwrap();
            assert_eq!(again.kind == HandshakeKind::Resumed, tickets, "{version}");
            assert_eq!(again.shown, 1, "it is remembered");
        }
    }
}

#[test]
fn tickets_are_no_way_round_the_rules_of_another_name() {
    let mut asking = Asking::new(ClientCertificates::None);
    let certificate = asking.options.certificate.clone().unwrap();
    for (name, clients) in [
        ("none.test", ClientCertificates::None),
        ("allow.test", ClientCertificates::Allow),
        ("require.test", ClientCertificates::Require),
        ("too.test", ClientCertificates::Require),
    ] {
        let mut name = TlsName::new(name, certificate.clone());
        name.client_certificates = Some(clients);
        asking.options.names.push(name);
    }
    let snapshot = context(&asking.options).snapshot();
    let ticketer = |name| Arc::clone(&snapshot.config(Some(name)).unwrap().ticketer);
    let none = ticketer("none.test");
    let ticket = none.encrypt(b"session").unwrap();
    assert_eq!(ticketer("elsewhere.test").decrypt(&ticket).unwrap(), b"session");
    assert_eq!(ticketer("allow.test").decrypt(&ticket), None);
    assert_eq!(ticketer("require.test").decrypt(&ticket), None);
    let ticket = ticketer("require.test").encrypt(b"session").unwrap();
    assert_eq!(ticketer("too.test").decrypt(&ticket).unwrap(), b"session");
    assert_eq!(none.decrypt(&ticket), None);
}
