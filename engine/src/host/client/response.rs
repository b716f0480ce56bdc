//! Responses as tests see them, and how they are understood.
//!
//! Only what the engine itself writes is understood, which is well-formed: whatever is not is the engine's fault, and
//! told. RFC 9112 sections 4 to 7.

use peregrine_parser::{Chunk, ChunkError, ChunkedDecoder};

/// What has been asked for on a connection.
pub(super) struct Asked {
    pub(super) id: u64,
    /// For people.
    pub(super) what: String,
    pub(super) is_head: bool,
    pub(super) is_connect: bool,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct TestResponse {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

/// The first value of a name, in any letter case.
fn first<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl TestResponse {
    /// The status: 200, say.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of a field, whose name may be in any letter case. Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// All fields, as names and values in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of a trailer (RFC 9110 section 6.5), as [`field`](Self::field).
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        first(&self.trailers, name)
    }

    /// The body, whose chunks are put together.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// It is no UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        let text = std::str::from_utf8(&self.body);
        text.unwrap_or_else(|error| panic!("the body of the {} is no text: {error}", self.status))
    }

    /// The body, read as JSON.
    ///
    /// # Panics
    /// It is none, or does not fit `T`.
    #[cfg(feature = "json")]
    #[must_use]
    #[track_caller]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("the body of the {}: {error}: {:?}", self.status, super::shown(&self.body))
        })
    }
}

/// What was found at the start of what has come.
pub(super) enum Parsed {
    /// A response of `len` bytes, interim ones before it included. Nothing follows one that `is_last`.
    Whole { response: TestResponse, len: usize, is_last: bool },
    /// A part of one.
    Partial,
}

type Problem = &'static str;

/// Looks for the response to `asked`. `has_ended` if nothing follows, in an orderly way.
pub(super) fn parse(bytes: &[u8], asked: &Asked, has_ended: bool) -> Result<Parsed, Problem> {
    let mut start = 0;
    loop {
        let Some(head_len) = find(&bytes[start..], b"\r\n\r\n") else { return Ok(Parsed::Partial) };
        let (status, fields) = head(&bytes[start..start + head_len])?;
        start += head_len + 4;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut response = TestResponse { status, fields, body: Vec::new(), trailers: Vec::new() };
        let is_tunnel = status == 101 || (asked.is_connect && (200..300).contains(&status));
        let closes = response
            .field("Connection")
            .is_some_and(|options| options.split(',').any(|it| it.trim().eq_ignore_ascii_case("close")));
        let rest = &bytes[start..];
        let mut is_last = closes || is_tunnel;
        let body_len = if is_tunnel || asked.is_head || matches!(status, 204 | 304) {
            Some(0)
        } else if response.field("Transfer-Encoding").is_some() {
            chunked(rest, &mut response)?
        } else if let Some(length) = response.field("Content-Length") {
            let length: usize = length.parse().map_err(|_| "its length is no number")?;
            rest.get(..length).map(|body| {
                response.body = body.to_vec();
                length
            })
        } else {
            is_last = true;
            has_ended.then(|| {
                response.body = rest.to_vec();
                rest.len()
            })
        };
        return Ok(match body_len {
            Some(body_len) => Parsed::Whole { response, len: start + body_len, is_last },
            None => Parsed::Partial,
        });
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

/// Status and fields of a head, without its last line ending.
fn head(bytes: &[u8]) -> Result<(u16, Vec<(String, String)>), Problem> {
    let text = String::from_utf8_lossy(bytes);
    let (status_line, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok((status.ok_or("it has no status line")?, lines(rest)?))
}

/// Fields, or trailers, one per line.
fn lines(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    let pairs = lines.map(|line| line.split_once(':').ok_or("a field has no colon"));
    pairs.map(|pair| pair.map(|(name, value)| (name.to_owned(), value.trim().to_owned()))).collect()
}

/// Puts the chunks together; returns how long they are on the wire, if they are all here.
fn chunked(bytes: &[u8], response: &mut TestResponse) -> Result<Option<usize>, Problem> {
    let mut decoder = ChunkedDecoder::new();
    let mut at = 0;
    loop {
        match decoder.decode(&bytes[at..]).map_err(ChunkError::describe)? {
            Chunk::Data { skip, len } => {
                response.body.extend_from_slice(&bytes[at + skip..at + skip + len]);
                at += skip + len;
            }
            Chunk::Partial { .. } => return Ok(None),
            Chunk::Last { consumed } => {
                at += consumed;
                break;
            }
        }
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    let Some(len) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    response.trailers = lines(&String::from_utf8_lossy(&bytes[at..at + len]))?;
    Ok(Some(at + len + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(is_head: bool) -> Asked {
        Asked { id: 1, what: String::new(), is_head, is_connect: false }
    }

    /// Parses a response; no beginning of it may be taken for all.
    #[track_caller]
    fn whole(text: &str, is_head: bool) -> (TestResponse, usize, bool) {
        for end in 0..text.len() {
            let begun = parse(&text.as_bytes()[..end], &asked(is_head), false);
            assert!(matches!(begun, Ok(Parsed::Partial)), "{:?} is a part of it", &text[..end]);
        }
        match parse(text.as_bytes(), &asked(is_head), false) {
            Ok(Parsed::Whole { response, len, is_last }) => (response, len, is_last),
            Ok(Parsed::Partial) => panic!("not whole"),
            Err(problem) => panic!("{problem}"),
        }
    }

    #[test]
    fn lengths_chunks_and_interim_responses_are_understood() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 200 OK\r\nX: 1\r\nx: 2\r\nContent-Length: 3\r\n\r\nabc";
        let (response, len, is_last) = whole(text, false);
        assert_eq!((response.status(), response.text(), len, is_last), (200, "abc", text.len(), false));
        let fields: Vec<_> = response.fields().collect();
        assert_eq!(fields, [("X", "1"), ("x", "2"), ("Content-Length", "3")]);
        assert_eq!(response.field("LINK"), None, "that of another response");

        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                    3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: u\r\n\r\n";
        let (response, len, is_last) = whole(text, false);
        assert_eq!((response.text(), response.trailer("x-t"), len), ("abcde", Some("u"), text.len()));
        assert!(is_last);
    }

    #[test]
    fn heads_stand_alone_where_they_must() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(whole(text, true).1, text.len());
        let text = "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(whole(text, false).1, text.len());
        let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";
        assert!(whole(text, false).2, "another protocol follows");
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        let text = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert!(matches!(parse(text, &asked(false), false), Ok(Parsed::Partial)));
        let Ok(Parsed::Whole { response, is_last: true, .. }) = parse(text, &asked(false), true) else {
            panic!("it has ended")
        };
        assert_eq!(response.text(), "abc");
    }

    #[test]
    fn what_is_no_response_is_told() {
        for (text, problem) in [
            ("HTTP/1.0 200 OK\r\n\r\n", "it has no status line"),
            ("HTTP/1.1 200 OK\r\nX\r\n\r\n", "a field has no colon"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "its length is no number"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "invalid chunk size"),
        ] {
            assert_eq!(parse(text.as_bytes(), &asked(false), false).err(), Some(problem), "{text}");
        }
    }
}
