//! Tasks that belong to no connection.
//!
//! Owns them from [`spawn`] to their end, and what they come to until somebody asks. They run on the worker's
//! thread, between its connections.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use peregrine_pool::Key;

use super::{Owner, Running, Runtime, TaskWakers, drop_foreign, drop_panic};

/// How often tasks that come while others are dropped are dropped too.
const DROP_ROUNDS: u32 = 64;

/// A task and what wakes it.
pub(super) struct Spawned {
    /// `None` while it is being polled.
    task: Option<Running>,
    wakers: Option<TaskWakers>,
    is_detached: bool,
}

impl Runtime {
    /// Takes a task in. `wakers` are those that it was polled with before, if it was.
    pub(crate) fn adopt(&self, task: Running, wakers: Option<TaskWakers>, is_detached: bool) {
        if self.is_over.get() {
            // To drop it here would be to spawn what it spawns as it goes, and so on.
            return std::mem::forget(task);
        }
        let spawned = Spawned { task: Some(task), wakers: None, is_detached };
        let inserted = self.tasks.borrow_mut().insert(spawned);
        let key = match inserted {
            Ok(key) => key,
            // No memory: it is as if its worker had ended.
            Err(spawned) => return drop_foreign(spawned),
        };
        let owner = Owner::Worker(key);
        let wakers = match wakers {
            Some(wakers) => {
                wakers.of_task.hand_to(owner);
                wakers
            }
            None => self.waker(owner),
        };
        wakers.waker.wake_by_ref();
        if is_detached {
            self.detached.set(self.detached.get() + 1);
        }
        if let Some(spawned) = self.tasks.borrow_mut().get_mut(key) {
            spawned.wakers = Some(wakers);
        }
    }

    /// Runs what a draining worker waits for, and nobody else.
    pub(super) fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        self.adopt(self.slots.place(future, |task| task as &mut dyn Future<Output = ()>), None, true);
    }

    /// Lets a task of the worker go on.
    pub(crate) fn poll_task(&self, key: Key) {
        let (mut task, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(spawned) = tasks.get_mut(key) else { return };
            let Some(task) = spawned.task.take() else { return };
            let Some(wakers) = &spawned.wakers else { return };
            (task, wakers.waker.clone())
        };
        let (polled, _) = self
            .poll(|| catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker)))));
        drop(waker);
        match polled {
            Ok(Poll::Pending) => {
                if let Some(spawned) = self.tasks.borrow_mut().get_mut(key) {
                    spawned.task = Some(task);
                    return;
                }
                // The worker ends.
                drop_foreign(task);
            }
            Ok(Poll::Ready(())) => {
                drop_foreign(task);
                self.remove_task(key);
            }
            // Its hook has told of it; whoever waits for the task is told as it goes.
            Err(panic) => {
                drop_panic(panic);
                drop_foreign(task);
                self.remove_task(key);
            }
        }
    }

    fn remove_task(&self, key: Key) {
        let Some(spawned) = self.tasks.borrow_mut().remove(key) else { return };
        if spawned.is_detached {
            self.detached.set(self.detached.get() - 1);
        }
        if let Some(wakers) = spawned.wakers {
            self.give_waker(wakers);
        }
    }

    /// Whether a task runs that a draining worker waits for.
    pub(crate) fn has_detached(&self) -> bool {
        self.detached.get() > 0
    }

    /// Drops all tasks, and what they spawn as they go.
    pub(super) fn drop_tasks(&self) {
        for _ in 0..DROP_ROUNDS {
            let tasks =
                std::mem::replace(&mut *self.tasks.borrow_mut(), peregrine_pool::Slab::new(super::TASKS_MAX));
            self.detached.set(0);
            if tasks.is_empty() {
                return;
            }
            drop_foreign(tasks);
        }
        // What goes on spawning as it is dropped never comes to an end: the rest is left to the process's end.
        self.is_over.set(true);
        drop_foreign(std::mem::replace(&mut *self.tasks.borrow_mut(), peregrine_pool::Slab::new(1)));
    }
}

/// What a task has come to, until its handle takes it.
struct Outcome<T> {
    value: Option<Result<T, JoinError>>,
    waiter: Option<Waker>,
}

/// Tells the handle how the task has ended, also if it ends without a value.
struct Report<T>(Rc<RefCell<Outcome<T>>>);

impl<T> Report<T> {
    fn set(&self, value: Result<T, JoinError>) {
        let mut outcome = self.0.borrow_mut();
        outcome.value = Some(value);
        let waiter = outcome.waiter.take();
        drop(outcome);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        if self.0.borrow().value.is_none() && Rc::strong_count(&self.0) > 1 {
            self.set(Err(JoinError(())));
        }
    }
}

/// Runs `future` on this worker, beside whatever runs there. It need not be `Send`, and goes on if its handle is
/// dropped. When the worker ends it is dropped where it waits.
///
/// ```
/// async fn index() -> String {
///     let one = peregrine::spawn(async { 1 });
///     let two = peregrine::spawn(async { 2 });
///     match (one.await, two.await) {
///         (Ok(one), Ok(two)) => format!("{}", one + two),
///         _ => "one of them has panicked".to_owned(),
///     }
/// }
/// # let mut app = peregrine::App::new();
/// # app.get("/", index);
/// ```
///
/// # Panics
/// On a thread that is no worker.
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    let runtime = Runtime::current("spawn");
    let outcome = Rc::new(RefCell::new(Outcome { value: None, waiter: None }));
    let report = Report(Rc::clone(&outcome));
    let task = async move {
        // In here, so that a panic drops it.
        let report = report;
        let value = future.await;
        report.set(Ok(value));
    };
    runtime.adopt(runtime.slots.place(task, |task| task as &mut dyn Future<Output = ()>), None, false);
    JoinHandle { outcome }
}

/// Waits for a task of [`spawn`]; dropping it lets the task run on.
pub struct JoinHandle<T> {
    outcome: Rc<RefCell<Outcome<T>>>,
}

impl<T> JoinHandle<T> {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().value.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut outcome = self.outcome.borrow_mut();
        match outcome.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                outcome.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// A task, or work of [`blocking`](crate::blocking), has ended without a value: it has panicked, or what it ran on has
/// ended. A handler that returns it answers 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinError(pub(super) ());

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task has panicked, or what it ran on has ended")
    }
}

impl std::error::Error for JoinError {}
