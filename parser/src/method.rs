//! The methods of RFC 9110 section 9 and RFC 5789, and the two versions that are served.
//!
//! It must not know which method a resource allows.

/// A request method. Names are case-sensitive, RFC 9110 9.1.
#[repr(u8)]
#[derive(Copy, Clone, Default, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH, RFC 5789
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// CONNECT
    Connect,
    /// TRACE
    Trace,
    /// Any other token; its bytes are at [`RequestHead::method_span`](crate::RequestHead).
    Other,
}

impl Method {
    /// The method named `bytes`; [`Method::Other`] for any name not listed here.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8]) -> Self {
        match bytes {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The name; empty for [`Method::Other`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Other => "",
        }
    }

    /// The method and its length, if the eight bytes of `word` (first byte lowest) start with a known
    /// method and a space. The longest, with its space, fill the word exactly.
    #[inline(always)]
    pub(crate) const fn from_word(word: u64) -> Option<(Self, usize)> {
        const GET: u64 = word_of(b"GET ");
        const POST: u64 = word_of(b"POST ");
        if word & mask(4) == GET {
            return Some((Self::Get, 3));
        }
        if word & mask(5) == POST {
            return Some((Self::Post, 4));
        }
        Self::rarer_from_word(word)
    }

    const fn rarer_from_word(word: u64) -> Option<(Self, usize)> {
        const RARER: [Method; 7] = [
            Method::Head,
            Method::Put,
            Method::Patch,
            Method::Delete,
            Method::Options,
            Method::Connect,
            Method::Trace,
        ];
        let mut i = 0;
        while i < RARER.len() {
            let name = RARER[i].as_str().as_bytes();
            if word & mask(name.len() + 1) == word_of(name) | (b' ' as u64) << (8 * name.len()) {
                return Some((RARER[i], name.len()));
            }
            i += 1;
        }
        None
    }
}

const fn mask(bytes: usize) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

const fn word_of(name: &[u8]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < name.len() {
        word |= (name[i] as u64) << (8 * i);
        i += 1;
    }
    word
}

impl core::fmt::Display for Method {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version of a request, RFC 9112 2.3. Any other is refused.
#[repr(u8)]
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

impl Version {
    /// The version as it stands in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
        Method::Connect,
        Method::Trace,
    ];

    #[test]
    fn rfc9110_9_1_names_are_case_sensitive() {
        for method in ALL {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), method);
            let lower = method.as_str().to_ascii_lowercase();
            assert_eq!(Method::from_bytes(lower.as_bytes()), Method::Other);
        }
        assert_eq!(Method::from_bytes(b""), Method::Other);
        assert_eq!(Method::from_bytes(b"GETX"), Method::Other);
    }

    #[test]
    fn the_word_compare_agrees_with_the_names() {
        for method in ALL {
            let mut bytes = [b'x'; 8];
            let name = method.as_str().as_bytes();
            bytes[..name.len()].copy_from_slice(name);
            assert_eq!(Method::from_word(u64::from_le_bytes(bytes)), None);
            bytes[name.len()] = b' ';
            assert_eq!(Method::from_word(u64::from_le_bytes(bytes)), Some((method, name.len())));
        }
    }
}
