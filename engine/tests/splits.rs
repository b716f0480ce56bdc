//! How bytes arrive changes nothing: every request split at every byte, and pipelines in every coalescing, get
//! the answers of the unsplit request.

mod support;

use std::net::TcpStream;

use support::client::Client;
use support::wire::{self, NEXT, NEXT_ANSWER, Then, converse, masked, ok};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// A request of each form, and whether its connection goes on.
const CORPUS: [(&str, bool); 27] = [
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
    (
        "GET /show/a%20b/../c?d=e HTTP/1.1\r\nHost: a.example:8080\r\nX-Long: bbbbbbbbbbbbbbbbbbbbbbbbbb\r\n\r\n",
        true,
    ),
    ("HEAD /typed HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("GET http://a/show/b?c HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("PROPFIND /show HTTP/1.1\r\nhost: [::1]:80\r\nDepth:1\r\n\r\n", true),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", true),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
    (
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nHost: a\r\n\r\n\
         00a;b=\"c;d\"; e\r\n0123456789\r\n1\r\n\n\r\n0;f\r\nX-A: b\r\nX-C:\t d \r\n\r\n",
        true,
    ),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", true),
    ("GET /values HTTP/1.1\r\nHost: a\r\nX: \t b \t\r\nX:\r\nx: \u{e9}\r\n\r\n", true),
    ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ("POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", false),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", false),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", false),
    ("POST /pour HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", true),
    (
        "POST /pour HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;a=b\r\nhello\r\n1\r\n,\r\n0\r\nX-A: b\r\n\r\n",
        true,
    ),
    ("POST /pour HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", true),
    (
        "POST /pour/trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n",
        true,
    ),
    ("POST /pour HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", false),
];

/// What comes for a request in pieces, with a request behind the last piece, without interim answers.
#[track_caller]
fn answers(pieces: &[&[u8]]) -> String {
    let received = converse(wire::address(), pieces, Then::Wait)
        .unwrap_or_else(|(problem, received)| panic!("{problem}; received {:?}", masked(&received)));
    let answers = masked(&received);
    assert!(answers.matches(CONTINUE).count() <= 1, "{answers:?}");
    answers.replace(CONTINUE, "")
}

/// What comes for the unsplit request.
#[track_caller]
fn expected(request: &str, goes_on: bool) -> String {
    let expected = answers(&[(request.to_owned() + NEXT).as_bytes()]);
    assert_eq!(expected.ends_with(NEXT_ANSWER), goes_on, "{request:?}: {expected:?}");
    expected
}

#[test]
fn two_writes_cut_at_every_byte() {
    for (request, goes_on) in CORPUS {
        let expected = expected(request, goes_on);
        let whole = request.to_owned() + NEXT;
        for cut in 0..=request.len() {
            let (first, second) = whole.as_bytes().split_at(cut);
            assert_eq!(answers(&[first, second]), expected, "{request:?} cut at {cut}");
        }
    }
}

#[test]
fn two_receives_cut_at_every_byte() {
    for (request, goes_on) in CORPUS {
        let expected = expected(request, goes_on);
        let whole = request.to_owned() + NEXT;
        for cut in 1..=request.len() {
            let (first, second) = whole.as_bytes().split_at(cut);
            // That the request in front of it is answered says that the first part has been received, too.
            let mut client = Client::<TcpStream>::connect(wire::address());
            client.send([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", first].concat());
            assert_eq!(client.receive().text(), "hello");
            // Refused if the first part has been refused already.
            let _ = std::io::Write::write_all(&mut client.stream, second);
            let got = masked(&client.take_all()).replace(CONTINUE, "");
            assert_eq!(got, expected, "{request:?} cut at {cut}");
        }
    }
}

#[test]
fn a_write_for_every_byte() {
    for (request, goes_on) in CORPUS {
        let expected = expected(request, goes_on);
        let whole = request.to_owned() + NEXT;
        let pieces: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
        assert_eq!(answers(&pieces), expected, "{request:?}");
    }
}

#[test]
fn random_cuts_of_each_request() {
    let mut random = wire::Random::new(1);
    for (request, goes_on) in CORPUS {
        let expected = expected(request, goes_on);
        let whole = request.to_owned() + NEXT;
        for round in 0..20 {
            let pieces = cut(whole.as_bytes(), &mut random, 20);
            assert_eq!(answers(&pieces), expected, "{request:?}, seed 1, round {round}");
        }
    }
}

/// Cuts bytes into pieces of 1 to `longest` bytes.
fn cut<'a>(mut bytes: &'a [u8], random: &mut wire::Random, longest: usize) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((1 + random.below(longest)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// A pipeline of `count` requests of all forms that keep the connection, with their answers.
fn pipeline(count: usize, single: &[(String, String)]) -> (Vec<Vec<u8>>, String) {
    let mut requests = Vec::new();
    let mut expected = String::new();
    for number in 0..count {
        // Each is told apart from the one before it.
        let path = format!("/show/{count}/{number}");
        let (request, answer) = &single[number % single.len()];
        requests.push(format!("{request}GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes());
        expected.push_str(answer);
        expected.push_str(&ok(&format!("GET {path}|")));
    }
    requests.push(NEXT.as_bytes().to_vec());
    expected.push_str(NEXT_ANSWER);
    (requests, expected)
}

/// The requests that keep the connection, with their answers.
fn keeping() -> Vec<(String, String)> {
    let keeping = CORPUS.into_iter().filter(|(_, goes_on)| *goes_on);
    keeping
        .map(|(request, goes_on)| {
            let answer = expected(request, goes_on);
            (request.to_owned(), answer.strip_suffix(NEXT_ANSWER).expect("the next answer").to_owned())
        })
        .collect()
}

/// As [`answers`], for a pipeline, in which more than one may expect `100 Continue`.
#[track_caller]
fn pipelined(pieces: &[&[u8]]) -> String {
    let received = converse(wire::address(), pieces, Then::Wait)
        .unwrap_or_else(|(problem, received)| panic!("{problem}; received {:?}", masked(&received)));
    masked(&received).replace(CONTINUE, "")
}

#[test]
fn pipelines_of_1_to_100_in_one_write() {
    let single = keeping();
    for count in 1..=100 {
        let (requests, expected) = pipeline(count, &single);
        assert_eq!(pipelined(&[&requests.concat()]), expected, "{count} requests");
    }
}

#[test]
fn pipelines_of_1_to_100_with_a_write_for_each() {
    let single = keeping();
    for count in 1..=100 {
        let (requests, expected) = pipeline(count, &single);
        let pieces: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
        assert_eq!(pipelined(&pieces), expected, "{count} requests");
    }
}

#[test]
fn pipelines_of_1_to_100_in_random_cuts() {
    let single = keeping();
    for count in 1..=100 {
        let (requests, expected) = pipeline(count, &single);
        let bytes = requests.concat();
        for (seed, longest) in [(2, 30), (3, 300), (4, 3000)] {
            let mut random = wire::Random::new(seed * 1000 + count as u64);
            let pieces = cut(&bytes, &mut random, longest);
            assert_eq!(pipelined(&pieces), expected, "{count} requests, pieces up to {longest}");
        }
    }
}

#[test]
fn pipelines_in_every_coalescing_of_their_requests() {
    // Each way to put seven requests into writes: a bit says whether a write ends behind a request.
    let single = keeping();
    let (requests, expected) = pipeline(7, &single);
    for ends in 0..1_u32 << (requests.len() - 1) {
        let mut writes = vec![Vec::new()];
        for (number, request) in requests.iter().enumerate() {
            writes.last_mut().expect("one").extend_from_slice(request);
            if ends & 1 << number != 0 {
                writes.push(Vec::new());
            }
        }
        let pieces: Vec<&[u8]> = writes.iter().map(Vec::as_slice).collect();
        assert_eq!(pipelined(&pieces), expected, "writes end at {ends:b}");
    }
}
