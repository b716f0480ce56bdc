//! The slow, exact way through a head: one byte class at a time, able to stop and go on at every byte,
//! and the only place that names what is wrong with a line.
//!
//! Its judgement of a byte depends on the bytes before it only, never on how many are behind it: that is
//! what makes the error the same for every way of cutting the head up.

use crate::head::{HeadParser, window};
use crate::simd::{Portable, Scan};
use crate::{Field, HeadError, HeadLimits, Method, Span, Status, Version};

/// What is being read. In the order of the message, which the comparison of phases relies on.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Phase {
    /// Nothing yet.
    Start,
    /// One empty line was skipped.
    EmptyLine,
    Method,
    Target,
    Version,
    /// The first byte of a field line, or of the empty line that ends the section.
    LineStart,
    FieldName,
    FieldValue,
    Done,
}

/// What became of a field line.
pub(crate) enum Line {
    /// Taken; the next starts here.
    Next(u32),
    /// It was the empty line: the section is complete.
    End,
    /// It goes on behind the last byte. The parser holds the place.
    Torn,
}

/// Reads the request line from where the parser stands to its LF.
#[cold]
#[inline(never)]
pub(crate) fn request_line(
    parser: &mut HeadParser,
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Status<()>, HeadError> {
    if parser.phase < Phase::Method && before_method(parser, bytes)? == Status::Partial {
        return Ok(Status::Partial);
    }
    let (line, full) = window(bytes, parser.section, u64::from(limits.max_request_line_bytes));
    let torn = || if full { Err(HeadError::RequestLineTooLong) } else { Ok(Status::Partial) };

    if parser.phase == Phase::Method && method(parser, line)? == Status::Partial {
        return torn();
    }
    if parser.phase == Phase::Target && target(parser, line)? == Status::Partial {
        return torn();
    }
    match version(parser, line)? {
        Status::Partial => torn(),
        Status::Complete(end) => {
            parser.begin_fields(end);
            Ok(Status::Complete(()))
        }
    }
}

/// Skips the one empty line that a client may send after a body, RFC 9112 2.2.
fn before_method(parser: &mut HeadParser, bytes: &[u8]) -> Result<Status<()>, HeadError> {
    const TLS_HANDSHAKE_RECORD: u8 = 0x16;

    loop {
        let at = parser.pos as usize;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) if parser.phase == Phase::Start => {
                parser.phase = Phase::EmptyLine;
                parser.pos += 2;
            }
            (Some(b'\r'), Some(b'\n')) => return Err(HeadError::ExtraEmptyLine),
            (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
            (None | Some(b'\r'), _) => return Ok(Status::Partial),
            (Some(b'\n'), _) => return Err(HeadError::BareLf),
            (Some(&TLS_HANDSHAKE_RECORD), _) if parser.phase == Phase::Start => {
                return Err(HeadError::TlsHandshake);
            }
            (Some(_), _) => {
                parser.phase = Phase::Method;
                parser.section = parser.pos;
                parser.start = parser.pos;
                return Ok(Status::Complete(()));
            }
        }
    }
}

fn method(parser: &mut HeadParser, line: &[u8]) -> Result<Status<()>, HeadError> {
    let (start, end) = (parser.start as usize, Portable.token_end(line, parser.pos as usize));
    parser.pos = end as u32;
    match line.get(end) {
        None => return Ok(Status::Partial),
        Some(b' ') if end > start => {}
        Some(b'\n') => return Err(HeadError::BareLf),
        Some(_) => return Err(HeadError::InvalidMethod),
    }
    parser.head.method_span = Span::from_offsets(start, end);
    parser.head.method = Method::from_bytes(parser.head.method_span.of(line));
    parser.next_token(end + 1, Phase::Target);
    Ok(Status::Complete(()))
}

fn target(parser: &mut HeadParser, line: &[u8]) -> Result<Status<()>, HeadError> {
    let (start, end) = (parser.start as usize, Portable.target_end(line, parser.pos as usize));
    parser.pos = end as u32;
    match line.get(end) {
        None => return Ok(Status::Partial),
        Some(b' ') if end > start => {}
        Some(b' ') => return Err(HeadError::ExtraWhitespace),
        Some(b'\r') => return Err(HeadError::MissingVersion),
        Some(b'\n') => return Err(HeadError::BareLf),
        Some(_) => return Err(HeadError::InvalidTarget),
    }
    parser.head.target = Span::from_offsets(start, end);
    parser.next_token(end + 1, Phase::Version);
    Ok(Status::Complete(()))
}

/// `HTTP/d.d` CRLF: too short to keep a place in, so it is read again from its start.
fn version(parser: &mut HeadParser, line: &[u8]) -> Result<Status<usize>, HeadError> {
    const PATTERN: &[u8; 10] = b"HTTP/d.d\r\n";

    let text = line.get(parser.start as usize..).unwrap_or_default();
    for (i, &expected) in PATTERN.iter().enumerate() {
        let Some(&byte) = text.get(i) else { return Ok(Status::Partial) };
        let matches = if expected == b'd' { byte.is_ascii_digit() } else { byte == expected };
        if !matches {
            return Err(match (byte, expected) {
                (b' ', b'H') => HeadError::ExtraWhitespace,
                (b'\n', _) if expected != b'\n' => HeadError::BareLf,
                (_, b'\n') => HeadError::BareCr,
                _ => HeadError::InvalidVersion,
            });
        }
    }
    parser.head.version = match text.first_chunk() {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        Some(b"HTTP/2.0")
            if parser.head.method_span.of(line) == b"PRI" && parser.head.target.of(line) == b"*" =>
        {
            return Err(HeadError::Http2Preface);
        }
        _ => return Err(HeadError::UnsupportedVersion),
    };
    Ok(Status::Complete(parser.start as usize + PATTERN.len()))
}

/// Reads one field line from where the parser stands to its LF.
#[cold]
#[inline(never)]
pub(crate) fn field_line(
    parser: &mut HeadParser,
    bytes: &[u8],
    fields: &mut [Field],
) -> Result<Line, HeadError> {
    if parser.phase == Phase::Done {
        return Ok(Line::End);
    }
    let line = parser.start as usize;
    if parser.phase == Phase::LineStart {
        match (bytes.get(line), bytes.get(line + 1)) {
            (None, _) | (Some(b'\r'), None) => return Ok(Line::Torn),
            (Some(b'\r'), Some(b'\n')) => {
                parser.finish(line + 2);
                return Ok(Line::End);
            }
            (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
            (Some(b'\n'), _) => return Err(HeadError::BareLf),
            (Some(b' ' | b'\t'), _) if parser.start == parser.section => {
                return Err(HeadError::LeadingWhitespace);
            }
            (Some(b' ' | b'\t'), _) => return Err(HeadError::ObsFold),
            (Some(b':'), _) => return Err(HeadError::EmptyFieldName),
            (Some(_), _) => parser.phase = Phase::FieldName,
        }
    }
    if parser.phase == Phase::FieldName {
        let end = Portable.token_end(bytes, parser.pos as usize);
        parser.pos = end as u32;
        match bytes.get(end) {
            None => return Ok(Line::Torn),
            Some(b':') => {}
            Some(b' ' | b'\t') => return Err(HeadError::WhitespaceBeforeColon),
            Some(b'\r') => return Err(HeadError::MissingColon),
            Some(b'\n') => return Err(HeadError::BareLf),
            Some(_) => return Err(HeadError::InvalidFieldName),
        }
        parser.colon = end as u32;
        parser.pos = end as u32 + 1;
        parser.phase = Phase::FieldValue;
    }
    let end = Portable.value_end(bytes, parser.pos as usize);
    parser.pos = end as u32;
    match (bytes.get(end), bytes.get(end + 1)) {
        (None, _) | (Some(b'\r'), None) => return Ok(Line::Torn),
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
        (Some(b'\n'), _) => return Err(HeadError::BareLf),
        (Some(_), _) => return Err(HeadError::InvalidFieldValue),
    }
    parser.push(bytes, line, parser.colon as usize, end, fields)?;
    parser.next_token(end + 2, Phase::LineStart);
    Ok(Line::Next(parser.start))
}

impl HeadParser {
    fn next_token(&mut self, at: usize, phase: Phase) {
        self.start = at as u32;
        self.pos = at as u32;
        self.phase = phase;
    }
}
