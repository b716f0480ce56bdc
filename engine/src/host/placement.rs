//! Which CPU each worker gets.
//!
//! A pure decision over what the machine allows and what the options ask for; `sys::cpu` carries it out.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::error::{Result, StartError};
use super::options::Options;
use crate::sys::cpu;

/// CPU numbers beyond this are taken for a slip of the finger; no kernel is built for as many.
const CPU_MAX: usize = (1 << 20) - 1;

/// A set of CPUs, read and shown as `0-3,8`. A server refuses to start with an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// Its CPUs, ascending, each once.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for CpuList {
    fn from(mut cpus: Vec<usize>) -> Self {
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

impl FromStr for CpuList {
    type Err = StartError;

    fn from_str(list: &str) -> Result<Self> {
        let invalid = |problem| StartError::InvalidCpuList { list: list.to_owned(), problem };
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
            Ok(cpu) => Err(invalid(format!("no machine has a CPU {cpu}"))),
            Err(_) => Err(invalid(format!("'{}' is not the number of a CPU", text.trim()))),
        };
        if list.trim().is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let mut cpus = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(invalid(format!("the range {first}-{last} runs backwards")));
            }
            cpus.extend(first..=last);
        }
        Ok(cpus.into())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|cpu, next| cpu + 1 == *next);
        for (index, run) in runs.enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match run {
                [cpu] => write!(f, "{separator}{cpu}")?,
                _ => write!(f, "{separator}{}-{}", run[0], run[run.len() - 1])?,
            }
        }
        Ok(())
    }
}

/// What the machine grants this process.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The CPUs that it may use, in the order in which workers should take them.
    pub(crate) cpus: Vec<usize>,
    /// The CPUs' worth of time that its control group may use, if limited.
    pub(crate) quota: Option<f64>,
}

impl Machine {
    /// Asks the kernel. Call it before any thread is pinned.
    ///
    /// # Errors
    /// The kernel does not tell which CPUs may be used.
    pub(crate) fn read() -> Result<Self> {
        let cpus = cpu::allowed().map_err(|source| StartError::System {
            attempt: "learn which CPUs this process may use".to_owned(),
            source,
        })?;
        Ok(Self { cpus: cpu::cores_first(&cpus), quota: cpu::quota() })
    }
}

/// Where each worker runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The CPU of each worker; `None` for workers that are not pinned.
    pub(crate) workers: Vec<Option<usize>>,
    /// The CPUs that workers which are not pinned must keep to, if the options named some.
    confine: Option<CpuList>,
}

impl Placement {
    /// Puts the calling thread where worker `index` runs. To be called before the worker allocates anything,
    /// so that its memory is near its CPU.
    ///
    /// # Errors
    /// The kernel refuses, e.g. because the process's CPUs were changed since the start.
    pub(crate) fn enter(&self, index: usize) -> io::Result<()> {
        match (self.workers[index], &self.confine) {
            (Some(cpu), _) => cpu::pin(&[cpu]),
            (None, Some(cpus)) => cpu::pin(cpus.as_slice()),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Placement {
    /// As the start-up lines show it: `2 workers on CPUs 0-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.workers.len();
        write!(f, "{count} worker{}", if count == 1 { "" } else { "s" })?;
        let pinned: Vec<usize> = self.workers.iter().copied().flatten().collect();
        match &self.confine {
            _ if !pinned.is_empty() => on_cpus(f, &pinned.into()),
            Some(cpus) => {
                f.write_str(" moving freely")?;
                on_cpus(f, cpus)
            }
            None => f.write_str(", not pinned"),
        }
    }
}

fn on_cpus(f: &mut fmt::Formatter<'_>, cpus: &CpuList) -> fmt::Result {
    write!(f, " on CPU{} {cpus}", if cpus.as_slice().len() == 1 { "" } else { "s" })
}

/// Decides which CPU each worker gets.
///
/// By default there is one worker per CPU, but no more than the quota has time for: a worker above that would
/// only wait for time that the others have used up. With a quota below the number of CPUs nobody is pinned,
/// for the same time is better spent wherever there is an idle CPU.
///
/// # Errors
/// A CPU was named that is not allowed, or more pinned workers asked for than there are CPUs.
pub(crate) fn place(options: &Options, machine: &Machine) -> Result<Placement> {
    let cpus: Vec<usize> = match &options.cpus {
        None => machine.cpus.clone(),
        Some(chosen) => {
            if chosen.as_slice().is_empty() {
                let problem = "it is empty".to_owned();
                return Err(StartError::InvalidCpuList { list: String::new(), problem });
            }
            if let Some(&cpu) = chosen.as_slice().iter().find(|cpu| !machine.cpus.contains(cpu)) {
                return Err(StartError::CpuNotAllowed { cpu, allowed: machine.cpus.clone().into() });
            }
            machine.cpus.iter().copied().filter(|cpu| chosen.as_slice().contains(cpu)).collect()
        }
    };
    // Half a CPU's worth of time needs a worker too.
    let granted = machine.quota.map_or(cpus.len(), |quota| cpus.len().min(quota.ceil() as usize));
    let pin = options.pin && machine.quota.is_none_or(|quota| quota >= cpus.len() as f64);
    let count = options.workers.unwrap_or(granted).max(1);
    if !pin {
        return Ok(Placement { workers: vec![None; count], confine: options.cpus.clone() });
    }
    if count > cpus.len() {
        return Err(StartError::TooManyWorkers { workers: count, cpus: cpus.into() });
    }
    Ok(Placement { workers: cpus.into_iter().take(count).map(Some).collect(), confine: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_read_sorted_and_shown_short() {
        assert_eq!(list("8,0-3").as_slice(), [0, 1, 2, 3, 8]);
        assert_eq!(list(" 1 , 1-2 ").as_slice(), [1, 2]);
        for text in ["0", "0-3,8", "0,2,4-5", "1023"] {
            assert_eq!(list(text).to_string(), text);
        }
        assert_eq!(list("3,2,1").to_string(), "1-3");
    }

    #[test]
    fn lists_that_cannot_be_read_say_why() {
        for (text, problem) in [
            ("", "it is empty"),
            ("0,", "'' is not the number of a CPU"),
            ("0-", "'' is not the number of a CPU"),
            ("a", "'a' is not the number of a CPU"),
            ("-1", "'' is not the number of a CPU"),
            ("1-2-3", "'2-3' is not the number of a CPU"),
            ("3-1", "the range 3-1 runs backwards"),
            ("0-99999999", "no machine has a CPU 99999999"),
        ] {
            let error = text.parse::<CpuList>().unwrap_err().to_string();
            let expected = format!(
                "Invalid list of CPUs '{text}': {problem}. Write numbers and ranges with commas, e.g. 0-3,8."
            );
            assert_eq!(error, expected);
        }
    }

    /// Four cores of two threads each, numbered as servers do it.
    fn machine(quota: Option<f64>) -> Machine {
        Machine { cpus: vec![0, 1, 2, 3, 4, 5, 6, 7], quota }
    }

    fn pinned(cpus: &[usize]) -> Vec<Option<usize>> {
        cpus.iter().copied().map(Some).collect()
    }

    #[test]
    fn by_default_every_cpu_gets_a_worker() {
        let placement = place(&Options::default(), &machine(None)).unwrap();
        assert_eq!(placement.workers, pinned(&[0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(placement.to_string(), "8 workers on CPUs 0-7");
    }

    #[test]
    fn fewer_workers_take_the_first_cpus_of_the_preferred_order() {
        let desktop = Machine { cpus: vec![0, 2, 4, 6, 1, 3, 5, 7], quota: None };
        let options = Options { workers: Some(3), ..Options::default() };
        assert_eq!(place(&options, &desktop).unwrap().workers, pinned(&[0, 2, 4]));
        let options = Options { cpus: Some(list("0-3")), ..Options::default() };
        assert_eq!(place(&options, &desktop).unwrap().workers, pinned(&[0, 2, 1, 3]));
    }

    #[test]
    fn a_quota_below_the_cpus_limits_the_workers_and_pins_nobody() {
        let placed = |quota| place(&Options::default(), &machine(Some(quota))).unwrap().workers;
        assert_eq!(placed(0.5), [None]);
        assert_eq!(placed(2.5), [None; 3]);
        assert_eq!(placed(7.5), [None; 8]);
        assert_eq!(placed(8.0), pinned(&[0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(placed(64.0), pinned(&[0, 1, 2, 3, 4, 5, 6, 7]));

        let two = Options { cpus: Some(list("2-3")), ..Options::default() };
        assert_eq!(place(&two, &machine(Some(2.0))).unwrap().workers, pinned(&[2, 3]));
        let placement = place(&two, &machine(Some(1.0))).unwrap();
        assert_eq!(placement.workers, [None]);
        assert_eq!(placement.to_string(), "1 worker moving freely on CPUs 2-3");
    }

    #[test]
    fn pinned_workers_must_not_share_a_cpu_but_others_may() {
        let crowd = Options { workers: Some(9), ..Options::default() };
        assert_eq!(
            place(&crowd, &machine(None)).unwrap_err().to_string(),
            "Cannot pin 9 workers to CPUs 0-7: there are only 8. Lower --workers, or let them share the CPUs \
             with --no-pin."
        );
        let free = Options { pin: false, ..crowd };
        let placement = place(&free, &machine(None)).unwrap();
        assert_eq!(placement.workers, [None; 9]);
        assert_eq!(placement.to_string(), "9 workers, not pinned");
    }

    #[test]
    fn cpus_that_are_not_allowed_are_refused_by_naming_the_others() {
        let options = Options { cpus: Some(list("6-9")), ..Options::default() };
        assert_eq!(
            place(&options, &machine(None)).unwrap_err().to_string(),
            "CPU 8 is not one that this process may use. Those are: 0-7."
        );
    }

    #[test]
    fn no_cpu_at_all_is_refused() {
        let options = Options { cpus: Some(Vec::new().into()), ..Options::default() };
        assert_eq!(
            place(&options, &machine(None)).unwrap_err().to_string(),
            "Invalid list of CPUs '': it is empty. Write numbers and ranges with commas, e.g. 0-3,8."
        );
    }

    #[test]
    fn entering_puts_the_thread_on_its_cpus() {
        let cpus = cpu::allowed().unwrap();
        std::thread::spawn(move || {
            let pinned = Placement { workers: vec![Some(cpus[0])], confine: None };
            pinned.enter(0).unwrap();
            assert_eq!(cpu::allowed().unwrap(), cpus[..1]);
            let confined = Placement { workers: vec![None], confine: Some(cpus.clone().into()) };
            confined.enter(0).unwrap();
            assert_eq!(cpu::allowed().unwrap(), cpus);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn this_machine_can_be_read_and_placed_on() {
        let machine = Machine::read().unwrap();
        assert!(!place(&Options::default(), &machine).unwrap().workers.is_empty());
    }
}
