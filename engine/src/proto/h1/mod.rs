//! HTTP/1.1 (RFC 9112): requests in, responses out, no sockets.

mod body;
mod buffer;
mod encoder;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
#[cfg(any(feature = "tower", test))]
mod given;
pub(crate) mod machine;
pub(crate) mod response;

pub(crate) use body::BodyDecoder;
pub(crate) use encoder::{BodyEncoder, CHUNK_LINE_BYTES_MAX, StreamError};
#[cfg(feature = "tower")]
pub(crate) use given::{Extent, GivenHead};
pub(crate) use machine::{BodyLimits, Machine, MachineLimits, Progress};
pub(crate) use response::{Draft, Finished, KnownType, Preamble, ResponseWriter, Terms};
