//! RFC 9110 section 4: URIs of the schemes http and https.

use crate::support::wire::{assert_rejected, assert_stays, ok};

#[test]
fn s4_2_1_an_empty_host_is_400() {
    assert_rejected("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET http://?a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s4_2_2_an_empty_host_of_https_is_400() {
    assert_rejected("GET https:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET https://:443/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s4_2_3_scheme_and_host_are_the_same_in_every_letter_case() {
    assert_stays("GET HTTP://A.Example/ HTTP/1.1\r\nHost: a.eXAMPLE\r\n\r\n", &ok("hello"));
}

#[test]
fn s4_2_3_the_default_port_is_the_same_as_none() {
    assert_stays("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays("GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", &ok("hello"));
    assert_stays("GET http://a:/ HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays("GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n", &ok("hello"));
}

#[test]
fn s4_2_3_an_empty_path_is_the_root() {
    assert_stays("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
}

#[test]
fn s4_2_3_an_escaped_character_is_the_character() {
    assert_stays("GET /%73how/%7Ea HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/~a|"));
}

#[test]
fn s4_2_4_user_information_is_400() {
    assert_rejected("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET http://a:b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET http://@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400);
}

#[test]
fn s4_2_5_a_fragment_is_400() {
    assert_rejected("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET http://a/?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}
