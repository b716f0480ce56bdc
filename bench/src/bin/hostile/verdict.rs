//! What an attack has come to, and whether that is good enough.

use std::fmt;

use crate::client::Latencies;
use crate::scenario::{Expected, Scenario};
use crate::swarm::{End, Tally};
use crate::target::Holding;

/// A normal client's p99 may be above that before the attack by so much, in milliseconds.
const HARM: f64 = 1000.0;
/// What was seen of one attack.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) before: Holding,
    pub(crate) most: Holding,
    /// When the attack ended and the hostile connections were still there.
    pub(crate) last: Holding,
    /// When they had gone.
    pub(crate) after: Holding,
    pub(crate) calm: Latencies,
    pub(crate) normal: Latencies,
    pub(crate) tally: Tally,
    /// How the server is afterwards.
    pub(crate) alive: Result<(), String>,
    pub(crate) workers: usize,
}

impl Seen {
    /// The most that a normal client's p99 may be, in milliseconds.
    fn bound(&self) -> f64 {
        self.calm.quantile(0.99) + HARM
    }

    /// Whether a normal client had to wait for too long.
    pub(crate) fn is_slow(&self) -> bool {
        self.normal.quantile(0.99) > self.bound()
    }

    /// Everything that is not as it must be.
    pub(crate) fn complaints(&self, scenario: &Scenario) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut demand = |holds: bool, complaint: String| {
            if !holds {
                complaints.push(complaint);
            }
        };
        if let Err(error) = &self.alive {
            demand(false, format!("the server does not answer: {error}"));
        }
        let grown = self.most.memory.saturating_sub(self.before.memory);
        let may_grow = scenario.may_grow(self.workers);
        demand(grown <= may_grow, format!("memory grew by {}, more than {}", Mib(grown), Mib(may_grow)));
        let kept = self.after.memory.saturating_sub(self.before.memory);
        let may_keep = scenario.may_keep(self.workers);
        demand(kept <= may_keep, format!("{} of memory are kept, more than {}", Mib(kept), Mib(may_keep)));
        demand(
            self.after.descriptors <= self.before.descriptors,
            format!("{} descriptors were open, {} are left", self.before.descriptors, self.after.descriptors),
        );
        demand(
            self.normal.failures.is_empty(),
            format!(
                "{} normal requests failed, the first: {}",
                self.normal.failures.len(),
                self.normal.failures.first().map_or("", String::as_str)
            ),
        );
        demand(self.normal.answered() > 0, "no normal request was answered".into());
        demand(!self.is_slow(), format!("normal p99 is above {:.0} ms", self.bound()));
        match scenario.expected {
            Expected::Ends(ends) => {
                // Where one follows another, some are open when the time is over.
                let is_expected = |end| ends.contains(&end) || (scenario.again && end == End::Open);
                let wrong = !self.tally.ends().all(is_expected);
                let expected: Vec<_> = ends.iter().map(End::to_string).collect();
                demand(
                    !wrong && self.tally.count(ends[0]) > 0,
                    format!("hostile connections should have ended with {}", expected.join(" or ")),
                );
            }
            Expected::Gone => {
                let held = self.last.descriptors.saturating_sub(self.before.descriptors);
                demand(held == 0, format!("{held} hostile connections are still served"));
            }
            Expected::Endurance => {}
        }
        complaints
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, most, after, normal, tally, .. } = self;
        let above = |memory: u64| Mib(memory.saturating_sub(before.memory));
        write!(f, "memory +{}, after +{}; ", above(most.memory), above(after.memory))?;
        write!(
            f,
            "descriptors {}, at most {}, after {}; ",
            before.descriptors, most.descriptors, after.descriptors
        )?;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| normal.quantile(quantile));
        write!(f, "normal p50 {p50:.1} p99 {p99:.1} max {max:.1} ms; ")?;
        write!(f, "hostile: {tally}")
    }
}

/// KiB, shown in MiB.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / 1024.0)
    }
}
