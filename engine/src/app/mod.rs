//! The application: routes and handlers, compiled into one table of function pointers.
//!
//! Owns the path from a request to its handler. It must not know connections, drivers or descriptors.

mod router;

pub(crate) use router::Router;

use crate::http::{Method, Request, Response};

/// A handler: a function, or a closure that captures nothing.
///
/// It runs on the thread of the worker that received the request, and that worker's other connections wait for
/// it meanwhile: a handler that blocks (on a lock, a file, a database) stops all of them. What takes long
/// belongs on threads of its own, with the answer ready when it is asked for.
///
/// A panic is answered with 500 and ends the connection; the worker lives on. This needs `panic = "unwind"`,
/// the default of every profile: with `abort` a panic ends the process.
pub type Handler = fn(&Request, &mut Response);

/// A set of methods, for a route that answers all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    One(Method),
    Any,
}

/// One registration.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) methods: Methods,
    pub(crate) template: String,
    pub(crate) handler: Handler,
}

/// Why a route cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteError {
    pub(crate) template: String,
    /// In words that follow the template.
    pub(crate) problem: String,
}
