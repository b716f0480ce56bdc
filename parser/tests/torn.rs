//! However the bytes arrive, the result is the same: every split point, on every level.

mod support;

use peregrine_parser::{Chunk, ChunkError, ChunkedDecoder, HeadLimits, HeadParser, Simd};
use support::{ACCEPTED, check_against_httparse, parse_prefixes};

/// Heads that are refused, each for a reason of its own.
const REFUSED: [&[u8]; 24] = [
    b"\r\n\r\n",
    b"\rG",
    b"\x16\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"G@T / HTTP/1.1\r\n\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET /# HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / http/1.1\r\n\r\n",
    b"GET / HTTP/1.2\r\n\r\n",
    b"GET / HTTP/1.1\n\r\n",
    b"GET / HTTP/1.1\rx",
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo[st: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\rx\r\n\r\n",
    b"GET / HTTP/1.1\r\n1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n9:\r\n0:\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\n\r\n",
    b"POST / HTTP/1.1\r\nA: b\r\n\r",
];

fn check_splits(bytes: &[u8], start: HeadParser, limits: &HeadLimits) {
    let len = bytes.len();
    let expected = parse_prefixes(Simd::portable(), start, bytes, limits, [len]);
    for simd in Simd::available() {
        let result =
            |lengths: &mut dyn Iterator<Item = usize>| parse_prefixes(simd, start, bytes, limits, lengths);
        assert_eq!(result(&mut [len].into_iter()), expected, "{}", simd.name());
        assert_eq!(result(&mut (0..=len)), expected, "{}, each byte", simd.name());
        for step in 2..=9 {
            let mut lengths = (0..len).step_by(step).chain([len]);
            assert_eq!(result(&mut lengths), expected, "{}, steps of {step}", simd.name());
        }
        for split in 0..len {
            let mut lengths = [split, len].into_iter();
            assert_eq!(result(&mut lengths), expected, "{}, split at {split}", simd.name());
        }
        for split in 0..len.saturating_sub(1) {
            let mut lengths = [split, split, split + 1, len].into_iter();
            assert_eq!(result(&mut lengths), expected, "{}, around {split}", simd.name());
        }
    }
}

#[test]
fn rfc9112_2_every_split_of_accepted_heads() {
    for bytes in ACCEPTED {
        check_splits(bytes, HeadParser::new(), &HeadLimits::default());
        let parsed = support::accept(bytes);
        check_against_httparse(bytes, &parsed);
    }
}

#[test]
fn rfc9112_2_every_split_of_refused_heads() {
    for bytes in REFUSED {
        check_splits(bytes, HeadParser::new(), &HeadLimits::default());
    }
    assert!(REFUSED[..23].iter().all(|bytes| support::parse(bytes).is_err()));
}

#[test]
fn rfc9112_3_every_split_at_every_limit() {
    for bytes in [ACCEPTED[1], ACCEPTED[2], ACCEPTED[3], REFUSED[6], REFUSED[9], REFUSED[18], REFUSED[19]] {
        for max in 0..=bytes.len() as u32 {
            let limits = HeadLimits { max_request_line_bytes: max, ..HeadLimits::default() };
            check_splits(bytes, HeadParser::new(), &limits);
            let limits = HeadLimits { max_fields_bytes: max, ..HeadLimits::default() };
            check_splits(bytes, HeadParser::new(), &limits);
        }
    }
}

#[test]
fn rfc9112_7_1_2_every_split_of_trailers() {
    for bytes in [&b"\r\nGET"[..], b"A: b\r\nC:\td \r\n\r\n", b" A: b\r\n\r\n", b"A: b\r\n", b"\r\r"] {
        check_splits(bytes, HeadParser::trailers(), &HeadLimits::default());
    }
}

/// Decodes the parts of `bytes` between the given offsets: data and consumed bytes, or the error.
fn decode(bytes: &[u8], splits: &[usize]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut data = Vec::new();
    let mut start = 0;
    for &end in splits {
        let part: Box<[u8]> = bytes[start..end].into();
        let mut at = 0;
        loop {
            match decoder.decode(&part[at..])? {
                Chunk::Data { skip, len } => {
                    assert!(len > 0);
                    data.extend_from_slice(&part[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Chunk::Partial { consumed } => {
                    assert_eq!(at + consumed, part.len());
                    break;
                }
                Chunk::Last { consumed } => {
                    assert!(decoder.is_done());
                    assert_eq!(decoder.decode(b"more"), Ok(Chunk::Last { consumed: 0 }));
                    return Ok((data, start + at + consumed, true));
                }
            }
        }
        start = end;
    }
    assert!(!decoder.is_done());
    Ok((data, bytes.len(), false))
}

fn check_chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
    let len = bytes.len();
    let expected = decode(bytes, &[len]);
    let each: Vec<_> = (0..=len).collect();
    assert_eq!(decode(bytes, &each), expected);
    for a in 0..=len {
        assert_eq!(decode(bytes, &[a, len]), expected, "split at {a}");
        for b in a..=len.min(a + 8) {
            assert_eq!(decode(bytes, &[a, b, len]), expected, "split at {a} and {b}");
        }
    }
    expected
}

#[test]
fn rfc9112_7_1_chunks() {
    let complete = |data: &str, consumed| Ok((data.as_bytes().to_vec(), consumed, true));
    assert_eq!(check_chunked(b"5\r\nhello\r\n0\r\n\r\n"), complete("hello", 13));
    assert_eq!(check_chunked(b"1\r\na\r\n00A\r\n0123456789\r\n000\r\nX: y"), complete("a0123456789", 28));
    assert_eq!(check_chunked(b"0\r\n"), complete("", 3));
    assert_eq!(check_chunked(b"0000000000000002\r\nab\r\n0\r\n"), complete("ab", 25));
    assert_eq!(check_chunked(b"ffffffffffffffff\r\nab"), Ok((b"ab".to_vec(), 20, false)));
    assert_eq!(check_chunked(b"2\r\n\r\n\r\n0\r\n"), complete("\r\n", 10));
}

#[test]
fn rfc9112_7_1_chunk_sizes_are_hexadecimal_digits_alone() {
    for bytes in [
        "x", "\r\n", "0x5\r\n", "+5\r\n", "-1\r\n", " 5\r\n", "\t5\r\n", "5_0\r\n", "5,\r\n", "5\0", ";a",
        "5g", "5.\r\n",
    ] {
        assert_eq!(check_chunked(bytes.as_bytes()), Err(ChunkError::InvalidSize), "{bytes:?}");
    }
    assert_eq!(check_chunked(b"00000000000000005\r\n"), Err(ChunkError::SizeOverflow));
    assert_eq!(check_chunked(b"10000000000000000\r\n"), Err(ChunkError::SizeOverflow));
}

#[test]
fn rfc9112_7_1_line_ends_are_crlf() {
    for bytes in ["\n", "5\n", "5;a\n", "5;a=\"\n", "5;\n", "5\r\nhello\n", "0\n"] {
        assert_eq!(check_chunked(bytes.as_bytes()), Err(ChunkError::BareLf), "{bytes:?}");
    }
    for bytes in ["5\rh", "5\r\r\n", "5\r\nhello\r0", "0\rx", "5;a\rb"] {
        assert_eq!(check_chunked(bytes.as_bytes()), Err(ChunkError::BareCr), "{bytes:?}");
    }
    for bytes in ["5\r\nhello0\r\n", "5\r\nhello!\r\n"] {
        assert_eq!(check_chunked(bytes.as_bytes()), Err(ChunkError::MissingDataEnd), "{bytes:?}");
    }
}

#[test]
fn rfc9112_7_1_1_extensions_are_checked_and_dropped() {
    for extension in [
        ";a",
        ";a=b",
        "; a = b",
        " ;\ta;b=c;d",
        ";a=\"\"",
        ";a=\"b;c=d e\"",
        ";a=\"\\\"\\\\\" ;b",
        ";a=\"\t \u{e4}\"",
        ";!#$%&'*+-.^_`|~=1",
    ] {
        let bytes = format!("2{extension}\r\nab\r\n0{extension}\r\n");
        assert_eq!(check_chunked(bytes.as_bytes()), Ok((b"ab".to_vec(), bytes.len(), true)), "{extension:?}");
    }
    for extension in [
        ";",
        "; ",
        " ",
        "\t",
        ";=",
        ";a=",
        ";a= ",
        ";a ",
        ";a=b ",
        ";a=\"b",
        ";a=\"b\" ",
        ";a=\"b\"c",
        ";a=b=c",
        ";a b",
        ";\0",
        ";a\0",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\u{7f}\"",
        ";a=\u{e4}",
        ";(",
        ";;a",
        " x",
        ";a=\"b\r",
    ] {
        let bytes = format!("2{extension}\r\nab\r\n0\r\n");
        assert_eq!(check_chunked(bytes.as_bytes()), Err(ChunkError::InvalidExtension), "{extension:?}");
    }
}

#[test]
fn rfc9112_7_1_1_extensions_of_a_message_are_bounded() {
    let max = peregrine_parser::CHUNK_EXTENSION_BYTES_MAX as usize;
    let line = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    assert!(decode(line(max).as_bytes(), &[line(max).len()]).is_ok());
    let over = line(max + 1);
    assert_eq!(decode(over.as_bytes(), &[over.len()]), Err(ChunkError::ExtensionsTooLarge));
    let many = line(max / 4).repeat(4);
    assert!(decode(many.as_bytes(), &[many.len()]).is_ok());
    let more = [many, line(2)].concat();
    assert_eq!(decode(more.as_bytes(), &[more.len()]), Err(ChunkError::ExtensionsTooLarge));
}
