//! What a handler sees: requests, responses, bodies.
//!
//! Owns the public face of an exchange. It knows no protocol version, no descriptor, no ring and no buffer.

mod body;
mod exchange;
mod request;
mod response;

pub use crate::conn::ExchangeError;
pub use body::Body;
pub use exchange::{
    Chunk, Exchange, Outcome, RequestBody, ResponseHead, ResponseStream, Upgraded, UpgradedReader,
    UpgradedWriter,
};
pub use peregrine_parser::{Method, Version};
pub(crate) use request::KeptHead;
pub use request::{Fields, QueryPairs, Request};
pub use response::{BodyWriter, Response};
