//! Peregrine: an HTTP server engine for Linux. One pinned thread and one io_uring per core, requests parsed
//! where the kernel put them, handlers that are plain functions.
//!
//! ```no_run
//! use peregrine::prelude::*;
//!
//! fn hello(_: &Request, response: &mut Response) {
//!     response.text("Hello, World!");
//! }
//!
//! fn main() -> Result<()> {
//!     let mut app = App::from_args()?; // flags and environment
//!     app.get("/", hello);
//!     app.run() // Ctrl+C drains
//! }
//! ```
//!
//! # Inside tokio
//!
//! With the feature `tokio`, handlers, middleware, state and tasks of [`spawn`] run inside a runtime of tokio's, so that
//! what needs one works in them: `tokio::net`, `tokio::time`, `tokio::spawn`, and the clients that are built on these,
//! as reqwest, sqlx and redis. Each server starts one of its own ([`Options`] says with how many threads) and ends it
//! when its workers have ended; each [client](App::client) of a test does the same. Where the application starts the
//! server inside a runtime of several threads, that one is used instead, and stays.
//!
//! Handlers stay on their worker; the sockets and timers of tokio are watched by its thread. So each event of theirs
//! costs a wake-up from that thread to the worker, mostly a system call and a change of threads, some microseconds,
//! which [`net`] and [`sleep`] do not. What is started by `tokio::spawn` runs on tokio's threads, must be `Send`, and is
//! dropped where it stands when the server has drained, unless a handler waits for it. A guard of `Handle::enter` must
//! not be kept over an `await`: handlers take turns on a thread.
//!
//! The rooms, from the kernel up: `sys` (system calls), `driver` (completions), `proto` (protocol machines),
//! `conn` (connections), [`http`] (what a handler sees), `app` (routes), `tower` (services of others), `host` (options, workers, life).

#[cfg(all(doctest, feature = "cli"))]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The pages of the guide, each of whose programs must compile.
#[cfg(all(
    doctest,
    feature = "cli",
    feature = "cookies",
    feature = "json",
    feature = "multipart",
    feature = "regex",
    feature = "tower"
))]
mod guide {
    #[doc = include_str!("../../docs/guide/routing.md")]
    mod routing {}
    #[doc = include_str!("../../docs/guide/extractors.md")]
    mod extractors {}
    #[doc = include_str!("../../docs/guide/state.md")]
    mod state {}
    #[doc = include_str!("../../docs/guide/errors.md")]
    mod errors {}
    #[doc = include_str!("../../docs/guide/async.md")]
    mod async_handlers {}
    #[doc = include_str!("../../docs/guide/streaming.md")]
    mod streaming {}
    #[doc = include_str!("../../docs/guide/middleware.md")]
    mod middleware {}
    #[doc = include_str!("../../docs/guide/testing.md")]
    mod testing {}
    #[doc = include_str!("../../docs/guide/tower.md")]
    mod tower {}
}

mod app;
mod conn;
mod driver;
mod host;
pub mod http;
mod proto;
mod runtime;
mod sys;
mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(feature = "cookies")]
pub use app::Cookies;
#[cfg(feature = "tls")]
pub use app::Tls;
pub use app::{
    Endpoint, Extension, FieldValue, FromRequest, Group, Handler, Header, Middleware, Next, Peer,
    RouteLimits, Shared, State, middleware,
};
#[cfg(feature = "serde")]
pub use app::{Form, Path, Query};
#[cfg(feature = "multipart")]
pub use app::{Multipart, Part, PartChunk};
#[cfg(feature = "cookies")]
pub use cookie::Cookie;
#[cfg(feature = "cli")]
pub use host::Flags;
pub use host::{App, CpuList, DriverChoice, Limits, Options, Server, StartError};
#[cfg(feature = "json")]
pub use http::Json;
pub use http::{
    Body, Error, Event, Exchange, ExchangeError, Html, Method, Redirect, Reply, Request, RequestBody,
    Respond, Response, Sse, Status, StreamBody, Version, WorkerInfo,
};
pub use proto::{FieldError, MinDataRate};
pub use runtime::{
    Answer, Blocking, Cancelled, Deferred, Elapsed, Interval, JoinError, JoinHandle, Sleep, Timeout,
    blocking, deferred, detach, fs, interval, net, resolve, sleep, spawn, timeout,
};

/// Applications tested without sockets: see [`App::client`].
pub mod testing {
    pub use crate::host::{Pending, TestClient, TestRequest, TestResponse};
}

/// What fuzz targets call; nothing for users.
#[cfg(fuzzing)]
pub mod fuzz {
    /// Any bytes as requests of a machine.
    pub fn machine(data: &[u8]) {
        crate::proto::h1::fuzz::compare(data);
    }

    /// Any bytes as a script of peers, kernel and time.
    pub fn connections(data: &[u8]) {
        crate::conn::fuzz::play(data);
    }

    /// Any bytes as a script of a secured connection's peer, wire and owner.
    #[cfg(feature = "tls")]
    pub fn records(data: &[u8]) {
        crate::tls::stage::fuzz::play(data);
    }
}

/// The result of a handler, and of running a server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What most applications need: `use peregrine::prelude::*`.
pub mod prelude {
    #[cfg(feature = "json")]
    pub use crate::Json;
    #[cfg(feature = "tls")]
    pub use crate::Tls;
    pub use crate::{
        App, Body, Error, Exchange, ExchangeError, FromRequest, Handler, Header, Html, Method, Next, Peer,
        Redirect, Reply, Request, RequestBody, Respond, Response, Result, Shared, State, Status,
    };
    #[cfg(feature = "serde")]
    pub use crate::{Form, Path, Query};
}
