//! Protocol machines, sans-io: bytes and time in, requests and bytes out.
//!
//! Owns what a request is, whatever protocol carried it ([`RequestParts`]), and why one is refused
//! ([`Rejection`]). `h1` is the first machine; others will stand beside it. Nothing here may import the
//! driver's or the system's side, but for the type of bytes to send.

pub(crate) mod h1;
mod rejection;

use std::time::Duration;

use peregrine_parser::{Field, Method, TargetForm, Version};

pub(crate) use rejection::{Rejection, TLS_ALERT, TLS_HELLO};

/// A request, head and body, as borrowed parts that know no protocol version's syntax.
#[derive(Clone, Copy)]
pub(crate) struct RequestParts<'a> {
    pub(crate) method: Method,
    /// The method as it came.
    pub(crate) method_name: &'a [u8],
    pub(crate) version: Version,
    /// The target as it came.
    pub(crate) target: &'a [u8],
    pub(crate) form: TargetForm,
    /// Percent-decoded, without dot segments; `*` for the whole server.
    pub(crate) path: &'a [u8],
    /// Behind the `?`, as it came.
    pub(crate) query: Option<&'a [u8]>,
    /// Names and values as spans of `head`.
    pub(crate) fields: &'a [Field],
    pub(crate) head: &'a [u8],
    /// So many bytes at the beginning of `head` are the head.
    pub(crate) head_bytes: usize,
    /// The whole body, decoded; empty where it is read as a stream.
    pub(crate) body: &'a [u8],
    /// What came behind the body.
    pub(crate) trailers: &'a Trailers,
    /// The client asks for another protocol, and may: HTTP/1.1, `Connection: upgrade` and no body.
    pub(crate) may_upgrade: bool,
    /// CONNECT may make a tunnel: HTTP/1.1, and no body.
    pub(crate) may_tunnel: bool,
}

/// Fields that came behind a body, kept apart from those of the head (RFC 9110 section 6.5.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailers {
    pub(crate) bytes: Vec<u8>,
    /// Spans of `bytes`.
    pub(crate) fields: Vec<Field>,
}

impl Trailers {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }
}

/// The least rate at which bytes must move (Kestrel's `MinDataRate`).
///
/// ```
/// use std::time::Duration;
///
/// use peregrine::{Limits, MinDataRate};
///
/// let mut limits = Limits::default();
/// limits.min_request_body_data_rate = Some(MinDataRate::new(1000, Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinDataRate {
    /// Bytes per second, on average; above 0.
    pub bytes_per_second: u32,
    /// For so long any rate will do. More than a second, as in Kestrel.
    pub grace_period: Duration,
}

impl MinDataRate {
    /// `bytes_per_second` on average, once `grace_period` is over.
    #[must_use]
    pub const fn new(bytes_per_second: u32, grace_period: Duration) -> Self {
        Self { bytes_per_second, grace_period }
    }
}

/// The same, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    bytes_per_second: u32,
    grace_millis: u64,
}

impl From<MinDataRate> for Rate {
    fn from(rate: MinDataRate) -> Self {
        let grace_millis = u64::try_from(rate.grace_period.as_millis()).unwrap_or(u64::MAX);
        Self { bytes_per_second: rate.bytes_per_second.max(1), grace_millis }
    }
}

impl Rate {
    /// How long so many bytes may take, in milliseconds.
    #[inline]
    pub(crate) fn millis_for(self, bytes: u64) -> u64 {
        let (millibytes, rate) = (bytes.saturating_mul(1000), u64::from(self.bytes_per_second));
        // Nearly always, and without a division.
        if millibytes <= self.grace_millis.saturating_mul(rate) {
            return self.grace_millis;
        }
        millibytes / rate
    }
}

/// What a handler asked for and cannot have: the response becomes a 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// The name is no token (RFC 9110 section 5.1), or one of the fields that frame the message.
    Name,
    /// The value holds a control character (RFC 9110 section 5.5), or is no number where one is needed.
    Value,
    /// Not a final status: 200 to 599.
    Status(u16),
    /// The body could not be serialized.
    Body,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => f.write_str("the field's name is no token, or the engine's own"),
            Self::Value => f.write_str("the field's value holds a control character or is no number"),
            Self::Status(status) => write!(f, "{status} is no final status (200 to 599)"),
            Self::Body => f.write_str("the body could not be serialized"),
        }
    }
}

impl std::error::Error for FieldError {}
