//! RFC 9110 section 6: versions, content, trailers, dates.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::client::Client;
use crate::support::wire::{
    self, assert_rejected, assert_stays, assert_stays_chunked, assert_unanswered, exchange, ok,
};

#[test]
fn s6_1_a_message_is_complete_or_none() {
    assert_unanswered("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
}

#[test]
fn s6_2_the_version_of_a_response_is_the_servers_own() {
    assert!(exchange("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert!(exchange("GET / HTTP/2.0\r\n\r\n").starts_with("HTTP/1.1 505 "));
}

#[test]
fn s6_2_a_higher_minor_version_is_505() {
    // There is none, and none will be: who sends one is no client of HTTP.
    assert_rejected("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505);
    assert_rejected("GET / HTTP/1.9\r\nHost: a\r\n\r\n", 505);
}

#[test]
fn s6_4_content_is_what_remains_without_the_framing() {
    assert_stays(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n1\r\nb\r\n0\r\nX: c\r\n\r\n",
        &ok("ab"),
    );
}

#[test]
fn s6_4_1_1xx_204_and_304_have_no_content_and_others_have_it() {
    assert_stays("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\nDate: -\r\n\r\n");
    assert_stays(
        "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nDate: -\r\nContent-Length: 4\r\n\r\n",
    );
    for status in [201, 202, 206, 301, 400, 404, 500, 503] {
        let answers = exchange(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(answers.ends_with("\r\nContent-Length: 4\r\n\r\nbody"), "{answers:?}");
    }
}

#[test]
fn s6_5_1_trailers_are_not_merged_into_the_fields() {
    assert_stays(
        "POST /values HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: b\r\n\r\n",
        &ok(""),
    );
}

#[test]
fn s6_6_1_every_final_response_has_one_date() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /status/301 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /status/500 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let answers = exchange(request);
        assert_eq!(answers.matches("\r\nDate: -\r\n").count(), 1, "{answers:?}");
    }
}

#[test]
fn s6_6_1_the_date_is_the_time_of_the_response() {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut client = Client::<std::net::TcpStream>::connect(wire::address());
    let before = seconds();
    let response = client.get("/");
    let date = response.field("Date").expect("a date").to_owned();
    let clock: Vec<u64> = date[17..25].split(':').map(|part| part.parse().expect("a number")).collect();
    let [hours, minutes, second] = clock[..] else { panic!("no time: {date}") };
    // Within the day, and not earlier than the coarse clock of a turn may be.
    let said = hours * 3600 + minutes * 60 + second;
    let passed = (said + 86_400 + 2 - before % 86_400) % 86_400;
    assert!(passed <= seconds() - before + 2, "{date} {before}");
}

#[test]
fn s6_5_1_a_handler_cannot_send_a_trailer_that_is_no_trailer() {
    assert_stays_chunked(
        "GET /trailers/forbidden HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0",
        "",
    );
}
