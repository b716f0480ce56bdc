//! RFC 9112 section 6.2: Content-Length.

use crate::support::wire::{self, SMUGGLED, Then, assert_rejected, assert_stays, converse, masked, ok};

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

#[test]
fn s6_2_a_stream_with_a_length_has_no_coding() {
    assert_stays(
        "GET /sized/4 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 4\r\n\r\nabcd",
    );
}

#[test]
fn s6_2_a_stream_that_is_shorter_than_it_said_is_no_response() {
    let bytes = format!("GET /sized/3 HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}");
    // The end is no orderly one: that may cost bytes that were sent before.
    let received = match converse(wire::address(), &[bytes.as_bytes()], Then::Wait) {
        Ok(received) | Err((_, received)) => masked(&received),
    };
    assert!(
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 4\r\n\r\nabc".starts_with(&received),
        "{received:?}"
    );
}

#[test]
fn s6_2_a_stream_that_is_longer_than_it_said_ends_with_its_length() {
    let bytes = format!("GET /sized/5 HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}");
    let received = match converse(wire::address(), &[bytes.as_bytes()], Then::Wait) {
        Ok(received) | Err((_, received)) => masked(&received),
    };
    // Nothing of the write that is too long is sent, and nothing behind the response.
    assert!("HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 4\r\n\r\n".starts_with(&received), "{received:?}");
}
