//! The middleware that keeps clients with https, on servers that speak both.

use std::process::Command;

use peregrine::middleware::{hsts, https_redirection};
use peregrine::prelude::*;
use peregrine::{Options, Server};

use crate::support::client::{Client, Response as Received};
use crate::support::tls::{self, Folder, NAME, Pair, VERSIONS, config, connect};

const HSTS: &str = "Strict-Transport-Security";

/// A server with an endpoint of http, and one of https behind it.
struct Both {
    server: Server,
    pair: Pair,
    _folder: Folder,
}

impl Both {
    fn start(change: impl FnOnce(&mut Options), register: impl FnOnce(&mut App) -> &mut App) -> Self {
        let folder = Folder::new();
        let pair = tls::pair(NAME);
        let mut options = tls::options(Some(folder.pair("server", &pair)));
        options.urls.insert(0, "http://127.0.0.1:0".to_owned());
        change(&mut options);
        let mut app = App::with_options(options);
        register(&mut app);
        app.get("/", || "Hello, World!").post("/", || "posted");
        app.get("/a/{*rest}", || "deep");
        Self { server: app.start().expect("a server"), pair, _folder: folder }
    }

    fn http(&self, request: &str) -> Received {
        let mut client = Client::connect(self.server.addresses()[0]);
        client.send(request);
        client.receive()
    }

    fn https(&self, request: &str) -> Received {
        let config = config(&[&self.pair], None, &VERSIONS);
        let mut client = connect(self.server.addresses()[1], NAME, &config);
        client.send(request);
        client.receive()
    }

    fn https_port(&self) -> u16 {
        self.server.addresses()[1].port()
    }
}

fn request(method: &str, target: &str, host: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn clients_of_http_are_sent_to_the_only_port_of_https() {
    for (redirection, status) in [(https_redirection(), 307), (https_redirection().permanent(), 308)] {
        let both = Both::start(|_| {}, |app| app.middleware(redirection));
        let port = both.https_port();
        for (method, target, host, location) in [
            ("GET", "/", "test", format!("https://test:{port}/")),
            ("POST", "/", "test:80", format!("https://test:{port}/")),
            ("GET", "/a/b%20c?d=e&f", "[::1]:5000", format!("https://[::1]:{port}/a/b%20c?d=e&f")),
            ("GET", "/nowhere", "test", format!("https://test:{port}/nowhere")),
        ] {
            let response = both.http(&request(method, target, host));
            assert_eq!((response.status, response.field("Location")), (status, Some(&*location)), "{target}");
        }
        let response = both.https(&request("GET", "/", "test"));
        assert_eq!((response.status, response.text()), (200, "Hello, World!"));
    }
}

#[test]
fn the_port_may_be_given() {
    let to = |port: u16| {
        let both = Both::start(|_| {}, |app| app.middleware(https_redirection().port(port)));
        both.http(&request("GET", "/?a", "test:8080")).field("Location").map(str::to_owned)
    };
    assert_eq!(to(443).as_deref(), Some("https://test/?a"));
    assert_eq!(to(8443).as_deref(), Some("https://test:8443/?a"));
}

/// A process cannot safely change its own variables: another one runs this test with them.
#[test]
fn the_port_may_come_from_the_environment() {
    const TEST: &str = "redirection::the_port_may_come_from_the_environment";
    const PORTS: [(&str, &str); 2] = [("PEREGRINE_HTTPS_PORT", "7777"), ("HTTPS_PORT", "8888")];
    if PORTS.iter().all(|(name, _)| std::env::var_os(name).is_none()) {
        for given in [&PORTS[..], &PORTS[1..]] {
            let mut inside = Command::new(std::env::current_exe().expect("a program"));
            inside.args(["--exact", TEST]).envs(given.iter().copied());
            let output = inside.output().expect("the same program");
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && told.contains("1 passed"), "{given:?}: {told}");
        }
        return;
    }
    let port = PORTS.iter().find_map(|(name, _)| std::env::var(name).ok()).expect("one of them");
    let both = Both::start(|_| {}, |app| app.middleware(https_redirection()));
    let response = both.http(&request("GET", "/", "test"));
    assert_eq!(response.field("Location"), Some(&*format!("https://test:{port}/")));
}

#[test]
fn without_one_port_of_https_nothing_is_redirected() {
    let several = Both::start(
        |options| options.urls.push("https://127.0.0.1:0".to_owned()),
        |app| app.middleware(https_redirection()),
    );
    assert_eq!(several.http(&request("GET", "/", "test")).text(), "Hello, World!");
    let none = Both::start(|options| options.urls.truncate(1), |app| app.middleware(https_redirection()));
    assert_eq!(none.http(&request("GET", "/", "test")).text(), "Hello, World!");
}

#[test]
fn strict_transport_security_is_for_https_alone_and_not_for_this_machine() {
    let both = Both::start(|_| {}, |app| app.middleware(hsts()));
    let field = |response: &Received| response.field(HSTS).map(str::to_owned);
    for target in ["/", "/nowhere"] {
        let with = both.https(&request("GET", target, "example.org:5001"));
        assert_eq!(field(&with).as_deref(), Some("max-age=2592000"), "{target}");
    }
    assert_eq!(field(&both.http(&request("GET", "/", "example.org"))), None);
    for host in ["localhost", "LOCALHOST:5001", "127.0.0.1", "[::1]:1"] {
        let response = both.https(&request("GET", "/", host));
        assert_eq!((response.status, field(&response)), (200, None), "{host}");
    }
}

#[test]
fn both_work_in_either_order() {
    let orders: [fn(&mut App) -> &mut App; 2] = [
        |app| app.middleware(hsts()).middleware(https_redirection()),
        |app| app.middleware(https_redirection()).middleware(hsts()),
    ];
    for register in orders {
        let both = Both::start(|_| {}, register);
        let redirected = both.http(&request("GET", "/", "example.org"));
        assert_eq!((redirected.status, redirected.field(HSTS)), (307, None));
        let served = both.https(&request("GET", "/", "example.org"));
        assert_eq!((served.text(), served.field(HSTS)), ("Hello, World!", Some("max-age=2592000")));
    }
}
