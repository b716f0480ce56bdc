//! RFC 9112 section 9: connections.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::wire::{
    NEXT, NEXT_ANSWER, Then, app, assert_ends, assert_rejected, assert_stays, converse, exchange, masked, ok,
};

const LAST_HELLO: &str = "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn s9_3_a_connection_persists_in_http_1_1() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", &ok("hello"));
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-other\r\n\r\n", &ok("hello"));
}

#[test]
fn s9_3_a_connection_ends_in_http_1_0() {
    assert_ends("GET / HTTP/1.0\r\n\r\n", LAST_HELLO);
    assert_ends("GET / HTTP/1.0\r\nConnection: x-other\r\n\r\n", LAST_HELLO);
}

#[test]
fn s9_3_a_connection_persists_in_http_1_0_if_it_is_asked_for() {
    let kept = "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    assert_stays("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", kept);
    assert_stays("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", kept);
}

#[test]
fn s9_3_close_wins_over_keep_alive() {
    assert_ends("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", LAST_HELLO);
    assert_ends("GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", LAST_HELLO);
}

#[test]
fn s9_3_a_body_that_no_handler_wants_is_read_or_the_connection_ends() {
    let answers = exchange(format!(
        "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{NEXT}{NEXT}",
        NEXT.len()
    ));
    let (first, rest) = answers.split_once("Content-Length: 0\r\n\r\n").expect("an answer without a body");
    assert!(first.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answers:?}");
    // The body is no request: either the request behind it is answered, or nothing is.
    let expected = if first.contains("Connection: close") { "" } else { NEXT_ANSWER };
    assert_eq!(rest, expected);
}

#[test]
fn s9_3_2_answers_come_in_the_order_of_the_requests() {
    let requests: String =
        (0..50).map(|number| format!("GET /show/{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let answers: String = (0..50).map(|number| ok(&format!("GET /show/{number}|"))).collect();
    assert_stays(requests, &answers);
}

#[test]
fn s9_3_2_safe_and_unsafe_methods_may_be_mixed() {
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na\
         HEAD / HTTP/1.1\r\nHost: a\r\n\r\nDELETE /show HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            ok("hello"),
            ok("a"),
            "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 5\r\n\r\n".to_owned(),
            ok("DELETE /show|"),
        ]
        .concat(),
    );
}

#[test]
fn s9_5_an_idle_connection_is_closed_in_order() {
    let server =
        app(|options| options.limits.keep_alive_timeout = Duration::from_secs(1)).start().expect("a server");
    let mut client = Client::connect(server.addresses()[0]);
    assert_eq!(client.get("/").text(), "hello");
    client.expect_end();
}

#[test]
fn s9_5_a_client_that_closes_is_noticed() {
    // Only its own side: the server answers what it has, and closes too.
    assert_eq!(exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ok("hello"));
}

#[test]
fn s9_6_a_request_with_close_is_the_last_one() {
    for options in ["close", "Close", "CLOSE", "x, close", "close, x", ",close", "\tclose\t,"] {
        assert_ends(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n"), LAST_HELLO);
    }
    assert_ends("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", LAST_HELLO);
}

#[test]
fn s9_6_requests_behind_close_are_not_served() {
    let first = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_ends(first.repeat(5), LAST_HELLO);
}

#[test]
fn s9_6_a_response_with_close_is_the_last_one() {
    assert_ends(
        "GET /close HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye",
    );
}

#[test]
fn s9_6_a_rejection_reaches_a_client_that_is_still_sending() {
    // Closed at once, the bytes that nobody reads would make a reset, and that could overtake the answer.
    let flood = "x".repeat(4 << 20);
    assert_rejected(
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n{flood}"),
        413,
    );
}

#[test]
fn s9_6_what_follows_close_may_be_anything() {
    assert_ends(
        "GET /close HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye",
    );
}

#[test]
fn s9_3_a_body_that_a_streaming_handler_leaves_is_read_or_the_connection_ends() {
    for framing in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let answers = exchange(format!("POST /early HTTP/1.1\r\nHost: a\r\n{framing}{NEXT}"));
        let (first, rest) = answers.split_once("early").expect("the answer");
        // The body is no request: either the request behind it is answered, or nothing is.
        let expected = if first.contains("Connection: close") { "" } else { NEXT_ANSWER };
        assert_eq!(rest, expected, "{first:?}");
    }
}

#[test]
fn s9_3_2_streams_keep_the_order_of_pipelined_requests() {
    assert_stays(
        "POST /pour HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\
         GET / HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /sized/4 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /pour HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\ncd",
        &[ok("ab"), ok("hello"), ok("abcd"), ok("cd")].concat(),
    );
}

#[test]
fn s9_3_the_last_request_of_a_connection_is_told_so() {
    let server =
        app(|options| options.limits.max_requests_per_connection = Some(2)).start().expect("a server");
    let mut client = Client::connect(server.addresses()[0]);
    assert!(!client.get("/").is_last());
    let response = client.get("/");
    assert_eq!((response.text(), response.is_last()), ("hello", true));
    client.expect_end();
}

#[test]
fn s9_6_an_unwanted_body_with_close_leaves_nothing_behind_for_other_connections() {
    // One worker, so that what is left behind would be found.
    let server = app(|options| options.workers = Some(1)).start().expect("a server");
    let all = |bytes: &str| {
        let received = converse(server.addresses()[0], &[bytes.as_bytes()], Then::Wait);
        masked(&received.expect("an orderly end"))
    };
    for last in [
        "POST /nowhere HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
        "POST /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30000001\r\n\r\n",
        "POST /early HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let answer = all(last);
        assert!(answer.contains("Connection: close\r\n"), "{last:?}: {answer:?}");
        assert_eq!(all(NEXT), NEXT_ANSWER, "behind {last:?}");
    }
}
