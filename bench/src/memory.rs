//! The memory of a process while something happens, read from `/proc`.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a watched process is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Bytes of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident pages, of those shared with others only its share.
    pub proportional: u64,
    /// Resident pages.
    pub resident: u64,
}

impl Memory {
    /// Reads the memory of a process.
    pub fn now(pid: u32) -> Result<Self> {
        parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "/proc/.../smaps_rollup is not as expected"))
    }

    fn max(self, other: Self) -> Self {
        Self {
            proportional: self.proportional.max(other.proportional),
            resident: self.resident.max(other.resident),
        }
    }

    /// By how much this is more than `before`.
    #[must_use]
    pub fn above(self, before: Self) -> Self {
        Self {
            proportional: self.proportional.saturating_sub(before.proportional),
            resident: self.resident.saturating_sub(before.resident),
        }
    }
}

fn parse(rollup: &str) -> Option<Memory> {
    let bytes = |label: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(label))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory { proportional: bytes("Pss:")?, resident: bytes("Rss:")? })
}

/// Looks at a process again and again until it is asked for the most that it saw.
#[derive(Debug)]
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Result<Memory>>,
}

impl Watch {
    /// Begins to look.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut peak = Memory::default();
            loop {
                peak = peak.max(Memory::now(pid)?);
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return Ok(peak.max(Memory::now(pid)?));
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends the watch, with the greatest of each figure.
    pub fn peak(self) -> Result<Memory> {
        // It may have failed and ended before, which its result then tells.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| Error::other("the watching thread panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_labels() {
        let rollup = "00400000-7ff [rollup]\nRss:      2048 kB\nPss:   1024 kB\nPss_Dirty:  1 kB\n";
        let memory = Memory { proportional: 1 << 20, resident: 2 << 20 };
        assert_eq!(parse(rollup), Some(memory));
        assert_eq!(parse("Rss: 1 kB\n"), None);
        assert_eq!(memory.above(Memory { proportional: 1, resident: 4 << 20 }).resident, 0);
    }

    #[test]
    fn a_watch_sees_memory_that_comes() {
        let own = std::process::id();
        let Ok(before) = Memory::now(own) else { return eprintln!("skipped: there is no smaps_rollup") };
        let watch = Watch::start(own);
        let bytes = std::hint::black_box(vec![1_u8; 64 << 20]);
        thread::sleep(INTERVAL * 3);
        drop(bytes);
        let peak = watch.peak().expect("a process can read itself");
        assert!(peak.above(before).proportional >= 60 << 20, "{peak:?} after {before:?}");
    }
}
