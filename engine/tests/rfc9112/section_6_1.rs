//! RFC 9112 section 6.1: Transfer-Encoding.

use crate::support::wire::{assert_ends, assert_rejected, assert_stays, assert_stays_chunked, exchange, ok};

#[test]
fn s6_1_chunked_is_understood_in_every_letter_case() {
    for coding in ["chunked", "Chunked", "CHUNKED", "\tchunked \t"] {
        assert_stays(
            format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:{coding}\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            ),
            &ok("ab"),
        );
    }
}

#[test]
fn s6_1_a_coding_that_is_not_understood_is_501() {
    for coding in
        ["gzip, chunked", "deflate,chunked", "x-gzip, chunked", "identity, chunked", "a;b=c, chunked"]
    {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"),
            501,
        );
    }
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    );
}

#[test]
fn s6_1_both_framings_are_400_and_the_end() {
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    );
}

#[test]
fn s6_1_a_transfer_coding_in_http_1_0_is_400_and_the_end() {
    assert_rejected("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 400);
    assert_rejected(
        "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
}

#[test]
fn s6_1_chunked_twice_is_400() {
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
}

#[test]
fn s6_1_a_response_to_http_1_0_has_no_transfer_coding() {
    let answers = exchange("GET /typed HTTP/1.0\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
    assert!(!answers.contains("Transfer-Encoding"), "{answers:?}");
}

#[test]
fn s6_1_a_handler_cannot_set_a_transfer_coding() {
    assert_ends(
        "GET /framing HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nDate: -\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s6_1_a_204_has_no_transfer_coding() {
    assert_stays("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n");
}

#[test]
fn s6_1_a_stream_without_a_length_is_chunked() {
    assert_stays_chunked(
        "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nTransfer-Encoding: chunked\r\n\r\n",
        "abcd",
        "",
    );
}

#[test]
fn s6_1_a_stream_to_http_1_0_ends_with_the_connection() {
    let head = "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\n\r\nabcd";
    assert_ends("GET /stream HTTP/1.0\r\n\r\n", head);
    assert_ends("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", head);
}
