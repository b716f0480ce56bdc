//! RFC 9112 section 7: the chunked coding.

use crate::support::wire::{assert_rejected, assert_stays, assert_stays_chunked, assert_unanswered, ok};

fn chunked(body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn s7_1_chunks_are_put_together() {
    assert_stays(chunked("5\r\nhello\r\n2\r\n, \r\n5\r\nworld\r\n0\r\n\r\n"), &ok("hello, world"));
    assert_stays(chunked("0\r\n\r\n"), &ok(""));
}

#[test]
fn s7_1_sizes_are_hexadecimal_in_either_case_and_may_have_leading_zeros() {
    assert_stays(chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), &ok("01234567890123456789"));
    assert_stays(chunked("0005\r\nhello\r\n000\r\n\r\n"), &ok("hello"));
}

#[test]
fn s7_1_data_may_hold_line_ends_and_framing() {
    assert_stays(chunked("7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n"), &ok("0\r\n\r\n\r\n"));
}

#[test]
fn s7_1_a_size_that_overflows_is_400() {
    assert_rejected(chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400);
    assert_rejected(chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), 400);
}

#[test]
fn s7_1_a_size_beyond_the_limit_is_413() {
    assert_rejected(chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413);
    assert_rejected(chunked("7fffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413);
}

#[test]
fn s7_1_a_size_that_is_none_is_400() {
    for size in ["", "x", "-5", "+5", "0x5", "5_", "5h", " 5", "\t5", "5.0", "5,5", "{5}", "'5'"] {
        assert_rejected(chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), 400);
    }
}

#[test]
fn s7_1_whitespace_behind_a_size_is_400() {
    for size in ["5 ", "5\t", "5 \t ", "5\u{b}", "5\u{c}"] {
        assert_rejected(chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), 400);
    }
}

#[test]
fn s7_1_data_that_does_not_end_with_its_size_is_400() {
    assert_rejected(chunked("4\r\nhello\r\n0\r\n\r\n"), 400);
    assert_rejected(chunked("6\r\nhello\r\n0\r\n\r\n"), 400);
    assert_rejected(chunked("5\r\nhello0\r\n\r\n"), 400);
    assert_rejected(chunked("5\r\nhello\n0\r\n\r\n"), 400);
    assert_rejected(chunked("5\r\nhello\r0\r\n\r\n"), 400);
}

#[test]
fn s7_1_a_body_without_its_last_chunk_is_no_request() {
    assert_unanswered(chunked("5\r\nhello\r\n"));
    assert_unanswered(chunked("5\r\nhello\r\n0\r\n"));
    assert_unanswered(chunked("5\r\nhello\r\n0\r\nX: b\r\n"));
}

#[test]
fn s7_1_chunked_takes_no_parameters() {
    for coding in ["chunked;q=1", "chunked; a=b", "chunked;"] {
        let request =
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_rejected(request, 400);
    }
}

#[test]
fn s7_1_1_unknown_extensions_are_ignored() {
    for extension in [";a", ";a=b", ";a=\"b;c\\\"\"", " ; a = b", ";a;b;c=d", ";a=\"\"", "\t;a"] {
        assert_stays(chunked(&format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n")), &ok("hello"));
    }
}

#[test]
fn s7_1_1_extensions_that_are_none_are_400() {
    for extension in [
        ";",
        ";;a",
        ";=b",
        ";a=",
        ";a=b c",
        ";a=\"b",
        ";a=\"b\"c",
        ";a\0",
        ";a=\"\0\"",
        ";a\n",
        ";a\rb",
        "=a",
    ] {
        assert_rejected(chunked(&format!("5{extension}\r\nhello\r\n0\r\n\r\n")), 400);
    }
}

#[test]
fn s7_1_1_the_bytes_of_extensions_are_limited() {
    let taken = format!(";a={}", "b".repeat(1000));
    assert_stays(chunked(&format!("5{taken}\r\nhello\r\n0\r\n\r\n")), &ok("hello"));
    let many = format!("1{taken}\r\nx\r\n").repeat(5);
    assert_rejected(chunked(&format!("{many}0\r\n\r\n")), 400);
}

#[test]
fn s7_1_2_trailers_are_taken_and_are_no_fields() {
    assert_stays(
        "POST /values HTTP/1.1\r\nHost: a\r\nX: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: c\r\n\r\n",
        &ok("b|"),
    );
}

#[test]
fn s7_1_2_trailers_follow_the_rules_of_fields() {
    for trailer in ["X : b", ": b", "X", " X: b", "X: b\r\n c", "X: b\rc", "X: b\nc", "X: \0", "X(: b"] {
        assert_rejected(chunked(&format!("0\r\n{trailer}\r\n\r\n")), 400);
    }
}

#[test]
fn s7_1_2_trailers_are_limited_together_with_the_fields() {
    assert_rejected(chunked(&format!("0\r\n{}\r\n", "X: b\r\n".repeat(100))), 431);
    assert_rejected(chunked(&format!("0\r\nX: {}\r\n\r\n", "b".repeat(33_000))), 431);
}

/// Field names that must be known before the body, and so are no trailers.
const NO_TRAILERS: [&str; 12] = [
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: b",
    "Connection: close",
    "Authorization: Basic YTpi",
    "Content-Type: text/html",
    "Content-Encoding: gzip",
    "Expect: 100-continue",
    "If-None-Match: *",
    "Range: bytes=0-1",
    "Trailer: X",
    "TE: trailers",
];

#[test]
fn s7_1_2_trailers_that_would_change_the_message_are_400() {
    for trailer in NO_TRAILERS {
        assert_rejected(chunked(&format!("0\r\n{trailer}\r\n\r\n")), 400);
        assert_rejected(
            chunked(&format!("5\r\nhello\r\n0\r\nX: b\r\n{}\r\n\r\n", trailer.to_uppercase())),
            400,
        );
    }
}

#[test]
fn s7_1_2_trailers_are_handed_over_apart_from_the_fields() {
    for path in ["/request/trailers", "/pour/trailers"] {
        assert_stays(
            format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nab\r\n0\r\nX-A: b\r\nx-a:\t c \r\n\r\n"
            ),
            &ok("2|X-A=b|x-a=c|"),
        );
    }
}

#[test]
fn s7_1_2_trailers_of_a_response_follow_its_last_chunk() {
    assert_stays_chunked(
        "GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n",
        "ab",
        "X-T: c\r\n",
    );
}

#[test]
fn s7_1_chunks_of_a_streamed_body_are_put_together() {
    let body = "5\r\nhello\r\n2;a=b\r\n, \r\n5\r\nworld\r\n0\r\nX: c\r\n\r\n";
    assert_stays(chunked(body).replace("/echo", "/pour"), &ok("hello, world"));
}
