//! What the floor knows of bulk transfers: an upload is a number of bytes to wait for, a download a number of
//! times to send the same bytes. It reads one line of each head and nothing of a body.
//!
//! A head is expected whole in one receive, as `transfer` sends it.

use memchr::memmem;
use peregrine_bench::requests::BLANK_LINE;

/// As long and as formed as Peregrine's head.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: peregrine\r\nDate: Mon, 23 Nov 2026 01:45:13 GMT\r\n\
Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const UPLOAD: &[u8] = b"POST /upload ";
const LENGTH: &[u8] = b"\r\nContent-Length: ";
const DOWNLOADS: [&[u8]; 2] = [b"GET /download/", b"GET /copied/"];

/// What downloads are made of.
pub(crate) struct Download {
    /// A head, a chunk and the last chunk. Each send is a part of it: the chunk, with the head before the first
    /// and the last chunk behind the last.
    bytes: Box<[u8]>,
    /// What the chunk carries.
    carried: u64,
}

impl Download {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        let start = format!("{chunk_bytes:x}\r\n");
        let bytes = [HEAD, start.as_bytes(), &vec![b'x'; chunk_bytes], CHUNK_END, LAST_CHUNK].concat();
        Self { bytes: bytes.into(), carried: chunk_bytes as u64 }
    }

    /// The bytes of one send. They are never written, and live as long as this value.
    pub(crate) fn part(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    fn end(&self, is_last: bool) -> u32 {
        let left_out = if is_last { 0 } else { LAST_CHUNK.len() };
        (self.bytes.len() - left_out) as u32
    }
}

/// What a connection is for. Its first bytes say so for good, so that plain requests are asked only once.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Purpose {
    #[default]
    Unknown,
    Plain,
    Bulk,
}

impl Purpose {
    pub(crate) fn of(head: &[u8]) -> Self {
        let is_bulk = head.starts_with(UPLOAD) || DOWNLOADS.iter().any(|start| head.starts_with(start));
        if is_bulk { Self::Bulk } else { Self::Plain }
    }
}

/// What received bytes lead to.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Wait,
    /// The body is there: it is to be answered.
    Answer,
    /// A download is to begin.
    Send,
    /// This is no request that the floor knows.
    Refuse,
}

/// The transfer of one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Transfer {
    /// Bytes of the request's body that are still to come.
    body: u64,
    /// Chunks that are not yet sent completely.
    chunks: u64,
    /// Where the send in flight begins and ends in [`Download::bytes`], as far as it is still to go.
    part: (u32, u32),
}

impl Transfer {
    pub(crate) fn received(&mut self, data: &[u8], download: &Download) -> Step {
        if self.body == 0 {
            return self.begin(data, download).unwrap_or(Step::Refuse);
        }
        self.body = self.body.saturating_sub(data.len() as u64);
        if self.body == 0 { Step::Answer } else { Step::Wait }
    }

    fn begin(&mut self, data: &[u8], download: &Download) -> Option<Step> {
        if let Some(path) = DOWNLOADS.iter().find_map(|start| data.strip_prefix(*start)) {
            if self.chunks > 0 {
                return None;
            }
            self.chunks = number(path)?.div_ceil(download.carried).max(1);
            self.part = (0, download.end(self.chunks == 1));
            return Some(Step::Send);
        }
        let head = memmem::find(data, BLANK_LINE).filter(|_| data.starts_with(UPLOAD))?;
        let length = memmem::find(&data[..head], LENGTH)? + LENGTH.len();
        let with_head = data.len() - head - BLANK_LINE.len();
        self.body = number(&data[length..])?.saturating_sub(with_head as u64);
        Some(if self.body == 0 { Step::Answer } else { Step::Wait })
    }

    /// What is to be sent.
    pub(crate) fn part(&self) -> (u32, u32) {
        self.part
    }

    /// Takes note of what was sent. Returns whether there is more to send.
    pub(crate) fn sent(&mut self, bytes: u32, download: &Download) -> bool {
        self.part.0 += bytes;
        if self.part.0 < self.part.1 {
            return true;
        }
        self.chunks -= 1;
        self.part = (HEAD.len() as u32, download.end(self.chunks == 1));
        self.chunks > 0
    }
}

/// The decimal number that `text` begins with.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_purpose() {
        assert!(Purpose::of(b"GET /plaintext HTTP/1.1\r\n") == Purpose::Plain);
        assert!(Purpose::of(b"G") == Purpose::Plain);
        assert!(Purpose::of(b"POST /upload HTTP/1.1\r\n") == Purpose::Bulk);
        assert!(Purpose::of(b"GET /download/1 HTTP/1.1\r\n") == Purpose::Bulk);
    }

    #[test]
    fn an_upload_is_answered_at_its_last_byte() {
        let download = Download::new(1);
        let head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
        for with_head in 0..=10 {
            let mut transfer = Transfer::default();
            let first = [&head[..], &vec![b'y'; with_head]].concat();
            let mut step = transfer.received(&first, &download);
            for _ in with_head..10 {
                assert_eq!(step, Step::Wait);
                step = transfer.received(b"y", &download);
            }
            assert_eq!(step, Step::Answer, "{with_head} bytes came with the head");
            assert_eq!(transfer.received(head, &download), Step::Wait, "the next one");
        }
    }

    #[test]
    fn a_download_is_one_head_and_whole_chunks() {
        let download = Download::new(65_536);
        for (asked, chunks, step) in [(1, 1, 7), (65_536, 1, 70_000), (65_537, 2, 65_545), (196_608, 3, 1000)]
        {
            let mut transfer = Transfer::default();
            let head = format!("GET /download/{asked} HTTP/1.1\r\n\r\n");
            assert_eq!(transfer.received(head.as_bytes(), &download), Step::Send);
            let mut sent = Vec::new();
            loop {
                let part = download.part(transfer.part());
                let took = part.len().min(step);
                sent.extend_from_slice(&part[..took]);
                if !transfer.sent(took as u32, &download) {
                    break;
                }
            }
            let chunk = [&b"10000\r\n"[..], &[b'x'; 65_536], CHUNK_END].concat();
            assert!(sent == [HEAD, &chunk.repeat(chunks), LAST_CHUNK].concat(), "{asked} bytes");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for head in ["GET /download/ HTTP", "POST /upload HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(
                Transfer::default().received(head.as_bytes(), &Download::new(1)),
                Step::Refuse,
                "{head}"
            );
        }
    }
}
