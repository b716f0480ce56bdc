//! RFC 9112 section 3.2: the request target and Host.

use crate::support::wire::{assert_ends, assert_rejected, assert_stays, ok};

#[test]
fn s3_2_missing_host_is_400() {
    assert_rejected("GET / HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn s3_2_missing_host_with_an_absolute_target_is_400() {
    assert_rejected("GET http://a/ HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn s3_2_host_may_be_missing_in_http_1_0() {
    assert_ends(
        "GET / HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s3_2_more_than_one_host_is_400() {
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\nhost: a\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_2_an_invalid_host_is_400() {
    for host in
        ["a b", "a,b", "a/b", "u@a", "a:b", "a:80:80", "a:65536", "[::1", "[a]", "a?b", "a#b", "a\\b", "%4"]
    {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
        assert_rejected(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"), 400);
    }
}

#[test]
fn s3_2_an_empty_host_is_400() {
    // Only a target without an authority may have one, and http always has an authority.
    assert_rejected("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400);
    assert_rejected("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400);
}

#[test]
fn s3_2_valid_hosts_are_taken() {
    for host in
        ["a", "A.b-c.EXAMPLE", "a:", "a:80", "127.0.0.1:5000", "[::1]", "[2001:db8::1]:443", "a_b", "%41"]
    {
        assert_stays(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &ok("hello"));
    }
}

#[test]
fn s3_2_no_whitespace_in_the_target() {
    assert_rejected("GET /show/a\u{b}b HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET /show/a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET /show/a b HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_2_a_target_of_no_known_form_is_400() {
    for target in
        ["nowhere", "?a", "#", "/#a", "/show/a#b", "http:", "http:/a", "//\u{e9}", "mailto:a@b", "%2f", "**"]
    {
        assert_rejected(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn s3_2_1_origin_form_is_a_path_and_a_query() {
    assert_stays("GET /show/where?q=now HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/where?q=now|"));
    assert_stays("GET /show? HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show?|"));
    assert_stays("GET /show?a?b/../c HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show?a?b/../c|"));
}

#[test]
fn s3_2_2_absolute_form_is_accepted() {
    assert_stays("GET http://a/show/b?c HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/b?c|"));
    assert_stays("GET https://a/show/b HTTP/1.1\r\nHost: a\r\n\r\n", &ok("GET /show/b|"));
    assert_ends(
        "GET http://a/ HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
}

#[test]
fn s3_2_2_absolute_form_without_a_path_means_the_root() {
    assert_stays("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
    assert_stays("GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
}

#[test]
fn s3_2_2_another_host_than_the_targets_is_never_believed() {
    // The target would win; who forwarded the request may have looked at the field. So the request is refused.
    assert_rejected("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    assert_rejected("GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n", 400);
    assert_rejected("GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", 400);
}

#[test]
fn s3_2_2_the_same_host_in_another_spelling_is_the_same() {
    assert_stays("GET http://EXAMPLE.com/ HTTP/1.1\r\nHost: example.COM:80\r\n\r\n", &ok("hello"));
    assert_stays("GET https://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n", &ok("hello"));
}

#[test]
fn s3_2_2_other_schemes_are_400() {
    assert_rejected("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_rejected("GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn s3_2_3_authority_form_is_for_connect_only() {
    assert_ends(
        "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nConnection: close\r\nAllow: CONNECT\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s3_2_3_connect_takes_no_other_form() {
    for target in ["/", "/a:80", "http://a/", "a", "u@a:80", "a:80/"] {
        assert_rejected(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn s3_2_4_asterisk_form_is_for_options_only() {
    for method in ["GET", "POST", "CONNECT", "PROPFIND"] {
        assert_ends(
            format!("{method} * HTTP/1.1\r\nHost: a\r\n\r\n"),
            "HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nConnection: close\r\nAllow: OPTIONS\r\n\
             Content-Length: 0\r\n\r\n",
        );
    }
}

#[test]
fn s3_2_4_asterisk_form_asks_for_the_server() {
    assert_stays(
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nDate: -\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n",
    );
}
