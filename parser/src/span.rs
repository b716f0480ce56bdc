//! Offsets into a message, and the answer "not all here yet".
//!
//! A span must not know which buffer it points into: that is what lets a head survive a move of its bytes.

/// A run of bytes: offset and length, in bytes, relative to the first byte of the message it was parsed from.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The span of `len` bytes from `start`.
    #[inline]
    #[must_use]
    pub const fn new(start: u32, len: u32) -> Self {
        Self { start, len }
    }

    /// The span from `start` up to, not including, `end`; empty if `end` lies before `start`.
    #[inline]
    #[must_use]
    pub const fn between(start: u32, end: u32) -> Self {
        Self { start, len: end.saturating_sub(start) }
    }

    /// Offset of the byte after the last one.
    #[inline]
    #[must_use]
    pub const fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// Whether it covers no byte.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes it covers in `bytes`; an empty slice if they are not all there.
    #[inline]
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end() as usize).unwrap_or_default()
    }

    /// As [`Span::of`], to change the bytes in place.
    #[inline]
    #[must_use]
    pub fn of_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        bytes.get_mut(self.start as usize..self.end() as usize).unwrap_or_default()
    }

    /// A span of offsets that fit 32 bits: every window of the parser ends below 4 GiB.
    #[inline(always)]
    pub(crate) const fn from_offsets(start: usize, end: usize) -> Self {
        debug_assert!(end <= u32::MAX as usize);
        Self::between(start as u32, end as u32)
    }
}

/// What a resumable parse has reached. Partial is not an error.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Status<T> {
    /// All of it was there.
    Complete(T),
    /// Call again with the same bytes and more after them.
    Partial,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_out_of_range_is_empty_and_does_not_panic() {
        assert_eq!(Span::new(1, 2).of(b"abcd"), b"bc");
        assert_eq!(Span::new(3, 2).of(b"abcd"), b"");
        assert_eq!(Span::new(u32::MAX, u32::MAX).of(b"abcd"), b"");
        assert_eq!(Span::between(5, 3), Span::new(5, 0));
        let mut bytes = *b"abcd";
        Span::new(1, 1).of_mut(&mut bytes).fill(b'x');
        assert_eq!(&bytes, b"axcd");
        assert!(Span::new(9, 1).of_mut(&mut bytes).is_empty());
    }
}
