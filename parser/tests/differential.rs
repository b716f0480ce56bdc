//! Generated requests: what is accepted here is accepted by httparse with the same parts, what only httparse
//! accepts is refused for a reason out of a list, and the way the bytes arrive changes nothing. Chunked bodies against an encoder and a decoder that are too simple to be
//! wrong.

mod support;

use peregrine_parser::{
    Chunk, ChunkedDecoder, HeadError, HeadLimits, HeadParser, Plus, Simd, normalize_path,
    path_needs_normalizing, percent_decode,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Outcome, check_against_httparse, parse_prefixes, parse_with};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes that mean something to the grammar more often than not.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => proptest::sample::select(b"aAzZ09-_/?:;,.=%".to_vec()),
        2 => proptest::sample::select(b"\r\n \t\0#\"<>\x7f\x80\xff\x1f\x0b".to_vec()),
        1 => any::<u8>(),
    ]
}

fn good(set: &'static [u8], len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(set.to_vec()), len)
}

/// A request that is well-formed but for what `byte` puts in.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        24 => proptest::sample::select(vec![&b"GET"[..], b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"HEAD", b"PURGE"])
            .prop_map(<[u8]>::to_vec),
        1 => vec(byte(), 0..6),
    ];
    let target = prop_oneof![
        16 => good(b"/abcdefghijklmnop?=&%.~|{}", 1..80),
        8 => good(b"/:@!$'()*+,;[]-_0123456789ABCXYZ", 1..80),
        4 => proptest::sample::select(vec![
            &b"*"[..], b"example.com:443", b"http://a", b"HTTPS://[::1]:8443/b?c", b"/%2e%2E/%41%zz%", b"/a?b#c", b"?", b"//",
        ])
        .prop_map(<[u8]>::to_vec),
        1 => vec(byte(), 0..40),
    ];
    let version = prop_oneof![
        32 => proptest::sample::select(vec![&b"HTTP/1.1"[..], b"HTTP/1.0"]).prop_map(<[u8]>::to_vec),
        1 => proptest::sample::select(vec![&b"HTTP/2.0"[..], b"http/1.1", b"HTTP/1.", b""]).prop_map(<[u8]>::to_vec),
    ];
    let name = prop_oneof![
        16 => proptest::sample::select(vec![
            &b"Host"[..], b"connection", b"Content-Length", b"transfer-encoding", b"EXPECT", b"Upgrade", b"Cookie",
        ])
        .prop_map(<[u8]>::to_vec),
        16 => good(b"abcXYZ019-_!#$%&'*+.^`|~", 1..50),
        2 => good(b"defghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW2345678", 1..50),
        1 => vec(byte(), 0..6),
    ];
    let value = prop_oneof![
        16 => good(b"abc XYZ\t019;,=\"()/\x80\xff", 0..90),
        8 => good(b"!#$%&'*+-.:<>?@[\\]^_`{|}~\xa0\xbf\xc3\xfe", 0..90),
        1 => vec(byte(), 0..40),
    ];
    let end = prop_oneof![80 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\r\n "[..])];
    let colon = prop_oneof![40 => Just(&b": "[..]), 20 => Just(&b":"[..]), 1 => Just(&b" :"[..]), 1 => Just(&b":\t "[..])];
    let field = (name, colon, value, end.clone())
        .prop_map(|(name, colon, value, end)| [&name[..], colon, &value[..], end].concat());
    let lead = prop_oneof![40 => Just(&b""[..]), 2 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..])];
    let last = prop_oneof![40 => Just(&b"\r\n"[..]), 1 => Just(&b""[..]), 1 => Just(&b"\n"[..])];
    (lead, method, target, version, end, vec(field, 0..8), last, vec(byte(), 0..10)).prop_map(
        |(lead, method, target, version, end, fields, last, rest)| {
            let fields = fields.concat();
            [lead, &method, b" ", &target, b" ", &version, end, &fields, last, &rest].concat()
        },
    )
}

/// Why something is refused here that httparse accepts.
const STRICTER: [HeadError; 3] = [
    // It ends a line there.
    HeadError::BareLf,
    // Any number of them are skipped there.
    HeadError::ExtraEmptyLine,
    // All bytes but controls are taken there.
    HeadError::InvalidTarget,
];

fn one_shot(bytes: &[u8]) -> Result<Outcome, TestCaseError> {
    let limits = HeadLimits::default();
    let expected = parse_with(Simd::portable(), bytes, &limits);
    for simd in Simd::available().skip(1) {
        prop_assert_eq!(&parse_with(simd, bytes, &limits), &expected, "{}", simd.name());
    }
    Ok(expected)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rfc9112_what_is_accepted_httparse_accepts_with_the_same_parts(bytes in request()) {
        if let Ok(Some(parsed)) = one_shot(&bytes)? {
            check_against_httparse(&bytes, &parsed);
        }
    }

    #[test]
    fn rfc9112_what_only_httparse_accepts_is_refused_for_a_reason(bytes in request()) {
        let mut headers = [httparse::EMPTY_HEADER; support::TABLE];
        let mut theirs = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(_)) = theirs.parse(&bytes)
            && let Err(error) = one_shot(&bytes)?
        {
            prop_assert!(STRICTER.contains(&error), "{}", error);
        }
    }

    #[test]
    fn rfc9112_the_cut_changes_nothing(bytes in request(), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
        let expected = one_shot(&bytes)?;
        let mut lengths: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        for simd in Simd::available() {
            let torn = parse_prefixes(simd, HeadParser::new(), &bytes, &HeadLimits::default(), lengths.clone());
            prop_assert_eq!(&torn, &expected, "{}", simd.name());
        }
    }

    #[test]
    fn no_bytes_break_the_parser(bytes in vec(byte(), 0..200)) {
        one_shot(&bytes)?.ok();
    }

    #[test]
    fn rfc9112_7_1_what_was_chunked_comes_out_again(
        chunks in vec((vec(any::<u8>(), 1..40), "(;[a-z]{1,5}(=[a-z]{1,5}|=\"[a-z \\t;=]{0,5}\")?){0,2}"), 0..6),
        rest in vec(any::<u8>(), 0..10),
        step in 1..20usize,
    ) {
        let mut bytes = Vec::new();
        for (data, extension) in &chunks {
            bytes.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
            bytes.extend_from_slice(data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        let framed = bytes.len();
        bytes.extend_from_slice(&rest);

        let mut decoder = ChunkedDecoder::new();
        let (mut data, mut at) = (Vec::new(), 0);
        loop {
            let part = &bytes[at..bytes.len().min(at + step)];
            match decoder.decode(part).unwrap() {
                Chunk::Data { skip, len } => {
                    data.extend_from_slice(&part[skip..skip + len]);
                    at += skip + len;
                }
                Chunk::Partial { consumed } => at += consumed,
                Chunk::Last { consumed } => {
                    at += consumed;
                    break;
                }
            }
        }
        prop_assert_eq!(at, framed);
        prop_assert_eq!(data, chunks.into_iter().flat_map(|(data, _)| data).collect::<Vec<_>>());
    }

    #[test]
    fn rfc9112_7_1_the_cut_of_a_body_changes_nothing(
        bytes in vec(proptest::sample::select(b"0012aF;= \"\\\r\n\r\n\tx\0".to_vec()), 0..60),
        step in 1..10usize,
    ) {
        let decode = |step: usize| {
            let mut decoder = ChunkedDecoder::new();
            let (mut data, mut at) = (Vec::new(), 0);
            while at < bytes.len() {
                let part = &bytes[at..bytes.len().min(at + step)];
                match decoder.decode(part)? {
                    Chunk::Data { skip, len } => {
                        data.extend_from_slice(&part[skip..skip + len]);
                        at += skip + len;
                    }
                    Chunk::Partial { consumed } => at += consumed,
                    Chunk::Last { consumed } => return Ok((data, at + consumed)),
                }
            }
            Ok::<_, peregrine_parser::ChunkError>((data, at))
        };
        prop_assert_eq!(decode(step), decode(usize::MAX >> 1));
    }

    #[test]
    fn rfc3986_a_normal_path_stays_normal(segments in vec("[.a%]{0,3}|%2[eEfF5]|[a-z]{1,9}", 0..6)) {
        let path = format!("/{}", segments.join("/"));
        let mut out = [0xee; 80];
        if let Ok(len) = normalize_path(path.as_bytes(), &mut out) {
            let normal = out[..len].to_vec();
            prop_assert_eq!(normal[0], b'/');
            prop_assert!(!normal.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b".."));
            if !path_needs_normalizing(path.as_bytes()) {
                prop_assert_eq!(normal, path.as_bytes());
            }
        } else {
            prop_assert!(path_needs_normalizing(path.as_bytes()));
        }
    }

    #[test]
    fn rfc3986_what_was_encoded_comes_out_again(bytes in vec(any::<u8>(), 0..40)) {
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let mut out = [0; 120];
        prop_assert_eq!(percent_decode(encoded.as_bytes(), &mut out, Plus::Space), Ok(bytes.len()));
        prop_assert_eq!(&out[..bytes.len()], &bytes[..]);
    }
}
