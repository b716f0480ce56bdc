//! Extractors of a request's whole body, and of its parts as far as they come whole.

use super::FromRequest;
use crate::http::{Error, Request};

/// The body as it came, decoded if it was chunked.
impl FromRequest for Vec<u8> {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        Ok(request.body().to_vec())
    }
}

/// The body as text; one that is no UTF-8 is refused with 400.
impl FromRequest for String {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        let text = std::str::from_utf8(request.body());
        text.map(str::to_owned).map_err(|_| Error::refusal(400, "the body is no UTF-8"))
    }
}

/// The body of a form (`application/x-www-form-urlencoded`) as a struct or map; of GET and HEAD the query. Another
/// type is refused with 415, pairs that do not fit with 422.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<T>(pub T);

/// The media type of the body, without parameters.
#[cfg(feature = "serde")]
fn media_type<'a>(request: &Request<'a>) -> &'a str {
    let value = request.field("Content-Type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(feature = "json")]
mod json {
    use serde::de::DeserializeOwned;
    use serde_json::error::Category;

    use super::{FromRequest, media_type};
    use crate::http::{Error, Json, Request};

    fn is_json(media_type: &str) -> bool {
        let suffix = media_type.len().checked_sub(5).and_then(|at| media_type.get(at..));
        media_type.eq_ignore_ascii_case("application/json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
    }

    impl<T: DeserializeOwned> FromRequest for Json<T> {
        fn from_request(request: &Request<'_>) -> Result<Self, Error> {
            if !is_json(media_type(request)) {
                return Err(Error::refusal(415, "the body must be of the type application/json"));
            }
            serde_json::from_slice(request.body()).map(Self).map_err(|error| {
                let status = if error.classify() == Category::Data { 422 } else { 400 };
                Error::refusal(status, format!("the body: {error}"))
            })
        }
    }
}

#[cfg(feature = "serde")]
mod form {
    use peregrine_parser::Method;
    use serde::de::DeserializeOwned;

    use super::{Form, FromRequest, media_type};
    use crate::app::values::from_pairs;
    use crate::http::{Error, Request};

    impl<T: DeserializeOwned> FromRequest for Form<T> {
        fn from_request(request: &Request<'_>) -> Result<Self, Error> {
            let pairs = if matches!(request.method(), Method::Get | Method::Head) {
                request.query().unwrap_or_default().as_bytes()
            } else if media_type(request).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                request.body()
            } else {
                let wanted = "the body must be of the type application/x-www-form-urlencoded";
                return Err(Error::refusal(415, wanted));
            };
            from_pairs(pairs).map(Self).map_err(|error| Error::refusal(422, format!("the form: {error}")))
        }
    }
}
