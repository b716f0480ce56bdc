//! A shelf of values that are dear to make and cheap to use again, such as grown `Vec<u8>`s.
//!
//! Owns: the values between two uses. Must not know: how to make or clean one.

/// A bounded last-in, first-out shelf: the value given back last, still in the cache, is taken first.
#[derive(Debug)]
pub struct Spare<T> {
    values: Vec<T>,
    max: usize,
}

impl<T> Spare<T> {
    /// A shelf that keeps at most `max` values. Allocates nothing before the first [`Spare::give`].
    #[must_use]
    pub fn new(max: usize) -> Spare<T> {
        Spare { values: Vec::new(), max }
    }

    /// The warmest spare value, or what `make` makes when there is none.
    ///
    /// The value is as it was given back: whoever needs a clean one cleans it.
    #[inline]
    pub fn take_or(&mut self, make: impl FnOnce() -> T) -> T {
        self.values.pop().unwrap_or_else(make)
    }

    /// The warmest spare value, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        self.values.pop()
    }

    /// Keeps `value` for later, or drops it when `max` values are kept already.
    #[inline]
    pub fn give(&mut self, value: T) {
        if self.values.len() < self.max {
            self.values.push(value);
        }
    }

    /// Drops the coldest values until at most `keep` are left.
    pub fn trim(&mut self, keep: usize) {
        let surplus = self.values.len().saturating_sub(keep);
        self.values.drain(..surplus);
        self.values.shrink_to_fit();
    }

    /// How many values are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no value is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_given_is_first_taken() {
        let mut spare = Spare::new(2);
        assert_eq!(spare.take_or(|| 9), 9);
        spare.give(1);
        spare.give(2);
        spare.give(3);
        assert_eq!(spare.len(), 2);
        assert_eq!(spare.take_or(|| 9), 2);
        assert_eq!(spare.take_or(|| 9), 1);
        assert!(spare.is_empty());
    }

    #[test]
    fn trim_drops_the_coldest() {
        let mut spare = Spare::new(8);
        for value in 0..5 {
            spare.give(value);
        }
        spare.trim(2);
        assert_eq!(spare.len(), 2);
        assert_eq!(spare.take_or(|| 9), 4);
        spare.trim(7);
        assert_eq!(spare.len(), 1);
    }
}
