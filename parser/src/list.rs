//! Comma-separated lists of field values, RFC 9110 5.6.1.
//!
//! It must not know which field it takes apart.

use crate::table::is_ows;

/// The elements of a list: split at every comma, without the whitespace around them. An empty element is
/// handed out too; whether it is harmless is for the field to say. Quoted strings are not known here, so
/// use it for lists of tokens only.
#[must_use]
pub fn list_items(value: &[u8]) -> ListItems<'_> {
    ListItems { rest: Some(value) }
}

/// Iterator made by [`list_items`].
#[derive(Clone, Debug)]
pub struct ListItems<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for ListItems<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = rest.iter().position(|&byte| byte == b',');
        self.rest = end.and_then(|end| rest.get(end + 1..));
        Some(trim_ows(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()))
    }
}

/// `value` without the optional whitespace around it.
pub(crate) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_ows(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_ows(*last)
    {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rfc9110_5_6_1_elements_are_trimmed_and_empty_ones_kept() {
        let items = |value: &'static str| list_items(value.as_bytes()).collect::<Vec<_>>();
        assert_eq!(items("a"), [b"a"]);
        assert_eq!(items(" a ,\tb,c\t"), [b"a", b"b", b"c"]);
        assert_eq!(items(""), [b""]);
        assert_eq!(items(",a, ,"), [&b""[..], b"a", b"", b""]);
    }
}
