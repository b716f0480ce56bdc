//! Pieces of a response head: numbers, and whether a name or a value may be sent at all.
//!
//! It must not know which fields a response carries.

use crate::table;

/// How many decimal digits `n` has; 1 for 0.
#[inline]
#[must_use]
pub const fn decimal_len(n: u64) -> usize {
    match n.checked_ilog10() {
        Some(log) => log as usize + 1,
        None => 1,
    }
}

/// Writes `n` in decimal to the start of `out` and answers how many bytes that took: [`decimal_len`] of it,
/// 20 at most. Writes nothing and answers 0 if `out` is too short.
#[inline]
pub fn write_decimal(out: &mut [u8], mut n: u64) -> usize {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut i = 0;
        while i < 100 {
            pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
            i += 1;
        }
        pairs
    };

    let len = decimal_len(n);
    let Some(mut digits) = out.get_mut(..len) else { return 0 };
    while let [rest @ .., _, _] = digits {
        let at = rest.len();
        digits[at..].copy_from_slice(&PAIRS[(n % 100) as usize]);
        n /= 100;
        digits = &mut digits[..at];
    }
    if let [digit] = digits {
        *digit = b'0' + n as u8;
    }
    len
}

/// Writes `n` in lower-case hexadecimal, without leading zeros, to the start of `out` and answers how many
/// bytes that took, 16 at most: a chunk size, RFC 9112 7.1. Writes nothing and answers 0 if `out` is too short.
#[inline]
pub fn write_hex(out: &mut [u8], mut n: u64) -> usize {
    let len = n.checked_ilog2().map_or(1, |log| log as usize / 4 + 1);
    let Some(digits) = out.get_mut(..len) else { return 0 };
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(n & 15) as usize];
        n >>= 4;
    }
    len
}

/// Whether `bytes` is a token, RFC 9110 5.6.2, as a field name or a method has to be.
#[inline]
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| table::is_token(byte))
}

/// Whether `bytes` may be sent as a field value, RFC 9110 5.5: no control characters but HTAB, and no
/// whitespace at its ends. It may be empty.
#[inline]
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    let ends = [bytes.first(), bytes.last()];
    bytes.iter().all(|&byte| table::is_value(byte))
        && !ends.into_iter().flatten().any(|&byte| table::is_ows(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut n = 1u64;
        let mut numbers = std::vec![0, 9, 10, 99, 100, u64::MAX];
        while let Some(next) = n.checked_mul(3) {
            numbers.extend([n - 1, n, n + 1]);
            n = next;
        }
        for n in numbers {
            let mut out = [0xee; 21];
            let len = write_decimal(&mut out, n);
            assert_eq!(&out[..len], format!("{n}").as_bytes());
            assert_eq!(len, decimal_len(n));
            assert_eq!(out[len], 0xee);
            assert_eq!(write_decimal(&mut [0; 20][..len - 1], n), 0);
            let len = write_hex(&mut out, n);
            assert_eq!(&out[..len], format!("{n:x}").as_bytes());
            assert_eq!(write_hex(&mut [0; 20][..len - 1], n), 0);
        }
    }

    #[test]
    fn rfc9110_5_5_what_may_be_sent() {
        assert!(is_token(b"X-Name") && !is_token(b"") && !is_token(b"a b") && !is_token(b"a:"));
        assert!(is_field_value(b"") && is_field_value(b"a\tb c\xff"));
        for value in [&b" a"[..], b"a\t", b"a\r\nb: c", b"a\0", b"\x7f", b"a\x1fb"] {
            assert!(!is_field_value(value));
        }
    }
}
