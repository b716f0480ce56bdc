//! CPU time of a process and of a core, read from `/proc`.

use std::collections::BTreeMap;
use std::{fs, io};

/// The unit of the times that `/proc` shows in ticks; Linux shows 100 a second on every architecture we run on.
const TICK_NANOS: u64 = 10_000_000;
/// How far the two clocks of a process may differ before it means something: rounding of both ends, and more.
const CLOCK_SLACK_NANOS: u64 = 3 * TICK_NANOS;

/// What a process has used up to one moment.
#[derive(Debug)]
pub struct ProcessTime {
    /// By thread, to the nanosecond; a thread that has ended is not there any more.
    threads: BTreeMap<u32, u64>,
    /// Of the whole process, ended threads included, in ticks.
    ticks: u64,
}

impl ProcessTime {
    /// Reads the times of a process. Exact only while it sleeps: a running thread is behind by up to a tick.
    pub fn now(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = entry?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end between the listing and the reading.
            if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")) {
                threads.insert(thread, first_number(&text).ok_or_else(|| malformed("schedstat"))?);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(Self { threads, ticks: process_ticks(&stat).ok_or_else(|| malformed("stat"))? })
    }

    /// Nanoseconds used since `earlier`, by the exact clock unless that one has lost a thread's time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> u64 {
        let exact = self.exact_since(earlier);
        let coarse = self.coarse_since(earlier);
        let lost = earlier.threads.keys().any(|thread| !self.threads.contains_key(thread));
        if lost || coarse > exact + CLOCK_SLACK_NANOS { coarse } else { exact }
    }

    /// Whether the two clocks tell the same of the time since `earlier`.
    #[must_use]
    pub fn agrees_since(&self, earlier: &Self) -> bool {
        let (exact, coarse) = (self.exact_since(earlier), self.coarse_since(earlier));
        exact.abs_diff(coarse) <= CLOCK_SLACK_NANOS.max(exact / 50)
    }

    fn exact_since(&self, earlier: &Self) -> u64 {
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or(0);
        self.threads.iter().map(|(thread, nanos)| nanos.saturating_sub(before(thread))).sum()
    }

    fn coarse_since(&self, earlier: &Self) -> u64 {
        self.ticks.saturating_sub(earlier.ticks) * TICK_NANOS
    }
}

/// Nanoseconds that a core has spent on anything since boot, time stolen by a hypervisor included.
pub fn core_busy(core: usize) -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(core_ticks(&stat, core).ok_or_else(|| malformed("stat"))? * TICK_NANOS)
}

/// Nanoseconds used by the ended and waited-for children of this process.
pub fn children() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    Ok(ticks_from(&stat, 13).ok_or_else(|| malformed("stat"))? * TICK_NANOS)
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/.../{file} is not as expected"))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system ticks of a process and all its threads.
fn process_ticks(stat: &str) -> Option<u64> {
    ticks_from(stat, 11)
}

/// The sum of two fields. The process name may hold spaces and parentheses: fields are counted from the last.
fn ticks_from(stat: &str, field: usize) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(field);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn core_ticks(stat: &str, core: usize) -> Option<u64> {
    let label = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&label))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is already in user
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(user + nice + system + irq + softirq + steal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(threads: &[(u32, u64)], ticks: u64) -> ProcessTime {
        ProcessTime { threads: threads.iter().copied().collect(), ticks }
    }

    #[test]
    fn threads_add_up() {
        let before = time(&[(1, 5_000), (2, 7_000)], 0);
        let after = time(&[(1, 6_000), (2, 7_500), (3, 100)], 0);
        assert_eq!(after.since(&before), 1_600);
        assert!(after.agrees_since(&before));
    }

    #[test]
    fn an_ended_thread_is_counted_by_ticks() {
        let before = time(&[(1, 5_000), (2, 7_000)], 10);
        let after = time(&[(1, 6_000)], 30);
        assert_eq!(after.since(&before), 20 * TICK_NANOS);
        assert!(!after.agrees_since(&before));
    }

    #[test]
    fn a_thread_that_came_and_went_is_counted_by_ticks() {
        let before = time(&[(1, 0)], 0);
        let after = time(&[(1, 1_000_000_000)], 200);
        assert_eq!(after.since(&before), 2_000_000_000);
    }

    #[test]
    fn process_names_may_hold_anything() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 1 0 5 0 0";
        assert_eq!(process_ticks(stat), Some(168));
        assert_eq!(ticks_from(stat, 13), Some(13));
    }

    #[test]
    fn a_core_is_busy_with_all_but_idling() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 1000 500 8 16 32 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(core_ticks(stat, 0), Some(63));
        assert_eq!(core_ticks(stat, 7), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let own = format!("/proc/{}", std::process::id());
        for file in [&format!("{own}/task"), &format!("{own}/stat"), "/proc/self/stat"] {
            if !fs::exists(file).is_ok_and(|there| there) {
                return eprintln!("skipped: there is no {file}");
            }
        }
        let before = ProcessTime::now(std::process::id()).expect("a process can read itself");
        let after = ProcessTime::now(std::process::id()).expect("a process can read itself");
        // The later one has lost nothing, and this process has not computed for an hour in between.
        assert!(after.ticks >= before.ticks && after.since(&before) < 3600 * 1_000_000_000);
        children().expect("a process can read itself");
    }

    #[test]
    fn a_core_can_be_read() {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().find_map(|line| line.strip_prefix("cpu")?.split(' ').next()?.parse().ok());
        let Some(first) = first else { return eprintln!("skipped: /proc/stat names no core") };
        core_busy(first).expect("it is there");
    }
}
