//! The times that futures wait for.
//!
//! Owns two wheels and, under a key for each wait, whom to wake: what is near lies in slots of a millisecond, what is
//! far in slots of 250, so that it wakes nobody on its way. It must not know clocks: time is an argument.

use std::task::Waker;

use peregrine_pool::{Key, Slab};

use crate::driver::timer::{TimerLink, Timers as Links, Wheel};

/// Futures that wait for a time, at most.
const TIMERS_MAX: u32 = 1 << 24;

/// What is so near, in milliseconds, lies in fine slots. Less than a round of theirs, and more than a coarse slot.
const NEAR_MILLIS: u64 = 800;

struct Timer {
    /// In one wheel or the other.
    link: TimerLink,
    deadline: u64,
    is_near: bool,
    waker: Option<Waker>,
}

impl Links for Slab<Timer> {
    fn link(&mut self, key: Key) -> &mut TimerLink {
        &mut self.get_mut(key).expect("a timer is disarmed before it goes").link
    }
}

/// See the module's text.
pub(super) struct Timers {
    table: Slab<Timer>,
    near: Wheel<1>,
    far: Wheel,
}

impl Timers {
    pub(super) fn new(now: u64) -> Self {
        Self { table: Slab::new(TIMERS_MAX), near: Wheel::new(now), far: Wheel::new(now) }
    }

    /// Wakes `waker` at `deadline`, once. `None` when there is no memory for it.
    pub(super) fn insert(&mut self, now: u64, deadline: u64, waker: Waker) -> Option<Key> {
        if self.next_due().is_none() {
            // Only brings the wheels' positions up to date.
            self.near.pop_expired(&mut self.table, now);
            self.far.pop_expired(&mut self.table, now);
        }
        let link = TimerLink::default();
        let key = self.table.insert(Timer { link, deadline, is_near: false, waker: Some(waker) }).ok()?;
        self.arm(now, key);
        Some(key)
    }

    fn arm(&mut self, now: u64, key: Key) {
        let Some(timer) = self.table.get_mut(key) else { return };
        let deadline = timer.deadline;
        timer.is_near = deadline.saturating_sub(now) <= NEAR_MILLIS;
        if timer.is_near {
            self.near.arm(&mut self.table, key, deadline);
        } else {
            // It fires a slot late at most, which must be near still.
            self.far.arm(&mut self.table, key, deadline - NEAR_MILLIS / 2);
        }
    }

    /// Wakes another at the timer's deadline.
    pub(super) fn rewake(&mut self, key: Key, waker: &Waker) {
        // One whose time has come wakes nobody any more: whoever polls again will see.
        if let Some(known) = self.table.get_mut(key).and_then(|timer| timer.waker.as_mut()) {
            known.clone_from(waker);
        }
    }

    /// Forgets a timer, and hands out whom it would have woken.
    pub(super) fn remove(&mut self, key: Key) -> Option<Waker> {
        let is_near = self.table.get(key)?.is_near;
        if is_near {
            self.near.disarm(&mut self.table, key);
        } else {
            self.far.disarm(&mut self.table, key);
        }
        self.table.remove(key)?.waker
    }

    /// Whom to wake of those whose time has come.
    pub(super) fn pop_expired(&mut self, now: u64) -> Option<Waker> {
        while let Some(key) = self.far.pop_expired(&mut self.table, now) {
            self.arm(now, key);
        }
        while let Some(key) = self.near.pop_expired(&mut self.table, now) {
            if let Some(waker) = self.table.get_mut(key).and_then(|timer| timer.waker.take()) {
                return Some(waker);
            }
        }
        None
    }

    /// When [`pop_expired`](Self::pop_expired) should be called next.
    pub(super) fn next_due(&self) -> Option<u64> {
        [self.near.next_due(), self.far.next_due()].into_iter().flatten().min()
    }

    pub(super) fn trim(&mut self) {
        self.table.trim();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fire(timers: &mut Timers, now: u64) -> usize {
        std::iter::from_fn(|| timers.pop_expired(now)).map(Waker::wake).count()
    }

    #[test]
    fn waits_of_any_length_end_on_time() {
        for length in [1, 2, 17, 799, 800, 801, 1024, 5000, 300_000, 3_600_000] {
            let mut timers = Timers::new(12_345);
            let waker = Waker::from(Arc::new(Count::default()));
            let deadline = 12_345 + length;
            timers.insert(12_345, deadline, waker).expect("memory");
            let mut wakes = 0;
            let mut now = 12_345;
            while fire(&mut timers, now) == 0 {
                let due = timers.next_due().expect("it waits");
                assert!(due > now, "turns in place at {now}");
                now = due;
                wakes += 1;
            }
            assert_eq!(now, deadline, "{length}");
            // A round of the coarse wheel is more than four minutes.
            assert!(wakes <= 4 + length / 200_000, "{length}: {wakes} wake-ups");
            assert_eq!(timers.next_due(), None);
        }
    }

    #[test]
    fn the_last_waker_is_woken_and_a_removed_one_never() {
        let mut timers = Timers::new(0);
        let counts: [Arc<Count>; 3] = std::array::from_fn(|_| Arc::default());
        let [first, second, third] = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
        let key = timers.insert(0, 5000, first).expect("memory");
        timers.rewake(key, &second);
        let removed = timers.insert(0, 10, third).expect("memory");
        assert!(timers.remove(removed).is_some() && timers.remove(removed).is_none());
        assert_eq!((fire(&mut timers, 4999), fire(&mut timers, 5001)), (0, 1));
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [0, 1, 0]);
        assert!(timers.remove(key).is_none(), "whom it has woken");
        assert_eq!((timers.next_due(), timers.table.len()), (None, 0));
    }
}
