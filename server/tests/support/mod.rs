//! Starting the command `peregrine`, reading what it prints, and ending it.

#![allow(dead_code, reason = "every test binary uses another part of it")]
#![allow(unsafe_code, reason = "signals, limits and filters are set by system calls")]

#[path = "../../../engine/tests/support/client.rs"]
pub(crate) mod client;
pub(crate) mod seccomp;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use client::{Client, PATIENCE, await_some};

/// A port of the kernel's choice on one loopback address.
pub(crate) const LOCAL: &str = "http://127.0.0.1:0";

/// The last line of a start.
const LAST_LINE: &str = "Content root path: ";

/// The command with these arguments. Of the variables that it reads it gets `PEREGRINE_DRIVER` at most, by
/// which the whole suite is run on another driver.
pub(crate) fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peregrine"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("PEREGRINE_") && name != "PEREGRINE_DRIVER" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `set_up` in the child before the command starts.
pub(crate) fn before_exec(
    command: &mut Command,
    set_up: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the closures of these tests only make system calls: they neither allocate nor take locks.
    unsafe { command.pre_exec(set_up) };
}

/// A zero of a system call is success.
pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the command no more than `count` descriptors, for good.
pub(crate) fn limit_descriptors(command: &mut Command, count: u64) {
    before_exec(command, move || {
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: `limit` outlives the call, which only reads it.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
    });
}

/// A loopback address that no other process nor test uses.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, 77 + COUNT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// Whether the suite is run on epoll.
pub(crate) fn wants_epoll() -> bool {
    env::var("PEREGRINE_DRIVER").is_ok_and(|driver| driver == "epoll")
}

/// Whether the command can serve on io_uring here. Says so if not.
pub(crate) fn has_io_uring() -> bool {
    let probe = command(["--urls", LOCAL, "--driver", "io_uring", "--workers", "1", "--no-pin"]);
    match Peregrine::try_serve_by(probe) {
        Ok(_) => true,
        Err(exit) if exit.stderr.contains("No worker could start") => {
            skip(&exit.stderr);
            false
        }
        Err(exit) => panic!("{exit:?}"),
    }
}

/// Says why a test proves nothing here.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// How a process has ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    /// What it printed after the lines that were read before.
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

/// A process of the command; killed when dropped.
#[derive(Debug)]
pub(crate) struct Peregrine {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// The lines of its start.
    pub(crate) started: Vec<String>,
}

impl Peregrine {
    /// Starts the command on a port of its own, with further arguments, and waits until it serves.
    #[track_caller]
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::serve_by(command(["--urls", LOCAL].iter().chain(args)))
    }

    /// Starts a command that is expected to serve, and waits until it does.
    #[track_caller]
    pub(crate) fn serve_by(command: Command) -> Self {
        match Self::try_serve_by(command) {
            Ok(server) => server,
            Err(exit) => panic!("it did not start: {exit:?}"),
        }
    }

    /// Starts a command and waits until it serves or has ended.
    #[track_caller]
    pub(crate) fn try_serve_by(command: Command) -> Result<Self, Exit> {
        let mut server = Self::spawn(command).expect("the command can be run");
        while let Some(line) = server.next_line() {
            let is_last = line.starts_with(LAST_LINE);
            server.started.push(line);
            if is_last {
                return Ok(server);
            }
        }
        let started = std::mem::take(&mut server.started);
        let mut exit = server.wait();
        exit.stdout.splice(0..0, started);
        Err(exit)
    }

    /// Starts a command, and does not wait for anything.
    ///
    /// # Errors
    /// It could not be run.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let mut stderr = child.stderr.take().expect("a pipe");
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, lines, stderr: Some(stderr), started: Vec::new() })
    }

    /// The next line on its standard output; `None` once that is closed.
    #[track_caller]
    pub(crate) fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it printed nothing for {PATIENCE:?}"),
        }
    }

    /// The URLs that it says it listens on.
    pub(crate) fn urls(&self) -> Vec<&str> {
        self.started.iter().filter_map(|line| line.strip_prefix("Now listening on: ")).collect()
    }

    /// Its first address, if that is a numeric one.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        let url = self.urls()[0];
        url.strip_prefix("http://")
            .and_then(|rest| rest.parse().ok())
            .unwrap_or_else(|| panic!("no address: {url}"))
    }

    /// The line that names its driver.
    pub(crate) fn driver(&self) -> &str {
        &self.started[0]
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: takes two integers; the child has not been waited for, so that the number is still its own.
        check(unsafe { libc::kill(pid, signal) }).expect("a process of ours");
    }

    /// Sends it a signal that asks for a shutdown, and waits until it says that one has begun.
    #[track_caller]
    pub(crate) fn begin_shutdown(&self, signal: libc::c_int) {
        self.signal(signal);
        assert_eq!(self.next_line().as_deref(), Some("Application is shutting down..."));
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Exit {
        let status = await_some("the end of the process", || self.child.try_wait().expect("a child"));
        let stdout = self.lines.iter().collect();
        let stderr =
            self.stderr.take().expect("waited for once").join().expect("a reader that does not panic");
        Exit { status, stdout, stderr }
    }

    /// Ends it and asserts that it ends well.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.begin_shutdown(libc::SIGTERM);
        let exit = self.wait();
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    }
}

impl Drop for Peregrine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that is expected to end by itself.
#[track_caller]
pub(crate) fn run(command: Command) -> Exit {
    Peregrine::spawn(command).expect("the command can be run").wait()
}

/// A directory of its own; removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("peregrine-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a directory for temporary files");
        Self(path.canonicalize().expect("it was just made"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
