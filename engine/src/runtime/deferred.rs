//! One value from any thread to whoever awaits it.
//!
//! Owns the place that both ends share: the value, whom to wake, and whom to tell that nobody waits any more. It must
//! not know workers, handlers or clients: the waiting end is a future like any other.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::drop_foreign;

/// A place for one value: any thread completes it by the [`Deferred`], and the [`Answer`] is awaited, mostly by a handler.
///
/// For answers that come from elsewhere: threads of your own, a queue, a library's callback, another runtime.
///
/// ```
/// use std::sync::mpsc::{Receiver, Sender, channel};
/// use std::sync::{Arc, Mutex};
/// use std::thread;
///
/// use peregrine::prelude::*;
/// use peregrine::{Deferred, Answer, deferred};
///
/// /// A question, and where its answer belongs.
/// type Job = (u64, Deferred<String>);
///
/// /// Threads that answer.
/// struct Oracle(Sender<Job>);
///
/// impl Oracle {
///     fn start(threads: usize) -> Self {
///         let (sender, receiver) = channel();
///         let receiver = Arc::new(Mutex::new(receiver));
///         for _ in 0..threads {
///             let receiver = Arc::clone(&receiver);
///             thread::spawn(move || answer_all(&receiver));
///         }
///         Self(sender)
///     }
///
///     fn ask(&self, question: u64) -> Answer<String> {
///         let (deferred, reply) = deferred();
///         // If the threads are gone it is dropped, and the reply is `Cancelled`.
///         let _ = self.0.send((question, deferred));
///         reply
///     }
/// }
///
/// fn answer_all(jobs: &Mutex<Receiver<Job>>) {
///     while let Ok((question, deferred)) = { jobs.lock().unwrap().recv() } {
///         if deferred.is_cancelled() {
///             continue; // the client has gone: nobody would read it
///         }
///         let answer = (1..=question).product::<u64>().to_string();
///         let _ = deferred.complete(answer);
///     }
/// }
///
/// async fn ask(Shared(oracle): Shared<Oracle>, Path(question): Path<u64>) -> Result<String> {
///     let answer = oracle.ask(question).await?;
///     Ok(answer)
/// }
///
/// let mut app = App::new();
/// app.shared(Arc::new(Oracle::start(4)));
/// app.get("/ask/{question}", ask);
/// # let (deferred, reply) = deferred::<String>();
/// # drop(reply);
/// # assert!(deferred.is_cancelled());
/// ```
///
/// A handler may also return the reply as it is, if a value of `R` can be a response:
///
/// ```
/// # use peregrine::{App, Answer, deferred};
/// fn later() -> Answer<String> {
///     let (deferred, reply) = deferred();
///     std::thread::spawn(move || deferred.complete("from a thread".to_owned()));
///     reply
/// }
/// # let mut app = App::new();
/// # app.get("/later", later);
/// ```
pub fn deferred<R>() -> (Deferred<R>, Answer<R>) {
    let shared = Arc::new(Shared(Mutex::new(State::Waiting { waiter: None, on_cancel: Vec::new() })));
    (Deferred { shared: Some(Arc::clone(&shared)) }, Answer { shared })
}

enum State<R> {
    Waiting {
        waiter: Option<Waker>,
        on_cancel: Vec<Box<dyn FnOnce() + Send>>,
    },
    /// The value, or `None` if there will be none.
    Complete(Option<R>),
    /// The reply was dropped, or has its value.
    Over,
}

struct Shared<R>(Mutex<State<R>>);

impl<R> Shared<R> {
    /// What is locked is whole even if a thread has panicked: no code of others runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the value back if nobody waits for it.
    fn complete(&self, value: Option<R>) -> Result<(), Option<R>> {
        let mut state = self.lock();
        if matches!(*state, State::Over) {
            return Err(value);
        }
        let former = std::mem::replace(&mut *state, State::Complete(value));
        drop(state);
        if let State::Waiting { waiter, on_cancel } = former {
            if let Some(waiter) = waiter {
                waiter.wake();
            }
            drop_foreign(on_cancel);
        }
        Ok(())
    }
}

/// The end of [`deferred`] that completes it, once, on any thread. If it is dropped instead, the reply is
/// [`Cancelled`].
#[must_use = "dropping it cancels the reply"]
pub struct Deferred<R> {
    /// `None` once it has been completed.
    shared: Option<Arc<Shared<R>>>,
}

impl<R> Deferred<R> {
    /// Completes the reply, and wakes whoever awaits it.
    ///
    /// # Errors
    /// The value, when nobody waits for it any more.
    pub fn complete(mut self, value: R) -> Result<(), R> {
        let Some(shared) = self.shared.take() else { return Err(value) };
        // Whoever gets a value back has given one.
        shared.complete(Some(value)).map_err(|value| value.expect("a value"))
    }

    /// Whether nobody waits any more: the reply was dropped, as it is when the client of the handler that awaits it
    /// disconnects. What is still to be done for it may be left out.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| matches!(*shared.lock(), State::Over))
    }

    /// Calls `tell` when the reply is dropped before this is completed: at once if it has been dropped already, and
    /// never if this is completed or dropped first. Each call of this adds one to be told.
    ///
    /// It is called on the thread that drops the reply, which mostly is a worker's: it must not block. A panic of it is
    /// told by the panic hook and goes no further.
    ///
    /// ```
    /// let (deferred, reply) = peregrine::deferred::<String>();
    /// let (sender, stop) = std::sync::mpsc::channel();
    /// deferred.on_cancel(move || drop(sender.send("stop")));
    /// drop(reply);
    /// assert_eq!(stop.recv(), Ok("stop"));
    /// ```
    pub fn on_cancel(&self, tell: impl FnOnce() + Send + 'static) {
        if let Some(shared) = &self.shared
            && let State::Waiting { on_cancel, .. } = &mut *shared.lock()
        {
            on_cancel.push(Box::new(tell));
            return;
        }
        call(tell);
    }
}

/// Calls foreign code that must not take its caller along.
fn call(tell: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(tell)) {
        super::drop_panic(panic);
    }
}

impl<R> Drop for Deferred<R> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // Nobody may wait for it any more, which is fine.
            let _ = shared.complete(None);
        }
    }
}

impl<R> fmt::Debug for Deferred<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// The end of [`deferred`] that is awaited, by a worker's task or on any other executor. Dropping it tells the
/// [`Deferred`] that nobody waits any more.
#[must_use = "dropping it cancels what it waits for"]
pub struct Answer<R> {
    shared: Arc<Shared<R>>,
}

impl<R> Future for Answer<R> {
    type Output = Result<R, Cancelled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match &mut *state {
            State::Waiting { waiter, .. } => {
                if waiter.as_ref().is_some_and(|waiter| waiter.will_wake(context.waker())) {
                    return Poll::Pending;
                }
                let former = waiter.replace(context.waker().clone());
                // Its end is foreign code.
                drop(state);
                drop(former);
                Poll::Pending
            }
            State::Complete(value) => {
                let value = value.take().ok_or(Cancelled(()));
                *state = State::Over;
                Poll::Ready(value)
            }
            State::Over => panic!("polled after it has completed"),
        }
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        let former = std::mem::replace(&mut *self.shared.lock(), State::Over);
        if let State::Waiting { on_cancel, .. } = former {
            on_cancel.into_iter().for_each(call);
        }
    }
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ready = matches!(*self.shared.lock(), State::Complete(_));
        f.debug_struct("Answer").field("is_ready", &is_ready).finish()
    }
}

/// The error of a [`Answer`]: its [`Deferred`] was dropped without a value. A handler that returns it answers 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled(());

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was to be completed has been dropped")
    }
}

impl std::error::Error for Cancelled {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::super::testing::{await_true, block_on, poll_once, run_on_worker};
    use super::super::{sleep, spawn, timeout};
    use super::*;

    /// Counts how often it is told.
    fn count_cancels<R>(deferred: &Deferred<R>) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&count);
        deferred.on_cancel(move || {
            theirs.fetch_add(1, Ordering::Relaxed);
        });
        count
    }

    #[test]
    fn any_thread_completes_it() {
        let (before, reply) = deferred();
        assert_eq!(before.complete(1), Ok(()));
        assert_eq!(block_on(reply), Ok(1));

        let (meanwhile, mut reply) = deferred();
        assert_eq!(poll_once(Pin::new(&mut reply)), Poll::Pending);
        assert!(!meanwhile.is_cancelled());
        let count = count_cancels(&meanwhile);
        let thread = thread::spawn(move || meanwhile.complete(2));
        assert_eq!(block_on(reply), Ok(2));
        assert_eq!(thread.join().expect("no panic"), Ok(()));
        assert_eq!(
            (count.load(Ordering::Relaxed), Arc::strong_count(&count)),
            (0, 1),
            "nobody was cancelled"
        );
    }

    #[test]
    fn a_worker_that_sleeps_is_woken_by_it() {
        let (deferred, reply) = deferred();
        let (send, begun) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            begun.recv().expect("it begins");
            deferred.complete("from a thread").expect("it waits");
        });
        let answer = run_on_worker(async move {
            spawn(async move { send.send(()).expect("a thread") });
            reply.await
        });
        assert_eq!(answer, Ok("from a thread"));
        thread.join().expect("no panic");
    }

    #[test]
    fn one_that_is_dropped_cancels_its_reply() {
        let (before, reply) = deferred::<u8>();
        drop(before);
        assert_eq!(block_on(reply), Err(Cancelled(())));

        let (meanwhile, mut reply) = deferred::<u8>();
        assert!(poll_once(Pin::new(&mut reply)).is_pending());
        let count = count_cancels(&meanwhile);
        thread::spawn(move || drop(meanwhile)).join().expect("no panic");
        assert_eq!(block_on(reply), Err(Cancelled(())));
        assert_eq!((count.load(Ordering::Relaxed), Arc::strong_count(&count)), (0, 1));
    }

    #[test]
    fn who_has_gone_is_told_of_once_and_gives_the_value_back() {
        let (deferred, reply) = deferred();
        let counts: [_; 2] = std::array::from_fn(|_| count_cancels(&deferred));
        drop(reply);
        assert!(deferred.is_cancelled());
        let late = count_cancels(&deferred);
        assert_eq!(deferred.complete("nobody reads it".to_owned()), Err("nobody reads it".to_owned()));
        for count in counts.iter().chain([&late]) {
            assert_eq!((count.load(Ordering::Relaxed), Arc::strong_count(count)), (1, 1));
        }
    }

    #[test]
    fn a_reply_that_is_dropped_with_its_future_is_cancelled() {
        let (deferred, reply) = deferred::<u8>();
        let count = count_cancels(&deferred);
        // The clock stands still, so that only the task's being dropped ends it.
        run_on_worker(async move {
            drop(spawn(async move { timeout(std::time::Duration::from_secs(1), reply).await }));
            sleep(std::time::Duration::ZERO).await;
        });
        await_true("the cancellation", || deferred.is_cancelled());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_of_who_is_told_stops_nobody() {
        let (deferred, reply) = deferred::<u8>();
        deferred.on_cancel(|| panic!("it is told of a cancellation"));
        let count = count_cancels(&deferred);
        drop(reply);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        deferred.on_cancel(|| panic!("it is told late"));
    }

    #[test]
    fn a_value_arrives_or_a_cancellation_is_told_and_never_both() {
        for round in 0..2000 {
            let (deferred, reply) = deferred();
            let count = count_cancels(&deferred);
            let value = Arc::new(round);
            let theirs = Arc::clone(&value);
            let thread = thread::spawn(move || deferred.complete(theirs).is_ok());
            if round % 2 == 0 {
                thread::yield_now();
            }
            drop(reply);
            let is_complete = thread.join().expect("no panic");
            assert_eq!(count.load(Ordering::Relaxed), usize::from(!is_complete), "round {round}");
            assert_eq!(Arc::strong_count(&value), 1, "the value is dropped");
        }
    }

    #[test]
    fn both_ends_go_to_other_threads() {
        fn is_send<T: Send>(_: &T) {}
        let (deferred, reply) = deferred::<std::cell::Cell<u8>>();
        is_send(&deferred);
        is_send(&reply);
        assert_eq!(
            format!("{deferred:?} {reply:?}"),
            "Deferred { is_cancelled: false } Answer { is_ready: false }"
        );
    }
}
