//! Cookies, in requests and responses (RFC 6265).
//!
//! Owns the border to the crate that knows their syntax.

use cookie::{Cookie, CookieJar};

use super::FromRequest;
use crate::http::{Error, Reply, Request, Respond, Responder, Response};

/// The cookies of a request, and those that its response sets: return them in front of a response. Cookies that are no
/// such are left out.
///
/// ```
/// use peregrine::prelude::*;
/// use peregrine::{Cookie, Cookies};
///
/// fn visit(mut cookies: Cookies) -> (Cookies, String) {
///     let visits = cookies.get("visits").and_then(|visits| visits.parse().ok()).unwrap_or(0) + 1;
///     cookies.set(Cookie::build(("visits", format!("{visits}"))).path("/").http_only(true));
///     (cookies, format!("your visit number {visits}"))
/// }
/// # let mut app = App::new();
/// # app.get("/", visit);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cookies(CookieJar);

impl Cookies {
    /// The value of a cookie.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Cookie::value)
    }

    /// Sets a cookie, by `Set-Cookie`.
    pub fn set(&mut self, cookie: impl Into<Cookie<'static>>) {
        self.0.add(cookie);
    }

    /// Lets the client forget a cookie. Path and domain must be those that it was set with.
    pub fn remove(&mut self, cookie: impl Into<Cookie<'static>>) {
        let cookie = cookie.into();
        // The jar only tells of the removal of what it has.
        self.0.add_original(Cookie::new(cookie.name().to_owned(), ""));
        self.0.remove(cookie);
    }
}

impl FromRequest for Cookies {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        let mut jar = CookieJar::new();
        let fields = request.fields().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        for (_, value) in fields {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            for cookie in Cookie::split_parse_encoded(value.to_owned()).flatten() {
                jar.add_original(cookie);
            }
        }
        Ok(Self(jar))
    }
}

impl<R: Respond> Respond for (Cookies, R) {
    const STREAMS: bool = R::STREAMS;

    fn respond(self, response: &mut Response<'_, '_>) {
        for cookie in self.0.0.delta() {
            response.field("Set-Cookie", cookie.encoded().to_string());
        }
        self.1.respond(response);
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        for cookie in self.0.0.delta() {
            responder.field("Set-Cookie", cookie.encoded().to_string().as_bytes())?;
        }
        self.1.stream(responder).await
    }

    fn into_reply(self, request: &Request<'_>) -> Reply {
        let mut reply = self.1.into_reply(request);
        for cookie in self.0.0.delta() {
            reply.field("Set-Cookie", cookie.encoded().to_string());
        }
        reply
    }

    fn failure(&self) -> Option<String> {
        self.1.failure()
    }
}
