//! Counts requests by the blank line that ends a head, with no parsing: the floor's whole knowledge of HTTP.

use memchr::memmem::Finder;

/// What ends a request head.
pub const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Counts the blank lines that end in `data`. The first may have begun in earlier bytes: `matched` says how
/// many bytes of it they held, and is left saying the same of `data`.
#[must_use]
#[inline]
pub fn count(blank_line: &Finder<'_>, matched: &mut u8, data: &[u8]) -> u32 {
    let step = |matched: u8, byte: u8| match (matched, byte) {
        (1, b'\n') => 2,
        (2, b'\r') => 3,
        (3, b'\n') => 4,
        (_, b'\r') => 1,
        _ => 0,
    };
    let (mut count, mut at) = (0, 0);
    while *matched > 0 && at < data.len() {
        *matched = step(*matched, data[at]);
        at += 1;
        if *matched == 4 {
            *matched = 0;
            count += 1;
        }
    }
    if at < data.len() {
        let mut rest = &data[at..];
        while let Some(found) = blank_line.find(rest) {
            count += 1;
            rest = &rest[found + BLANK_LINE.len()..];
        }
        let last = &rest[rest.len().saturating_sub(BLANK_LINE.len() - 1)..];
        *matched = last.iter().fold(0, |matched, &byte| step(matched, byte));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_at_every_split() {
        let finder = Finder::new(BLANK_LINE);
        let stream = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n\r\r\n\r\n\n\r\n\r";
        let expected = count(&finder, &mut 0, stream);
        assert_eq!(expected, 3);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut matched = 0;
                let parts = [&stream[..first], &stream[first..second], &stream[second..]];
                let counts = parts.map(|part| count(&finder, &mut matched, part));
                assert_eq!(counts.iter().sum::<u32>(), expected, "split at {first} and {second}");
                assert_eq!(matched, 3);
            }
        }
    }
}
