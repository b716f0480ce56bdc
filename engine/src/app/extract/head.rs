//! Extractors of what a request's head says.

use std::net::{IpAddr, SocketAddr};

use super::FromRequest;
use crate::http::{Error, Method, Request, Version};
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// The path's parameters: one value for one parameter, a tuple for several in their order, a struct by their names.
/// Values that do not fit are refused with 400.
///
/// ```
/// use peregrine::prelude::*;
///
/// async fn comment(Path((user, number)): Path<(String, u32)>) -> String {
///     format!("comment {number} of {user}")
/// }
/// # let mut app = App::new();
/// # app.get("/users/{user}/comments/{number}", comment);
/// ```
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// The query's pairs as a struct or map. A query that does not fit is refused with 400.
///
/// ```
/// use peregrine::prelude::*;
///
/// #[derive(serde::Deserialize)]
/// struct Page {
///     #[serde(default)]
///     offset: u64,
///     limit: Option<u16>,
/// }
///
/// async fn list(Query(page): Query<Page>) -> String {
///     format!("{} from {} on", page.limit.unwrap_or(20), page.offset)
/// }
/// # let mut app = App::new();
/// # app.get("/things", list);
/// ```
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

/// A field of the request that [`Header`] finds, by its type.
///
/// ```
/// use peregrine::prelude::*;
/// use peregrine::FieldValue;
///
/// struct Length(u64);
///
/// impl FieldValue for Length {
///     const NAME: &'static str = "Content-Length";
///
///     fn from_value(value: &str) -> Option<Self> {
///         value.parse().ok().map(Self)
///     }
/// }
///
/// fn length(length: Option<Header<Length>>) -> String {
///     length.map_or_else(|| "unknown".to_owned(), |Header(Length(bytes))| bytes.to_string())
/// }
/// # let mut app = App::new();
/// # app.post("/", length);
/// ```
pub trait FieldValue: Sized {
    /// The field's name, in any letter case.
    const NAME: &'static str;

    /// Understands its value; `None` refuses it.
    fn from_value(value: &str) -> Option<Self>;
}

/// A field of the request. A request without it, or with a value that is not understood, is refused with 400.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<T>(pub T);

impl<T: FieldValue> FromRequest for Header<T> {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        let Some(value) = request.field(T::NAME) else {
            return Err(Error::refusal(400, format!("the field {} is missing", T::NAME)));
        };
        T::from_value(value)
            .map(Self)
            .ok_or_else(|| Error::refusal(400, format!("the field {} is not understood", T::NAME)))
    }
}

/// The peer's address. A request that came over a Unix socket, which has none, is refused with 500: take
/// `Option<Peer>` where that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address without the port.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.ip()
    }
}

impl FromRequest for Peer {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        request.peer_address().map(Self).ok_or_else(|| Error::refusal(500, "the peer has no address"))
    }
}

/// What TLS has agreed upon for the request's connection: version, cipher suite, the name that was asked for, the client's
/// certificate. A request over plain HTTP is refused with 500: take `Option<Tls>` where that may be.
///
/// ```
/// use peregrine::prelude::*;
///
/// fn secured(tls: Option<Tls>) -> String {
///     match tls {
///         Some(Tls(tls)) => format!("{} with {}", tls.version, tls.cipher_suite),
///         None => String::from("in clear"),
///     }
/// }
/// # let mut app = App::new();
/// # app.get("/secured", secured);
/// ```
#[cfg(feature = "tls")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls(pub TlsInfo);

#[cfg(feature = "tls")]
impl FromRequest for Tls {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        request.tls().cloned().map(Self).ok_or_else(|| Error::refusal(500, "the connection is not secured"))
    }
}

impl FromRequest for Method {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Ok(request.method())
    }
}

impl FromRequest for Version {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Ok(request.version())
    }
}

#[cfg(feature = "serde")]
mod serde {
    use ::serde::de::DeserializeOwned;

    use super::{FromRequest, Path, Query};
    use crate::app::values::{from_pairs, from_params};
    use crate::http::{Error, Request};

    impl<T: DeserializeOwned> FromRequest for Path<T> {
        #[inline]
        fn from_request(request: &Request<'_>) -> Result<Self, Error> {
            match from_params(request.params()) {
                Ok(value) => Ok(Self(value)),
                Err(error) => Err(Error::refusal(400, format!("the path: {error}"))),
            }
        }
    }

    impl<T: DeserializeOwned> FromRequest for Query<T> {
        #[inline]
        fn from_request(request: &Request<'_>) -> Result<Self, Error> {
            match from_pairs(request.query().unwrap_or_default().as_bytes()) {
                Ok(value) => Ok(Self(value)),
                Err(error) => Err(Error::refusal(400, format!("the query: {error}"))),
            }
        }
    }
}
