//! From the values that handlers return to responses.
//!
//! Owns [`Respond`] and what implements it here. It knows no route and no connection.

use std::borrow::Cow;
use std::convert::Infallible;

use super::{Body, Error, Reply, Request, Responder, Response};
use crate::conn::ExchangeError;
use crate::runtime::{Cancelled, JoinError};

/// What a handler can return: it writes itself into the response.
///
/// | returned | response |
/// |---|---|
/// | `()` | 200 without a body |
/// | `&str`, `String`, `Cow<str>` | `text/plain; charset=utf-8` |
/// | `Vec<u8>`, `&[u8]`, [`Body`] | `application/octet-stream` |
/// | `Json`, [`Html`], [`Redirect`] | what they say |
/// | [`Status`] | the status without a body |
/// | `(u16, R)` | `R` with the status |
/// | `([(name, value); N], R)` | `R` with the fields |
/// | `(u16, [(name, value); N], R)` | both |
/// | `Option<R>` | `R`, or 404 |
/// | `Result<R, E>` | either; an error that would be a 2xx is a 500 |
///
/// Types of your own implement [`respond`](Self::respond), mostly by calling that of another:
///
/// ```
/// use peregrine::prelude::*;
///
/// struct Created(u64);
///
/// impl Respond for Created {
///     fn respond(self, response: &mut Response) {
///         response.status(201).field("Location", format!("/things/{}", self.0)).text("made");
///     }
/// }
///
/// fn make() -> Created {
///     Created(7)
/// }
/// # let mut app = App::new();
/// # app.post("/things", make);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a handler",
    label = "is no response",
    note = "return text, bytes, `Json`, `Html`, a status with one of these, a `Result` of them, or implement `Respond`"
)]
pub trait Respond {
    /// Whether it is sent by [`stream`](Self::stream).
    #[doc(hidden)]
    const STREAMS: bool = false;

    /// Writes the whole response.
    fn respond(self, response: &mut Response<'_, '_>);

    /// Sends the response in pieces.
    #[doc(hidden)]
    fn stream(self, responder: Responder) -> impl Future<Output = Result<(), String>>
    where
        Self: Sized,
    {
        std::future::ready(responder.respond(|response| self.respond(response)))
    }

    /// Becomes a response that middleware can look at.
    #[doc(hidden)]
    fn into_reply(self, request: &Request<'_>) -> Reply
    where
        Self: Sized,
    {
        request.draft(self)
    }

    /// What has gone wrong, if this is an error: a response that has begun before cannot go on then.
    #[doc(hidden)]
    fn failure(&self) -> Option<String> {
        None
    }

    /// Whether there is nothing in it: no answer of one who could have sent one before.
    #[doc(hidden)]
    fn is_nothing(&self) -> bool {
        false
    }
}

impl Respond for () {
    fn respond(self, _: &mut Response<'_, '_>) {}

    fn is_nothing(&self) -> bool {
        true
    }
}

impl Respond for Infallible {
    fn respond(self, _: &mut Response<'_, '_>) {
        match self {}
    }
}

impl Respond for &str {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.text(self);
    }
}

impl Respond for String {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.body("text/plain; charset=utf-8", self);
    }
}

impl Respond for Cow<'_, str> {
    fn respond(self, response: &mut Response<'_, '_>) {
        match self {
            Cow::Borrowed(text) => response.text(text),
            Cow::Owned(text) => text.respond(response),
        }
    }
}

impl Respond for &[u8] {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.bytes(self);
    }
}

impl Respond for Vec<u8> {
    fn respond(self, response: &mut Response<'_, '_>) {
        Body::from(self).respond(response);
    }
}

impl Respond for Body {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.untyped_body(self);
    }
}

/// A page, in UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Html<T>(pub T);

impl<T: AsRef<str> + Into<Body>> Respond for Html<T> {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.body("text/html; charset=utf-8", self.0);
    }
}

/// A status, from 200 to 599, without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Respond for Status {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.status(self.0);
    }
}

/// Sends the client elsewhere (RFC 9110 section 15.4). A target that is no field value makes the response a 500.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    target: Cow<'static, str>,
}

impl Redirect {
    /// 303: look there, with GET. For the answer to a form.
    #[must_use]
    pub fn to(target: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 303, target: target.into() }
    }

    /// 307: for now the same request belongs there.
    #[must_use]
    pub fn temporary(target: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 307, target: target.into() }
    }

    /// 308: the same request belongs there for good.
    #[must_use]
    pub fn permanent(target: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 308, target: target.into() }
    }
}

impl Respond for Redirect {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.status(self.status).field("Location", self.target.as_bytes());
    }
}

impl<R: Respond> Respond for (u16, R) {
    const STREAMS: bool = R::STREAMS;

    // The status is set first, so that an error inside keeps its own.
    fn respond(self, response: &mut Response<'_, '_>) {
        response.status(self.0);
        self.1.respond(response);
    }

    async fn stream(self, mut responder: Responder) -> Result<(), String> {
        responder.set_status(self.0);
        self.1.stream(responder).await
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        let mut reply = self.1.into_reply(request);
        if reply.current_status() == Some(200) {
            reply.status(self.0);
        }
        reply
    }

    fn failure(&self) -> Option<String> {
        self.1.failure()
    }
}

impl<const N: usize, K: AsRef<str>, V: AsRef<[u8]>, R: Respond> Respond for ([(K, V); N], R) {
    const STREAMS: bool = R::STREAMS;

    fn respond(self, response: &mut Response<'_, '_>) {
        for (name, value) in &self.0 {
            response.field(name.as_ref(), value);
        }
        self.1.respond(response);
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        for (name, value) in &self.0 {
            responder.field(name.as_ref(), value.as_ref())?;
        }
        self.1.stream(responder).await
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        let mut reply = self.1.into_reply(request);
        for (name, value) in &self.0 {
            reply.field(name.as_ref(), value);
        }
        reply
    }

    fn failure(&self) -> Option<String> {
        self.1.failure()
    }
}

impl<const N: usize, K: AsRef<str>, V: AsRef<[u8]>, R: Respond> Respond for (u16, [(K, V); N], R) {
    const STREAMS: bool = R::STREAMS;

    fn respond(self, response: &mut Response<'_, '_>) {
        (self.0, (self.1, self.2)).respond(response);
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        (self.0, (self.1, self.2)).stream(responder).await
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        (self.0, (self.1, self.2)).into_reply(request)
    }

    fn failure(&self) -> Option<String> {
        self.2.failure()
    }
}

impl<R: Respond> Respond for Option<R> {
    const STREAMS: bool = R::STREAMS;

    fn respond(self, response: &mut Response<'_, '_>) {
        match self {
            Some(inner) => inner.respond(response),
            None => Error::new(404).respond(response),
        }
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        match self {
            Some(inner) => inner.stream(responder).await,
            None => responder.respond(|response| Error::new(404).respond(response)),
        }
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        match self {
            Some(inner) => inner.into_reply(request),
            None => request.draft(Error::new(404)),
        }
    }

    fn failure(&self) -> Option<String> {
        self.as_ref().and_then(Respond::failure)
    }
}

impl<R: Respond, E: Respond> Respond for Result<R, E> {
    const STREAMS: bool = R::STREAMS;

    fn respond(self, response: &mut Response<'_, '_>) {
        match self {
            Ok(inner) => inner.respond(response),
            Err(error) => respond_error(error, response),
        }
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        match self {
            Ok(inner) => inner.stream(responder).await,
            Err(error) => responder.respond(|response| respond_error(error, response)),
        }
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        match self {
            Ok(inner) => inner.into_reply(request),
            error => request.draft(error),
        }
    }

    fn failure(&self) -> Option<String> {
        match self {
            Ok(inner) => inner.failure(),
            Err(error) => {
                Some(error.failure().unwrap_or_else(|| "its handler has returned an error".to_owned()))
            }
        }
    }

    fn is_nothing(&self) -> bool {
        self.as_ref().is_ok_and(Respond::is_nothing)
    }
}

/// An error is no success, whatever its type writes: `Err("no such user")` must not be a 200.
fn respond_error<E: Respond>(error: E, response: &mut Response<'_, '_>) {
    error.respond(response);
    if response.current_status() < 300 {
        response.status(500);
    }
}

/// Errors of this library that a handler may return, or a future that it returns may end with.
macro_rules! as_error {
    ($($error:ident),*) => {$(
        impl Respond for $error {
            fn respond(self, response: &mut Response<'_, '_>) {
                Error::from(self).respond(response);
            }

            fn failure(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

as_error!(ExchangeError, Cancelled, JoinError);

/// JSON, as an extractor and as a response: `application/json`.
///
/// As a response it is serialized straight into the block that is sent. As an extractor it takes the body of a request
/// whose `Content-Type` is `application/json`, or ends with `+json`: another one is refused with 415, a body that is no
/// JSON with 400, and one that does not fit `T` with 422.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

#[cfg(feature = "json")]
impl<T: serde::Serialize> Respond for Json<T> {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.json(&self.0);
    }
}
