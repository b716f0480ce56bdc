//! TLS between sockets and connections: certificates, handshakes by rustls, records by the engine.
//!
//! Owns what is secret and how it is loaded. It must not know HTTP, nor what a connection does with its bytes.

mod certificate;
pub(crate) mod context;
#[doc(hidden)]
pub mod development;
mod files;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "tests use more of it than fuzz targets"))]
mod fixtures;
mod handshake;
mod hello;
pub(crate) mod metrics;
pub(crate) mod offload;
mod options;
mod record;
pub(crate) mod stage;
pub(crate) mod watch;

pub use crate::driver::secure::TlsInfo;
pub use metrics::TlsMetrics;
pub use options::{Certificate, CertificateSource, ClientCertificates, TlsName, TlsOptions, TlsVersion};
