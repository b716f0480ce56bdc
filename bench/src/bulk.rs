//! The client of bulk transfers: blocking sockets, one thread each, and as little work per byte as possible.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::requests::BLANK_LINE;

/// What one `read` or `write` moves at most.
const BUFFER_BYTES: usize = 256 * 1024;
/// A socket on which nothing moves for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What ends a chunked body. The bodies themselves do not hold it.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// The framing of a chunked body takes less than this part of it.
const FRAMING_PART: u64 = 256;

/// Which way the bytes go, and by which route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `POST /upload`, with a length.
    Upload,
    /// `GET /download/{bytes}`, chunked or with a length; sent from where it lies.
    Download,
    /// `GET /copied/{bytes}`, written by copies.
    Copied,
}

impl Direction {
    /// How options and tables call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Copied => "copied",
        }
    }

    /// The direction of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Upload, Self::Download, Self::Copied].into_iter().find(|direction| direction.name() == name)
    }
}

/// Moves `bytes` over each of so many connections at once, to or from `authority`. Fails if any of them does.
pub fn run(direction: Direction, authority: &str, connections: u32, bytes: u64) -> Result<()> {
    thread::scope(|scope| {
        let transfer = || {
            let mut socket = TcpStream::connect(authority)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            match direction {
                Direction::Upload => upload(&mut socket, authority, bytes),
                Direction::Download | Direction::Copied => {
                    download(&mut socket, authority, direction.name(), bytes)
                }
            }
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(transfer)).collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::other("a client's thread panicked"))));
        // All are joined, whatever the first comes to.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

fn upload(socket: &mut TcpStream, authority: &str, bytes: u64) -> Result<()> {
    let mut buffer = vec![b'y'; BUFFER_BYTES];
    let head = format!("POST /upload HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {bytes}\r\n\r\n");
    socket.write_all(head.as_bytes())?;
    let mut left = bytes;
    while left > 0 {
        let next = left.min(BUFFER_BYTES as u64) as usize;
        socket.write_all(&buffer[..next])?;
        left -= next as u64;
    }
    let (head, mut filled) = read_head(socket, &mut buffer)?;
    let length = head.length.ok_or_else(|| malformed("the answer has no length"))?;
    let end = usize::try_from(length).ok().and_then(|length| head.end.checked_add(length));
    let end = end.filter(|&end| end <= buffer.len()).ok_or_else(|| malformed("the answer is too long"))?;
    while filled < end {
        filled += read(socket, &mut buffer[filled..])?;
    }
    // An answer that is a number says how many bytes arrived.
    let count = std::str::from_utf8(&buffer[head.end..end]).ok().and_then(|text| text.parse::<u64>().ok());
    match count {
        Some(count) if count != bytes => Err(malformed(&format!("{count} bytes arrived of {bytes}"))),
        _ => Ok(()),
    }
}

fn download(socket: &mut TcpStream, authority: &str, route: &str, bytes: u64) -> Result<()> {
    let head = format!("GET /{route}/{bytes} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    socket.write_all(head.as_bytes())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (head, filled) = read_head(socket, &mut buffer)?;
    let mut end = End::default();
    end.take(&buffer[head.end..filled]);
    while !end.is_reached(head.length, bytes)? {
        let got = read(socket, &mut buffer)?;
        end.take(&buffer[..got]);
    }
    Ok(())
}

fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match socket.read(buffer)? {
        0 => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed before the end")),
        got => Ok(got),
    }
}

/// What a response's head says.
struct Head {
    /// Where the body begins.
    end: usize,
    length: Option<u64>,
}

/// Reads until the head is there. Returns it, and how much of `buffer` is filled.
fn read_head(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<(Head, usize)> {
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            return Err(malformed("the head is too long"));
        }
        filled += read(socket, &mut buffer[filled..])?;
        if let Some(blank_line) = memchr::memmem::find(&buffer[..filled], BLANK_LINE) {
            let head = parse_head(&buffer[..blank_line], blank_line + BLANK_LINE.len())?;
            return Ok((head, filled));
        }
    }
}

fn parse_head(head: &[u8], end: usize) -> Result<Head> {
    let text = std::str::from_utf8(head).map_err(|_| malformed("the head is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(malformed(&format!("answered {status}")));
    }
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map(|(_, value)| value.trim().parse()).transpose();
    Ok(Head { end, length: length.map_err(|_| malformed("the length is no number"))? })
}

/// Looks for the end of a body without reading it: only bytes are counted, and the last few kept.
#[derive(Default)]
struct End {
    received: u64,
    tail: [u8; LAST_CHUNK.len()],
}

impl End {
    fn take(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        let kept = data.len().min(self.tail.len());
        self.tail.rotate_left(kept);
        let from = self.tail.len() - kept;
        self.tail[from..].copy_from_slice(&data[data.len() - kept..]);
    }

    /// Whether the body of `bytes` is there, with the framing of chunks unless the head named a length.
    fn is_reached(&self, length: Option<u64>, bytes: u64) -> Result<bool> {
        let (reached, most) = match length {
            Some(length) => (self.received >= length && length == bytes, bytes),
            None => (self.received > bytes && self.tail == *LAST_CHUNK, bytes + bytes / FRAMING_PART + 64),
        };
        if self.received > most {
            return Err(malformed(&format!("{} bytes came of {bytes}", self.received)));
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_last_chunk_is_found_at_every_split() {
        let body = b"5\r\nxxxxx\r\n0\r\n\r\n";
        for first in 0..=body.len() {
            for second in first..=body.len() {
                let mut end = End::default();
                for part in [&body[..first], &body[first..second], &body[second..]] {
                    assert!(!end.is_reached(None, 5).expect("not too long"));
                    end.take(part);
                    if end.received == body.len() as u64 {
                        break;
                    }
                }
                assert!(end.is_reached(None, 5).expect("not too long"), "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_named_length_is_the_end() {
        let mut end = End::default();
        end.take(b"12345");
        assert!(end.is_reached(Some(5), 5).expect("not too long"));
        end.take(b"6");
        assert!(end.is_reached(Some(5), 5).is_err());
    }

    #[test]
    fn bytes_without_end_are_an_error() {
        let mut end = End::default();
        end.take(&[b'x'; 200]);
        assert!(end.is_reached(None, 100).is_err());
    }

    /// What `run` makes of a server that reads one request of so many bytes and answers `response`.
    fn outcome(direction: Direction, request_bytes: usize, response: &'static [u8]) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let authority = listener.local_addr().expect("bound").to_string();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            while !request.windows(4).any(|window| window == BLANK_LINE) || request.len() < request_bytes {
                let mut part = [0; 4096];
                let got = socket.read(&mut part).expect("a request");
                request.extend_from_slice(&part[..got]);
            }
            socket.write_all(response).expect("a client that reads");
        });
        let result = run(direction, &authority, 1, 100_000);
        server.join().expect("it ends");
        result
    }

    #[test]
    fn a_count_that_differs_is_an_error() {
        let all = 100_000;
        let right = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n100000";
        assert!(outcome(Direction::Upload, all, right).is_ok());
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello";
        assert!(outcome(Direction::Upload, all, other).is_ok());
        let less = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n99999";
        let error = outcome(Direction::Upload, all, less).expect_err("it lost one");
        assert_eq!(error.to_string(), "99999 bytes arrived of 100000");
    }

    #[test]
    fn a_status_that_is_no_success_is_an_error() {
        let error = outcome(Direction::Download, 0, b"HTTP/1.1 404 Not Found\r\n\r\n").expect_err("404");
        assert_eq!(error.to_string(), "answered HTTP/1.1 404 Not Found");
    }

    #[test]
    fn a_close_before_the_end_is_an_error() {
        let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxxxxx\r\n";
        let error = outcome(Direction::Copied, 0, response).expect_err("no last chunk");
        assert_eq!(error.to_string(), "the server closed before the end");
    }
}
