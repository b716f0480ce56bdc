//! Any bytes as a chunked body: the cut changes nothing, nothing is consumed twice, and what is accepted
//! reads the same to a decoder that is too simple to be wrong.
//!
//! The first byte chooses the cut, the rest is the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine_parser::{Chunk, ChunkError, ChunkedDecoder};

/// Data, consumed bytes, and whether the last chunk was reached.
fn decode(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut data = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let part: Box<[u8]> = bytes[at..bytes.len().min(at + step)].into();
        match decoder.decode(&part)? {
            Chunk::Data { skip, len } => {
                assert!(len > 0);
                data.extend_from_slice(&part[skip..skip + len]);
                at += skip + len;
            }
            Chunk::Partial { consumed } => {
                assert_eq!(consumed, part.len());
                at += consumed;
            }
            Chunk::Last { consumed } => return Ok((data, at + consumed, true)),
        }
    }
    Ok((data, at, decoder.is_done()))
}

/// Lines and sizes by the standard library; extensions are cut off at the first `;` or whitespace.
fn decode_simply(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let len = rest.len();
    let mut data = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(rest[..end].split(|byte| b"; \t".contains(byte)).next()?).ok()?;
        let size = usize::from_str_radix(line, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some((data, len - rest.len()));
        }
        data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

fuzz_target!(|data: &[u8]| {
    let [step, bytes @ ..] = data else { return };
    let expected = decode(bytes, usize::MAX >> 1);
    assert_eq!(decode(bytes, 1), expected);
    assert_eq!(decode(bytes, usize::from(*step) + 1), expected);
    if let Ok((data, consumed, true)) = expected {
        assert_eq!(decode_simply(bytes), Some((data, consumed)));
    }
});
