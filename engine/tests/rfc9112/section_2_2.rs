//! RFC 9112 section 2.2: parsing a message.

use crate::support::wire::{assert_rejected, assert_stays, exchange, ok};

#[test]
fn s2_2_one_empty_line_before_the_request_line_is_ignored() {
    assert_stays("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
}

#[test]
fn s2_2_one_empty_line_behind_a_body_is_ignored() {
    assert_stays(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        &(ok("ab") + &ok("hello")),
    );
}

#[test]
fn s2_2_more_empty_lines_are_400() {
    assert_rejected("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s2_2_a_message_is_octets_and_not_text() {
    // No UTF-8 in either place, and none is needed.
    assert_stays(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nX: \xff\xc3\r\nContent-Length: 2\r\n\r\n\xc3(",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 2\r\n\r\n\u{fffd}(",
    );
}

#[test]
fn s2_2_a_bare_lf_as_a_line_end_is_400() {
    assert_rejected("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
    assert_rejected("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s2_2_a_bare_cr_is_400() {
    assert_rejected("GET / HTTP/1.1\rHost: a\r\n\r\n", 400);
    assert_rejected("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", 400);
}

#[test]
fn s2_2_whitespace_before_the_first_field_is_400() {
    assert_rejected("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\n\tX: b\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s2_2_what_is_no_http_is_400_and_the_end() {
    assert_rejected("\u{1}\u{2}\u{3}\r\n\r\n", 400);
    assert_rejected("hello, server\r\n\r\n", 400);
    assert_rejected("SSH-2.0-OpenSSH_9.6\r\n", 400);
}

#[test]
fn s2_2_nothing_is_no_request() {
    assert_eq!(exchange(""), "");
    assert_eq!(exchange("\r\n"), "");
}
