//! RFC 9112 section 8: requests that end too early.

use crate::support::wire::{assert_unanswered, exchange, ok};

#[test]
fn s8_a_head_that_ends_too_early_is_no_request() {
    for part in ["G", "GET ", "GET / HTTP/1.1", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert_unanswered(part);
    }
}

#[test]
fn s8_a_body_that_ends_too_early_is_no_request() {
    assert_unanswered("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    assert_unanswered("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na");
}

#[test]
fn s8_requests_before_one_that_ends_too_early_are_answered() {
    assert_eq!(exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a"), ok("hello"));
}
