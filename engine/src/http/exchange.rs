//! A request and its response as streams, for handlers that are `async` functions.
//!
//! Owns the public face of what `conn` keeps. It knows no protocol version's syntax, no socket and no block.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::kept::KeptHead;
use super::request::{Fields, Request};
use super::{Body, Context as Worker, Response};
use crate::conn::{ExchangeError, Piece, PieceToSend, Shared, write_field_line};
use crate::proto::FieldError;
use crate::proto::h1::ResponseWriter;

/// A request whose handler streams: it begins when the head is here, reads the body as it comes and writes the
/// response piece by piece. It runs on the worker that owns the connection, and need not be `Send`.
///
/// The body that is not read fills [`max_request_buffer_size`](crate::Limits::max_request_buffer_size), then the
/// client has to wait; what is left when the response is out is drained for up to 5 s.
///
/// ```
/// use peregrine::{Exchange, ExchangeError};
///
/// async fn upload(mut exchange: Exchange) -> Result<(), ExchangeError> {
///     let mut bytes = 0;
///     while let Some(chunk) = exchange.body().read().await? {
///         bytes += chunk.len();
///     }
///     exchange.respond(|response| response.text(&format!("{bytes} bytes")))
/// }
///
/// let mut app = peregrine::App::new();
/// app.on(peregrine::Method::Post, "/upload", upload);
/// ```
///
/// When the client is gone the handler is dropped where it waits. A handler that ends without a response, with an
/// error or a panic answers 500, or aborts the connection if its response has begun: a client never takes a part of
/// a response for all of it.
pub struct Exchange {
    head: KeptHead,
    body: RequestBody,
    context: Rc<Worker>,
}

impl Exchange {
    /// The exchange of a request, if it is one that streams.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        let shared = Rc::clone(request.shared()?);
        let context = Rc::clone(request.context());
        Some(Self { head: KeptHead::of(request), body: RequestBody { shared }, context })
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.body.shared
    }

    /// The request, as far as its head goes.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request::of_head(&self.head, &self.body.shared.info, &self.context, Some(&self.body.shared))
    }

    /// The request's body.
    pub fn body(&mut self) -> &mut RequestBody {
        &mut self.body
    }

    /// Sends an interim response before the final one: 103 Early Hints, say. An HTTP/1.0 client, which knows none
    /// (RFC 9110 section 15.2), is sent nothing.
    ///
    /// # Errors
    /// The status is not of 102 to 199; a field cannot be sent, as `Content-Length` in an interim response; the final
    /// response has begun; the connection is gone; there is no memory.
    pub fn inform(&mut self, status: u16, fields: &[(&str, &str)]) -> Result<(), ExchangeError> {
        self.shared().inform(status, fields)
    }

    /// Sends a whole response. What `write` does may be as much as any handler's.
    ///
    /// # Errors
    /// A response has begun before, the connection is gone, or there is no memory. A status or field that cannot be
    /// sent, as a success of CONNECT: then a 500 is sent instead.
    pub fn respond(&mut self, write: impl FnOnce(&mut Response)) -> Result<(), ExchangeError> {
        self.shared().respond(|writer| write(&mut Response::new(writer)))
    }

    /// Sends the head of a response, whose body follows in pieces: in the chunked coding, unless `write` names a
    /// length; to an HTTP/1.0 client until the connection closes.
    ///
    /// # Errors
    /// A response has begun before, a status or field cannot be sent, the connection is gone, or there is no memory.
    pub fn start(&mut self, write: impl FnOnce(&mut ResponseHead)) -> Result<ResponseStream, ExchangeError> {
        start(self.shared(), write)
    }

    /// Answers an upgrade request with 101 and hands over the connection, which speaks `protocol` from then on
    /// (RFC 9110 section 7.8). `write` may add fields.
    ///
    /// ```
    /// use peregrine::{Exchange, ExchangeError};
    ///
    /// async fn echo(mut exchange: Exchange) -> Result<(), ExchangeError> {
    ///     let mut stream = exchange.upgrade("echo", |_| {})?;
    ///     while let Some(chunk) = stream.read().await? {
    ///         stream.write(&chunk).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The client has not asked for that protocol, or in HTTP/1.0 or with a body; there are as many upgraded
    /// connections as there may be; a response has begun before. The handler may still answer; if it returns the
    /// error, the answer is 426 with `Upgrade`, or 503.
    pub fn upgrade(
        &mut self,
        protocol: &str,
        write: impl FnOnce(&mut ResponseHead),
    ) -> Result<Upgraded, ExchangeError> {
        self.switch(Some(protocol), write)
    }

    /// Answers CONNECT with 200 and hands over the connection, which is a tunnel from then on (RFC 9110 section
    /// 9.3.6). Where it leads to is the handler's business. `write` may add fields.
    ///
    /// # Errors
    /// The request is not CONNECT, `write` sets a status that is no success, or as with
    /// [`upgrade`](Self::upgrade).
    pub fn accept_connect(
        &mut self,
        write: impl FnOnce(&mut ResponseHead),
    ) -> Result<Upgraded, ExchangeError> {
        self.switch(None, write)
    }

    fn switch(
        &mut self,
        protocol: Option<&str>,
        write: impl FnOnce(&mut ResponseHead),
    ) -> Result<Upgraded, ExchangeError> {
        self.shared().switch(protocol, |writer| write(&mut ResponseHead { writer, length: None }))?;
        Ok(Upgraded::new(self.shared()))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exchange").field(&self.request()).finish()
    }
}

/// What sends a response that a handler has returned.
#[doc(hidden)]
pub struct Responder {
    shared: Rc<Shared>,
    /// What the response begins with.
    status: u16,
}

impl Responder {
    /// That of a request, if it is one that streams.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        Some(Self { shared: Rc::clone(request.shared()?), status: 200 })
    }

    /// Sets the status that the response begins with.
    pub(crate) fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// Whether the response that has begun has no body.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.shared.is_bodiless()
    }

    /// Whether a response is out, or a part of one.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.has_begun()
    }

    /// Whether the connection has refused the request, or what its handler wants to do with it.
    pub(crate) fn is_refused(&self) -> bool {
        self.shared.is_refused()
    }

    /// As [`Exchange::respond`].
    pub(crate) fn respond(&self, write: impl FnOnce(&mut Response<'_, '_>)) -> Result<(), String> {
        let mut told = None;
        let sent = self.shared.respond(|writer| {
            let response = &mut Response::new(writer);
            write(response.status(self.status));
            told = writer.take_told();
        });
        match (told, sent) {
            (_, Err(error)) => Err(error.to_string()),
            (Some(told), Ok(())) => Err(told),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Adds a field to the response that follows.
    pub(crate) fn field(&self, name: &str, value: &[u8]) -> Result<(), String> {
        let mut line = Vec::new();
        write_field_line(&mut line, name, value).map_err(|error| error.to_string())?;
        self.shared.add_early_line(&line);
        Ok(())
    }

    /// As [`Exchange::start`].
    pub(crate) fn start(
        &self,
        write: impl FnOnce(&mut ResponseHead<'_, '_>),
    ) -> Result<ResponseStream, ExchangeError> {
        start(&self.shared, |head| {
            head.status(self.status);
            write(head);
        })
    }
}

fn start(
    shared: &Rc<Shared>,
    write: impl FnOnce(&mut ResponseHead<'_, '_>),
) -> Result<ResponseStream, ExchangeError> {
    shared.start(|writer| {
        let mut head = ResponseHead { writer, length: None };
        write(&mut head);
        head.length
    })?;
    Ok(ResponseStream { shared: Rc::clone(shared) })
}

/// Some bytes of a body, where the kernel has put them. Keep it no longer than needed: it is memory that others
/// receive into.
pub struct Chunk(Piece);

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

/// The body of a request, as it comes. See [`Exchange::body`].
pub struct RequestBody {
    shared: Rc<Shared>,
}

impl RequestBody {
    /// The body of a request, if it is one that streams.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        Some(Self { shared: Rc::clone(request.shared()?) })
    }

    /// The next piece, of any size but 0; `None` at the end. The first read answers `Expect: 100-continue`.
    ///
    /// # Errors
    /// [`ExchangeError::Rejected`]: the body breaks its framing, is larger than
    /// [`max_request_body_size`](crate::Limits::max_request_body_size) or comes too slowly.
    /// [`ExchangeError::UnexpectedEnd`]: the client closed too early.
    pub async fn read(&mut self) -> Result<Option<Chunk>, ExchangeError> {
        Ok(self.shared.read().await?.map(Chunk))
    }

    /// Calls `look` with the trailers, once the body has been read to its end; before, there are none. They are
    /// kept apart from the fields of the head.
    pub fn trailers<T>(&self, look: impl FnOnce(Fields<'_>) -> T) -> T {
        self.shared.with_trailers(|trailers| look(Fields::of(trailers)))
    }
}

/// The body as a stream of pieces, see [`read`](RequestBody::read).
impl Stream for RequestBody {
    type Item = Result<Chunk, ExchangeError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll_read(context).map(|read| read.map(|piece| piece.map(Chunk)).transpose())
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// The head of a response whose body follows in pieces. See [`Exchange::start`].
pub struct ResponseHead<'a, 'b> {
    writer: &'a mut ResponseWriter<'b>,
    length: Option<u64>,
}

impl ResponseHead<'_, '_> {
    /// Sets the status: a final one, 200 to 599.
    pub fn status(&mut self, status: u16) -> &mut Self {
        let done = self.writer.set_status(status);
        self.note(done)
    }

    /// Adds a field, as [`Response::field`].
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let done = self.writer.add_field(name, value.as_ref());
        self.note(done)
    }

    /// Promises a body of so many bytes.
    pub fn content_length(&mut self, bytes: u64) -> &mut Self {
        self.length = Some(bytes);
        self
    }

    /// Ends the connection after this response.
    pub fn close(&mut self) -> &mut Self {
        self.writer.close();
        self
    }

    fn note(&mut self, done: Result<(), FieldError>) -> &mut Self {
        if let Err(failure) = done {
            self.writer.fail(failure);
        }
        self
    }
}

/// The body of a response, piece by piece. See [`Exchange::start`].
///
/// A handler that returns without [`finish`](Self::finish) finishes as well, unless it returns an error.
pub struct ResponseStream {
    shared: Rc<Shared>,
}

impl ResponseStream {
    /// Adds bytes by copying them, then waits while more than
    /// [`max_response_buffer_size`](crate::Limits::max_response_buffer_size) is not sent. They are on their way
    /// when the handler next waits for anything.
    ///
    /// # Errors
    /// The connection is gone; the body is longer than was promised; there is no memory, and the connection ends.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.shared.write(PieceToSend::Bytes(bytes)).await
    }

    /// The same for bytes that are handed over, and not copied if they are more than 1 KiB.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn send(&mut self, bytes: impl Into<Body>) -> Result<(), ExchangeError> {
        self.shared.write(PieceToSend::Payload(bytes.into().0)).await
    }

    /// Waits until the kernel has everything that was written.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn flush(&mut self) -> Result<(), ExchangeError> {
        self.shared.wait_for_room(true).await
    }

    /// Adds a trailer, to be sent behind the body. Where the body is not chunked it is dropped: RFC 9110 section
    /// 6.5.1 lets nobody rely on trailers. Whether the client has asked for them (`TE: trailers`) is for the handler
    /// to look at where that matters.
    ///
    /// # Errors
    /// The name is no token, or of a field that may not be a trailer; the value holds a control character; the
    /// response is finished.
    pub fn trailer(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), ExchangeError> {
        self.shared.trailer(name, value.as_ref())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`ExchangeError::TooShort`]: more bytes were promised.
    pub fn finish(self) -> Result<(), ExchangeError> {
        self.shared.finish()
    }
}

impl fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").finish_non_exhaustive()
    }
}

/// A connection that speaks another protocol: bytes in both directions. It ends with its handler; what was written
/// is sent first. See [`Exchange::upgrade`].
pub struct Upgraded {
    reader: UpgradedReader,
    writer: UpgradedWriter,
}

impl Upgraded {
    fn new(shared: &Rc<Shared>) -> Self {
        let reader = UpgradedReader { shared: Rc::clone(shared) };
        Self { reader, writer: UpgradedWriter { shared: Rc::clone(shared) } }
    }

    /// The next bytes, what had arrived before the hand-over first; `None` when the peer sends no more.
    ///
    /// # Errors
    /// [`ExchangeError::UnexpectedEnd`]: over TLS, the end came without `close_notify`, maybe from somebody in between.
    /// Otherwise the connection is gone.
    pub async fn read(&mut self) -> Result<Option<Chunk>, ExchangeError> {
        self.reader.read().await
    }

    /// Sends bytes by copying them, as [`ResponseStream::write`].
    ///
    /// # Errors
    /// The connection is gone, or there is no memory.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.writer.write(bytes).await
    }

    /// Sends bytes from where they lie, as [`ResponseStream::send`].
    ///
    /// # Errors
    /// The connection is gone, or there is no memory.
    pub async fn send(&mut self, bytes: impl Into<Body>) -> Result<(), ExchangeError> {
        self.writer.send(bytes).await
    }

    /// Waits until the kernel has everything that was written.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn flush(&mut self) -> Result<(), ExchangeError> {
        self.writer.flush().await
    }

    /// Both directions apart, so that one can go on while the other waits: a tunnel needs it.
    #[must_use]
    pub fn split(self) -> (UpgradedReader, UpgradedWriter) {
        (self.reader, self.writer)
    }
}

/// The receiving half of an [`Upgraded`] connection.
pub struct UpgradedReader {
    shared: Rc<Shared>,
}

impl UpgradedReader {
    /// As [`Upgraded::read`].
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn read(&mut self) -> Result<Option<Chunk>, ExchangeError> {
        Ok(self.shared.read().await?.map(Chunk))
    }
}

impl fmt::Debug for UpgradedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedReader").finish_non_exhaustive()
    }
}

/// The sending half of an [`Upgraded`] connection.
pub struct UpgradedWriter {
    shared: Rc<Shared>,
}

impl UpgradedWriter {
    /// As [`Upgraded::write`].
    ///
    /// # Errors
    /// The connection is gone, or there is no memory.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.shared.write(PieceToSend::Bytes(bytes)).await
    }

    /// As [`Upgraded::send`].
    ///
    /// # Errors
    /// The connection is gone, or there is no memory.
    pub async fn send(&mut self, bytes: impl Into<Body>) -> Result<(), ExchangeError> {
        self.shared.write(PieceToSend::Payload(bytes.into().0)).await
    }

    /// As [`Upgraded::flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn flush(&mut self) -> Result<(), ExchangeError> {
        self.shared.wait_for_room(true).await
    }
}

impl fmt::Debug for UpgradedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedWriter").finish_non_exhaustive()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}
