//! The body of one request that is arriving, decoded piece by piece where it lies.
//!
//! Owns framing, the count of bytes against their limit, and the trailer section. It keeps no data, so that a
//! body of any length takes the same memory. It must not know where pieces come from or who wants them.
//! RFC 9112 sections 6 and 7.

use std::ops::Range;

use peregrine_parser::{BodyLength, Chunk, ChunkedDecoder, Field, HeadLimits, HeadParser, Simd, Status};

use crate::proto::{Rejection, Trailers};

/// What came of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Where the data is now: moved together, at or before where it arrived.
    pub(crate) data: Range<usize>,
    /// Bytes of the piece that belong to the body, framing and trailers included.
    pub(crate) consumed: usize,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(ChunkedDecoder),
    /// The last chunk is here.
    Trailers(HeadParser),
    /// All is data until the connection ends: no HTTP any more.
    Raw,
    Done,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    framing: Framing,
    /// Bytes of data so far, and at most.
    received: u64,
    max_bytes: u64,
    /// What the head has left of its budget for trailers.
    limits: HeadLimits,
    fields_left: u16,
    trailers: Trailers,
}

impl Default for BodyDecoder {
    /// No body.
    fn default() -> Self {
        Self {
            framing: Framing::Done,
            received: 0,
            max_bytes: 0,
            limits: HeadLimits::default(),
            fields_left: 0,
            trailers: Trailers::default(),
        }
    }
}

impl BodyDecoder {
    /// Begins the next body. `limits` and `fields_left` are for its trailers.
    #[inline]
    pub(crate) fn begin(&mut self, length: BodyLength, limits: HeadLimits, fields_left: u16) {
        self.framing = match length {
            BodyLength::None | BodyLength::Length(0) => Framing::Done,
            BodyLength::Length(length) => Framing::Length(length),
            BodyLength::Chunked => Framing::Chunked(ChunkedDecoder::new()),
        };
        self.received = 0;
        self.max_bytes = u64::MAX;
        self.limits = limits;
        self.fields_left = fields_left;
        self.trailers.clear();
    }

    /// Says how much data is welcome.
    ///
    /// # Errors
    /// More is announced.
    pub(crate) fn limit(&mut self, max_bytes: u64) -> Result<(), Rejection> {
        self.max_bytes = max_bytes;
        match self.framing {
            Framing::Length(length) if length > max_bytes => Err(Rejection::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// From here on all is data: the connection has been handed over.
    pub(crate) fn become_raw(&mut self) {
        self.framing = Framing::Raw;
        self.max_bytes = u64::MAX;
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.framing, Framing::Done)
    }

    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.framing, Framing::Raw)
    }

    /// Bytes of data so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes to come, as far as they were announced.
    pub(crate) fn announced(&self) -> u64 {
        match self.framing {
            Framing::Length(left) => left,
            _ => 0,
        }
    }

    /// The trailers of a body that is done.
    pub(crate) fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    #[inline]
    pub(crate) fn forget_trailers(&mut self) {
        self.trailers.clear();
    }

    pub(crate) fn take_trailers(&mut self) -> Trailers {
        std::mem::take(&mut self.trailers)
    }

    /// Takes the next piece, up to the end of the body or of the piece.
    ///
    /// # Errors
    /// Why the request is refused; nothing that follows on the connection can be trusted.
    pub(crate) fn decode(&mut self, simd: Simd, bytes: &mut [u8]) -> Result<Decoded, Rejection> {
        let mut data = 0..0;
        let mut at = 0;
        loop {
            match &mut self.framing {
                Framing::Done => return Ok(Decoded { data, consumed: at }),
                Framing::Raw => {
                    return Ok(Decoded { data: 0..bytes.len(), consumed: bytes.len() });
                }
                Framing::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= len as u64;
                    self.received += len as u64;
                    if *left == 0 {
                        self.framing = Framing::Done;
                    }
                    return Ok(Decoded { data: 0..len, consumed: len });
                }
                Framing::Chunked(decoder) => {
                    let chunk = decoder.decode(&bytes[at..]).map_err(Rejection::Chunk)?;
                    if let Chunk::Data { len, .. } = chunk {
                        self.received += len as u64;
                    }
                    // By its announcement, too: nobody waits for what will not be taken.
                    if self.received.saturating_add(decoder.remaining()) > self.max_bytes {
                        return Err(Rejection::BodyTooLarge);
                    }
                    match chunk {
                        Chunk::Data { skip, len } => {
                            let from = at + skip;
                            if data.is_empty() {
                                data = from..from + len;
                            } else {
                                bytes.copy_within(from..from + len, data.end);
                                data.end += len;
                            }
                            at = from + len;
                        }
                        Chunk::Partial { consumed } => {
                            return Ok(Decoded { data, consumed: at + consumed });
                        }
                        Chunk::Last { consumed } => {
                            at += consumed;
                            self.framing = Framing::Trailers(HeadParser::trailers());
                        }
                    }
                }
                Framing::Trailers(parser) => {
                    let mut parser = *parser;
                    let (taken, done) = self.parse_trailers(simd, &mut parser, &bytes[at..])?;
                    self.framing = if done { Framing::Done } else { Framing::Trailers(parser) };
                    at += taken;
                    return Ok(Decoded { data, consumed: at });
                }
            }
        }
    }

    /// Goes on with the trailer section. Returns how many bytes belong to it, and whether it is complete.
    fn parse_trailers(
        &mut self,
        simd: Simd,
        parser: &mut HeadParser,
        bytes: &[u8],
    ) -> Result<(usize, bool), Rejection> {
        // Nearly always there are none.
        if self.trailers.bytes.is_empty() && bytes.starts_with(b"\r\n") {
            return Ok((2, true));
        }
        if bytes.is_empty() {
            return Ok((0, false));
        }
        let before = self.trailers.bytes.len();
        self.trailers.bytes.extend_from_slice(bytes);
        self.trailers.fields.resize(usize::from(self.fields_left), Field::default());
        let Trailers { bytes: section, fields } = &mut self.trailers;
        match parser.parse(simd, section, fields, &self.limits).map_err(Rejection::Trailer)? {
            Status::Partial => Ok((bytes.len(), false)),
            Status::Complete(()) => {
                let head = parser.head();
                let len = head.len as usize;
                section.truncate(len);
                fields.truncate(usize::from(head.field_count));
                if fields.iter().any(|field| !field.id.is_allowed_in_trailers()) {
                    return Err(Rejection::ForbiddenTrailer);
                }
                Ok((len - before, true))
            }
        }
    }
}
