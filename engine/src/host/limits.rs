//! What a peer may ask of the server before it is turned away.
//!
//! The names, the defaults and what happens on violation are Kestrel's (`KestrelServerLimits`).

use std::time::Duration;

use super::error::{Result, StartError};

/// What a peer may ask of the server before it is turned away.
///
/// ```
/// let mut limits = peregrine::Limits::default();
/// limits.max_request_body_size = Some(1_000_000);
/// assert_eq!(limits.max_request_header_count, 100);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest request line, in bytes, its line ending included. Default 8192 (Kestrel's
    /// `MaxRequestLineSize`; nginx's as well).
    ///
    /// A longer one is answered with 414 and the connection is closed. Above 4 GiB it counts as 4 GiB.
    pub max_request_line_size: usize,

    /// All header fields of a request together, in bytes, line endings included; a chunked body's trailers
    /// draw on the same budget. Default 32 768 (Kestrel's `MaxRequestHeadersTotalSize`).
    ///
    /// A larger head is answered with 431 and the connection is closed. Above 4 GiB it counts as 4 GiB.
    pub max_request_headers_total_size: usize,

    /// The number of header fields of a request, trailers included. Default 100 (Kestrel's
    /// `MaxRequestHeaderCount`; Apache's as well).
    ///
    /// One field more is answered with 431 and the connection is closed. Above 65,535 it counts as that.
    pub max_request_header_count: usize,

    /// The largest request body, in bytes; `None` lifts the limit. Default 30 000 000 (Kestrel's
    /// `MaxRequestBodySize`; that of IIS as well).
    ///
    /// A larger body is answered with 413 and the connection is closed: at once when `Content-Length`
    /// announces it, otherwise as soon as more has arrived.
    pub max_request_body_size: Option<u64>,

    /// How long a connection may stay idle between two requests. Default 130 s (Kestrel's
    /// `KeepAliveTimeout`), a little more than the two minutes that clients keep idle connections for.
    ///
    /// After that the connection is closed without a response. Timeouts are kept to the second.
    ///
    /// It is also how long a body may stall that has not arrived whole, and a send that its peer does not
    /// take: whenever some bytes have moved the time begins anew. A connection that has stalled for longer is
    /// ended, without an answer to its incomplete request.
    pub keep_alive_timeout: Duration,

    /// How long the head of a request may take, from its first byte to its last. Default 30 s (Kestrel's
    /// `RequestHeadersTimeout`).
    ///
    /// A slower one is answered with 408 and the connection is closed.
    pub request_headers_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_line_size: 8192,
            max_request_headers_total_size: 32_768,
            max_request_header_count: 100,
            max_request_body_size: Some(30_000_000),
            keep_alive_timeout: Duration::from_secs(130),
            request_headers_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// # Errors
    /// A limit that lets no request through.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("max_request_line_size", self.max_request_line_size == 0),
            ("max_request_headers_total_size", self.max_request_headers_total_size == 0),
            ("max_request_header_count", self.max_request_header_count == 0),
            ("keep_alive_timeout", self.keep_alive_timeout.is_zero()),
            ("request_headers_timeout", self.request_headers_timeout.is_zero()),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((option, _)) => Err(StartError::InvalidOption { option, problem: "it must be above 0" }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_kestrels_and_pass() {
        let limits = Limits::default();
        assert_eq!(limits.keep_alive_timeout.as_secs(), 130);
        limits.check().unwrap();
    }

    #[test]
    fn a_limit_of_nothing_is_refused_by_name() {
        let limits = Limits { max_request_header_count: 0, ..Limits::default() };
        let error = limits.check().unwrap_err().to_string();
        assert_eq!(error, "The option max_request_header_count is not usable: it must be above 0.");
        let limits = Limits { request_headers_timeout: Duration::ZERO, ..Limits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("request_headers_timeout"));
        let no_bodies = Limits { max_request_body_size: Some(0), ..Limits::default() };
        no_bodies.check().unwrap();
    }
}
