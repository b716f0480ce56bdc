//! What a handler sees: requests, responses, bodies.
//!
//! Owns the public face of an exchange. It knows no protocol version, no descriptor, no ring and no buffer.

mod body;
mod context;
mod error;
mod exchange;
mod kept;
mod params;
mod reply;
mod request;
mod respond;
mod response;
mod stream;

pub use crate::conn::ExchangeError;
pub use body::Body;
pub(crate) use context::{Context, Need};
pub use context::{Needs, WorkerInfo};
pub use error::Error;
pub use exchange::{
    Chunk, Exchange, RequestBody, Responder, ResponseHead, ResponseStream, Upgraded, UpgradedReader,
    UpgradedWriter,
};
pub(crate) use kept::Kept;
pub(crate) use params::{PathParam, PathParams};
pub use peregrine_parser::{Method, Version};
pub use reply::Reply;
pub use request::{Fields, ParamPairs, QueryPairs, Request};
#[cfg(feature = "json")]
pub use respond::Json;
pub use respond::{Html, Redirect, Respond, Status};
pub use response::{BodyWriter, Response};
pub use stream::{Event, Sse, StreamBody};
