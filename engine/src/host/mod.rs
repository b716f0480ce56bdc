//! The host: options, addresses, workers, and a server's life from start to drain.
//!
//! Owns everything that happens once per process or per worker. It must not know what a request is.

mod address;
mod app;
mod banner;
mod client;
mod error;
#[cfg(feature = "cli")]
mod flags;
mod limits;
mod listener;
#[cfg(feature = "tower")]
mod mount;
mod options;
mod placement;
mod reactor;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod settings;
mod worker;

pub use app::App;
pub use client::{Pending, TestClient, TestRequest, TestResponse};
pub use error::StartError;
#[cfg(feature = "cli")]
pub use flags::Flags;
pub use limits::Limits;
pub use options::{DriverChoice, Options};
pub use placement::CpuList;
pub use server::Server;
