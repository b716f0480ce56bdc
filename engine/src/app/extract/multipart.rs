//! Forms with files, part by part (`multipart/form-data`, RFC 7578).
//!
//! Owns the border to the crate that parses them. Parts are read as they arrive; nothing is collected.

use std::fmt;
use std::ops::Deref;

use futures_core::Stream;
use send_wrapper::SendWrapper;

use super::FromRequest;
use crate::http::{Error, Request, RequestBody};

/// A form with files, part by part, as the client sends it. Another type of body is refused with 415.
///
/// The route's [`max_request_body_size`](crate::RouteLimits::max_request_body_size) bounds all parts together.
///
/// ```
/// use peregrine::prelude::*;
/// use peregrine::Multipart;
///
/// async fn upload(mut form: Multipart) -> Result<String> {
///     let mut told = String::new();
///     while let Some(mut part) = form.next().await? {
///         let mut bytes = 0;
///         while let Some(chunk) = part.chunk().await? {
///             bytes += chunk.len();
///         }
///         told += &format!("{:?}: {bytes} bytes\n", part.file_name().or(part.name()));
///     }
///     Ok(told)
/// }
/// # let mut app = App::new();
/// # app.post("/upload", upload);
/// ```
pub struct Multipart(multer::Multipart<'static>);

/// One part of a [`Multipart`]. The next one can be had when this one is dropped; what is left of it is skipped then.
pub struct Part(multer::Field<'static>);

/// Some bytes of a [`Part`].
#[derive(Clone)]
pub struct PartChunk(bytes::Bytes);

impl FromRequest for Multipart {
    const STREAMS: bool = true;

    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        let content_type = request.field("Content-Type").unwrap_or_default();
        let boundary = multer::parse_boundary(content_type)
            .map_err(|_| Error::refusal(415, "the body must be of the type multipart/form-data"))?;
        let body = RequestBody::from_request(request)?;
        // The parser wants to be sent to other threads. This never is: handlers stay on their worker.
        Ok(Self(multer::Multipart::new(SendWrapper::new(Chunks(body)), boundary)))
    }
}

/// The body as the parser takes it.
struct Chunks(RequestBody);

impl Stream for Chunks {
    type Item = Result<bytes::Bytes, crate::ExchangeError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let chunk = std::pin::Pin::new(&mut self.0).poll_next(context);
        chunk.map(|chunk| chunk.map(|chunk| chunk.map(|chunk| bytes::Bytes::copy_from_slice(&chunk))))
    }
}

fn refused(error: multer::Error) -> Error {
    if let multer::Error::StreamReadFailed(inner) = error {
        return match inner.downcast::<crate::ExchangeError>() {
            Ok(failure) => Error::from(*failure),
            Err(other) => Error::new(500).with_cause(other),
        };
    }
    Error::refusal(400, format!("the form: {error}"))
}

impl Multipart {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// The form is malformed (400), or its body is refused, cut off or too large.
    pub async fn next(&mut self) -> Result<Option<Part>, Error> {
        Ok(self.0.next_field().await.map_err(refused)?.map(Part))
    }
}

impl Part {
    /// The name of the form's field.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// The name that the client has for the file. It may be anything: never use it as a path.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.0.file_name()
    }

    /// The media type that the client says it has.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.0.headers().get("content-type").and_then(|value| value.to_str().ok())
    }

    /// The next bytes of it; `None` at its end.
    ///
    /// # Errors
    /// As [`Multipart::next`].
    pub async fn chunk(&mut self) -> Result<Option<PartChunk>, Error> {
        Ok(self.0.chunk().await.map_err(refused)?.map(PartChunk))
    }

    /// All of it, collected.
    ///
    /// # Errors
    /// As [`Multipart::next`].
    pub async fn bytes(self) -> Result<PartChunk, Error> {
        self.0.bytes().await.map(PartChunk).map_err(refused)
    }

    /// All of it as text, by the charset that it names, or UTF-8.
    ///
    /// # Errors
    /// As [`Multipart::next`].
    pub async fn text(self) -> Result<String, Error> {
        self.0.text().await.map_err(refused)
    }
}

impl Deref for PartChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for PartChunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PartChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartChunk({} bytes)", self.len())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name()).field("file_name", &self.file_name()).finish()
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart").finish_non_exhaustive()
    }
}
