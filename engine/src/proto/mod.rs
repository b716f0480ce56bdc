//! Protocol machines, sans-io: bytes and time in, requests and bytes out.
//!
//! Owns what a request is, whatever protocol carried it ([`RequestParts`]), and why one is refused
//! ([`Rejection`]). `h1` is the first machine; others will stand beside it. Nothing here may import the
//! driver's or the system's side, but for the type of bytes to send.

pub(crate) mod h1;
mod rejection;

use peregrine_parser::{Field, Method, TargetForm, Version};

pub(crate) use rejection::Rejection;

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
    /// The whole body, decoded.
    pub(crate) body: &'a [u8],
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
