//! The timer wheel: one deadline per entry, kept in links inside the entries.
//!
//! Owns 1024 slots. Of a quarter of a second, as for connections, they are more than four minutes, so that the usual
//! deadlines fit in a round. Moving a deadline is one store as long as it is not before the entry's slot: that stays,
//! and the entry is put further when it comes round. It must not know what a deadline means; time is an argument.

use peregrine_pool::Key;

const SLOTS: usize = 1024;

/// The wheel's part of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimerLink {
    /// In milliseconds of the monotonic clock; meaningful while armed.
    deadline: u64,
    previous: Option<Key>,
    next: Option<Key>,
    /// The slot's number plus one; 0 while not armed.
    slot: u16,
}

/// Where the links are.
pub(crate) trait Timers {
    /// The link of an entry that the wheel was given and that still exists.
    fn link(&mut self, key: Key) -> &mut TimerLink;
}

/// See the module's text. A slot lasts `SLOT_MILLIS`: deadlines fire up to this much late, never early. With short
/// slots a far deadline costs a wake-up per round, which is 1024 of them.
pub(crate) struct Wheel<const SLOT_MILLIS: u64 = 250> {
    /// The first entry of each slot.
    heads: Box<[Option<Key>; SLOTS]>,
    /// A bit per slot that has entries.
    occupied: [u64; SLOTS / 64],
    /// A bit per word of those that has bits.
    summary: u16,
    /// The first slot, counted from time 0, that has not been gone through.
    position: u64,
}

impl<const SLOT_MILLIS: u64> Wheel<SLOT_MILLIS> {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            heads: Box::new([None; SLOTS]),
            occupied: [0; SLOTS / 64],
            summary: 0,
            position: now / SLOT_MILLIS,
        }
    }

    /// Sets the deadline of `key`, armed or not.
    #[inline]
    pub(crate) fn arm(&mut self, timers: &mut impl Timers, key: Key, deadline: u64) {
        let link = timers.link(key);
        // The common case: no earlier than the slot where the entry waits already.
        if link.slot != 0 && deadline / SLOT_MILLIS + 1 >= self.due(link.slot) {
            link.deadline = deadline;
            return;
        }
        self.move_to(timers, key, deadline);
    }

    /// When the slot of a link comes round, counted in slots from time 0.
    #[inline]
    fn due(&self, slot: u16) -> u64 {
        let slots = SLOTS as u64;
        self.position + (u64::from(slot - 1) + slots - self.position % slots) % slots
    }

    #[inline(never)]
    fn move_to(&mut self, timers: &mut impl Timers, key: Key, deadline: u64) {
        self.disarm(timers, key);
        // The first slot that does not begin before the deadline, so that nothing fires early.
        let due = deadline.div_ceil(SLOT_MILLIS);
        // One slot short of a full round, so that `move_past` never comes back to where it is.
        let farthest = self.position + SLOTS as u64 - 2;
        let slot = (due.clamp(self.position, farthest) % SLOTS as u64) as usize;
        let next = self.heads[slot].replace(key);
        if let Some(next) = next {
            timers.link(next).previous = Some(key);
        }
        *timers.link(key) = TimerLink { deadline, previous: None, next, slot: slot as u16 + 1 };
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.summary |= 1 << (slot / 64);
    }

    /// Forgets the deadline of `key`, if it has one.
    pub(crate) fn disarm(&mut self, timers: &mut impl Timers, key: Key) {
        let TimerLink { previous, next, slot, .. } = std::mem::take(timers.link(key));
        let Some(slot) = usize::from(slot).checked_sub(1) else { return };
        match previous {
            Some(previous) => timers.link(previous).next = next,
            None => self.heads[slot] = next,
        }
        if let Some(next) = next {
            timers.link(next).previous = previous;
        }
        if self.heads[slot].is_none() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            if self.occupied[slot / 64] == 0 {
                self.summary &= !(1 << (slot / 64));
            }
        }
    }

    /// Disarms one entry whose deadline has passed and returns it; `None` when there is none left.
    pub(crate) fn pop_expired(&mut self, timers: &mut impl Timers, now: u64) -> Option<Key> {
        let current = now / SLOT_MILLIS;
        while self.position <= current {
            let slot = (self.position % SLOTS as u64) as usize;
            if let Some(key) = self.heads[slot] {
                let deadline = timers.link(key).deadline;
                // Out of this slot in any case, so that the loop ends.
                self.disarm(timers, key);
                if deadline <= now {
                    return Some(key);
                }
                self.move_past(timers, key, deadline);
            } else {
                let skipped = self.first_occupied().map_or(current + 1, |(slot, _)| slot);
                self.position = skipped.clamp(self.position + 1, current + 1);
            }
        }
        None
    }

    /// Puts an entry of the current slot into a later one.
    fn move_past(&mut self, timers: &mut impl Timers, key: Key, deadline: u64) {
        let position = self.position;
        self.position += 1;
        self.move_to(timers, key, deadline);
        self.position = position;
    }

    /// When [`pop_expired`](Self::pop_expired) should be called next, in milliseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.first_occupied().map(|(position, _)| position * SLOT_MILLIS)
    }

    /// The next occupied slot from the current one on: counted from time 0, and its index.
    fn first_occupied(&self) -> Option<(u64, usize)> {
        let start = (self.position % SLOTS as u64) as usize;
        let word = start / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (start % 64));
        let mut found = word;
        if bits == 0 {
            // The words behind this one, and last of all this one again, of which only what is before is left.
            let behind = self.summary.rotate_right(word as u32 + 1);
            if behind == 0 {
                return None;
            }
            found = (word + 1 + behind.trailing_zeros() as usize) % self.occupied.len();
            bits = self.occupied[found];
        }
        let slot = found * 64 + bits.trailing_zeros() as usize;
        let ahead = (slot + SLOTS - start) % SLOTS;
        Some((self.position + ahead as u64, slot))
    }
}

const _: () = assert!(SLOTS / 64 == u16::BITS as usize, "a bit of the summary for each word");

#[cfg(test)]
mod tests {
    use peregrine_pool::Slab;
    use proptest::prelude::*;

    use super::*;

    impl Timers for Slab<TimerLink> {
        fn link(&mut self, key: Key) -> &mut TimerLink {
            self.get_mut(key).expect("a live entry")
        }
    }

    fn entries(count: usize) -> (Slab<TimerLink>, Vec<Key>) {
        let mut slab = Slab::new(1024);
        let keys = (0..count).map(|_| slab.insert(TimerLink::default()).expect("room")).collect();
        (slab, keys)
    }

    fn a_deadline_fires_once_and_never_early<const SLOT_MILLIS: u64>() {
        let (mut slab, keys) = entries(1);
        let mut wheel = Wheel::<SLOT_MILLIS>::new(1000);
        wheel.arm(&mut slab, keys[0], 5100);
        assert_eq!(wheel.pop_expired(&mut slab, 5099), None);
        assert_eq!(wheel.pop_expired(&mut slab, 5100 + SLOT_MILLIS), Some(keys[0]));
        assert_eq!(wheel.pop_expired(&mut slab, 1_000_000), None);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn a_deadline_at_the_beginning_of_a_slot_fires_on_time() {
        let (mut slab, keys) = entries(2);
        let (mut fine, mut coarse) = (Wheel::<1>::new(1000), Wheel::<250>::new(1000));
        fine.arm(&mut slab, keys[0], 1003);
        coarse.arm(&mut slab, keys[1], 1500);
        assert_eq!((fine.next_due(), coarse.next_due()), (Some(1003), Some(1500)));
        assert_eq!(fine.pop_expired(&mut slab, 1002), None);
        assert_eq!(fine.pop_expired(&mut slab, 1003), Some(keys[0]));
        assert_eq!(coarse.pop_expired(&mut slab, 1499), None);
        assert_eq!(coarse.pop_expired(&mut slab, 1500), Some(keys[1]));
    }

    fn a_deadline_moved_later_fires_at_the_later_time_only<const SLOT_MILLIS: u64>() {
        let (mut slab, keys) = entries(1);
        let mut wheel = Wheel::<SLOT_MILLIS>::new(0);
        wheel.arm(&mut slab, keys[0], 1000);
        wheel.arm(&mut slab, keys[0], 9000);
        assert_eq!(wheel.pop_expired(&mut slab, 8999), None);
        assert_eq!(wheel.pop_expired(&mut slab, 9000 + SLOT_MILLIS), Some(keys[0]));
    }

    fn a_deadline_moved_earlier_fires_at_the_earlier_time<const SLOT_MILLIS: u64>() {
        let (mut slab, keys) = entries(1);
        let mut wheel = Wheel::<SLOT_MILLIS>::new(0);
        wheel.arm(&mut slab, keys[0], 130_000);
        wheel.arm(&mut slab, keys[0], 500);
        assert_eq!(wheel.pop_expired(&mut slab, 500 + SLOT_MILLIS), Some(keys[0]));
    }

    fn deadlines_beyond_the_horizon_wait_for_their_round<const SLOT_MILLIS: u64>() {
        let (mut slab, keys) = entries(2);
        let mut wheel = Wheel::<SLOT_MILLIS>::new(0);
        let horizon = SLOTS as u64 * SLOT_MILLIS;
        wheel.arm(&mut slab, keys[0], horizon * 3 + 10);
        wheel.arm(&mut slab, keys[1], 10);
        assert_eq!(wheel.pop_expired(&mut slab, horizon), Some(keys[1]));
        let mut now = horizon;
        while now < horizon * 3 {
            now = wheel.next_due().expect("armed").max(now + 1);
            if now >= horizon * 3 + 10 {
                break;
            }
            assert_eq!(wheel.pop_expired(&mut slab, now), None);
        }
        assert_eq!(wheel.pop_expired(&mut slab, horizon * 3 + 10 + SLOT_MILLIS), Some(keys[0]));
    }

    /// What happens in a step: an entry is armed so far ahead or disarmed, then time passes.
    type Step = (usize, u64, u64, bool);

    fn agrees_with_a_sorted_list<const SLOT_MILLIS: u64>(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let (mut slab, keys) = entries(8);
        let mut wheel = Wheel::<SLOT_MILLIS>::new(0);
        let mut model = [None::<u64>; 8];
        let mut now = 0;
        for (entry, ahead, advance, disarm) in steps {
            if disarm {
                wheel.disarm(&mut slab, keys[entry]);
                model[entry] = None;
            } else {
                wheel.arm(&mut slab, keys[entry], now + ahead);
                model[entry] = Some(now + ahead);
            }
            now += advance;
            if let Some(due) = wheel.next_due() {
                let earliest = model.iter().flatten().min().expect("something is armed");
                // The wheel may wake for entries that have moved, but never later than a slot's length.
                prop_assert!(due <= earliest + SLOT_MILLIS);
            } else {
                prop_assert!(model.iter().all(Option::is_none));
            }
            while let Some(key) = wheel.pop_expired(&mut slab, now) {
                let fired = keys.iter().position(|&k| k == key).expect("one of ours");
                let deadline = model[fired].take().expect("armed");
                prop_assert!(deadline <= now);
            }
            for deadline in model.iter().flatten() {
                prop_assert!(deadline + SLOT_MILLIS >= now, "{deadline} missed at {now}");
            }
        }
        Ok(())
    }

    /// Makes the tests of one length of slots.
    macro_rules! instance {
        ($module:ident $slot_millis:literal; [$($test:ident)*]) => {
            mod $module {
                use super::*;
                $(
                    #[test]
                    fn $test() {
                        super::$test::<$slot_millis>();
                    }
                )*

                proptest! {
                    #![proptest_config(ProptestConfig::with_cases(200))]
                    #[test]
                    fn agrees_with_a_sorted_list(
                        steps in prop::collection::vec(
                            (0usize..8, 0u64..400_000, 0u64..60_000, prop::bool::ANY), 1..200,
                        ),
                    ) {
                        super::agrees_with_a_sorted_list::<$slot_millis>(steps)?;
                    }
                }
            }
        };
    }

    macro_rules! instances {
        ($tests:tt) => {
            instance!(quarters_of_a_second 250; $tests);
            instance!(milliseconds 1; $tests);
        };
    }

    instances!([
        a_deadline_fires_once_and_never_early
        a_deadline_moved_later_fires_at_the_later_time_only
        a_deadline_moved_earlier_fires_at_the_earlier_time
        deadlines_beyond_the_horizon_wait_for_their_round
    ]);
}
