//! RFC 9112 section 5: field lines.

use crate::support::wire::{assert_rejected, assert_stays, ok};

#[test]
fn s5_1_whitespace_around_a_value_is_no_part_of_it() {
    assert_stays("GET /values HTTP/1.1\r\nHost: a\r\nX: \t b \tc\t \r\n\r\n", &ok("b \tc|"));
    assert_stays("GET /values HTTP/1.1\r\nHost: a\r\nX:b\r\n\r\n", &ok("b|"));
    assert_stays("GET /values HTTP/1.1\r\nHost: a\r\nX:\r\nX: \t\r\n\r\n", &ok("||"));
}

#[test]
fn s5_1_whitespace_between_name_and_colon_is_400() {
    for field in ["X : b", "X\t: b", "Content-Length : 0", "Host : a", "Transfer-Encoding : chunked"] {
        assert_rejected(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), 400);
    }
}

#[test]
fn s5_1_a_line_without_a_colon_is_400() {
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nX\r\nY: b\r\n\r\n", 400);
}

#[test]
fn s5_1_a_name_is_a_token() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~9Az: b\r\n\r\n", &ok("hello"));
    for name in [
        "X(", "X)", "X/", "X@", "X[", "X]", "X{", "X,", "X;", "X\"", "X\\", "X=", "X\u{e9}", "X\0", "X\u{7f}",
    ] {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\n\r\n"), 400);
    }
}

#[test]
fn s5_2_a_folded_line_is_400() {
    assert_rejected("GET /values HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400);
    assert_rejected("GET /values HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400);
    assert_rejected("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400);
}
