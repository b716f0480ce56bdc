//! The four forms of a request target, RFC 9112 3.2.
//!
//! It must not know routes. It takes apart; decoding is in `percent`.

use crate::simd::find_byte;
use crate::{HeadError, Method, Span, eq_ignore_ascii_case, host};

/// Which of the four forms.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub enum TargetForm {
    /// `/path?query`, RFC 9112 3.2.1.
    #[default]
    Origin,
    /// `http://host/path?query`, RFC 9112 3.2.2.
    Absolute,
    /// `host:port`, of CONNECT only, RFC 9112 3.2.3.
    Authority,
    /// `*`, of OPTIONS only, RFC 9112 3.2.4.
    Asterisk,
}

/// A request target taken apart. Spans are relative to the target's own first byte; a part that the form
/// does not have is empty.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Target {
    /// The form.
    pub form: TargetForm,
    /// `http` or `https`, in the letter case of the peer.
    pub scheme: Span,
    /// Host and port, valid in the sense of [`parse_authority`](crate::parse_authority).
    pub authority: Span,
    /// The path, still encoded. Empty in absolute-form if the target has none, which means `/`.
    pub path: Span,
    /// What follows the first `?`, still encoded; may be empty. `None` without a `?`.
    pub query: Option<Span>,
}

impl Target {
    /// Takes apart the target of a request, in place: a target is large to move for what it costs to find.
    /// Its bytes have passed [`HeadParser`](crate::HeadParser), which refuses those that no target may hold,
    /// `#` among them. After an error the parts mean nothing.
    ///
    /// # Errors
    ///
    /// [`HeadError::OptionsMethodRequired`] and [`HeadError::ConnectMethodRequired`] for a form that the
    /// method does not allow; [`HeadError::UserinfoInTarget`], [`HeadError::InvalidAuthority`],
    /// [`HeadError::UnsupportedScheme`], and [`HeadError::InvalidTarget`] for what is none of the forms.
    #[inline]
    pub fn parse(&mut self, method: Method, target: &[u8]) -> Result<(), HeadError> {
        if target.first() != Some(&b'/') || method == Method::Connect || target.len() > u32::MAX as usize {
            *self = parse_rarer(method, target)?;
            return Ok(());
        }
        self.form = TargetForm::Origin;
        self.scheme = Span::default();
        self.authority = Span::default();
        self.set_path_and_query(target, 0);
        Ok(())
    }

    /// Sets path and query, which start at `from`.
    #[inline(always)]
    fn set_path_and_query(&mut self, target: &[u8], from: usize) {
        match find_byte(target.get(from..).unwrap_or_default(), b'?') {
            None => {
                self.path = Span::from_offsets(from, target.len());
                self.query = None;
            }
            Some(at) => {
                self.path = Span::from_offsets(from, from + at);
                self.query = Some(Span::from_offsets(from + at + 1, target.len()));
            }
        }
    }
}

/// Takes apart the target of a request, as [`Target::parse`] does.
///
/// # Errors
///
/// As [`Target::parse`].
pub fn parse_target(method: Method, target: &[u8]) -> Result<Target, HeadError> {
    let mut parts = Target::default();
    parts.parse(method, target)?;
    Ok(parts)
}

#[cold]
fn parse_rarer(method: Method, target: &[u8]) -> Result<Target, HeadError> {
    let len = u32::try_from(target.len()).map_err(|_| HeadError::InvalidTarget)?;
    if target == b"*" {
        return match method {
            Method::Options => Ok(Target { form: TargetForm::Asterisk, ..Target::default() }),
            _ => Err(HeadError::OptionsMethodRequired),
        };
    }
    if method == Method::Connect {
        return match host::parse_authority(target) {
            // RFC 9110 9.3.6: an empty or invalid port must be refused.
            Some(authority) if authority.port.is_some_and(|port| port != 0) => {
                Ok(Target { form: TargetForm::Authority, authority: Span::new(0, len), ..Target::default() })
            }
            _ => Err(HeadError::InvalidAuthority),
        };
    }
    if let Some(authority) = host::parse_authority(target)
        && authority.port.is_some()
    {
        return Err(HeadError::ConnectMethodRequired);
    }
    absolute(target)
}

fn absolute(target: &[u8]) -> Result<Target, HeadError> {
    let scheme_len = find_byte(target, b':').ok_or(HeadError::InvalidTarget)?;
    let (scheme, rest) = target.split_at_checked(scheme_len).ok_or(HeadError::InvalidTarget)?;
    let after = rest.strip_prefix(b"://").ok_or(HeadError::InvalidTarget)?;
    if !eq_ignore_ascii_case(scheme, b"http") && !eq_ignore_ascii_case(scheme, b"https") {
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        return Err(if is_scheme { HeadError::UnsupportedScheme } else { HeadError::InvalidTarget });
    }
    let len = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
    let authority = after.get(..len).unwrap_or_default();
    if authority.contains(&b'@') {
        return Err(HeadError::UserinfoInTarget);
    }
    host::parse_authority(authority).ok_or(HeadError::InvalidAuthority)?;
    let start = scheme_len + 3;
    let mut parts = Target {
        form: TargetForm::Absolute,
        scheme: Span::from_offsets(0, scheme_len),
        authority: Span::from_offsets(start, start + len),
        ..Target::default()
    };
    parts.set_path_and_query(target, start + len);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, text: &str) -> Result<(TargetForm, &str, &str, &str, Option<&str>), HeadError> {
        let target = parse_target(method, text.as_bytes())?;
        let of = |span: Span| core::str::from_utf8(span.of(text.as_bytes())).unwrap();
        Ok((target.form, of(target.scheme), of(target.authority), of(target.path), target.query.map(of)))
    }

    #[test]
    fn rfc9112_3_2_1_origin_form() {
        use TargetForm::Origin;
        assert_eq!(parts(Method::Get, "/"), Ok((Origin, "", "", "/", None)));
        assert_eq!(parts(Method::Get, "/a/b?c=d?e"), Ok((Origin, "", "", "/a/b", Some("c=d?e"))));
        assert_eq!(parts(Method::Get, "/?"), Ok((Origin, "", "", "/", Some(""))));
        assert_eq!(parts(Method::Get, "//x"), Ok((Origin, "", "", "//x", None)));
        assert_eq!(parts(Method::Get, "/http://x"), Ok((Origin, "", "", "/http://x", None)));
    }

    #[test]
    fn rfc9112_3_2_2_absolute_form() {
        use TargetForm::Absolute;
        assert_eq!(parts(Method::Get, "http://a"), Ok((Absolute, "http", "a", "", None)));
        assert_eq!(parts(Method::Get, "HTTPS://a:1/b?c"), Ok((Absolute, "HTTPS", "a:1", "/b", Some("c"))));
        assert_eq!(parts(Method::Get, "http://[::1]?x/y"), Ok((Absolute, "http", "[::1]", "", Some("x/y"))));
        assert_eq!(parts(Method::Get, "http://u@a/"), Err(HeadError::UserinfoInTarget));
        assert_eq!(parts(Method::Get, "http:///"), Err(HeadError::InvalidAuthority));
        assert_eq!(parts(Method::Get, "http://a:x/"), Err(HeadError::InvalidAuthority));
        assert_eq!(parts(Method::Get, "ftp://a/"), Err(HeadError::UnsupportedScheme));
        assert_eq!(parts(Method::Get, "1tp://a/"), Err(HeadError::InvalidTarget));
        assert_eq!(parts(Method::Get, "http:/a"), Err(HeadError::InvalidTarget));
        for text in ["", "?a", "%2f", "a", "a/b", "mailto:x", "**"] {
            assert_eq!(parts(Method::Get, text), Err(HeadError::InvalidTarget), "{text}");
        }
    }

    #[test]
    fn rfc9112_3_2_3_authority_form_is_for_connect_only() {
        use TargetForm::Authority;
        assert_eq!(parts(Method::Connect, "a:443"), Ok((Authority, "", "a:443", "", None)));
        assert_eq!(parts(Method::Connect, "[::1]:1"), Ok((Authority, "", "[::1]:1", "", None)));
        assert_eq!(parts(Method::Get, "a:443"), Err(HeadError::ConnectMethodRequired));
        for text in ["a", "a:", "a:0", "/", "http://a/", "u@a:1", "a:1/"] {
            assert_eq!(parts(Method::Connect, text), Err(HeadError::InvalidAuthority), "{text}");
        }
    }

    #[test]
    fn rfc9112_3_2_4_asterisk_form_is_for_options_only() {
        assert_eq!(parts(Method::Options, "*"), Ok((TargetForm::Asterisk, "", "", "", None)));
        assert_eq!(parts(Method::Get, "*"), Err(HeadError::OptionsMethodRequired));
        assert_eq!(parts(Method::Connect, "*"), Err(HeadError::OptionsMethodRequired));
    }
}
