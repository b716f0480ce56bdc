//! Status codes with their registered reason phrases, RFC 9110 section 15, and the status line, RFC 9112 4.
//!
//! It must not know which code is right.

use crate::encode::write_decimal;

macro_rules! statuses {
    ($($code:literal $reason:literal,)+) => {
        /// The registered reason phrase of `status`; empty for a code that has none.
        #[must_use]
        pub const fn reason(status: u16) -> &'static str {
            match status {
                $($code => $reason,)+
                _ => "",
            }
        }

        /// The whole status line of a registered code, with its CRLF, as `HTTP/1.1`. For other codes there
        /// is [`write_status_line`].
        #[must_use]
        pub const fn status_line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n").as_bytes()),)+
                _ => None,
            }
        }
    };
}

statuses! {
    100 "Continue",
    101 "Switching Protocols",
    102 "Processing",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Content Too Large",
    414 "URI Too Long",
    415 "Unsupported Media Type",
    416 "Range Not Satisfiable",
    417 "Expectation Failed",
    421 "Misdirected Request",
    422 "Unprocessable Content",
    423 "Locked",
    424 "Failed Dependency",
    425 "Too Early",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    510 "Not Extended",
    511 "Network Authentication Required",
}

/// Writes the status line of any three-digit code, with its CRLF, to the start of `out` and answers its
/// length in bytes. Answers `None`, and leaves `out` alone, if the code is not in 100..=999 or `out` is too
/// short; 64 bytes are always enough.
pub fn write_status_line(status: u16, out: &mut [u8]) -> Option<usize> {
    const BEFORE: &[u8] = b"HTTP/1.1 ";
    const AFTER: &[u8] = b" \r\n";

    if let Some(line) = status_line(status) {
        out.get_mut(..line.len())?.copy_from_slice(line);
        return Some(line.len());
    }
    if !(100..=999).contains(&status) {
        return None;
    }
    let (before, rest) = out.get_mut(..BEFORE.len() + 3 + AFTER.len())?.split_at_mut_checked(BEFORE.len())?;
    let (digits, after) = rest.split_at_mut_checked(3)?;
    before.copy_from_slice(BEFORE);
    write_decimal(digits, u64::from(status));
    after.copy_from_slice(AFTER);
    Some(BEFORE.len() + 3 + AFTER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9112_4_status_lines() {
        assert_eq!(status_line(200), Some(&b"HTTP/1.1 200 OK\r\n"[..]));
        assert_eq!(reason(431), "Request Header Fields Too Large");
        assert_eq!((reason(299), status_line(299)), ("", None));
        let mut out = [0; 64];
        for status in 0..=1200 {
            let len = write_status_line(status, &mut out);
            assert_eq!(len.is_some(), (100..=999).contains(&status), "{status}");
            let Some(len) = len else { continue };
            let expected = std::format!("HTTP/1.1 {status} {}\r\n", reason(status));
            assert_eq!(&out[..len], expected.as_bytes());
            assert_eq!(write_status_line(status, &mut out[..len - 1]), None);
        }
    }
}
