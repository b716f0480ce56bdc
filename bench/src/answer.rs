//! One request at a time and the whole answer, to see that a server does what it is measured for. It knows no
//! scenario, and nothing of HTTP beyond what the servers compared send: a head, and a body of a told length. Over TLS
//! it trusts everyone.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::tls::{self, Client};

const TIMEOUT: Duration = Duration::from_secs(10);
/// More than any answer of any scenario.
const BYTES_MOST: usize = 16 << 20;

/// What to ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// A body of JSON, if there is one.
    pub body: Option<&'static str>,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The value of Content-Type; empty if there is none.
    pub media: String,
    /// The body, which is text in all scenarios.
    pub body: String,
}

/// Sends a request on a connection of its own to a server at `http://ADDRESS:PORT` or `https://ADDRESS:PORT`, and reads
/// the answer. An answer of no told length, an interim one, and ten seconds of silence are errors.
pub fn ask(url: &str, request: &Request) -> Result<Answer> {
    let (scheme, authority) = url.split_once("://").ok_or_else(|| malformed("the address"))?;
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let text = written(authority, request);
    match scheme {
        "http" => exchange(&mut stream, &text),
        "https" => {
            let mut connection = tls::connection(&tls::config(&Client::default())?)?;
            exchange(&mut rustls::Stream::new(&mut connection, &mut stream), &text)
        }
        _ => Err(malformed("the address")),
    }
}

fn exchange(stream: &mut (impl Read + Write), text: &str) -> Result<Answer> {
    stream.write_all(text.as_bytes())?;
    read(stream)
}

fn written(authority: &str, request: &Request) -> String {
    let Request { method, path, body } = request;
    let fields = match body {
        Some(body) => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
        None => String::new(),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n{}", body.unwrap_or_default())
}

fn read(stream: &mut impl Read) -> Result<Answer> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        match stream.read(&mut piece)? {
            0 => return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended within the answer")),
            _ if bytes.len() > BYTES_MOST => return Err(malformed("the length")),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// `None` as long as something is missing.
fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed("the head"))?;
    let (mut lines, body) = (head.lines(), &bytes[end + 4..]);
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| malformed("the status line"))?;
    let field = |wanted: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim()))
    };
    let length = field("Content-Length").and_then(|length| length.parse().ok());
    let length: usize = length.ok_or_else(|| malformed("Content-Length"))?;
    let media = field("Content-Type").unwrap_or_default().to_owned();
    if body.len() < length {
        return Ok(None);
    }
    if body.len() > length {
        return Err(malformed("what follows the answer"));
    }
    let body = String::from_utf8(body.to_vec()).map_err(|_| malformed("the body"))?;
    Ok(Some(Answer { status, media, body }))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-type:  text/plain \r\nContent-Length: 4\r\n\r\nfour";

    /// Gives its bytes one by one.
    struct Drop<'a>(&'a [u8]);

    impl Read for Drop<'_> {
        fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
            let Some((&first, rest)) = self.0.split_first() else { return Ok(0) };
            piece[0] = first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn error(text: &str) -> String {
        read(&mut text.as_bytes()).expect_err("it is not whole").to_string()
    }

    #[test]
    fn an_answer_is_read_from_any_pieces() {
        let expected = Answer { status: 200, media: "text/plain".into(), body: "four".into() };
        assert_eq!(read(&mut WHOLE.as_bytes()).expect("whole"), expected);
        assert_eq!(read(&mut Drop(WHOLE.as_bytes())).expect("whole"), expected);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(error(&WHOLE[..WHOLE.len() - 1]), "the connection ended within the answer");
        assert_eq!(error(&WHOLE.replace("four", "fours")), "what follows the answer is not as expected");
        assert_eq!(error(&WHOLE.replace("Length", "Size")), "Content-Length is not as expected");
        assert_eq!(error(&WHOLE.replace("HTTP/1.1 ", "HTTP/1.0 ")), "the status line is not as expected");
    }

    #[test]
    fn bodies_are_announced() {
        let request = Request { method: "POST", path: "/a?b".into(), body: Some("{}") };
        assert_eq!(
            written("127.0.0.1:80", &request),
            "POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
    }
}
