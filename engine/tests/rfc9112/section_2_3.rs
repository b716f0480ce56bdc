//! RFC 9112 section 2.3: the version.

use crate::support::wire::{assert_ends, assert_rejected, assert_stays, ok};

#[test]
fn s2_3_http_1_1_is_answered_in_http_1_1() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
}

#[test]
fn s2_3_http_1_0_is_answered_in_http_1_1_with_nothing_that_it_does_not_know() {
    assert_ends(
        "GET / HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s2_3_the_name_of_the_protocol_is_case_sensitive() {
    assert_rejected("GET / http/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / Http/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s2_3_a_version_that_is_no_version_is_400() {
    for version in ["HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.10", "HTTP/11.1", "HTTP/a.b", "HTTP 1.1", "1.1"] {
        assert_rejected(format!("GET / {version}\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn s2_3_a_request_without_a_version_is_400() {
    assert_rejected("GET /\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s2_3_other_major_versions_are_505() {
    assert_rejected("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505);
    assert_rejected("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    assert_rejected("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505);
    assert_rejected("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}
