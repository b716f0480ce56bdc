//! What worker and other threads share of the wake-ups, in the form that runs or in the one that is explored.
//!
//! Owns the choice: std and the worker's bell, or under `--cfg loom` their models, whose every interleaving
//! scripts/loom.sh runs. It must not know what they are used for.

#[cfg(loom)]
pub(super) use loom::{
    sync::Mutex,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub(super) use std::{
    sync::Mutex,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread_local as local,
};

#[cfg(loom)]
pub(super) use model::{Bell, bell};

/// Threads of a model are no threads of the system. Loom knows no constant initial values.
#[cfg(loom)]
macro_rules! local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $initial:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $initial; }
    };
}
#[cfg(loom)]
pub(super) use local;

/// What ends the worker's sleep.
#[cfg(not(loom))]
pub(super) type Bell = crate::sys::wake::Waker;

/// The bell of a driver.
#[cfg(not(loom))]
pub(super) fn bell(of_driver: Bell) -> Bell {
    of_driver
}

#[cfg(loom)]
mod model {
    use std::sync::Arc;

    use loom::sync::{Condvar, Mutex};

    /// An eventfd, as far as it matters: it stays rung until the sleeper has heard it.
    #[derive(Clone, Debug)]
    pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

    impl Bell {
        pub(in crate::runtime) fn new() -> Self {
            Self(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(in crate::runtime) fn wake(&self) {
            let (is_rung, rings) = &*self.0;
            *is_rung.lock().expect("no panic") = true;
            rings.notify_one();
        }

        /// Sleeps until it rings. If nobody can ring it any more, the model reports a deadlock.
        #[cfg(test)]
        pub(in crate::runtime) fn sleep(&self) {
            let (is_rung, rings) = &*self.0;
            let mut is_rung = is_rung.lock().expect("no panic");
            while !*is_rung {
                is_rung = rings.wait(is_rung).expect("no panic");
            }
            *is_rung = false;
        }
    }

    /// Only lets the rest of the crate compile: a model has no driver.
    pub(in crate::runtime) fn bell(_: crate::sys::wake::Waker) -> Bell {
        Bell::new()
    }
}
