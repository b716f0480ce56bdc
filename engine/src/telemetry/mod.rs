//! What the engine tells of itself.
//!
//! Owns the form of messages to whoever runs the server. It must not know how connections or handlers work.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many bytes of what a peer sent are shown.
const SHOWN_BYTES: usize = 128;

/// Messages of one kind, of which a second sees one at most, because peers may be able to cause as many as they like.
struct Seldom {
    /// When the last one was written, and how many were not since.
    last_second: AtomicU64,
    untold: AtomicU64,
}

impl Seldom {
    const fn new() -> Self {
        Self { last_second: AtomicU64::new(0), untold: AtomicU64::new(0) }
    }

    fn tell(&self, message: impl Display) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.last_second.swap(now, Ordering::Relaxed) == now {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let untold = self.untold.swap(0, Ordering::Relaxed);
        let mut out = std::io::stderr().lock();
        // A log that cannot be written is no reason for a worker to end.
        let _ = writeln!(out, "peregrine: {message}");
        if untold > 0 {
            let _ = writeln!(out, "peregrine: {untold} more like it went untold");
        }
    }
}

static HANDLERS: Seldom = Seldom::new();
static CONNECTIONS: Seldom = Seldom::new();

/// Says that a handler's response could not be sent as it was, and what it `did` instead.
#[cold]
pub(crate) fn handler_failed(path: &[u8], did: &str, failure: impl Display) {
    // What a peer sent is cut and escaped before it reaches a terminal.
    let path = String::from_utf8_lossy(&path[..path.len().min(SHOWN_BYTES)]).into_owned();
    HANDLERS.tell(format_args!("the handler of {path:?} {did}: {failure}"));
}

/// Says why a connection has ended that somebody will look for in the log: its client speaks another protocol, or could
/// not agree with us upon how to be secured.
#[cold]
pub(crate) fn connection_lost(peer: Option<SocketAddr>, why: impl Display) {
    match peer {
        Some(peer) => CONNECTIONS.tell(format_args!("a connection from {peer} is turned away: {why}")),
        // It came over a Unix socket, or has gone.
        None => CONNECTIONS.tell(format_args!("a connection is turned away: {why}")),
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

/// Says what has become of a certificate.
#[cfg(feature = "tls")]
#[cold]
pub(crate) fn certificates(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "peregrine: {line}");
}
