//! What a handler sees: requests, responses, bodies.
//!
//! Owns the public face of an exchange. It knows no protocol version, no descriptor, no ring and no buffer.

mod body;
mod request;
mod response;

pub use body::Body;
pub use peregrine_parser::{Method, Version};
pub use request::{Fields, QueryPairs, Request};
pub use response::{BodyWriter, Response};
