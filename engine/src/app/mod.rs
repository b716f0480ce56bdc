//! The application: routes and handlers, compiled into one table of function pointers.
//!
//! Owns the path from a request to its handler. It must not know connections, drivers or descriptors.

mod router;
#[cfg(feature = "serde")]
#[cfg_attr(not(test), expect(dead_code, reason = "the extractors that read with it are not here yet"))]
mod values;

use std::pin::Pin;
use std::sync::Arc;

pub(crate) use router::Router;

use crate::http::{Exchange, Method, Outcome, Request, Response};
use crate::proto::MinDataRate;

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

/// A handler that is an `async` function, as a function that begins it.
pub(crate) type StreamingHandler =
    Arc<dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = Result<(), String>>>> + Send + Sync>;

/// Makes one kind of function of all that may handle an exchange.
pub(crate) fn streaming<H, F>(handler: H) -> StreamingHandler
where
    H: Fn(Exchange) -> F + Send + Sync + 'static,
    F: Future<Output: Outcome> + 'static,
{
    Arc::new(move |exchange| {
        let running = handler(exchange);
        Box::pin(async move { running.await.into_result() })
    })
}

/// What answers a request.
#[derive(Clone)]
pub(crate) enum Answer {
    Whole(Handler),
    Streaming(StreamingHandler),
}

/// One registration.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) methods: Methods,
    pub(crate) template: String,
    pub(crate) answer: Answer,
}

/// The limits of one route, where they differ from those of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteLimits {
    /// As [`Limits::max_request_body_size`](crate::Limits::max_request_body_size).
    pub max_request_body_size: Option<u64>,
    /// As [`Limits::min_request_body_data_rate`](crate::Limits::min_request_body_data_rate).
    pub min_request_body_data_rate: Option<MinDataRate>,
    /// As [`Limits::min_response_data_rate`](crate::Limits::min_response_data_rate). For streaming handlers:
    /// other responses share their sends with those of other routes, and have the server's.
    pub min_response_data_rate: Option<MinDataRate>,
}

/// Everything that a router is made of.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Route>,
    pub(crate) fallback: Option<Handler>,
    pub(crate) connect: Option<StreamingHandler>,
    /// Those of the server, and those of templates.
    pub(crate) limits: RouteLimits,
    pub(crate) own_limits: Vec<(String, RouteLimits)>,
}

/// Why a route cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteError {
    pub(crate) template: String,
    /// In words that follow the template.
    pub(crate) problem: String,
}
