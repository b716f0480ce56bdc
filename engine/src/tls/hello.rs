//! The name that a client asks for, read out of its first record.
//!
//! Only that: whether the hello is a good one is for rustls, which reads it anew. Must not know what a name means.

use super::record::PLAIN_MAX;

/// What the first record of a connection says about names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// The record has not come whole.
    Unknown,
    /// It is no hello, not all of one, or one that nobody should rely on.
    Unclear,
    /// A hello for this name, or for none (RFC 6066 section 3).
    For(Option<&'a str>),
}

/// Reads the name out of the record at the front of `bytes`.
pub(super) fn asked(bytes: &[u8]) -> Asked<'_> {
    let Some((&[kind, _, _, high, low], rest)) = bytes.split_first_chunk::<5>() else {
        return Asked::Unknown;
    };
    if kind != 22 {
        return Asked::Unclear;
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > PLAIN_MAX {
        return Asked::Unclear;
    }
    match rest.get(..len) {
        Some(record) => match name(record) {
            Some(name) => Asked::For(name),
            None => Asked::Unclear,
        },
        None => Asked::Unknown,
    }
}

/// The name in a record with a whole hello (RFC 8446 section 4.1.2).
fn name(record: &[u8]) -> Option<Option<&str>> {
    let mut record = record;
    let &[kind, a, b, c] = take(&mut record, 4)?.first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    if kind != 1 {
        return None;
    }
    let mut hello = record.get(..len)?;
    take(&mut hello, 2 + 32)?;
    vector8(&mut hello)?;
    vector16(&mut hello)?;
    vector8(&mut hello)?;
    if hello.is_empty() {
        return Some(None);
    }
    let mut extensions = vector16(&mut hello)?;
    while !extensions.is_empty() {
        let kind = take(&mut extensions, 2)?;
        let mut extension = vector16(&mut extensions)?;
        if kind == [0, 0] {
            let mut names = vector16(&mut extension)?;
            let [0] = take(&mut names, 1)? else { return None };
            return Some(Some(std::str::from_utf8(vector16(&mut names)?).ok()?));
        }
    }
    Some(None)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// A vector whose length is one byte.
fn vector8<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = *take(bytes, 1)?.first()?;
    take(bytes, usize::from(len))
}

/// A vector whose length is two bytes.
fn vector16<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let &len = take(bytes, 2)?.first_chunk::<2>()?;
    take(bytes, usize::from(u16::from_be_bytes(len)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_found_once_the_record_is_whole() {
        let bytes = hello("www.example.org");
        for end in 0..bytes.len() {
            assert_eq!(asked(&bytes[..end]), Asked::Unknown, "{end}");
        }
        assert_eq!(asked(&bytes), Asked::For(Some("www.example.org")));
        // An address is no name to ask for.
        assert_eq!(asked(&hello("127.0.0.1")), Asked::For(None));
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let bytes = hello("www.example.org");
        for at in 0..bytes.len() {
            for value in [0, 1, 255, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = asked(&changed);
            }
        }
        assert_eq!(asked(b"GET / HTTP/1.1\r\n"), Asked::Unclear);
        assert_eq!(asked(&[22, 3, 1, 0, 1, 1]), Asked::Unclear);
    }
}
