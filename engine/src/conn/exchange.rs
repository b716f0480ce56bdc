//! One exchange whose bodies are streamed, as its handler and its connection share it.
//!
//! Owns what has arrived and is not read, what is written and not sent, and what both sides still owe. The
//! handler's side calls in here at any time of its life; the connection looks after each turn of it (`running`).
//! It must not know sockets, the connection table, or what the bytes mean to the handler.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use peregrine_parser::{FieldName, is_field_value, is_token, write_status_line};
use peregrine_pool::{Blocks, Lease, Payload};

use super::ConnectionInfo;
use super::gate::Gate;
use super::outbox::{NoMemory, Outbox};
use crate::driver::Fd;
use crate::proto::h1::{BodyEncoder, Finished, Preamble, ResponseWriter, StreamError, Terms};
use crate::proto::{FieldError, Rejection, Trailers};
use crate::runtime::TaskWakers;

pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What all exchanges of a worker share.
pub(crate) struct Common {
    /// Another than that of the straight way, whose handlers may complete an exchange that waits elsewhere.
    pub(crate) preamble: RefCell<Preamble>,
    /// Others, for responses that are written one within the other.
    pub(crate) preambles: RefCell<Vec<Preamble>>,
    pub(crate) blocks: Blocks,
    /// Each response is its connection's last.
    pub(crate) draining: Cell<bool>,
    pub(crate) gate: Arc<Gate>,
    /// So many bytes may wait to be sent before a writer waits.
    pub(crate) max_response_buffer: usize,
    /// Receive blocks that wait in exchanges, and how many may.
    pub(crate) held_blocks: Rc<Cell<u32>>,
    pub(crate) max_held_blocks: u32,
}

impl Common {
    /// Lets `write` write with a preamble that nobody else has meanwhile.
    pub(crate) fn with_preamble<T>(&self, write: impl FnOnce(&mut Preamble) -> T) -> T {
        let spare = self.preambles.borrow_mut().pop();
        let mut preamble = spare.unwrap_or_else(|| self.preamble.borrow().clone());
        let seconds = self.preamble.borrow().unix_seconds();
        preamble.refresh(seconds);
        let written = write(&mut preamble);
        self.preambles.borrow_mut().push(preamble);
        written
    }
}

/// Why something about an exchange did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The request's body is refused, with this status: it breaks the framing, is too large or too slow. Unless
    /// the handler answers, this status does; the connection ends in any case.
    Rejected(u16),
    /// The client closed before its body was complete, or an upgraded connection without the goodbye of TLS: what was
    /// read from it may not be all.
    UnexpectedEnd,
    /// The connection is gone.
    Disconnected,
    /// The response has begun or is finished: what comes before it, or it itself, cannot be sent any more.
    AlreadyStarted,
    /// A body longer than the `Content-Length` of its response. Nothing of the surplus is sent.
    TooLong,
    /// A body shorter than the `Content-Length` of its response; the connection is aborted.
    TooShort,
    /// A status or field that cannot be sent.
    Field(FieldError),
    /// The client has not asked for this protocol, or not in a way that allows it (RFC 9110 section 7.8).
    NotRequested,
    /// The server has as many upgraded connections as it may have (`max_concurrent_upgraded_connections`).
    TooManyUpgraded,
    /// The system has no memory for it.
    OutOfMemory,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(status) => write!(f, "the request's body is refused with {status}"),
            Self::UnexpectedEnd => f.write_str("the client closed before what it sent was complete"),
            Self::Disconnected => f.write_str("the connection is gone"),
            Self::AlreadyStarted => f.write_str("the response has begun"),
            Self::TooLong => f.write_str("the body is longer than its Content-Length"),
            Self::TooShort => f.write_str("the body is shorter than its Content-Length"),
            Self::Field(error) => error.fmt(f),
            Self::NotRequested => f.write_str("the client has not asked for this protocol"),
            Self::TooManyUpgraded => f.write_str("max_concurrent_upgraded_connections are open"),
            Self::OutOfMemory => f.write_str("no memory"),
        }
    }
}

impl std::error::Error for ExchangeError {}

impl From<FieldError> for ExchangeError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<NoMemory> for ExchangeError {
    fn from(_: NoMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<StreamError> for ExchangeError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::TooLong => Self::TooLong,
        }
    }
}

/// A receive block that waits to be read, and is counted.
struct Held {
    lease: Lease,
    count: Rc<Cell<u32>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// Some bytes of a body, in the block that the kernel filled or, if they had to wait, on the heap.
pub(crate) struct Piece(PieceBytes);

enum PieceBytes {
    Block(Held, Range<usize>),
    Heap(Vec<u8>),
}

/// Pieces on the heap grow up to this size.
const HEAP_PIECE_BYTES: usize = 64 * 1024;

/// So many blocks may wait in one exchange; what comes then is copied, so that the blocks go round.
const BLOCKS_PER_EXCHANGE: u32 = 32;

/// Up to so many bytes are worth to be copied behind those that wait already to be read.
const SMALL_BYTES: usize = 1024;

/// Up to so many bytes are copied behind those that wait already to be sent: a part of a send costs more.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// From so many bytes on what is to be copied is copied into one piece, instead of blocks that are a send each.
const ONE_PIECE_BYTES: usize = 16 * 1024;

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            PieceBytes::Block(held, range) => &held.lease[range.clone()],
            PieceBytes::Heap(bytes) => bytes,
        }
    }
}

impl Piece {
    /// The bytes, away from the memory that others receive into.
    #[cfg(feature = "tower")]
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.0 {
            PieceBytes::Block(held, range) => held.lease[range].to_vec(),
            PieceBytes::Heap(bytes) => bytes,
        }
    }

    /// Adds bytes behind these, if that needs no memory.
    fn extend(&mut self, bytes: &[u8]) -> bool {
        match &mut self.0 {
            PieceBytes::Block(held, range) => {
                let end = range.end + bytes.len();
                let Some(room) = held.lease.get_mut(range.end..end) else { return false };
                room.copy_from_slice(bytes);
                range.end = end;
                true
            }
            PieceBytes::Heap(heap) => {
                let fits = heap.len() + bytes.len() <= heap.capacity();
                if fits {
                    heap.extend_from_slice(bytes);
                }
                fits
            }
        }
    }
}

/// How far the response is.
pub(super) enum Written {
    /// Nothing of the final response is written.
    Open,
    /// The head is written.
    Body(BodyEncoder),
    /// All of it is written.
    Finished,
    /// The connection is handed over: bytes without any framing.
    Raw,
}

pub(super) struct State {
    /// What has arrived and is not read.
    pieces: VecDeque<Piece>,
    blocks: u32,
    buffered: usize,
    /// The body is complete.
    ended: bool,
    trailers: Trailers,
    /// Why there will be no more of it.
    pub(super) failure: Option<ExchangeError>,
    pub(super) rejection: Option<Rejection>,
    /// A read waits.
    reader: Option<Waker>,
    /// One has waited, and was told that it can go on.
    has_woken_reader: bool,
    /// The client waits for `100 Continue`.
    expects_continue: bool,
    /// A byte of the body has arrived.
    has_arrived: bool,

    pub(super) outbox: Outbox,
    pub(super) written: Written,
    pub(super) terms: Terms,
    trailer_lines: Vec<u8>,
    /// Field lines that the response begins with.
    early_lines: Vec<u8>,
    writer: Option<Waker>,
    /// The writer waits for everything to be gone.
    is_flushing: bool,
    /// What the handler has done wrong: the connection cannot go on after it.
    pub(super) misuse: Option<ExchangeError>,
    upgrades: Vec<u8>,
    is_connect: bool,
    may_connect: bool,
    /// The answer to an upgrade that was not possible, unless the handler finds another: a status, and the
    /// protocol that it asks for.
    refused_upgrade: Option<(u16, String)>,
    path: Vec<u8>,
}

/// See the module's text.
pub(crate) struct Shared {
    pub(crate) info: ConnectionInfo,
    common: Rc<Common>,
    pub(super) state: RefCell<State>,
    /// The task is being polled: the connection will look by itself.
    pub(super) is_polled: Cell<bool>,
    /// The gate counts the connection among the upgraded ones.
    pub(super) is_upgraded: Cell<bool>,
    /// Those of the task; none while it is being polled, and once it has ended.
    pub(super) wakers: RefCell<Option<TaskWakers>>,
}

/// What an exchange begins with.
pub(super) struct Opening<'a> {
    pub(super) terms: Terms,
    pub(super) expects_continue: bool,
    pub(super) is_complete: bool,
    /// The protocols of `Upgrade`, if the client may be upgraded.
    pub(super) upgrades: Vec<u8>,
    /// The method is CONNECT, and whether it may have its tunnel.
    pub(super) is_connect: bool,
    pub(super) may_connect: bool,
    pub(super) path: &'a [u8],
}

impl<'a> Opening<'a> {
    /// That of a request that is here as a whole, and asks for nothing but its response.
    pub(super) fn whole(terms: Terms, path: &'a [u8]) -> Self {
        Self {
            terms,
            expects_continue: false,
            is_complete: true,
            upgrades: Vec::new(),
            is_connect: false,
            may_connect: false,
            path,
        }
    }
}

impl Shared {
    /// A place for exchanges, one after another.
    pub(super) fn new(common: Rc<Common>) -> Self {
        let state = State::new(Opening::whole(Terms::default(), b""), Buffers::default());
        Self {
            info: ConnectionInfo::new(0, Fd(-1)),
            common,
            state: RefCell::new(state),
            is_polled: Cell::new(false),
            is_upgraded: Cell::new(false),
            wakers: RefCell::new(None),
        }
    }

    /// Begins an exchange. The buffers of the one before are used again.
    pub(super) fn begin(&mut self, info: ConnectionInfo, wakers: TaskWakers, opening: Opening<'_>) {
        self.info = info;
        self.is_polled = Cell::new(false);
        self.is_upgraded = Cell::new(false);
        self.wakers = RefCell::new(Some(wakers));
        let state = self.state.get_mut();
        let buffers = state.take_buffers();
        *state = State::new(opening, buffers);
    }

    /// Tells the connection that there is something to do.
    fn stir(&self) {
        if !self.is_polled.get()
            && let Some(wakers) = &*self.wakers.borrow()
        {
            wakers.waker.wake_by_ref();
        }
    }

    // What the connection brings.

    /// Adds the data of a received block.
    pub(super) fn arrive(&self, lease: Lease, range: Range<usize>) {
        let mut state = self.state.borrow_mut();
        if range.is_empty() {
            return;
        }
        let len = range.len();
        state.buffered += len;
        state.has_arrived = true;
        if len <= SMALL_BYTES
            && let Some(last) = state.pieces.back_mut()
            && last.extend(&lease[range.clone()])
        {
            return;
        }
        let held = self.common.held_blocks.get();
        if state.blocks < BLOCKS_PER_EXCHANGE && held < self.common.max_held_blocks {
            self.common.held_blocks.set(held + 1);
            state.blocks += 1;
            let held = Held { lease, count: Rc::clone(&self.common.held_blocks) };
            state.pieces.push_back(Piece(PieceBytes::Block(held, range)));
            return;
        }
        state.copy(&lease[range]);
    }

    /// Adds data that lies where it cannot stay.
    pub(super) fn arrive_copied(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if !bytes.is_empty() {
            state.buffered += bytes.len();
            state.has_arrived = true;
            state.copy(bytes);
        }
    }

    /// The body is complete.
    pub(super) fn end(&self, trailers: Trailers) {
        let mut state = self.state.borrow_mut();
        state.ended = true;
        state.trailers = trailers;
    }

    /// There will be no more of the body.
    pub(super) fn reject(&self, rejection: Rejection) {
        let mut state = self.state.borrow_mut();
        state.rejection = Some(rejection);
        state.failure = Some(ExchangeError::Rejected(rejection.status()));
        state.terms.close = true;
    }

    /// The client has stopped in the middle of its body, or the connection is gone.
    pub(super) fn break_off(&self, error: ExchangeError) {
        let mut state = self.state.borrow_mut();
        state.failure.get_or_insert(error);
        if error == ExchangeError::Disconnected {
            state.failure = Some(error);
        }
        state.terms.close = true;
    }

    /// The connection leaves the exchange: whatever handle survives finds that it is gone.
    pub(super) fn part(&self) {
        self.info.detach();
        self.break_off(ExchangeError::Disconnected);
        self.discard();
        self.wake();
    }

    /// Whether a part of a response is out that is not whole.
    pub(super) fn is_torn(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.written, Written::Body(_))
            || (matches!(state.written, Written::Finished) && state.outbox.bytes() > 0)
    }

    /// Lets a waiting read or write go on if it can.
    pub(super) fn wake(&self) {
        let mut state = self.state.borrow_mut();
        let is_gone = state.failure == Some(ExchangeError::Disconnected);
        let can_read = !state.pieces.is_empty() || state.ended || state.failure.is_some();
        let reader = if can_read { state.reader.take() } else { None };
        state.has_woken_reader |= reader.is_some();
        let room = if state.is_flushing {
            state.outbox.bytes() == 0
        } else {
            has_room(&state.outbox, self.common.max_response_buffer)
        };
        let writer = if room || is_gone { state.writer.take() } else { None };
        drop(state);
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// Whether so many blocks have come while a read waits that it should have them now.
    pub(super) fn is_worth_a_poll(&self) -> bool {
        let state = self.state.borrow();
        state.blocks >= BLOCKS_PER_EXCHANGE / 2 && state.has_woken_reader
    }

    /// Whether a read waits for the peer.
    pub(super) fn is_reading(&self) -> bool {
        let state = self.state.borrow();
        state.reader.is_some() && state.pieces.is_empty() && !state.ended && state.failure.is_none()
    }

    /// Bytes that have arrived and are not read.
    pub(super) fn buffered(&self) -> usize {
        self.state.borrow().buffered
    }

    pub(super) fn is_raw(&self) -> bool {
        matches!(self.state.borrow().written, Written::Raw)
    }

    /// Forgets what nobody will read any more.
    pub(super) fn discard(&self) {
        let pieces = {
            let mut state = self.state.borrow_mut();
            state.buffered = 0;
            state.blocks = 0;
            std::mem::take(&mut state.pieces)
        };
        drop(pieces);
    }

    // What the handler asks for.

    pub(crate) fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, ExchangeError>> {
        let mut state = self.state.borrow_mut();
        state.has_woken_reader = false;
        if let Some(piece) = state.pieces.pop_front() {
            state.buffered -= piece.len();
            if matches!(piece.0, PieceBytes::Block(..)) {
                state.blocks -= 1;
            }
            state.reader = None;
            drop(state);
            // Receiving may have been paused.
            self.stir();
            return Poll::Ready(Ok(Some(piece)));
        }
        if let Some(failure) = state.failure {
            return Poll::Ready(Err(failure));
        }
        if state.ended {
            return Poll::Ready(Ok(None));
        }
        // RFC 9110 section 10.1.1: only to a client that waits, and not once the final response has begun.
        let is_wanted = state.expects_continue && !state.has_arrived;
        state.expects_continue = false;
        if is_wanted && matches!(state.written, Written::Open) {
            state.outbox.push(&self.common.blocks, CONTINUE)?;
        }
        state.reader = Some(context.waker().clone());
        drop(state);
        self.stir();
        Poll::Pending
    }

    pub(crate) async fn read(&self) -> Result<Option<Piece>, ExchangeError> {
        struct Waiting<'a>(&'a Shared);

        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.stop_reading();
            }
        }

        let waiting = Waiting(self);
        poll_fn(|context| waiting.0.poll_read(context)).await
    }

    /// A read that is given up does not wait any more, and blames nobody.
    pub(crate) fn stop_reading(&self) {
        let given_up = {
            let mut state = self.state.borrow_mut();
            state.has_woken_reader = false;
            state.reader.take()
        };
        if given_up.is_some() {
            self.stir();
        }
    }

    pub(crate) fn with_trailers<T>(&self, look: impl FnOnce(&Trailers) -> T) -> T {
        // Not while they are borrowed: whoever looks may want to write at the same time.
        let trailers = std::mem::take(&mut self.state.borrow_mut().trailers);
        let looked = look(&trailers);
        self.state.borrow_mut().trailers = trailers;
        looked
    }

    /// Sends an interim response.
    pub(crate) fn inform(&self, status: u16, fields: &[(&str, &str)]) -> Result<(), ExchangeError> {
        if !(102..=199).contains(&status) {
            return Err(FieldError::Status(status).into());
        }
        let mut head = vec![0; 48];
        let len = write_status_line(status, &mut head).unwrap_or(0);
        head.truncate(len);
        for (name, value) in fields {
            // Neither length nor coding in a 1xx (RFC 9110 section 8.6, RFC 9112 section 6.1).
            let id = FieldName::from_bytes(name.as_bytes());
            if matches!(id, FieldName::ContentLength | FieldName::TransferEncoding) {
                return Err(FieldError::Name.into());
            }
            write_field_line(&mut head, name, value.as_bytes())?;
        }
        head.extend_from_slice(b"\r\n");
        let mut state = self.open_state()?;
        // RFC 9110 section 15.2: an HTTP/1.0 client does not know them.
        if !state.terms.http_1_0 {
            state.outbox.push(&self.common.blocks, &head)?;
            drop(state);
            self.stir();
        }
        Ok(())
    }

    /// Adds a field line, which has been checked, to the final response, whoever writes it.
    pub(crate) fn add_early_line(&self, line: &[u8]) {
        self.state.borrow_mut().early_lines.extend_from_slice(line);
    }

    /// The state, if nothing of the final response is written.
    fn open_state(&self) -> Result<std::cell::RefMut<'_, State>, ExchangeError> {
        let mut state = self.state.borrow_mut();
        match state.written {
            Written::Open => {}
            _ => return Err(ExchangeError::AlreadyStarted),
        }
        if state.failure == Some(ExchangeError::Disconnected) {
            return Err(ExchangeError::Disconnected);
        }
        state.terms.close |= self.common.draining.get();
        // Whether the client sends its body now is anybody's guess.
        state.terms.close |= state.expects_continue && !state.has_arrived && !state.ended;
        Ok(state)
    }

    /// Lets `write` write a head, and a body perhaps, where it will be sent from.
    fn write_head<T>(
        &self,
        state: &mut State,
        terms: Terms,
        write: impl FnOnce(&mut ResponseWriter<'_>) -> Result<(Finished, T), ExchangeError>,
    ) -> Result<T, ExchangeError> {
        let room = state.outbox.head_room(&self.common.blocks)?;
        let early_lines = &state.early_lines;
        let (finished, value, payload) = self.common.with_preamble(|preamble| {
            let mut writer = ResponseWriter::new(room, preamble, terms);
            writer.begin();
            writer.add_lines(early_lines);
            let (finished, value) = write(&mut writer)?;
            let payload = if finished.has_payload { writer.take_payload() } else { None };
            Ok::<_, ExchangeError>((finished, value, payload))
        })?;
        state.terms.close |= finished.close;
        state.outbox.commit(finished.block_bytes as usize);
        if let Some(payload) = payload {
            state.outbox.push_payload(&self.common.blocks, payload)?;
        }
        Ok(value)
    }

    /// Sends a whole response.
    pub(crate) fn respond(&self, write: impl FnOnce(&mut ResponseWriter<'_>)) -> Result<(), ExchangeError> {
        let mut state = self.open_state()?;
        let terms = state.terms;
        let is_connect = state.is_connect;
        let failure = self.write_head(&mut state, terms, |writer| {
            write(writer);
            refuse_success(writer, is_connect);
            let finished = writer.finish();
            Ok((finished, writer.failure()))
        })?;
        state.written = Written::Finished;
        drop(state);
        self.stir();
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Sends the head of a response whose body follows in pieces. `write` may name the body's length.
    pub(crate) fn start(
        &self,
        write: impl FnOnce(&mut ResponseWriter<'_>) -> Option<u64>,
    ) -> Result<(), ExchangeError> {
        let is_connect = self.state.borrow().is_connect;
        self.start_with(|writer| {
            let length = write(writer);
            refuse_success(writer, is_connect);
            writer.finish_head(length)
        })
    }

    /// The same for a head that `write` ends.
    pub(crate) fn start_with(
        &self,
        write: impl FnOnce(&mut ResponseWriter<'_>) -> Result<(Finished, BodyEncoder), FieldError>,
    ) -> Result<(), ExchangeError> {
        let mut state = self.open_state()?;
        let terms = state.terms;
        let encoder = self.write_head(&mut state, terms, |writer| Ok(write(writer)?))?;
        state.written = Written::Body(encoder);
        drop(state);
        self.stir();
        Ok(())
    }

    /// Hands the connection over to another protocol: by an upgrade to `protocol`, or as a tunnel.
    pub(crate) fn switch(
        &self,
        protocol: Option<&str>,
        write: impl FnOnce(&mut ResponseWriter<'_>),
    ) -> Result<(), ExchangeError> {
        let mut state = self.open_state()?;
        let is_asked_for = match protocol {
            None => state.may_connect,
            Some(protocol) => peregrine_parser::list_items(&state.upgrades)
                .any(|offered| offered.eq_ignore_ascii_case(protocol.as_bytes())),
        };
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        if !is_asked_for {
            let named = protocol.filter(|protocol| is_field_value(protocol.as_bytes()));
            state.refused_upgrade = named.map(|protocol| (426, protocol.to_owned()));
            return Err(ExchangeError::NotRequested);
        }
        let terms = Terms { http_1_0: state.terms.http_1_0, ..Terms::default() };
        let written = self.write_head(&mut state, terms, |writer| {
            write(writer);
            let finished = writer.finish_switching(protocol)?;
            self.is_upgraded.set(self.common.gate.upgrade());
            if self.is_upgraded.get() { Ok((finished, ())) } else { Err(ExchangeError::TooManyUpgraded) }
        });
        if self.is_upgraded.get() {
            state.written = Written::Raw;
            state.ended = false;
            state.terms.close = true;
        } else if written == Err(ExchangeError::TooManyUpgraded) {
            state.refused_upgrade = Some((503, String::new()));
        }
        drop(state);
        self.stir();
        written
    }

    /// Adds a piece to the body, copied or from where it lies.
    pub(crate) fn push(&self, piece: PieceToSend<'_>) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let bytes = piece.as_slice();
        if state.failure == Some(ExchangeError::Disconnected) {
            return Err(ExchangeError::Disconnected);
        }
        if state.outbox.is_broken() {
            return Err(ExchangeError::OutOfMemory);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let blocks = &self.common.blocks;
        let mut line = [0; crate::proto::h1::CHUNK_LINE_BYTES_MAX];
        match &mut state.written {
            Written::Open | Written::Finished => return Err(ExchangeError::AlreadyStarted),
            Written::Raw => {}
            Written::Body(encoder) => match encoder.begin_piece(bytes.len(), &mut line) {
                Ok(Some(line)) => state.outbox.push(blocks, line)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    state.misuse = Some(error.into());
                    state.terms.close = true;
                    return Err(error.into());
                }
            },
        }
        let piece = match piece {
            PieceToSend::Bytes(bytes) if bytes.len() >= ONE_PIECE_BYTES => {
                PieceToSend::Payload(Payload::Owned(bytes.to_vec()))
            }
            piece => piece,
        };
        match piece {
            PieceToSend::Payload(payload) if payload.as_slice().len() > COPY_BYTES_MAX => {
                state.outbox.push_payload(blocks, payload)?;
            }
            piece => {
                state.outbox.push(blocks, piece.as_slice())?;
                if let Written::Body(encoder) = &mut state.written {
                    state.outbox.push(blocks, encoder.end_piece())?;
                }
            }
        }
        self.stir();
        Ok(())
    }

    /// The same, then waits until there is room for more.
    pub(crate) async fn write(&self, piece: PieceToSend<'_>) -> Result<(), ExchangeError> {
        self.push(piece)?;
        if self.is_bodiless() {
            // Nothing is sent, so nothing makes it wait; but others must have their turn.
            yield_once().await;
        }
        self.wait_for_room(false).await
    }

    /// Whether the response that has begun has no body (HEAD, 204, 205, 304), whatever is written.
    pub(crate) fn is_bodiless(&self) -> bool {
        matches!(&self.state.borrow().written, Written::Body(encoder) if encoder.is_none())
    }

    pub(crate) fn poll_room(
        &self,
        context: &mut Context<'_>,
        everything: bool,
    ) -> Poll<Result<(), ExchangeError>> {
        let mut state = self.state.borrow_mut();
        if state.failure == Some(ExchangeError::Disconnected) {
            return Poll::Ready(Err(ExchangeError::Disconnected));
        }
        let is_empty = state.outbox.bytes() == 0;
        if is_empty || (!everything && has_room(&state.outbox, self.common.max_response_buffer)) {
            state.writer = None;
            return Poll::Ready(Ok(()));
        }
        state.is_flushing = everything;
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until more may be written, or until the kernel has everything.
    pub(crate) async fn wait_for_room(&self, everything: bool) -> Result<(), ExchangeError> {
        poll_fn(|context| self.poll_room(context, everything)).await
    }

    /// Adds a trailer, to be sent behind the body.
    pub(crate) fn trailer(&self, name: &str, value: &[u8]) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        match &state.written {
            Written::Body(encoder) if encoder.takes_trailers() => {}
            Written::Body(_) => return Ok(()),
            _ => return Err(ExchangeError::AlreadyStarted),
        }
        if !FieldName::from_bytes(name.as_bytes()).is_allowed_in_trailers() {
            return Err(FieldError::Name.into());
        }
        write_field_line(&mut state.trailer_lines, name, value)?;
        Ok(())
    }

    /// Ends the body.
    pub(crate) fn finish(&self) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Written::Body(encoder) = &mut state.written else {
            let is_finished = matches!(state.written, Written::Finished);
            return if is_finished { Ok(()) } else { Err(ExchangeError::AlreadyStarted) };
        };
        if encoder.missing() > 0 {
            return Err(ExchangeError::TooShort);
        }
        let (before, after) = encoder.finish();
        let blocks = &self.common.blocks;
        state.outbox.push(blocks, before)?;
        state.outbox.push(blocks, &state.trailer_lines)?;
        state.outbox.push(blocks, after)?;
        state.written = Written::Finished;
        self.stir();
        Ok(())
    }

    /// Whether a final response is out, or a part of one.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.state.borrow().written, Written::Open)
    }

    /// Whether the body has failed, or an upgrade was not possible.
    pub(crate) fn is_refused(&self) -> bool {
        let state = self.state.borrow();
        state.failure.is_some() || state.refused_upgrade.is_some()
    }

    /// Whether the connection ends with this exchange.
    pub(super) fn closes(&self) -> bool {
        self.state.borrow().terms.close
    }

    /// Whether nothing is owed to the client any more.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state.borrow().written, Written::Finished | Written::Raw)
    }

    /// The answer to an upgrade that was not possible.
    pub(super) fn refused_upgrade(&self) -> Option<(u16, String)> {
        self.state.borrow().refused_upgrade.clone()
    }

    /// The path, for the log.
    pub(super) fn path(&self) -> Vec<u8> {
        self.state.borrow().path.clone()
    }
}

/// What a handler writes.
pub(crate) enum PieceToSend<'a> {
    /// To be copied.
    Bytes(&'a [u8]),
    Payload(Payload),
}

impl PieceToSend<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Payload(payload) => payload.as_slice(),
        }
    }
}

/// A success of CONNECT is a tunnel (RFC 9110 section 9.3.6): no response that goes on with HTTP may be one.
fn refuse_success(writer: &mut ResponseWriter<'_>, is_connect: bool) {
    if is_connect && (200..=299).contains(&writer.status()) {
        writer.fail(FieldError::Status(writer.status()));
    }
}

/// Lets other tasks run.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn has_room(outbox: &Outbox, max: usize) -> bool {
    outbox.bytes() == 0 || outbox.weight() < max
}

pub(crate) fn write_field_line(to: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    if !is_field_value(value) {
        return Err(FieldError::Value);
    }
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        to.extend_from_slice(part);
    }
    Ok(())
}

/// What of a [`State`] is worth to be used again.
#[derive(Default)]
struct Buffers {
    pieces: VecDeque<Piece>,
    outbox: Outbox,
    trailer_lines: Vec<u8>,
    early_lines: Vec<u8>,
    path: Vec<u8>,
}

impl State {
    fn new(opening: Opening<'_>, buffers: Buffers) -> Self {
        let Opening { terms, expects_continue, is_complete, upgrades, is_connect, may_connect, path } =
            opening;
        let Buffers { pieces, outbox, trailer_lines, early_lines, path: mut kept_path } = buffers;
        kept_path.extend_from_slice(path);
        Self {
            pieces,
            blocks: 0,
            buffered: 0,
            ended: is_complete,
            trailers: Trailers::default(),
            failure: None,
            rejection: None,
            reader: None,
            has_woken_reader: false,
            expects_continue,
            has_arrived: false,
            outbox,
            written: Written::Open,
            terms,
            trailer_lines,
            early_lines,
            writer: None,
            is_flushing: false,
            misuse: None,
            upgrades,
            is_connect,
            may_connect,
            refused_upgrade: None,
            path: kept_path,
        }
    }

    /// Empties the buffers and takes them.
    fn take_buffers(&mut self) -> Buffers {
        self.pieces.clear();
        self.outbox.reset();
        self.trailer_lines.clear();
        self.early_lines.clear();
        self.path.clear();
        Buffers {
            pieces: std::mem::take(&mut self.pieces),
            outbox: std::mem::take(&mut self.outbox),
            trailer_lines: std::mem::take(&mut self.trailer_lines),
            early_lines: std::mem::take(&mut self.early_lines),
            path: std::mem::take(&mut self.path),
        }
    }

    /// Keeps data on the heap.
    fn copy(&mut self, mut bytes: &[u8]) {
        if let Some(Piece(PieceBytes::Heap(heap))) = self.pieces.back_mut() {
            let fits = bytes.len().min(HEAP_PIECE_BYTES.saturating_sub(heap.len()));
            heap.extend_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
        }
        if !bytes.is_empty() {
            self.pieces.push_back(Piece(PieceBytes::Heap(bytes.to_vec())));
        }
    }
}
