//! One response, written straight into the block that will be sent.

use std::io;

use super::Body;
use crate::proto::FieldError;
use crate::proto::h1::{Draft, KnownType, ResponseWriter};

/// A response. It starts as `200` without a body; methods may come in any order, the last body counts.
///
/// The engine owns the framing: `Content-Length`, `Date`, `Server` and `Connection` are written for you.
///
/// ```
/// use peregrine::{Request, Response};
///
/// fn created(_: &Request, response: &mut Response) {
///     response.status(201).field("Location", "/things/7").text("made");
/// }
/// ```
pub struct Response<'a, 'b> {
    writer: &'a mut ResponseWriter<'b>,
}

impl<'a, 'b> Response<'a, 'b> {
    pub(crate) fn new(writer: &'a mut ResponseWriter<'b>) -> Self {
        Self { writer }
    }

    /// Sets the status: a final one, 200 to 599. Anything else makes the response a 500.
    pub fn status(&mut self, status: u16) -> &mut Self {
        if let Err(failure) = self.writer.set_status(status) {
            self.writer.fail(failure);
        }
        self
    }

    /// The status so far.
    #[must_use]
    pub fn current_status(&self) -> u16 {
        self.writer.status()
    }

    /// Adds a field. A name or value that may not be sent (a line break in it, say) makes the response a
    /// 500; [`try_field`](Self::try_field) tells instead.
    ///
    /// `Content-Type`, `Date` and `Server` replace what was there. `Connection: close` ends the connection
    /// after this response; other values of `Connection` are ignored. `Content-Length` is only used for responses that have no body of their own (to
    /// HEAD, and 304).
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if let Err(failure) = self.try_field(name, value) {
            self.writer.fail(failure);
        }
        self
    }

    /// Adds a field, as [`field`](Self::field).
    ///
    /// # Errors
    /// The name is no token or one that only the engine may write; the value holds a control character.
    pub fn try_field(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<&mut Self, FieldError> {
        self.writer.add_field(name, value.as_ref())?;
        Ok(self)
    }

    /// A plain text body, in UTF-8.
    pub fn text(&mut self, text: &str) {
        self.writer.write_known_body(&KnownType::TEXT, text.as_bytes());
    }

    /// An HTML body, in UTF-8.
    pub fn html(&mut self, html: &str) {
        self.writer.write_known_body(&KnownType::HTML, html.as_bytes());
    }

    /// A body of bytes, copied; its type is `application/octet-stream` unless a field has named one.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.writer.write_known_body(&KnownType::BYTES, bytes);
    }

    /// A body that is handed over, and not copied if it is larger than 8 KiB. A `content_type` that may not be
    /// sent makes the response a 500.
    pub fn body(&mut self, content_type: &str, body: impl Into<Body>) {
        if let Err(failure) = self.writer.set_payload(content_type, body.into().0) {
            self.writer.fail(failure);
        }
    }

    /// A body that `write` writes straight behind the head, whose length is filled in afterwards: the way for
    /// serializers and templates. An error of `write`, or a type
    /// that is no field value, makes the response a 500.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use peregrine::{Request, Response};
    ///
    /// fn numbers(_: &Request, response: &mut Response) {
    ///     response.body_with("text/plain", |body| (1..=3).try_for_each(|number| writeln!(body, "{number}")));
    /// }
    /// ```
    pub fn body_with(
        &mut self,
        content_type: &str,
        write: impl FnOnce(&mut BodyWriter<'_, 'b>) -> io::Result<()>,
    ) {
        if peregrine_parser::is_field_value(content_type.as_bytes()) {
            self.write_body(content_type, write);
        } else {
            self.writer.fail(FieldError::Value);
        }
    }

    fn write_body(
        &mut self,
        content_type: &str,
        write: impl FnOnce(&mut BodyWriter<'_, 'b>) -> io::Result<()>,
    ) {
        self.writer.begin_body(content_type);
        match write(&mut BodyWriter(self.writer)) {
            Ok(()) => self.writer.end_body(),
            Err(_) => self.writer.fail(FieldError::Body),
        }
    }

    /// A JSON body, serialized straight behind the head, as with [`body_with`](Self::body_with).
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        self.write_body("application/json; charset=utf-8", |body| {
            serde_json::to_writer(body, value).map_err(io::Error::from)
        });
    }

    /// Ends the connection after this response.
    pub fn close(&mut self) -> &mut Self {
        self.writer.close();
        self
    }

    /// A body that is handed over; its type is `application/octet-stream` unless a field has named one.
    pub(crate) fn untyped_body(&mut self, body: Body) {
        if let Err(failure) = self.writer.set_untyped_payload(body.0) {
            self.writer.fail(failure);
        }
    }

    /// Becomes the response of `draft`, whose bytes are in `block`.
    pub(crate) fn adopt(&mut self, block: &[u8], draft: Draft) {
        self.writer.adopt(block, draft);
    }

    /// Tells the log of this response.
    pub(crate) fn tell(&mut self, told: String) {
        self.writer.tell(told);
    }

    /// Whether the client may be told of failures in detail.
    pub(crate) fn shows_details(&self) -> bool {
        self.writer.shows_details()
    }
}

/// What [`Response::body_with`] writes to. Writing never fails.
pub struct BodyWriter<'a, 'b>(&'a mut ResponseWriter<'b>);

impl io::Write for BodyWriter<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push_body(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.push_body(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
