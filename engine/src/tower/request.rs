//! From a request as it was received to one of the crate `http`.
//!
//! Owns the conversion of heads and trailers. It must not know how bodies move.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use peregrine_parser::{Field, FieldName, Version, list_items};

use super::PeerAddr;
use crate::proto::RequestParts;

/// The request, or nothing if its target or a field is none in the eyes of `http`, which is stricter here and there.
///
/// The target stays as it came: in absolute form it has scheme and authority. Fields keep their order and repetitions,
/// their names are in lower case. All values lie in one copy of the head.
pub(super) fn convert<B>(
    parts: &RequestParts<'_>,
    peer: Option<SocketAddr>,
    body: B,
) -> Option<http::Request<B>> {
    let mut copy = Vec::with_capacity(parts.head_bytes + parts.target.len());
    copy.extend_from_slice(&parts.head[..parts.head_bytes]);
    copy.extend_from_slice(parts.target);
    let copy = Bytes::from(copy);
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::from_bytes(parts.method_name).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(copy.slice(parts.head_bytes..)).ok()?;
    *request.version_mut() = match parts.version {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
    };
    add_fields(request.headers_mut(), parts.fields, &copy)?;
    if let Some(peer) = peer {
        request.extensions_mut().insert(PeerAddr(peer));
    }
    Some(request)
}

/// Fields whose spans are of `bytes`.
fn add_fields(map: &mut HeaderMap, fields: &[Field], bytes: &Bytes) -> Option<()> {
    map.try_reserve(fields.len()).ok()?;
    for field in fields {
        let name = HeaderName::from_bytes(field.name.of(bytes)).ok()?;
        let value = field.value.of(bytes);
        let value = if value.is_empty() { Bytes::new() } else { bytes.slice_ref(value) };
        map.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
    }
    Some(())
}

/// The trailers behind a body, if there are some.
pub(super) fn trailers(trailers: &crate::proto::Trailers) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    add_fields(&mut map, &trailers.fields, &Bytes::copy_from_slice(&trailers.bytes))?;
    (!map.is_empty()).then_some(map)
}

/// Whether the client takes trailers (RFC 9110 section 10.1.4).
pub(super) fn takes_trailers(parts: &RequestParts<'_>) -> bool {
    parts.fields.iter().filter(|field| field.id == FieldName::Te).any(|field| {
        list_items(field.value.of(parts.head)).any(|item| item.eq_ignore_ascii_case(b"trailers"))
    })
}

/// The length that a body is promised to have.
pub(super) fn stated_length(parts: &RequestParts<'_>) -> Option<u64> {
    let field = parts.fields.iter().find(|field| field.id == FieldName::ContentLength)?;
    std::str::from_utf8(field.value.of(parts.head)).ok()?.parse().ok()
}
