//! What asynchronous code runs on: one runtime per worker, on the worker's own thread.
//!
//! Owns the memory of futures, the wake-ups (`mailbox`), the timers that handlers wait for (`timers`, `time`), their
//! sockets (`net`), the tasks that belong to no connection (`spawn`), and the ways to other threads: work that blocks
//! (`blocking`, and on top of it `fs` and `resolve`) and answers from anywhere (`deferred`). It must not know
//! connections, requests or routes: those poll their tasks themselves, and come here for the rest.

mod blocking;
mod deferred;
pub mod fs;
mod mailbox;
pub mod net;
mod resolve;
mod spawn;
mod sync;
#[cfg(test)]
mod testing;
mod time;
mod timers;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use peregrine_pool::{Blocks, Key, Placed, Slab, Slots};

pub use blocking::{Blocking, blocking};
pub use deferred::{Answer, Cancelled, Deferred, deferred};
pub use resolve::resolve;
pub use spawn::{JoinError, JoinHandle, spawn};
pub use time::{Elapsed, Interval, Sleep, Timeout, interval, sleep, timeout};

pub(crate) use mailbox::{Owner, TaskWaker};

use crate::sys::clock;
use crate::sys::wake::Waker as Bell;
use mailbox::Mailbox;
use net::Sockets;
use spawn::Spawned;
use timers::Timers;

/// Tasks that belong to no connection, at most.
const TASKS_MAX: u32 = 1 << 20;

/// Wakers that wait for their next task, at most.
const SPARE_WAKERS_MAX: usize = 1024;

thread_local! {
    /// The runtime of the worker that this thread is.
    static CURRENT: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

/// See the module's text.
pub(crate) struct Runtime {
    /// Where futures lie.
    pub(crate) slots: Slots,
    mailbox: Arc<Mailbox>,
    /// The time of the last turn, in milliseconds; what a simulated clock shows.
    now: Cell<u64>,
    is_simulated: bool,
    timers: RefCell<Timers>,
    /// When the next of them may be due; no later than that.
    due: Cell<u64>,
    tasks: RefCell<Slab<Spawned>>,
    sockets: RefCell<Sockets>,
    /// No task is taken in any more.
    is_over: Cell<bool>,
    /// Tasks of it that the worker waits for when it drains.
    detached: Cell<u32>,
    /// Wakers that nobody holds any more.
    spare_wakers: RefCell<Vec<TaskWakers>>,
    /// The task that is being polled has asked to outlive its client.
    asked_to_detach: Cell<bool>,
}

/// A waker in the two forms that it is needed in.
pub(crate) struct TaskWakers {
    pub(crate) of_task: Arc<TaskWaker>,
    pub(crate) waker: Waker,
}

impl TaskWakers {
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.of_task) > 2
    }
}

impl Runtime {
    /// A runtime for the worker that the calling thread is from now on. Its sockets send from `send_blocks`, and hold
    /// so many receive blocks together that wait to be read.
    pub(crate) fn enter(
        bell: Bell,
        now: u64,
        is_simulated: bool,
        send_blocks: Blocks,
        max_held_blocks: u32,
    ) -> Rc<Self> {
        let runtime = Rc::new(Self {
            slots: Slots::new(),
            mailbox: Mailbox::new(sync::bell(bell)),
            now: Cell::new(now),
            is_simulated,
            timers: RefCell::new(Timers::new(now)),
            due: Cell::new(u64::MAX),
            tasks: RefCell::new(Slab::new(TASKS_MAX)),
            sockets: RefCell::new(Sockets::new(now, send_blocks, max_held_blocks)),
            is_over: Cell::new(false),
            detached: Cell::new(0),
            spare_wakers: RefCell::default(),
            asked_to_detach: Cell::new(false),
        });
        CURRENT.set(Some(Rc::clone(&runtime)));
        runtime
    }

    /// Makes the calling thread this worker again, where it has been another since. Only for several workers on one
    /// thread, which take turns.
    pub(crate) fn make_current(self: &Rc<Self>) {
        self.mailbox.make_current();
        CURRENT.set(Some(Rc::clone(self)));
    }

    /// Ends what belongs to no connection, and the thread's being a worker.
    pub(crate) fn leave(self: &Rc<Self>) {
        self.drop_tasks();
        let is_current =
            CURRENT.with_borrow(|current| current.as_ref().is_some_and(|current| Rc::ptr_eq(current, self)));
        if is_current {
            CURRENT.set(None);
        }
    }

    /// The runtime of the calling thread.
    ///
    /// # Panics
    /// On a thread that is no worker; `what` needs one.
    #[track_caller]
    pub(crate) fn current(what: &str) -> Rc<Self> {
        match CURRENT.with_borrow(Clone::clone) {
            Some(runtime) => runtime,
            None => panic!(
                "{what} works on a worker's thread only: in handlers, middleware, state and spawned tasks"
            ),
        }
    }

    /// Milliseconds of the monotonic clock: never behind the last turn.
    pub(crate) fn now(&self) -> u64 {
        if self.is_simulated {
            self.now.get()
        } else {
            self.now.get().max(clock::precise_nanos() / 1_000_000)
        }
    }

    /// A waker for a task, which its owner polls when it is [`woken`](Self::take_woken).
    pub(crate) fn waker(&self, owner: Owner) -> TaskWakers {
        if let Some(wakers) = self.spare_wakers.borrow_mut().pop() {
            wakers.of_task.hand_to(owner);
            return wakers;
        }
        let of_task = TaskWaker::new(owner, &self.mailbox);
        TaskWakers { waker: Waker::from(Arc::clone(&of_task)), of_task }
    }

    /// Takes back the waker of a task that has ended. Whoever still holds it must not wake another's task.
    pub(crate) fn give_waker(&self, wakers: TaskWakers) {
        let mut spare = self.spare_wakers.borrow_mut();
        if !wakers.is_shared() && spare.len() < SPARE_WAKERS_MAX {
            spare.push(wakers);
        }
    }

    /// Swaps the list of woken tasks for an empty one.
    pub(crate) fn take_woken(&self, into: &mut Vec<Arc<TaskWaker>>) {
        self.mailbox.take(into);
    }

    /// Whether a task waits to be polled.
    pub(crate) fn has_woken(&self) -> bool {
        self.mailbox.has_woken()
    }

    /// When [`advance`](Self::advance), or another start of its sockets, has something to do.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<u64> {
        let due = self.due.get();
        let timers = (due != u64::MAX).then_some(due);
        [timers, self.sockets.borrow().next_due()].into_iter().flatten().min()
    }

    /// Wakes `waker` at `deadline`; `None` when there is no memory for it.
    fn add_timer(&self, deadline: u64, waker: Waker) -> Option<Key> {
        let mut timers = self.timers.borrow_mut();
        let timer = timers.insert(self.now(), deadline, waker)?;
        self.due.set(timers.next_due().unwrap_or(u64::MAX));
        Some(timer)
    }

    /// Wakes whoever has waited for a time that has come.
    #[inline]
    pub(crate) fn advance(&self, now: u64) {
        self.now.set(now);
        if self.due.get() != u64::MAX {
            self.wake_expired();
        }
    }

    #[inline(never)]
    fn wake_expired(&self) {
        let now = self.now();
        loop {
            // The wakers may be anybody's code: nothing is borrowed while they run.
            let expired = {
                let mut timers = self.timers.borrow_mut();
                let expired = timers.pop_expired(now);
                self.due.set(timers.next_due().unwrap_or(u64::MAX));
                expired
            };
            let Some(waker) = expired else { return };
            waker.wake();
        }
    }

    /// Polls a task's future with whatever `poll` does, and tells whether it has asked to outlive its client.
    pub(crate) fn poll<T>(&self, poll: impl FnOnce() -> T) -> (T, bool) {
        let before = self.asked_to_detach.replace(false);
        let polled = poll();
        (polled, self.asked_to_detach.replace(before))
    }

    /// Gives memory back that an earlier peak has left. For quiet moments.
    pub(crate) fn trim(&self) {
        self.slots.trim(8);
        self.tasks.borrow_mut().trim();
        self.sockets.borrow_mut().trim();
        self.timers.borrow_mut().trim();
        let mut spare = self.spare_wakers.borrow_mut();
        spare.truncate(8);
        spare.shrink_to_fit();
    }
}

/// From here on the handler runs to its end, even if its client disconnects; what it answers is then dropped.
///
/// Without this a handler's future is dropped where it waits when its client is gone, so that nobody works for
/// nothing. Work that must not stop half-way asks for it first:
///
/// ```
/// # async fn charge() {}
/// # async fn book() {}
/// async fn pay() -> &'static str {
///     peregrine::detach();
///     charge().await;
///     book().await;
///     "paid"
/// }
/// # let mut app = peregrine::App::new();
/// # app.post("/pay", pay);
/// ```
///
/// A worker that drains waits for detached handlers, as long as the shutdown may take. It has no effect but in the
/// `async` part of a handler: sync handlers end before anybody could leave, and spawned tasks have no client.
///
/// # Panics
/// On a thread that is no worker.
pub fn detach() {
    Runtime::current("detach").asked_to_detach.set(true);
}

/// Drops a value that is not ours. It may panic as it goes, which must not take the worker along.
pub(crate) fn drop_foreign<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        drop_panic(panic);
    }
}

/// Drops what foreign code has panicked with, which may panic as it goes.
pub(crate) fn drop_panic(panic: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

/// A future in a slot, seen as no more than that.
pub(crate) type Running = Placed<dyn Future<Output = ()>>;
