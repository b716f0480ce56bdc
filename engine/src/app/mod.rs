//! The application: handlers of many forms and their routes, compiled into one table of function pointers.
//!
//! Owns the path from a request to its handler, and from the handler's value to the response. The parts: `handler`
//! compiles functions, with the one unsafe step in `item`; `extract` holds what they take; `middleware` stands around
//! them; `registry` keeps what was registered, `router` finds it; `service` is all of it for one worker, `mount` the
//! part that another library plays. It must not know connections' states, drivers or descriptors.

mod constraint;
mod extract;
mod handler;
mod item;
mod literals;
pub mod middleware;
#[cfg(feature = "tower")]
mod mount;
mod pattern;
mod reader;
mod registry;
mod router;
mod service;
mod template;
#[cfg(test)]
mod tests;
mod tree;
#[cfg(feature = "serde")]
mod values;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

#[cfg(feature = "cookies")]
pub use extract::Cookies;
#[cfg(feature = "tls")]
pub use extract::Tls;
pub use extract::{Extension, FieldValue, FromRequest, Header, Peer, Shared, State};
#[cfg(feature = "serde")]
pub use extract::{Form, Path, Query};
#[cfg(feature = "multipart")]
pub use extract::{Multipart, Part, PartChunk};
pub use handler::{Endpoint, Handler};
pub use middleware::{Middleware, Next};
#[cfg(feature = "tower")]
pub(crate) use mount::{MakeMount, Mount};
pub use registry::Group;
pub(crate) use registry::{Listed, ROOT, Registry, registers};
pub(crate) use router::Router;
pub(crate) use service::{AppService, Blueprint};

use crate::http::{Method, WorkerInfo};
use crate::proto::MinDataRate;

/// A set of methods, for a route that answers all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    One(Method),
    Any,
}

/// Makes the state of one worker.
pub(crate) type MakeState = Arc<dyn Fn(&WorkerInfo) -> Rc<dyn Any> + Send + Sync>;

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

/// Why a route cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteError {
    pub(crate) template: String,
    /// In words that follow the template.
    pub(crate) problem: String,
}
