//! When a turn waits for more than the first completion, as network cards hold interrupts back.
//!
//! Owns the guess that more is about to come, and what it learns from being wrong. It must not know rings nor sockets.
//!
//! A database that is asked for many requests at once answers one by one. A worker with nothing else to do would wake
//! for each answer, find out whose it is, and sleep again, which costs it more than the answers do. It may take several
//! at once instead, as long as those are a small part of what is under way: then waiting for them delays nobody much.

/// A wait ends with an eighth of what is under way.
const PART: usize = 8;

/// Fewer completions than these are not waited for.
const FEW: u32 = 4;

/// A wait is worth it that brings more than one completion, and a sixteenth of those that it was for: what is under way
/// may be waiting for something else.
const WORTH: u32 = 2;
const WORTH_PART: u32 = 16;

/// From so many vain waits in a row on the pauses grow no longer: 1,024 chances are let go by.
const VAIN_MAX: u32 = 10;

/// See the module's text.
pub(crate) struct Coalescing {
    /// How long a turn may wait for more; 0: not at all.
    micros: u32,
    /// How many completions the next turn may wait for.
    expected: u32,
    /// Chances to let go by until the next try.
    pause: u32,
    /// Waits in a row that brought little.
    vain: u32,
}

impl Coalescing {
    /// Waits up to `micros`.
    pub(crate) fn new(micros: u32) -> Self {
        Self { micros, expected: 0, pause: 0, vain: 0 }
    }

    /// Some of what is under way has ended, and `waiting` others have not. It holds for one turn.
    #[inline]
    pub(crate) fn hint(&mut self, waiting: usize) {
        self.expected = u32::try_from(waiting / PART).unwrap_or(u32::MAX);
    }

    /// For a turn that is about to sleep: for how many completions, and how many microseconds for others than the
    /// first. Then [`end`](Self::end) is to be told what came of them.
    #[inline]
    pub(crate) fn begin(&mut self) -> Option<(u32, u32)> {
        let expected = std::mem::take(&mut self.expected);
        if expected < FEW || self.micros == 0 {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        Some((expected, self.micros))
    }

    /// So many completions came of those that were waited for.
    pub(crate) fn end(&mut self, wanted: u32, came: u32) {
        if came >= WORTH.max(wanted / WORTH_PART) {
            self.vain = 0;
        } else {
            self.vain = (self.vain + 1).min(VAIN_MAX);
            self.pause = 1 << self.vain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many turns wait when each brings `came`.
    fn waits(coalescing: &mut Coalescing, turns: u32, came: u32) -> u32 {
        let mut waits = 0;
        for _ in 0..turns {
            coalescing.hint(64);
            if let Some(wait) = coalescing.begin() {
                assert_eq!(wait, (8, 100));
                waits += 1;
                coalescing.end(8, came);
            }
        }
        waits
    }

    #[test]
    fn it_waits_while_that_is_worth_it() {
        let mut coalescing = Coalescing::new(100);
        assert_eq!(waits(&mut coalescing, 1000, WORTH), 1000);
        assert_eq!(coalescing.begin(), None, "nothing is expected");
    }

    #[test]
    fn where_little_is_under_way_nobody_waits() {
        let mut coalescing = Coalescing::new(100);
        let fewest = FEW as usize * PART;
        coalescing.hint(fewest - 1);
        assert_eq!(coalescing.begin(), None);
        coalescing.hint(fewest);
        assert_eq!(coalescing.begin(), Some((FEW, 100)));
    }

    #[test]
    fn a_wait_for_many_that_brings_few_is_vain() {
        let mut coalescing = Coalescing::new(100);
        for (came, waits) in [(3, true), (2, false)] {
            coalescing.hint(400);
            assert_eq!(coalescing.begin(), Some((50, 100)));
            coalescing.end(50, came);
            coalescing.hint(400);
            assert_eq!(coalescing.begin().is_some(), waits);
        }
    }

    #[test]
    fn vain_waits_become_rare_and_one_good_one_brings_them_back() {
        let mut coalescing = Coalescing::new(100);
        // With pauses of 2, 4, ... 1,024 turns between them, then 1,024 again and again.
        assert_eq!(waits(&mut coalescing, 2 * 1023 + VAIN_MAX, WORTH - 1), VAIN_MAX);
        assert_eq!(waits(&mut coalescing, 10 * 1025, WORTH - 1), 10);
        assert_eq!(waits(&mut coalescing, 100, WORTH), 100);
    }

    #[test]
    fn without_time_it_never_waits() {
        let mut coalescing = Coalescing::new(0);
        assert_eq!(waits(&mut coalescing, 100, WORTH), 0);
    }
}
