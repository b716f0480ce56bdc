//! Request smuggling: every known way to make two parties see different ends of one message, with a request for
//! `/smuggled` behind it. Each case has one outcome: the answers that its bytes have by the grammar, or one
//! rejection after which nothing is answered and the connection ends. A case costs a connection; all are driven
//! against one server.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::wire::{self, SMUGGLED, SMUGGLED_ANSWER, Then, converse, masked, rejection};

/// What must come of a case.
#[derive(Clone, Debug)]
enum Outcome {
    /// These answers of `/echo`, then that of `/smuggled`: the message ends where the smuggled request begins.
    Served(Vec<String>),
    /// These answers, the last with `Connection: close`, then the end: the smuggled request is not looked at.
    Last(Vec<String>),
    /// These answers, then one rejection with this status.
    Rejected(Vec<String>, u16),
    /// These answers, then one rejection with whatever status: what follows the message is no request.
    Refused(Vec<String>),
    /// The message goes on behind the smuggled request: nothing, or a rejection for its size.
    Incomplete,
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    outcome: Outcome,
}

fn answer(body: &[u8]) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nDate: -\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        String::from_utf8_lossy(body)
    )
}

fn last_answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The same request for the handler that reads its body piece by piece, with every byte in the same place.
fn poured(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(5).position(|window| window == b"/echo") {
        bytes[at..at + 5].copy_from_slice(b"/pour");
    }
    bytes
}

/// Whether `text` is exactly one answer that refuses and ends the connection. Bytes in front of the smuggled
/// request may have made another method out of its own: then it is refused for that, with `Allow`.
fn is_one_rejection(text: &str) -> bool {
    (text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"))
        && text.matches("HTTP/1.1 ").count() == 1
        && text.contains("\r\nConnection: close\r\n")
        && text.ends_with("\r\nContent-Length: 0\r\n\r\n")
}

impl Case {
    fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Self {
        Self { name: name.into(), bytes: bytes.into(), outcome }
    }

    /// Runs the case, with a handler that gets the whole body and with one that reads it piece by piece; tells
    /// what is wrong.
    fn run(&self) -> Result<(), String> {
        self.run_with(&self.bytes).map_err(|problem| format!("whole body: {problem}"))?;
        match String::from_utf8_lossy(&self.bytes).contains("/echo") {
            true => self.run_with(&poured(&self.bytes)).map_err(|problem| format!("streamed: {problem}")),
            false => Ok(()),
        }
    }

    fn run_with(&self, bytes: &[u8]) -> Result<(), String> {
        let bytes = [bytes, SMUGGLED.as_bytes()].concat();
        // Whoever waits for more bytes would wait for long; all others must end the connection by themselves.
        let then = if matches!(self.outcome, Outcome::Incomplete) { Then::Finish } else { Then::Wait };
        let got = converse(wire::address(), &[&bytes], then)
            .map_err(|(problem, received)| format!("{problem}; received {:?}", masked(&received)))?;
        let got = masked(&got);
        let fine = match &self.outcome {
            Outcome::Served(answers) => got == answers.concat() + SMUGGLED_ANSWER,
            Outcome::Last(answers) => got == answers.concat(),
            Outcome::Rejected(answers, status) => got == answers.concat() + &rejection(*status),
            Outcome::Refused(answers) => got.strip_prefix(&answers.concat()).is_some_and(is_one_rejection),
            Outcome::Incomplete => got.is_empty() || got == rejection(413),
        };
        if fine { Ok(()) } else { Err(format!("received {got:?}")) }
    }
}

/// Runs all cases, several at a time, and panics with those that failed.
#[track_caller]
fn run(cases: &[Case], at_least: usize) {
    const THREADS: usize = 4;
    const SHOWN: usize = 10;
    assert!(cases.len() >= at_least, "only {} cases were generated", cases.len());
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(problem) = case.run() {
                        let mut failures = failures.lock().expect("no panic");
                        failures.push(format!(
                            "{}: {problem}\n  sent {:?}\n  expected {:?}",
                            case.name,
                            wire::shown(&case.bytes),
                            case.outcome
                        ));
                        if failures.len() >= SHOWN {
                            next.store(cases.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

// Content-Length and Transfer-Encoding, in every spelling and in every pair.

/// What a spelling of Content-Length means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// There is none, or the field is another one.
    None,
    Is(usize),
    Invalid,
    /// No number here is as large.
    TooLarge,
}

const LENGTHS: [(&str, Length); 56] = [
    ("", Length::None),
    ("Content-Length: 0\r\n", Length::Is(0)),
    ("Content-Length: 5\r\n", Length::Is(5)),
    ("content-length:5\r\n", Length::Is(5)),
    ("CONTENT-LENGTH: \t5\t \r\n", Length::Is(5)),
    ("cOnTeNt-LeNgTh: 15\r\n", Length::Is(15)),
    ("Content-Length: 15\r\n", Length::Is(15)),
    ("Content-Length: +5\r\n", Length::Invalid),
    ("Content-Length: -5\r\n", Length::Invalid),
    ("Content-Length: -0\r\n", Length::Invalid),
    ("Content-Length: +0\r\n", Length::Invalid),
    ("Content-Length: 05\r\n", Length::Invalid),
    ("Content-Length: 0000000000000005\r\n", Length::Invalid),
    ("Content-Length: 00\r\n", Length::Invalid),
    ("Content-Length: 0x5\r\n", Length::Invalid),
    ("Content-Length: 0o5\r\n", Length::Invalid),
    ("Content-Length: 5h\r\n", Length::Invalid),
    ("Content-Length: 5 5\r\n", Length::Invalid),
    ("Content-Length: 5\t5\r\n", Length::Invalid),
    ("Content-Length: 5.0\r\n", Length::Invalid),
    ("Content-Length: 5e0\r\n", Length::Invalid),
    ("Content-Length: 1_5\r\n", Length::Invalid),
    ("Content-Length: 1'5\r\n", Length::Invalid),
    ("Content-Length: 5;a=b\r\n", Length::Invalid),
    ("Content-Length: \"5\"\r\n", Length::Invalid),
    ("Content-Length: (5)\r\n", Length::Invalid),
    ("Content-Length: \u{ff15}\r\n", Length::Invalid),
    ("Content-Length: \u{b2}\r\n", Length::Invalid),
    ("Content-Length: \u{a0}5\r\n", Length::Invalid),
    ("Content-Length:\r\n", Length::Invalid),
    ("Content-Length: ,\r\n", Length::Invalid),
    ("Content-Length: 5,\r\n", Length::Invalid),
    ("Content-Length: ,5\r\n", Length::Invalid),
    ("Content-Length: 5, 5\r\n", Length::Invalid),
    ("Content-Length: 5,5,5\r\n", Length::Invalid),
    ("Content-Length: 5, 15\r\n", Length::Invalid),
    ("Content-Length: 0, 5\r\n", Length::Invalid),
    ("Content-Length: chunked\r\n", Length::Invalid),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", Length::Invalid),
    ("Content-Length: 5\r\nContent-Length: 15\r\n", Length::Invalid),
    ("Content-Length: 15\r\nX: b\r\ncontent-length: 0\r\n", Length::Invalid),
    ("Content-Length: 0\r\nContent-Length: x\r\n", Length::Invalid),
    ("Content-Length: 18446744073709551616\r\n", Length::TooLarge),
    ("Content-Length: 18446744073709551621\r\n", Length::TooLarge),
    ("Content-Length: 4294967301000000000000\r\n", Length::TooLarge),
    ("Content-Length: 99999999999999999999999999999999999999999\r\n", Length::TooLarge),
    ("Content-Length: 30000001\r\n", Length::TooLarge),
    ("Content-Length: 9223372036854775808\r\n", Length::TooLarge),
    // Other fields, which mean nothing.
    ("Content_Length: 5\r\n", Length::None),
    ("ContentLength: 5\r\n", Length::None),
    ("Content-Length-: 5\r\n", Length::None),
    ("X-Content-Length: 5\r\n", Length::None),
    ("Content--Length: 5\r\n", Length::None),
    ("Content-Lengt: 5\r\n", Length::None),
    ("X: Content-Length: 5\r\n", Length::None),
    ("'Content-Length': 5\r\n", Length::None),
];

/// What a spelling of Transfer-Encoding means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// There is none, or the field is another one.
    None,
    Chunked,
    /// 400.
    Invalid,
    /// 501.
    Unknown,
}

const CODINGS: [(&str, Coding); 68] = [
    ("", Coding::None),
    ("Transfer-Encoding: chunked\r\n", Coding::Chunked),
    ("transfer-encoding:chunked\r\n", Coding::Chunked),
    ("TRANSFER-ENCODING: CHUNKED\r\n", Coding::Chunked),
    ("Transfer-Encoding: \t chunked \t\r\n", Coding::Chunked),
    ("tRaNsFeR-eNcOdInG: cHuNkEd\r\n", Coding::Chunked),
    ("Transfer-Encoding: xchunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunkedx\r\n", Coding::Invalid),
    ("Transfer-Encoding: x-chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunk\r\n", Coding::Invalid),
    ("Transfer-Encoding: cow\r\n", Coding::Invalid),
    ("Transfer-Encoding: identity\r\n", Coding::Invalid),
    ("Transfer-Encoding: gzip\r\n", Coding::Invalid),
    ("Transfer-Encoding: compress\r\n", Coding::Invalid),
    ("Transfer-Encoding:\r\n", Coding::Invalid),
    ("Transfer-Encoding: ,\r\n", Coding::Invalid),
    ("Transfer-Encoding: ,chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked,\r\n", Coding::Invalid),
    ("Transfer-Encoding: ,,chunked,,\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked, chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked,chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked, identity\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked, gzip\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked, cow\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked;q=1\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked; a=b\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked;\r\n", Coding::Invalid),
    ("Transfer-Encoding: \"chunked\"\r\n", Coding::Invalid),
    ("Transfer-Encoding: 'chunked'\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\tx\r\n", Coding::Invalid),
    ("Transfer-Encoding: x chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: x:chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: [chunked]\r\n", Coding::Invalid),
    ("Transfer-Encoding: (comment) chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\u{a0}\r\n", Coding::Invalid),
    ("Transfer-Encoding: chun\u{212a}ed\r\n", Coding::Invalid),
    ("Transfer-Encoding: \u{ff43}hunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\u{b}\r\n", Coding::Invalid),
    ("Transfer-Encoding: \u{b}chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: \u{c}chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\0\r\n", Coding::Invalid),
    ("Transfer-Encoding: \0chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: \x7fchunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\r\r\n", Coding::Invalid),
    ("Transfer-Encoding : chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding\t: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding\u{b}: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding\0: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding\r: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding\r\n : chunked\r\n", Coding::Invalid),
    ("Transfer Encoding: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding:\r\n chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding:\r\n\tchunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\r\n identity\r\n", Coding::Invalid),
    ("X: b\nTransfer-Encoding: chunked\r\n", Coding::Invalid),
    ("X: b\rTransfer-Encoding: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Coding::Invalid),
    ("Transfer-Encoding: chunked\r\nX: b\r\ntransfer-encoding: cow\r\n", Coding::Invalid),
    ("Transfer-Encoding: gzip, chunked\r\n", Coding::Unknown),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", Coding::Unknown),
    ("Transfer-Encoding: cow;a=b, chunked\r\n", Coding::Unknown),
    // Other fields, which mean nothing.
    ("Transfer_Encoding: chunked\r\n", Coding::None),
    ("Transfer-Encodin: chunked\r\n", Coding::None),
    ("X-Transfer-Encoding: chunked\r\n", Coding::None),
    ("TransferEncoding: chunked\r\n", Coding::None),
    ("X: Transfer-Encoding: chunked\r\n", Coding::None),
];

/// Whether no head that holds these bytes is valid, whatever the rest means: then the order of checks shows.
fn breaks_the_grammar(fields: &str) -> bool {
    let bytes = fields.as_bytes();
    let control = bytes.iter().any(|&byte| byte == 127 || (byte < 32 && !b"\t\r\n".contains(&byte)));
    let lines: Vec<&str> = fields.split("\r\n").filter(|line| !line.is_empty()).collect();
    control
        || lines.iter().any(|line| line.contains(['\r', '\n']) || line.starts_with([' ', '\t']))
        || lines.iter().any(|line| line.split(':').next().is_some_and(|name| name.contains([' ', '\t'])))
}

/// A body that is one by length and one by chunks: 15 bytes, or `hello`.
const AMBIGUOUS: &str = "5\r\nhello\r\n0\r\n\r\n";

/// What must come of a pair with [`AMBIGUOUS`] behind it.
fn judge(length: (&str, Length), coding: (&str, Coding), http_1_0: bool) -> Outcome {
    let none = Vec::new;
    if breaks_the_grammar(length.0) || breaks_the_grammar(coding.0) {
        return Outcome::Rejected(none(), 400);
    }
    let body = match (length.1, coding.1) {
        (Length::None, Coding::None) if http_1_0 => return Outcome::Rejected(none(), 400),
        (Length::None, Coding::None) => 0,
        (Length::None, _) if http_1_0 => return Outcome::Rejected(none(), 400),
        (Length::None, Coding::Chunked) => return Outcome::Served(vec![answer(b"hello")]),
        (Length::None, Coding::Invalid) => return Outcome::Rejected(none(), 400),
        (Length::None, Coding::Unknown) => return Outcome::Rejected(none(), 501),
        (Length::Is(length), Coding::None) => length,
        (Length::TooLarge, Coding::None) => return Outcome::Rejected(none(), 413),
        (Length::Invalid, Coding::None) => return Outcome::Rejected(none(), 400),
        // Both at once, whatever they say.
        (_, _) => return Outcome::Rejected(none(), 400),
    };
    let (body, rest) = AMBIGUOUS.split_at(body);
    match rest {
        _ if http_1_0 => Outcome::Last(vec![last_answer(body)]),
        "" => Outcome::Served(vec![answer(body.as_bytes())]),
        _ => Outcome::Rejected(vec![answer(body.as_bytes())], 400),
    }
}

#[test]
fn every_pair_of_length_and_coding_in_either_order() {
    let mut cases = Vec::new();
    for length in LENGTHS {
        for coding in CODINGS {
            let outcome = judge(length, coding, false);
            for fields in [[length.0, coding.0].concat(), [coding.0, length.0].concat()] {
                // As the first field a folded line or a line of spaces is another fault, with the same status.
                let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n{AMBIGUOUS}");
                cases.push(Case::new("a pair", request, outcome.clone()));
            }
        }
    }
    run(&cases, 7000);
}

#[test]
fn every_length_and_every_coding_in_http_1_0() {
    let mut cases = Vec::new();
    for length in LENGTHS {
        let request = format!("POST /echo HTTP/1.0\r\n{}\r\n{AMBIGUOUS}", length.0);
        cases.push(Case::new("a length", request, judge(length, CODINGS[0], true)));
        for coding in [CODINGS[1], CODINGS[3]] {
            let request = format!("POST /echo HTTP/1.0\r\n{}{}\r\n{AMBIGUOUS}", length.0, coding.0);
            cases.push(Case::new("both", request, judge(length, coding, true)));
        }
    }
    for coding in CODINGS {
        let request = format!("POST /echo HTTP/1.0\r\nHost: a\r\n{}\r\n{AMBIGUOUS}", coding.0);
        cases.push(Case::new("a coding", request, judge(LENGTHS[0], coding, true)));
    }
    run(&cases, 200);
}

#[test]
fn every_method_is_framed_alike() {
    let mut cases = Vec::new();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"] {
        for (fields, body) in
            [("Content-Length: 15\r\n", AMBIGUOUS), ("Transfer-Encoding: chunked\r\n", "hello")]
        {
            let request = format!("{method} /show HTTP/1.1\r\nHost: a\r\n{fields}\r\n{AMBIGUOUS}");
            let shown = answer(format!("{method} /show|{body}").as_bytes());
            cases.push(Case::new(method, request, Outcome::Served(vec![shown])));
        }
        for fields in ["Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5, 15\r\n"] {
            let request = format!("{method} /show HTTP/1.1\r\nHost: a\r\n{fields}\r\n{AMBIGUOUS}");
            cases.push(Case::new(method, request, Outcome::Rejected(Vec::new(), 400)));
        }
    }
    run(&cases, 28);
}

#[test]
fn a_whole_request_inside_a_body_is_a_body() {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let by_length =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
    let by_chunk = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
        inner.len()
    );
    let bodies: Vec<Case> = [by_length, by_chunk]
        .into_iter()
        .map(|request| Case::new("a body", request, Outcome::Served(vec![answer(inner.as_bytes())])))
        .collect();
    run(&bodies, 2);
}

#[test]
fn smuggling_as_it_is_published() {
    let rejected = || Outcome::Rejected(Vec::new(), 400);
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    run(
        &[
            Case::new(
                "CL.TE",
                format!("{head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
                rejected(),
            ),
            Case::new(
                "TE.CL",
                format!(
                    "{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n"
                ),
                rejected(),
            ),
            Case::new(
                "TE.TE",
                format!("{head}Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n"),
                rejected(),
            ),
            Case::new("CL.0", format!("{head}Content-Length: 0\r\n\r\n"), Outcome::Served(vec![answer(b"")])),
            Case::new("0.CL", format!("{head}Content-Length:\r\n 5\r\n\r\nhello"), rejected()),
            Case::new(
                "TE.0",
                "OPTIONS /show HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Outcome::Served(vec![answer(b"OPTIONS /show|")]),
            ),
            Case::new(
                "a terminator of chunks without its size",
                format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n\r\n"),
                rejected(),
            ),
            Case::new(
                "a size line ended by LF in an extension",
                format!("{head}Transfer-Encoding: chunked\r\n\r\n5;\nhello\r\n0\r\n\r\n"),
                rejected(),
            ),
            Case::new(
                "a size line spilled into an extension",
                format!("{head}Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n45\r\n0\r\n\r\n"),
                rejected(),
            ),
            Case::new(
                "two bytes of any kind behind a chunk",
                format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"),
                rejected(),
            ),
            Case::new(
                "a request in the line of another",
                "GET / HTTP/1.1\r\nHost: a\r\nX: b\rGET /smuggled HTTP/1.1\r\n\r\n",
                rejected(),
            ),
            Case::new("a head that ends with LF CR LF", "GET / HTTP/1.1\r\nHost: a\n\r\n", rejected()),
            Case::new("a head that ends with CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", rejected()),
            Case::new("HTTP/0.9", "GET /\r\n", rejected()),
            Case::new("a version in the target", "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", rejected()),
            Case::new(
                "an expectation in two",
                format!("{head}Expect: 100-continue, 100-continue\r\nContent-Length: 0\r\n\r\n"),
                Outcome::Rejected(Vec::new(), 417),
            ),
            Case::new(
                "an expectation that is obfuscated",
                format!("{head}Expect: y 100-continue\r\nContent-Length: 0\r\n\r\n"),
                Outcome::Rejected(Vec::new(), 417),
            ),
        ],
        17,
    );
}

#[test]
fn connection_options_do_not_remove_framing() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    let served = || Outcome::Served(vec![answer(b"hello")]);
    run(
        &[
            Case::new(
                "length",
                format!("{head}Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello"),
                served(),
            ),
            Case::new(
                "coding",
                format!(
                    "{head}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{AMBIGUOUS}"
                ),
                served(),
            ),
            Case::new("host", format!("{head}Connection: Host\r\nContent-Length: 5\r\n\r\nhello"), served()),
        ],
        3,
    );
}

// Bytes in the wrong place.

/// Bytes that parsers disagree about.
const ODD: [u8; 22] = *b"\r\n \t\x0b\x0c\0\x7f\x80\xff;:,\"\\=+-_0xF";

/// Every position of a head, with CR or LF alone put in.
#[test]
fn a_bare_cr_or_lf_anywhere_in_a_head() {
    let heads = [
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\nHost: a\r\n\r\n",
    ];
    let mut cases = Vec::new();
    for head in heads {
        for at in 0..head.len() {
            for byte in ["\r", "\n"] {
                let request = [&head[..at], byte, &head[at..]].concat();
                let name = format!("{byte:?} at {at}");
                // Before the last LF another one ends the head, and what follows begins with the old one.
                let outcome = match (byte, at) {
                    ("\n", at) if at == head.len() - 1 => match head {
                        _ if head.starts_with("GET") => Outcome::Rejected(vec![answer(b"hello")], 400),
                        _ if head.contains("Length") => Outcome::Rejected(vec![answer(b"")], 400),
                        _ => Outcome::Rejected(Vec::new(), 400),
                    },
                    _ => Outcome::Rejected(Vec::new(), 400),
                };
                cases.push(Case::new(name, request, outcome));
            }
        }
        // Each line end in another spelling.
        for (at, _) in head.match_indices("\r\n") {
            for end in ["\n", "\r", "\n\r", "\r\r\n", "\r\n\n"] {
                let request = [&head[..at], end, &head[at + 2..]].concat();
                let last = at == head.len() - 2;
                let outcome = match end {
                    "\r\n\n" if last && head.starts_with("GET") => {
                        Outcome::Rejected(vec![answer(b"hello")], 400)
                    }
                    "\r\n\n" if last && head.contains("Length") => Outcome::Rejected(vec![answer(b"")], 400),
                    _ => Outcome::Rejected(Vec::new(), 400),
                };
                cases.push(Case::new(format!("{end:?} at {at}"), request, outcome));
            }
        }
    }
    run(&cases, 250);
}

/// A head as [`read_head`] understands it.
struct Head<'a> {
    method: &'a [u8],
    target: &'a [u8],
    http_1_0: bool,
    /// Names in lower case, values without the whitespace around them.
    fields: Vec<(Vec<u8>, &'a [u8])>,
    /// What follows the head.
    rest: &'a [u8],
}

/// Reads one head strictly, and too simply to be wrong; none if it is not a valid one.
fn read_head(bytes: &[u8]) -> Option<Head<'_>> {
    let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = vec![&bytes[..end]];
    while let Some(at) = lines.last()?.windows(2).position(|window| window == b"\r\n") {
        let line = lines.pop()?;
        lines.extend([&line[..at], &line[at + 2..]]);
    }
    let parts: Vec<&[u8]> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version @ (b"HTTP/1.1" | b"HTTP/1.0")] = parts[..] else { return None };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) || !target.iter().all(visible) {
        return None;
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) || !value.iter().all(is_value) {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.trim_ascii()));
    }
    Some(Head { method, target, http_1_0: version.ends_with(b"0"), fields, rest: &bytes[end + 4..] })
}

/// What must come of a request for `/echo` whose head may be broken; none if it asks for something else.
fn judge_head(bytes: &[u8]) -> Option<Outcome> {
    let refused = || Some(Outcome::Refused(Vec::new()));
    let Some(head) = read_head(bytes) else { return refused() };
    let values = |name: &str| -> Vec<&[u8]> {
        let same = |(field, _): &&(Vec<u8>, &[u8])| field == name.as_bytes();
        head.fields.iter().filter(same).map(|(_, value)| *value).collect()
    };
    let host_is_valid = |host: &[u8]| {
        let mut parts = host.splitn(2, |&byte| byte == b':');
        let (name, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let reg_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte);
        !name.is_empty() && name.iter().all(reg_name) && port.iter().all(u8::is_ascii_digit)
    };
    let [host] = values("host")[..] else { return refused() };
    if !host_is_valid(host) {
        return refused();
    }
    let length = match values("content-length")[..] {
        [] if head.http_1_0 => return refused(),
        [] => 0,
        [[b'0', _, ..]] => return refused(),
        [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            String::from_utf8_lossy(digits).parse().unwrap_or(usize::MAX)
        }
        _ => return refused(),
    };
    if length > 30_000_000 {
        return refused();
    }
    if (head.method, head.target) != (b"POST", b"/echo") {
        return None;
    }
    let rest = [head.rest, SMUGGLED.as_bytes()].concat();
    let Some((body, rest)) = rest.split_at_checked(length) else { return Some(Outcome::Incomplete) };
    if head.http_1_0 {
        return Some(Outcome::Last(vec![last_answer(&String::from_utf8_lossy(body))]));
    }
    let answers = vec![answer(body)];
    let next = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    let whole = next == SMUGGLED.as_bytes();
    Some(if whole { Outcome::Served(answers) } else { Outcome::Refused(answers) })
}

#[test]
fn odd_bytes_anywhere_in_a_head() {
    let valid = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut cases = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| {
        if let Some(outcome) = judge_head(&bytes) {
            cases.push(Case::new(name, bytes, outcome));
        }
    };
    for at in 0..valid.len() - b"hello".len() {
        for byte in ODD {
            add(format!("{:?} put in at {at}", byte as char), [&valid[..at], &[byte], &valid[at..]].concat());
            let replaced = [&valid[..at], &[byte], &valid[at + 1..]].concat();
            add(format!("{:?} instead at {at}", byte as char), replaced);
        }
        add(format!("nothing at {at}"), [&valid[..at], &valid[at + 1..]].concat());
    }
    run(&cases, 2000);
}

// Chunks.

/// Reads a chunked body strictly, too simply to be wrong: the data and what follows the trailers, or how it is
/// wrong.
fn read_chunked(mut bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault> {
    let mut data = Vec::new();
    loop {
        let line = take_line(&mut bytes)?;
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (digits, extension) = line.split_at(digits);
        if digits.is_empty() || digits.len() > 16 || !is_extension(extension) {
            return Err(Fault::Broken);
        }
        let size = u64::from_str_radix(&String::from_utf8_lossy(digits), 16).map_err(|_| Fault::Broken)?;
        if size == 0 {
            break;
        }
        let Some((chunk, rest)) = usize::try_from(size).ok().and_then(|size| bytes.split_at_checked(size))
        else {
            return Err(Fault::Incomplete);
        };
        data.extend_from_slice(chunk);
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(Fault::Incomplete),
            _ => return Err(Fault::Broken),
        };
    }
    loop {
        let line = take_line(&mut bytes)?;
        if line.is_empty() {
            return Ok((data, bytes));
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Fault::Broken)?;
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        if NO_TRAILERS.contains(&name.as_str()) {
            return Err(Fault::Broken);
        }
        if colon == 0
            || !line[..colon].iter().all(|&byte| is_token(byte))
            || !line[colon + 1..].iter().all(is_value)
        {
            return Err(Fault::Broken);
        }
    }
}

/// Names that are no trailers: who merged them would change the message.
const NO_TRAILERS: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "upgrade",
    "expect",
    "te",
    "trailer",
    "authorization",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Broken,
    Incomplete,
}

/// Whether a byte may stand in a value, or in quotes.
fn is_value(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 127)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A line up to its CRLF, in which neither may stand alone.
fn take_line<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let Some(end) = bytes.iter().position(|byte| b"\r\n".contains(byte)) else {
        return Err(Fault::Incomplete);
    };
    let line = &bytes[..end];
    match bytes[end..] {
        [b'\r', b'\n', ..] => {
            *bytes = &bytes[end + 2..];
            Ok(line)
        }
        _ => Err(Fault::Broken),
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, read with a cursor.
fn is_extension(mut rest: &[u8]) -> bool {
    let skip = |rest: &mut &[u8]| {
        while let [b' ' | b'\t', after @ ..] = *rest {
            *rest = after;
        }
    };
    let name = |rest: &mut &[u8]| {
        let len = rest.iter().position(|&byte| !is_token(byte)).unwrap_or(rest.len());
        *rest = &rest[len..];
        len > 0
    };
    loop {
        if rest.is_empty() {
            return true;
        }
        skip(&mut rest);
        let [b';', after @ ..] = rest else { return false };
        rest = after;
        skip(&mut rest);
        if !name(&mut rest) {
            return false;
        }
        let mut ahead = rest;
        skip(&mut ahead);
        let [b'=', after @ ..] = ahead else { continue };
        rest = after;
        skip(&mut rest);
        if let [b'"', after @ ..] = rest {
            rest = after;
            loop {
                match rest {
                    [b'"', after @ ..] => {
                        rest = after;
                        break;
                    }
                    [b'\\', byte, after @ ..] if is_value(byte) => rest = after,
                    [b'\\', ..] => return false,
                    [byte, after @ ..] if is_value(byte) => rest = after,
                    _ => return false,
                }
            }
        } else if !name(&mut rest) {
            return false;
        }
    }
}

const CHUNKED_HEAD: &str = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A case with this body, and what must come of it by [`read_chunked`].
fn chunked_case(name: impl Into<String>, body: &[u8]) -> Case {
    let with_smuggled = [body, SMUGGLED.as_bytes()].concat();
    let outcome = match read_chunked(&with_smuggled) {
        Err(Fault::Broken) => Outcome::Rejected(Vec::new(), 400),
        Err(Fault::Incomplete) => Outcome::Incomplete,
        Ok((data, rest)) => {
            let answers = vec![answer(&data)];
            let next = rest.strip_prefix(b"\r\n").unwrap_or(rest);
            if next == SMUGGLED.as_bytes() { Outcome::Served(answers) } else { Outcome::Refused(answers) }
        }
    };
    Case::new(name, [CHUNKED_HEAD.as_bytes(), body].concat(), outcome)
}

#[test]
fn odd_bytes_anywhere_in_a_chunked_body() {
    let valid = b"5\r\nhello\r\n3;a=b;c=\"d;e\" ; f\r\nabc\r\n0;g\r\nX-A: b\r\nX-C: d\r\n\r\n";
    let mut cases = vec![chunked_case("untouched", valid)];
    assert!(matches!(cases[0].outcome, Outcome::Served(_)));
    for at in 0..=valid.len() {
        for byte in ODD {
            let put_in = [&valid[..at], &[byte], &valid[at..]].concat();
            cases.push(chunked_case(format!("{:?} put in at {at}", byte as char), &put_in));
            if at < valid.len() {
                let replaced = [&valid[..at], &[byte], &valid[at + 1..]].concat();
                cases.push(chunked_case(format!("{:?} instead at {at}", byte as char), &replaced));
            }
        }
        if at < valid.len() {
            cases.push(chunked_case(format!("nothing at {at}"), &[&valid[..at], &valid[at + 1..]].concat()));
        }
    }
    run(&cases, 2500);
}

#[test]
fn every_line_end_of_a_chunked_body_in_every_spelling() {
    let valid = "5\r\nhello\r\n3;a=\"b\"\r\nabc\r\n0\r\nX: b\r\n\r\n";
    let mut cases = Vec::new();
    for (at, _) in valid.match_indices("\r\n") {
        for end in [
            "\n", "\r", "\n\r", "\r\r\n", "\r\n\n", "\n\n", "", " \r\n", "\r\n ", "\0\r\n", "\r \n",
            "\u{85}", "\u{2028}",
        ] {
            let body = [&valid[..at], end, &valid[at + 2..]].concat();
            cases.push(chunked_case(format!("{end:?} at {at}"), body.as_bytes()));
        }
    }
    run(&cases, 80);
}

#[test]
fn sizes_in_every_spelling() {
    let mut cases = Vec::new();
    for size in [
        "5",
        "05",
        "0000000000000005",
        "00000000000000005",
        "10000000000000005",
        "ffffffffffffffff",
        "8000000000000005",
        "FFFFFFFF00000005",
        "100000005",
        "7fffffff",
        "80000000",
        "ffffffff",
        "",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "0x5",
        "0X5",
        "x5",
        "5h",
        "+5",
        "-5",
        "-0",
        "5_",
        "5_0",
        "5.",
        "5,",
        "5 5",
        "5\u{b}",
        "5\u{c}",
        "\u{b}5",
        "5\0",
        "\u{0}5",
        "g",
        "5g",
        "\u{ff15}",
        "\"5\"",
        "{5}",
        "five",
        "0b101",
        "0o5",
        "5;",
        "5;;",
        "5;=",
        "5;a=",
        "5;a b",
        "5;\"a\"",
        "5;a=\"b",
        "5;a=\"b\"c",
        "5;a=b=c",
        "5;a=\"\\\"",
        "5;a=\"\\\"\"",
        "5;a=\"\r\n\"",
        "5;a=\"\n\"",
        "5;a=\"\r\"",
        "5;a\n",
        "5;\n",
        "5;\0",
        "5;a=\0",
        "5;a=\"\0\"",
        "5;a=\"\x7f\"",
        "5;a=\"\u{e9}\"",
        "5;\u{e9}",
        "5 ; a = b ",
        "5\t;\ta",
        "5;a,b",
        "5,a",
        "5:a",
        "5&a",
        "5=a",
        "5#a",
        "5/a",
        "5(a)",
    ] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        cases.push(chunked_case(format!("size {size:?}"), body.as_bytes()));
        // The last chunk's size has the same grammar.
        let last = size.replace('5', "0");
        let body = format!("5\r\nhello\r\n{last}\r\n\r\n");
        cases.push(chunked_case(format!("last size {last:?}"), body.as_bytes()));
    }
    run(&cases, 140);
}

#[test]
fn extensions_of_random_bytes() {
    let mut random = wire::Random::new(7112);
    let mut cases = Vec::new();
    for number in 0..1000 {
        let len = random.below(12);
        let extension: Vec<u8> =
            (0..len).map(|_| *random.pick(b";;;==\"\"\\ \tab1\r\n\0\x7f\x80,:")).collect();
        let body = [&b"5;"[..], &extension, b"\r\nhello\r\n0\r\n\r\n"].concat();
        cases.push(chunked_case(format!("seed 7112, case {number}"), &body));
    }
    run(&cases, 1000);
}

#[test]
fn chunked_bodies_of_random_pieces() {
    let pieces: [&[u8]; 22] = [
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"1\r\na\r\n",
        b"a\r\n",
        b"0",
        b"\r",
        b"\n",
        b"5\r\nhell\r\n",
        b"5\r\nhellox\r\n",
        b";a=b\r\n",
        b"X: b\r\n",
        b"X-A : b\r\n",
        b" \r\n",
        b"00\r\n",
        b"0;a\r\n",
        b"0 \r\n",
        b"5\n",
        b"hello",
        b"0\n\n",
        b"2\r\n\r\n\r\n",
    ];
    let mut random = wire::Random::new(9112);
    let mut cases = Vec::new();
    for number in 0..1500 {
        let body: Vec<u8> = (0..1 + random.below(5)).flat_map(|_| random.pick(&pieces).to_vec()).collect();
        cases.push(chunked_case(format!("seed 9112, case {number}"), &body));
    }
    run(&cases, 1500);
}

#[test]
fn trailers_that_would_change_the_message() {
    let mut cases = Vec::new();
    for trailer in [
        "Content-Length: 5",
        "content-length: 54",
        "CONTENT-LENGTH:0",
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Host: b",
        "HOST: a",
        "Connection: close",
        "connection: keep-alive",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "TE: trailers",
        "Trailer: X",
        "Authorization: Basic YTpi",
        "Content-Length : 5",
        "Content-Length",
        "Content_Length: 5",
        "X-Content-Length: 5",
        "X: Content-Length: 5",
        "Content-Length\t: 5",
        "X: b\r\n Content-Length: 5",
        "X: b\nContent-Length: 5",
        "X: b\rContent-Length: 5",
        "\0Content-Length: 5",
    ] {
        for body in [
            format!("0\r\n{trailer}\r\n\r\n"),
            format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"),
            format!("5\r\nhello\r\n0;a=b\r\nX: c\r\n{trailer}\r\nY: d\r\n\r\n"),
        ] {
            cases.push(chunked_case(format!("trailer {trailer:?}"), body.as_bytes()));
        }
    }
    run(&cases, 72);
}
