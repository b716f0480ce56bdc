//! RFC 9112 section 4: the status line.

use crate::support::wire::{assert_stays, exchange};

#[test]
fn s4_a_response_begins_with_version_status_and_reason() {
    assert_stays(
        "GET /status/418 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 418 \r\nDate: -\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert_stays(
        "GET /status/404 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nDate: -\r\nContent-Length: 4\r\n\r\nbody",
    );
}

#[test]
fn s4_the_space_before_an_absent_reason_is_sent() {
    for status in ["299", "399", "499", "599"] {
        let answers = exchange(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} \r\n")), "{answers:?}");
    }
}
