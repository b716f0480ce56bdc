//! What a peer may ask of the server before it is turned away.
//!
//! The names, the defaults and what happens on violation are Kestrel's (`KestrelServerLimits`).

use std::time::Duration;

use super::error::{Result, StartError};
use crate::app::RouteLimits;
use crate::proto::MinDataRate;

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
    /// announces it, otherwise as soon as more has arrived. [`App::limits_for`](crate::App::limits_for) sets it for
    /// one route.
    pub max_request_body_size: Option<u64>,

    /// How much of a request may wait to be read by a handler that streams, in bytes; `None` for any amount.
    /// Default 1 048 576 (Kestrel's `MaxRequestBufferSize`).
    ///
    /// When more has arrived the connection is not received from until half of it is read: the client has to
    /// wait. What has arrived by then is kept. It bounds pipelined requests as well, of which no more than 64 KiB
    /// wait.
    pub max_request_buffer_size: Option<usize>,

    /// How much of a streamed response may wait to be sent, in bytes; `None` for any amount, 0 to send each write
    /// before the next. Default 65 536 (Kestrel's `MaxResponseBufferSize`).
    ///
    /// A handler that writes more waits.
    pub max_response_buffer_size: Option<usize>,

    /// How much memory the bodies may take that are collected for handlers which want them whole, in bytes, those
    /// of all connections together; `None` for any amount. Each worker has an equal part. Default 1 GiB.
    ///
    /// A request whose body needs more is answered with 503 and `Retry-After`, and the connection is closed.
    /// Kestrel has no such limit, because its bodies are always streams.
    pub max_buffered_bodies_size: Option<u64>,

    /// How many connections may be open at once; `None` for any number, the default (Kestrel's
    /// `MaxConcurrentConnections`). Upgraded ones do not count.
    ///
    /// One more is answered with 503 and `Retry-After` when it has asked for something, or after 5 s, and closed:
    /// Kestrel drops it without a word. Of such, 256 per worker may wait to ask; any more are dropped.
    pub max_concurrent_connections: Option<u64>,

    /// How many connections may have been upgraded and be open at once; `None` for any number, the default
    /// (Kestrel's `MaxConcurrentUpgradedConnections`).
    ///
    /// One more cannot be upgraded: the handler is told.
    pub max_concurrent_upgraded_connections: Option<u64>,

    /// How many connections one IP address may have open at once, an IPv6 network of 64 bits counting as one
    /// address; `None` for any number, the default. Upgraded ones count too. Behind a proxy all connections are
    /// the proxy's.
    ///
    /// One more is answered as with [`max_concurrent_connections`](Self::max_concurrent_connections).
    pub max_connections_per_address: Option<u32>,

    /// How many requests a connection may bring; `None` for any number, the default.
    ///
    /// The response to the last one says `Connection: close`.
    pub max_requests_per_connection: Option<u64>,

    /// How old a connection may become; `None` for any age, the default. For load balancers, so that clients
    /// spread anew.
    ///
    /// The next response after that says `Connection: close`; an idle connection is closed.
    pub max_connection_lifetime: Option<Duration>,

    /// The least rate at which a request's body must arrive; `None` for any. Default 240 bytes per second after a
    /// grace period of 5 s (Kestrel's `MinRequestBodyDataRate`).
    ///
    /// The rate is an average over the time that the body is waited for: while a streaming handler does not read,
    /// it does not count. A slower body is answered with 408 and the connection is closed. So is one of which
    /// nothing has arrived for as long as [`keep_alive_timeout`](Self::keep_alive_timeout).
    pub min_request_body_data_rate: Option<MinDataRate>,

    /// The least rate at which a client must take what is sent; `None` for any. Default 240 bytes per second, and
    /// 5 s at least for each send (Kestrel's `MinResponseDataRate`).
    ///
    /// The connection of a slower one is aborted. So is that of one which has taken nothing for as long as
    /// [`keep_alive_timeout`](Self::keep_alive_timeout).
    pub min_response_data_rate: Option<MinDataRate>,

    /// How long a connection may stay idle between two requests. Default 130 s (Kestrel's
    /// `KeepAliveTimeout`), a little more than the two minutes that clients keep idle connections for.
    ///
    /// After that the connection is closed without a response. Timeouts are kept to the second.
    pub keep_alive_timeout: Duration,

    /// How long the head of a request may take, from its first byte to its last. Default 30 s (Kestrel's
    /// `RequestHeadersTimeout`).
    ///
    /// A slower one is answered with 408 and the connection is closed.
    pub request_headers_timeout: Duration,

    /// How long a handler may go on when its client has shut down its sending side and nothing is being sent to it.
    /// Default 1 s; zero ends it at once.
    ///
    /// Most clients that do so have closed, and nobody can tell these from those who still read. The handler's future
    /// is dropped then, see [`detach`](crate::detach), and the connection aborted.
    pub half_closed_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_line_size: 8192,
            max_request_headers_total_size: 32_768,
            max_request_header_count: 100,
            max_request_body_size: Some(30_000_000),
            max_request_buffer_size: Some(1_048_576),
            max_response_buffer_size: Some(65_536),
            max_buffered_bodies_size: Some(1 << 30),
            max_concurrent_connections: None,
            max_concurrent_upgraded_connections: None,
            max_connections_per_address: None,
            max_requests_per_connection: None,
            max_connection_lifetime: None,
            min_request_body_data_rate: Some(MinDataRate::new(240, Duration::from_secs(5))),
            min_response_data_rate: Some(MinDataRate::new(240, Duration::from_secs(5))),
            keep_alive_timeout: Duration::from_secs(130),
            request_headers_timeout: Duration::from_secs(30),
            half_closed_timeout: Duration::from_secs(1),
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
            ("max_request_buffer_size", self.max_request_buffer_size == Some(0)),
            ("max_concurrent_connections", self.max_concurrent_connections == Some(0)),
            ("max_connections_per_address", self.max_connections_per_address == Some(0)),
            ("max_requests_per_connection", self.max_requests_per_connection == Some(0)),
            ("max_connection_lifetime", self.max_connection_lifetime == Some(Duration::ZERO)),
        ];
        if let Some((option, _)) = zero.iter().find(|(_, zero)| *zero) {
            return Err(StartError::InvalidOption { option, problem: "it must be above 0" });
        }
        // As Kestrel: a request that fits its limits must fit the buffer too.
        let buffer = self.max_request_buffer_size.unwrap_or(usize::MAX);
        if buffer < self.max_request_line_size || buffer < self.max_request_headers_total_size {
            let problem = "it must be at least max_request_line_size and max_request_headers_total_size";
            return Err(StartError::InvalidOption { option: "max_request_buffer_size", problem });
        }
        check_rates(self.min_request_body_data_rate, self.min_response_data_rate)
    }

    /// Those that a route may have of its own.
    pub(crate) fn of_routes(&self) -> RouteLimits {
        RouteLimits {
            max_request_body_size: self.max_request_body_size,
            min_request_body_data_rate: self.min_request_body_data_rate,
            min_response_data_rate: self.min_response_data_rate,
        }
    }
}

/// # Errors
/// A rate that is none, or a grace period that deadlines cannot keep.
pub(super) fn check_rates(request: Option<MinDataRate>, response: Option<MinDataRate>) -> Result<()> {
    let rates = [("min_request_body_data_rate", request), ("min_response_data_rate", response)];
    for (option, rate) in rates {
        let Some(rate) = rate else { continue };
        if rate.bytes_per_second == 0 {
            let problem = "it must be above 0 bytes per second; None turns it off";
            return Err(StartError::InvalidOption { option, problem });
        }
        if rate.grace_period <= Duration::from_secs(1) {
            return Err(StartError::InvalidOption { option, problem: "its grace period must be above 1 s" });
        }
    }
    Ok(())
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
        let rate = Some(MinDataRate::new(240, Duration::from_secs(1)));
        let limits = Limits { min_response_data_rate: rate, ..Limits::default() };
        let error = limits.check().unwrap_err().to_string();
        assert!(error.contains("min_response_data_rate") && error.contains("above 1 s"), "{error}");
        let limits = Limits { max_request_buffer_size: Some(32_767), ..Limits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("max_request_headers_total_size"));
        let limits = Limits { request_headers_timeout: Duration::ZERO, ..Limits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("request_headers_timeout"));
        let no_bodies = Limits { max_request_body_size: Some(0), ..Limits::default() };
        no_bodies.check().unwrap();
    }
}
