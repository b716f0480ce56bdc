//! Every byte value at every position of whole heads: the levels agree, and httparse agrees with what is
//! accepted.

mod support;

use peregrine_parser::{HeadLimits, HeadParser, Simd, normalize_path, parse_authority, parse_target};
use support::{ACCEPTED, check_against_httparse, parse_prefixes, parse_with};

#[test]
fn rfc9112_every_byte_at_every_position() {
    let limits = HeadLimits::default();
    for original in ACCEPTED {
        let mut bytes = original.to_vec();
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                bytes[at] = byte;
                let expected = parse_with(Simd::portable(), &bytes, &limits);
                for simd in Simd::available().skip(1) {
                    assert_eq!(
                        parse_with(simd, &bytes, &limits),
                        expected,
                        "{} {byte:#x} at {at}",
                        simd.name()
                    );
                }
                let torn =
                    parse_prefixes(Simd::detect(), HeadParser::new(), &bytes, &limits, [at, bytes.len()]);
                assert_eq!(torn, expected, "torn, {byte:#x} at {at}");
                if let Ok(Some(parsed)) = &expected {
                    check_against_httparse(&bytes, parsed);
                }
            }
            bytes[at] = original[at];
        }
    }
}

#[test]
fn rfc9112_every_byte_removed_and_every_byte_doubled() {
    let limits = HeadLimits::default();
    for original in ACCEPTED {
        for at in 0..original.len() {
            let removed = [&original[..at], &original[at + 1..]].concat();
            let doubled = [&original[..at], &original[at..=at], &original[at..]].concat();
            for bytes in [removed, doubled] {
                let expected = parse_with(Simd::portable(), &bytes, &limits);
                for simd in Simd::available().skip(1) {
                    assert_eq!(parse_with(simd, &bytes, &limits), expected);
                }
                let each =
                    parse_prefixes(Simd::detect(), HeadParser::new(), &bytes, &limits, 0..=bytes.len());
                assert_eq!(each, expected);
                if let Ok(Some(parsed)) = &expected {
                    check_against_httparse(&bytes, parsed);
                }
            }
        }
    }
}

#[test]
fn no_pair_of_bytes_breaks_a_target_or_a_host() {
    let mut out = [0; 16];
    for template in [&b"http://ab"[..], b"/%41/../b", b"[::1]:80", b"*", b"a:1"] {
        for at in 0..template.len() {
            for pair in 0..=u16::MAX {
                let mut bytes = template.to_vec();
                let [first, second] = pair.to_be_bytes();
                bytes[at] = first;
                if let Some(byte) = bytes.get_mut(at + 1) {
                    *byte = second;
                } else if second > 0 {
                    continue;
                }
                for method in [peregrine_parser::Method::Get, peregrine_parser::Method::Connect] {
                    if let Ok(target) = parse_target(method, &bytes) {
                        assert!(target.path.end() as usize <= bytes.len());
                        assert!(target.query.is_none_or(|query| query.end() as usize == bytes.len()));
                    }
                }
                if let Some(authority) = parse_authority(&bytes) {
                    assert!(!authority.host.is_empty());
                }
                if let Ok(len) = normalize_path(&bytes, &mut out) {
                    assert!(out[0] == b'/' && !out[..len].contains(&0) || bytes.contains(&0));
                    assert!(!out[..len].windows(4).any(|window| window == b"/../"));
                }
            }
        }
    }
}
