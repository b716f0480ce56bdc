//! From method and path to a handler.
//!
//! Templates are `/users/{id}` and `/files/{*rest}`; what is literal wins over what is a parameter. A path
//! without a route is 404, a route without the method 405 with `Allow`; HEAD falls back on GET, and OPTIONS
//! is answered with `Allow` unless a handler does it (RFC 9110 section 9.3.7).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use peregrine_parser::TargetForm;

use super::{Handler, Methods, Route, RouteError};
use crate::conn::{ConnectionInfo, Service};
use crate::http::{Method, Request, Response};
use crate::proto::RequestParts;
use crate::proto::h1::ResponseWriter;

/// The methods that a route can name, in the order of `Allow`.
const METHODS: [Method; 7] =
    [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options];

/// The handlers of one path.
#[derive(Clone, Default)]
struct Entry {
    by_method: [Option<Handler>; METHODS.len()],
    any: Option<Handler>,
    /// The value of `Allow`.
    allow: String,
}

impl Entry {
    fn set(&mut self, methods: Methods, handler: Handler) -> bool {
        let place = match methods {
            Methods::Any => &mut self.any,
            Methods::One(method) => match slot(method) {
                Some(slot) => &mut self.by_method[slot],
                None => return false,
            },
        };
        place.replace(handler).is_none()
    }

    /// The handler for a method; HEAD is served by GET's.
    #[inline]
    fn handler(&self, method: Method) -> Option<Handler> {
        let own = slot(method).and_then(|slot| self.by_method[slot]);
        let get = || if method == Method::Head { self.by_method[0] } else { None };
        own.or_else(get).or(self.any)
    }

    fn write_allow(&mut self) {
        let has = |method| self.handler(method).is_some() || method == Method::Options;
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
}

impl Router {
    /// Compiles the routes.
    ///
    /// # Errors
    /// The first route that is malformed, registered twice, or in conflict with another.
    pub(crate) fn new(routes: &[Route], fallback: Option<Handler>) -> Result<Self, RouteError> {
        let mut router = Self {
            entries: Vec::new(),
            literals: HashMap::default(),
            patterns: matchit::Router::new(),
            fallback,
        };
        let mut templates: Vec<&str> = Vec::new();
        for Route { methods, template, handler } in routes {
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
            if !router.entries[entry].set(*methods, *handler) {
                return Err(refuse("is registered twice for the same method".into()));
            }
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
    ) {
        let entry = entry.map(|entry| &self.entries[entry]);
        let handler = match entry {
            Some(entry) => entry.handler(parts.method),
            // No handler makes a tunnel: a 2xx to CONNECT would promise one (RFC 9110 section 9.3.6).
            None if matches!(parts.form, TargetForm::Asterisk | TargetForm::Authority) => None,
            None => self.fallback,
        };
        match handler {
            Some(handler) => handler(&Request::new(parts, params, connection), response),
            None if parts.form == TargetForm::Asterisk => Self::answer_for_server(response),
            None => Self::answer_without_handler(entry, parts.method, response),
        }
    }

    /// Answers a request for a path that has no handler for its method.
    #[cold]
    fn answer_without_handler(entry: Option<&Entry>, method: Method, response: &mut Response) {
        match entry {
            None => response.status(404),
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
    ) {
        let response = &mut Response::new(writer);
        if let Some(&entry) = self.literals.get(parts.path) {
            return self.answer(Some(entry), None, parts, connection, response);
        }
        let path = std::str::from_utf8(parts.path).unwrap_or_default();
        // By reference throughout: a match is large to move.
        match &self.patterns.at(path) {
            Ok(matched) => {
                self.answer(Some(*matched.value), Some(&matched.params), parts, connection, response);
            }
            Err(_) => self.answer(None, None, parts, connection, response),
        }
    }
}
