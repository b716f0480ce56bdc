//! Answers from threads of one's own: a handler hands its question to a pool, and the worker serves others meanwhile.
//!
//! `curl localhost:5000/primes/1000000` counts the primes up to a million. `curl -m 1 localhost:5000/primes/4000000000`
//! goes before the answer comes: its thread notices and turns to the next. `curl localhost:5000/given-up` tells how
//! often that was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use peregrine::prelude::*;
use peregrine::{Answer, Deferred, deferred};

/// A question, and where its answer belongs.
struct Job {
    limit: u64,
    answer: Deferred<String>,
}

/// Threads that count primes.
struct Pool {
    jobs: Sender<Job>,
    /// Jobs that nobody waited for any more.
    given_up: AtomicU64,
}

impl Pool {
    fn start(threads: usize) -> Arc<Self> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let pool = Arc::new(Self { jobs: sender, given_up: AtomicU64::new(0) });
        for _ in 0..threads {
            let (pool, receiver) = (Arc::clone(&pool), Arc::clone(&receiver));
            thread::spawn(move || pool.work(&receiver));
        }
        pool
    }

    /// If it cannot be handed over it is dropped, and the answer to the client is 500.
    fn ask(&self, limit: u64) -> Answer<String> {
        let (answer, reply) = deferred();
        let _ = self.jobs.send(Job { limit, answer });
        reply
    }

    /// The life of a thread.
    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        // The lock is held while waiting, not while counting.
        while let Ok(Job { limit, answer }) = { jobs.lock().expect("nobody panics with it").recv() } {
            let primes = count_primes(limit, || answer.is_cancelled());
            let is_wanted = match primes {
                Some(primes) => answer.complete(format!("{primes} primes up to {limit}")).is_ok(),
                None => false,
            };
            if !is_wanted {
                self.given_up.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Simple and slow. `None` when it is to stop before the end.
fn count_primes(limit: u64, is_to_stop: impl Fn() -> bool) -> Option<u64> {
    let is_prime = |number: u64| {
        (2..).take_while(|least| least * least <= number).all(|least| !number.is_multiple_of(least))
    };
    let mut count = 0;
    for number in 2..=limit {
        if number.is_multiple_of(1024) && is_to_stop() {
            return None;
        }
        count += u64::from(is_prime(number));
    }
    Some(count)
}

fn primes(Shared(pool): Shared<Pool>, Path(limit): Path<u64>) -> Answer<String> {
    pool.ask(limit)
}

fn given_up(Shared(pool): Shared<Pool>) -> String {
    pool.given_up.load(Ordering::Relaxed).to_string()
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.shared(Pool::start(2));
    app.get("/primes/{limit}", primes).get("/given-up", given_up);
    app.run()
}
