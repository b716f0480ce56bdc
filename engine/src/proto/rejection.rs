//! Why a request is refused, and with which status.
//!
//! The table is Kestrel's (`KestrelBadHttpRequestException`), where the RFCs do not ask for another.

use std::fmt;

use peregrine_parser::{ChunkError, HeadError};

/// A reason to refuse a request. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "some are of TLS"))]
pub(crate) enum Rejection {
    /// The head breaks the grammar, a limit, or the framing rules.
    Head(HeadError),
    /// The chunked coding of the body is broken.
    Chunk(ChunkError),
    /// The trailer section is broken.
    Trailer(HeadError),
    /// A trailer that frames, routes or authenticates (RFC 9110 section 6.5.1).
    ForbiddenTrailer,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// POST or PUT in HTTP/1.0 without a length (RFC 1945 section 7.2.2).
    LengthRequired,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    UnknownExpectation,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body arrived more slowly than the limit allows.
    BodyTimeout,
    /// All bodies together take more memory than the limit allows.
    BodiesTooLarge,
    /// The server has as many connections as it may have.
    TooManyConnections,
    /// The peer's address has as many connections as it may have.
    TooManyConnectionsOfAddress,
    /// A request without TLS on an endpoint of https.
    PlainHttpOnTls,
    /// A TLS handshake on an endpoint of http. It is answered with an alert.
    TlsOnPlainHttp,
}

/// What tells a TLS client that it has come to the wrong port: the alert `handshake_failure`, fatal (RFC 8446 section 6).
pub(crate) const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// How a client's first TLS record begins: a handshake, of any version (RFC 8446 section 5.1).
pub(crate) const TLS_HELLO: [u8; 2] = [22, 3];

impl Rejection {
    /// How many kinds are counted apart.
    pub(crate) const KINDS: usize = 14;

    /// The kind's number, for counting.
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::Head(_) => 0,
            Self::Chunk(_) => 1,
            Self::Trailer(_) => 2,
            Self::ForbiddenTrailer => 3,
            Self::BodyTooLarge => 4,
            Self::LengthRequired => 5,
            Self::UnknownExpectation => 6,
            Self::HeadTimeout => 7,
            Self::BodyTimeout => 8,
            Self::BodiesTooLarge => 9,
            Self::TooManyConnections => 10,
            Self::TooManyConnectionsOfAddress => 11,
            Self::PlainHttpOnTls => 12,
            Self::TlsOnPlainHttp => 13,
        }
    }

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
            Self::Chunk(_)
            | Self::Trailer(_)
            | Self::ForbiddenTrailer
            | Self::LengthRequired
            | Self::PlainHttpOnTls
            | Self::TlsOnPlainHttp => 400,
            Self::BodyTooLarge => 413,
            Self::UnknownExpectation => 417,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodiesTooLarge | Self::TooManyConnections | Self::TooManyConnectionsOfAddress => 503,
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

    /// The value of `Retry-After`, in seconds, where trying again helps (RFC 9110 section 10.2.3).
    pub(crate) fn retry_after(self) -> Option<&'static str> {
        (self.status() == 503).then_some("1")
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Chunk(error) => error.fmt(f),
            Self::Trailer(error) => write!(f, "trailers: {error}"),
            Self::ForbiddenTrailer => f.write_str("a field that may not be a trailer"),
            Self::BodyTooLarge => f.write_str("the body is larger than max_request_body_size"),
            Self::LengthRequired => f.write_str("POST or PUT in HTTP/1.0 without Content-Length"),
            Self::UnknownExpectation => f.write_str("an expectation other than 100-continue"),
            Self::HeadTimeout => f.write_str("the head took longer than request_headers_timeout"),
            Self::BodyTimeout => f.write_str("the body came more slowly than min_request_body_data_rate"),
            Self::BodiesTooLarge => f.write_str("max_buffered_bodies_size is used up"),
            Self::PlainHttpOnTls => f.write_str("plain HTTP on an endpoint of https"),
            Self::TlsOnPlainHttp => f.write_str("a TLS handshake on an endpoint of http"),
            Self::TooManyConnections => f.write_str("max_concurrent_connections are open"),
            Self::TooManyConnectionsOfAddress => f.write_str("max_connections_per_address are open"),
        }
    }
}
