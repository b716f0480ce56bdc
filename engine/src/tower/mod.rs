//! Services of tower: what hyper, axum and their friends call an application.
//!
//! Owns everything about the types of the crates `http`, `http-body`, `bytes` and `tower-service`, which are only named
//! elsewhere: how a request becomes one of theirs (`request`), how its body is handed over (`body`), how a service is
//! called and what becomes of its response (`answering`). It must not know routes, or connections' states.

mod answering;
mod body;
mod request;

use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use tower_service::Service;

use answering::Answering;
pub use body::IncomingBody;

use crate::app::{MakeMount, Mount};
use crate::conn::{ConnectionInfo, Shared, Task, task};
use crate::proto::RequestParts;

/// Any error, as tower's friends hand it around.
type BoxError = Box<dyn Error + Send + Sync>;

/// The peer's address, among the extensions of each request that came over TCP. axum's `ConnectInfo` is a type of its
/// feature `tokio`, which an application can fill from this in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// A service on one worker.
struct Mounted<S> {
    service: S,
}

impl<S, B> Mount for Mounted<S>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    fn begin(
        &self,
        parts: &RequestParts<'_>,
        connection: &ConnectionInfo,
        slots: &peregrine_pool::Slots,
        shared: Option<Rc<Shared>>,
    ) -> Task {
        let (body, feeder) = body::incoming(parts, shared.is_some());
        let request = request::convert(parts, connection.peer_address(), body);
        let sends_trailers = request::takes_trailers(parts);
        task(slots, Answering::new(self.service.clone(), request, sends_trailers, shared, feeder))
    }
}

/// What makes a service of each worker.
pub(crate) fn mount<S, B>(service: S) -> MakeMount
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    // A service need not be `Sync`: it is only cloned under the lock.
    let service = Mutex::new(service);
    Arc::new(move || {
        let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Rc::new(Mounted { service })
    })
}
