//! HTTP/1.1 (RFC 9112): requests in, responses out, no sockets.

pub(crate) mod machine;
pub(crate) mod response;

pub(crate) use machine::{Machine, MachineLimits, Progress};
pub(crate) use response::{Finished, KnownType, Preamble, ResponseWriter, Terms};
