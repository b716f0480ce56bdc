//! What has become of handshakes and records: counted by the workers, read by anybody.
//!
//! Owns the numbers. It must not know who shows them, nor in which form.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a server has done for TLS since its start, over all workers. Every handshake is one of these in the end; Kestrel's
/// `failed-tls-handshakes` are the failed, the timed out and the abandoned together. The numbers are read one after the
/// other while the workers go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsMetrics {
    /// Handshakes that are going on (`current-tls-handshakes`).
    pub active_handshakes: u64,
    /// Handshakes that have come to a secured connection with certificates.
    pub full_handshakes: u64,
    /// Handshakes that have come to a secured connection by resuming a session.
    pub resumed_handshakes: u64,
    /// Handshakes that have failed, plain HTTP included.
    pub failed_handshakes: u64,
    /// Handshakes that have taken longer than [`TlsOptions::handshake_timeout`](crate::tls::TlsOptions::handshake_timeout).
    pub timed_out_handshakes: u64,
    /// Handshakes whose connection has ended before them, by either side.
    pub abandoned_handshakes: u64,
    /// Connections that were ended for a record that was broken or out of place.
    pub broken_connections: u64,
}

/// The numbers of one worker. It alone writes them; a line of the cache for each keeps others from slowing it down.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Tally {
    pub(super) active: Number,
    pub(super) full: Number,
    pub(super) resumed: Number,
    pub(super) failed: Number,
    pub(super) timed_out: Number,
    pub(super) abandoned: Number,
    pub(super) broken: Number,
}

impl Tally {
    /// The sums of several.
    pub(crate) fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> TlsMetrics {
        let mut sum = TlsMetrics::default();
        for tally in tallies {
            sum.active_handshakes += tally.active.get();
            sum.full_handshakes += tally.full.get();
            sum.resumed_handshakes += tally.resumed.get();
            sum.failed_handshakes += tally.failed.get();
            sum.timed_out_handshakes += tally.timed_out.get();
            sum.abandoned_handshakes += tally.abandoned.get();
            sum.broken_connections += tally.broken.get();
        }
        sum
    }
}

/// A number with one writer, which therefore needs no locked instruction.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn increase(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    pub(super) fn decrease(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_up() {
        let (one, other) = (Tally::default(), Tally::default());
        for _ in 0..3 {
            one.active.increase();
            other.full.increase();
        }
        one.active.decrease();
        other.active.increase();
        other.broken.increase();
        one.resumed.increase();
        let sum = Tally::sum([&one, &other]);
        let expected = TlsMetrics {
            active_handshakes: 3,
            full_handshakes: 3,
            resumed_handshakes: 1,
            broken_connections: 1,
            ..TlsMetrics::default()
        };
        assert_eq!(sum, expected);
    }
}
