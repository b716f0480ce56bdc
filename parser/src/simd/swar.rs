//! The level for every processor: eight bytes at a time in an ordinary register.
//!
//! All sums below stay within their byte, so every byte of a mask is exact and no order of bytes matters
//! but for finding the first.

use super::{Scan, Task};
use crate::table;

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;
const LOWS: u64 = ONES * 0x7f;

/// The level without special instructions.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

/// Runs `task` on this level.
#[inline(never)]
pub(super) fn enter<T: Task>(task: T) -> T::Output {
    task.run(Portable)
}

/// High bit of each byte that equals `byte`.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let differing = word ^ (ONES * byte as u64);
    !(((differing & LOWS) + LOWS) | differing) & HIGHS
}

/// High bit of each byte below `limit`, for a limit of at most 0x80.
#[inline(always)]
const fn below(word: u64, limit: u8) -> u64 {
    !(((word & LOWS) + ONES * (0x80 - limit as u64)) | word) & HIGHS
}

#[inline(always)]
const fn target_ends(word: u64) -> u64 {
    (word & HIGHS)
        | below(word, b'!')
        | equal(word, b'"')
        | equal(word, b'#')
        | equal(word, b'<')
        | equal(word, b'>')
        | equal(word, 0x7f)
}

#[inline(always)]
const fn value_ends(word: u64) -> u64 {
    (below(word, b' ') & !equal(word, b'\t')) | equal(word, 0x7f)
}

#[inline(always)]
fn find(bytes: &[u8], from: usize, ends: impl Fn(u64) -> u64, is_end: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let (words, last) = rest.as_chunks::<8>();
    let mut at = from;
    for word in words {
        let mask = ends(u64::from_le_bytes(*word));
        if mask != 0 {
            return at + mask.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    for &byte in last {
        if is_end(byte) {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

impl Scan for Portable {
    #[inline(always)]
    fn target_end(self, bytes: &[u8], from: usize) -> usize {
        find(bytes, from, target_ends, |byte| !table::is_target(byte))
    }

    // Names are short and their class is ragged: the table wins over arithmetic.
    #[inline(always)]
    fn token_end(self, bytes: &[u8], from: usize) -> usize {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().position(|&byte| !table::is_token(byte)).map_or(bytes.len(), |at| from + at)
    }

    #[inline(always)]
    fn value_end(self, bytes: &[u8], from: usize) -> usize {
        find(bytes, from, value_ends, |byte| !table::is_value(byte))
    }
}

/// Offset of the first `byte` in `bytes`.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    let at = find(bytes, 0, |word| equal(word, byte), |b| b == byte);
    (at < bytes.len()).then_some(at)
}

/// Offset of the first `a` or `b` in `bytes`.
#[inline]
pub(crate) fn find_either(bytes: &[u8], a: u8, b: u8) -> Option<usize> {
    let at = find(bytes, 0, |word| equal(word, a) | equal(word, b), |byte| byte == a || byte == b);
    (at < bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_exact_in_every_byte() {
        for byte in 0..=255u8 {
            for neighbour in [0, 1, 8, 9, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xff] {
                for at in 0..8 {
                    let mut bytes = [neighbour; 8];
                    bytes[at] = byte;
                    let word = u64::from_le_bytes(bytes);
                    let of = |mask: u64, i: usize| mask >> (8 * i) & 0xff;
                    for (i, &b) in bytes.iter().enumerate() {
                        assert_eq!(of(target_ends(word), i), if table::is_target(b) { 0 } else { 0x80 });
                        assert_eq!(of(value_ends(word), i), if table::is_value(b) { 0 } else { 0x80 });
                        assert_eq!(of(equal(word, byte), i), if b == byte { 0x80 } else { 0 });
                    }
                }
            }
        }
    }

    #[test]
    fn find_byte_finds_the_first() {
        assert_eq!(find_byte(b"/a/b?c?d", b'?'), Some(4));
        assert_eq!(find_byte(b"/a/very/long/path?c", b'?'), Some(17));
        assert_eq!(find_byte(b"/a/very/long/path", b'?'), None);
        assert_eq!(find_byte(b"", b'?'), None);
    }
}
