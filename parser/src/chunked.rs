//! The chunked transfer coding, RFC 9112 7.1, up to its trailer section.
//!
//! It sees framing bytes and counts data bytes. It must not know where the data goes or how much is welcome.

use crate::percent::hex_digit;
use crate::table::{is_ows, is_token, is_value};

/// Bytes of chunk extensions that one message may carry. They are checked and dropped: nobody uses them
/// but to make a recipient work.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 4096;

/// Why a chunked body was refused. After each of them the end of the message is unknown.
#[repr(u8)]
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ChunkError {
    /// A chunk size that is not hexadecimal digits alone, RFC 9112 7.1.
    InvalidSize,
    /// A chunk size of more than 16 digits, leading zeros among them.
    SizeOverflow,
    /// Not a chunk extension in the grammar of RFC 9112 7.1.1.
    InvalidExtension,
    /// More than [`CHUNK_EXTENSION_BYTES_MAX`].
    ExtensionsTooLarge,
    /// Chunk data that is not followed by CRLF.
    MissingDataEnd,
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
}

impl ChunkError {
    /// One sentence for a log, without what the peer sent.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::InvalidSize => "invalid chunk size",
            Self::SizeOverflow => "chunk size too large to represent",
            Self::InvalidExtension => "invalid chunk extension",
            Self::ExtensionsTooLarge => "too many bytes of chunk extensions",
            Self::MissingDataEnd => "chunk data not followed by CRLF",
            Self::BareCr => "CR not followed by LF in chunk framing",
            Self::BareLf => "LF not preceded by CR in chunk framing",
        }
    }
}

impl core::fmt::Display for ChunkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.describe())
    }
}

impl core::error::Error for ChunkError {}

/// What [`ChunkedDecoder::decode`] found at the start of its input. Whatever the variant counts is consumed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Chunk {
    /// Some data; `len` is never 0.
    Data {
        /// Framing bytes before the data.
        skip: usize,
        /// Bytes of data.
        len: usize,
    },
    /// The last chunk's line ended. The trailer section follows: go on with
    /// [`HeadParser::trailers`](crate::HeadParser::trailers).
    Last {
        /// Framing bytes.
        consumed: usize,
    },
    /// Framing bytes only, up to the end of the input.
    Partial {
        /// All of the input.
        consumed: usize,
    },
}

/// A resumable decoder of one chunked body. It keeps no bytes: feed it each byte once, cut up in any way.
#[derive(Copy, Clone, Debug)]
pub struct ChunkedDecoder {
    /// The size read so far, then the data bytes still to come.
    remaining: u64,
    extension_bytes: u32,
    digits: u8,
    state: State,
}

const _: () = assert!(size_of::<ChunkedDecoder>() <= 24);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// Hexadecimal digits, at least one.
    Size,
    /// Whitespace after a size, a name or a value: only `;` may follow, after a name also `=`.
    SpaceBeforeSemicolon,
    SpaceAfterName,
    /// After `;`: whitespace, then the first byte of a name.
    NameStart,
    Name,
    /// After `=`: whitespace, then the first byte of a token or the opening quote.
    ValueStart,
    Value,
    Quoted,
    /// After a backslash.
    QuotedPair,
    AfterQuoted,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Done,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the first byte of the first chunk's size.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { remaining: 0, extension_bytes: 0, digits: 0, state: State::Size }
    }

    /// Whether [`Chunk::Last`] was reached.
    #[inline]
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes of the current chunk's data that are announced and have not come.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        match self.state {
            State::Data => self.remaining,
            _ => 0,
        }
    }

    /// Reads on. Call it again with what follows the consumed bytes; once [`Chunk::Last`] was answered it
    /// consumes nothing more.
    ///
    /// # Errors
    ///
    /// A [`ChunkError`], the same for every way of cutting the body up. The decoder is of no use afterwards.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Chunk, ChunkError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data => {
                    let left = input.len() - at;
                    if left == 0 {
                        return Ok(Chunk::Partial { consumed: at });
                    }
                    let len = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(left);
                    self.remaining -= len as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Chunk::Data { skip: at, len });
                }
                State::Done => return Ok(Chunk::Last { consumed: at }),
                _ => {}
            }
            let Some(&byte) = input.get(at) else { return Ok(Chunk::Partial { consumed: at }) };
            at += 1;
            match (self.state, byte) {
                (State::Size, _) => self.size(byte)?,
                (State::SizeLf, b'\n') if self.remaining == 0 => self.state = State::Done,
                (State::SizeLf, b'\n') => self.state = State::Data,
                (State::SizeLf, _) => return Err(ChunkError::BareCr),
                (State::DataCr, b'\r') => self.state = State::DataLf,
                (State::DataCr, b'\n') => return Err(ChunkError::BareLf),
                (State::DataCr, _) => return Err(ChunkError::MissingDataEnd),
                (State::DataLf, b'\n') => {
                    self.digits = 0;
                    self.state = State::Size;
                }
                (State::DataLf, _) => return Err(ChunkError::BareCr),
                _ => self.extension(byte)?,
            }
        }
    }

    #[inline(always)]
    fn size(&mut self, byte: u8) -> Result<(), ChunkError> {
        const DIGITS_MAX: u8 = 16;

        if let Some(digit) = hex_digit(byte) {
            if self.digits == DIGITS_MAX {
                return Err(ChunkError::SizeOverflow);
            }
            self.remaining = self.remaining << 4 | u64::from(digit);
            self.digits += 1;
            return Ok(());
        }
        match byte {
            b'\n' => Err(ChunkError::BareLf),
            _ if self.digits == 0 => Err(ChunkError::InvalidSize),
            b'\r' => {
                self.state = State::SizeLf;
                Ok(())
            }
            b';' | b' ' | b'\t' => self.extension(byte),
            _ => Err(ChunkError::InvalidSize),
        }
    }

    /// One byte of the extensions, with the `;` or the whitespace that starts them.
    #[cold]
    fn extension(&mut self, byte: u8) -> Result<(), ChunkError> {
        use State::{
            AfterQuoted, Name, NameStart, Quoted, QuotedPair, Size, SizeLf, SpaceAfterName,
            SpaceBeforeSemicolon, Value, ValueStart,
        };

        let state = self.state;
        self.state = match (state, byte) {
            (_, b'\n') => return Err(ChunkError::BareLf),
            (Name | Value | AfterQuoted, b'\r') => SizeLf,
            (Size | SpaceBeforeSemicolon | Name | SpaceAfterName | Value | AfterQuoted, b';') => NameStart,
            (Size | SpaceBeforeSemicolon | Value | AfterQuoted, _) if is_ows(byte) => SpaceBeforeSemicolon,
            (NameStart | SpaceAfterName | ValueStart, _) if is_ows(byte) => state,
            (Name, _) if is_ows(byte) => SpaceAfterName,
            (NameStart | Name, _) if is_token(byte) => Name,
            (Name | SpaceAfterName, b'=') => ValueStart,
            (ValueStart | Value, _) if is_token(byte) => Value,
            (ValueStart, b'"') => Quoted,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, _) if is_value(byte) => Quoted,
            _ => return Err(ChunkError::InvalidExtension),
        };
        if self.state != SizeLf {
            self.extension_bytes += 1;
            if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                return Err(ChunkError::ExtensionsTooLarge);
            }
        }
        Ok(())
    }
}
