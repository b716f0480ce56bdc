//! Starts that fail for TLS, each with its sentence, by options and by flags.

use std::process::Command;

use peregrine::prelude::*;
use peregrine::tls::{Certificate, ClientCertificates, TlsOptions};
use peregrine::{Options, Server};

use crate::support::tls::{self, Folder, NAME, VERSIONS, config, connect};

const URL: &str = "https://127.0.0.1:0";

fn start(options: Options) -> Result<Server, String> {
    let mut app = App::with_options(options);
    app.get("/", || "Hello, World!");
    app.start().map_err(|error| error.to_string())
}

#[track_caller]
fn problem(options: Options) -> String {
    start(options).expect_err("no start")
}

/// Encrypts a key as `openssl` does.
fn encrypt(folder: &Folder, key: &str, encrypted: &str, password: &str) {
    let password = format!("pass:{password}");
    let status = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-in", key, "-out", encrypted, "-passout", &password])
        .current_dir(folder.root())
        .status()
        .expect("openssl is installed");
    assert!(status.success());
}

#[test]
fn without_a_certificate_it_says_how_to_get_one() {
    assert_eq!(
        problem(tls::options(None)),
        "Cannot serve https://127.0.0.1:0: it has no certificate. Name one with --tls-cert and --tls-key, or in \
         TlsOptions::certificate; in the environment Development a certificate for localhost is made."
    );
    // One endpoint of several is enough.
    let mut options = tls::options(None);
    options.urls.insert(0, "http://127.0.0.1:0".to_owned());
    assert!(problem(options).starts_with("Cannot serve https://127.0.0.1:0: it has no certificate."));
}

#[test]
fn files_of_no_use_are_named_with_what_is_wrong() {
    let folder = Folder::new();
    let [one, other] = [tls::pair(NAME), tls::pair(NAME)];
    let (first, second) = (folder.pair("one", &one), folder.pair("other", &other));
    let path = |name: &str| folder.path(name).display().to_string();
    let of = |certificate| problem(tls::options(Some(certificate)));

    assert_eq!(
        of(Certificate::pem(folder.path("none.pem"), folder.path("one.key"))),
        format!(
            "Cannot serve {URL}: Cannot read the certificate {}: No such file or directory (os error 2). Name a \
             file that exists.",
            path("none.pem")
        )
    );
    assert_eq!(
        of(Certificate::pem(folder.path("one.pem"), folder.path("other.key"))),
        format!(
            "Cannot serve {URL}: The private key in {} does not belong to the certificate in {}. Name the two files \
             of one pair.",
            path("other.key"),
            path("one.pem")
        )
    );
    encrypt(&folder, "one.key", "locked.key", "right");
    let locked = Certificate::pem(folder.path("one.pem"), folder.path("locked.key"));
    assert_eq!(
        of(locked.clone()),
        format!(
            "Cannot serve {URL}: The private key in {} is encrypted. Give its password.",
            path("locked.key")
        )
    );
    assert_eq!(
        of(locked.clone().with_password("wrong")),
        format!(
            "Cannot serve {URL}: The password given for {} does not open it. Give the one that it was made with.",
            path("locked.key")
        )
    );
    for certificate in [first, second, locked.with_password("right")] {
        drop(start(tls::options(Some(certificate))).expect("a server"));
    }
}

#[test]
fn what_cannot_be_is_told_before_anything_is_served() {
    let folder = Folder::new();
    let certificate = folder.pair("server", &tls::pair(NAME));

    let mut elsewhere = tls::options(Some(certificate.clone()));
    elsewhere.endpoint_tls = vec![("https://127.0.0.1:1".to_owned(), TlsOptions::default())];
    assert_eq!(
        problem(elsewhere),
        "TLS is configured for https://127.0.0.1:1, which is none of the server's URLs of https. Write both the \
         same way."
    );
    let mut plain = tls::options(Some(certificate.clone()));
    plain.urls.push("http://127.0.0.1:0".to_owned());
    plain.endpoint_tls = vec![("http://127.0.0.1:0".to_owned(), TlsOptions::default())];
    assert!(problem(plain).starts_with("TLS is configured for http://127.0.0.1:0, which is none"));

    let mut bare = tls::options(Some(certificate.clone()));
    bare.endpoint_tls = vec![(URL.to_owned(), TlsOptions::default())];
    assert!(problem(bare).starts_with("Cannot serve https://127.0.0.1:0: it has no certificate."));

    let mut anybody = tls::options(Some(certificate));
    anybody.tls.client_certificates = ClientCertificates::Require;
    assert_eq!(
        problem(anybody),
        "Cannot serve https://127.0.0.1:0: Clients are asked for certificates, and no authorities are named that \
         these must come from. Name a file of them."
    );
}

#[test]
fn the_end_of_its_certificates_is_known() {
    let folder = Folder::new();
    let server = start(tls::options(Some(folder.pair("server", &tls::pair(NAME))))).expect("a server");
    let end = server.certificates_end().expect("there is one");
    let seconds = end.duration_since(std::time::UNIX_EPOCH).expect("it is to come").as_secs();
    // 2999-01-01.
    assert_eq!(seconds, 32_472_144_000);
    let plain = start(crate::support::options()).expect("a server");
    assert_eq!(plain.certificates_end(), None);
}

#[cfg(feature = "cli")]
mod flags {
    use peregrine::Flags;
    use peregrine::tls::TlsVersion;
    use rustls::AlertDescription;

    use super::*;
    use crate::support::tls::alert;

    /// Options by flags, on top of those of all tests.
    fn options(arguments: &[&str]) -> Options {
        let flags = Flags::try_from_args([&["app"], arguments].concat()).expect("flags");
        let mut options = tls::options(None);
        flags.apply(&mut options);
        options
    }

    fn refused(arguments: &[&str]) -> String {
        Flags::try_from_args([&["app"], arguments].concat()).expect_err("no flags").to_string()
    }

    #[test]
    fn flags_fail_with_the_same_sentences() {
        let folder = Folder::new();
        let [one, other] = [tls::pair(NAME), tls::pair(NAME)];
        folder.pair("one", &one);
        folder.pair("other", &other);
        encrypt(&folder, "one.key", "locked.key", "right");
        let path = |name: &str| folder.path(name).display().to_string();
        let (chain, key) = (path("one.pem"), path("other.key"));

        assert!(problem(options(&["--urls", URL])).contains("it has no certificate"));
        let missing = problem(options(&["--tls-cert", "/nowhere/at/all.pem"]));
        assert!(missing.contains("Cannot read the certificate /nowhere/at/all.pem"), "{missing}");
        let mismatch = problem(options(&["--tls-cert", &chain, "--tls-key", &key]));
        assert!(mismatch.contains("does not belong to the certificate"), "{mismatch}");
        let locked = path("locked.key");
        let wrong =
            problem(options(&["--tls-cert", &chain, "--tls-key", &locked, "--tls-password", "wrong"]));
        assert!(wrong.contains("does not open it"), "{wrong}");
        assert!(!wrong.contains("wrong"), "{wrong}");
        // A certificate alone: its key must be in the same file.
        let keyless = problem(options(&["--tls-cert", &chain]));
        assert!(keyless.contains("has no private key"), "{keyless}");

        assert!(refused(&["--tls-key", &key]).contains("--tls-cert"));
        assert!(refused(&["--tls-client-crl", "a"]).contains("--tls-client-ca"));
        assert!(refused(&["--tls-min-version", "1.1"]).contains("[possible values: 1.2, 1.3]"));
        assert!(refused(&["--tls-client-auth", "maybe"]).contains("[possible values: none, allow, require]"));
    }

    #[test]
    fn flags_serve() {
        let folder = Folder::new();
        let pair = tls::pair(NAME);
        folder.pair("server", &pair);
        encrypt(&folder, "server.key", "locked.key", "right");
        let path = |name: &str| folder.path(name).display().to_string();
        let both = folder.write("both.pem", [pair.chain.as_str(), &pair.key].concat()).display().to_string();
        let (chain, locked) = (path("server.pem"), path("locked.key"));
        for arguments in [
            &["--tls-cert", &both][..],
            &["--tls-cert", &chain, "--tls-key", &locked, "--tls-password", "right"],
        ] {
            let server = start(options(arguments)).expect("a server");
            let config = config(&[&pair], None, &VERSIONS);
            assert_eq!(connect(server.addresses()[0], NAME, &config).get("/").text(), "Hello, World!");
        }

        let rules = &[
            "--tls-cert",
            &both,
            "--tls-min-version",
            "1.3",
            "--tls-cipher-suites",
            "TLS_AES_256_GCM_SHA384",
        ];
        let options = options(rules);
        assert_eq!(options.tls.min_version, TlsVersion::Tls13);
        let server = start(options).expect("a server");
        let mut new = connect(server.addresses()[0], NAME, &config(&[&pair], None, &VERSIONS));
        assert_eq!(new.get("/").status, 200);
        let suite = new.stream.conn.negotiated_cipher_suite().expect("a suite").suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
        let mut old = connect(server.addresses()[0], NAME, &config(&[&pair], None, &VERSIONS[1..]));
        let error = old.shake().expect_err("an old version");
        assert_eq!(alert(&error), Some(AlertDescription::ProtocolVersion));
    }
}
