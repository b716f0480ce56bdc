//! The text of a name or value, decoded as late as possible and only where it has to be.
//!
//! Owns percent-decoding that forgives. It must not know serde or parameters.

use std::borrow::Cow;
use std::cmp::Ordering;

use memchr::memchr2;
use peregrine_parser::{Plus, percent_decode};

/// The longest escaped text that is decoded on the stack, in bytes: longer than any number or name in practice.
pub(super) const SHORT: usize = 128;

/// Text as it came.
#[derive(Clone, Copy)]
pub(super) enum Text<'de> {
    Plain(&'de str),
    /// Of a query or form, with `%` escapes and `+` for space.
    Encoded(&'de [u8]),
}

/// The text is no UTF-8 once decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

/// Room for short text that had to be decoded.
pub(super) struct Scratch([u8; SHORT]);

impl Scratch {
    pub(super) fn new() -> Self {
        Self([0; SHORT])
    }
}

/// Decoded text, and where it lies.
pub(super) enum Decoded<'de, 's> {
    Input(&'de str),
    Scratch(&'s str),
    Heap(String),
}

impl Decoded<'_, '_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Decoded::Input(text) | Decoded::Scratch(text) => text,
            Decoded::Heap(text) => text,
        }
    }
}

impl<'de> Text<'de> {
    /// Decoding never makes something of nothing, nor nothing of something.
    pub(super) fn is_empty(self) -> bool {
        match self {
            Text::Plain(text) => text.is_empty(),
            Text::Encoded(bytes) => bytes.is_empty(),
        }
    }

    /// For those who keep the text: borrowed, or in a string of its own.
    pub(super) fn to_text(self) -> Result<Cow<'de, str>, NotUtf8> {
        match self.unescaped() {
            Some(text) => Ok(Cow::Borrowed(text?)),
            None => self.to_owned_text().map(Cow::Owned),
        }
    }

    /// For those who only look at the text: in `scratch` if it has to be decoded and is short.
    pub(super) fn to_short<'s>(self, scratch: &'s mut Scratch) -> Result<Decoded<'de, 's>, NotUtf8> {
        if let Some(text) = self.unescaped() {
            return text.map(Decoded::Input);
        }
        let Text::Encoded(bytes) = self else { return self.to_owned_text().map(Decoded::Heap) };
        if bytes.len() > SHORT {
            return self.to_owned_text().map(Decoded::Heap);
        }
        let mut len = 0;
        for (place, byte) in scratch.0.iter_mut().zip(Bytes { rest: bytes }) {
            *place = byte;
            len += 1;
        }
        let decoded = scratch.0.get(..len).unwrap_or_default();
        str::from_utf8(decoded).map(Decoded::Scratch).map_err(|_| NotUtf8)
    }

    /// For people: what is no UTF-8 becomes `U+FFFD`.
    pub(super) fn to_lossy(self) -> Cow<'de, str> {
        match self {
            Text::Plain(text) => Cow::Borrowed(text),
            Text::Encoded(bytes) => {
                let decoded: Vec<u8> = Bytes { rest: bytes }.collect();
                Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
            }
        }
    }

    /// The text where it lies, if it needs no decoding.
    fn unescaped(self) -> Option<Result<&'de str, NotUtf8>> {
        match self {
            Text::Plain(text) => Some(Ok(text)),
            Text::Encoded(bytes) if is_escaped(bytes) => None,
            Text::Encoded(bytes) => Some(str::from_utf8(bytes).map_err(|_| NotUtf8)),
        }
    }

    fn to_owned_text(self) -> Result<String, NotUtf8> {
        match self {
            Text::Plain(text) => Ok(text.to_owned()),
            Text::Encoded(bytes) => {
                let mut decoded = Vec::with_capacity(bytes.len());
                decoded.extend(Bytes { rest: bytes });
                String::from_utf8(decoded).map_err(|_| NotUtf8)
            }
        }
    }
}

/// Whether two encoded names are the same once decoded. Ends at the first difference.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left == right || compare(left, right) == Ordering::Equal
}

/// The order of two encoded names by what they are once decoded.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    Bytes { rest: left }.cmp(Bytes { rest: right })
}

/// Whether decoding changes anything: a lone `%` does not count.
fn is_escaped(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr2(b'%', b'+', rest) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.first() == Some(&b'+') || escape(rest).is_some() {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// The byte that the escape at the start stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let mut byte = [0];
    percent_decode(bytes.get(..3)?, &mut byte, Plus::Literal).ok()?;
    Some(byte[0])
}

/// The decoded bytes, one by one.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&first, after) = self.rest.split_first()?;
        if first == b'%'
            && let Some(byte) = escape(self.rest)
        {
            self.rest = self.rest.get(3..).unwrap_or_default();
            return Some(byte);
        }
        self.rest = after;
        Some(if first == b'+' { b' ' } else { first })
    }
}
