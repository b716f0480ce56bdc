//! One request, borrowed from where it was received.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;

use peregrine_parser::{Method, Plus, Version, eq_ignore_ascii_case, percent_decode, query_pairs};

use super::kept::{Kept, KeptHead, draft};
use super::params::PathParams;
use super::{Context, Reply, Respond, WorkerInfo};
use crate::conn::{ConnectionInfo, Shared, write_field_line};
use crate::proto::{FieldError, RequestParts, Trailers};
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// A request. Everything in it is borrowed from the block that it arrived in, and valid in the handler only.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    parts: Parts<'a>,
    params: Params<'a>,
    connection: &'a ConnectionInfo,
    context: &'a Rc<Context>,
    /// What its bodies go through, if they are streamed.
    shared: Option<&'a Rc<Shared>>,
    /// What middleware has it in.
    kept: Option<&'a Kept>,
}

/// Where the parts of a request are: moving them would cost more than looking there.
#[derive(Clone, Copy)]
enum Parts<'a> {
    Elsewhere(&'a RequestParts<'a>),
    Here(RequestParts<'a>),
}

/// What a route's template has captured.
#[derive(Clone, Copy)]
enum Params<'a> {
    None,
    Matched(&'a PathParams<'a>),
    Kept(&'a KeptHead),
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        parts: &'a RequestParts<'a>,
        params: Option<&'a PathParams<'a>>,
        connection: &'a ConnectionInfo,
        context: &'a Rc<Context>,
        shared: Option<&'a Rc<Shared>>,
    ) -> Self {
        let params = params.map_or(Params::None, Params::Matched);
        Self { parts: Parts::Elsewhere(parts), params, connection, context, shared, kept: None }
    }

    /// A request that is kept, with its parts `parts`.
    pub(crate) fn of_kept(
        parts: &'a RequestParts<'a>,
        head: &'a KeptHead,
        connection: &'a ConnectionInfo,
        context: &'a Rc<Context>,
        shared: Option<&'a Rc<Shared>>,
        kept: Option<&'a Kept>,
    ) -> Self {
        Self { parts: Parts::Elsewhere(parts), params: Params::Kept(head), connection, context, shared, kept }
    }

    /// The same, with nowhere to borrow the parts from.
    pub(crate) fn of_head(
        head: &'a KeptHead,
        connection: &'a ConnectionInfo,
        context: &'a Rc<Context>,
        shared: Option<&'a Rc<Shared>>,
    ) -> Self {
        let parts = Parts::Here(head.parts(&[]));
        Self { parts, params: Params::Kept(head), connection, context, shared, kept: None }
    }

    pub(crate) fn connection(&self) -> &'a ConnectionInfo {
        self.connection
    }

    /// Attaches a value for the middleware and the handler that come after; one of the same type is replaced. Handlers
    /// take it as [`Extension`](crate::Extension).
    ///
    /// # Panics
    /// There is no middleware on the request's way, so that nobody could find the value.
    pub fn insert<T: 'static>(&self, value: T) {
        self.kept.expect("values are attached by middleware").insert(value);
    }

    /// The value of a type that middleware has attached.
    #[must_use]
    pub fn extension<T: 'static>(&self) -> Option<Rc<T>> {
        self.kept?.get()
    }

    /// Adds a field to the response, whoever writes it, and even if its handler sends it piece by piece. For middleware;
    /// before [`Next::run`](crate::Next::run).
    ///
    /// # Errors
    /// The name is no token; the value holds a control character; or it is one of the fields that only a response itself
    /// can have (`Content-Length`, `Content-Type`, `Connection`, `Transfer-Encoding`, `Date`, `Server`), or there is no
    /// middleware on the request's way.
    pub fn response_field(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        const REFUSED: [&str; 6] =
            ["content-length", "content-type", "connection", "transfer-encoding", "date", "server"];
        let Some(kept) = self.kept else { return Err(FieldError::Name) };
        if REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused)) {
            return Err(FieldError::Name);
        }
        let mut line = Vec::with_capacity(name.len() + 64);
        write_field_line(&mut line, name, value.as_ref())?;
        kept.add_response_line(&line);
        if let Some(shared) = self.shared {
            shared.add_early_line(&line);
        }
        Ok(())
    }

    /// Lets `look` look at the lines that [`response_field`](Self::response_field) has added.
    pub(crate) fn with_response_fields(&self, look: impl FnOnce(&[u8])) {
        if let Some(kept) = self.kept {
            kept.with_response_lines(look);
        }
    }

    /// The worker's value of a type, which [`App::state`](crate::App::state) makes.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<Rc<T>> {
        self.context.state()
    }

    /// Why a request that is kept has no handler.
    pub(crate) fn refusal(&self) -> Option<(u16, Option<&'a str>)> {
        self.kept?.refusal()
    }

    /// Makes a response of a value, for middleware that answers instead of a handler.
    #[must_use]
    pub fn reply(&self, value: impl Respond) -> Reply {
        value.into_reply(self)
    }

    /// The response that `value` writes.
    pub(crate) fn draft(&self, value: impl Respond) -> Reply {
        draft(value, self)
    }

    pub(crate) fn context(&self) -> &'a Rc<Context> {
        self.context
    }

    pub(crate) fn shared(&self) -> Option<&'a Rc<Shared>> {
        self.shared
    }

    #[inline]
    pub(crate) fn parts(&self) -> &RequestParts<'a> {
        match &self.parts {
            Parts::Elsewhere(parts) => parts,
            Parts::Here(parts) => parts,
        }
    }

    /// The method; [`Method::Other`] for one without a name of its own here, see
    /// [`method_name`](Self::method_name).
    #[must_use]
    pub fn method(&self) -> Method {
        self.parts().method
    }

    /// The method as it came, e.g. `PROPFIND`.
    #[must_use]
    pub fn method_name(&self) -> &'a str {
        text(self.parts().method_name)
    }

    /// The protocol version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.parts().version
    }

    /// The path, percent-decoded once and without dot segments, as Kestrel's `Path`. `%2F` stays as it is.
    #[must_use]
    pub fn path(&self) -> &'a str {
        text(self.parts().path)
    }

    /// The request target as it came, as Kestrel's `RawTarget`.
    #[must_use]
    pub fn target(&self) -> &'a str {
        text(self.parts().target)
    }

    /// The query as it came, without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.parts().query.map(text)
    }

    /// The query's pairs in order, decoded: `%` escapes, and `+` as space.
    #[must_use]
    pub fn query_pairs(&self) -> QueryPairs<'a> {
        QueryPairs { pairs: query_pairs(self.parts().query.unwrap_or_default()) }
    }

    /// The value of the first pair of the query named `name`.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The part of the path that the route's `{name}` or `{*name}` matched, or the default of `{name=value}`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        match self.params {
            Params::None => None,
            Params::Matched(params) => params.get(name),
            Params::Kept(_) => self.params().find(|(key, _)| *key == name).map(|(_, value)| value),
        }
    }

    /// The path parameters in the order of the route's template.
    #[must_use]
    pub fn params(&self) -> ParamPairs<'a> {
        ParamPairs { params: self.params, at: 0 }
    }

    /// The fields in the order in which they came, as name and value.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        let parts = self.parts();
        Fields { fields: parts.fields.iter(), bytes: parts.head }
    }

    /// The trailers: fields that came behind a chunked body, kept apart from the others. Those that frame, route
    /// or authenticate do not come this far (RFC 9110 section 6.5.1). Of a streamed body see
    /// [`RequestBody::trailers`](crate::http::RequestBody::trailers).
    #[must_use]
    pub fn trailers(&self) -> Fields<'a> {
        Fields::of(self.parts().trailers)
    }

    /// The value of the first field named `name`, in any letter case; `None` too if it is no UTF-8.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.field_bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The value of the first field named `name`, in any letter case.
    #[must_use]
    pub fn field_bytes(&self, name: &str) -> Option<&'a [u8]> {
        let RequestParts { fields, head, .. } = *self.parts();
        let wanted = name.as_bytes();
        let same = |field: &&peregrine_parser::Field| {
            field.name.len as usize == wanted.len() && eq_ignore_ascii_case(field.name.of(head), wanted)
        };
        fields.iter().find(same).map(|field| field.value.of(head))
    }

    /// The whole body, decoded if it came chunked. Empty if there is none, or if the handler streams it.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.parts().body
    }

    /// The peer's address; none on a Unix socket.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.connection.peer_address()
    }

    /// The address that the peer connected to; none on a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.connection.local_address()
    }

    /// What TLS has agreed upon for the connection; `None` if it is one of plain HTTP.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&'a TlsInfo> {
        self.connection.tls.as_deref()
    }

    /// Whether the request came over https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.connection.tls.is_some()
    }

    /// The worker that serves the connection.
    #[must_use]
    pub fn worker(&self) -> WorkerInfo {
        self.context.worker
    }

    /// A number that no other connection of this process has.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.connection.id
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method_name(), self.target())
    }
}

/// Text that the parser has let through: ASCII, but for decoded paths, which are checked to be UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The parameters of a path, see [`Request::params`].
#[derive(Clone)]
pub struct ParamPairs<'a> {
    params: Params<'a>,
    at: usize,
}

impl<'a> Iterator for ParamPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        self.at += 1;
        match self.params {
            Params::None => None,
            Params::Matched(params) => params.pair(at),
            Params::Kept(head) => head.param(at),
        }
    }
}

/// The fields of a request, see [`Request::fields`].
#[derive(Clone)]
pub struct Fields<'a> {
    fields: std::slice::Iter<'a, peregrine_parser::Field>,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(trailers: &'a Trailers) -> Self {
        Self { fields: trailers.fields.iter(), bytes: &trailers.bytes }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.fields.next()?;
        Some((text(field.name.of(self.bytes)), field.value.of(self.bytes)))
    }
}

/// The pairs of a query, see [`Request::query_pairs`].
#[derive(Clone)]
pub struct QueryPairs<'a> {
    pairs: peregrine_parser::QueryPairs<'a>,
}

impl<'a> Iterator for QueryPairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next().map(|(key, value)| (decode(key), decode(value)))
    }
}

/// Decodes a part of a query; what is broken stays as it came, bytes that are no UTF-8 become `U+FFFD`.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if !bytes.iter().any(|&byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text(bytes));
    }
    let mut decoded = vec![0; bytes.len()];
    match percent_decode(bytes, &mut decoded, Plus::Space) {
        Ok(len) => {
            decoded.truncate(len);
            Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
        }
        Err(_) => Cow::Borrowed(text(bytes)),
    }
}
