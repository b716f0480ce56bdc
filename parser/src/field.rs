//! One field line as spans, and the names that somebody below or above has to recognise.
//!
//! It knows names, not meanings: what a name does to the message is decided in `framing` and `connection`.

use crate::Span;

/// A field line: where its name and its trimmed value lie, and which name it is.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name, in the letter case that the peer chose.
    pub name: Span,
    /// The value without the whitespace around it; may be empty.
    pub value: Span,
    /// The name, if it is a known one.
    pub id: FieldName,
}

macro_rules! field_names {
    ($($(#[doc = $doc:literal])* $id:ident = $name:literal,)+) => {
        /// The field names that are recognised while parsing, so that nobody compares strings later.
        #[repr(u8)]
        #[derive(Copy, Clone, Default, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum FieldName {
            /// Any other name.
            #[default]
            Other,
            $(#[doc = concat!("`", $name, "`")] $(#[doc = $doc])* $id,)+
        }

        /// Indexed by the id; lower case.
        const NAMES: [&str; FIELD_NAMES] = ["", $($name,)+];
        const IDS: [FieldName; FIELD_NAMES] = [FieldName::Other, $(FieldName::$id,)+];
        const FIELD_NAMES: usize = 1 $(+ { let _ = FieldName::$id; 1 })+;
    };
}

// The six that frame a message come first: `Known` counts on it.
field_names! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Expect = "expect",
    Upgrade = "upgrade",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    CacheControl = "cache-control",
    ContentEncoding = "content-encoding",
    ContentType = "content-type",
    Cookie = "cookie",
    Forwarded = "forwarded",
    Http2Settings = "http2-settings",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    KeepAlive = "keep-alive",
    Origin = "origin",
    Range = "range",
    Referer = "referer",
    SecWebSocketExtensions = "sec-websocket-extensions",
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketProtocol = "sec-websocket-protocol",
    SecWebSocketVersion = "sec-websocket-version",
    Te = "te",
    Trailer = "trailer",
    UserAgent = "user-agent",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
}

impl FieldName {
    /// How many names, from [`FieldName::Host`] on, frame a message.
    pub(crate) const FRAMING: usize = 6;

    /// Whether a field of this name may stand in a trailer section, RFC 9110 6.5.1: not what frames,
    /// routes, modifies or authenticates the request, as that is over when the trailers come. True for
    /// every name not known here.
    #[must_use]
    pub const fn is_allowed_in_trailers(self) -> bool {
        !self.is_framing()
            && !matches!(
                self,
                Self::Authorization
                    | Self::CacheControl
                    | Self::ContentEncoding
                    | Self::ContentType
                    | Self::Cookie
                    | Self::Forwarded
                    | Self::Http2Settings
                    | Self::IfMatch
                    | Self::IfModifiedSince
                    | Self::IfNoneMatch
                    | Self::IfRange
                    | Self::IfUnmodifiedSince
                    | Self::KeepAlive
                    | Self::Range
                    | Self::Te
                    | Self::Trailer
                    | Self::XForwardedFor
                    | Self::XForwardedHost
                    | Self::XForwardedProto
            )
    }

    pub(crate) const fn is_framing(self) -> bool {
        self as usize != 0 && self as usize <= Self::FRAMING
    }

    /// Every recognised name.
    pub fn all() -> impl Iterator<Item = Self> {
        IDS[1..].iter().copied()
    }

    /// The name in lower case; empty for [`FieldName::Other`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Recognises a name in any letter case.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        let [first, .., last] = *name else { return Self::Other };
        let id = SLOTS[slot(name.len(), first, last)].id;
        if eq_ignore_ascii_case(name, id.as_str().as_bytes()) { id } else { Self::Other }
    }

    /// [`FieldName::from_bytes`] for bytes that are known to be a token, in a few instructions.
    #[inline(always)]
    pub(crate) fn from_token(token: &[u8]) -> Self {
        let [first, .., last] = *token else { return Self::Other };
        let candidate = &SLOTS[slot(token.len(), first, last)];
        if token.len() == candidate.len && words(token) == candidate.words {
            candidate.id
        } else {
            Self::Other
        }
    }
}

const ONES: u64 = u64::MAX / 255;
const SLOT_COUNT: usize = 128;

/// Length, first and last byte tell all known names apart; the factors were searched for.
#[inline(always)]
const fn slot(len: usize, first: u8, last: u8) -> usize {
    let first = (first | 0x20) as usize;
    let last = (last | 0x20) as usize;
    (len + 4 * first + 24 * last) % SLOT_COUNT
}

/// A name as [`FieldName::from_token`] compares it.
#[derive(Copy, Clone)]
struct Slot {
    len: usize,
    words: [u64; 3],
    id: FieldName,
}

const SLOTS: [Slot; SLOT_COUNT] = {
    let mut slots = [Slot { len: 0, words: [0; 3], id: FieldName::Other }; SLOT_COUNT];
    let mut id = 1;
    while id < FIELD_NAMES {
        let name = NAMES[id].as_bytes();
        let slot = &mut slots[slot(name.len(), name[0], name[name.len() - 1])];
        assert!(slot.len == 0, "two names share a slot: search for other factors");
        assert!(name.len() <= 24, "three words do not cover the name");
        *slot = Slot { len: name.len(), words: words(name), id: IDS[id] };
        id += 1;
    }
    slots
};

/// Up to 24 bytes with the case bit set, in words that overlap where they have to. The bit makes the two
/// cases of a letter equal; of the other bytes in known names, none has a partner that a token may hold.
#[inline(always)]
const fn words(name: &[u8]) -> [u64; 3] {
    const CASE: u64 = ONES * 0x20;

    let (first, middle, last) = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            let middle = match name.split_at_checked(8) {
                Some((_, rest)) if name.len() > 16 => rest.first_chunk(),
                _ => None,
            };
            let middle = match middle {
                Some(middle) => u64::from_le_bytes(*middle),
                None => 0,
            };
            (u64::from_le_bytes(*first), middle, u64::from_le_bytes(*last))
        }
        _ => match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => {
                (u32::from_le_bytes(*first) as u64, 0, u32::from_le_bytes(*last) as u64)
            }
            _ => match *name {
                [a, b] => (a as u64, 0, b as u64),
                [a, b, c] => (a as u64, b as u64, c as u64),
                _ => (0, 0, 0),
            },
        },
    };
    [first | CASE, middle | CASE, last | CASE]
}

/// Whether two byte strings are equal but for the case of ASCII letters; eight bytes at a time.
#[inline]
#[must_use]
pub fn eq_ignore_ascii_case(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_words.iter().zip(b_words) {
        if !same_letters(u64::from_le_bytes(*a), u64::from_le_bytes(*b)) {
            return false;
        }
    }
    // The rest is compared as one overlapping word where there is one, else as two overlapping halves.
    if let (Some(a), Some(b)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        return same_letters(u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    }
    match (a.first_chunk::<4>(), b.first_chunk::<4>(), a.last_chunk::<4>(), b.last_chunk::<4>()) {
        (Some(a), Some(b), Some(a_end), Some(b_end)) => {
            let word = |low: &[u8; 4], high: &[u8; 4]| {
                u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
            };
            same_letters(word(a, a_end), word(b, b_end))
        }
        _ => a_rest.eq_ignore_ascii_case(b_rest),
    }
}

/// Whether eight bytes differ at most in the case bit of letters.
#[inline(always)]
const fn same_letters(a: u64, b: u64) -> bool {
    let differing = a ^ b;
    if differing == 0 {
        return true;
    }
    if differing & !(ONES * 0x20) != 0 {
        return false;
    }
    // Exactly per byte, as no sum carries: which bytes, with the case bit set, lie in a..=z.
    let lower = a | (ONES * 0x20);
    let low_bits = lower & (ONES * 0x7f);
    let from_a = low_bits + ONES * (0x80 - b'a' as u64);
    let past_z = low_bits + ONES * (0x80 - b'z' as u64 - 1);
    let letters = from_a & !past_z & !lower & (ONES * 0x80);
    (differing << 2) & !letters == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rfc9110_5_1_names_are_recognised_in_any_case() {
        for id in FieldName::all() {
            let lower = id.as_str();
            assert_eq!(FieldName::from_bytes(lower.as_bytes()), id);
            assert_eq!(FieldName::from_bytes(lower.to_ascii_uppercase().as_bytes()), id);
            for i in 0..lower.len() {
                let mut bytes: Vec<u8> = lower.into();
                bytes[i] = bytes[i].to_ascii_uppercase();
                assert_eq!(FieldName::from_bytes(&bytes), id);
                bytes[i] = if bytes[i] == b'_' { b'-' } else { b'_' };
                assert_eq!(FieldName::from_bytes(&bytes), FieldName::Other);
                for byte in (0..=255).filter(|&byte| crate::table::is_token(byte)) {
                    bytes[i] = byte;
                    assert_eq!(FieldName::from_token(&bytes), FieldName::from_bytes(&bytes));
                }
                let prefix = &lower[..i];
                let expected = FieldName::all().find(|id| id.as_str() == prefix).unwrap_or_default();
                assert_eq!(FieldName::from_bytes(prefix.as_bytes()), expected);
                assert_eq!(FieldName::from_token(prefix.as_bytes()), expected);
            }
        }
        for name in [&b""[..], b"x", b"hos", b"hostt", b"Transfer_Encoding", b"content-lengtH "] {
            assert_eq!(FieldName::from_bytes(name), FieldName::Other);
        }
    }

    #[test]
    fn rfc9110_6_5_1_what_frames_or_authenticates_is_no_trailer() {
        for id in
            [FieldName::Host, FieldName::ContentLength, FieldName::TransferEncoding, FieldName::Authorization]
        {
            assert!(!id.is_allowed_in_trailers());
        }
        assert!(FieldName::Other.is_allowed_in_trailers() && FieldName::UserAgent.is_allowed_in_trailers());
    }

    #[test]
    fn every_pair_of_bytes_compares_as_the_standard_library_says() {
        for len in [1, 3, 4, 7, 8, 9, 15, 16, 17] {
            for at in 0..len {
                let mut a = [b'x'; 17];
                let mut b = [b'X'; 17];
                for x in 0..=255 {
                    for y in 0..=255 {
                        (a[at], b[at]) = (x, y);
                        let expected = x.eq_ignore_ascii_case(&y);
                        assert_eq!(eq_ignore_ascii_case(&a[..len], &b[..len]), expected, "{x} {y} {at}");
                    }
                }
            }
        }
        assert!(eq_ignore_ascii_case(b"", b""));
        assert!(!eq_ignore_ascii_case(b"a", b""));
    }
}
