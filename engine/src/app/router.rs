//! From method and path to a handler.
//!
//! What templates say and which of them wins is up to `template` and `tree`. A path without a route is 404, a
//! route without the method 405 with `Allow`; HEAD falls back on GET, and OPTIONS is answered with `Allow` unless
//! a handler does it (RFC 9110 section 9.3.7).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use std::sync::Arc;

use super::handler::Call;
use super::middleware::Chain;
use super::template::Template;
use super::tree::{Conflict, Tree, Unreachable};
use super::{Methods, RouteError, RouteLimits};
use crate::http::{Method, PathParams, Response};

/// The methods that a route can name, in the order of `Allow`.
const METHODS: [Method; 7] =
    [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options];

/// What handles requests: a handler, or middleware around one.
#[derive(Clone)]
pub(crate) enum Resolved {
    Plain(Call),
    Chained(Arc<Chain>),
}

impl Resolved {
    /// Whether it reads or writes bodies in pieces.
    pub(super) fn streams(&self) -> bool {
        match self {
            Self::Plain(call) => call.streams(),
            Self::Chained(chain) => chain.streams(),
        }
    }
}

/// The handlers of one path.
#[derive(Clone, Default)]
pub(super) struct Entry {
    by_method: [Option<Resolved>; METHODS.len()],
    any: Option<Resolved>,
    /// The value of `Allow`.
    allow: String,
    /// Own limits, if there are some.
    pub(super) limits: Option<RouteLimits>,
}

impl Entry {
    fn set(&mut self, methods: Methods, resolved: Resolved) -> bool {
        let place = match methods {
            Methods::Any => &mut self.any,
            Methods::One(method) => match slot(method) {
                Some(slot) => &mut self.by_method[slot],
                None => return false,
            },
        };
        place.replace(resolved).is_none()
    }

    /// The handler for a method; HEAD is served by GET's.
    #[inline]
    pub(super) fn handler(&self, method: Method) -> Option<&Resolved> {
        let own = slot(method).and_then(|slot| self.by_method[slot].as_ref());
        let get = || if method == Method::Head { self.by_method[0].as_ref() } else { None };
        own.or_else(get).or(self.any.as_ref())
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
    patterns: Tree<usize>,
    /// Of each entry, to find it again.
    templates: Vec<String>,
    fallback: Option<Resolved>,
    /// Those of groups, with the limits of theirs.
    fallbacks: Vec<(Resolved, RouteLimits)>,
    below: Tree<usize>,
    pub(super) connect: Option<Resolved>,
    /// What stands around the answers to requests that have no handler.
    pub(super) nobody: Option<Arc<Chain>>,
    /// Some route answers methods that have no name here.
    has_any: bool,
    pub(super) limits: RouteLimits,
}

impl Router {
    /// A router without routes; `limits` are those of the server.
    pub(crate) fn new(limits: RouteLimits) -> Self {
        Self {
            entries: Vec::new(),
            literals: HashMap::default(),
            patterns: Tree::new(),
            templates: Vec::new(),
            fallback: None,
            fallbacks: Vec::new(),
            below: Tree::new(),
            connect: None,
            nobody: None,
            has_any: false,
            limits,
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// It is malformed, registered twice, or in conflict with another.
    pub(crate) fn add(
        &mut self,
        methods: Methods,
        template: &str,
        resolved: Resolved,
    ) -> Result<(), RouteError> {
        let refuse = |problem: String| RouteError { template: template.to_owned(), problem };
        let entry = match self.templates.iter().position(|known| known == template) {
            Some(entry) => entry,
            None => {
                let entry = self.entries.len();
                // Literals too, for what is malformed or in conflict.
                let parsed = Template::parse(template).map_err(|error| refuse(error.to_string()))?;
                let conflict = |Conflict { with }| refuse(format!("matches the same paths as {with:?}"));
                self.patterns.insert(&parsed, entry).map_err(conflict)?;
                self.entries.push(Entry::default());
                if !template.contains(['{', '}']) {
                    self.literals.insert(template.as_bytes().into(), entry);
                }
                self.templates.push(template.to_owned());
                entry
            }
        };
        self.has_any |= methods == Methods::Any;
        if self.entries[entry].set(methods, resolved) {
            Ok(())
        } else {
            Err(refuse("is registered twice for the same method".into()))
        }
    }

    /// Sets the limits of a template.
    ///
    /// # Errors
    /// It has no route.
    pub(crate) fn limit(&mut self, template: &str, limits: RouteLimits) -> Result<(), RouteError> {
        let Some(entry) = self.templates.iter().position(|known| known == template) else {
            let problem = "has limits, but no handler".into();
            return Err(RouteError { template: template.to_owned(), problem });
        };
        self.entries[entry].limits = Some(limits);
        Ok(())
    }

    /// Sets what answers the paths below a prefix that no route matches; without a prefix all paths.
    ///
    /// # Errors
    /// The prefix is malformed, or another group of the same prefix has a fallback.
    pub(crate) fn set_fallback(
        &mut self,
        prefix: &str,
        resolved: Resolved,
        limits: RouteLimits,
    ) -> Result<(), RouteError> {
        if prefix.is_empty() {
            self.fallback = Some(resolved);
            return Ok(());
        }
        let refuse = |problem: String| RouteError { template: prefix.to_owned(), problem };
        let number = self.fallbacks.len();
        self.fallbacks.push((resolved, limits));
        for template in [prefix.to_owned(), format!("{prefix}/"), format!("{prefix}/{{*}}")] {
            // The rest needs a name that no parameter has.
            let template = template.replace("{*}", "{*rest-of-the-group}");
            let parsed = Template::parse(&template).map_err(|error| refuse(error.to_string()))?;
            let conflict = |_| refuse("has two fallbacks".into());
            self.below.insert(&parsed, number).map_err(conflict)?;
        }
        Ok(())
    }

    pub(crate) fn set_connect(&mut self, resolved: Resolved) {
        self.connect = Some(resolved);
    }

    pub(crate) fn set_nobody(&mut self, chain: Arc<Chain>) {
        self.nobody = Some(chain);
    }

    /// Checks the routes as a whole.
    ///
    /// # Errors
    /// A route that can never be reached.
    pub(crate) fn finish(&mut self) -> Result<(), RouteError> {
        if let Some(Unreachable { template, by }) = self.patterns.unreachable() {
            let problem = format!("can not be reached: {by:?} matches all of its paths first");
            return Err(RouteError { template, problem });
        }
        self.entries.iter_mut().for_each(Entry::write_allow);
        Ok(())
    }

    /// What answers a path that no route matches, within which limits.
    pub(super) fn fallback(&self, path: &[u8]) -> Option<(&Resolved, RouteLimits)> {
        if !self.fallbacks.is_empty() {
            let path = std::str::from_utf8(path).unwrap_or_default();
            if let Some(&number) = self.below.at(path, &mut PathParams::new()) {
                let (resolved, limits) = &self.fallbacks[number];
                return Some((resolved, *limits));
            }
        }
        Some((self.fallback.as_ref()?, self.limits))
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

    /// The status, and perhaps `Allow`, of a request for a path that has no handler for its method.
    #[cold]
    pub(super) fn refusal<'a>(&self, entry: Option<&'a Entry>, method: Method) -> (u16, Option<&'a str>) {
        match entry {
            None => (404, None),
            // RFC 9110 section 9.1: a method that is implemented nowhere is not merely not allowed here.
            Some(_) if method == Method::Other && !self.has_any => (501, None),
            Some(entry) if method == Method::Options => (204, Some(&entry.allow)),
            Some(entry) => (405, Some(&entry.allow)),
        }
    }

    /// Answers such a request.
    #[cold]
    pub(super) fn answer_without_handler(
        &self,
        entry: Option<&Entry>,
        method: Method,
        response: &mut Response<'_, '_>,
    ) {
        let (status, allow) = self.refusal(entry, method);
        response.status(status);
        if let Some(allow) = allow {
            response.field("Allow", allow);
        }
    }

    /// Answers `OPTIONS *`, which asks for the server as a whole.
    #[cold]
    pub(super) fn answer_for_server(response: &mut Response<'_, '_>) {
        let names: Vec<&str> = METHODS.into_iter().map(Method::as_str).collect();
        response.status(204).field("Allow", names.join(", "));
    }
}
