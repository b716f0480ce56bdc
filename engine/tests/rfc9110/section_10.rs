//! RFC 9110 section 10: Expect, Allow, Server.

use std::net::TcpStream;

use peregrine::{Request, Response};

use crate::support::client::Client;
use crate::support::wire::{self, SMUGGLED, assert_ends, assert_rejected, assert_stays, exchange, ok};

/// Sends a head that waits for `100 Continue`, then its body, and returns the final answer's body.
#[track_caller]
fn continued(framing: &str, body: &str) -> String {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"));
    let interim = client.receive_head();
    assert_eq!(interim.status_line, "HTTP/1.1 100 Continue");
    assert_eq!(interim.fields("Content-Length"), [""; 0], "section 8.6");
    client.send(body);
    let response = client.receive();
    assert_eq!((response.status, response.is_last()), (200, false));
    assert_eq!(client.get("/").text(), "hello");
    response.text().to_owned()
}

#[test]
fn s10_1_1_100_continue_comes_before_the_content() {
    assert_eq!(continued("Content-Length: 5", "hello"), "hello");
    assert_eq!(continued("Transfer-Encoding: chunked", "2\r\nab\r\n0\r\n\r\n"), "ab");
}

#[test]
fn s10_1_1_the_expectation_is_the_same_in_every_letter_case() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nexpect: 100-CONTINUE\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(client.receive_head().status, 100);
    client.send("a");
    assert_eq!(client.receive().text(), "a");
}

#[test]
fn s10_1_1_100_continue_is_left_out_when_content_has_come() {
    assert_stays(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        &ok("hello"),
    );
}

#[test]
fn s10_1_1_100_continue_is_left_out_when_there_is_no_content() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &ok("hello"));
    assert_stays(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        &ok(""),
    );
}

#[test]
fn s10_1_1_http_1_0_gets_no_100_continue() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
         POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    // That the first is answered says that the second head has come, too.
    assert_eq!(client.receive().text(), "hello");
    client.send("hello");
    let response = client.receive();
    assert_eq!((response.status, response.text()), (200, "hello"));
    client.expect_end();
}

#[test]
fn s10_1_1_other_expectations_are_417() {
    for expectation in ["tea", "100-continue-please", "200-ok", "100-continue, tea", "100-continue;q=1", ""] {
        assert_rejected(
            format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: {expectation}\r\nContent-Length: 5\r\n\r\nhello"
            ),
            417,
        );
    }
}

#[test]
fn s10_1_1_a_final_answer_instead_says_whether_the_connection_goes_on() {
    // Too large: no 100, and nobody will read the content.
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30000001\r\n\r\n",
        413,
    );
}

#[test]
fn s10_1_4_te_is_taken_and_needs_nothing() {
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers, gzip;q=0.5\r\n\r\n",
        &ok("hello"),
    );
    assert_ends(
        "GET / HTTP/1.0\r\nTE: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s10_2_1_allow_names_the_methods_of_the_resource() {
    assert!(exchange("PUT /echo HTTP/1.1\r\nHost: a\r\n\r\n").contains("\r\nAllow: POST, OPTIONS\r\n"));
}

#[test]
fn s10_2_4_server_names_the_product_and_no_detail() {
    let mut app = peregrine::App::with_options(crate::support::options());
    app.get("/", |_: &Request, response: &mut Response| response.text("hello"));
    let server = app.start().expect("a server");
    let response = Client::connect(server.addresses()[0]).get("/");
    assert_eq!(response.field("Server"), Some("peregrine"));
}

#[test]
fn s10_2_4_server_can_be_left_out() {
    let answers = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!answers.contains("Server:"), "{answers:?}");
}

#[test]
fn s10_1_1_a_streaming_handler_gets_100_sent_when_it_reads() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send("POST /pour HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.receive_head().status, 100);
    client.send("ab");
    assert_eq!(client.receive().text(), "ab");
}

#[test]
fn s10_1_1_a_final_answer_without_reading_comes_without_100_and_says_close() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 54\r\n\r\n");
    let response = client.receive();
    assert_eq!((response.status, response.text(), response.is_last()), (200, "early", true));
    // Whether the client sends its body now or another request, nothing is served.
    client.send(SMUGGLED);
    client.expect_end();
}

#[test]
fn s10_1_1_a_path_without_a_handler_gets_no_100() {
    let answers =
        exchange("POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answers:?}");
    assert!(answers.contains("\r\nConnection: close\r\n"), "{answers:?}");
}
