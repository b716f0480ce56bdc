//! What the engine tells of itself.
//!
//! Owns the form of messages to whoever runs the server. It must not know how connections or handlers work.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many bytes of what a peer sent are shown.
const SHOWN_BYTES: usize = 128;

/// The second in which the last message of this kind was written, and how many were not since.
static LAST_SECOND: AtomicU64 = AtomicU64::new(0);
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// Says that a handler's response could not be sent as it was, and what it `did` instead; once a second at most, because peers may be
/// able to make a handler fail as often as they like.
#[cold]
pub(crate) fn handler_failed(path: &[u8], did: &str, failure: impl Display) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if LAST_SECOND.swap(now, Ordering::Relaxed) == now {
        UNTOLD.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let untold = UNTOLD.swap(0, Ordering::Relaxed);
    // What a peer sent is cut and escaped before it reaches a terminal.
    let path = String::from_utf8_lossy(&path[..path.len().min(SHOWN_BYTES)]).into_owned();
    let mut out = std::io::stderr().lock();
    // A log that cannot be written is no reason for a worker to end.
    let _ = writeln!(out, "peregrine: the handler of {path:?} {did}: {failure}");
    if untold > 0 {
        let _ = writeln!(out, "peregrine: {untold} more like it went untold");
    }
}

/// Says that a request was refused, and why, with the first bytes of it: a line each, for whoever has asked for it.
#[cold]
pub(crate) fn request_rejected(status: u16, reason: impl Display, bytes: &[u8]) {
    let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
    let _ = writeln!(
        std::io::stderr().lock(),
        "peregrine: a request is refused with {status}: {reason}: \"{shown}\""
    );
}
