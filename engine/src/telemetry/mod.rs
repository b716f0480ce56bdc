//! What the engine tells of itself.
//!
//! Owns the form of messages to whoever runs the server. It must not know how connections or handlers work.

use std::fmt::Display;

/// So many bytes of what a peer sent are shown.
const SHOWN_BYTES: usize = 128;

/// Says that a handler's response could not be sent as it was.
#[cold]
pub(crate) fn handler_failed(path: &[u8], failure: impl Display) {
    // What a peer sent is cut and escaped before it reaches a terminal.
    let path = String::from_utf8_lossy(&path[..path.len().min(SHOWN_BYTES)]).into_owned();
    eprintln!("peregrine: the handler of {path:?} answered 500: {failure}");
}
