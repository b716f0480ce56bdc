//! Work that blocks, away from the workers' threads.
//!
//! Owns the pool of threads, its queue, and what a piece of work comes to until somebody asks. Any thread may hand
//! work in and any thread may wait for it. It must not know what the work is, nor workers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::{JoinError, drop_foreign, drop_panic};
use crate::sys::cpu;

/// Threads of the process's pool, at most: as many as tokio's.
const THREADS_MAX: usize = 512;

/// How long a thread waits for more work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(10);

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Pool::new(THREADS_MAX, IDLE_TIME));

/// Runs `work`, which may block, on a thread of its own kind, and completes with what it returns.
///
/// A worker must never wait for a disk, a lock, a child process or another library's socket, nor compute for long: its
/// other connections would wait too. All of this belongs in here:
///
/// ```
/// use peregrine::prelude::*;
///
/// async fn report() -> Result<String> {
///     let text = peregrine::blocking(|| std::fs::read_to_string("/etc/hostname")).await??;
///     Ok(text)
/// }
/// # let mut app = App::new();
/// # app.get("/report", report);
/// ```
///
/// The work is handed over at once, not only when the future is awaited, so that several pieces go on side by side.
/// Dropping the future abandons it: what has not begun by then never does, and is dropped at once; what has begun runs
/// to its end, and its value is dropped there.
///
/// One pool of threads serves the whole process. They are started as they are needed, 512 at most, run on every CPU
/// that the process may use, wherever workers are pinned, are named `peregrine-blocking-N`, and end after 10 seconds
/// without work. While all of them are busy, work waits in a queue that only the memory bounds: an application that
/// must refuse work rather than let it wait limits it itself. Nobody waits for these threads when the process ends.
///
/// This works on any thread, worker or not, and the future may be polled by any executor.
///
/// # Errors
/// [`JoinError`] when `work` has panicked, of which the panic hook has told, or when no thread could be started for it
/// and none was there.
pub fn blocking<F, T>(work: F) -> Blocking<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    POOL.run(work)
}

/// The future of [`blocking`].
#[must_use = "dropping it abandons the work"]
pub struct Blocking<T> {
    outcome: Arc<dyn Outcome<T>>,
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.poll(context)
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        self.outcome.abandon();
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

/// What is locked is whole even if a thread has panicked: no work of others runs under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One piece of work, as its thread sees it.
trait Job: Send + Sync {
    fn run(&self);
    /// Nobody will run it.
    fn fail(&self);
}

/// One piece of work, as its future sees it.
trait Outcome<T>: Send + Sync {
    fn poll(&self, context: &Context<'_>) -> Poll<Result<T, JoinError>>;
    fn abandon(&self);
}

enum State<F, T> {
    Queued(F, Option<Waker>),
    Running(Option<Waker>),
    Done(Result<T, JoinError>),
    /// Nobody wants it, or it has been handed out.
    Over,
}

/// Shared by queue and future.
struct Piece<F, T>(Mutex<State<F, T>>);

impl<F, T> Piece<F, T> {
    fn finish(&self, result: Result<T, JoinError>) {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, State::Over) {
            State::Queued(_, waiter) | State::Running(waiter) => {
                *state = State::Done(result);
                drop(state);
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
            }
            State::Done(_) | State::Over => {
                drop(state);
                drop_foreign(result);
            }
        }
    }
}

impl<F, T> Job for Piece<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&self) {
        let mut state = lock(&self.0);
        let State::Queued(work, waiter) = std::mem::replace(&mut *state, State::Over) else { return };
        *state = State::Running(waiter);
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            drop_panic(panic);
            JoinError(())
        });
        self.finish(result);
    }

    fn fail(&self) {
        let mut state = lock(&self.0);
        let State::Queued(work, waiter) = std::mem::replace(&mut *state, State::Over) else { return };
        *state = State::Running(waiter);
        drop(state);
        drop_foreign(work);
        self.finish(Err(JoinError(())));
    }
}

impl<F: Send, T: Send> Outcome<T> for Piece<F, T> {
    fn poll(&self, context: &Context<'_>) -> Poll<Result<T, JoinError>> {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Queued(_, waiter) | State::Running(waiter) => {
                if waiter.as_ref().is_some_and(|waiter| waiter.will_wake(context.waker())) {
                    return Poll::Pending;
                }
                let former = waiter.replace(context.waker().clone());
                // Its end is foreign code.
                drop(state);
                drop(former);
                Poll::Pending
            }
            State::Done(_) => match std::mem::replace(&mut *state, State::Over) {
                State::Done(result) => Poll::Ready(result),
                _ => unreachable!("it was done a line above"),
            },
            State::Over => panic!("polled after it has completed"),
        }
    }

    fn abandon(&self) {
        let abandoned = std::mem::replace(&mut *lock(&self.0), State::Over);
        drop(abandoned);
    }
}

/// Threads for work that blocks.
struct Pool {
    queue: Mutex<Queue>,
    /// There is work, for one of the idle threads.
    has_work: Condvar,
    threads_max: usize,
    idle_time: Duration,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Arc<dyn Job>>,
    threads: usize,
    /// Those that wait for work, and those that have been told of it but have not looked yet.
    idle: usize,
    /// Threads begun so far; the number of the last one.
    last_number: u64,
}

impl Pool {
    fn new(threads_max: usize, idle_time: Duration) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), has_work: Condvar::new(), threads_max, idle_time })
    }

    fn run<F, T>(self: &Arc<Self>, work: F) -> Blocking<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let piece = Arc::new(Piece(Mutex::new(State::Queued(work, None))));
        self.submit(Arc::clone(&piece) as Arc<dyn Job>);
        Blocking { outcome: piece }
    }

    fn submit(self: &Arc<Self>, job: Arc<dyn Job>) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        if queue.idle > 0 {
            self.has_work.notify_one();
        }
        if queue.jobs.len() <= queue.idle || queue.threads == self.threads_max {
            return;
        }
        queue.threads += 1;
        queue.last_number += 1;
        let number = queue.last_number;
        drop(queue);
        if self.start_thread(number).is_err() {
            self.do_without_thread();
        }
    }

    fn start_thread(self: &Arc<Self>, number: u64) -> io::Result<()> {
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name(format!("peregrine-blocking-{number}"));
        thread.spawn(move || pool.work()).map(drop)
    }

    /// A thread could not be started. The others will do, unless there are none.
    #[cold]
    fn do_without_thread(&self) {
        let mut queue = lock(&self.queue);
        queue.threads -= 1;
        let lost = if queue.threads == 0 { std::mem::take(&mut queue.jobs) } else { VecDeque::new() };
        drop(queue);
        for job in lost {
            job.fail();
        }
    }

    /// The life of a thread.
    fn work(&self) {
        // It has inherited the CPU of the worker that has started it, which it must not take time from.
        if let Some(cpus) = cpu::of_process() {
            let _ = cpu::pin(&cpus);
        }
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // The work's own panic never comes so far, but a waker's might.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.run())) {
                    drop_panic(panic);
                }
                drop_foreign(job);
                queue = lock(&self.queue);
                continue;
            }
            queue.idle += 1;
            queue = self.await_work(queue);
            queue.idle -= 1;
            if queue.jobs.is_empty() {
                queue.threads -= 1;
                if queue.threads == 0 {
                    queue.jobs = VecDeque::new();
                }
                return;
            }
        }
    }

    /// Waits until there is work, or none has come for the idle time.
    fn await_work<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let deadline = Instant::now() + self.idle_time;
        while queue.jobs.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.has_work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;
    use std::thread::ThreadId;

    use super::super::testing::{await_true, block_on, poll_once, run_on_worker};
    use super::*;

    /// Longer than any test.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn idle(pool: &Pool) -> usize {
        lock(&pool.queue).idle
    }

    /// Keeps a thread busy until the sender goes. The work has begun when this returns.
    fn occupy(pool: &Arc<Pool>) -> (Sender<()>, Blocking<()>) {
        let (end, ended) = channel::<()>();
        let (begin, begun) = channel();
        let busy = pool.run(move || {
            begin.send(()).expect("it is waited for");
            let _ = ended.recv();
        });
        begun.recv().expect("it begins");
        (end, busy)
    }

    fn thread_of(pool: &Arc<Pool>) -> ThreadId {
        block_on(pool.run(|| thread::current().id())).expect("no panic")
    }

    #[test]
    fn work_runs_on_a_thread_of_its_own_kind() {
        let name = block_on(blocking(|| thread::current().name().map(str::to_owned)));
        let name = name.expect("no panic").expect("a name");
        let number = name.strip_prefix("peregrine-blocking-").expect("the pool's name");
        assert!(number.parse::<u64>().is_ok_and(|number| number > 0), "{name}");
    }

    #[test]
    fn a_worker_that_sleeps_is_woken_by_it() {
        let here = thread::current().id();
        let there = run_on_worker(async { blocking(|| thread::current().id()).await });
        assert_ne!(there.expect("no panic"), here);
    }

    #[test]
    fn thousands_from_several_threads_finish() {
        let threads: [_; 4] = std::array::from_fn(|thread| {
            thread::spawn(move || {
                let pieces: Vec<_> = (0..2500).map(|index| blocking(move || thread * 2500 + index)).collect();
                pieces.into_iter().map(|piece| block_on(piece).expect("no panic")).sum::<usize>()
            })
        });
        let sum: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!(sum, 10_000 * 9_999 / 2);
        assert!(lock(&POOL.queue).threads <= THREADS_MAX);
    }

    #[test]
    fn a_panic_is_an_error_and_costs_no_thread() {
        struct Nasty;
        impl Drop for Nasty {
            fn drop(&mut self) {
                panic!("its payload panics too");
            }
        }
        let pool = Pool::new(1, FOR_EVER);
        let thread = thread_of(&pool);
        let panicking = pool.run(|| -> u8 { panic!("work on a thread of the pool") });
        assert_eq!(block_on(panicking), Err(JoinError(())));
        assert_eq!(block_on(pool.run(|| std::panic::panic_any(Nasty))), Err(JoinError(())));
        assert_eq!(thread_of(&pool), thread);
    }

    #[test]
    fn a_waker_that_panics_costs_no_thread() {
        struct Broken;
        impl Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("a waker on a thread of the pool");
            }
        }
        let pool = Pool::new(1, FOR_EVER);
        let thread = thread_of(&pool);
        let (end, mut busy) = occupy(&pool);
        let waker = Waker::from(Arc::new(Broken));
        assert!(Pin::new(&mut busy).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(end);
        assert_eq!(thread_of(&pool), thread);
        assert_eq!(poll_once(Pin::new(&mut busy)), Poll::Ready(Ok(())));
    }

    #[test]
    fn the_last_who_asked_is_woken() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let pool = Pool::new(1, FOR_EVER);
        let (end, mut busy) = occupy(&pool);
        let counts: [Arc<Count>; 2] = std::array::from_fn(|_| Arc::default());
        for count in [0, 0, 1, 1] {
            let waker = Waker::from(Arc::clone(&counts[count]));
            assert!(Pin::new(&mut busy).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(end);
        thread_of(&pool);
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [0, 1]);
    }

    #[test]
    fn work_that_is_abandoned_before_it_begins_never_does() {
        let pool = Pool::new(1, FOR_EVER);
        let (end, busy) = occupy(&pool);
        let runs = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&runs);
        let queued = pool.run(move || theirs.fetch_add(1, Ordering::Relaxed));
        drop(queued);
        assert_eq!(Arc::strong_count(&runs), 1, "what it holds is dropped at once");
        drop(end);
        // They come one after the other.
        thread_of(&pool);
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        assert_eq!(block_on(busy), Ok(()));
    }

    #[test]
    fn work_that_is_abandoned_while_it_runs_ends_and_its_value_is_dropped() {
        let pool = Pool::new(1, FOR_EVER);
        let (end, ended) = channel::<()>();
        let (begin, begun) = channel();
        let value = Arc::new(());
        let theirs = Arc::clone(&value);
        let running = pool.run(move || {
            begin.send(()).expect("it is waited for");
            let _ = ended.recv();
            theirs
        });
        begun.recv().expect("it begins");
        drop(running);
        assert_eq!(Arc::strong_count(&value), 2, "it runs on");
        drop(end);
        thread_of(&pool);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_value_that_nobody_takes_is_dropped_with_its_future() {
        let pool = Pool::new(1, FOR_EVER);
        let value = Arc::new(());
        let theirs = Arc::clone(&value);
        let done = pool.run(move || theirs);
        thread_of(&pool);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(done);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn no_more_threads_than_allowed_and_all_of_them() {
        let pool = Pool::new(3, FOR_EVER);
        let busy: Vec<_> = (0..3).map(|_| occupy(&pool)).collect();
        let queued: Vec<_> = (0..50).map(|index| pool.run(move || index)).collect();
        {
            let queue = lock(&pool.queue);
            assert_eq!((queue.threads, queue.jobs.len()), (3, 50));
        }
        drop(busy);
        let values: Vec<_> = queued.into_iter().map(|piece| block_on(piece).expect("no panic")).collect();
        assert_eq!(values, (0..50).collect::<Vec<_>>());
        assert_eq!(lock(&pool.queue).last_number, 3);
    }

    #[test]
    fn an_idle_thread_is_used_again() {
        let pool = Pool::new(8, FOR_EVER);
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let thread = thread_of(&pool);
                await_true("its rest", || idle(&pool) == 1);
                thread
            })
            .collect();
        assert!(threads.iter().all(|thread| *thread == threads[0]));
    }

    #[test]
    fn idle_threads_end_and_others_come_when_there_is_work() {
        let pool = Pool::new(8, Duration::from_millis(5));
        for round in 1..=3 {
            let busy: Vec<_> = (0..8).map(|_| occupy(&pool)).collect();
            assert_eq!(lock(&pool.queue).threads, 8);
            drop(busy);
            // Each of them holds the pool for as long as it lives.
            await_true("the threads' end", || Arc::strong_count(&pool) == 1);
            let queue = lock(&pool.queue);
            assert_eq!((queue.threads, queue.idle, queue.last_number), (0, 0, round * 8));
        }
    }

    #[test]
    fn work_that_comes_as_threads_end_is_not_lost() {
        let pool = Pool::new(2, Duration::ZERO);
        for round in 0..500 {
            assert_eq!(block_on(pool.run(move || round)), Ok(round));
        }
        await_true("the threads' end", || Arc::strong_count(&pool) == 1);
    }

    #[test]
    fn without_any_thread_work_fails() {
        let pool = Pool::new(1, FOR_EVER);
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        // As if one were being started.
        lock(&pool.queue).threads = 1;
        let first = pool.run(move || drop(theirs));
        let second = pool.run(|| ());
        pool.do_without_thread();
        assert_eq!([block_on(first), block_on(second)], [Err(JoinError(())); 2]);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(block_on(pool.run(|| 1)), Ok(1), "when there is one again");
    }

    #[test]
    fn threads_do_not_inherit_the_cpu_of_a_worker() {
        let cpus = cpu::of_process().expect("/proc");
        let (there, here) = thread::spawn(|| {
            let cpus = cpu::allowed().expect("CPUs");
            cpu::pin(&cpus[..1]).expect("a CPU");
            let pool = Pool::new(1, FOR_EVER);
            (block_on(pool.run(cpu::allowed)), cpu::allowed())
        })
        .join()
        .expect("no panic");
        assert_eq!(there.expect("no panic").expect("CPUs"), cpus);
        assert_eq!(here.expect("CPUs"), cpus[..1]);
    }

    #[test]
    fn some_abandon_their_work_and_others_get_theirs() {
        // Some abandon at once, some after a poll; all that nobody has abandoned completes.
        let pool = Pool::new(4, Duration::from_millis(1));
        let (send, values): (Sender<usize>, Receiver<usize>) = channel();
        let threads: [_; 3] = std::array::from_fn(|thread| {
            let (pool, send) = (Arc::clone(&pool), send.clone());
            thread::spawn(move || {
                for index in 0..600 {
                    let mut piece = pool.run(move || thread * 600 + index);
                    match index % 3 {
                        0 => drop(piece),
                        1 => drop(poll_once(Pin::new(&mut piece))),
                        _ => send.send(block_on(piece).expect("no panic")).expect("it is read"),
                    }
                }
            })
        });
        drop(send);
        let mut values: Vec<usize> = values.iter().collect();
        values.sort_unstable();
        assert_eq!(values, (0..1800).filter(|index| index % 3 == 2).collect::<Vec<_>>());
        for thread in threads {
            thread.join().expect("no panic");
        }
        await_true("the threads' end", || Arc::strong_count(&pool) == 1);
    }
}
