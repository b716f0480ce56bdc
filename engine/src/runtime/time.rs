//! Waiting for time: `sleep`, `timeout`, `interval`.
//!
//! Owns the futures that handlers see. Whom to wake when is kept by the runtime of the worker.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use peregrine_pool::Key;
use pin_project_lite::pin_project;

use super::Runtime;

/// Waits for `duration`, in whole milliseconds, rounded up; never shorter, and a few milliseconds longer. No other
/// thread and no system call is needed for it: the worker's next wait ends in time.
///
/// ```
/// use std::time::Duration;
///
/// async fn patient() -> &'static str {
///     peregrine::sleep(Duration::from_millis(20)).await;
///     "here you are"
/// }
/// # let mut app = peregrine::App::new();
/// # app.get("/", patient);
/// ```
///
/// # Panics
/// On a thread that is no worker.
#[must_use = "a sleep does nothing unless it is awaited"]
pub fn sleep(duration: Duration) -> Sleep {
    let runtime = Runtime::current("sleep");
    Sleep { deadline: deadline(&runtime, duration), timer: None, runtime }
}

fn deadline(runtime: &Runtime, duration: Duration) -> u64 {
    // One more, because the current millisecond has begun already.
    let begun = u64::from(!duration.is_zero() && !runtime.is_simulated);
    let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    runtime.now().saturating_add(millis).saturating_add(begun)
}

/// The future of [`sleep`].
pub struct Sleep {
    runtime: Rc<Runtime>,
    /// In milliseconds of the monotonic clock.
    deadline: u64,
    timer: Option<Key>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.runtime.now() >= self.deadline {
            self.forget();
            return Poll::Ready(());
        }
        match self.timer {
            Some(timer) => self.runtime.timers.borrow_mut().rewake(timer, context.waker()),
            None => {
                let timer = self.runtime.add_timer(self.deadline, context.waker().clone());
                if timer.is_none() {
                    // Without a timer there is nothing but to ask again.
                    context.waker().wake_by_ref();
                }
                self.timer = timer;
            }
        }
        Poll::Pending
    }
}

impl Sleep {
    fn forget(&mut self) {
        if let Some(timer) = self.timer.take() {
            let waker = self.runtime.timers.borrow_mut().remove(timer);
            drop(waker);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// Waits for `future`, but no longer than `duration`.
///
/// ```
/// use std::time::Duration;
///
/// use peregrine::prelude::*;
///
/// # async fn fetch() -> String { String::new() }
/// async fn page() -> Result<String> {
///     Ok(peregrine::timeout(Duration::from_secs(2), fetch()).await?)
/// }
/// # let mut app = peregrine::App::new();
/// # app.get("/", page);
/// ```
///
/// # Errors
/// [`Elapsed`] when the time has passed first; `future` is dropped with the [`Timeout`].
///
/// # Panics
/// On a thread that is no worker.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(duration) }
}

pin_project! {
    /// The future of [`timeout`].
    #[must_use = "nothing happens unless it is awaited"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// The error of [`timeout`]: the time has passed. A handler that returns it answers 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time-out has passed")
    }
}

impl std::error::Error for Elapsed {}

/// Ticks every `period`, for the first time after one.
///
/// A tick that comes late does not delay those after it; ticks that nobody has waited for are left out.
///
/// # Panics
/// `period` is shorter than a millisecond, or the thread is no worker.
#[must_use]
pub fn interval(period: Duration) -> Interval {
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    assert!(millis > 0, "an interval of less than a millisecond");
    Interval { sleep: sleep(period), millis }
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    millis: u64,
}

impl Interval {
    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        (&mut self.sleep).await;
        let passed = self.sleep.runtime.now().saturating_sub(self.sleep.deadline) / self.millis;
        self.sleep.deadline = self.sleep.deadline.saturating_add((passed + 1).saturating_mul(self.millis));
    }
}
