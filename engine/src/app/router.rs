//! From method and path to a handler.
//!
//! What templates say and which of them wins is up to `template` and `tree`. A path without a route is 404, a
//! route without the method 405 with `Allow`; HEAD falls back on GET, and OPTIONS is answered with `Allow` unless
//! a handler does it (RFC 9110 section 9.3.7).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::handler::Endpoint;
use super::template::Template;
use super::tree::{Conflict, Tree, Unreachable};
use super::{Methods, Route, RouteError, RouteLimits, Routes};
use crate::http::{Method, PathParams, Response};

/// The methods that a route can name, in the order of `Allow`.
const METHODS: [Method; 7] =
    [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options];

/// The handlers of one path.
#[derive(Clone, Default)]
pub(super) struct Entry {
    by_method: [Option<Endpoint>; METHODS.len()],
    any: Option<Endpoint>,
    /// The value of `Allow`.
    allow: String,
    /// Own limits, if there are some.
    pub(super) limits: Option<RouteLimits>,
}

impl Entry {
    fn set(&mut self, methods: Methods, endpoint: Endpoint) -> bool {
        let place = match methods {
            Methods::Any => &mut self.any,
            Methods::One(method) => match slot(method) {
                Some(slot) => &mut self.by_method[slot],
                None => return false,
            },
        };
        place.replace(endpoint).is_none()
    }

    /// The handler for a method; HEAD is served by GET's.
    #[inline]
    pub(super) fn endpoint(&self, method: Method) -> Option<&Endpoint> {
        let own = slot(method).and_then(|slot| self.by_method[slot].as_ref());
        let get = || if method == Method::Head { self.by_method[0].as_ref() } else { None };
        own.or_else(get).or(self.any.as_ref())
    }

    fn write_allow(&mut self) {
        let has = |method| self.endpoint(method).is_some() || method == Method::Options;
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
    patterns: Tree<usize>,
    pub(super) fallback: Option<Endpoint>,
    pub(super) connect: Option<Endpoint>,
    /// Some route answers methods that have no name here.
    has_any: bool,
    pub(super) limits: RouteLimits,
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
            patterns: Tree::new(),
            fallback: from.fallback,
            connect: from.connect,
            has_any: from.routes.iter().any(|route| route.methods == Methods::Any),
            limits: from.limits,
        };
        let mut templates: Vec<&str> = Vec::new();
        for Route { methods, template, endpoint } in &from.routes {
            let refuse = |problem: String| RouteError { template: template.clone(), problem };
            let entry = match templates.iter().position(|known| known == template) {
                Some(entry) => entry,
                None => {
                    let entry = router.entries.len();
                    // Literals too, for what is malformed or in conflict.
                    let parsed = Template::parse(template).map_err(|error| refuse(error.to_string()))?;
                    let conflict = |Conflict { with }| refuse(format!("matches the same paths as {with:?}"));
                    router.patterns.insert(&parsed, entry).map_err(conflict)?;
                    router.entries.push(Entry::default());
                    if !template.contains(['{', '}']) {
                        router.literals.insert(template.as_bytes().into(), entry);
                    }
                    templates.push(template);
                    entry
                }
            };
            if !router.entries[entry].set(*methods, *endpoint) {
                return Err(refuse("is registered twice for the same method".into()));
            }
        }
        if let Some(Unreachable { template, by }) = router.patterns.unreachable() {
            let problem = format!("can not be reached: {by:?} matches all of its paths first");
            return Err(RouteError { template, problem });
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

    /// Looks a path up and calls `then` with what was found.
    #[inline]
    pub(super) fn look_up<T>(
        &self,
        path: &[u8],
        then: impl FnOnce(Option<&Entry>, Option<&PathParams<'_>>) -> T,
    ) -> T {
        if let Some(&entry) = self.literals.get(path) {
            return then(Some(&self.entries[entry]), None);
        }
        let mut params = PathParams::new();
        match self.patterns.at(std::str::from_utf8(path).unwrap_or_default(), &mut params) {
            Some(&entry) => then(Some(&self.entries[entry]), Some(&params)),
            None => then(None, None),
        }
    }

    /// Answers a request for a path that has no handler for its method.
    #[cold]
    pub(super) fn answer_without_handler(
        &self,
        entry: Option<&Entry>,
        method: Method,
        response: &mut Response<'_, '_>,
    ) {
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
    pub(super) fn answer_for_server(response: &mut Response<'_, '_>) {
        let names: Vec<&str> = METHODS.into_iter().map(Method::as_str).collect();
        response.status(204).field("Allow", names.join(", "));
    }
}
