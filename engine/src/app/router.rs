//! From method and path to a handler.
//!
//! Templates are `/users/{id}` and `/files/{*rest}`; what is literal wins over what is a parameter. A path
//! without a route is 404, a route without the method 405 with `Allow`; HEAD falls back on GET, and OPTIONS
//! is answered with `Allow` unless a handler does it (RFC 9110 section 9.3.7).

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

fn slot(method: Method) -> Option<usize> {
    METHODS.iter().position(|&known| known == method)
}

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Router {
    entries: Vec<Entry>,
    paths: matchit::Router<usize>,
    fallback: Option<Handler>,
}

impl Router {
    /// Compiles the routes.
    ///
    /// # Errors
    /// The first route that is malformed, registered twice, or in conflict with another.
    pub(crate) fn new(routes: &[Route], fallback: Option<Handler>) -> Result<Self, RouteError> {
        let mut router = Self { entries: Vec::new(), paths: matchit::Router::new(), fallback };
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
                    router.paths.insert(template.as_str(), entry).map_err(|error| match error {
                        matchit::InsertError::Conflict { with } => {
                            refuse(format!("matches the same paths as {with:?}"))
                        }
                        error => refuse(format!("is malformed: {error}")),
                    })?;
                    router.entries.push(Entry::default());
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

    /// Answers a request for a path that has no handler for its method.
    #[cold]
    fn answer_without_handler(&self, entry: Option<&Entry>, method: Method, response: &mut Response) {
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
        let path = std::str::from_utf8(parts.path).unwrap_or_default();
        let matched = self.paths.at(path).ok();
        let entry = matched.as_ref().map(|matched| &self.entries[*matched.value]);
        let handler = entry.and_then(|entry| entry.handler(parts.method));
        let fallback = if entry.is_none() { self.fallback } else { None };
        match handler.or(fallback) {
            Some(handler) => {
                let params = matched.as_ref().map(|matched| &matched.params);
                handler(&Request::new(parts, params, connection), response);
            }
            None if parts.form == TargetForm::Asterisk => Self::answer_for_server(response),
            None => self.answer_without_handler(entry, parts.method, response),
        }
    }
}
