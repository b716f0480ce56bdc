//! RFC 9110 section 8: what describes the content. Section 8.6 is the engine's, the rest the application's.

use crate::support::wire::{assert_rejected, assert_stays, exchange, ok};

#[test]
fn s8_3_a_body_has_the_type_that_its_handler_gives() {
    assert_stays(
        "GET /typed HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\ntyped",
    );
}

#[test]
fn s8_6_the_length_is_sent_when_it_is_known() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays(
        "GET /status/205 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\nDate: -\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s8_6_head_gets_the_length_of_get_or_none() {
    for path in ["/", "/typed", "/status/404", "/status/205", "/nowhere", "/show/a"] {
        let length = |method: &str| {
            let answers = exchange(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let (head, _) = answers.split_once("\r\n\r\n").expect("a whole head");
            head.split_once("Content-Length: ").map(|(_, length)| length.to_owned())
        };
        // The body of /show/a begins with the method's name, one byte longer.
        if path != "/show/a" {
            assert_eq!(length("HEAD"), length("GET"), "{path}");
        }
        assert!(length("HEAD").is_some(), "{path}");
    }
}

#[test]
fn s8_6_a_204_has_no_length() {
    assert_stays("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n");
    assert_stays(
        "HEAD /status/204 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n",
    );
}

#[test]
fn s8_6_large_numerals_do_not_overflow() {
    for length in
        ["18446744073709551615", "18446744073709551616", "18446744073709551621", "1000000000000000000000005"]
    {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello"),
            413,
        );
    }
}

#[test]
fn s8_6_a_repeated_length_is_400() {
    assert_rejected("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400);
}
