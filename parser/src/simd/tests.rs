//! Every scan of every level against a naive oracle: all alignments, all lengths, every byte.

use super::{Scan, Simd, Task};
use crate::table;

const CLASSES: [fn(u8) -> bool; 3] = [table::is_target, table::is_token, table::is_value];

struct Scans<'a> {
    bytes: &'a [u8],
    from: usize,
}

impl Task for Scans<'_> {
    type Output = ([usize; 3], (usize, usize));

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> Self::Output {
        let Self { bytes, from } = self;
        let ends = [scan.target_end(bytes, from), scan.token_end(bytes, from), scan.value_end(bytes, from)];
        (ends, scan.line_ends(bytes, from))
    }
}

fn check(bytes: &[u8], from: usize) {
    let expected = CLASSES.map(|is_inside| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().position(|&byte| !is_inside(byte)).map_or(bytes.len(), |at| from + at)
    });
    for simd in Simd::available() {
        let (ends, line) = simd.run(Scans { bytes, from });
        assert_eq!(ends, expected, "{} from {from} in {bytes:?}", simd.name());
        assert_eq!(line, (expected[1], expected[2]), "{} from {from} in {bytes:?}", simd.name());
    }
}

#[test]
fn every_alignment_length_and_start() {
    // In its own allocation, so that a read past the end is one that a sanitizer sees.
    for alignment in 0..32 {
        for len in 0..100 {
            let mut block = std::vec![0; alignment + len].into_boxed_slice();
            let bytes = &mut block[alignment..];
            bytes.fill(b'a');
            for from in [0, 1, len / 3, len / 2, len.saturating_sub(1), len, len + 1] {
                check(bytes, from);
            }
        }
    }
}

#[test]
fn every_byte_at_every_position() {
    for len in [1, 7, 8, 15, 16, 17, 31, 32, 33, 70] {
        let mut bytes = std::vec![b'a'; len];
        for at in 0..len {
            for byte in 0..=255 {
                bytes[at] = byte;
                check(&bytes, 0);
            }
            bytes[at] = b'a';
        }
    }
}

#[test]
fn an_end_before_the_start_is_not_seen() {
    for len in [8, 16, 20, 32, 40, 64, 100] {
        for at in 0..len {
            for from in 0..len {
                let mut bytes = std::vec![b'a'; len];
                bytes[at] = b'\r';
                bytes[len - 1 - at] = b'\r';
                check(&bytes, from);
            }
        }
    }
}

#[test]
fn the_levels_of_this_processor_are_in_order_and_have_names() {
    assert_eq!(Simd::available().next(), Some(Simd::portable()));
    assert_eq!(Simd::available().last(), Some(Simd::detect()));
    for simd in Simd::available() {
        assert!(!simd.name().is_empty());
    }
}
