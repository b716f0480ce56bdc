//! A running server: its workers as one thing, to be drained and waited for.

use std::cmp::Reverse;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
#[cfg(feature = "tls")]
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{Result, StartError};
use super::listener::{self, Bound, SocketFiles};
use super::options::Options;
use super::placement::{self, Machine, Placement};
use super::reactor::Reactor;
#[cfg(feature = "tls")]
use super::secure::{self, Secured};
#[cfg(feature = "tls")]
use super::worker::Contexts;
use super::worker::{self, Control, Plan};
use super::{address, banner, settings};
use crate::app::Blueprint;
use crate::sys::limits;
use crate::sys::signal::{Signals, Wait};
use crate::sys::wake::Waker;
#[cfg(feature = "tls")]
use crate::tls::metrics::{Tally, TlsMetrics};
#[cfg(feature = "tls")]
use crate::tls::watch::Watch;

/// The fewest descriptors that a server can do anything with.
const DESCRIPTORS_MIN: u64 = 64;

/// A running server, as [`App::start`](crate::App::start) returns it. Dropping it ends it at once.
#[must_use = "dropping a server ends it at once"]
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
    /// What handlers may be inside of. It goes when the workers have ended.
    reactor: Reactor,
    /// Looks for changed certificates.
    #[cfg(feature = "tls")]
    _watch: Option<Watch>,
    #[cfg(feature = "tls")]
    contexts: Arc<Contexts>,
    /// What the workers count about TLS.
    #[cfg(feature = "tls")]
    tallies: Vec<Arc<Tally>>,
}

struct RunningWorker {
    thread: JoinHandle<io::Result<()>>,
    waker: Waker,
}

impl Server {
    /// Binds everything, then starts the workers, and returns when all of them serve.
    pub(crate) fn start(options: Options, blueprint: &Blueprint) -> Result<Self> {
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
        let configured = address::parse_all(&options.urls)?;
        #[cfg(feature = "tls")]
        let (configured, Secured { contexts, watch, offload, warnings: told }) =
            secure::prepare(configured, &options)?;
        #[cfg(not(feature = "tls"))]
        let (configured, told) = (or_default(configured), Vec::new());
        let Bound { urls, addresses, per_worker, mut warnings, files } =
            listener::bind(&configured, count, options.backlog)?;
        warnings.extend(told);
        let control = Arc::new(Control::new());
        let system = |attempt: &str| {
            let attempt = attempt.to_owned();
            move |source| StartError::System { attempt, source }
        };
        let ended = Waker::new().map_err(system("make an eventfd"))?;
        let (ready, readiness) = mpsc::channel();
        let gate = settings::gate(&options.limits);
        let max_assembled = settings::max_assembled(&options.limits, count);
        // Complete but for its workers, so that a start which fails midway ends those that run.
        let mut server = Self {
            urls,
            addresses,
            warnings,
            driver: String::new(),
            workers: Vec::with_capacity(count),
            control,
            ended,
            shutdown_timeout: options.shutdown_timeout,
            _files: files,
            reactor: Reactor::start(&options)?,
            #[cfg(feature = "tls")]
            _watch: watch,
            #[cfg(feature = "tls")]
            contexts: Arc::clone(&contexts),
            #[cfg(feature = "tls")]
            tallies: (0..count).map(|_| Arc::default()).collect(),
        };
        for (index, listeners) in per_worker.into_iter().enumerate() {
            let waker = Waker::new().map_err(system("make an eventfd"))?;
            let plan = Plan {
                index,
                options: Arc::clone(&options),
                listeners,
                blueprint: blueprint.clone(),
                count,
                https_port: https_port(&server.urls),
                control: Arc::clone(&server.control),
                waker: waker.clone(),
                gate: Arc::clone(&gate),
                max_assembled,
                #[cfg(feature = "tls")]
                contexts: Arc::clone(&contexts),
                #[cfg(feature = "tls")]
                offload: offload.clone(),
                #[cfg(feature = "tls")]
                tally: Arc::clone(&server.tallies[index]),
            };
            let (ready, ended, placement) = (ready.clone(), server.ended.clone(), Arc::clone(&placement));
            let insists = options.cpus.is_some();
            let reactor = server.reactor.share();
            let thread = thread::Builder::new()
                .name(format!("peregrine-{index}"))
                .spawn(move || {
                    let _rings = RingsWhenDropped(ended);
                    let _inside = reactor.enter();
                    let unpinned = match placement.enter(index) {
                        Ok(()) => None,
                        Err(source) if insists => {
                            let _ = ready.send(Err(StartError::Affinity { worker: index, source }));
                            return Ok(());
                        }
                        // Some sandboxes forbid it, and a server that nobody told where to run can do without.
                        Err(source) => Some(source),
                    };
                    // `move`: a sender that outlives the start would keep it waiting for a worker that died.
                    plan.run(move |outcome| {
                        let told = |driver| match &unpinned {
                            None => driver,
                            Some(source) => format!("{driver}, pinning refused ({source})"),
                        };
                        let _ = ready.send(outcome.map(told));
                    })
                })
                .map_err(system("start a thread"))?;
            server.workers.push(RunningWorker { thread, waker });
        }
        drop(ready);
        server.driver = server.await_readiness(&readiness, &placement)?;
        Ok(server)
    }

    /// Waits until every worker serves; one that cannot ends them all.
    fn await_readiness(
        &self,
        readiness: &mpsc::Receiver<Result<String>>,
        placement: &Placement,
    ) -> Result<String> {
        let gone = |_| StartError::WorkerFailed { problem: "it ended at its start".to_owned() };
        let drivers = self.workers.iter().map(|_| readiness.recv().map_err(gone)?);
        Ok(format!("{}, {placement}", summary(drivers.collect::<Result<_>>()?)))
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

    /// When the first of its certificates ends, as they are now; for metrics. None without https.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates_end(&self) -> Option<SystemTime> {
        let seconds = self.contexts.values().filter_map(|context| context.not_after()).min()?;
        Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// What it has done for TLS since its start: handshakes by how they ended, and how many are going on. May be asked
    /// from any thread, as often as one likes; the workers do not notice.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_metrics(&self) -> TlsMetrics {
        Tally::sum(self.tallies.iter().map(|tally| &**tally))
    }

    /// What is not as it was asked for, but no reason to stop, one sentence each: a capped backlog, an address
    /// that could only be listened on in part. [`App::run`](crate::App::run) prints these, a start does not.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Server");
        shown.field("urls", &self.urls).field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// The port of the only endpoint of https, if there is exactly one port of such.
fn https_port(urls: &[String]) -> Option<u16> {
    let ports = urls.iter().filter_map(|url| url.strip_prefix("https://")?.rsplit(':').next()?.parse().ok());
    let mut ports: Vec<u16> = ports.collect();
    ports.dedup();
    if let [port] = ports[..] { Some(port) } else { None }
}

/// The addresses to listen on if none is configured.
#[cfg(not(feature = "tls"))]
fn or_default(configured: Vec<address::Address>) -> Vec<address::Address> {
    if configured.is_empty() { vec![address::Address::default_http()] } else { configured }
}

/// The workers' drivers in one line: the one of all of them, or how many workers have which.
fn summary(mut drivers: Vec<String>) -> String {
    drivers.sort_unstable();
    let mut groups: Vec<&[String]> = drivers.chunk_by(|one, next| one == next).collect();
    groups.sort_by_key(|group| Reverse(group.len()));
    match groups[..] {
        [group] => group[0].clone(),
        _ => {
            let workers = |first| match (first, groups[0].len()) {
                (true, 1) => " worker",
                (true, _) => " workers",
                (false, _) => "",
            };
            let shown = groups.iter().enumerate();
            let shown = shown
                .map(|(index, group)| format!("{} for {}{}", group[0], group.len(), workers(index == 0)));
            shown.collect::<Vec<_>>().join(", ")
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
pub(crate) fn run(options: Options, blueprint: &Blueprint) -> Result<()> {
    let options = options.checked()?;
    if options.memory_plan {
        let workers = placement::place(&options, &Machine::read()?)?.workers.len();
        let addresses = address::parse_all(&options.urls)?;
        let is_https = |address: &address::Address| address.is_https;
        let is_secured = options.wants_default_https(&addresses) || addresses.iter().any(is_https);
        banner::print_plan(&worker::memory_plan(&options, workers, is_secured));
        return Ok(());
    }
    let system = |attempt: &str| {
        let attempt = attempt.to_owned();
        move |source| StartError::System { attempt, source }
    };
    // Before any thread is started, so that all of them inherit the mask.
    let signals = Signals::block().map_err(system("listen for signals"))?;
    let drained = Waker::new().map_err(system("make an eventfd"))?;
    let environment = options.environment.clone();
    let content_root = options.content_root.clone();
    let server = Server::start(options, blueprint)?;
    banner::print_warnings(&server.warnings);
    banner::print(server.driver(), server.urls(), &environment, &content_root);
    let wait = signals.wait(&server.ended).map_err(system("wait for signals"))?;
    if let Wait::Signal(_) = wait {
        banner::print_shutdown();
    }
    thread::scope(|scope| {
        // A second Ctrl+C ends the process at once.
        let second = || {
            if let Ok(Wait::Signal(signal)) = signals.wait(&drained) {
                signals.end_process(signal);
            }
        };
        if thread::Builder::new().name("peregrine-end".to_owned()).spawn_scoped(scope, second).is_err() {
            let _ = signals.restore_default();
        }
        // A worker that has ended by itself takes the others along: what it served would be served no more.
        let outcome = server.shutdown();
        drained.wake();
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CpuList;

    #[test]
    fn the_driver_line_tells_workers_apart_only_if_they_differ() {
        let line = |drivers: &[&str]| summary(drivers.iter().map(ToString::to_string).collect());
        assert_eq!(line(&["io_uring (x)"; 4]), "io_uring (x)");
        assert_eq!(
            line(&["io_uring (x)", "epoll (y)", "io_uring (x)", "io_uring (x)"]),
            "io_uring (x) for 3 workers, epoll (y) for 1"
        );
        assert_eq!(line(&["b", "a"]), "a for 1 worker, b for 1");
    }

    fn options() -> Options {
        let urls = vec!["http://127.0.0.1:0".to_owned()];
        Options { urls, workers: Some(2), pin: false, ..Options::default() }
    }

    fn blueprint() -> Blueprint {
        let limits = Options::default().limits.of_routes();
        Blueprint {
            router: crate::app::Router::new(limits),
            states: Vec::new(),
            shared: Vec::new(),
            #[cfg(feature = "tower")]
            mounts: Vec::new(),
        }
    }

    #[test]
    fn a_server_tells_what_it_is_and_what_is_not_as_asked() {
        let server = Server::start(Options { backlog: u32::MAX >> 1, ..options() }, &blueprint()).unwrap();
        assert!(server.warnings()[0].starts_with("The backlog of "), "{:?}", server.warnings());
        let shown = format!("{server:?}");
        assert!(shown.starts_with("Server { urls: [\"http://127.0.0.1:"), "{shown}");
        server.shutdown().unwrap();
    }

    #[test]
    fn a_start_that_fails_midway_ends_the_workers_that_run() {
        let mut server = Server::start(options(), &blueprint()).unwrap();
        let (address, bell) = (server.addresses[0], server.ended.clone());
        // As far as a start comes whose last worker is missing.
        let (ready, readiness) = mpsc::channel::<Result<String>>();
        drop(ready);
        let machine = Machine { cpus: vec![0], quota: None };
        let placement = placement::place(&Options { pin: false, ..Options::default() }, &machine).unwrap();
        let failed = server.await_readiness(&readiness, &placement).unwrap_err();
        assert!(matches!(failed, StartError::WorkerFailed { .. }), "{failed}");
        server.workers.truncate(2);
        drop(server);
        assert!(bell.drain(), "the workers have ended");
        std::net::TcpStream::connect(address).expect_err("nobody listens");
    }

    #[test]
    fn no_worker_starts_on_no_cpu() {
        let none = Options { cpus: Some(CpuList::from(Vec::new())), ..options() };
        assert!(matches!(Server::start(none, &blueprint()), Err(StartError::InvalidCpuList { .. })));
    }
}
