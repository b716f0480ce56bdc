//! Host and port: the Host field, RFC 9112 3.2, and the authority of a target, RFC 3986 3.2.
//!
//! It must not know which hosts are served.

use crate::table::is_reg_name;
use crate::{
    Field, FieldName, HeadError, RequestHead, Span, Target, TargetForm, Version, eq_ignore_ascii_case,
};
use core::net::Ipv6Addr;

/// A host and its port, relative to the parsed bytes.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Authority {
    /// A registered name, an IPv4 address, or an IPv6 address with its brackets.
    pub host: Span,
    /// The port, if one is given; `host:` gives none.
    pub port: Option<u16>,
}

/// Takes apart `host` or `host:port`; `None` if it is anything else.
///
/// Stricter than RFC 3986: no empty host, no comma in a name (a joined repetition of the field looks
/// like that), in brackets an IPv6 address without zone only. User information never passes.
#[must_use]
pub fn parse_authority(authority: &[u8]) -> Option<Authority> {
    let host_len = if authority.first() == Some(&b'[') {
        let close = authority.iter().position(|&byte| byte == b']')?;
        let address = core::str::from_utf8(authority.get(1..close)?).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        close + 1
    } else {
        reg_name_len(authority)?
    };
    let port = match authority.get(host_len..)? {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(port(digits)?),
        _ => return None,
    };
    Some(Authority { host: Span::new(0, u32::try_from(host_len).ok()?), port })
}

/// Bytes of the registered name at the start, up to a colon or the end.
fn reg_name_len(authority: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = authority.get(at) {
        at += match byte {
            b':' => break,
            b'%' if authority.get(at + 1..at + 3)?.iter().all(u8::is_ascii_hexdigit) => 3,
            _ if is_reg_name(byte) => 1,
            _ => return None,
        };
    }
    (at > 0).then_some(at)
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port).ok()
}

/// Whether a Host value names the same host and port as an authority; a missing port is `default_port` on
/// both sides. False if either is invalid.
#[must_use]
pub fn host_matches(authority: &[u8], host_value: &[u8], default_port: u16) -> bool {
    let (Some(a), Some(b)) = (parse_authority(authority), parse_authority(host_value)) else { return false };
    eq_ignore_ascii_case(a.host.of(authority), b.host.of(host_value))
        && a.port.unwrap_or(default_port) == b.port.unwrap_or(default_port)
}

/// Checks the Host field of a parsed head against its parsed target.
///
/// # Errors
///
/// [`HeadError::MissingHost`] (HTTP/1.1 only), [`HeadError::MultipleHosts`], [`HeadError::InvalidHost`],
/// and [`HeadError::HostMismatch`] if an absolute target or a CONNECT names another authority: RFC 9112
/// 3.2.2 lets the target win, but whoever forwarded the request may have looked at Host.
pub fn check_host(
    head: &RequestHead,
    fields: &[Field],
    bytes: &[u8],
    target: &Target,
) -> Result<(), HeadError> {
    let Some(index) = head.known.first(FieldName::Host) else {
        return if head.version == Version::Http10 { Ok(()) } else { Err(HeadError::MissingHost) };
    };
    if head.known.is_repeated(FieldName::Host) {
        return Err(HeadError::MultipleHosts);
    }
    let value = fields.get(index).map_or(&[][..], |field| field.value.of(bytes));
    parse_authority(value).ok_or(HeadError::InvalidHost)?;
    let default_port = match target.form {
        TargetForm::Origin | TargetForm::Asterisk => return Ok(()),
        TargetForm::Absolute if target.scheme.len == 5 => 443,
        TargetForm::Absolute => 80,
        // A CONNECT names its port, so must its Host: no port is 0, which the target can not be.
        TargetForm::Authority => 0,
    };
    let authority = target.authority.of(head.target.of(bytes));
    if host_matches(authority, value, default_port) { Ok(()) } else { Err(HeadError::HostMismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_7_2_host_values() {
        for (value, host_len, port) in [
            ("example.com", 11, None),
            ("example.com:", 11, None),
            ("EXAMPLE.com:8080", 11, Some(8080)),
            ("a_b~c%41", 8, None),
            ("127.0.0.1:0", 9, Some(0)),
            ("[::1]", 5, None),
            ("[::ffff:1.2.3.4]:65535", 16, Some(65535)),
            ("localhost:00080", 9, Some(80)),
        ] {
            let expected = Authority { host: Span::new(0, host_len), port };
            assert_eq!(parse_authority(value.as_bytes()), Some(expected), "{value}");
        }
        for value in [
            "",
            ":80",
            "a b",
            "user@host",
            "host/path",
            "a,b",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:000080",
            "a:+1",
            "a:-1",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]80",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[]",
            "%",
            "%4",
            "%gg",
            "a\"",
            "a#b",
            "a?b",
            "a\\b",
            "h\u{f6}st",
            "a[b]",
        ] {
            assert_eq!(parse_authority(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn rfc9110_4_2_3_hosts_match_without_case_and_with_default_port() {
        assert!(host_matches(b"Example.com", b"example.COM:80", 80));
        assert!(host_matches(b"example.com:443", b"example.com", 443));
        assert!(!host_matches(b"example.com:443", b"example.com", 80));
        assert!(!host_matches(b"example.com", b"example.org", 80));
        assert!(!host_matches(b"", b"", 80));
    }
}
