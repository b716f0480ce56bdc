//! RFC 9112 section 6.2: Content-Length.

use crate::support::wire::{assert_rejected, assert_stays, ok};

#[test]
fn s6_2_a_length_frames_the_body() {
    assert_stays("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &ok("hello"));
    assert_stays("POST /echo HTTP/1.1\r\nHost: a\r\ncontent-length:\t0 \r\n\r\n", &ok(""));
}

#[test]
fn s6_2_a_body_is_framed_for_every_method() {
    for method in ["GET", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        assert_stays(
            format!("{method} /show HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"),
            &ok(&format!("{method} /show|ab")),
        );
    }
}

#[test]
fn s6_2_a_body_may_hold_what_looks_like_a_request() {
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_stays(
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        &ok(body),
    );
}

#[test]
fn s6_2_a_response_states_the_length_of_what_is_sent_and_no_other() {
    assert_stays("GET /lying HTTP/1.1\r\nHost: a\r\n\r\n", &ok("body"));
}

#[test]
fn s6_2_a_length_that_no_number_holds_is_413() {
    for length in ["18446744073709551616", "99999999999999999999999999999999999999"] {
        assert_rejected(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"), 413);
    }
}
