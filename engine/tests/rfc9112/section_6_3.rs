//! RFC 9112 section 6.3: where a body ends.

use crate::support::wire::{
    SMUGGLED, Then, app, assert_ends, assert_rejected, assert_stays, assert_unanswered, converse, masked, ok,
    rejection,
};

#[test]
fn s6_3_a_response_to_head_ends_with_its_head() {
    assert_stays(
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 5\r\n\r\n",
    );
}

#[test]
fn s6_3_a_204_and_a_304_end_with_their_head() {
    assert_stays("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n");
    assert_stays(
        "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nDate: -\r\nContent-Length: 4\r\n\r\n",
    );
}

#[test]
fn s6_3_chunked_that_is_not_the_last_coding_is_400() {
    for coding in
        ["gzip", "identity", "chunked, gzip", "chunked, identity", "xchunked", "chunkedx", "x", "chunked, x"]
    {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"),
            400,
        );
    }
}

#[test]
fn s6_3_a_coding_that_is_none_is_400() {
    for coding in [
        "",
        ",",
        "chunked,",
        ", chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chun ked",
        "(chunked)",
        "chunked\u{b}",
    ] {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"),
            400,
        );
    }
}

#[test]
fn s6_3_an_invalid_length_is_400() {
    for length in
        ["", "+5", "-5", "-0", "0x5", "5.0", "5e0", "5 5", "five", "05", "00", "5;", "\u{b}5", "\"5\"", "５"]
    {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello"),
            400,
        );
    }
}

#[test]
fn s6_3_more_than_one_length_is_400_even_if_they_are_equal() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nX: b\r\ncontent-length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,6",
        "Content-Length: 5,",
        "Content-Length: ,5",
    ] {
        assert_rejected(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello"), 400);
    }
}

#[test]
fn s6_3_a_request_without_framing_has_no_body() {
    assert_stays("POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", &ok(""));
    assert_rejected("POST /echo HTTP/1.0\r\n\r\n", 400);
    assert_ends(
        "GET / HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s6_3_a_body_that_ends_too_early_is_no_request() {
    assert_unanswered("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello");
}

#[test]
fn s6_3_a_streamed_response_to_head_ends_with_its_head() {
    assert_stays(
        "HEAD /sized/4 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 4\r\n\r\n",
    );
    assert_stays(
        "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}

#[test]
fn s6_3_a_streamed_body_that_ends_too_early_is_no_request() {
    assert_unanswered("POST /pour HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello");
    assert_unanswered("POST /pour HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
}

#[test]
fn s6_3_a_streamed_request_without_framing_has_no_body() {
    for fields in ["", "Content-Length: 0\r\n"] {
        assert_stays(format!("POST /pour HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), &ok(""));
    }
}

#[test]
fn s6_3_a_refused_body_leaves_nothing_behind_for_other_connections() {
    // One worker, so that what is left behind would be found.
    let server = app(|options| options.workers = Some(1)).start().expect("a server");
    let all = |bytes: String| {
        let received = converse(server.addresses()[0], &[bytes.as_bytes()], Then::Wait);
        masked(&received.expect("an orderly end"))
    };
    for path in ["/echo", "/pour", "/show"] {
        let chunked = "HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX";
        assert_eq!(all(format!("POST {path} {chunked}")), rejection(400));
        let body_less = "POST /pour HTTP/1.1\r\nHost: a\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(all(format!("{body_less}{SMUGGLED}")), ok("") + &rejection(400), "behind {path}");
    }
}
