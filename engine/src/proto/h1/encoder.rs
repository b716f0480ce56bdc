//! Framing the body of a response that is written piece by piece.
//!
//! Owns what stands between the pieces: nothing, or the lines of the chunked coding. It keeps the promise of a
//! length. It must not know where pieces lie or when they are sent. RFC 9112 sections 6 and 7.1.

use std::fmt;

use peregrine_parser::write_hex;

/// Why a piece of a body cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// It is more than the length that the head has promised.
    TooLong,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the body is longer than its Content-Length"),
        }
    }
}

/// How the end of the body shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked,
    /// By the end of the connection (HTTP/1.0).
    Close,
    /// There is none on the wire: HEAD, 204, 205, 304.
    None,
}

/// The longest line between two chunks: the end of the last one, 16 digits, and its own end.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 2 + 16 + 2;

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyEncoder {
    framing: Framing,
    /// The last chunk's data is out, its line end is not.
    owes_line_end: bool,
    /// The sizes of chunks in capital letters, where the bytes are to be those of another server.
    has_capitals: bool,
}

impl BodyEncoder {
    fn new(framing: Framing) -> Self {
        Self { framing, owes_line_end: false, has_capitals: false }
    }

    pub(super) fn length(length: u64) -> Self {
        Self::new(Framing::Length(length))
    }

    pub(super) fn chunked() -> Self {
        Self::new(Framing::Chunked)
    }

    #[cfg(any(feature = "tower", test))]
    pub(super) fn chunked_in_capitals() -> Self {
        Self { has_capitals: true, ..Self::chunked() }
    }

    pub(super) fn until_close() -> Self {
        Self::new(Framing::Close)
    }

    /// Whether nothing of the body is sent.
    pub(crate) fn is_none(&self) -> bool {
        self.framing == Framing::None
    }

    pub(super) fn none() -> Self {
        Self::new(Framing::None)
    }

    /// Begins a piece of `len` bytes, not 0. Returns the bytes that stand before it, written to `line`, or
    /// `None` if the piece is not to be sent.
    ///
    /// # Errors
    /// It is more than was promised.
    #[inline]
    pub(crate) fn begin_piece<'a>(
        &mut self,
        len: usize,
        line: &'a mut [u8; CHUNK_LINE_BYTES_MAX],
    ) -> Result<Option<&'a [u8]>, StreamError> {
        debug_assert!(len > 0, "an empty chunk would be the last");
        match &mut self.framing {
            Framing::None => Ok(None),
            Framing::Close => Ok(Some(&[])),
            Framing::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or(StreamError::TooLong)?;
                Ok(Some(&[]))
            }
            Framing::Chunked => {
                let mut at = 0;
                if std::mem::replace(&mut self.owes_line_end, true) {
                    line[..2].copy_from_slice(b"\r\n");
                    at = 2;
                }
                let digits = at;
                at += write_hex(&mut line[at..], len as u64);
                if self.has_capitals {
                    line[digits..at].make_ascii_uppercase();
                }
                line[at..at + 2].copy_from_slice(b"\r\n");
                Ok(Some(&line[..at + 2]))
            }
        }
    }

    /// The line end that the last chunk is owed, where it is cheap to add it: behind copied data.
    #[inline]
    pub(crate) fn end_piece(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.owes_line_end) { b"\r\n" } else { b"" }
    }

    /// Whether the body is sent at all.
    #[cfg(any(feature = "tower", test))]
    pub(super) fn is_sent(&self) -> bool {
        self.framing != Framing::None
    }

    /// Whether fields may follow the body.
    pub(crate) fn takes_trailers(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Bytes that were promised and have not come; a response cannot end with some.
    pub(crate) fn missing(&self) -> u64 {
        match self.framing {
            Framing::Length(left) => left,
            _ => 0,
        }
    }

    /// The bytes that end the body, before any trailers and the empty line behind them.
    pub(crate) fn finish(&mut self) -> (&'static [u8], &'static [u8]) {
        match (self.framing, self.owes_line_end) {
            (Framing::Chunked, true) => (b"\r\n0\r\n", b"\r\n"),
            (Framing::Chunked, false) => (b"0\r\n", b"\r\n"),
            _ => (b"", b""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(encoder: &mut BodyEncoder, len: usize) -> Option<Vec<u8>> {
        let mut line = [0; CHUNK_LINE_BYTES_MAX];
        encoder.begin_piece(len, &mut line).expect("within the length").map(<[u8]>::to_vec)
    }

    #[test]
    fn rfc9112_7_1_chunks_are_framed_whether_their_ends_come_at_once_or_late() {
        let mut encoder = BodyEncoder::chunked();
        assert_eq!(line(&mut encoder, 5).as_deref(), Some(&b"5\r\n"[..]));
        assert_eq!(encoder.end_piece(), b"\r\n");
        assert_eq!(line(&mut encoder, 65_536).as_deref(), Some(&b"10000\r\n"[..]));
        assert_eq!(line(&mut encoder, 255).as_deref(), Some(&b"\r\nff\r\n"[..]));
        assert_eq!(encoder.finish(), (&b"\r\n0\r\n"[..], &b"\r\n"[..]));
        assert_eq!(BodyEncoder::chunked().finish(), (&b"0\r\n"[..], &b"\r\n"[..]));
        assert!(encoder.takes_trailers());
        let mut encoder = BodyEncoder::chunked_in_capitals();
        assert_eq!(line(&mut encoder, 0xABC).as_deref(), Some(&b"ABC\r\n"[..]));
    }

    #[test]
    fn rfc9112_6_2_a_length_is_never_exceeded() {
        let mut encoder = BodyEncoder::length(10);
        assert_eq!(line(&mut encoder, 4).as_deref(), Some(&b""[..]));
        let mut room = [0; CHUNK_LINE_BYTES_MAX];
        assert_eq!(encoder.begin_piece(7, &mut room), Err(StreamError::TooLong));
        assert_eq!(encoder.missing(), 6);
        assert_eq!(line(&mut encoder, 6).as_deref(), Some(&b""[..]));
        assert_eq!((encoder.missing(), encoder.finish()), (0, (&b""[..], &b""[..])));
        assert!(!encoder.takes_trailers());
    }

    #[test]
    fn bodies_of_head_are_swallowed_and_those_of_http_1_0_are_bare() {
        assert_eq!(line(&mut BodyEncoder::none(), 4), None);
        assert_eq!(line(&mut BodyEncoder::until_close(), 4).as_deref(), Some(&b""[..]));
        assert_eq!(BodyEncoder::until_close().finish(), (&b""[..], &b""[..]));
    }

    #[test]
    fn the_largest_chunk_has_room_for_its_line() {
        let mut encoder = BodyEncoder::chunked();
        line(&mut encoder, 1);
        assert_eq!(line(&mut encoder, usize::MAX).map(|line| line.len()), Some(CHUNK_LINE_BYTES_MAX));
    }
}
