//! Where the body of a request ends: RFC 9112 6.3 as one function, so that there is one answer.
//!
//! It must not know how large a body may be, nor what a method makes of one.

use crate::list::list_items;
use crate::{Field, FieldName, HeadError, RequestHead, Version, eq_ignore_ascii_case, is_token};

/// How long the body of a request is, before any coding is removed.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// No framing field: the request ends with its head.
    #[default]
    None,
    /// Content-Length, in bytes; may be 0.
    Length(u64),
    /// `chunked`: [`ChunkedDecoder`](crate::ChunkedDecoder) finds the end.
    Chunked,
}

/// The length of the body that follows `head`.
///
/// Stricter than RFC 9112 where it leaves a choice: both framing fields at once, a repeated, listed or
/// zero-padded Content-Length and any transfer coding but one final `chunked` are refused.
///
/// # Errors
///
/// [`HeadError::ContentLengthWithTransferEncoding`], [`HeadError::MultipleContentLengths`],
/// [`HeadError::InvalidContentLength`], [`HeadError::ContentLengthOverflow`],
/// [`HeadError::TransferEncodingOnHttp10`], [`HeadError::InvalidTransferEncoding`],
/// [`HeadError::ChunkedNotFinal`], [`HeadError::RepeatedChunked`], [`HeadError::UnknownTransferCoding`].
/// After each of them the end of the message is unknown: the connection can not be kept.
#[inline]
pub fn request_body(head: &RequestHead, fields: &[Field], bytes: &[u8]) -> Result<BodyLength, HeadError> {
    let length = head.known.first(FieldName::ContentLength);
    let coding = head.known.first(FieldName::TransferEncoding);
    match (length, coding) {
        (None, None) => Ok(BodyLength::None),
        (Some(_), Some(_)) => Err(HeadError::ContentLengthWithTransferEncoding),
        (Some(_), None) if head.known.is_repeated(FieldName::ContentLength) => {
            Err(HeadError::MultipleContentLengths)
        }
        (Some(index), None) => {
            let value = fields.get(index).ok_or(HeadError::InvalidContentLength)?.value.of(bytes);
            content_length(value).map(BodyLength::Length)
        }
        (None, Some(_)) if head.version == Version::Http10 => Err(HeadError::TransferEncodingOnHttp10),
        (None, Some(_)) => transfer_codings(head, fields, bytes),
    }
}

fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    match value {
        [] => return Err(HeadError::InvalidContentLength),
        // Some recipients read it as octal, some drop the field.
        [b'0', _, ..] => return Err(HeadError::InvalidContentLength),
        _ if value.contains(&b',') => return Err(HeadError::MultipleContentLengths),
        _ if !value.iter().all(u8::is_ascii_digit) => return Err(HeadError::InvalidContentLength),
        _ => {}
    }
    value
        .iter()
        .try_fold(0u64, |length, digit| length.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(HeadError::ContentLengthOverflow)
}

#[cold]
fn transfer_codings(head: &RequestHead, fields: &[Field], bytes: &[u8]) -> Result<BodyLength, HeadError> {
    let mut others = 0usize;
    let mut chunked = 0usize;
    let mut last_is_chunked = false;
    for value in head.values(FieldName::TransferEncoding, fields, bytes) {
        for coding in list_items(value) {
            let name_len = coding.iter().position(|&byte| byte == b';').unwrap_or(coding.len());
            let (name, parameters) = coding.split_at_checked(name_len).unwrap_or_default();
            last_is_chunked = eq_ignore_ascii_case(name, b"chunked");
            match (last_is_chunked, parameters.is_empty()) {
                (true, true) => chunked += 1,
                (false, _) if is_token(crate::list::trim_ows(name)) => others += 1,
                _ => return Err(HeadError::InvalidTransferEncoding),
            }
        }
    }
    match (chunked, others) {
        _ if !last_is_chunked => Err(HeadError::ChunkedNotFinal),
        (2.., _) => Err(HeadError::RepeatedChunked),
        (_, 1..) => Err(HeadError::UnknownTransferCoding),
        _ => Ok(BodyLength::Chunked),
    }
}
