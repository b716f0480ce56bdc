//! RFC 9110 section 7: routing and the connection's own fields.

use crate::support::wire::{assert_ends, assert_rejected, assert_stays, exchange, ok};

#[test]
fn s7_1_forms_of_one_method_are_refused_for_others() {
    assert!(exchange("GET * HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(exchange("GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").starts_with("HTTP/1.1 405 "));
}

#[test]
fn s7_2_host_is_needed_once_and_valid() {
    assert_rejected("GET / HTTP/1.1\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400);
}

#[test]
fn s7_6_1_options_are_the_same_in_every_letter_case() {
    assert_ends(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: cLoSe\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s7_6_1_keep_alive_parameters_mean_nothing() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=0, max=0\r\n\r\n", &ok("hello"));
}

#[test]
fn s7_8_an_upgrade_that_nobody_offers_is_ignored() {
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: unheard-of/1\r\n\r\n",
        &ok("hello"),
    );
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        &ok("hello"),
    );
}

#[test]
fn s7_8_an_upgrade_without_its_connection_option_is_ignored() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", &ok("hello"));
}

#[test]
fn s7_8_an_upgrade_in_http_1_0_is_ignored() {
    assert_ends(
        "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s7_8_101_names_the_protocol_and_its_bytes_follow() {
    let answers = exchange(
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x, echo\r\n\r\nhello",
    );
    let (head, bytes) = answers.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answers:?}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nupgrade: echo") && lower.contains("\r\nconnection: upgrade"), "{answers:?}");
    assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"), "{answers:?}");
    assert_eq!(bytes, "hello");
}

#[test]
fn s7_8_no_protocol_that_was_not_asked_for() {
    for fields in [
        "",
        "Upgrade: echo\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: other\r\n",
        "Connection: upgrade\r\nUpgrade: xecho, echox\r\n",
    ] {
        assert_stays(format!("GET /upgrade HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), &ok("not upgraded"));
    }
}

#[test]
fn s7_8_no_upgrade_of_http_1_0() {
    assert_ends(
        "GET /upgrade HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 12\r\n\r\nnot upgraded",
    );
}

#[test]
fn s7_8_no_upgrade_of_a_request_with_a_body() {
    assert_stays(
        "POST /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 2\r\n\r\nab",
        &ok("not upgraded"),
    );
}
