//! A fuzz target: any bytes as requests, cut in any way, come to the same.
//!
//! Owns the comparison of a machine that is given everything at once with one that is given pieces, and of bodies
//! that are collected with bodies that are streamed. It must not know what is right, only what must agree.

use peregrine_parser::{Field, HeadLimits, Simd};

use super::{BodyLimits, Machine, MachineLimits, Progress};
use crate::proto::Rejection;

const LIMITS: MachineLimits =
    MachineLimits { head: HeadLimits { max_request_line_bytes: 64, max_fields_bytes: 256 }, max_fields: 6 };

const BODY: BodyLimits = BodyLimits { max_bytes: 300, min_rate: None };

/// What came of a connection's bytes: each request, and why it ended if it did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Request>,
    rejection: Option<Rejection>,
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    close: bool,
}

fn pairs(fields: &[Field], bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec())).collect()
}

fn request(machine: &Machine, bytes: &[u8]) -> Request {
    let parts = machine.request(bytes);
    Request {
        path: parts.path.to_vec(),
        fields: pairs(parts.fields, parts.head),
        body: parts.body.to_vec(),
        trailers: pairs(&parts.trailers.fields, &parts.trailers.bytes),
        close: machine.terms().close,
    }
}

/// As a connection does it that collects bodies.
fn collect(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut machine = Machine::new(Simd::detect(), LIMITS);
    let mut have: Vec<u8> = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        let kept = machine.compact(&mut have);
        have.truncate(kept);
        have.extend_from_slice(&bytes[from..to]);
        from = to;
        while !have.is_empty() {
            let progress = match machine.handle_bytes(&mut have) {
                Ok(Progress::Head) => machine.collect(&BODY).map(|()| Progress::Head),
                progress => progress,
            };
            match progress {
                Ok(Progress::Head) => {}
                Ok(Progress::NeedMore) => break,
                Ok(Progress::Complete { consumed }) => {
                    outcome.requests.push(request(&machine, &have[..consumed]));
                    have.drain(..consumed);
                    machine.reset();
                }
                Err(rejection) => {
                    outcome.rejection = Some(rejection);
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// As a connection does it that streams bodies.
fn stream(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut machine = Machine::new(Simd::detect(), LIMITS);
    let mut body = None;
    let mut have: Vec<u8> = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        have.extend_from_slice(&bytes[from..to]);
        from = to;
        while !have.is_empty() {
            let result = match &mut body {
                None => step(&mut machine, &mut body, &mut have, &mut outcome),
                Some((decoder, request)) => decode(decoder, request, &mut have),
            };
            match result {
                Ok(true) => {
                    if let Some((decoder, _)) = &body
                        && decoder.is_done()
                        && let Some((mut decoder, mut request)) = body.take()
                    {
                        let trailers = decoder.take_trailers();
                        request.trailers = pairs(&trailers.fields, &trailers.bytes);
                        outcome.requests.push(request);
                    }
                }
                Ok(false) => break,
                Err(rejection) => {
                    outcome.rejection = Some(rejection);
                    return outcome;
                }
            }
        }
    }
    outcome
}

type Streamed = Option<(super::BodyDecoder, Request)>;

/// Goes on with a head. Returns whether there is anything to go on with.
fn step(
    machine: &mut Machine,
    body: &mut Streamed,
    have: &mut Vec<u8>,
    outcome: &mut Outcome,
) -> Result<bool, Rejection> {
    match machine.handle_bytes(have)? {
        Progress::NeedMore => return Ok(false),
        Progress::Complete { consumed } => {
            outcome.requests.push(request(machine, &have[..consumed]));
            have.drain(..consumed);
        }
        Progress::Head => {
            machine.limit_body(&BODY)?;
            let begun = request(machine, have);
            have.drain(..machine.head_bytes());
            *body = Some((machine.take_body(), begun));
        }
    }
    machine.reset();
    Ok(true)
}

fn decode(
    decoder: &mut super::BodyDecoder,
    request: &mut Request,
    have: &mut Vec<u8>,
) -> Result<bool, Rejection> {
    let decoded = decoder.decode(Simd::detect(), have)?;
    assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= have.len());
    request.body.extend_from_slice(&have[decoded.data]);
    have.drain(..decoded.consumed);
    Ok(true)
}

/// The first bytes choose the cuts, the rest is what a client sends.
///
/// # Panics
/// Two ways to the same requests differ.
pub(crate) fn compare(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let count = usize::from(count % 8);
    if rest.len() < count {
        return;
    }
    let (choices, bytes) = rest.split_at(count);
    let mut cuts: Vec<usize> =
        choices.iter().map(|choice| usize::from(*choice) * (bytes.len() + 1) / 256).collect();
    cuts.sort_unstable();
    let whole = collect(bytes, &[]);
    assert_eq!(collect(bytes, &cuts), whole, "cut at {cuts:?}");
    assert_eq!(stream(bytes, &[]), whole, "streamed");
    assert_eq!(stream(bytes, &cuts), whole, "streamed, cut at {cuts:?}");
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(stream(bytes, &every), whole, "streamed by bytes");
    assert_eq!(collect(bytes, &every), whole, "by bytes");
}
