//! The server under attack: how it is started, and what it holds.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use peregrine_bench::server::{Recipe, Server};

/// How often is looked at what the server holds.
const LOOK: Duration = Duration::from_millis(50);

/// The program under attack, and which flags it has.
pub(crate) struct Program {
    path: String,
    workers: usize,
    core: usize,
    help: String,
}

impl Program {
    pub(crate) fn new(path: String, workers: usize, core: usize) -> Result<Self> {
        let output = Command::new(&path).arg("--help").output()?;
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Self { path, workers, core, help })
    }

    /// The words that set a limit, or `None` where the program cannot be told that one.
    pub(crate) fn limit(&self, name: &str, value: &str) -> Option<String> {
        let flag = format!("--{}", name.replace('_', "-"));
        let is_there = self.help.split_ascii_whitespace().any(|word| word == flag);
        is_there.then(|| format!("{flag} {value}"))
    }

    /// Starts it with these limits, or tells which of them it cannot be told.
    pub(crate) fn start(
        &self,
        limits: &[(&str, &str)],
        descriptors: Option<u32>,
    ) -> Result<std::result::Result<Target, String>> {
        let mut command = match descriptors {
            Some(count) => format!("prlimit --nofile={count}:{count} '{}'", self.path),
            None => format!("'{}'", self.path),
        };
        command += &format!(" --urls {{url}} --cpus {{cpu}} --workers {}", self.workers);
        for (name, value) in limits {
            match self.limit(name, value) {
                Some(words) => command += &format!(" {words}"),
                None => return Ok(Err((*name).to_owned())),
            }
        }
        let server = Server::start(&Recipe { name: "the server".into(), command }, self.core)?;
        let address = server.url.strip_prefix("http://").and_then(|authority| authority.parse().ok());
        let address = address.ok_or_else(|| invalid(format!("{} names no address", server.url)))?;
        Ok(Ok(Target { server, address }))
    }
}

/// A running server.
pub(crate) struct Target {
    server: Server,
    pub(crate) address: SocketAddr,
}

/// What a server holds at one moment, or at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Its proportional share of memory, in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
}

impl Target {
    /// Fails if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.server.check()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

impl Holding {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        // Where the kernel does not add up shares, what is resident is almost the same.
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let memory = match rollup.ok().and_then(|text| kib(&text, "Pss:")) {
            Some(memory) => memory,
            None => kib(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")
                .ok_or_else(|| invalid("the server's memory is not told".into()))?,
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { memory, descriptors })
    }

    /// The most of either until `stop`.
    pub(crate) fn most(pid: u32, stop: &AtomicBool) -> Self {
        let mut most = Self::default();
        while !stop.load(Ordering::Relaxed) {
            // A server that has ended is noticed by others.
            if let Ok(now) = Self::of(pid) {
                most.memory = most.memory.max(now.memory);
                most.descriptors = most.descriptors.max(now.descriptors);
            }
            sleep(LOOK);
        }
        most
    }
}

/// Descriptors that this process may still open, but for some that it needs itself.
pub(crate) fn descriptors_left() -> Result<usize> {
    const OWN: usize = 100;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = row.and_then(|row| row.split_ascii_whitespace().next()).unwrap_or_default();
    // No number where there is no limit.
    Ok(soft.parse().map_or(usize::MAX, |soft: usize| soft.saturating_sub(OWN)))
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(help: &str) -> Program {
        Program { path: "p".into(), workers: 1, core: 0, help: help.into() }
    }

    #[test]
    fn a_limit_is_set_by_the_flag_of_its_name() {
        let limit = |help| program(help).limit("keep_alive_timeout", "2s");
        assert_eq!(limit("  --keep-alive-timeout <SECONDS>").as_deref(), Some("--keep-alive-timeout 2s"));
        assert_eq!(limit("  --keep-alive-timeouts"), None);
    }

    #[test]
    fn this_process_holds_something() {
        let held = Holding::of(std::process::id()).expect("a process like others");
        assert!(held.memory > 100 && held.descriptors >= 3, "{held:?}");
        assert_eq!(kib("Rss: 1 kB\nPss:  20 kB\nPss_Anon: 3 kB\n", "Pss:"), Some(20));
    }
}
