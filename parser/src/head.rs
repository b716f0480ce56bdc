//! The head of a request: request line and field section, RFC 9112 sections 2, 3 and 5; and trailers.
//!
//! It must not know what a field means for the body: that is `framing`.
//!
//! Two paths, one result. The quick path here takes only whole, well-formed lines of known methods, and
//! gives up on anything else without a word. The careful path (`careful`) starts such a line again, byte
//! by byte: it names what is wrong, or keeps its place until more bytes arrive. A torn head thus costs its
//! new bytes and at most one line twice. Which path took a line can not be seen from outside.
//!
//! Limits are windows: each path sees no byte beyond the limit, so what is wrong behind it can not turn
//! "too long" into another error, however the bytes arrive.

use crate::careful::{self, Line, Phase};
use crate::simd::{Scan, Task};
use crate::table::is_ows;
use crate::{Field, FieldName, HeadError, Method, Simd, Span, Status, Version};

/// How large a head may be. The number of fields is limited by the table given to [`HeadParser::parse`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the request line with its CRLF; 8192 by default.
    pub max_request_line_bytes: u32,
    /// Bytes of the field lines, each with its CRLF, without the empty line at the end; 32768 by default.
    pub max_fields_bytes: u32,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_request_line_bytes: 8192, max_fields_bytes: 32768 }
    }
}

/// Where the fields that frame a message are, so that nobody searches the table for them again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Known {
    first: [u16; FieldName::FRAMING],
    repeated: u8,
}

impl Default for Known {
    fn default() -> Self {
        Self { first: [Self::ABSENT; FieldName::FRAMING], repeated: 0 }
    }
}

impl Known {
    const ABSENT: u16 = u16::MAX;

    /// Index in the field table of the first field named `id`. Kept for Host, Connection, Content-Length,
    /// Transfer-Encoding, Expect and Upgrade; `None` for every other name.
    #[inline]
    #[must_use]
    pub fn first(&self, id: FieldName) -> Option<usize> {
        let index = *self.first.get((id as usize).wrapping_sub(1))?;
        (index != Self::ABSENT).then_some(usize::from(index))
    }

    /// Whether more than one field is named `id`, of the names that [`Known::first`] keeps.
    #[inline]
    #[must_use]
    pub fn is_repeated(&self, id: FieldName) -> bool {
        let slot = (id as usize).wrapping_sub(1);
        slot < FieldName::FRAMING && self.repeated & (1 << slot) != 0
    }

    #[inline(always)]
    pub(crate) fn note(&mut self, id: FieldName, index: u16) {
        let slot = (id as usize).wrapping_sub(1);
        if let Some(first) = self.first.get_mut(slot) {
            if *first == Self::ABSENT {
                *first = index;
            } else {
                self.repeated |= 1 << slot;
            }
        }
    }
}

/// A parsed head. All spans are relative to the first byte of the message.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// How many entries of the field table are filled.
    pub field_count: u16,
    /// Bytes of the whole head: from the first byte, with a skipped empty line, to the last LF.
    pub len: u32,
    /// The method's bytes, for [`Method::Other`].
    pub method_span: Span,
    /// The request target as sent; [`parse_target`](crate::parse_target) takes it apart.
    pub target: Span,
    /// Where the framing fields are.
    pub known: Known,
}

impl RequestHead {
    /// The values of all fields named `id`, in order. Quick for the names that [`Known::first`] keeps, a
    /// search of the table for others; for [`FieldName::Other`], every field without a known name.
    pub fn values<'a>(
        &self,
        id: FieldName,
        fields: &'a [Field],
        bytes: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let fields = fields.get(..usize::from(self.field_count)).unwrap_or(fields);
        let fields = match self.known.first(id) {
            Some(first) if self.known.is_repeated(id) => fields.get(first..),
            Some(first) => fields.get(first..first + 1),
            None if id.is_framing() => None,
            None => Some(fields),
        };
        let fields = fields.unwrap_or_default().iter();
        fields.filter(move |field| field.id == id).map(move |field| field.value.of(bytes))
    }
}

/// A resumable parser of one head, or of one trailer section. It holds offsets only: copy it, move it, or
/// move the bytes.
#[derive(Copy, Clone, Debug)]
pub struct HeadParser {
    pub(crate) head: RequestHead,
    /// Where the request line or the field section starts: its limit counts from here.
    pub(crate) section: u32,
    /// Where the current token, or field line, starts.
    pub(crate) start: u32,
    /// The first byte that was not looked at.
    pub(crate) pos: u32,
    /// The colon of the current field line, in [`Phase::FieldValue`].
    pub(crate) colon: u32,
    pub(crate) phase: Phase,
}

const _: () = assert!(size_of::<HeadParser>() <= 64);

impl Default for HeadParser {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadParser {
    /// A parser at the first byte of a request.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { head: RequestHead::default(), section: 0, start: 0, pos: 0, colon: 0, phase: Phase::Start }
    }

    /// A parser at the first byte of a trailer section, RFC 9112 7.1.2. The head it makes has only
    /// `field_count`, `len` and `known`.
    #[inline]
    #[must_use]
    pub fn trailers() -> Self {
        Self { phase: Phase::LineStart, ..Self::new() }
    }

    /// The head: all of it after [`Status::Complete`], what has been seen of it before.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Whether any byte of a request was seen; an empty line before it does not count. For trailers,
    /// always true.
    #[inline]
    #[must_use]
    pub fn is_started(&self) -> bool {
        !matches!(self.phase, Phase::Start | Phase::EmptyLine)
    }

    /// Parses `bytes`, which start at the first byte of the message and on a later call hold the same
    /// bytes and more. `fields` must be the same table, too; one field more than it has room for is
    /// [`HeadError::TooManyFields`]. After [`Status::Complete`], bytes from `head().len` on belong to
    /// what follows.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong in the order of the bytes, the same for every way of cutting them
    /// up. The parser is of no use afterwards.
    #[inline]
    pub fn parse(
        &mut self,
        simd: Simd,
        bytes: &[u8],
        fields: &mut [Field],
        limits: &HeadLimits,
    ) -> Result<Status<()>, HeadError> {
        simd.run(Parse { parser: self, bytes, fields, limits })
    }
}

struct Parse<'a> {
    parser: &'a mut HeadParser,
    bytes: &'a [u8],
    fields: &'a mut [Field],
    limits: &'a HeadLimits,
}

impl Task for Parse<'_> {
    type Output = Result<Status<()>, HeadError>;

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> Self::Output {
        let Self { parser, bytes, fields, limits } = self;
        if parser.phase < Phase::LineStart {
            let quick = parser.phase == Phase::Start && quick_request_line(parser, scan, bytes, limits);
            if !quick && careful::request_line(parser, bytes, limits)? == Status::Partial {
                return Ok(Status::Partial);
            }
        }
        field_section(parser, scan, bytes, fields, limits)
    }
}

/// `bytes` up to `limit` bytes after `start`, and whether more can not come into the window. Offsets in a
/// window always fit 32 bits.
#[inline(always)]
pub(crate) fn window(bytes: &[u8], start: u32, limit: u64) -> (&[u8], bool) {
    let end = u64::from(start).saturating_add(limit).min(u64::from(u32::MAX));
    match usize::try_from(end) {
        Ok(end) if end <= bytes.len() => (&bytes[..end], true),
        _ => (bytes, false),
    }
}

/// Takes a request line that is all there, well-formed, of a known method, at the very start.
#[inline(always)]
fn quick_request_line<S: Scan>(parser: &mut HeadParser, scan: S, bytes: &[u8], limits: &HeadLimits) -> bool {
    const HTTP_1_0: u64 = u64::from_le_bytes(*b"HTTP/1.0");
    const HTTP_1_1: u64 = u64::from_le_bytes(*b"HTTP/1.1");

    let (bytes, _) = window(bytes, 0, u64::from(limits.max_request_line_bytes));
    let Some(word) = bytes.first_chunk::<8>() else { return false };
    let Some((method, method_len)) = Method::from_word(u64::from_le_bytes(*word)) else { return false };
    let target = method_len + 1;
    let target_end = scan.target_end(bytes, target);
    let Some(&[b' ', ref version @ .., b'\r', b'\n']) =
        bytes.get(target_end..).and_then(|b| b.first_chunk::<11>())
    else {
        return false;
    };
    let version: &[u8; 8] = version;
    let version = match u64::from_le_bytes(*version) {
        HTTP_1_1 => Version::Http11,
        HTTP_1_0 => Version::Http10,
        _ => return false,
    };
    if target_end == target {
        return false;
    }
    parser.head.method = method;
    parser.head.method_span = Span::from_offsets(0, method_len);
    parser.head.target = Span::from_offsets(target, target_end);
    parser.head.version = version;
    parser.begin_fields(target_end + 11);
    true
}

impl HeadParser {
    /// The field section starts at `at`.
    #[inline(always)]
    pub(crate) fn begin_fields(&mut self, at: usize) {
        self.section = at as u32;
        self.start = at as u32;
        self.pos = at as u32;
        self.phase = Phase::LineStart;
    }
}

#[inline(always)]
fn field_section<S: Scan>(
    parser: &mut HeadParser,
    scan: S,
    bytes: &[u8],
    fields: &mut [Field],
    limits: &HeadLimits,
) -> Result<Status<()>, HeadError> {
    // The empty line at the end is not counted as a field line.
    let (bytes, full) = window(bytes, parser.section, u64::from(limits.max_fields_bytes) + 2);
    let mut line = parser.start as usize;
    let mut torn = parser.phase != Phase::LineStart;
    loop {
        if !torn {
            if bytes.get(line..).and_then(|b| b.first_chunk()) == Some(b"\r\n") {
                parser.finish(line + 2);
                return Ok(Status::Complete(()));
            }
            if let Some(next) = quick_field_line(parser, scan, bytes, line, fields) {
                line = next;
                continue;
            }
            parser.start = line as u32;
            parser.pos = line as u32;
            parser.phase = Phase::LineStart;
        }
        match careful::field_line(parser, bytes, fields)? {
            Line::Next(next) => line = next as usize,
            Line::End => return Ok(Status::Complete(())),
            Line::Torn if full => return Err(HeadError::FieldsTooLarge),
            Line::Torn => return Ok(Status::Partial),
        }
        torn = false;
    }
}

/// Takes the field line at `line` if it is all there and well-formed, and answers where the next one starts.
#[inline(always)]
fn quick_field_line<S: Scan>(
    parser: &mut HeadParser,
    scan: S,
    bytes: &[u8],
    line: usize,
    fields: &mut [Field],
) -> Option<usize> {
    let (colon, end) = scan.line_ends(bytes, line);
    if bytes.get(end..)?.first_chunk()? != b"\r\n" || colon == line || *bytes.get(colon)? != b':' {
        return None;
    }
    parser.push(bytes, line, colon, end, fields).ok()?;
    Some(end + 2)
}

impl HeadParser {
    /// Adds the field whose line starts at `line` and whose CR is at `end`.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        line: usize,
        colon: usize,
        end: usize,
        fields: &mut [Field],
    ) -> Result<(), HeadError> {
        let index = self.head.field_count;
        let slot = fields.get_mut(usize::from(index)).ok_or(HeadError::TooManyFields)?;
        let (start, end) = trim(bytes, colon + 1, end);
        let id = FieldName::from_token(bytes.get(line..colon).unwrap_or_default());
        *slot = Field { name: Span::from_offsets(line, colon), value: Span::from_offsets(start, end), id };
        self.head.known.note(id, index);
        // At the largest index there is no room for the count: such a table is full one field earlier.
        self.head.field_count = index.checked_add(1).ok_or(HeadError::TooManyFields)?;
        Ok(())
    }

    /// The section ends before `len`.
    #[inline(always)]
    pub(crate) fn finish(&mut self, len: usize) {
        self.head.len = len as u32;
        self.pos = len as u32;
        self.start = len as u32;
        self.phase = Phase::Done;
    }
}

/// `start` and `end` without the optional whitespace inside them.
#[inline(always)]
fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && bytes.get(start).is_some_and(|&byte| is_ows(byte)) {
        start += 1;
    }
    while start < end && bytes.get(end - 1).is_some_and(|&byte| is_ows(byte)) {
        end -= 1;
    }
    (start, end)
}
