//! https by the command: the certificate of the environment Development, and what happens without one. OpenSSL asks.

mod support;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use support::client::Client;
use support::{Peregrine, TempDir, command, run, skip};

/// The command in Development, with a folder of certificates of its own.
fn in_development(certificates: &Path, args: &[&str]) -> Command {
    let mut command = command(["--environment", "Development"].iter().chain(args));
    command.env("PEREGRINE_DEV_CERTS", certificates).env_remove("HOME").env_remove("XDG_DATA_HOME");
    command
}

/// What a client is answered that trusts one certificate and insists on the name `localhost`.
fn ask(address: &str, trusted: &Path) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", address, "-servername", "localhost"])
        .args(["-verify_return_error", "-verify_hostname", "localhost", "-CAfile"])
        .arg(trusted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("OpenSSL is needed");
    let request = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // It may have ended by itself, which its output tells.
    let _ = child.stdin.as_mut().expect("a pipe").write_all(request);
    let output = child.wait_with_output().expect("a child");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn assert_serves(address: &str, trusted: &Path) {
    let told = ask(address, trusted);
    assert!(told.contains("HTTP/1.1 200") && told.contains("Hello, World!"), "{told}");
}

#[test]
fn in_development_a_certificate_is_made_once_and_served() {
    let folder = TempDir::new();
    let certificates = folder.join("certificates");
    let file = certificates.join("localhost.pem");
    let mut made = Vec::new();
    for _ in 0..2 {
        let server = Peregrine::serve_by(in_development(&certificates, &["--urls", "https://localhost:0"]));
        let port = server.urls()[0].strip_prefix("https://localhost:").expect("as asked");
        assert_serves(&format!("127.0.0.1:{port}"), &file);
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_serves(&format!("[::1]:{port}"), &file);
        }
        made.push(fs::read(&file).expect("a certificate"));
        server.stop();
    }
    assert_eq!(made[0], made[1]);
    // Another user's certificate is another one: the client would not have taken anything.
    let other = TempDir::new();
    let server = Peregrine::serve_by(in_development(other.path(), &["--urls", "https://localhost:0"]));
    let port = server.urls()[0].strip_prefix("https://localhost:").expect("as asked");
    assert!(!ask(&format!("127.0.0.1:{port}"), &file).contains("Hello, World!"));
}

#[test]
fn in_development_without_urls_it_listens_on_5000_and_5001() {
    let are_free = [5000, 5001].iter().all(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    if !are_free {
        return skip("port 5000 or 5001 is in use");
    }
    let folder = TempDir::new();
    let is_taken = |stderr: &str| stderr.contains("address already in use");
    match Peregrine::try_serve_by(in_development(folder.path(), &[])) {
        Ok(server) => {
            assert_eq!(server.urls(), ["http://localhost:5000", "https://localhost:5001"]);
            assert_serves("127.0.0.1:5001", &folder.join("localhost.pem"));
            server.stop();
        }
        Err(exit) if is_taken(&exit.stderr) => return skip("port 5000 or 5001 is in use"),
        Err(exit) => panic!("{exit:?}"),
    }
    // Where no certificate can be made, http is served all the same.
    match Peregrine::try_serve_by(in_development(Path::new("/proc/nowhere"), &[])) {
        Ok(server) => {
            assert_eq!(server.urls(), ["http://localhost:5000"]);
            server.begin_shutdown(libc::SIGTERM);
            let exit = server.wait();
            assert!(
                exit.stderr.contains("warning: https://localhost:5001 is not served: "),
                "{}",
                exit.stderr
            );
        }
        Err(exit) if is_taken(&exit.stderr) => skip("port 5000 or 5001 is in use"),
        Err(exit) => panic!("{exit:?}"),
    }
}

#[test]
fn an_endpoint_that_was_asked_for_is_served_or_nothing_is() {
    let asked = ["--urls", "http://127.0.0.1:0;https://127.0.0.1:0"];
    let exit = run(in_development(Path::new("/proc/nowhere"), &asked));
    assert_ne!(exit.status.code(), Some(0));
    assert!(exit.stderr.contains("Cannot serve https://127.0.0.1:0: "), "{}", exit.stderr);
    assert_eq!(exit.stdout, [""; 0]);

    // Elsewhere the certificate of Development is not taken, even if there is one.
    let folder = TempDir::new();
    drop(Peregrine::serve_by(in_development(folder.path(), &asked)));
    let mut production = command(asked);
    production.env("PEREGRINE_DEV_CERTS", folder.path());
    let exit = run(production);
    assert_ne!(exit.status.code(), Some(0));
    assert!(
        exit.stderr.contains(
            "Cannot serve https://127.0.0.1:0: it has no certificate. Name one with --tls-cert and --tls-key, or in \
             TlsOptions::certificate; in the environment Development a certificate for localhost is made."
        ),
        "{}",
        exit.stderr
    );
}

#[test]
fn a_certificate_by_variables_is_served() {
    let folder = TempDir::new();
    drop(Peregrine::serve_by(in_development(folder.path(), &["--urls", "https://127.0.0.1:0"])));
    let mut by_variables = command(["--urls", "https://127.0.0.1:0"]);
    let [certificate, key] = ["localhost.pem", "localhost-key.pem"].map(|name| folder.join(name));
    by_variables.env("PEREGRINE_TLS_CERT", &certificate).env("PEREGRINE_TLS_KEY", &key);
    let server = Peregrine::serve_by(by_variables);
    assert_serves(server.urls()[0].strip_prefix("https://").expect("as asked"), &certificate);
    server.stop();
}

#[test]
fn an_archive_by_flags_is_served_and_a_wrong_password_is_named() {
    let folder = TempDir::new();
    drop(Peregrine::serve_by(in_development(folder.path(), &["--urls", "https://127.0.0.1:0"])));
    let [certificate, key, archive] =
        ["localhost.pem", "localhost-key.pem", "server.pfx"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:secret", "-in"])
        .arg(&certificate)
        .arg("-inkey")
        .arg(&key)
        .arg("-out")
        .arg(&archive)
        .status();
    assert!(made.expect("OpenSSL is needed").success());
    let archive = archive.to_str().expect("a path of text");
    let flags =
        |password| ["--urls", "https://127.0.0.1:0", "--tls-cert", archive, "--tls-password", password];
    let server = Peregrine::serve_by(command(flags("secret")));
    assert_serves(server.urls()[0].strip_prefix("https://").expect("as asked"), &certificate);
    server.stop();
    let exit = run(command(flags("wrong")));
    assert_ne!(exit.status.code(), Some(0));
    assert!(exit.stderr.contains(archive) && exit.stderr.contains("password"), "{}", exit.stderr);
}

#[test]
fn who_speaks_the_wrong_protocol_is_named_in_the_log() {
    let folder = TempDir::new();
    for (url, said, told) in [
        ("https://127.0.0.1:0", &b"GET / HTTP/1.1\r\n\r\n"[..], "plain HTTP on an endpoint of https"),
        (
            "http://127.0.0.1:0",
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            "a TLS handshake on an endpoint of http",
        ),
    ] {
        let server = Peregrine::serve_by(in_development(folder.path(), &["--urls", url]));
        let (_, address) = server.urls()[0].split_once("://").expect("as asked");
        let mut client = Client::connect(address);
        let peer = client.stream.local_addr().expect("an open socket");
        client.send(said);
        assert_ne!(client.take_all(), b"", "an answer or an alert");
        server.begin_shutdown(libc::SIGTERM);
        let exit = server.wait();
        assert!(
            exit.stderr.contains(&format!("a connection from {peer} is turned away: {told}")),
            "{}",
            exit.stderr
        );
    }
}
