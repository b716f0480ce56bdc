//! A running server: its workers as one thing, to be drained and waited for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::{Result, StartError};
use super::listener::{self, Bound, SocketFiles};
use super::options::Options;
use super::placement::{self, Machine, Placement};
use super::worker::{self, Control, Plan};
use super::{address, banner};
use crate::app::Router;
use crate::sys::limits;
use crate::sys::signal::{Signals, Wait};
use crate::sys::wake::Waker;

/// The fewest descriptors that a server can do anything with.
const DESCRIPTORS_MIN: u64 = 64;

/// A running server, as [`App::start`](crate::App::start) returns it. Dropping it ends it at once.
pub struct Server {
    urls: Vec<String>,
    addresses: Vec<SocketAddr>,
    warnings: Vec<String>,
    driver: String,
    workers: Vec<RunningWorker>,
    control: Arc<Control>,
    /// Rung by a worker that has ended.
    ended: Waker,
    shutdown_timeout: Duration,
    /// Removes the files of Unix sockets when dropped.
    _files: SocketFiles,
}

struct RunningWorker {
    thread: JoinHandle<io::Result<()>>,
    waker: Waker,
}

impl Server {
    /// Binds everything, then starts the workers, and returns when all of them serve.
    pub(crate) fn start(options: Options, router: &Router) -> Result<Self> {
        let options = Arc::new(options.checked()?);
        let available = limits::raise_descriptors().map_err(|source| StartError::System {
            attempt: "read the limit of descriptors".to_owned(),
            source,
        })?;
        let placement = Arc::new(placement::place(&options, &Machine::read()?)?);
        let count = placement.workers.len();
        // A worker takes a ring or an epoll, a bell, and a socket per address.
        if available < DESCRIPTORS_MIN + 8 * count as u64 {
            return Err(StartError::TooFewDescriptors { available });
        }
        let endpoints = address::parse_all(&options.urls)?;
        let Bound { urls, addresses, per_worker, warnings, files } =
            listener::bind(&endpoints, count, options.backlog)?;
        let control = Arc::new(Control::new());
        let system = |attempt: &str| {
            let attempt = attempt.to_owned();
            move |source| StartError::System { attempt, source }
        };
        let ended = Waker::new().map_err(system("make an eventfd"))?;
        let (ready, readiness) = mpsc::channel();
        let mut workers = Vec::with_capacity(count);
        for (index, listeners) in per_worker.into_iter().enumerate() {
            let waker = Waker::new().map_err(system("make an eventfd"))?;
            let plan = Plan {
                index,
                options: Arc::clone(&options),
                listeners,
                router: router.clone(),
                control: Arc::clone(&control),
                waker: waker.clone(),
            };
            let (ready, ended, placement) = (ready.clone(), ended.clone(), Arc::clone(&placement));
            let thread = std::thread::Builder::new()
                .name(format!("peregrine-{index}"))
                .spawn(move || {
                    let _rings = RingsWhenDropped(ended);
                    let unplaced = placement.enter(index).map_err(|error| format!("CPU affinity: {error}"));
                    if let Err(problem) = unplaced {
                        let _ = ready.send(Err(problem));
                        return Ok(());
                    }
                    plan.run(|outcome| {
                        let _ = ready.send(outcome);
                    })
                })
                .map_err(system("start a thread"))?;
            workers.push(RunningWorker { thread, waker });
        }
        drop(ready);
        let mut server = Self {
            urls,
            addresses,
            warnings,
            driver: String::new(),
            workers,
            control,
            ended,
            shutdown_timeout: options.shutdown_timeout,
            _files: files,
        };
        server.driver = server.await_readiness(&readiness, &placement)?;
        Ok(server)
    }

    /// Waits until every worker serves; one that cannot ends them all.
    fn await_readiness(
        &self,
        readiness: &mpsc::Receiver<std::result::Result<String, String>>,
        placement: &Placement,
    ) -> Result<String> {
        let mut driver = String::new();
        for _ in &self.workers {
            driver = match readiness.recv() {
                Ok(Ok(driver)) => driver,
                Ok(Err(problem)) => return Err(StartError::NoDriver { problem }),
                Err(_) => {
                    return Err(StartError::NoDriver { problem: "a worker ended at its start".to_owned() });
                }
            };
        }
        Ok(format!("{driver}, {placement}"))
    }

    /// The URLs that it listens on, with the ports that the kernel chose for port 0.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The addresses of its TCP listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The driver, its features or why it is not the better one, and where the workers run; for people.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Drains and waits: no new connections, open requests are finished and answered with
    /// `Connection: close`, idle connections are closed; after
    /// [`shutdown_timeout`](Options::shutdown_timeout) the rest is aborted.
    ///
    /// # Errors
    /// A worker had failed.
    pub fn shutdown(mut self) -> Result<()> {
        self.drain(self.shutdown_timeout);
        self.join()
    }

    fn drain(&self, timeout: Duration) {
        self.control.drain(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self.workers.iter().for_each(|worker| worker.waker.wake());
    }

    fn join(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for worker in self.workers.drain(..) {
            let problem = match worker.thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            outcome = Err(StartError::WorkerFailed { problem });
        }
        outcome
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            self.drain(Duration::ZERO);
            // Nobody is left to be told of a failure.
            let _ = self.join();
        }
    }
}

/// Rings when the thread that holds it ends, however it ends.
struct RingsWhenDropped(Waker);

impl Drop for RingsWhenDropped {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// Serves until a signal asks for the end; prints the start-up lines.
pub(crate) fn run(options: Options, router: &Router) -> Result<()> {
    let options = options.checked()?;
    if options.memory_plan {
        let workers = placement::place(&options, &Machine::read()?)?.workers.len();
        banner::print_plan(&worker::memory_plan(&options, workers));
        return Ok(());
    }
    let system = |attempt: &str| {
        let attempt = attempt.to_owned();
        move |source| StartError::System { attempt, source }
    };
    // Before any thread is started, so that all of them inherit the mask.
    let signals = Signals::block().map_err(system("listen for signals"))?;
    let environment = options.environment.clone();
    let content_root = options.content_root.clone();
    let server = Server::start(options, router)?;
    banner::print_warnings(&server.warnings);
    banner::print(server.driver(), server.urls(), &environment, &content_root);
    let wait = signals.wait(&server.ended).map_err(system("wait for signals"))?;
    if let Wait::Signal(_) = wait {
        banner::print_shutdown();
    }
    // A second Ctrl+C ends the process at once.
    signals.restore_default().map_err(system("give the signals back"))?;
    // A worker that has ended by itself takes the others along: what it served would be served no more.
    server.shutdown()
}
