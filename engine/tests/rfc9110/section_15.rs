//! RFC 9110 section 15: status codes that the engine chooses or has to frame.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::wire::{app, assert_ends, assert_rejected, assert_stays, exchange, ok, rejection};

#[test]
fn s15_a_status_is_one_of_200_to_599_or_the_handler_has_failed() {
    for status in ["0", "99", "101", "199", "600", "999"] {
        assert_ends(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"), &rejection(500));
    }
}

#[test]
fn s15_2_http_1_0_gets_no_interim_response() {
    let answers = exchange("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na");
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
}

#[test]
fn s15_3_5_a_204_ends_with_its_head() {
    assert_stays("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n");
}

#[test]
fn s15_3_6_a_205_has_no_content() {
    assert_stays(
        "GET /status/205 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\nDate: -\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s15_4_5_a_304_has_no_content() {
    assert_stays(
        "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nDate: -\r\nContent-Length: 4\r\n\r\n",
    );
}

#[test]
fn s15_5_rejections_have_no_content() {
    // Who sends what no client sends needs no explanation; handlers write their own.
    assert_rejected("GET / HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn s15_5_1_a_malformed_request_is_400() {
    assert_rejected("GET / HTTP/1.1\r\nHost a\r\n\r\n", 400);
}

#[test]
fn s15_5_5_a_path_without_a_handler_is_404() {
    assert_stays(
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nDate: -\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s15_5_6_a_405_has_allow() {
    assert_stays(
        "PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\nDate: -\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn s15_5_9_a_head_that_takes_too_long_is_408_and_close() {
    let server = app(|options| options.limits.request_headers_timeout = Duration::from_secs(1))
        .start()
        .expect("a server");
    let mut client = Client::connect(server.addresses()[0]);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let response = client.receive();
    assert_eq!((response.status, response.is_last(), response.body.len()), (408, true, 0));
    client.expect_end();
}

#[test]
fn s15_5_14_content_beyond_the_limit_is_413() {
    assert_rejected("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30000001\r\n\r\n", 413);
}

#[test]
fn s15_5_15_a_target_that_is_too_long_is_414() {
    assert_rejected(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)), 414);
}

#[test]
fn s15_5_18_an_expectation_that_cannot_be_met_is_417() {
    assert_rejected("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417);
}

#[test]
fn s15_6_1_a_handler_that_panics_is_500() {
    assert_ends("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", &rejection(500));
}

#[test]
fn s15_6_2_a_coding_that_is_not_implemented_is_501() {
    assert_rejected(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
    );
}

#[test]
fn s15_6_6_a_version_that_is_not_supported_is_505() {
    assert_rejected("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
}

#[test]
fn s15_2_an_interim_response_has_no_content_and_no_length() {
    assert_stays(
        "GET /hints HTTP/1.1\r\nHost: a\r\n\r\n",
        &("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".to_owned() + &ok("hinted")),
    );
}

#[test]
fn s15_2_http_1_0_gets_no_interim_response_of_a_handler() {
    assert_ends(
        "GET /hints HTTP/1.0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhinted",
    );
}

#[test]
fn s15_6_1_a_streaming_handler_without_an_answer_is_500() {
    let answers = exchange("POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(answers.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answers:?}");
}

#[test]
fn s15_5_9_content_that_comes_too_slowly_is_408_and_close() {
    let server = app(|options| {
        options.limits.min_request_body_data_rate =
            Some(peregrine::MinDataRate::new(1_000_000, Duration::from_millis(1100)));
    })
    .start()
    .expect("a server");
    for path in ["/echo", "/pour"] {
        let mut client = Client::connect(server.addresses()[0]);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"));
        let response = client.receive();
        assert_eq!((response.status, response.is_last()), (408, true), "{path}");
        client.expect_end();
    }
}

#[test]
fn s15_5_14_streamed_content_beyond_the_limit_is_413() {
    let server = app(|options| options.limits.max_request_body_size = Some(4)).start().expect("a server");
    for framing in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        for path in ["/echo", "/pour"] {
            let mut client = Client::connect(server.addresses()[0]);
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}"));
            let response = client.receive();
            assert_eq!((response.status, response.is_last()), (413, true), "{path} {framing:?}");
            client.expect_end();
        }
    }
}

#[test]
fn s15_6_4_too_many_connections_are_503_and_retry_after() {
    let server =
        app(|options| options.limits.max_concurrent_connections = Some(1)).start().expect("a server");
    let mut first = Client::connect(server.addresses()[0]);
    assert_eq!(first.get("/").text(), "hello");
    let mut second = Client::connect(server.addresses()[0]);
    let response = second.get("/");
    assert_eq!((response.status, response.is_last()), (503, true));
    let wait = response.field("Retry-After").expect("a time to wait");
    assert!(wait.parse::<u32>().is_ok(), "{wait}");
    second.expect_end();
    assert_eq!(first.get("/").text(), "hello", "the first one is not disturbed");
}
