//! RFC 9110 section 5: fields.

use std::net::TcpStream;

use crate::support::client::Client;
use crate::support::wire::{self, NEXT, assert_ends, assert_rejected, assert_stays, ok, rejection};

#[test]
fn s5_1_names_are_the_same_in_every_letter_case() {
    assert_stays("POST /echo HTTP/1.1\r\nhOST: a\r\nCONTENT-length: 2\r\n\r\nab", &ok("ab"));
    assert_stays("GET /values HTTP/1.1\r\nHOST: a\r\nx: 1\r\nX: 2\r\n\r\n", &ok("1|2|"));
}

#[test]
fn s5_1_unknown_fields_are_ignored() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nX-Unheard-Of: b\r\nKeep-Alive: 5\r\n\r\n", &ok("hello"));
}

#[test]
fn s5_2_lines_of_one_name_stay_apart_and_in_order() {
    assert_stays("GET /values HTTP/1.1\r\nHost: a\r\nX: b, c\r\nY: d\r\nX: e\r\n\r\n", &ok("b, c|e|"));
}

#[test]
fn s5_3_a_request_is_not_served_before_its_head_is_complete() {
    // The answer to the first request says that all of the second head but its end has arrived.
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    assert_eq!(client.receive().text(), "hello");
    client.send("Host: b\r\n\r\n");
    let response = client.receive();
    assert_eq!((response.status, response.is_last()), (400, true), "for what came last");
    client.expect_end();
}

#[test]
fn s5_3_the_order_of_names_means_nothing() {
    assert_stays("POST /echo HTTP/1.1\r\nContent-Length: 2\r\nX: b\r\nHost: a\r\n\r\nab", &ok("ab"));
}

#[test]
fn s5_4_a_field_that_is_too_large_is_431() {
    assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "b".repeat(33_000)), 431);
    assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\n{}: b\r\n\r\n", "X".repeat(33_000)), 431);
}

#[test]
fn s5_4_fields_that_are_too_large_together_are_431() {
    let line = format!("X: {}\r\n", "b".repeat(1000));
    assert_stays(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(32)), &ok("hello"));
    assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(33)), 431);
}

#[test]
fn s5_4_too_many_fields_are_431() {
    assert_stays(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: b\r\n".repeat(99)), &ok("hello"));
    assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: b\r\n".repeat(100)), 431);
}

#[test]
fn s5_5_other_octets_are_opaque() {
    assert_stays(
        b"GET /values HTTP/1.1\r\nHost: a\r\nX: \x80\xfe\xff\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: 4\r\n\r\n\u{fffd}\u{fffd}\u{fffd}|",
    );
}

#[test]
fn s5_5_cr_lf_and_nul_in_a_value_are_400() {
    for value in ["b\rc", "b\nc", "b\0c", "\0", "b\r\rc"] {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n"), 400);
    }
}

#[test]
fn s5_5_other_control_characters_in_a_value_are_400() {
    for control in (1..=31u8).chain([127]).filter(|byte| !b"\t\r\n".contains(byte)) {
        let request = [b"GET / HTTP/1.1\r\nHost: a\r\nX: b", &[control][..], b"c\r\n\r\n"].concat();
        assert_rejected(request, 400);
    }
}

#[test]
fn s5_5_a_handler_cannot_send_an_invalid_value() {
    assert_ends("GET /split HTTP/1.1\r\nHost: a\r\n\r\n", &rejection(500));
}

#[test]
fn s5_6_1_empty_elements_of_a_list_are_ignored() {
    assert_ends(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: , ,close,\t,\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nConnection: ,\r\n\r\n", &ok("hello"));
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", &ok("hello"));
}

#[test]
fn s5_6_1_empty_elements_of_the_framing_are_400() {
    // What frames a message is understood by everybody alike, or by nobody.
    for coding in ["", ",", "chunked,", ",chunked", "chunked, ,"] {
        assert_rejected(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"),
            400,
        );
    }
}

#[test]
fn s5_6_2_an_option_that_is_no_token_is_400() {
    for option in ["a b", "\"close\"", "a=b", "a/b", "(close)"] {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {option}\r\n\r\n"), 400);
    }
}

#[test]
fn s5_6_4_a_quoted_pair_may_hold_a_quote() {
    assert_stays(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;a=\"b\\\";\\\\\"\r\nab\r\n0\r\n\r\n",
        &ok("ab"),
    );
}

#[test]
fn s5_6_7_dates_are_in_the_one_format_that_may_be_sent() {
    let mut client = Client::<TcpStream>::connect(wire::address());
    client.send(NEXT);
    let response = client.receive();
    let date = response.field("Date").expect("a date");
    let [day_name, day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        panic!("no date: {date}")
    };
    assert!(["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"].contains(&day_name), "{date}");
    assert!(day.len() == 2 && (1..=31).contains(&day.parse::<u8>().expect("a day")), "{date}");
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    assert!(months.contains(&month), "{date}");
    assert!(year.parse::<u16>().is_ok_and(|year| year >= 2024), "{date}");
    assert!(time.len() == 8 && time.split(':').all(|part| part.parse::<u8>().is_ok()), "{date}");
}
