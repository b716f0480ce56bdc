//! RFC 9112 section 3 but for 3.2: the request line and the method.

use std::io::Write as _;
use std::net::TcpStream;

use peregrine::{Request, Response};

use crate::support::client::Client;
use crate::support::wire::{self, assert_ends, assert_rejected, assert_stays, ok, rejection};

#[test]
fn s3_exactly_one_space_stands_between_the_parts() {
    assert_rejected("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET\u{b}/\u{c}HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_whitespace_around_the_line_is_400() {
    assert_rejected(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400);
    assert_rejected("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_a_line_with_parts_missing_is_400() {
    for line in ["GET", "GET ", "GET HTTP/1.1", "/ HTTP/1.1", " / HTTP/1.1", "GET / ", "GET / x"] {
        assert_rejected(format!("{line}\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn s3_an_invalid_request_line_is_not_corrected() {
    // A space in the target would be one by escaping it.
    assert_rejected("GET /show/a b HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET /show/\"a\" <b> HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_request_lines_of_8000_bytes_are_taken() {
    let target = format!("/show/{}", "a".repeat(8000 - "GET /show/ HTTP/1.1\r\n".len()));
    assert_stays(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), &ok(&format!("GET {target}|")));
}

#[test]
fn s3_a_target_that_is_too_long_is_414() {
    assert_rejected(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)), 414);
}

#[test]
fn s3_a_target_that_does_not_end_is_414_before_it_does() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.stream.write_all(format!("GET /{}", "a".repeat(9000)).as_bytes()).expect("an open connection");
    let response = client.receive();
    assert_eq!((response.status, response.is_last()), (414, true));
    client.expect_end();
}

#[test]
fn s3_1_methods_are_case_sensitive() {
    assert_stays("get /show HTTP/1.1\r\nHost: a\r\n\r\n", &ok("get /show|"));
    assert_stays(
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s3_1_a_method_is_a_token() {
    assert_stays("A!#$%&'*+-.^_`|~9 /show HTTP/1.1\r\nHost: a\r\n\r\n", &ok("A!#$%&'*+-.^_`|~9 /show|"));
    for method in ["G(T", "G@T", "G,T", "G/T", "G:T", "\"GET\"", "G\u{e9}T", "G\0T", "G\u{7f}T"] {
        assert_rejected(format!("{method} /show HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

/// No handler of this server's application takes any method, so what it implements is known.
fn plain_server() -> peregrine::Server {
    let mut options = crate::support::options();
    options.server_header = false;
    let mut app = peregrine::App::with_options(options);
    app.get("/", |_: &Request, response: &mut Response| response.body("", &b"hello"[..]));
    app.start().expect("a server")
}

#[test]
fn s3_a_method_longer_than_all_that_are_implemented_is_501() {
    let server = plain_server();
    let mut client = Client::connect(server.addresses()[0]);
    client.send(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(100)));
    assert_eq!(client.receive().status, 501);
}

#[test]
fn s3_a_method_that_overflows_the_line_is_414() {
    assert_ends(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(9000)), &rejection(414));
}
