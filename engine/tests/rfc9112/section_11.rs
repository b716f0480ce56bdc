//! RFC 9112 section 11: what an attacker would like.

use crate::support::wire::{assert_ends, assert_rejected, rejection};

#[test]
fn s11_1_a_value_with_a_line_end_is_not_sent() {
    assert_ends("GET /split HTTP/1.1\r\nHost: a\r\n\r\n", &rejection(500));
}

#[test]
fn s11_2_a_length_that_hides_a_request_is_refused() {
    // `desync.rs` has the other some thousand ways.
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n",
        400,
    );
}
