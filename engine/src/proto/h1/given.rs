//! Responses that are written as another library gives them: its fields in its order and letter case.
//!
//! Owns the framing of such a response, and what is added to it: length or coding, `connection`, `server`, `date`, at
//! the places and in the letters in which hyper writes them, so that who changes servers changes no byte. It must not
//! know the types of other libraries. RFC 9112 sections 4 and 6.

use peregrine_parser::{is_field_value, is_token};
use peregrine_pool::Payload;

use super::response::{Body, COPY_BYTES_MAX};
use super::{BodyEncoder, ResponseWriter};
use crate::proto::FieldError;

/// What is known of a body before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// There is none.
    Nothing,
    /// It will be so many bytes.
    Known(u64),
    Unknown,
}

/// The head of a response, as it is given.
pub(crate) struct GivenHead<'a, F> {
    /// From 200 to 599.
    pub(crate) status: u16,
    pub(crate) reason: &'a str,
    pub(crate) fields: F,
    pub(crate) extent: Extent,
}

/// What has been written of what every response has.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    connection: bool,
    date: bool,
    server: bool,
}

impl ResponseWriter<'_> {
    /// Writes a head instead of all that was written before. Returns how its body is to be framed.
    ///
    /// # Errors
    /// Something in it cannot be sent: a status that is not final, a line break, lengths that are none or contradict
    /// each other.
    pub(crate) fn write_given_head<'f>(
        &mut self,
        head: GivenHead<'_, impl Iterator<Item = (&'f str, &'f [u8])>>,
    ) -> Result<BodyEncoder, FieldError> {
        let GivenHead { status, reason, fields, extent } = head;
        if !(200..=599).contains(&status) {
            return Err(FieldError::Status(status));
        }
        // RFC 9110 section 15.3.6: 205 has none, whatever its maker says.
        let extent = if status == 205 { Extent::Nothing } else { extent };
        self.write_given_status(status, reason);
        let mut seen = Seen::default();
        for (name, value) in fields {
            self.give_field(&mut seen, extent, name, value)?;
        }
        let encoder = self.give_framing(&seen, extent);
        if !seen.server && self.preamble.has_server_field() {
            self.buffer.push(b"server: peregrine\r\n");
        }
        if !seen.date {
            self.buffer.push(b"date: ");
            self.buffer.push(self.preamble.date());
        }
        self.buffer.push(b"\r\n");
        self.body = Body::Given(None);
        Ok(encoder)
    }

    /// The whole body, behind its head. It is handed over if it is too large to be copied.
    pub(crate) fn write_given_body<B>(&mut self, encoder: BodyEncoder, body: B)
    where
        B: AsRef<[u8]> + Into<Vec<u8>>,
    {
        let bytes = body.as_ref();
        if !encoder.is_sent() {
            return;
        }
        let fits = self.buffer.len + bytes.len() <= self.buffer.block.len();
        if (bytes.len() > COPY_BYTES_MAX || !fits) && !bytes.is_empty() && self.buffer.spilled.is_none() {
            self.body = Body::Given(Some(Payload::Owned(body.into())));
        } else {
            self.buffer.push(bytes);
        }
    }

    fn write_given_status(&mut self, status: u16, reason: &str) {
        self.buffer.truncate(0);
        self.status = status;
        self.seen = 0;
        if (status, self.terms.http_1_0) == (200, false) {
            return self.buffer.push(b"HTTP/1.1 200 OK\r\n");
        }
        // An HTTP/1.0 client is answered in its own version, as hyper does.
        self.buffer.push(if self.terms.http_1_0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        self.buffer.push(itoa::Buffer::new().format(status).as_bytes());
        self.buffer.push(b" ");
        self.buffer.push(reason.as_bytes());
        self.buffer.push(b"\r\n");
    }

    /// Whether a response with the status so far can have a body at all (RFC 9110 section 6.4.1).
    fn may_have_body(&self) -> bool {
        !self.terms.head_only && !matches!(self.status, 204 | 304)
    }

    fn give_field(
        &mut self,
        seen: &mut Seen,
        extent: Extent,
        name: &str,
        value: &[u8],
    ) -> Result<(), FieldError> {
        match name {
            "content-length" => return self.give_length(seen, extent, value),
            // The engine frames.
            "transfer-encoding" => return Ok(()),
            "trailer" if self.terms.http_1_0 || !self.may_have_body() => return Ok(()),
            "connection" => {
                let closes =
                    peregrine_parser::list_items(value).any(|item| item.eq_ignore_ascii_case(b"close"));
                // Nothing else that a service can say of it is true here.
                if closes && !seen.connection {
                    self.terms.close = true;
                    seen.connection = true;
                    self.buffer.push(b"connection: close\r\n");
                }
                return Ok(());
            }
            "date" => seen.date = true,
            "server" => seen.server = true,
            _ => {}
        }
        self.push_given(name, value)
    }

    fn push_given(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        if !is_token(name.as_bytes()) {
            return Err(FieldError::Name);
        }
        if !is_field_value(value) {
            return Err(FieldError::Value);
        }
        self.buffer.push(name.as_bytes());
        self.buffer.push(b": ");
        self.buffer.push(value);
        self.buffer.push(b"\r\n");
        Ok(())
    }

    fn give_length(&mut self, seen: &mut Seen, extent: Extent, value: &[u8]) -> Result<(), FieldError> {
        let all_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let digits = std::str::from_utf8(value).ok().filter(|_| all_digits);
        let length: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(FieldError::Value)?;
        let is_true = match extent {
            // Only of a response to HEAD it may say what is not sent with it.
            Extent::Nothing if !self.terms.head_only => return Ok(()),
            Extent::Known(known) if self.may_have_body() => known == length,
            _ => true,
        };
        if !is_true || seen.length.is_some_and(|before| before != length) {
            return Err(FieldError::Value);
        }
        if seen.length.is_none() && self.status != 204 {
            seen.length = Some(length);
            self.push_given("content-length", value)?;
        }
        Ok(())
    }

    /// Adds what says how long the body is and whether the connection goes on.
    fn give_framing(&mut self, seen: &Seen, extent: Extent) -> BodyEncoder {
        let may_have_body = self.may_have_body();
        let is_endless = seen.length.is_none() && extent == Extent::Unknown && may_have_body;
        // RFC 9112 section 6.3: the end of the connection is the only end that an HTTP/1.0 client can see.
        self.terms.close |= is_endless && self.terms.http_1_0;
        if seen.connection {
            // Said.
        } else if self.terms.close && !self.terms.http_1_0 {
            self.buffer.push(b"connection: close\r\n");
        } else if self.terms.keep_alive_1_0 && !self.terms.close {
            self.buffer.push(b"connection: keep-alive\r\n");
        }
        let encoder = match (seen.length, extent) {
            (Some(length), Extent::Unknown) => BodyEncoder::length(length),
            (None, Extent::Unknown) if !may_have_body => BodyEncoder::none(),
            (None, Extent::Unknown) if self.terms.http_1_0 => BodyEncoder::until_close(),
            (None, Extent::Unknown) => {
                self.buffer.push(b"transfer-encoding: chunked\r\n");
                BodyEncoder::chunked_in_capitals()
            }
            (None, Extent::Nothing | Extent::Known(0)) => {
                if may_have_body {
                    self.buffer.push(b"content-length: 0\r\n");
                }
                BodyEncoder::length(0)
            }
            (None, Extent::Known(length)) => {
                if !matches!(self.status, 204 | 304) {
                    self.buffer.push(b"content-length: ");
                    self.buffer.push(itoa::Buffer::new().format(length).as_bytes());
                    self.buffer.push(b"\r\n");
                }
                BodyEncoder::length(length)
            }
            (Some(_), Extent::Nothing) => BodyEncoder::none(),
            (Some(_), Extent::Known(length)) => BodyEncoder::length(length),
        };
        if may_have_body && self.status != 205 { encoder } else { BodyEncoder::none() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Preamble, Terms};
    use super::*;

    fn written(room: usize, terms: Terms, status: u16, fields: &[(&str, &str)], extent: Extent) -> String {
        let mut block = vec![0; room];
        let mut preamble = Preamble::new(false, 0);
        let mut writer = ResponseWriter::new(&mut block, &mut preamble, terms);
        writer.begin();
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let head = GivenHead { status, reason: "OK", fields, extent };
        if let Extent::Known(length) = extent {
            let body = vec![b'b'; length as usize];
            match writer.write_given_head(head) {
                Ok(encoder) => writer.write_given_body(encoder, body),
                Err(error) => writer.fail(error),
            }
        } else if let Err(error) = writer.write_given_head(head) {
            writer.fail(error);
        }
        let finished = writer.finish();
        let payload = if finished.has_payload { writer.take_payload() } else { None };
        let mut bytes = block[..finished.block_bytes as usize].to_vec();
        bytes.extend_from_slice(payload.as_ref().map_or(b"", |payload| payload.as_slice()));
        let text = String::from_utf8(bytes).expect("ASCII");
        let date = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        assert!(text.contains(&format!("{date}\r\n")) || text.contains(" 500 "), "{text}");
        text.replace(date, "")
    }

    fn plain(status: u16, fields: &[(&str, &str)], extent: Extent) -> String {
        let roomy = written(4096, Terms::default(), status, fields, extent);
        for room in [0, 1, 60, 100] {
            assert_eq!(written(room, Terms::default(), status, fields, extent), roomy, "in {room} bytes");
        }
        roomy
    }

    #[test]
    fn fields_stay_as_they_are_given_and_lengths_are_added() {
        let fields = [("x-b", "2"), ("content-type", "a/b"), ("x-a", "1"), ("x-a", "3")];
        let head = "HTTP/1.1 200 OK\r\nx-b: 2\r\ncontent-type: a/b\r\nx-a: 1\r\nx-a: 3\r\n";
        assert_eq!(plain(200, &fields, Extent::Known(2)), format!("{head}content-length: 2\r\n\r\nbb"));
        assert_eq!(plain(200, &fields, Extent::Nothing), format!("{head}content-length: 0\r\n\r\n"));
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        assert_eq!(plain(200, &fields, Extent::Unknown), chunked);
        let large = plain(200, &fields, Extent::Known(10_000));
        assert!(large.starts_with(head) && large.len() == head.len() + 10_000 + 25, "{}", large.len());
    }

    #[test]
    fn a_given_length_keeps_its_place_if_it_is_true() {
        let fields = [("content-length", "2"), ("x-a", "1")];
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\n\r\n";
        assert_eq!(plain(200, &fields, Extent::Known(2)), format!("{head}bb"));
        assert_eq!(plain(200, &fields, Extent::Unknown), head);
        for (value, extent) in
            [("3", Extent::Known(2)), ("-1", Extent::Unknown), ("", Extent::Unknown), ("x", Extent::Unknown)]
        {
            let refused = plain(200, &[("content-length", value)], extent);
            assert!(refused.starts_with("HTTP/1.1 500 "), "{value:?}: {refused}");
        }
        let twice = [("content-length", "2"), ("content-length", "3")];
        assert!(plain(200, &twice, Extent::Unknown).starts_with("HTTP/1.1 500 "));
    }

    #[test]
    fn what_has_no_body_gets_none() {
        assert_eq!(plain(204, &[("content-length", "0")], Extent::Nothing), "HTTP/1.1 204 OK\r\n\r\n");
        assert_eq!(plain(204, &[], Extent::Known(3)), "HTTP/1.1 204 OK\r\n\r\n");
        assert_eq!(plain(304, &[], Extent::Unknown), "HTTP/1.1 304 OK\r\n\r\n");
        assert_eq!(plain(205, &[], Extent::Known(3)), "HTTP/1.1 205 OK\r\ncontent-length: 0\r\n\r\n");
        let terms = Terms { head_only: true, ..Terms::default() };
        let head = |fields: &[(&str, &str)], extent| written(4096, terms, 200, fields, extent);
        assert_eq!(
            head(&[("content-length", "7")], Extent::Nothing),
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"
        );
        assert_eq!(head(&[], Extent::Nothing), "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(head(&[], Extent::Unknown), "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(head(&[], Extent::Known(4)), "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
    }

    #[test]
    fn connections_are_closed_in_the_words_of_the_clients_version() {
        let close = Terms { close: true, ..Terms::default() };
        let response = written(4096, close, 200, &[("x-a", "1")], Extent::Nothing);
        assert_eq!(response, "HTTP/1.1 200 OK\r\nx-a: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let old = Terms { http_1_0: true, close: true, ..Terms::default() };
        let response = written(4096, old, 200, &[], Extent::Unknown);
        assert_eq!(response, "HTTP/1.0 200 OK\r\n\r\n");
        let kept = Terms { http_1_0: true, keep_alive_1_0: true, ..Terms::default() };
        let response = written(4096, kept, 200, &[], Extent::Nothing);
        assert_eq!(response, "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(written(4096, kept, 200, &[], Extent::Unknown), "HTTP/1.0 200 OK\r\n\r\n");
        let asked =
            plain(200, &[("connection", "Close"), ("connection", "x"), ("x-a", "1")], Extent::Nothing);
        assert_eq!(asked, "HTTP/1.1 200 OK\r\nconnection: close\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn nothing_splits_a_response() {
        for field in [("x-a", "1\r\nx-b: 2"), ("x a", "1"), ("", "1"), ("x-a", "\0")] {
            assert!(plain(200, &[field], Extent::Nothing).starts_with("HTTP/1.1 500 "), "{field:?}");
        }
        for status in [100, 101, 199, 600, 999] {
            assert!(plain(status, &[], Extent::Nothing).starts_with("HTTP/1.1 500 "), "{status}");
        }
        let own = plain(200, &[("transfer-encoding", "gzip"), ("connection", "upgrade")], Extent::Unknown);
        assert_eq!(own, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    }
}
