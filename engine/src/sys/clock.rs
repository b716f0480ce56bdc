//! The two clocks, read through the vDSO: no system call.

/// The two clocks as they stood at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds of the monotonic clock.
    pub(crate) millis: u64,
    /// Seconds since 1970, for `Date`.
    pub(crate) unix_seconds: u64,
}

/// Reads both clocks, the coarse ones: their step (1 to 4 ms) is finer than any timer here, and they are
/// read once per loop turn.
pub(crate) fn now() -> Now {
    let monotonic = read(libc::CLOCK_MONOTONIC_COARSE);
    let real = read(libc::CLOCK_REALTIME_COARSE);
    Now {
        millis: monotonic.tv_sec.cast_unsigned() * 1000 + monotonic.tv_nsec.cast_unsigned() / 1_000_000,
        unix_seconds: u64::try_from(real.tv_sec).unwrap_or(0),
    }
}

/// Nanoseconds of the precise monotonic clock, for busy polling.
pub(crate) fn precise_nanos() -> u64 {
    let monotonic = read(libc::CLOCK_MONOTONIC);
    monotonic.tv_sec.cast_unsigned() * 1_000_000_000 + monotonic.tv_nsec.cast_unsigned()
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the write; the call has no other effect.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}
