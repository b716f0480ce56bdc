//! TLS between sockets and connections: certificates, handshakes by rustls, records by the engine.
//!
//! Owns what is secret and how it is loaded. It must not know HTTP, nor what a connection does with its bytes.

mod certificate;
#[cfg_attr(not(test), expect(dead_code, reason = "the stage that takes these comes next"))]
mod context;
mod files;
#[cfg(test)]
mod fixtures;
#[doc(hidden)]
pub mod development;
mod options;
#[cfg_attr(not(test), expect(dead_code, reason = "the stage that takes these comes next"))]
mod watch;

pub use options::{Certificate, CertificateSource, ClientCertificates, TlsName, TlsOptions, TlsVersion};
