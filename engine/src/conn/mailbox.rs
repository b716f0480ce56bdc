//! Wake-ups: which connections' tasks can go on.
//!
//! Owns the list of woken keys of one worker. Any thread may add to it; the worker alone takes from it, before
//! it sleeps. It must not know what a task is.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use peregrine_pool::Key;

use crate::sys::wake::Waker as Bell;

thread_local! {
    /// The mailbox of the worker that this thread is; 0 for none.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Mailbox {
    id: u64,
    /// Ends the worker's sleep.
    bell: Bell,
    woken: Mutex<Vec<Arc<TaskWaker>>>,
}

impl Mailbox {
    /// A mailbox for the worker that the calling thread is.
    pub(super) fn new(bell: Bell) -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        HERE.set(id);
        Arc::new(Self { id, bell, woken: Mutex::new(Vec::new()) })
    }

    /// Swaps the list of what was woken for an empty one.
    pub(super) fn take(&self, into: &mut Vec<Arc<TaskWaker>>) {
        debug_assert!(into.is_empty(), "wake-ups would be lost");
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *woken, into);
    }

    /// Whether something waits in the list.
    pub(super) fn has_woken(&self) -> bool {
        !self.woken.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn push(&self, waker: Arc<TaskWaker>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        // The worker itself looks before it sleeps.
        if HERE.get() != self.id {
            self.bell.wake();
        }
    }
}

/// Wakes the task of one connection.
#[derive(Debug)]
pub(super) struct TaskWaker {
    key: u64,
    mailbox: Arc<Mailbox>,
    is_queued: AtomicBool,
}

impl TaskWaker {
    pub(super) fn new(key: Key, mailbox: &Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self { key: key.pack(), mailbox: Arc::clone(mailbox), is_queued: AtomicBool::new(false) })
    }

    /// Whose task it wakes. From here on it can be queued again.
    pub(super) fn take(&self) -> Key {
        self.is_queued.store(false, Ordering::Release);
        Key::unpack(self.key)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.mailbox.push(Arc::clone(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::thread;

    use super::*;

    fn taken(mailbox: &Mailbox) -> Vec<Key> {
        let mut woken = Vec::new();
        mailbox.take(&mut woken);
        woken.iter().map(|waker| waker.take()).collect()
    }

    #[test]
    fn a_task_is_queued_once_until_it_is_taken() {
        let mailbox = Mailbox::new(Bell::new().expect("an eventfd"));
        let key = Key::unpack(7);
        let waker = Waker::from(TaskWaker::new(key, &mailbox));
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(taken(&mailbox), [key]);
        assert_eq!(taken(&mailbox), []);
        waker.wake();
        assert_eq!(taken(&mailbox), [key]);
    }

    #[test]
    fn only_other_threads_ring_the_bell() {
        let bell = Bell::new().expect("an eventfd");
        let mailbox = Mailbox::new(bell.clone());
        let waker = Waker::from(TaskWaker::new(Key::unpack(1), &mailbox));
        waker.wake_by_ref();
        assert!(!bell.drain(), "the worker is awake");
        assert_eq!(taken(&mailbox).len(), 1);
        thread::spawn(move || waker.wake()).join().expect("no panic");
        assert!(bell.drain());
        assert_eq!(taken(&mailbox).len(), 1);
    }
}
