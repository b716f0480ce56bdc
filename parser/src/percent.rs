//! Percent-encoding, RFC 3986 2.1, and the dot segments of a path, RFC 3986 5.2.4.
//!
//! It must not know files or routes: that a normalised path stays below the root is all it promises.

use crate::HeadError;
use crate::simd::find_either;

/// Whether [`normalize_path`] would change `path`: it has a `%`, or a segment that is `.` or `..`.
#[must_use]
pub fn path_needs_normalizing(path: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = find_either(path.get(from..).unwrap_or_default(), b'%', b'.') {
        let at = from + at;
        let starts_segment = at > 0 && path.get(at - 1) == Some(&b'/');
        match path.get(at..).unwrap_or_default() {
            [b'%', ..] => return true,
            [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] if starts_segment => {
                return true;
            }
            _ => from = at + 1,
        }
    }
    false
}

/// Decodes a path once, then removes its dot segments, never above the root. Writes to the start of `out`,
/// which needs as many bytes as `path`, and answers how many were written. An empty path becomes `/`.
///
/// `%2F` stays as it is: decoded, it would be taken for a separator. The result is bytes, not necessarily
/// UTF-8, and may hold control characters.
///
/// # Errors
///
/// [`HeadError::InvalidPercentEncoding`], [`HeadError::EncodedNul`], [`HeadError::InvalidTarget`] for a
/// path that does not start with `/`, and [`HeadError::OutputTooSmall`].
pub fn normalize_path(path: &[u8], out: &mut [u8]) -> Result<usize, HeadError> {
    let path = if path.is_empty() { b"/" } else { path };
    if path.first() != Some(&b'/') {
        return Err(HeadError::InvalidTarget);
    }
    let mut output = Output { out, len: 0 };
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            output.push(*byte)?;
            continue;
        }
        match decode_pair(after)? {
            (0, _) => return Err(HeadError::EncodedNul),
            // The digits follow as they are.
            (b'/', _) => output.push(b'%')?,
            (decoded, after) => {
                output.push(decoded)?;
                rest = after;
            }
        }
    }
    let len = output.len;
    Ok(remove_dot_segments(out.get_mut(..len).unwrap_or_default()))
}

/// Closes the gaps in place, and answers the length that is left. `path` starts with `/`.
fn remove_dot_segments(path: &mut [u8]) -> usize {
    let mut len = 0;
    let mut read = 0;
    while read < path.len() {
        let segment = path.get(read + 1..).unwrap_or_default();
        let segment_len = segment.iter().position(|&byte| byte == b'/').unwrap_or(segment.len());
        let next = read + 1 + segment_len;
        match segment.get(..segment_len).unwrap_or_default() {
            b"." => {}
            b".." => {
                let kept = path.get(..len).unwrap_or_default();
                len = kept.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            }
            _ => {
                path.copy_within(read..next, len);
                len += next - read;
                read = next;
                continue;
            }
        }
        // A removed last segment leaves the slash before it: `/a/..` is `/`, a directory.
        if next == path.len()
            && let Some(slash) = path.get_mut(len)
        {
            *slash = b'/';
            len += 1;
        }
        read = next;
    }
    len
}

/// What a `+` means to [`percent_decode`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Plus {
    /// Itself, as in a path.
    Literal,
    /// A space, as in the query of a form.
    Space,
}

/// Decodes `encoded` into the start of `out`, which needs as many bytes, and answers how many were written.
///
/// # Errors
///
/// [`HeadError::InvalidPercentEncoding`] and [`HeadError::OutputTooSmall`].
pub fn percent_decode(encoded: &[u8], out: &mut [u8], plus: Plus) -> Result<usize, HeadError> {
    let mut output = Output { out, len: 0 };
    let mut rest = encoded;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let (decoded, after) = decode_pair(after)?;
                output.push(decoded)?;
                rest = after;
            }
            b'+' if plus == Plus::Space => output.push(b' ')?,
            _ => output.push(*byte)?,
        }
    }
    Ok(output.len)
}

/// The byte that the two digits at the start stand for, and what follows them.
fn decode_pair(digits: &[u8]) -> Result<(u8, &[u8]), HeadError> {
    if let [high, low, after @ ..] = digits
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        return Ok((high << 4 | low, after));
    }
    Err(HeadError::InvalidPercentEncoding)
}

pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

struct Output<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn push(&mut self, byte: u8) -> Result<(), HeadError> {
        *self.out.get_mut(self.len).ok_or(HeadError::OutputTooSmall)? = byte;
        self.len += 1;
        Ok(())
    }
}

/// The pairs of a query, still encoded: split at `&`, then at the first `=`. A part without `=` is a key
/// with an empty value; empty parts are skipped.
#[must_use]
pub fn query_pairs(query: &[u8]) -> QueryPairs<'_> {
    QueryPairs { rest: query }
}

/// Iterator made by [`query_pairs`].
#[derive(Clone, Debug)]
pub struct QueryPairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for QueryPairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = split_at_byte(self.rest, b'&');
            self.rest = rest;
            if !pair.is_empty() {
                return Some(split_at_byte(pair, b'='));
            }
        }
        None
    }
}

/// What precedes and what follows the first `byte`; all and nothing without one.
fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|&b| b == byte).unwrap_or(bytes.len());
    (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec, vec::Vec};

    fn normalize(path: &str) -> Result<String, HeadError> {
        let mut out = vec![0xee; path.len().max(1)];
        let len = normalize_path(path.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out[..len].to_vec()).unwrap())
    }

    #[test]
    fn rfc3986_5_2_4_dot_segments_are_removed_and_the_root_is_the_top() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/", "/"),
            ("", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/./", "/a/"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/.a/..b/c.", "/.a/..b/c."),
            ("/%2e%2E/%2e/x", "/x"),
            ("/a/%2e%2e%2fb", "/a/..%2fb"),
            ("/a%2F..%2fb", "/a%2F..%2fb"),
            ("/%252e", "/%2e"),
            ("/%c3%b6", "/\u{f6}"),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn rfc3986_2_1_bad_encodings_are_refused() {
        for path in ["/%", "/%4", "/%g0", "/%0g", "/%%41", "/a%"] {
            assert_eq!(normalize(path), Err(HeadError::InvalidPercentEncoding), "{path}");
        }
        assert_eq!(normalize("/%00"), Err(HeadError::EncodedNul));
        assert_eq!(normalize("a"), Err(HeadError::InvalidTarget));
        assert_eq!(normalize_path(b"/abc", &mut [0; 3]), Err(HeadError::OutputTooSmall));
        assert_eq!(normalize_path(b"", &mut []), Err(HeadError::OutputTooSmall));
    }

    #[test]
    fn needs_normalizing_says_whether_normalizing_changes_anything() {
        // Every path of up to six bytes over the letters that matter.
        let letters = b"/.a";
        for len in 0..6u32 {
            for mut code in 0..3usize.pow(len) {
                let mut path = String::from("/");
                for _ in 0..len {
                    path.push(char::from(letters[code % 3]));
                    code /= 3;
                }
                let normalized = normalize(&path).unwrap();
                assert_eq!(path_needs_normalizing(path.as_bytes()), normalized != path, "{path}");
                assert!(!path_needs_normalizing(normalized.as_bytes()), "{path} {normalized}");
            }
        }
        assert!(path_needs_normalizing(b"/a%20b"));
        assert!(!path_needs_normalizing(b""));
        assert!(!path_needs_normalizing(b"/.well-known/x.y/index.html"));
    }

    #[test]
    fn rfc3986_2_1_decoding() {
        let decode = |text: &str, plus| {
            let mut out = [0; 16];
            percent_decode(text.as_bytes(), &mut out, plus).map(|len| out[..len].to_vec())
        };
        assert_eq!(decode("a%20b+c%2f%00", Plus::Literal), Ok(b"a b+c/\0".to_vec()));
        assert_eq!(decode("a%20b+c%2B", Plus::Space), Ok(b"a b c+".to_vec()));
        assert_eq!(decode("%f", Plus::Space), Err(HeadError::InvalidPercentEncoding));
        assert_eq!(percent_decode(b"ab", &mut [0], Plus::Literal), Err(HeadError::OutputTooSmall));
    }

    #[test]
    fn query_pairs_are_split_and_left_encoded() {
        let pairs = |query: &'static str| query_pairs(query.as_bytes()).collect::<Vec<_>>();
        assert_eq!(
            pairs("a=1&&b&=c&d=e=f&g%20="),
            [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"", b"c"), (b"d", b"e=f"), (b"g%20", b"")]
        );
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("&"), []);
    }
}
