//! Services of tower in an application.
//!
//! Owns how they are registered. It must not know how they are called.

use std::error::Error;

use tower_service::Service;

use super::App;
use crate::app::{Endpoint, Methods, ROOT};
use crate::tower::{IncomingBody, mount};

impl App {
    /// Answers what no template matches by a service of tower, whatever its method: an axum `Router`, say, with its
    /// layers.
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    ///
    /// let mut app = peregrine::App::new();
    /// app.get("/here", || "answered by the engine");
    /// app.tower(Router::new().route("/", get(|| async { "answered by axum" })));
    /// ```
    ///
    /// The service is cloned for each worker and for each request; its futures run on the worker and need not be `Send`.
    /// They run without a runtime of tokio: what needs one, its timers, sockets and `spawn`, panics. Of the layers of
    /// tower-http that is `Timeout`.
    ///
    /// - The request's target is as it came, its extensions hold a [`PeerAddr`](crate::tower::PeerAddr).
    /// - A response's fields are sent in its order and letter case, framed as hyper does it. `Transfer-Encoding`, and of
    ///   `Connection` all but `close`, are the engine's. Trailers are sent to a client that takes them
    ///   (`TE: trailers`).
    /// - Bodies are streamed both ways. When the client disconnects, the service's future and the bodies are dropped.
    ///   A service's error is answered with 500; that of a response's body, once the head is out, aborts the
    ///   connection.
    /// - The server's [`Limits`](crate::Limits) hold before those of layers.
    /// - CONNECT and `OPTIONS *` do not come here, and there are no upgrades.
    /// - Middleware of the engine cannot stand around a service: use layers. An application with both does not start.
    pub fn tower<S, B>(&mut self, service: S) -> &mut Self
    where
        S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: http_body::Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let endpoint = self.mount(service);
        self.registry.set_fallback(ROOT, endpoint);
        self
    }

    /// The same for the paths that match a template, as in [`get`](Self::get), and for all methods that have no handler
    /// there. The service sees the whole path: to take a prefix off, nest it in an axum `Router`.
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    ///
    /// let api = Router::new().route("/users", get(|| async { "nobody" }));
    /// let mut app = peregrine::App::new();
    /// app.tower_at("/api/{*rest}", Router::new().nest("/api", api));
    /// ```
    pub fn tower_at<S, B>(&mut self, template: &str, service: S) -> &mut Self
    where
        S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: http_body::Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let endpoint = self.mount(service);
        self.registry.add(ROOT, Methods::Any, template, endpoint);
        self
    }

    fn mount<S, B>(&mut self, service: S) -> Endpoint
    where
        S: Service<http::Request<IncomingBody>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: http_body::Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.mounts.push(mount(service));
        Endpoint::mounted(self.mounts.len() - 1)
    }
}
