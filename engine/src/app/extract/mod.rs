//! Extractors: what handlers take out of requests, by type.
//!
//! Owns the traits and the extractors of this crate. They refuse a request by an [`Error`]; they must not know routes
//! or how a handler is called.

mod body;
#[cfg(feature = "cookies")]
mod cookies;
mod head;
#[cfg(feature = "multipart")]
mod multipart;
mod state;

use crate::http::{Error, Exchange, Needs, Request, RequestBody};

#[cfg(feature = "serde")]
pub use body::Form;
#[cfg(feature = "cookies")]
pub use cookies::Cookies;
#[cfg(feature = "tls")]
pub use head::Tls;
pub use head::{FieldValue, Header, Peer};
#[cfg(feature = "serde")]
pub use head::{Path, Query};
#[cfg(feature = "multipart")]
pub use multipart::{Multipart, Part, PartChunk};
pub use state::{Extension, Shared, State};

/// What a handler can take as a parameter, made from the request; it owns what it holds.
///
/// When it cannot be made the handler is not called, and the error answers.
///
/// ```
/// use peregrine::prelude::*;
///
/// struct Bearer(String);
///
/// impl FromRequest for Bearer {
///     fn from_request(request: &Request<'_>) -> Result<Self> {
///         let token = request.field("Authorization").and_then(|value| value.strip_prefix("Bearer "));
///         token.map(|token| Self(token.to_owned())).ok_or_else(|| Error::new(401))
///     }
/// }
///
/// async fn secret(Bearer(token): Bearer) -> String {
///     format!("you know {token}")
/// }
/// # let mut app = App::new();
/// # app.get("/secret", secret);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a request",
    label = "is no extractor",
    note = "implement `FromRequest` for it, or for state take it as `State<{Self}>` or `Shared<{Self}>`"
)]
pub trait FromRequest: Sized {
    /// Whether it takes the request's body piece by piece, or the whole exchange.
    #[doc(hidden)]
    const STREAMS: bool = false;

    /// Whether its handler can send the response by it.
    #[doc(hidden)]
    const ANSWERS: bool = false;

    /// Makes it.
    ///
    /// # Errors
    /// The answer to a request that has not got what it takes.
    fn from_request(request: &Request<'_>) -> Result<Self, Error>;

    /// Says what it needs of the application, so that what is missing is found at the start.
    #[doc(hidden)]
    fn needs(_: &mut Needs) {}
}

/// What a sync handler can take: everything that is [`FromRequest`], and what borrows from the request.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be extracted from a request",
    label = "is no extractor",
    note = "implement `FromRequest` for it, or for state take it as `State<{Self}>` or `Shared<{Self}>`"
)]
pub trait Extract {
    /// The same as a request that lives for `'r` yields it.
    type Item<'r>;

    const STREAMS: bool;

    fn extract<'r>(request: &'r Request<'r>) -> Result<Self::Item<'r>, Error>;

    fn needs(needs: &mut Needs);
}

impl<T: FromRequest> Extract for T {
    type Item<'r> = T;

    const STREAMS: bool = T::STREAMS;

    #[inline]
    fn extract<'r>(request: &'r Request<'r>) -> Result<T, Error> {
        T::from_request(request)
    }

    fn needs(needs: &mut Needs) {
        <T as FromRequest>::needs(needs);
    }
}

impl Extract for &Request<'_> {
    type Item<'r> = &'r Request<'r>;

    const STREAMS: bool = false;

    #[inline]
    fn extract<'r>(request: &'r Request<'r>) -> Result<&'r Request<'r>, Error> {
        Ok(request)
    }

    fn needs(_: &mut Needs) {}
}

impl Extract for Request<'_> {
    type Item<'r> = Request<'r>;

    const STREAMS: bool = false;

    #[inline]
    fn extract<'r>(request: &'r Request<'r>) -> Result<Request<'r>, Error> {
        Ok(*request)
    }

    fn needs(_: &mut Needs) {}
}

impl FromRequest for Exchange {
    const STREAMS: bool = true;
    const ANSWERS: bool = true;

    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Self::of(request).ok_or_else(not_streamed)
    }
}

impl FromRequest for RequestBody {
    const STREAMS: bool = true;

    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Self::of(request).ok_or_else(not_streamed)
    }
}

fn not_streamed() -> Error {
    Error::refusal(500, "the bodies of this request cannot be streamed")
}

/// Never refuses: what cannot be made is `None`.
impl<T: FromRequest> FromRequest for Option<T> {
    const STREAMS: bool = T::STREAMS;
    const ANSWERS: bool = T::ANSWERS;

    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Ok(T::from_request(request).ok())
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// Never refuses: the handler is told why it cannot be made.
impl<T: FromRequest> FromRequest for Result<T, Error> {
    const STREAMS: bool = T::STREAMS;
    const ANSWERS: bool = T::ANSWERS;

    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Ok(T::from_request(request))
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}
