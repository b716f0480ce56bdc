//! Whole exchanges against hyper: generated requests, valid ones and broken ones, go to a server of each. What both
//! serve they serve alike. What only hyper serves is refused for a reason out of a list; nothing is served by
//! Peregrine only.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peregrine::{App, Request, Response, Server};
use support::wire::{Random, Then, converse, shown};

/// What a peer has understood of a request is the body of its answer: method, target, body.
fn echo(request: &Request, response: &mut Response) {
    let target = without_authority(request.target());
    let head = format!("{} {target}|", request.method_name());
    response.body("", [head.as_bytes(), request.body()].concat());
}

/// Path and query of a target in whatever form.
fn without_authority(target: &str) -> String {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return target.to_owned();
    };
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    }
}

static PEREGRINE: LazyLock<Server> = LazyLock::new(|| {
    let mut app = App::with_options(support::options());
    app.fallback(echo);
    app.start().expect("a server")
});

async fn hyper_echo(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut answer = format!("{} {target}|", parts.method).into_bytes();
    answer.extend_from_slice(&body.collect().await?.to_bytes());
    Ok(hyper::Response::new(Full::new(answer.into())))
}

/// hyper's server, on a thread of its own. It ends with the process.
static HYPER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("somebody waits");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(async move {
                    // With the half-close of the client hyper would drop requests that it has received.
                    let served = http1::Builder::new()
                        .half_close(true)
                        .serve_connection(TokioIo::new(stream), service_fn(hyper_echo));
                    // How a connection ends is seen by the client.
                    let _ = served.await;
                });
            }
        });
    });
    told.recv().expect("an address")
});

/// What a peer made of some bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Made {
    /// The bodies of the answers that are 200.
    served: Vec<String>,
    /// The status of the answer that is not, which is the last one.
    refused: Option<u16>,
}

/// Reads answers framed by `Content-Length`, but interim ones, which are left out.
fn read_answers(mut bytes: &[u8]) -> Result<Made, String> {
    let mut made = Made::default();
    while !bytes.is_empty() {
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("a head without an end")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        bytes = &bytes[end..];
        if status < 200 {
            continue;
        }
        if made.refused.is_some() {
            return Err("an answer behind a refusal".to_owned());
        }
        let length = head.split_once("\r\ncontent-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let (body, rest) = bytes.split_at_checked(length).ok_or("a body without an end")?;
        match status {
            200 => made.served.push(String::from_utf8_lossy(body).into_owned()),
            _ => made.refused = Some(status),
        }
        bytes = rest;
    }
    Ok(made)
}

/// What the server at an address makes of bytes behind which the client shuts its side down.
fn make(address: SocketAddr, bytes: &[u8]) -> Result<Made, String> {
    let received = match converse(address, &[bytes], Then::Finish) {
        Ok(received) => received,
        // hyper resets when bytes are left over that it has not read; what came before counts.
        Err((problem, received)) if address == *HYPER && problem.contains("reset") => received,
        Err((problem, _)) => return Err(problem),
    };
    read_answers(&received).map_err(|problem| format!("{problem}: {:?}", String::from_utf8_lossy(&received)))
}

// Reasons to differ.

/// A reason, the status of the refusal, and what shows that the reason applies.
type Reason = (&'static str, u16, fn(&Sent) -> bool);

/// Why Peregrine refuses what hyper serves. Each is needed by the corpus. For what Peregrine serves and hyper
/// refuses there is no reason: it does not happen.
const STRICTER: [Reason; 21] = [
    ("LF alone ends no line: RFC 9112 section 2.2 lets it, but two hops may disagree", 400, |sent| {
        let bare = |(at, &byte)| byte == b'\n' && (at == 0 || sent.bytes[at - 1] != b'\r');
        sent.bytes.iter().enumerate().any(bare)
    }),
    ("one empty line may precede a request, no more", 400, |sent| sent.text.contains("\r\n\r\n\r\n")),
    ("both framings at once: RFC 9112 section 6.1 lets it be refused", 400, |sent| {
        sent.has("content-length") && sent.has("transfer-encoding")
    }),
    ("Content-Length is there once, and no list, even if all are equal", 400, |sent| {
        sent.values("content-length").len() > 1 || sent.any("content-length", |value| value.contains(','))
    }),
    ("Content-Length has no leading zeros", 400, |sent| {
        sent.any("content-length", |value| value.len() > 1 && value.starts_with('0'))
    }),
    ("codings before chunked are not implemented", 501, |sent| {
        let coding = |value: &str| !value.eq_ignore_ascii_case("chunked");
        sent.any("transfer-encoding", coding)
    }),
    ("the codings are a list of tokens, and the last one is chunked", 400, |sent| {
        sent.any("transfer-encoding", |value| !value.eq_ignore_ascii_case("chunked"))
    }),
    ("chunked is applied once", 400, |sent| sent.values("transfer-encoding").len() > 1),
    ("HTTP/1.1 needs Host: RFC 9112 section 3.2", 400, |sent| !sent.each_has("host")),
    ("Host is there once: RFC 9112 section 3.2", 400, |sent| sent.repeats("host")),
    ("Host is a host and a port: RFC 9112 section 3.2", 400, |sent| {
        sent.any("host", |value| {
            let (host, port) = value.split_once(':').unwrap_or((value, ""));
            let fine = |char: char| char.is_ascii_alphanumeric() || "-._~!$&'()*+;=".contains(char);
            host.is_empty() || !host.chars().all(fine) || !port.chars().all(|char| char.is_ascii_digit())
        })
    }),
    ("Host is the target's host", 400, |sent| {
        let authority = |target: &&str| {
            let rest = target.split_once("://").map_or("", |(_, rest)| rest);
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            !authority.is_empty() && sent.any("host", |host| !host.eq_ignore_ascii_case(authority))
        };
        sent.targets().iter().any(authority)
    }),
    ("a scheme is http or https", 400, |sent| {
        let scheme = |target: &&str| target.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        sent.targets().iter().filter_map(scheme).any(|scheme| scheme != "http" && scheme != "https")
    }),
    ("a target has no quotes: RFC 3986 section 2", 400, |sent| {
        sent.targets().iter().any(|target| target.contains('"'))
    }),
    ("the only expectation is 100-continue: RFC 9110 section 10.1.1", 417, |sent| {
        sent.any("expect", |value| !value.eq_ignore_ascii_case("100-continue"))
    }),
    ("a target has no fragment", 400, |sent| sent.targets().iter().any(|target| target.contains('#'))),
    ("percent-encoding in a path is whole, and UTF-8", 400, |sent| {
        sent.targets().iter().any(|target| target.contains('%'))
    }),
    ("a target has one of four forms: RFC 9112 section 3.2", 400, |sent| {
        sent.targets().iter().any(|target| !target.starts_with('/') && !target.contains("://"))
    }),
    ("Connection is a list of tokens: RFC 9110 section 7.6.1", 400, |sent| {
        let token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
        sent.any("connection", |value| !value.split(',').all(|option| option.trim().chars().all(token)))
    }),
    ("a trailer does not frame, route or modify: RFC 9110 section 6.5.1", 400, |sent| {
        let trailers =
            sent.text.split("\r\n0\r\n").skip(1).map(|rest| rest.split("\r\n\r\n").next().unwrap_or(rest));
        let forbidden = ["content-length", "transfer-encoding", "host", "connection", "expect"];
        trailers
            .map(|section| Sent::new(section.as_bytes()))
            .any(|section| forbidden.iter().any(|name| section.has(name)))
    }),
    ("extensions of chunks follow their grammar: RFC 9112 section 7.1.1", 400, |sent| {
        // A size line with something behind the size that is not simply an extension.
        let plain = |rest: &str| ["", ";a", ";a=b", ";a=\"b\""].contains(&rest);
        let odd = |line: &str| {
            let size = line.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(line.len());
            size > 0 && line[size..].starts_with([';', ' ', '\t']) && !plain(&line[size..])
        };
        sent.has("transfer-encoding") && sent.text.split("\r\n").any(odd)
    }),
];

/// Bytes that were sent, for the reasons.
struct Sent<'a> {
    bytes: &'a [u8],
    text: String,
}

impl<'a> Sent<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: String::from_utf8_lossy(bytes).into_owned() }
    }

    /// All lines that look like fields with this name, in whatever request or body.
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.text.split(['\r', '\n']);
        lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches([' ', '\t']))
            .collect()
    }

    fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    fn any(&self, name: &str, matches: impl Fn(&str) -> bool) -> bool {
        self.values(name).into_iter().any(matches)
    }

    fn heads(&self) -> impl Iterator<Item = &str> {
        self.text.split("\r\n\r\n").filter(|head| head.contains(" HTTP/1."))
    }

    fn each_has(&self, name: &str) -> bool {
        self.heads().all(|head| Sent::new(head.as_bytes()).has(name))
    }

    fn repeats(&self, name: &str) -> bool {
        self.heads().any(|head| Sent::new(head.as_bytes()).values(name).len() > 1)
    }

    fn targets(&self) -> Vec<&str> {
        let lines = self.text.split(['\r', '\n']).filter(|line| line.contains(" HTTP/1."));
        lines.map(|line| line.split(' ').nth(1).unwrap_or_default()).collect()
    }
}

/// Whether the answers agree, or which reason explains that they do not; an error if none does.
fn judge(bytes: &[u8], ours: &Made, theirs: &Made) -> Result<Option<&'static str>, String> {
    if ours.served == theirs.served {
        // Behind what both serve is a refusal, or silence about a torn request.
        return Ok(None);
    }
    if ours.served.starts_with(&theirs.served) {
        return Err("only Peregrine serves".to_owned());
    }
    if !theirs.served.starts_with(&ours.served) {
        return Err("both serve, and differ".to_owned());
    }
    let sent = Sent::new(bytes);
    let explains = |&&(_, status, applies): &&Reason| ours.refused == Some(status) && applies(&sent);
    match STRICTER.iter().find(explains) {
        Some((reason, _, _)) => Ok(Some(reason)),
        None => Err("only hyper serves, without a reason".to_owned()),
    }
}

// The corpus.

/// A valid request: what both must serve.
fn valid(random: &mut Random) -> Vec<u8> {
    let method = *random.pick(&["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X-Y.z"]);
    let target = match random.below(6) {
        0 => "/".to_owned(),
        1 => format!("/{}?{}", word(random), word(random)),
        2 => format!("/{}/{}", word(random), word(random)),
        3 => format!("/?a={}&b", word(random)),
        4 => format!("http://a/{}", word(random)),
        _ => format!("/{}", word(random)),
    };
    let mut request = format!("{method} {target} HTTP/1.1\r\n");
    let mut fields = vec![random.pick(&["Host: a\r\n", "host:a\r\n", "HOST: \ta \r\n"]).to_string()];
    for _ in 0..random.below(5) {
        let value = word(random);
        fields.push(format!("X-{}:{}{value}\r\n", word(random), random.pick(&["", " ", "\t ", "  "])));
    }
    if random.below(8) == 0 {
        fields.push("Connection: keep-alive\r\n".to_owned());
    }
    let body = match random.below(3) {
        0 => String::new(),
        1 => {
            let body = word(random).repeat(random.below(5));
            fields.push(format!("Content-Length: {}\r\n", body.len()));
            body
        }
        _ => {
            fields.push(
                random.pick(&["Transfer-Encoding: chunked\r\n", "transfer-encoding:Chunked\r\n"]).to_string(),
            );
            let mut body = String::new();
            for _ in 0..random.below(4) {
                let data = word(random);
                let extension = *random.pick(&["", "", ";a", ";a=b", ";a=\"b\""]);
                body.push_str(&format!("{:x}{extension}\r\n{data}\r\n", data.len()));
            }
            body.push_str("0\r\n");
            if random.below(3) == 0 {
                body.push_str(&format!("X-{}: {}\r\n", word(random), word(random)));
            }
            body.push_str("\r\n");
            body
        }
    };
    // The order of fields means nothing.
    let turn = random.below(fields.len());
    fields.rotate_left(turn);
    request.push_str(&fields.concat());
    request.push_str("\r\n");
    request.push_str(&body);
    request.into_bytes()
}

fn word(random: &mut Random) -> String {
    let len = 1 + random.below(12);
    (0..len).map(|_| char::from(*random.pick(b"abcdefghijklmnopqrstuvwxyz0123456789-._~"))).collect()
}

/// A piece of a request that parsers disagree about, for a place of the same kind.
fn twist(request: &mut Vec<u8>, random: &mut Random) {
    const ODD: &[u8] = b"\r\n \t\0\x0b\x0c\x7f\x80\xff:;,=\"\\#%?/*+-0159aAzZ_()<>[]{}";
    const LINES: [&str; 24] = [
        "Content-Length: 0\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 03\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Host: b\r\n",
        "Host: a b\r\n",
        "Expect: 100-continue\r\n",
        "Expect: tea\r\n",
        "Connection: close\r\n",
        "Connection: a b\r\n",
        " folded\r\n",
        "X : a\r\n",
    ];
    let at = random.below(request.len());
    match random.below(5) {
        0 => request.insert(at, *random.pick(ODD)),
        1 => request[at] = *random.pick(ODD),
        2 => {
            request.remove(at);
        }
        3 => {
            // A line in front of another one.
            let lines: Vec<usize> = request
                .windows(2)
                .enumerate()
                .filter(|(_, two)| two == b"\r\n")
                .map(|(at, _)| at + 2)
                .collect();
            if !lines.is_empty() {
                let at = *random.pick(&lines);
                request.splice(at..at, random.pick(&LINES).bytes());
            }
        }
        _ => {
            let ends: Vec<usize> =
                request.windows(2).enumerate().filter(|(_, two)| two == b"\r\n").map(|(at, _)| at).collect();
            if !ends.is_empty() {
                let at = *random.pick(&ends);
                request.splice(
                    at..at + 2,
                    random.pick(&["\n", "\r", "\r\r\n", "\r\n\r\n", " \r\n", "\r\n ", "\0\r\n"]).bytes(),
                );
            }
        }
    }
}

/// Sends all to both and judges; returns how often each reason was needed.
#[track_caller]
fn compare(corpus: &[Vec<u8>]) -> (usize, Vec<(&'static str, usize)>) {
    const THREADS: usize = 4;
    let results = Mutex::new((0, Vec::<(&'static str, usize)>::new(), Vec::new()));
    thread::scope(|scope| {
        for part in corpus.chunks(corpus.len().div_ceil(THREADS)) {
            let results = &results;
            scope.spawn(move || {
                for bytes in part {
                    let outcome = make(PEREGRINE.addresses()[0], bytes).and_then(|ours| {
                        let theirs = make(*HYPER, bytes)?;
                        judge(bytes, &ours, &theirs)
                            .map(|reason| (reason, ours.served.len()))
                            .map_err(|problem| format!("{problem}: ours {ours:?}, theirs {theirs:?}"))
                    });
                    let (served, reasons, failures) = &mut *results.lock().expect("no panic");
                    match outcome {
                        Ok((reason, count)) => {
                            *served += count;
                            if let Some(reason) = reason {
                                match reasons.iter_mut().find(|(known, _)| *known == reason) {
                                    Some((_, times)) => *times += 1,
                                    None => reasons.push((reason, 1)),
                                }
                            }
                        }
                        Err(problem) => failures.push(format!("{problem}\n  sent {:?}", shown(bytes))),
                    }
                }
            });
        }
    });
    let (served, reasons, failures) = results.into_inner().expect("no panic");
    let some = &failures[..failures.len().min(10)];
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), corpus.len(), some.join("\n"));
    (served, reasons)
}

#[test]
fn valid_requests_are_served_alike() {
    let mut random = Random::new(10);
    let corpus: Vec<Vec<u8>> = (0..1500).map(|_| valid(&mut random)).collect();
    let (served, reasons) = compare(&corpus);
    assert_eq!(served, corpus.len(), "each is served once");
    assert_eq!(reasons, [], "nothing to explain");
}

#[test]
fn last_requests_are_served_alike() {
    let mut random = Random::new(14);
    let mut corpus = Vec::new();
    while corpus.len() < 500 {
        let request = String::from_utf8(valid(&mut random)).expect("text");
        let lower = request.to_ascii_lowercase();
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        if corpus.len() % 2 == 0 {
            corpus.push((request.replacen("\r\n", "\r\nConnection: close\r\n", 1) + next).into_bytes());
        } else if lower.contains("content-length: ") && !lower.contains("keep-alive") {
            corpus.push((request.replacen("HTTP/1.1", "HTTP/1.0", 1) + next).into_bytes());
        }
    }
    let (served, reasons) = compare(&corpus);
    assert_eq!(served, corpus.len(), "each is served, and nothing behind it");
    assert_eq!(reasons, [], "nothing to explain");
}

#[test]
fn valid_pipelines_are_served_alike() {
    let mut random = Random::new(11);
    let corpus: Vec<Vec<u8>> =
        (0..300).map(|count| (0..1 + count % 20).flat_map(|_| valid(&mut random)).collect()).collect();
    let (served, reasons) = compare(&corpus);
    assert_eq!(served, (0..300).map(|count| 1 + count % 20).sum::<usize>());
    assert_eq!(reasons, [], "nothing to explain");
}

#[test]
fn broken_requests_are_served_by_both_or_for_a_reason() {
    let mut random = Random::new(12);
    let corpus: Vec<Vec<u8>> = (0..8000)
        .map(|_| {
            let mut request = valid(&mut random);
            for _ in 0..1 + random.below(2) {
                twist(&mut request, &mut random);
            }
            request
        })
        .collect();
    let (served, reasons) = compare(&corpus);
    assert!(served > 500, "only {served} were served: too broken to tell much");
    let needed = |reason: &&str| reasons.iter().any(|(needed, _)| needed == reason);
    let idle: Vec<&str> =
        STRICTER.iter().map(|(reason, _, _)| *reason).filter(|reason| !needed(reason)).collect();
    assert!(idle.is_empty(), "reasons that nothing needs: {idle:?}");
}

#[test]
fn broken_requests_leave_the_next_one_alone_or_end_the_connection() {
    let mut random = Random::new(13);
    let corpus: Vec<Vec<u8>> = (0..3000)
        .map(|_| {
            let mut request = valid(&mut random);
            twist(&mut request, &mut random);
            request.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
            request
        })
        .collect();
    let (served, _) = compare(&corpus);
    assert!(served > 500, "only {served} were served: too broken to tell much");
}
