//! Why a request is refused, and with which status.
//!
//! The table is Kestrel's (`KestrelBadHttpRequestException`), where the RFCs do not ask for another.

use peregrine_parser::{ChunkError, HeadError};

/// A reason to refuse a request. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The head breaks the grammar, a limit, or the framing rules.
    Head(HeadError),
    /// The chunked coding of the body is broken.
    Chunk(ChunkError),
    /// The trailer section is broken.
    Trailer(HeadError),
    /// The body is larger than the limit.
    BodyTooLarge,
    /// POST or PUT in HTTP/1.0 without a length (RFC 1945 section 7.2.2).
    LengthRequired,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    UnknownExpectation,
    /// The head did not arrive in time.
    HeadTimeout,
}

impl Rejection {
    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Head(error) => match error {
                HeadError::RequestLineTooLong => 414,
                HeadError::FieldsTooLarge | HeadError::TooManyFields => 431,
                HeadError::UnsupportedVersion | HeadError::Http2Preface => 505,
                HeadError::UnknownTransferCoding => 501,
                HeadError::OptionsMethodRequired | HeadError::ConnectMethodRequired => 405,
                HeadError::ContentLengthOverflow => 413,
                _ => 400,
            },
            Self::Trailer(HeadError::FieldsTooLarge | HeadError::TooManyFields) => 431,
            Self::Chunk(_) | Self::Trailer(_) | Self::LengthRequired => 400,
            Self::BodyTooLarge => 413,
            Self::UnknownExpectation => 417,
            Self::HeadTimeout => 408,
        }
    }

    /// The value of `Allow`, which a 405 must have (RFC 9110 section 15.5.6).
    pub(crate) fn allow(self) -> Option<&'static str> {
        match self {
            Self::Head(HeadError::OptionsMethodRequired) => Some("OPTIONS"),
            Self::Head(HeadError::ConnectMethodRequired) => Some("CONNECT"),
            _ => None,
        }
    }
}
