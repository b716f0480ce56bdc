//! RFC 9110 section 9: methods.

use peregrine::{Request, Response};

use crate::support::client::Client;
use crate::support::wire::{assert_ends, assert_rejected, assert_stays, exchange, ok};

#[test]
fn s9_1_get_and_head_are_supported() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays(
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 5\r\n\r\n",
    );
}

#[test]
fn s9_1_names_are_case_sensitive() {
    assert_stays("Get /show HTTP/1.1\r\nHost: a\r\n\r\n", &ok("Get /show|"));
    assert!(exchange("head / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 405 "));
}

#[test]
fn s9_1_a_method_that_nobody_implements_is_501() {
    let mut options = crate::support::options();
    options.server_header = false;
    let mut app = peregrine::App::with_options(options);
    app.get("/", |_: &Request, response: &mut Response| response.text("hello"));
    let server = app.start().expect("a server");
    for method in ["PROPFIND", "get", "BREW"] {
        let mut client = Client::connect(server.addresses()[0]);
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.receive().status, 501, "{method}");
    }
}

#[test]
fn s9_1_a_method_that_the_resource_does_not_allow_is_405_and_allow() {
    let refused = |allow: &str| {
        format!("HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nAllow: {allow}\r\nContent-Length: 0\r\n\r\n")
    };
    assert_stays("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", &refused("GET, HEAD, OPTIONS"));
    assert_stays("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", &refused("POST, OPTIONS"));
    assert_stays("TRACE /echo HTTP/1.1\r\nHost: a\r\n\r\n", &refused("POST, OPTIONS"));
}

#[test]
fn s9_3_1_content_of_get_is_read_and_means_nothing() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld", &ok("hello"));
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        &ok("hello"),
    );
}

#[test]
fn s9_3_2_head_gets_no_content() {
    assert_stays(
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 5\r\n\r\n",
    );
    assert_stays(
        "HEAD /status/404 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nDate: -\r\nContent-Length: 4\r\n\r\n",
    );
    assert_stays(
        "HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nDate: -\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s9_3_2_head_gets_the_fields_of_get() {
    assert_stays(
        "HEAD /typed HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\n",
    );
}

#[test]
fn s9_3_6_connect_to_an_empty_or_invalid_port_is_400() {
    for target in ["a", "a:", "a:0", "a:65536", "a:b", ":80", "a:-1"] {
        assert_rejected(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn s9_3_6_connect_without_a_handler_opens_no_tunnel() {
    let mut app = peregrine::App::with_options(crate::support::options());
    app.get("/", |_: &Request, response: &mut Response| response.text("hello"));
    let server = app.start().expect("a server");
    let mut client = Client::connect(server.addresses()[0]);
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    let response = client.receive();
    assert!(response.status >= 400, "{response:?}");
}

#[test]
fn s9_3_7_options_tells_what_a_resource_allows() {
    assert_stays(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nDate: -\r\nAllow: GET, HEAD, OPTIONS\r\n\r\n",
    );
    assert_stays(
        "OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nDate: -\r\nAllow: POST, OPTIONS\r\n\r\n",
    );
}

#[test]
fn s9_3_7_options_for_the_server_tells_what_it_knows() {
    assert_stays(
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nDate: -\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n",
    );
}

#[test]
fn s9_3_8_trace_is_not_offered() {
    let answers = exchange("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.1 405 "), "{answers:?}");
    assert!(!answers.contains("secret"), "{answers:?}");
}

#[test]
fn s9_3_6_connect_takes_only_its_own_form() {
    assert_ends(
        "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nConnection: close\r\nAllow: CONNECT\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s9_3_6_a_tunnel_has_neither_length_nor_coding() {
    let answers = exchange("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nhello");
    let (head, bytes) = answers.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
    assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"), "{answers:?}");
    assert_eq!(bytes, "hello", "the tunnel's bytes");
}
