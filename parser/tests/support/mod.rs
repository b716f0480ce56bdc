//! What the test files share: parsing in one call or in many, into values that compare.

#![allow(dead_code, reason = "no test file uses all of it")]

use peregrine_parser::{
    Field, FieldName, HeadError, HeadLimits, HeadParser, Method, RequestHead, Simd, Status,
};

/// A parsed head with its table.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Parsed {
    pub(crate) head: RequestHead,
    pub(crate) fields: Vec<Field>,
}

impl Parsed {
    pub(crate) fn pairs<'a>(&self, bytes: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
        self.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes))).collect()
    }
}

/// Complete, partial, or refused.
pub(crate) type Outcome = Result<Option<Parsed>, HeadError>;

pub(crate) const TABLE: usize = 16;

/// Parses the prefixes of `bytes` with the given lengths one after the other, each in its own allocation,
/// until one does not answer partial.
pub(crate) fn parse_prefixes(
    simd: Simd,
    start: HeadParser,
    bytes: &[u8],
    limits: &HeadLimits,
    lengths: impl IntoIterator<Item = usize>,
) -> Outcome {
    let mut parser = start;
    let mut fields = [Field::default(); TABLE];
    for len in lengths {
        let moved: Box<[u8]> = bytes[..len].into();
        match parser.parse(simd, &moved, &mut fields, limits) {
            Err(error) => return Err(error),
            Ok(Status::Partial) => assert!(parser.head().len == 0),
            Ok(Status::Complete(())) => {
                let again = parser.parse(simd, &moved, &mut fields, limits);
                assert_eq!(again, Ok(Status::Complete(())), "complete stays complete");
                let head = *parser.head();
                let fields = fields[..usize::from(head.field_count)].to_vec();
                check_spans(&head, &fields, len);
                return Ok(Some(Parsed { head, fields }));
            }
        }
    }
    Ok(None)
}

fn check_spans(head: &RequestHead, fields: &[Field], len: usize) {
    assert!(head.len as usize <= len);
    for span in
        fields.iter().flat_map(|field| [field.name, field.value]).chain([head.method_span, head.target])
    {
        assert!(span.end() <= head.len);
    }
    for id in FieldName::all() {
        let indices: Vec<_> = (0..fields.len()).filter(|&i| fields[i].id == id).collect();
        if (id as u8) <= FieldName::Upgrade as u8 {
            assert_eq!(head.known.first(id), indices.first().copied());
            assert_eq!(head.known.is_repeated(id), indices.len() > 1);
        } else {
            assert_eq!(head.known.first(id), None);
            assert!(!head.known.is_repeated(id));
        }
    }
}

/// Parses `bytes` in one call.
pub(crate) fn parse_with(simd: Simd, bytes: &[u8], limits: &HeadLimits) -> Outcome {
    parse_prefixes(simd, HeadParser::new(), bytes, limits, [bytes.len()])
}

/// Parses `bytes` in one call, on the best level, within the default limits.
pub(crate) fn parse(bytes: &[u8]) -> Outcome {
    parse_with(Simd::detect(), bytes, &HeadLimits::default())
}

/// The error that `bytes` are refused with.
pub(crate) fn refusal(bytes: &[u8]) -> HeadError {
    match parse(bytes) {
        Err(error) => error,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

/// The head of `bytes`, which must be complete.
pub(crate) fn accept(bytes: &[u8]) -> Parsed {
    match parse(bytes) {
        Ok(Some(parsed)) => parsed,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

/// A complete outcome must be what httparse makes of the same bytes.
pub(crate) fn check_against_httparse(bytes: &[u8], parsed: &Parsed) {
    let mut headers = [httparse::EMPTY_HEADER; TABLE];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(bytes).expect("accepted here, refused there");
    assert_eq!(status, httparse::Status::Complete(parsed.head.len as usize));
    let head = &parsed.head;
    assert_eq!(request.method.map(str::as_bytes), Some(head.method_span.of(bytes)));
    assert_eq!(head.method, Method::from_bytes(head.method_span.of(bytes)));
    assert_eq!(request.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(request.version, Some(head.version as u8));
    let theirs: Vec<_> =
        request.headers.iter().map(|header| (header.name.as_bytes(), header.value)).collect();
    assert_eq!(parsed.pairs(bytes), theirs);
    for field in &parsed.fields {
        let name = field.name.of(bytes);
        let known = FieldName::all().find(|id| name.eq_ignore_ascii_case(id.as_str().as_bytes()));
        assert_eq!(field.id, known.unwrap_or_default());
    }
}

/// Requests that are accepted, long and short tokens among them.
pub(crate) const ACCEPTED: [&[u8]; 9] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /plaintext HTTP/1.1\r\nHost: server\r\n\r\nGET /",
    b"\r\nPOST /a?b=c HTTP/1.0\r\nContent-Length: 3\r\nContent-Type:text/plain\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost:\r\nX: \t a \t b\t \r\nY:\t \t\r\n\r\n",
    b"PROPFIND http://example.com/a HTTP/1.1\r\nHost: example.com\r\nDepth: 1\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHOST: example.com:443\r\nhost: again\r\n\r\n",
    b"GET /a-target-that-is-longer-than-one-vector-of-any-level/abcdefghijklmnopqrstuvwxyz HTTP/1.1\r\n\
      a-field-name-that-is-longer-than-one-vector-of-any-level: and a value that is longer than one, too\r\n\
      Transfer-Encoding: chunked\r\nexpect: 100-continue\r\nConnection: close\r\nConnection: upgrade\r\n\r\n",
    b"!#$%&'*+-.^_`|~ /|{}^`\\[]'%zz HTTP/1.1\r\n!#$%&'*+-.^_`|~: \x80\xff\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
];
