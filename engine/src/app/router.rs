//! From method and path to a handler.
//!
//! Templates are `/users/{id}` and `/files/{*rest}`; what is literal wins over what is a parameter. A path
//! without a route is 404, a route without the method 405 with `Allow`; HEAD falls back on GET, and OPTIONS
//! is answered with `Allow` unless a handler does it (RFC 9110 section 9.3.7).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use peregrine_parser::TargetForm;

use super::{Answer, Handler, Methods, Route, RouteError, RouteLimits, Routes, StreamingHandler};
use crate::conn::{Admission, ConnectionInfo, Service, Shared, Streaming};
use crate::http::{Exchange, KeptHead, Method, Request, Response};
use crate::proto::h1::{BodyLimits, ResponseWriter};
use crate::proto::{Rate, RequestParts};

/// The methods that a route can name, in the order of `Allow`.
const METHODS: [Method; 7] =
    [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options];

/// The handlers of one path.
#[derive(Clone, Default)]
struct Entry {
    by_method: [Option<Answer>; METHODS.len()],
    any: Option<Answer>,
    /// The value of `Allow`.
    allow: String,
    /// Own limits, if there are some.
    limits: Option<RouteLimits>,
}

impl Entry {
    fn set(&mut self, methods: Methods, answer: Answer) -> bool {
        let place = match methods {
            Methods::Any => &mut self.any,
            Methods::One(method) => match slot(method) {
                Some(slot) => &mut self.by_method[slot],
                None => return false,
            },
        };
        place.replace(answer).is_none()
    }

    /// The handler for a method; HEAD is served by GET's.
    #[inline]
    fn answer(&self, method: Method) -> Option<&Answer> {
        let own = slot(method).and_then(|slot| self.by_method[slot].as_ref());
        let get = || if method == Method::Head { self.by_method[0].as_ref() } else { None };
        own.or_else(get).or(self.any.as_ref())
    }

    fn write_allow(&mut self) {
        let has = |method| self.answer(method).is_some() || method == Method::Options;
        let names: Vec<&str> = METHODS.into_iter().filter(|&m| has(m)).map(Method::as_str).collect();
        self.allow = names.join(", ");
    }
}

/// Where a method stands in [`METHODS`].
#[inline]
fn slot(method: Method) -> Option<usize> {
    let slot = method as usize;
    (slot < METHODS.len()).then_some(slot)
}

// `slot` relies on the order of the parser's methods.
const _: () = {
    let mut slot = 0;
    while slot < METHODS.len() {
        assert!(METHODS[slot] as usize == slot);
        slot += 1;
    }
};

/// Hashes a path by words. What is in the table is the application's own, so nobody else can make it slow.
#[derive(Clone, Default)]
struct PathHasher(u64);

impl Hasher for PathHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.write_u64(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let mut rest = 0;
        for &byte in words.remainder() {
            rest = rest << 8 | u64::from(byte);
        }
        self.write_u64(rest);
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Router {
    entries: Vec<Entry>,
    /// Paths without parameters: they win over patterns, and one look finds them.
    literals: HashMap<Box<[u8]>, usize, BuildHasherDefault<PathHasher>>,
    patterns: matchit::Router<usize>,
    fallback: Option<Handler>,
    connect: Option<StreamingHandler>,
    /// Some route answers methods that have no name here.
    has_any: bool,
    limits: RouteLimits,
}

impl Router {
    /// Compiles the routes.
    ///
    /// # Errors
    /// The first route that is malformed, registered twice, or in conflict with another.
    pub(crate) fn new(from: &Routes) -> Result<Self, RouteError> {
        let mut router = Self {
            entries: Vec::new(),
            literals: HashMap::default(),
            patterns: matchit::Router::new(),
            fallback: from.fallback,
            connect: from.connect.clone(),
            has_any: from.routes.iter().any(|route| route.methods == Methods::Any),
            limits: from.limits,
        };
        let mut templates: Vec<&str> = Vec::new();
        for Route { methods, template, answer } in &from.routes {
            let refuse = |problem: String| RouteError { template: template.clone(), problem };
            if !template.starts_with('/') {
                return Err(refuse("must begin with \"/\"".into()));
            }
            let entry = match templates.iter().position(|known| known == template) {
                Some(entry) => entry,
                None => {
                    let entry = router.entries.len();
                    // Literals too, for what is malformed or in conflict.
                    router.patterns.insert(template.as_str(), entry).map_err(|error| match error {
                        matchit::InsertError::Conflict { with } => {
                            refuse(format!("matches the same paths as {with:?}"))
                        }
                        error => refuse(format!("is malformed: {error}")),
                    })?;
                    router.entries.push(Entry::default());
                    if !template.contains(['{', '}']) {
                        router.literals.insert(template.as_bytes().into(), entry);
                    }
                    templates.push(template);
                    entry
                }
            };
            if !router.entries[entry].set(*methods, answer.clone()) {
                return Err(refuse("is registered twice for the same method".into()));
            }
        }
        for (template, limits) in &from.own_limits {
            let Some(entry) = templates.iter().position(|known| known == template) else {
                let problem = "has limits, but no handler".into();
                return Err(RouteError { template: template.clone(), problem });
            };
            router.entries[entry].limits = Some(*limits);
        }
        router.entries.iter_mut().for_each(Entry::write_allow);
        Ok(router)
    }

    #[inline]
    fn answer(
        &self,
        entry: Option<usize>,
        params: Option<&matchit::Params<'_, '_>>,
        parts: &RequestParts<'_>,
        connection: &ConnectionInfo,
        response: &mut Response,
    ) -> bool {
        let entry = entry.map(|entry| &self.entries[entry]);
        let handler = match entry.and_then(|entry| entry.answer(parts.method)) {
            Some(Answer::Whole(handler)) => Some(*handler),
            Some(Answer::Streaming(_)) => return false,
            None if entry.is_some() => None,
            None if parts.form == TargetForm::Authority && self.connect.is_some() => return false,
            // No sync handler makes a tunnel: a 2xx to CONNECT would promise one (RFC 9110 section 9.3.6).
            None if matches!(parts.form, TargetForm::Asterisk | TargetForm::Authority) => None,
            None => self.fallback,
        };
        match handler {
            Some(handler) => handler(&Request::new(parts, params, connection), response),
            None if parts.form == TargetForm::Asterisk => Self::answer_for_server(response),
            None => self.answer_without_handler(entry, parts.method, response),
        }
        true
    }

    /// Looks a path up and calls `then` with what was found.
    fn look_up<T>(
        &self,
        path: &[u8],
        then: impl FnOnce(Option<&Entry>, Option<&matchit::Params<'_, '_>>) -> T,
    ) -> T {
        if let Some(&entry) = self.literals.get(path) {
            return then(Some(&self.entries[entry]), None);
        }
        match &self.patterns.at(std::str::from_utf8(path).unwrap_or_default()) {
            Ok(matched) => then(Some(&self.entries[*matched.value]), Some(&matched.params)),
            Err(_) => then(None, None),
        }
    }

    /// Answers a request for a path that has no handler for its method.
    #[cold]
    fn answer_without_handler(&self, entry: Option<&Entry>, method: Method, response: &mut Response) {
        match entry {
            None => response.status(404),
            // RFC 9110 section 9.1: a method that is implemented nowhere is not merely not allowed here.
            Some(_) if method == Method::Other && !self.has_any => response.status(501),
            Some(entry) if method == Method::Options => response.status(204).field("Allow", &entry.allow),
            Some(entry) => response.status(405).field("Allow", &entry.allow),
        };
    }

    /// Answers `OPTIONS *`, which asks for the server as a whole.
    #[cold]
    fn answer_for_server(response: &mut Response) {
        let names: Vec<&str> = METHODS.into_iter().map(Method::as_str).collect();
        response.status(204).field("Allow", names.join(", "));
    }
}

impl Service for Router {
    #[inline]
    fn call(
        &mut self,
        parts: &RequestParts<'_>,
        connection: &ConnectionInfo,
        writer: &mut ResponseWriter<'_>,
    ) -> bool {
        let response = &mut Response::new(writer);
        if let Some(&entry) = self.literals.get(parts.path) {
            return self.answer(Some(entry), None, parts, connection, response);
        }
        let path = std::str::from_utf8(parts.path).unwrap_or_default();
        // By reference throughout: a match is large to move.
        match &self.patterns.at(path) {
            Ok(matched) => {
                self.answer(Some(*matched.value), Some(&matched.params), parts, connection, response)
            }
            Err(_) => self.answer(None, None, parts, connection, response),
        }
    }

    fn admit(&self, parts: &RequestParts<'_>) -> Admission {
        self.look_up(parts.path, |entry, _| {
            let limits = entry.and_then(|entry| entry.limits).unwrap_or(self.limits);
            let limits = BodyLimits {
                max_bytes: limits.max_request_body_size.unwrap_or(u64::MAX),
                min_rate: limits.min_request_body_data_rate.map(Rate::from),
            };
            match (entry, entry.and_then(|entry| entry.answer(parts.method))) {
                (_, Some(Answer::Whole(_))) => Admission::Whole(limits),
                (_, Some(Answer::Streaming(_))) => Admission::Stream(limits),
                (Some(_), None) => Admission::Unwanted,
                (None, None) if parts.form == TargetForm::Asterisk => Admission::Unwanted,
                (None, None) if parts.form == TargetForm::Authority => match self.connect {
                    Some(_) => Admission::Stream(limits),
                    None => Admission::Unwanted,
                },
                (None, None) if self.fallback.is_some() => Admission::Whole(limits),
                (None, None) => Admission::Unwanted,
            }
        })
    }

    fn stream(&mut self, parts: &RequestParts<'_>, exchange: Rc<Shared>) -> Streaming {
        self.look_up(parts.path, |entry, params| {
            let limits = entry.and_then(|entry| entry.limits).unwrap_or(self.limits);
            let handler = match entry.and_then(|entry| entry.answer(parts.method)) {
                Some(Answer::Streaming(handler)) => Some(handler),
                _ => self.connect.as_ref(),
            };
            let handler = handler.expect("only what `call` or `admit` has found to be streamed");
            Streaming {
                task: handler(Exchange::new(KeptHead::new(parts, params), exchange)),
                min_response_rate: limits.min_response_data_rate.map(Rate::from),
            }
        })
    }
}
