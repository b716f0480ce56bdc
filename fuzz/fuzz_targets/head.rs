//! Any bytes as a head: the levels agree, the cut changes nothing, httparse agrees with what is accepted,
//! and everything that is asked of an accepted head answers without a panic.
//!
//! The first three bytes choose limits and cuts, the rest is the message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine_parser::{
    Field, FieldName, HeadError, HeadLimits, HeadParser, RequestHead, Simd, Status, check_host,
    connection_options, expectation, parse_target, request_body,
};

type Outcome = Result<Option<(RequestHead, Vec<Field>)>, HeadError>;

const TABLE: usize = 8;

fn parse(
    simd: Simd,
    start: HeadParser,
    bytes: &[u8],
    limits: &HeadLimits,
    lengths: impl Iterator<Item = usize>,
) -> Outcome {
    let mut parser = start;
    let mut fields = [Field::default(); TABLE];
    for len in lengths {
        let moved: Box<[u8]> = bytes[..len].into();
        if parser.parse(simd, &moved, &mut fields, limits)? == Status::Complete(()) {
            let head = *parser.head();
            return Ok(Some((head, fields[..usize::from(head.field_count)].to_vec())));
        }
    }
    Ok(None)
}

fn check_against_httparse(bytes: &[u8], head: &RequestHead, fields: &[Field]) {
    let mut headers = [httparse::EMPTY_HEADER; TABLE];
    let mut request = httparse::Request::new(&mut headers);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(head.len as usize)));
    assert_eq!(request.method.map(str::as_bytes), Some(head.method_span.of(bytes)));
    assert_eq!(request.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(request.version, Some(head.version as u8));
    assert_eq!(request.headers.len(), fields.len());
    for (header, field) in request.headers.iter().zip(fields) {
        assert_eq!(header.name.as_bytes(), field.name.of(bytes));
        assert_eq!(header.value, field.value.of(bytes));
        let known = FieldName::all().find(|id| header.name.eq_ignore_ascii_case(id.as_str()));
        assert_eq!(field.id, known.unwrap_or_default());
    }
}

fn ask_everything(bytes: &[u8], head: &RequestHead, fields: &[Field]) {
    let _ = request_body(head, fields, bytes);
    let _ = connection_options(head, fields, bytes);
    let _ = expectation(head, fields, bytes);
    if let Ok(target) = parse_target(head.method, head.target.of(bytes)) {
        let _ = check_host(head, fields, bytes, &target);
    }
    for id in FieldName::all() {
        let values = head.values(id, fields, bytes).count();
        assert_eq!(values, fields.iter().filter(|field| field.id == id).count());
    }
}

fuzz_target!(|data: &[u8]| {
    let [limit, cut, step, bytes @ ..] = data else { return };
    let limits = match limit {
        0..=127 => HeadLimits::default(),
        _ => HeadLimits {
            max_request_line_bytes: u32::from(limit % 64),
            max_fields_bytes: u32::from(limit % 64) * 2,
        },
    };
    let start = if limit % 8 == 7 { HeadParser::trailers() } else { HeadParser::new() };
    let len = bytes.len();
    let expected = parse(Simd::portable(), start, bytes, &limits, [len].into_iter());
    for simd in Simd::available() {
        assert_eq!(parse(simd, start, bytes, &limits, [len].into_iter()), expected, "{}", simd.name());
        let cut = usize::from(*cut).min(len);
        assert_eq!(parse(simd, start, bytes, &limits, [cut, len].into_iter()), expected, "{}", simd.name());
        let steps = (0..len).step_by(usize::from(*step % 16) + 1).chain([len]);
        assert_eq!(parse(simd, start, bytes, &limits, steps), expected, "{}", simd.name());
    }
    if let Ok(Some((head, fields))) = expected {
        if limit % 8 != 7 {
            check_against_httparse(bytes, &head, &fields);
        }
        ask_everything(bytes, &head, &fields);
    }
});
