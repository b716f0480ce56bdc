//! Threads beside the workers that compute handshakes.
//!
//! Owns the queue to them and the ways back. A handshake is moved there whole, with what has come for it, and comes back
//! with what it has come to. It must not know connections.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use peregrine_pool::Key;

use super::handshake::{Handshake, Step};
use crate::sys::wake::Waker;

/// So many handshakes wait for a thread at most: some tenths of a second of work, so that those whose clients are gone
/// meanwhile hold up nobody for long.
const JOBS_MAX: usize = 1024;

/// The threads. They end when the last handle is gone.
pub(crate) struct Offload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    has_work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_over: bool,
}

struct Job {
    key: Key,
    handshake: Box<Handshake>,
    back: Arc<Returns>,
}

/// What one worker gets back.
pub(crate) struct Returns {
    done: Mutex<Vec<Done>>,
    bell: Waker,
}

/// A handshake that has been gone on with.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) handshake: Box<Handshake>,
    pub(super) step: Step,
}

impl Returns {
    /// For a worker that `bell` wakes.
    pub(crate) fn new(bell: Waker) -> Arc<Self> {
        Arc::new(Self { done: Mutex::default(), bell })
    }

    /// Takes what has come back.
    pub(super) fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Offload {
    /// Starts so many threads, or as many as the system lets it.
    pub(crate) fn start(threads: usize) -> Arc<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), has_work: Condvar::new() });
        let spawn = |number| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("peregrine-tls-{number}")).spawn(move || shared.work()).ok()
        };
        Arc::new(Self { threads: (0..threads).filter_map(spawn).collect(), shared })
    }

    /// Whether any thread could be started.
    pub(crate) fn is_usable(&self) -> bool {
        !self.threads.is_empty()
    }

    /// Whether as many handshakes wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.len() >= JOBS_MAX
    }

    /// Has a thread go on with a handshake, which comes back by `back`.
    pub(super) fn push(&self, key: Key, handshake: Box<Handshake>, back: Arc<Returns>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(Job { key, handshake, back });
        drop(queue);
        self.shared.has_work.notify_one();
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_over = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.has_work.notify_all();
        for thread in self.threads.drain(..) {
            // One that has panicked is over, too.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(Job { key, mut handshake, back }) = self.next() {
            let step = handshake.advance_safely();
            let mut done = back.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push(Done { key, handshake, step });
            drop(done);
            back.bell.wake();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.is_over {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.has_work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
