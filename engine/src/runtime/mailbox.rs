//! Wake-ups: which tasks can go on.
//!
//! Owns the list of woken tasks of one worker. Any thread may add to it; the worker alone takes from it, before
//! it sleeps. It must not know what a task is.

use std::cell::Cell;
use std::sync::atomic::AtomicU64 as Count;
use std::sync::{Arc, PoisonError, Weak};
use std::task::Wake;

use peregrine_pool::Key;

use super::sync::{AtomicBool, AtomicU64, Bell, Mutex, Ordering, local};

local! {
    /// The mailbox of the worker that this thread is; 0 for none.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// No part of any protocol between threads: numbers only have to differ.
static NEXT_ID: Count = Count::new(1);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Mailbox {
    id: u64,
    /// Ends the worker's sleep.
    bell: Bell,
    woken: Mutex<Vec<Arc<TaskWaker>>>,
    /// Something may be in the list: most turns look no further.
    has_woken: AtomicBool,
}

impl Mailbox {
    /// A mailbox for the worker that the calling thread is.
    pub(crate) fn new(bell: Bell) -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        HERE.with(|here| here.set(id));
        Arc::new(Self { id, bell, woken: Mutex::new(Vec::new()), has_woken: AtomicBool::new(false) })
    }

    /// The calling thread is its worker again, after it was another's.
    pub(crate) fn make_current(&self) {
        HERE.set(self.id);
    }

    /// Swaps the list of what was woken for an empty one.
    pub(crate) fn take(&self, into: &mut Vec<Arc<TaskWaker>>) {
        debug_assert!(into.is_empty(), "wake-ups would be lost");
        if !self.has_woken() {
            return;
        }
        // Before the list is taken: what comes later sets it again.
        self.has_woken.store(false, Ordering::Release);
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *woken, into);
    }

    /// Whether something waits in the list.
    pub(crate) fn has_woken(&self) -> bool {
        self.has_woken.load(Ordering::Acquire)
    }

    fn push(&self, waker: Arc<TaskWaker>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(waker);
        self.has_woken.store(true, Ordering::Release);
        drop(woken);
        // The worker itself looks before it sleeps.
        if HERE.with(Cell::get) != self.id {
            self.bell.wake();
        }
    }
}

/// Whose task it is: that of a connection, or of nobody but the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Connection(Key),
    Worker(Key),
}

/// The bit of a packed [`Owner::Worker`], above its key.
const OF_WORKER: u64 = 1 << 56;

impl Owner {
    fn pack(self) -> u64 {
        match self {
            Self::Connection(key) => key.pack(),
            Self::Worker(key) => key.pack() | OF_WORKER,
        }
    }

    fn unpack(packed: u64) -> Self {
        let key = Key::unpack(packed);
        if packed & OF_WORKER == 0 { Self::Connection(key) } else { Self::Worker(key) }
    }
}

/// Wakes one task.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    owner: AtomicU64,
    /// Weak, because the list of a worker that has ended may hold wakers, and wakers outlive workers.
    mailbox: Weak<Mailbox>,
    is_queued: AtomicBool,
}

impl TaskWaker {
    pub(crate) fn new(owner: Owner, mailbox: &Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self {
            owner: AtomicU64::new(owner.pack()),
            mailbox: Arc::downgrade(mailbox),
            is_queued: AtomicBool::new(false),
        })
    }

    /// Gives the task, and with it all wake-ups, to another owner.
    pub(crate) fn hand_to(&self, owner: Owner) {
        // Read by the worker's thread alone, which is the one that writes it.
        self.owner.store(owner.pack(), Ordering::Relaxed);
    }

    /// Whose task it wakes. From here on it can be queued again.
    pub(crate) fn take(&self) -> Owner {
        // Not a mere store: the poll that follows must see what was written before any wake-up that still found
        // the flag set, and that queued nothing for it.
        self.is_queued.swap(false, Ordering::AcqRel);
        Owner::unpack(self.owner.load(Ordering::Relaxed))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel)
            && let Some(mailbox) = self.mailbox.upgrade()
        {
            mailbox.push(Arc::clone(self));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Waker;
    use std::thread;

    use super::*;

    fn taken(mailbox: &Mailbox) -> Vec<Owner> {
        let mut woken = Vec::new();
        mailbox.take(&mut woken);
        woken.iter().map(|waker| waker.take()).collect()
    }

    #[test]
    fn a_task_is_queued_once_until_it_is_taken() {
        let mailbox = Mailbox::new(Bell::new().expect("an eventfd"));
        let key = Owner::Worker(Key::unpack(7));
        let waker = Waker::from(TaskWaker::new(key, &mailbox));
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(taken(&mailbox), [key]);
        assert_eq!(taken(&mailbox), []);
        waker.wake();
        assert_eq!(taken(&mailbox), [key]);
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        use std::sync::atomic::AtomicU32;

        const ROUNDS: u32 = 20_000;
        let bell = Bell::new().expect("an eventfd");
        let mailbox = Mailbox::new(bell);
        let waker = Waker::from(TaskWaker::new(Owner::Connection(Key::unpack(1)), &mailbox));
        let written = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(AtomicU32::new(0));
        let thread = {
            let (written, seen, waker) = (Arc::clone(&written), Arc::clone(&seen), waker.clone());
            thread::spawn(move || {
                for round in 1..=ROUNDS {
                    written.store(round, Ordering::Relaxed);
                    waker.wake_by_ref();
                    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
                    while seen.load(Ordering::Acquire) < round {
                        assert!(std::time::Instant::now() < deadline, "the wake-up of round {round} is lost");
                        std::hint::spin_loop();
                    }
                }
            })
        };
        // Wakes itself as well, so that the flag is often set when the other thread looks.
        while seen.load(Ordering::Relaxed) < ROUNDS && !thread.is_finished() {
            if !taken(&mailbox).is_empty() {
                let now = written.load(Ordering::Relaxed);
                if now.is_multiple_of(2) && now > seen.load(Ordering::Relaxed) {
                    waker.wake_by_ref();
                }
                seen.store(now, Ordering::Release);
            }
        }
        thread.join().expect("no wake-up is lost");
    }

    #[test]
    fn a_waker_that_outlives_its_worker_does_nothing() {
        let mailbox = Mailbox::new(Bell::new().expect("an eventfd"));
        let waker = Waker::from(TaskWaker::new(Owner::Connection(Key::unpack(1)), &mailbox));
        let weak = Arc::downgrade(&mailbox);
        waker.wake_by_ref();
        drop(mailbox);
        assert!(weak.upgrade().is_none(), "the list keeps the mailbox alive");
        waker.wake();
    }

    #[test]
    fn only_other_threads_ring_the_bell() {
        let bell = Bell::new().expect("an eventfd");
        let mailbox = Mailbox::new(bell.clone());
        let waker = Waker::from(TaskWaker::new(Owner::Connection(Key::unpack(1)), &mailbox));
        waker.wake_by_ref();
        assert!(!bell.drain(), "the worker is awake");
        assert_eq!(taken(&mailbox).len(), 1);
        thread::spawn(move || waker.wake()).join().expect("no panic");
        assert!(bell.drain());
        assert_eq!(taken(&mailbox).len(), 1);
    }
}

/// The interleavings of what the threads do, run by scripts/loom.sh: all of them unless a model says otherwise. A wake-up that is lost leaves the worker asleep
/// for ever, which the model reports as a deadlock.
#[cfg(all(test, loom))]
mod loom_models {
    use std::task::Waker;

    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    fn key(index: u64) -> Owner {
        Owner::Connection(Key::unpack(index))
    }

    /// What a worker does: takes, polls, and sleeps unless something has been woken meanwhile.
    fn work_until(mailbox: &Mailbox, bell: &Bell, mut poll: impl FnMut(Owner) -> bool) {
        let mut woken = Vec::new();
        loop {
            mailbox.take(&mut woken);
            let mut is_done = false;
            for (index, waker) in woken.iter().enumerate() {
                let again = woken[..index].iter().any(|other| Arc::ptr_eq(other, waker));
                assert!(!again, "it is queued twice");
            }
            for waker in woken.drain(..) {
                is_done |= poll(waker.take());
            }
            if is_done {
                return;
            }
            if !mailbox.has_woken() {
                bell.sleep();
            }
        }
    }

    #[test]
    fn wake_ups_of_two_tasks_are_not_lost() {
        loom::model(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell.clone());
            for index in 0..2 {
                let waker = Waker::from(TaskWaker::new(key(index), &mailbox));
                thread::spawn(move || waker.wake());
            }
            let mut polled = [0, 0];
            work_until(&mailbox, &bell, |owner| {
                polled[usize::from(owner == key(1))] += 1;
                polled == [1, 1]
            });
        });
    }

    #[test]
    fn what_is_written_before_a_wake_up_is_seen_by_the_poll_after_it() {
        loom::model(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell.clone());
            let waker = Waker::from(TaskWaker::new(key(0), &mailbox));
            let written = Arc::new(AtomicUsize::new(0));
            let theirs = Arc::clone(&written);
            thread::spawn(move || {
                theirs.store(1, Ordering::Relaxed);
                waker.wake_by_ref();
                theirs.store(2, Ordering::Relaxed);
                // It may find the flag set still, and queue nothing.
                waker.wake();
            });
            work_until(&mailbox, &bell, |_| written.load(Ordering::Relaxed) == 2);
        });
    }

    #[test]
    fn two_threads_wake_one_task() {
        let mut model = loom::model::Builder::new();
        // All there are would take a minute.
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell.clone());
            let waker = Waker::from(TaskWaker::new(key(0), &mailbox));
            let written: [Arc<AtomicUsize>; 2] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
            for written in &written {
                let (written, waker) = (Arc::clone(written), waker.clone());
                thread::spawn(move || {
                    written.store(1, Ordering::Relaxed);
                    waker.wake();
                });
            }
            work_until(&mailbox, &bell, |_| {
                written.iter().all(|written| written.load(Ordering::Relaxed) == 1)
            });
        });
    }

    #[test]
    fn a_task_that_wakes_itself_loses_no_wake_up_of_others() {
        loom::model(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell.clone());
            let waker = Waker::from(TaskWaker::new(key(0), &mailbox));
            let written = Arc::new(AtomicUsize::new(0));
            waker.wake_by_ref();
            let thread = {
                let (written, waker) = (Arc::clone(&written), waker.clone());
                thread::spawn(move || {
                    written.store(1, Ordering::Relaxed);
                    waker.wake();
                })
            };
            let mut polls = 0;
            work_until(&mailbox, &bell, |_| {
                polls += 1;
                if polls == 1 {
                    waker.wake_by_ref();
                }
                polls > 1 && written.load(Ordering::Relaxed) == 1
            });
            assert!(polls <= 3, "two wake-ups of its own and one from outside: {polls} polls");
            thread.join().expect("no panic");
            let mut woken = Vec::new();
            mailbox.take(&mut woken);
            assert!(woken.len() <= 1);
        });
    }

    #[test]
    fn each_wake_up_after_a_poll_queues_once() {
        loom::model(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell.clone());
            let waker = Waker::from(TaskWaker::new(key(0), &mailbox));
            let thread = {
                let waker = waker.clone();
                thread::spawn(move || {
                    waker.wake_by_ref();
                    waker.wake();
                })
            };
            let mut polls = 0;
            work_until(&mailbox, &bell, |_| {
                polls += 1;
                true
            });
            thread.join().expect("no panic");
            let mut woken = Vec::new();
            mailbox.take(&mut woken);
            polls += woken.len();
            assert!((1..=2).contains(&polls), "two wake-ups, {polls} polls");
        });
    }

    #[test]
    fn a_waker_outlives_its_worker() {
        loom::model(|| {
            let bell = Bell::new();
            let mailbox = Mailbox::new(bell);
            let weak = Arc::downgrade(&mailbox);
            let waker = Waker::from(TaskWaker::new(key(0), &mailbox));
            let thread = {
                let waker = waker.clone();
                thread::spawn(move || {
                    waker.wake_by_ref();
                    waker.wake();
                })
            };
            let mut woken = Vec::new();
            mailbox.take(&mut woken);
            for waker in woken.drain(..) {
                waker.take();
            }
            drop(mailbox);
            thread.join().expect("no panic");
            assert!(weak.upgrade().is_none(), "a waker in the list keeps it alive");
            waker.wake();
        });
    }
}
