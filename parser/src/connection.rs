//! What a request asks of its connection: Connection, RFC 9110 7.6.1, and Expect, RFC 9110 10.1.1.
//!
//! It must not decide: whether the connection is kept also depends on version, limits and draining.

use crate::list::list_items;
use crate::{Field, FieldName, HeadError, RequestHead, eq_ignore_ascii_case, is_token};

/// The options of all Connection fields that are known here.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct ConnectionOptions {
    /// `close`, RFC 9112 9.6. It wins over `keep_alive`.
    pub close: bool,
    /// `keep-alive`, which HTTP/1.0 needs to keep a connection, RFC 9112 9.3.
    pub keep_alive: bool,
    /// `upgrade`, without which an Upgrade field counts for nothing, RFC 9110 7.8.
    pub upgrade: bool,
}

/// Reads the Connection fields of a parsed head. Unknown options are ignored, empty list elements too.
///
/// # Errors
///
/// [`HeadError::InvalidConnection`] if an option is not a token.
pub fn connection_options(
    head: &RequestHead,
    fields: &[Field],
    bytes: &[u8],
) -> Result<ConnectionOptions, HeadError> {
    let mut options = ConnectionOptions::default();
    if head.known.first(FieldName::Connection).is_none() {
        return Ok(options);
    }
    for value in head.values(FieldName::Connection, fields, bytes) {
        for option in list_items(value) {
            if eq_ignore_ascii_case(option, b"keep-alive") {
                options.keep_alive = true;
            } else if eq_ignore_ascii_case(option, b"close") {
                options.close = true;
            } else if eq_ignore_ascii_case(option, b"upgrade") {
                options.upgrade = true;
            } else if !option.is_empty() && !is_token(option) {
                return Err(HeadError::InvalidConnection);
            }
        }
    }
    Ok(options)
}

/// What a request expects before its body is sent.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// No Expect field.
    #[default]
    None,
    /// `100-continue` alone. A server ignores it from an HTTP/1.0 client, RFC 9110 10.1.1.
    Continue,
    /// Anything else: status 417 is the answer for it.
    Unknown,
}

/// Reads the Expect fields of a parsed head.
#[must_use]
pub fn expectation(head: &RequestHead, fields: &[Field], bytes: &[u8]) -> Expectation {
    if head.known.first(FieldName::Expect).is_none() {
        return Expectation::None;
    }
    let mut values = head.values(FieldName::Expect, fields, bytes);
    if values.all(|value| eq_ignore_ascii_case(value, b"100-continue")) {
        Expectation::Continue
    } else {
        Expectation::Unknown
    }
}
