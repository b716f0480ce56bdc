//! What drives futures in the tests of this room.
//!
//! Owns a waiting thread and a runtime without a worker around it. It must not know what the futures do.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Owner, Runtime, spawn};
use crate::sys::wake::Waker as Bell;

/// How long anything may take that is to happen. Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls, on the calling thread, whenever it is woken.
#[track_caller]
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let deadline = Instant::now() + PATIENCE;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing has woken it within {PATIENCE:?}");
        thread::park_timeout(left);
    }
}

/// Polls with a waker that does nothing.
pub(super) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until `look` is content.
#[track_caller]
pub(super) fn await_true(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a task as a worker does, whose only events are those of the bell; the clock stands still.
#[track_caller]
pub(super) fn run_on_worker<F: Future + 'static>(future: F) -> F::Output {
    let bell = Bell::new().expect("an eventfd");
    let runtime = Runtime::enter(bell.clone(), 0, true, blocks(), 8);
    let mut handle = spawn(future);
    let output = loop {
        let mut woken = Vec::new();
        runtime.take_woken(&mut woken);
        for waker in woken {
            if let Owner::Worker(key) = waker.take() {
                runtime.poll_task(key);
            }
        }
        if let Poll::Ready(output) = poll_once(Pin::new(&mut handle)) {
            break output.expect("no panic");
        }
        if !runtime.has_woken() {
            await_true("the bell", || bell.drain());
        }
    };
    runtime.leave();
    output
}

fn blocks() -> peregrine_pool::Blocks {
    let shape = peregrine_pool::BlockConfig {
        block_bytes: 4096,
        stride_bytes: 4096,
        max_blocks: 64,
        chunk_blocks: 16,
    };
    peregrine_pool::Blocks::new(shape)
}
