//! The options of a server: the one place that says which there are and what they default to.
//!
//! Holds values only. Where they come from (code, environment, command line) is for `flags` and the app.

use std::fmt;
use std::io;
use std::path::{self, PathBuf};
use std::time::Duration;

use super::address::Address;
use super::error::{Result, StartError};
use super::limits::Limits;
use super::placement::CpuList;
use crate::sys::ring::Rung;
#[cfg(feature = "tls")]
use crate::tls::TlsOptions;

/// The kernel interface that the workers wait on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum DriverChoice {
    /// `io_uring` where the kernel allows it, otherwise `epoll`. The default.
    #[default]
    #[cfg_attr(feature = "cli", value(help = "io_uring where the kernel allows it, otherwise epoll"))]
    Auto,
    /// `io_uring` or nothing: the server refuses to start where the kernel refuses it.
    #[cfg_attr(feature = "cli", value(help = "io_uring, or refuse to start"))]
    IoUring,
    /// `epoll`, which every kernel and every sandbox has.
    #[cfg_attr(feature = "cli", value(help = "epoll, which every kernel has"))]
    Epoll,
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The longest [`Options::coalesce`].
const COALESCE_MAX: Duration = Duration::from_millis(10);

/// The options of a server.
///
/// ```
/// let mut options = peregrine::Options::default();
/// options.urls = vec!["http://*:8080".to_owned()];
/// options.limits.max_request_body_size = None;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The addresses to listen on, several in one text separated by `;` or one per element. Default: none,
    /// which means `http://localhost:5000` (as in Kestrel), and in the environment `Development` also
    /// `https://localhost:5001`, with a certificate that is made for it.
    ///
    /// | Form | Listens on |
    /// |---|---|
    /// | `http://127.0.0.1:5000`, `http://[::1]:5000` | that address |
    /// | `http://localhost:5000` | `127.0.0.1` and `[::1]` |
    /// | `http://*:5000`, `http://+:5000`, `http://any.name:5000` | all interfaces, IPv4 and IPv6 |
    /// | `http://unix:/run/app.sock` | that Unix socket |
    ///
    /// Without a port it is 80; port 0 lets the kernel choose one. The same with `https://` are served over TLS, see
    /// `tls`; there it is 443.
    pub urls: Vec<String>,

    /// How many workers serve, each a thread with a ring of its own. Default: one per usable CPU, and no more
    /// than a CPU quota of the control group has time for.
    pub workers: Option<usize>,

    /// The CPUs that workers may use, e.g. `"0-3,8".parse()?`; not none. Default: all that this process may
    /// use.
    pub cpus: Option<CpuList>,

    /// Whether each worker keeps to one CPU. Default true; a quota of the control group below the number of
    /// CPUs turns it off, because the kernel must then be free to choose.
    pub pin: bool,

    /// How many connections may wait in the kernel to be accepted, for each worker and address. Default
    /// 4096, where Kestrel has 512: connections arrive in bursts of thousands when a client restarts, an
    /// overflow costs each of them a second of retry, and waiting places cost nothing until they are taken.
    /// The kernel caps it at `net.core.somaxconn`, 4096 as well unless configured.
    pub backlog: u32,

    /// The kernel interface that the workers wait on. Default [`DriverChoice::Auto`].
    pub driver: DriverChoice,

    /// How long a worker without work looks for completions before it sleeps. Default 0: not at all. Some
    /// tens of microseconds shorten responses on a machine that has nothing else to do, and cost its CPUs.
    /// Counted in whole microseconds, 2³² - 1 (71 minutes) at most.
    pub busy_poll: Duration,

    /// How long a worker may wait for more answers of databases and other servers that handlers ask over
    /// [`net`](crate::net), once one has come. Default 200 microseconds; 0: not at all. With many requests under way
    /// answers come in quick succession, and taking several at once costs much less than waking for each. It waits for
    /// an eighth of the tasks that are under way, and not with fewer than 32 of them; where that is in vain it hardly
    /// ever tries. Whatever else comes in the meantime waits as long. Counted in whole microseconds, 10 milliseconds at
    /// most. Needs io_uring and Linux 6.12: elsewhere it has no effect, nor beside [`busy_poll`](Self::busy_poll), which
    /// wants the opposite.
    pub coalesce: Duration,

    /// The directory that the application's files are relative to. Default: the current directory. The engine
    /// checks that there is one and shows it; handlers learn it from
    /// [`App::configuration`](crate::App::configuration).
    pub content_root: PathBuf,

    /// The name of the environment that this server runs in, by convention `Development`, `Staging` or
    /// `Production`. Default `Production`. In `Development` clients are told in detail why a handler or an extractor has
    /// failed; what else differs by it is for the application, which reads it from
    /// [`App::configuration`](crate::App::configuration).
    pub environment: String,

    /// Whether responses carry `Server: peregrine`. Default true (Kestrel's `AddServerHeader`).
    pub server_header: bool,

    /// How long open requests may take to finish after a shutdown was asked for; what is open then is
    /// aborted. Default 30 s (ASP.NET Core's `ShutdownTimeout`).
    pub shutdown_timeout: Duration,

    /// What a peer may ask for before it is turned away.
    pub limits: Limits,

    /// Whether each request that is refused before a handler sees it is told of on standard error: status, reason,
    /// and its first 128 bytes, escaped. Default false: peers could fill a disk with it. (Kestrel logs them at
    /// level Debug.)
    pub log_rejections: bool,

    /// How endpoints of https are served, as far as [`endpoint_tls`](Self::endpoint_tls) does not say otherwise.
    #[cfg(feature = "tls")]
    pub tls: TlsOptions,

    /// What holds instead of [`tls`](Self::tls) for one URL of [`urls`](Self::urls), which must be written the same
    /// way. Default: nothing.
    #[cfg(feature = "tls")]
    pub endpoint_tls: Vec<(String, TlsOptions)>,

    /// Print how much memory the server would take, and for what, instead of serving. Default false.
    pub memory_plan: bool,

    /// Print the routes instead of serving, see [`App::routes`](crate::App::routes). Default false.
    pub print_routes: bool,

    /// The threads of the runtime of tokio's that handlers are inside of, not 0. Default 1, which is enough for its
    /// sockets and timers: handlers run on the workers. More are for those that start much with `tokio::spawn`. Not
    /// counted are those of `tokio::task::spawn_blocking`, which come and go, 512 at most. Only with the feature
    /// `tokio`, and unused where the application runs inside a runtime of its own (see the crate's text).
    #[cfg(feature = "tokio")]
    pub tokio_worker_threads: usize,

    /// Start at this step of the ladder of kernel features, 0 being the newest, to try what older kernels
    /// get. For tests; default: the best that works.
    #[doc(hidden)]
    pub driver_rung: Option<u8>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            workers: None,
            cpus: None,
            pin: true,
            backlog: 4096,
            driver: DriverChoice::Auto,
            busy_poll: Duration::ZERO,
            coalesce: Duration::from_micros(200),
            content_root: PathBuf::from("."),
            environment: "Production".to_owned(),
            server_header: true,
            shutdown_timeout: Duration::from_secs(30),
            limits: Limits::default(),
            log_rejections: false,
            #[cfg(feature = "tls")]
            tls: TlsOptions::default(),
            #[cfg(feature = "tls")]
            endpoint_tls: Vec::new(),
            memory_plan: false,
            print_routes: false,
            #[cfg(feature = "tokio")]
            tokio_worker_threads: 1,
            driver_rung: None,
        }
    }
}

impl Options {
    /// Whether `https://localhost:5001` is a default beside `http://localhost:5000`.
    pub(super) fn wants_default_https(&self, configured: &[Address]) -> bool {
        cfg!(feature = "tls") && configured.is_empty() && self.environment == "Development"
    }

    /// The same options with an absolute content root, once all of them are seen to be usable.
    ///
    /// # Errors
    /// The first value that no server can run with.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let zero = [
            ("workers", self.workers == Some(0)),
            ("backlog", self.backlog == 0),
            #[cfg(feature = "tokio")]
            ("tokio_worker_threads", self.tokio_worker_threads == 0),
        ];
        if let Some((option, _)) = zero.iter().find(|(_, zero)| *zero) {
            return Err(StartError::InvalidOption { option, problem: "it must be above 0" });
        }
        self.limits.check()?;
        if self.coalesce > COALESCE_MAX {
            let problem = "10 milliseconds (10000 microseconds) at most, for all else waits in the meantime";
            return Err(StartError::InvalidOption { option: "coalesce", problem });
        }
        if self.driver_rung.is_some_and(|rung| usize::from(rung) >= Rung::ALL.len()) {
            let problem = "there is no such rung; 0 is the best, 3 the last";
            return Err(StartError::InvalidOption { option: "driver_rung", problem });
        }

        let unusable = |source| StartError::ContentRoot { path: self.content_root.clone(), source };
        let root = path::absolute(&self.content_root).map_err(unusable)?;
        if !root.metadata().map_err(unusable)?.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        self.content_root = root;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_usable_and_the_content_root_becomes_absolute() {
        let options = Options::default().checked().unwrap();
        assert_eq!(options.content_root, std::env::current_dir().unwrap());
        assert_eq!(options.environment, "Production");
    }

    #[test]
    fn a_content_root_that_is_no_directory_is_refused() {
        let at = |path: &str| Options { content_root: path.into(), ..Options::default() }.checked();
        let missing = at("/nowhere/at/all").unwrap_err().to_string();
        assert_eq!(
            missing,
            "The content root /nowhere/at/all cannot be used: No such file or directory (os error 2). Name a \
             directory with --content-root."
        );
        assert!(matches!(at("/proc/self/stat"), Err(StartError::ContentRoot { .. })));
    }

    #[test]
    fn nothing_cannot_be_asked_for() {
        let none = Options { workers: Some(0), ..Options::default() };
        assert!(matches!(none.checked(), Err(StartError::InvalidOption { option: "workers", .. })));
        let none = Options { backlog: 0, ..Options::default() };
        assert!(matches!(none.checked(), Err(StartError::InvalidOption { option: "backlog", .. })));
        let most = |coalesce| Options { coalesce, ..Options::default() }.checked();
        assert!(most(COALESCE_MAX).is_ok());
        let longer = most(COALESCE_MAX + Duration::from_micros(1));
        assert!(matches!(longer, Err(StartError::InvalidOption { option: "coalesce", .. })));
        #[cfg(feature = "tokio")]
        {
            let none = Options { tokio_worker_threads: 0, ..Options::default() };
            let option = "tokio_worker_threads";
            assert!(
                matches!(none.checked(), Err(StartError::InvalidOption { option: name, .. }) if name == option)
            );
        }
    }
}
