//! Finding the end of a token: one contract, and one file for each instruction set that fulfils it.
//!
//! It knows byte classes and processors. It must not know what a head is.
//!
//! A parser is written once, as a [`Task`] over any [`Scan`]. [`Simd::run`] branches once per call and
//! enters a function compiled for that level, into which the whole task is inlined: the scans cost no call.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
mod swar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse42;
#[cfg(test)]
mod tests;

pub(crate) use swar::{Portable, find_byte, find_either};

/// The scans of one level. A value of an implementing type proves that the processor has the level.
///
/// Each answers the offset in `bytes`, from `from` on, of the first byte that is not of the class;
/// `bytes.len()` if there is none. None reads outside `bytes`.
pub(crate) trait Scan: Copy {
    /// First byte that may not be part of a request target.
    fn target_end(self, bytes: &[u8], from: usize) -> usize;
    /// First byte that may not be part of a token.
    fn token_end(self, bytes: &[u8], from: usize) -> usize;
    /// First byte that may not be part of a field value: CTL but HTAB.
    fn value_end(self, bytes: &[u8], from: usize) -> usize;

    /// `token_end` and `value_end` of a line at once. No CTL is in a token, so both start at the same
    /// byte, share their load, and the end of the line does not wait for the colon.
    #[inline(always)]
    fn line_ends(self, bytes: &[u8], from: usize) -> (usize, usize) {
        let name_end = self.token_end(bytes, from);
        (name_end, self.value_end(bytes, name_end))
    }
}

/// What a scan passes over.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Copy, Clone)]
pub(crate) enum Class {
    /// Bytes of a request target.
    Target,
    /// Bytes of a token.
    Token,
    /// Bytes of a field value.
    Value,
}

/// Work to be compiled once for each level. `run` must be `#[inline(always)]`.
pub(crate) trait Task {
    /// What the work yields.
    type Output;
    /// Does it.
    fn run<S: Scan>(self, scan: S) -> Self::Output;
}

/// Which instructions the scans use. Holding a value proves that this processor has them, so choose once
/// per worker and pass it on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Simd(Level);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Sse42(sse42::Sse42),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl Simd {
    /// The best level of this processor. Without the feature `std`, the best that the build target grants.
    #[must_use]
    pub fn detect() -> Self {
        let mut best = Self::portable();
        for level in Self::available() {
            best = level;
        }
        best
    }

    /// Eight bytes at a time in ordinary registers; on every processor.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Level::Portable)
    }

    /// Every level of this processor, from the least to the best.
    pub fn available() -> impl Iterator<Item = Self> {
        let levels = [
            Some(Level::Portable),
            #[cfg(target_arch = "x86_64")]
            sse42::Sse42::detect().map(Level::Sse42),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Level::Avx2),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Level::Neon),
        ];
        levels.into_iter().flatten().map(Self)
    }

    /// The name of the level, for a log line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Sse42(_) => "sse4.2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => "neon",
        }
    }

    /// Runs `task` in a function compiled for this level.
    #[inline(always)]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Level::Portable => swar::enter(task),
            #[cfg(target_arch = "x86_64")]
            Level::Sse42(level) => sse42::enter(level, task),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(level) => avx2::enter(level, task),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(level) => neon::enter(level, task),
        }
    }
}
