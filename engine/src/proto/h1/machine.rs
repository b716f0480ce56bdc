//! The state of one request that is arriving: head, then body, in place.
//!
//! Owns how far the request has been understood. The bytes are the caller's, always from the request's first
//! byte on, and may move between two calls. After a head with a body the caller decides: the machine collects it
//! (decoded where it lies, the data moved together behind the head), or the caller takes the decoder and streams.
//! It must not know where bytes come from or what becomes of the request.

use peregrine_parser::{
    BodyLength, Expectation, Field, FieldName, HeadError, HeadLimits, HeadParser, Method, RequestHead, Simd,
    Status, Target, TargetForm, Version, check_host, connection_options, expectation, normalize_path,
    path_needs_normalizing, request_body,
};

use super::{BodyDecoder, Terms};
use crate::proto::{Rate, Rejection, RequestParts};

/// What a head may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineLimits {
    pub(crate) head: HeadLimits,
    pub(crate) max_fields: u16,
}

/// What a body may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// Bytes of the decoded body.
    pub(crate) max_bytes: u64,
    pub(crate) min_rate: Option<Rate>,
}

/// What came of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Call again with more bytes behind the same ones.
    NeedMore,
    /// The head is here and a body follows: [`Machine::collect`] or [`Machine::take_body`].
    Head,
    /// A whole request, which took this many bytes.
    Complete { consumed: usize },
}

#[derive(Clone, Copy)]
enum State {
    Head,
    /// Nobody has said yet what becomes of the body.
    Undecided,
    /// `read` is where framing goes on, `write` where decoded data goes.
    Collecting {
        read: usize,
        write: usize,
    },
    /// Where the body ends; framing and trailers may follow, up to `consumed`.
    Complete {
        body_end: usize,
        consumed: usize,
    },
}

/// See the module's text.
pub(crate) struct Machine {
    simd: Simd,
    limits: MachineLimits,
    parser: HeadParser,
    fields: Box<[Field]>,
    target: Target,
    /// The path, if it differs from what came.
    path: Vec<u8>,
    /// The last value of Host that was found valid: most requests repeat it.
    last_host: Vec<u8>,
    terms: Terms,
    expects_continue: bool,
    may_upgrade: bool,
    state: State,
    body: BodyDecoder,
    min_rate: Option<Rate>,
}

/// Longer values of Host are not remembered.
const LAST_HOST_BYTES_MAX: usize = 64;

/// Whether the request's one Host is the one that was found valid last, and there is nothing else to check it
/// against.
#[inline]
fn is_last_host(last: &[u8], head: &RequestHead, fields: &[Field], bytes: &[u8], form: TargetForm) -> bool {
    let Some(host) = head.known.first(FieldName::Host) else { return false };
    form == TargetForm::Origin
        && !last.is_empty()
        && !head.known.is_repeated(FieldName::Host)
        && fields.get(host).is_some_and(|field| field.value.of(bytes) == last)
}

#[cold]
fn remember_host(last: &mut Vec<u8>, head: &RequestHead, fields: &[Field], bytes: &[u8]) {
    let host = head.known.first(FieldName::Host).and_then(|host| fields.get(host));
    let host = host.map_or(&[][..], |field| field.value.of(bytes));
    if host.len() <= LAST_HOST_BYTES_MAX {
        last.clear();
        last.extend_from_slice(host);
    }
}

impl Machine {
    pub(crate) fn new(simd: Simd, limits: MachineLimits) -> Self {
        let fields = vec![Field::default(); usize::from(limits.max_fields)].into_boxed_slice();
        Self {
            simd,
            limits,
            parser: HeadParser::new(),
            fields,
            target: Target::default(),
            path: Vec::new(),
            last_host: Vec::with_capacity(LAST_HOST_BYTES_MAX),
            terms: Terms::default(),
            expects_continue: false,
            may_upgrade: false,
            state: State::Head,
            body: BodyDecoder::default(),
            min_rate: None,
        }
    }

    pub(crate) fn simd(&self) -> Simd {
        self.simd
    }

    /// Begins the next request.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.parser = HeadParser::new();
        self.state = State::Head;
        self.expects_continue = false;
        self.min_rate = None;
        self.body.forget_trailers();
    }

    /// Whether a request has begun: its first byte is here.
    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.state, State::Head) || self.parser.is_started()
    }

    /// Whether the head is complete and the body is not.
    pub(crate) fn is_reading_body(&self) -> bool {
        matches!(self.state, State::Undecided | State::Collecting { .. })
    }

    /// How many bytes the request will have at least, as far as that is known.
    pub(crate) fn expected_bytes(&self) -> usize {
        match self.state {
            State::Collecting { read, .. } => {
                read.saturating_add(usize::try_from(self.body.announced()).unwrap_or(usize::MAX))
            }
            _ => 0,
        }
    }

    /// Bytes of the body so far, and the rate at which it is to come.
    pub(crate) fn body_progress(&self) -> (u64, Option<Rate>) {
        (self.body.received(), self.min_rate)
    }

    /// Whether the client waits for `100 Continue` before it sends its body, of which nothing is among the
    /// `have` bytes of the request so far; true once. RFC 9110 section 10.1.1.
    pub(crate) fn take_expectation(&mut self, have: usize) -> bool {
        std::mem::take(&mut self.expects_continue) && have == self.parser.head().len as usize
    }

    /// Goes on with a request whose first byte is the first of `bytes`.
    ///
    /// # Errors
    /// Why the request is refused; nothing that follows on the connection can be trusted.
    #[inline]
    pub(crate) fn handle_bytes(&mut self, bytes: &mut [u8]) -> Result<Progress, Rejection> {
        if matches!(self.state, State::Head) {
            let parsed = self.parser.parse(self.simd, bytes, &mut self.fields, &self.limits.head);
            match parsed.map_err(Rejection::Head)? {
                Status::Partial => return Ok(Progress::NeedMore),
                Status::Complete(()) => self.handle_head(bytes)?,
            }
        }
        match self.state {
            State::Complete { consumed, .. } => Ok(Progress::Complete { consumed }),
            State::Collecting { .. } => self.handle_body(bytes),
            _ => Ok(Progress::Head),
        }
    }

    /// The body of the head that has just come is wanted as a whole.
    ///
    /// # Errors
    /// It announces more than is welcome.
    pub(crate) fn collect(&mut self, limits: &BodyLimits) -> Result<(), Rejection> {
        self.limit_body(limits)?;
        let at = self.head_bytes();
        // Without a limit the peer may announce what no address reaches.
        if usize::try_from(self.body.announced()).ok().and_then(|length| at.checked_add(length)).is_none() {
            return Err(Rejection::BodyTooLarge);
        }
        self.state = State::Collecting { read: at, write: at };
        Ok(())
    }

    /// Says what the body of the head that has just come may cost.
    ///
    /// # Errors
    /// It announces more than is welcome.
    pub(crate) fn limit_body(&mut self, limits: &BodyLimits) -> Result<(), Rejection> {
        debug_assert!(matches!(self.state, State::Undecided), "decided before");
        self.min_rate = limits.min_rate;
        self.body.limit(limits.max_bytes)
    }

    /// The body of the head that has just come, to be decoded elsewhere.
    pub(crate) fn take_body(&mut self) -> BodyDecoder {
        // A head without a body has begun none: what is there is an earlier request's.
        if self.is_reading_body() { std::mem::take(&mut self.body) } else { BodyDecoder::default() }
    }

    /// The connection ends with this request, whatever it says.
    pub(crate) fn close(&mut self) {
        self.terms.close = true;
    }

    /// The length of a complete head.
    pub(crate) fn head_bytes(&self) -> usize {
        self.parser.head().len as usize
    }

    /// Decides, from a complete head, what the target is, how the body is framed and whether the connection
    /// goes on.
    #[inline]
    fn handle_head(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let head = self.parser.head();
        let head_bytes = head.len as usize;
        let fields = &self.fields[..usize::from(head.field_count)];
        let target = head.target.of(bytes);
        self.target.parse(head.method, target).map_err(Rejection::Head)?;
        if !is_last_host(&self.last_host, head, fields, bytes, self.target.form) {
            check_host(head, fields, bytes, &self.target).map_err(Rejection::Head)?;
            remember_host(&mut self.last_host, head, fields, bytes);
        }
        let options = connection_options(head, fields, bytes).map_err(Rejection::Head)?;
        let http_1_0 = head.version == Version::Http10;
        self.terms = Terms {
            head_only: head.method == Method::Head,
            keep_alive_1_0: http_1_0 && options.keep_alive && !options.close,
            close: options.close || (http_1_0 && !options.keep_alive),
            http_1_0,
        };
        self.normalize(bytes)?;
        let head = self.parser.head();
        let fields = &self.fields[..usize::from(head.field_count)];
        let waits = match expectation(head, fields, bytes) {
            Expectation::None => false,
            Expectation::Continue => true,
            Expectation::Unknown => return Err(Rejection::UnknownExpectation),
        };
        let length = request_body(head, fields, bytes).map_err(Rejection::Head)?;
        self.may_upgrade = options.upgrade && !http_1_0;
        match length {
            BodyLength::None if http_1_0 && matches!(head.method, Method::Post | Method::Put) => {
                return Err(Rejection::LengthRequired);
            }
            BodyLength::None | BodyLength::Length(0) => {
                self.state = State::Complete { body_end: head_bytes, consumed: head_bytes };
            }
            length => {
                self.expects_continue = waits && !http_1_0;
                self.may_upgrade = false;
                self.begin_body(length);
            }
        }
        Ok(())
    }

    fn begin_body(&mut self, length: BodyLength) {
        // What the head used up is not there for the trailers: neither of the count nor of the bytes.
        let head = self.parser.head();
        // Behind the target come a space, the version and the line's end.
        let field_bytes = head.len.saturating_sub(head.target.end() + b" HTTP/1.1\r\n".len() as u32);
        let limits = HeadLimits {
            max_fields_bytes: self.limits.head.max_fields_bytes.saturating_sub(field_bytes),
            ..self.limits.head
        };
        self.body.begin(length, limits, self.limits.max_fields.saturating_sub(head.field_count));
        self.state = State::Undecided;
    }

    #[inline]
    fn normalize(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        self.path.clear();
        let path = self.target.path.of(self.parser.head().target.of(bytes));
        if path_needs_normalizing(path) {
            self.path.resize(path.len(), 0);
            let len = normalize_path(path, &mut self.path).map_err(Rejection::Head)?;
            self.path.truncate(len);
            if std::str::from_utf8(&self.path).is_err() {
                return Err(Rejection::Head(HeadError::InvalidPercentEncoding));
            }
        }
        Ok(())
    }

    fn handle_body(&mut self, bytes: &mut [u8]) -> Result<Progress, Rejection> {
        let State::Collecting { read, write } = &mut self.state else { return Ok(Progress::NeedMore) };
        let decoded = self.body.decode(self.simd, &mut bytes[*read..])?;
        let data = *read + decoded.data.start..*read + decoded.data.end;
        let len = data.len();
        if data.start != *write {
            bytes.copy_within(data, *write);
        }
        *read += decoded.consumed;
        *write += len;
        if !self.body.is_done() {
            return Ok(Progress::NeedMore);
        }
        let (body_end, consumed) = (*write, *read);
        self.state = State::Complete { body_end, consumed };
        Ok(Progress::Complete { consumed })
    }

    /// Closes the gap that decoding has left in front of bytes not yet understood, so that framing costs no
    /// memory. Returns how many bytes remain of `bytes`.
    pub(crate) fn compact(&mut self, bytes: &mut [u8]) -> usize {
        let State::Collecting { read, write } = &mut self.state else { return bytes.len() };
        let gap = *read - *write;
        if gap == 0 {
            return bytes.len();
        }
        bytes.copy_within(*read.., *write);
        *read = *write;
        bytes.len() - gap
    }

    /// What the request decides about its response.
    #[inline]
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// The request out of the same bytes, once it is complete, or its head if the body is taken elsewhere.
    #[inline(always)]
    pub(crate) fn request<'a>(&'a self, bytes: &'a [u8]) -> RequestParts<'a> {
        let head = self.parser.head();
        let head_bytes = head.len as usize;
        let target = head.target.of(bytes);
        let path = match self.target.form {
            _ if !self.path.is_empty() => self.path.as_slice(),
            TargetForm::Absolute if self.target.path.is_empty() => b"/",
            TargetForm::Asterisk => b"*",
            _ => self.target.path.of(target),
        };
        debug_assert!(!matches!(self.state, State::Head), "asked for before the head was complete");
        let body_end = match self.state {
            State::Complete { body_end, .. } => body_end,
            _ => head_bytes,
        };
        RequestParts {
            method: head.method,
            method_name: head.method_span.of(bytes),
            version: head.version,
            target,
            form: self.target.form,
            path,
            query: self.target.query.map(|query| query.of(target)),
            fields: &self.fields[..usize::from(head.field_count)],
            head: bytes,
            head_bytes,
            body: &bytes[head_bytes..body_end],
            trailers: self.body.trailers(),
            may_upgrade: self.may_upgrade,
            may_tunnel: !self.terms.http_1_0 && !self.is_reading_body(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MachineLimits = MachineLimits {
        head: HeadLimits { max_request_line_bytes: 8192, max_fields_bytes: 32 * 1024 },
        max_fields: 16,
    };
    const BODY: BodyLimits = BodyLimits { max_bytes: 1000, min_rate: None };

    fn machine() -> Machine {
        Machine::new(Simd::detect(), LIMITS)
    }

    /// As `handle_bytes`, collecting any body.
    fn handle_whole(machine: &mut Machine, bytes: &mut [u8]) -> Result<Progress, Rejection> {
        match machine.handle_bytes(bytes)? {
            Progress::Head => {
                machine.collect(&BODY)?;
                machine.handle_bytes(bytes)
            }
            progress => Ok(progress),
        }
    }

    /// Gives the machine `bytes` cut into pieces at `cuts`; returns the bytes taken and the body.
    fn run(bytes: &[u8], cuts: &[usize]) -> Result<(usize, Vec<u8>), Rejection> {
        let mut machine = machine();
        let mut have = Vec::new();
        let mut dropped = 0;
        let mut from = 0;
        for &to in cuts.iter().chain([&bytes.len()]) {
            let kept = machine.compact(&mut have);
            dropped += have.len() - kept;
            have.truncate(kept);
            have.extend_from_slice(&bytes[from..to]);
            from = to;
            if let Progress::Complete { consumed } = handle_whole(&mut machine, &mut have)? {
                return Ok((consumed + dropped, machine.request(&have).body.to_vec()));
            }
        }
        panic!("incomplete: {:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn every_split_gives_the_same_request() {
        let requests: [(&[u8], &[u8]); 4] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
                b"hello!",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
                b"0123456789",
            ),
        ];
        for (request, body) in requests {
            let mut pipelined = request.to_vec();
            pipelined.extend_from_slice(b"GET /next");
            for first in 0..=request.len() {
                for second in first..=request.len() {
                    let (consumed, got) = run(&pipelined, &[first, second]).expect("accepted");
                    assert_eq!((consumed, got.as_slice()), (request.len(), body), "cut at {first}, {second}");
                }
            }
            let every: Vec<usize> = (0..request.len()).collect();
            assert_eq!(run(&pipelined, &every), Ok((request.len(), body.to_vec())));
        }
    }

    fn refused(bytes: &[u8]) -> Rejection {
        run(bytes, &[]).expect_err("refused")
    }

    #[test]
    fn rfc9112_3_2_a_remembered_host_hides_no_fault() {
        let mut machine = machine();
        let mut check = |request: &str| {
            machine.reset();
            machine.handle_bytes(&mut request.as_bytes().to_vec()).map_err(Rejection::status)
        };
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a valid host");
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the same again");
        assert_eq!(check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(check("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(check("GET / HTTP/1.1\r\nHost: a/\r\n\r\n"), Err(400));
        assert_eq!(check("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Err(400));
        assert_eq!(check("GET / HTTP/1.1\r\n\r\n"), Err(400));
        check("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.0 needs none");
        assert_eq!(check("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Err(400));
        assert_eq!(check("GET / HTTP/1.1\r\n\r\n"), Err(400));
    }

    #[test]
    fn kestrel_1_1_trailers_draw_on_the_budget_of_the_head() {
        let request = |trailer: usize| {
            let filler = "f".repeat(20_000);
            let trailer = "t".repeat(trailer);
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nA: {filler}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nB: {trailer}\r\n\r\n"
            )
        };
        run(request(12_000).as_bytes(), &[]).expect("within the budget");
        assert_eq!(refused(request(13_000).as_bytes()).status(), 431);
    }

    #[test]
    fn a_length_beyond_all_addresses_is_refused_without_a_limit() {
        let mut machine = machine();
        let mut bytes =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", u64::MAX).into_bytes();
        assert_eq!(machine.handle_bytes(&mut bytes), Ok(Progress::Head));
        let no_limit = BodyLimits { max_bytes: u64::MAX, min_rate: None };
        assert_eq!(machine.collect(&no_limit), Err(Rejection::BodyTooLarge));
    }

    #[test]
    fn rejections_have_kestrels_statuses() {
        let cases: [(&[u8], u16); 14] = [
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (b"GET a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
            (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"POST / HTTP/1.0\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", 413),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417),
        ];
        for (bytes, status) in cases {
            let mut bytes = bytes.to_vec();
            // What must be refused by its announcement is refused before the data is there.
            if status == 413 {
                bytes.extend_from_slice(&[b'x'; 1001]);
            }
            assert_eq!(refused(&bytes).status(), status, "{:?}", String::from_utf8_lossy(&bytes));
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(16));
        assert_eq!(refused(many.as_bytes()).status(), 431);
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192));
        assert_eq!(refused(long.as_bytes()).status(), 414);
        assert_eq!(Rejection::Head(HeadError::OptionsMethodRequired).allow(), Some("OPTIONS"));
    }

    #[test]
    fn a_refused_body_leaves_nothing_to_the_next_request() {
        let mut machine = machine();
        let mut broken =
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX".to_vec();
        assert!(handle_whole(&mut machine, &mut broken).is_err());
        machine.reset();
        machine.handle_bytes(&mut b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()).expect("accepted");
        assert!(machine.take_body().is_done());
    }

    #[test]
    fn rfc9110_10_1_1_continue_is_wanted_once_and_only_before_the_body() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let mut machine = machine();
        let mut bytes = head.to_vec();
        assert_eq!(handle_whole(&mut machine, &mut bytes), Ok(Progress::NeedMore));
        assert!(machine.take_expectation(bytes.len()));
        assert!(!machine.take_expectation(bytes.len()));
        machine.reset();
        bytes.extend_from_slice(b"he");
        assert_eq!(handle_whole(&mut machine, &mut bytes), Ok(Progress::NeedMore));
        assert!(!machine.take_expectation(bytes.len()));
    }

    #[test]
    fn rfc9112_9_3_persistence() {
        let terms = |bytes: &[u8]| {
            let mut machine = machine();
            machine.handle_bytes(&mut bytes.to_vec()).expect("accepted");
            (machine.terms().close, machine.terms().keep_alive_1_0)
        };
        assert_eq!(terms(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (false, false));
        assert_eq!(terms(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"), (true, false));
        assert_eq!(terms(b"GET / HTTP/1.0\r\n\r\n"), (true, false));
        assert_eq!(terms(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), (false, true));
        assert_eq!(terms(b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), (true, false));
    }

    #[test]
    fn paths_are_decoded_once_and_without_dot_segments() {
        let path = |target: &str| {
            let mut machine = machine();
            let mut bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
            machine.handle_bytes(&mut bytes).expect("accepted");
            let request = machine.request(&bytes);
            let query = request.query.map(|query| String::from_utf8_lossy(query).into_owned());
            (String::from_utf8_lossy(request.path).into_owned(), query)
        };
        assert_eq!(path("/a/b?c=d"), ("/a/b".into(), Some("c=d".into())));
        assert_eq!(path("/a%20b/../c/./%C3%A9"), ("/c/é".into(), None));
        assert_eq!(path("/../../etc"), ("/etc".into(), None));
        assert_eq!(path("http://h/x?"), ("/x".into(), Some(String::new())));
        assert_eq!(path("http://h"), ("/".into(), None));
    }
}
