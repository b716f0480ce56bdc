//! Writing one HTTP/1.1 response, head and body, straight into the block that will be sent.
//!
//! Owns the order of the bytes: status line, `Server` and `Date`, the handler's fields, `Content-Length`,
//! body. The handler may call in any order; what comes late is made room for. It must not know who sends
//! the block. RFC 9112 section 4, RFC 9110 sections 8.6 and 15.

use peregrine_parser::{is_field_value, is_token, write_imf_fixdate, write_status_line};
use peregrine_pool::Payload;

use super::BodyEncoder;
use super::buffer::Buffer;
use crate::proto::FieldError;

/// Payloads up to this many bytes are copied behind the head: a second part in a send costs more.
pub(super) const COPY_BYTES_MAX: usize = 8 * 1024;

/// What every response of a worker begins with, made anew once a second.
#[derive(Clone)]
pub(crate) struct Preamble {
    /// Status line 200, `Server` if wanted, `Date`.
    bytes: Vec<u8>,
    unix_seconds: u64,
    server_field: bool,
    /// Failures may be told to clients in detail.
    pub(crate) shows_details: bool,
    /// Digits of the last length that was known only after its body: the next one is likely as long.
    length_digits: u8,
}

/// The longest status line: that of 511.
const STATUS_LINE_BYTES_MAX: usize = 48;

/// The length of a date in HTTP (RFC 9110 section 5.6.7).
const DATE_BYTES: usize = 29;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

impl Preamble {
    pub(crate) fn new(server_field: bool, unix_seconds: u64) -> Self {
        let mut preamble =
            Self { bytes: Vec::new(), unix_seconds, server_field, shows_details: false, length_digits: 2 };
        preamble.write(unix_seconds);
        preamble
    }

    /// Brings `Date` up to date.
    #[inline]
    pub(crate) fn refresh(&mut self, unix_seconds: u64) {
        if self.unix_seconds != unix_seconds {
            self.write(unix_seconds);
        }
    }

    /// The second that its date tells.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.unix_seconds
    }

    /// The value of `Date`, with its line end.
    #[cfg(any(feature = "tower", test))]
    pub(super) fn date(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - DATE_BYTES - 2..]
    }

    /// Whether responses tell of the server.
    #[cfg(any(feature = "tower", test))]
    pub(super) fn has_server_field(&self) -> bool {
        self.server_field
    }

    fn write(&mut self, unix_seconds: u64) {
        self.unix_seconds = unix_seconds;
        let mut now = [0; DATE_BYTES];
        write_imf_fixdate(unix_seconds, &mut now);
        self.bytes.clear();
        self.bytes.extend_from_slice(OK);
        if self.server_field {
            self.bytes.extend_from_slice(b"Server: peregrine\r\n");
        }
        self.bytes.extend_from_slice(b"Date: ");
        self.bytes.extend_from_slice(&now);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// What the request decides about its response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// The request's method is HEAD: the response has no body.
    pub(crate) head_only: bool,
    /// The request came in HTTP/1.0 and asked to keep the connection.
    pub(crate) keep_alive_1_0: bool,
    /// The connection ends with this response.
    pub(crate) close: bool,
    /// The request came in HTTP/1.0: no chunked coding, no interim responses.
    pub(crate) http_1_0: bool,
}

/// How a response has ended; small enough for registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    /// Bytes of it that lie in the block, from where it began.
    pub(crate) block_bytes: u32,
    /// More bytes follow uncopied: [`ResponseWriter::take_payload`] has them.
    pub(crate) has_payload: bool,
    /// The connection ends with this response.
    pub(crate) close: bool,
}

/// A type of body, with the bytes of the head from it to the length.
pub(crate) struct KnownType {
    name: &'static str,
    opening: &'static [u8],
}

macro_rules! known_type {
    ($name:literal) => {
        KnownType {
            name: $name,
            opening: concat!("Content-Type: ", $name, "\r\nContent-Length: ").as_bytes(),
        }
    };
}

impl KnownType {
    pub(crate) const BYTES: Self = known_type!("application/octet-stream");
    pub(crate) const HTML: Self = known_type!("text/html; charset=utf-8");
    pub(crate) const TEXT: Self = known_type!("text/plain; charset=utf-8");
}

/// Fields that need care, as bits of [`ResponseWriter::seen`].
const CONTENT_TYPE: u8 = 1;
const CONNECTION: u8 = 2;
/// The type came with the body, and goes with it.
const BODYS_TYPE: u8 = 4;

pub(super) enum Body {
    /// None yet; the head is open.
    Empty,
    /// Not in the buffer; the head is open.
    Payload(Payload),
    /// In the buffer, from `start`; the head is closed. `digits_at` is where the length stands.
    Written { start: usize, digits_at: usize, digits: usize },
    /// All of the response is as it was given (`given`), up to what follows uncopied.
    #[cfg(any(feature = "tower", test))]
    Given(Option<Payload>),
}

/// See the module's text.
pub(crate) struct ResponseWriter<'a> {
    pub(super) buffer: Buffer<'a>,
    pub(super) preamble: &'a mut Preamble,
    pub(super) terms: Terms,
    pub(super) status: u16,
    pub(super) seen: u8,
    /// The length that the handler states for a body that is not sent (HEAD, 304).
    stated_length: Option<u64>,
    pub(super) body: Body,
    /// [`begin_body`](Self::begin_body) without its end: the length in the head is not true yet.
    unended: bool,
    failure: Option<FieldError>,
    /// What the log is to be told.
    #[expect(clippy::box_collection, reason = "a word, for what hardly any response has")]
    told: Option<Box<String>>,
}

/// A response between two writers: everything of it but the block that it lies in.
pub(crate) struct Draft {
    len: usize,
    spilled: Option<Vec<u8>>,
    close: bool,
    status: u16,
    seen: u8,
    stated_length: Option<u64>,
    body: Body,
    unended: bool,
    failure: Option<FieldError>,
    #[expect(clippy::box_collection, reason = "a word, for what hardly any response has")]
    told: Option<Box<String>>,
}

impl Draft {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }
}

impl<'a> ResponseWriter<'a> {
    /// Puts the response aside. It goes on with [`resume`](Self::resume), in the same block.
    pub(crate) fn park(self) -> Draft {
        Draft {
            len: self.buffer.len,
            spilled: self.buffer.spilled,
            close: self.terms.close,
            status: self.status,
            seen: self.seen,
            stated_length: self.stated_length,
            body: self.body,
            unended: self.unended,
            failure: self.failure,
            told: self.told,
        }
    }

    /// Goes on with a response whose bytes are in `block`.
    pub(crate) fn resume(block: &'a mut [u8], preamble: &'a mut Preamble, draft: Draft) -> Self {
        let mut writer = Self::new(block, preamble, Terms { close: draft.close, ..Terms::default() });
        writer.buffer.resume(draft.len, draft.spilled);
        writer.status = draft.status;
        writer.seen = draft.seen;
        writer.stated_length = draft.stated_length;
        writer.body = draft.body;
        writer.unended = draft.unended;
        writer.failure = draft.failure;
        writer.told = draft.told;
        writer
    }

    /// Becomes the response of `draft`, whose bytes are in `block`, on the terms of this one's request.
    pub(crate) fn adopt(&mut self, block: &[u8], mut draft: Draft) {
        let terms = self.terms;
        match draft.spilled.take() {
            Some(heap) => self.buffer.resume(draft.len, Some(heap)),
            None => {
                self.buffer.truncate(0);
                self.buffer.push(&block[..draft.len]);
            }
        }
        self.status = draft.status;
        self.seen = draft.seen;
        self.stated_length = draft.stated_length;
        self.body = std::mem::replace(&mut draft.body, Body::Empty);
        self.unended = draft.unended;
        self.failure = draft.failure;
        self.told = draft.told.take();
        self.terms.close = draft.close;
        if terms.close {
            self.close();
        } else if terms.keep_alive_1_0 && self.seen & CONNECTION == 0 {
            self.seen |= CONNECTION;
            self.write_line(b"Connection", b"keep-alive");
        }
    }

    /// A response that will lie at the start of `block`; to be begun where it stays.
    #[inline]
    pub(crate) fn new(block: &'a mut [u8], preamble: &'a mut Preamble, terms: Terms) -> Self {
        Self {
            buffer: Buffer::new(block),
            preamble,
            terms,
            status: 200,
            seen: 0,
            stated_length: None,
            body: Body::Empty,
            unended: false,
            failure: None,
            told: None,
        }
    }

    /// Writes what every response begins with.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.buffer.push(&self.preamble.bytes);
        if self.terms.close {
            self.write_close();
        } else if self.terms.keep_alive_1_0 {
            self.seen |= CONNECTION;
            self.buffer.push(b"Connection: keep-alive\r\n");
        }
    }

    /// Starts again, as if nothing had been written.
    pub(crate) fn reset(&mut self) {
        self.buffer.truncate(0);
        self.status = 200;
        self.seen = 0;
        self.stated_length = None;
        self.body = Body::Empty;
        self.unended = false;
        self.failure = None;
        self.begin();
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Changes the status line. Final statuses only, 200 to 599.
    pub(crate) fn set_status(&mut self, status: u16) -> Result<(), FieldError> {
        if !(200..=599).contains(&status) {
            return Err(FieldError::Status(status));
        }
        if status != self.status {
            self.replace_status(status);
        }
        Ok(())
    }

    fn replace_status(&mut self, status: u16) {
        let mut line = [0; STATUS_LINE_BYTES_MAX];
        let old = write_status_line(self.status, &mut line).unwrap_or(0);
        let new = write_status_line(status, &mut line).unwrap_or(0);
        self.buffer.replace(0, old, &line[..new]);
        self.shift_body(old, new);
        self.status = status;
    }

    /// The status line, `old` bytes long before, has `new` bytes now: the body has moved along.
    fn shift_body(&mut self, old: usize, new: usize) {
        if let Body::Written { start, digits_at, .. } = &mut self.body {
            *start = *start + new - old;
            *digits_at = *digits_at + new - old;
        }
    }

    /// Adds a field. `Content-Length` is only noted, for responses without a body of their own;
    /// `Transfer-Encoding` is the engine's; `Connection` is understood only as `close`.
    pub(crate) fn add_field(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        if !is_token(name.as_bytes()) {
            return Err(FieldError::Name);
        }
        if !is_field_value(value) {
            return Err(FieldError::Value);
        }
        // By length first: few names need care.
        match name.len() {
            4 if name.eq_ignore_ascii_case("date") => {
                self.remove_line(b"Date: ");
                self.write_line(b"Date", value);
                return Ok(());
            }
            6 if name.eq_ignore_ascii_case("server") => {
                self.remove_line(b"Server: ");
                self.write_line(b"Server", value);
                return Ok(());
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                if value.eq_ignore_ascii_case(b"close") {
                    self.close();
                }
                return Ok(());
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                self.remove_type();
                self.seen |= CONTENT_TYPE;
                self.write_line(b"Content-Type", value);
                return Ok(());
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let all_digits = value.iter().all(u8::is_ascii_digit);
                let digits = std::str::from_utf8(value).ok().filter(|_| all_digits);
                let length = digits.and_then(|digits| digits.parse().ok());
                self.stated_length = Some(length.ok_or(FieldError::Value)?);
                return Ok(());
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => return Err(FieldError::Name),
            _ => {}
        }
        self.write_line(name.as_bytes(), value);
        Ok(())
    }

    /// Adds whole field lines, which somebody has checked.
    pub(crate) fn add_lines(&mut self, lines: &[u8]) {
        debug_assert!(matches!(self.body, Body::Empty), "only while the head is open");
        self.buffer.push(lines);
    }

    /// Makes this the connection's last response.
    pub(crate) fn close(&mut self) {
        if self.terms.close {
            return;
        }
        self.terms.close = true;
        if self.seen & CONNECTION != 0 {
            self.remove_line(b"Connection: ");
        }
        self.write_close();
    }

    fn write_close(&mut self) {
        self.seen |= CONNECTION;
        self.write_line(b"Connection", b"close");
    }

    /// Remembers that the handler did something that cannot be sent: the response becomes a 500.
    pub(crate) fn fail(&mut self, failure: FieldError) {
        self.failure.get_or_insert(failure);
    }

    #[inline]
    fn write_line(&mut self, name: &[u8], value: &[u8]) {
        if let Body::Written { start, .. } = self.body {
            let line = [name, b": ", value, b"\r\n"].concat();
            self.buffer.replace(start - 2, 0, &line);
            if let Body::Written { start, .. } = &mut self.body {
                *start += line.len();
            }
            return;
        }
        self.buffer.push(name);
        self.buffer.push(b": ");
        self.buffer.push(value);
        self.buffer.push(b"\r\n");
    }

    /// Removes a field line that this writer wrote, `name` with its colon and space.
    #[cold]
    fn remove_line(&mut self, name: &[u8]) {
        let head = match self.body {
            Body::Written { start, .. } => start,
            _ => self.buffer.len,
        };
        let bytes = &self.buffer.bytes_mut()[..head];
        let Some(at) = memchr::memmem::find(bytes, &[b"\r\n", name].concat()) else { return };
        let at = at + 2;
        let len = memchr::memmem::find(&bytes[at..], b"\r\n").map_or(0, |len| len + 2);
        self.buffer.replace(at, len, b"");
        if let Body::Written { start, digits_at, .. } = &mut self.body {
            *start -= len;
            if *digits_at > at {
                *digits_at -= len;
            }
        }
    }

    /// Forgets a body set before.
    fn reopen(&mut self) {
        if let Body::Written { start, digits_at, .. } = self.body {
            // From the length's line to the end of the head: fields added late stand there.
            let line = digits_at - b"Content-Length: ".len();
            let line_end = line
                + memchr::memmem::find(&self.buffer.bytes_mut()[line..start], b"\r\n")
                    .map_or(0, |len| len + 2);
            self.buffer.truncate(start - 2);
            self.buffer.replace(line, line_end - line, b"");
        }
        self.body = Body::Empty;
        self.unended = false;
    }

    /// Forgets a body set before, and the type that came with it.
    fn discard_body(&mut self) {
        self.reopen();
        if self.seen & BODYS_TYPE != 0 {
            self.remove_type();
        }
    }

    fn remove_type(&mut self) {
        if self.seen & CONTENT_TYPE != 0 {
            self.remove_line(b"Content-Type: ");
            self.seen &= !(CONTENT_TYPE | BODYS_TYPE);
        }
    }

    /// The body, copied; its type, unless the handler has named one.
    #[inline]
    pub(crate) fn write_body(&mut self, content_type: &str, body: &[u8]) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(body.len());
        self.close_head(content_type, digits.as_bytes());
        self.buffer.push(body);
    }

    /// The same for a type that is known when the program is built: its line and the next are one piece.
    #[inline]
    pub(crate) fn write_known_body(&mut self, known: &KnownType, body: &[u8]) {
        if self.seen & CONTENT_TYPE != 0 || !matches!(self.body, Body::Empty) {
            return self.write_body(known.name, body);
        }
        self.seen |= CONTENT_TYPE | BODYS_TYPE;
        self.buffer.push(known.opening);
        let digits_at = self.buffer.len;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(body.len()).as_bytes();
        self.buffer.push(digits);
        self.buffer.push(b"\r\n\r\n");
        self.body = Body::Written { start: self.buffer.len, digits_at, digits: digits.len() };
        self.buffer.push(body);
    }

    /// A body sent from where it lies, and its type, which replaces one named before.
    pub(crate) fn set_payload(&mut self, content_type: &str, payload: Payload) -> Result<(), FieldError> {
        if !is_field_value(content_type.as_bytes()) {
            return Err(FieldError::Value);
        }
        self.discard_body();
        if !content_type.is_empty() {
            self.remove_type();
            self.write_type(content_type);
        }
        self.body = Body::Payload(payload);
        Ok(())
    }

    /// The same under the type that a field has named, or else that of mere bytes.
    pub(crate) fn set_untyped_payload(&mut self, payload: Payload) -> Result<(), FieldError> {
        let named = self.seen & CONTENT_TYPE != 0 && self.seen & BODYS_TYPE == 0;
        self.set_payload(if named { "" } else { KnownType::BYTES.name }, payload)
    }

    /// Begins a body whose length is not known: [`push_body`](Self::push_body), then
    /// [`end_body`](Self::end_body).
    pub(crate) fn begin_body(&mut self, content_type: &str) {
        const ZEROS: &[u8; 20] = b"00000000000000000000";
        let digits = usize::from(self.preamble.length_digits).min(ZEROS.len());
        self.close_head(content_type, &ZEROS[..digits]);
        self.unended = true;
    }

    #[inline]
    pub(crate) fn push_body(&mut self, bytes: &[u8]) {
        debug_assert!(matches!(self.body, Body::Written { .. }), "begin_body comes first");
        self.buffer.push(bytes);
    }

    /// Writes the length of the body into the head, in place if it has as many digits as the last one had.
    pub(crate) fn end_body(&mut self) {
        let Body::Written { start, digits_at, digits } = &mut self.body else {
            debug_assert!(false, "begin_body comes first");
            return;
        };
        let mut length = itoa::Buffer::new();
        let length = length.format(self.buffer.len - *start);
        self.buffer.replace(*digits_at, *digits, length.as_bytes());
        *start = *start + length.len() - *digits;
        *digits = length.len();
        self.unended = false;
        self.preamble.length_digits = length.len() as u8;
    }

    #[inline]
    fn write_type(&mut self, content_type: &str) {
        if self.seen & CONTENT_TYPE == 0 && !content_type.is_empty() {
            self.seen |= CONTENT_TYPE | BODYS_TYPE;
            self.buffer.push(b"Content-Type: ");
            self.buffer.push(content_type.as_bytes());
            self.buffer.push(b"\r\n");
        }
    }

    #[inline]
    fn close_head(&mut self, content_type: &str, length: &[u8]) {
        if !matches!(self.body, Body::Empty) {
            self.discard_body();
        }
        self.write_type(content_type);
        self.buffer.push(b"Content-Length: ");
        let digits_at = self.buffer.len;
        self.buffer.push(length);
        self.buffer.push(b"\r\n\r\n");
        self.body = Body::Written { start: self.buffer.len, digits_at, digits: length.len() };
    }

    /// Ends the response.
    #[inline]
    pub(crate) fn finish(&mut self) -> Finished {
        if self.failure.is_some() || self.unended {
            self.become_failure();
        }
        // RFC 9110 section 6.4.1 and 15.3.6: these have no body, and 204 no length (section 8.6).
        let bodiless = matches!(self.status, 204 | 205 | 304);
        let has_payload = match self.body {
            Body::Written { .. } if !bodiless && !self.terms.head_only => self.buffer.spilled.is_some(),
            _ => self.finish_other(bodiless),
        };
        Finished {
            block_bytes: if self.buffer.spilled.is_some() { 0 } else { self.buffer.len as u32 },
            has_payload,
            close: self.terms.close,
        }
    }

    /// Ends a head whose body will be written piece by piece, of `length` bytes if that is known.
    ///
    /// # Errors
    /// The handler has asked for what cannot be sent.
    pub(crate) fn finish_head(&mut self, length: Option<u64>) -> Result<(Finished, BodyEncoder), FieldError> {
        debug_assert!(matches!(self.body, Body::Empty), "a body already");
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.stated_length = length.or(self.stated_length);
        let bodiless = matches!(self.status, 204 | 205 | 304);
        let encoder = match self.stated_length {
            _ if bodiless || (self.terms.head_only && self.stated_length.is_some()) => {
                self.finish_without_body(bodiless);
                BodyEncoder::none()
            }
            Some(length) => {
                let mut digits = itoa::Buffer::new();
                self.buffer.push(b"Content-Length: ");
                self.buffer.push(digits.format(length).as_bytes());
                self.buffer.push(b"\r\n\r\n");
                BodyEncoder::length(length)
            }
            None if self.terms.http_1_0 => {
                // RFC 9112 section 6.3: the end of the connection is the only end that the client can see.
                if !self.terms.head_only {
                    self.close();
                }
                self.buffer.push(b"\r\n");
                if self.terms.head_only { BodyEncoder::none() } else { BodyEncoder::until_close() }
            }
            None => {
                self.buffer.push(b"Transfer-Encoding: chunked\r\n\r\n");
                if self.terms.head_only { BodyEncoder::none() } else { BodyEncoder::chunked() }
            }
        };
        Ok((self.finished(), encoder))
    }

    /// Ends a head after which the connection speaks another protocol, which an upgrade names: 101 with it, or
    /// 200 to CONNECT (RFC 9110 sections 7.8 and 9.3.6). Neither has a length.
    ///
    /// # Errors
    /// The handler has asked for what cannot be sent.
    pub(crate) fn finish_switching(&mut self, protocol: Option<&str>) -> Result<Finished, FieldError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        // 101 is the only status of an upgrade, and none but a 2xx makes a tunnel.
        if (protocol.is_some() && self.status != 200) || !(200..=299).contains(&self.status) {
            return Err(FieldError::Status(self.status));
        }
        if let Some(protocol) = protocol {
            if !is_field_value(protocol.as_bytes()) {
                return Err(FieldError::Value);
            }
            self.replace_status(101);
            self.write_line(b"Connection", b"upgrade");
            self.write_line(b"Upgrade", protocol.as_bytes());
        }
        self.buffer.push(b"\r\n");
        Ok(self.finished())
    }

    pub(crate) fn finished(&self) -> Finished {
        Finished {
            block_bytes: if self.buffer.spilled.is_some() { 0 } else { self.buffer.len as u32 },
            has_payload: self.buffer.spilled.is_some(),
            close: self.terms.close,
        }
    }

    #[cold]
    fn become_failure(&mut self) {
        let failure = self.failure.or(Some(FieldError::Body));
        self.terms.close = true;
        self.reset();
        self.failure = failure;
        self.set_status(500).expect("a final status");
    }

    /// Remembers what the log is to be told of this response.
    pub(crate) fn tell(&mut self, told: String) {
        self.told = Some(Box::new(told));
    }

    /// Whether the log is to be told of it.
    #[inline]
    pub(crate) fn has_told(&self) -> bool {
        self.failure.is_some() || self.told.is_some()
    }

    pub(crate) fn take_told(&mut self) -> Option<String> {
        self.told.take().map(|told| *told)
    }

    /// Whether failures may be told to the client in detail.
    pub(crate) fn shows_details(&self) -> bool {
        self.preamble.shows_details
    }

    /// What made the response a 500.
    pub(crate) fn failure(&self) -> Option<FieldError> {
        self.failure
    }

    /// The bytes that follow those in the block, of a finished response that has some.
    pub(crate) fn take_payload(&mut self) -> Option<Payload> {
        if let Some(heap) = self.buffer.spilled.take() {
            return Some(Payload::Owned(heap));
        }
        match std::mem::replace(&mut self.body, Body::Empty) {
            Body::Payload(payload) => Some(payload),
            #[cfg(any(feature = "tower", test))]
            Body::Given(payload) => payload,
            _ => None,
        }
    }

    /// Ends a response whose body is not simply the last thing written. Returns whether more follows.
    #[inline(never)]
    fn finish_other(&mut self, bodiless: bool) -> bool {
        #[cfg(any(feature = "tower", test))]
        if let Body::Given(payload) = &self.body {
            return payload.is_some() || self.buffer.spilled.is_some();
        }
        if bodiless || self.terms.head_only || matches!(self.body, Body::Empty) {
            self.finish_without_body(bodiless);
        }
        if let Body::Payload(payload) = &self.body {
            let body = payload.as_slice();
            let mut length = itoa::Buffer::new();
            self.buffer.push(b"Content-Length: ");
            self.buffer.push(length.format(body.len()).as_bytes());
            self.buffer.push(b"\r\n\r\n");
            let fits = self.buffer.len + body.len() <= self.buffer.block.len();
            if (body.len() > COPY_BYTES_MAX || !fits) && self.buffer.spilled.is_none() {
                return true;
            }
            if let Some(heap) = &mut self.buffer.spilled {
                heap.reserve_exact(body.len());
            }
            self.buffer.push(body);
        }
        self.buffer.spilled.is_some()
    }

    /// Closes the head of a response that has no body, or whose body is not to be sent.
    fn finish_without_body(&mut self, bodiless: bool) {
        let length = match &self.body {
            Body::Empty => self.stated_length.filter(|_| bodiless || self.terms.head_only),
            Body::Payload(payload) => Some(payload.as_slice().len() as u64),
            Body::Written { start, .. } => Some((self.buffer.len - start) as u64),
            #[cfg(any(feature = "tower", test))]
            Body::Given(_) => None,
        };
        self.reopen();
        match self.status {
            204 => {}
            205 => self.buffer.push(b"Content-Length: 0\r\n"),
            304 if length.is_none() => {}
            _ => {
                let mut digits = itoa::Buffer::new();
                self.buffer.push(b"Content-Length: ");
                self.buffer.push(digits.format(length.unwrap_or(0)).as_bytes());
                self.buffer.push(b"\r\n");
            }
        }
        self.buffer.push(b"\r\n");
        let start = self.buffer.len;
        self.body = Body::Written { start, digits_at: start, digits: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `write` on a response in a block of `room` bytes; returns all bytes, without `Date`.
    fn written(room: usize, terms: Terms, write: impl Fn(&mut ResponseWriter)) -> String {
        let mut block = vec![0; room];
        let mut preamble = Preamble::new(true, 0);
        let mut writer = ResponseWriter::new(&mut block, &mut preamble, terms);
        writer.begin();
        write(&mut writer);
        let finished = writer.finish();
        let payload = if finished.has_payload { writer.take_payload() } else { None };
        let mut bytes = block[..finished.block_bytes as usize].to_vec();
        if let Some(payload) = payload {
            bytes.extend_from_slice(payload.as_slice());
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        text.replace("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "")
    }

    fn plain(write: impl Fn(&mut ResponseWriter)) -> String {
        let roomy = written(4096, Terms::default(), &write);
        // However little room there is, the bytes are the same.
        for room in [0, 1, 60, 100, 120, 150, 180, 200] {
            assert_eq!(written(room, Terms::default(), &write), roomy, "in {room} bytes");
        }
        roomy
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: peregrine\r\n";

    #[test]
    fn a_body_is_preceded_by_its_length() {
        let response = plain(|writer| writer.write_body("text/plain", b"hello"));
        assert_eq!(response, format!("{HEAD}Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"));
    }

    #[test]
    fn nothing_written_is_an_empty_body() {
        assert_eq!(plain(|_| {}), format!("{HEAD}Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn the_order_of_calls_does_not_matter() {
        let late = plain(|writer| {
            writer.write_body("text/plain", b"hello");
            writer.add_field("X-A", b"1").expect("valid");
            writer.set_status(404).expect("final");
            writer.add_field("X-B", b"2").expect("valid");
        });
        let expected = "HTTP/1.1 404 Not Found\r\nServer: peregrine\r\nContent-Type: text/plain\r\n\
                        Content-Length: 5\r\nX-A: 1\r\nX-B: 2\r\n\r\nhello";
        assert_eq!(late, expected);
    }

    #[test]
    fn the_last_body_counts() {
        let response = plain(|writer| {
            writer.write_body("text/plain", b"first");
            writer.add_field("X-A", b"1").expect("valid");
            writer.set_payload("", Payload::Static(b"second one")).expect("no type");
            writer.write_body("", b"third");
        });
        assert_eq!(response, format!("{HEAD}X-A: 1\r\nContent-Length: 5\r\n\r\nthird"));
    }

    #[test]
    fn a_body_takes_its_type_with_it_but_not_the_handlers() {
        let html = |writer: &mut ResponseWriter| writer.write_body("text/html", b"<p>");
        let json = |writer: &mut ResponseWriter| {
            writer.begin_body("application/json");
            writer.push_body(b"{}");
            writer.end_body();
        };
        let payload = |writer: &mut ResponseWriter| {
            writer.set_payload("image/png", Payload::Static(b"png")).expect("a type");
        };
        let types = |response: &str| {
            let lines = response.lines().filter_map(|line| line.strip_prefix("Content-Type: "));
            lines.collect::<Vec<_>>().join(" and ")
        };
        let written = plain(|writer| (html(writer), json(writer)).1);
        assert_eq!(types(&written), "application/json");
        assert_eq!(types(&plain(|writer| (html(writer), payload(writer)).1)), "image/png");
        assert_eq!(types(&plain(|writer| (payload(writer), html(writer)).1)), "text/html");
        let named = |writer: &mut ResponseWriter| writer.add_field("content-type", b"x/y").expect("a type");
        assert_eq!(types(&plain(|writer| (named(writer), html(writer), json(writer)).2)), "x/y");
        assert_eq!(types(&plain(|writer| (html(writer), named(writer), json(writer)).2)), "x/y");
        assert_eq!(types(&plain(|writer| (named(writer), payload(writer)).1)), "image/png");
    }

    #[test]
    fn a_length_known_late_is_written_without_padding() {
        for len in [0, 1, 9, 10, 99, 100, 1000, 12_345] {
            let body = "x".repeat(len);
            let response = plain(|writer| {
                writer.begin_body("text/plain");
                for part in body.as_bytes().chunks(7) {
                    writer.push_body(part);
                }
                writer.end_body();
            });
            let expected = format!("{HEAD}Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{body}");
            assert_eq!(response, expected);
        }
    }

    #[test]
    fn a_known_type_makes_no_difference() {
        let steps: [fn(&mut ResponseWriter); 4] = [
            |_| {},
            |writer| writer.write_body("text/html", b"first"),
            |writer| writer.add_field("content-type", b"x/y").expect("a type"),
            |writer| writer.set_payload("x/z", Payload::Static(b"first")).expect("a type"),
        ];
        for before in steps {
            let known =
                plain(|writer| (before(writer), writer.write_known_body(&KnownType::TEXT, b"hello")).1);
            let named = plain(|writer| (before(writer), writer.write_body(KnownType::TEXT.name, b"hello")).1);
            assert_eq!(known, named);
        }
        let late = plain(|writer| {
            writer.write_known_body(&KnownType::TEXT, b"hello");
            writer.add_field("X-A", b"1").expect("valid");
            writer.set_status(404).expect("final");
        });
        assert!(late.ends_with("Content-Length: 5\r\nX-A: 1\r\n\r\nhello"), "{late}");
    }

    #[test]
    fn a_body_without_an_end_is_a_500() {
        let response = plain(|writer| {
            writer.begin_body("application/json");
            writer.push_body(b"{\"half\":");
        });
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert!(response.ends_with("Content-Length: 0\r\n\r\n"), "{response}");
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        static LARGE: [u8; COPY_BYTES_MAX + 1] = [b'x'; COPY_BYTES_MAX + 1];
        let mut block = vec![0; 32 * 1024];
        let mut preamble = Preamble::new(false, 0);
        let mut writer = ResponseWriter::new(&mut block, &mut preamble, Terms::default());
        writer.begin();
        writer.set_payload("text/plain", Payload::Static(&LARGE)).expect("a type");
        let finished = writer.finish();
        let payload = writer.take_payload().expect("a second part");
        assert!(finished.has_payload);
        assert_eq!(payload.as_slice().as_ptr(), LARGE.as_ptr());
        assert!(block[..finished.block_bytes as usize].ends_with(b"Content-Length: 8193\r\n\r\n"));
    }

    #[test]
    fn rfc9110_9_3_2_head_has_the_length_and_no_body() {
        let terms = Terms { head_only: true, ..Terms::default() };
        let expected = format!("{HEAD}Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(written(4096, terms, |writer| writer.write_body("text/plain", b"hello")), expected);
        let payload = |writer: &mut ResponseWriter| {
            writer.set_payload("text/plain", Payload::Static(b"hello")).expect("a type");
        };
        assert_eq!(written(4096, terms, payload), expected);
        let stated = written(4096, terms, |writer| writer.add_field("Content-Length", b"77").expect("valid"));
        assert_eq!(stated, format!("{HEAD}Content-Length: 77\r\n\r\n"));
    }

    #[test]
    fn rfc9110_8_6_no_length_on_204_and_no_body_on_304() {
        let with_status = |status: u16| {
            plain(move |writer| {
                writer.write_body("", b"hello");
                writer.set_status(status).expect("final");
            })
        };
        assert_eq!(with_status(204), "HTTP/1.1 204 No Content\r\nServer: peregrine\r\n\r\n");
        let not_modified = "HTTP/1.1 304 Not Modified\r\nServer: peregrine\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(with_status(304), not_modified);
        let reset = "HTTP/1.1 205 Reset Content\r\nServer: peregrine\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(with_status(205), reset);
    }

    #[test]
    fn rfc9112_9_3_and_9_6_connection_is_said_once() {
        let close = Terms { close: true, ..Terms::default() };
        let keep = Terms { keep_alive_1_0: true, ..Terms::default() };
        let head = "HTTP/1.1 200 OK\r\nServer: peregrine\r\n";
        assert_eq!(
            written(999, close, |_| {}),
            format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n")
        );
        assert_eq!(
            written(999, keep, |_| {}),
            format!("{head}Connection: keep-alive\r\nContent-Length: 0\r\n\r\n")
        );
        let both = written(999, keep, |writer| {
            writer.write_body("", b"x");
            writer.add_field("connection", b"close").expect("valid");
            writer.close();
        });
        assert_eq!(both, format!("{head}Content-Length: 1\r\nConnection: close\r\n\r\nx"));
    }

    #[test]
    fn what_the_engine_writes_can_be_replaced() {
        let response = plain(|writer| {
            writer.add_field("server", b"first").expect("valid");
            writer.add_field("SERVER", b"other").expect("valid");
            writer.write_body("text/plain", b"{}");
            writer.add_field("Content-Type", b"application/json").expect("valid");
        });
        let expected = "HTTP/1.1 200 OK\r\nServer: other\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
        assert_eq!(response, expected);
    }

    #[test]
    fn rfc9110_5_5_a_line_break_in_a_value_cannot_split_the_response() {
        let mut block = vec![0; 4096];
        let mut preamble = Preamble::new(true, 0);
        let mut writer = ResponseWriter::new(&mut block, &mut preamble, Terms::default());
        writer.begin();
        let refused = writer.add_field("X", b"1\r\nSet-Cookie: a=b").expect_err("a line break");
        assert_eq!(refused, FieldError::Value);
        assert_eq!(writer.add_field("X Y", b"1"), Err(FieldError::Name));
        assert_eq!(writer.add_field("Transfer-Encoding", b"chunked"), Err(FieldError::Name));
        assert_eq!(writer.set_status(99), Err(FieldError::Status(99)));
        writer.write_body("", b"secret");
        writer.fail(refused);
        let finished = writer.finish();
        assert_eq!(writer.failure(), Some(FieldError::Value));
        assert!(finished.close);
        let text = String::from_utf8_lossy(&block[..finished.block_bytes as usize]).into_owned();
        assert!(text.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{text}");
        assert!(text.ends_with("Connection: close\r\nContent-Length: 0\r\n\r\n"), "{text}");
    }

    #[test]
    fn the_date_follows_the_clock() {
        let mut preamble = Preamble::new(true, 784_111_777);
        preamble.refresh(784_111_777);
        let text = |preamble: &Preamble| String::from_utf8_lossy(&preamble.bytes).into_owned();
        assert!(text(&preamble).contains("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
        preamble.refresh(784_111_778);
        assert!(text(&preamble).contains("Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"));
    }
}
