//! RFC 9112 section 3.3: the target URI.

use crate::support::wire::{assert_rejected, assert_stays, ok};

#[test]
fn s3_3_path_and_query_are_taken_apart_at_the_first_question_mark() {
    assert_stays("GET /show/a%3Fb?c%3Fd HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/a?b?c%3Fd|"));
}

#[test]
fn s3_3_dot_segments_never_leave_the_root() {
    assert_stays("GET /show/a/../b/./c HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/b/c|"));
    assert_stays("GET /../../show/%2e%2e/show/a HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/a|"));
}

#[test]
fn s3_3_broken_percent_encoding_is_400() {
    for path in ["/%", "/%4", "/%zz", "/%00", "/%ff", "/show/%c3%28"] {
        assert_rejected(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}
