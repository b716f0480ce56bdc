//! What is reported of bulk transfers: one Markdown table per scenario, and one JSON object per run.

use crate::bulk::Direction;
use crate::memory::Memory;
use crate::report::{median, quoted, ratios};

/// A process's memory counts as flat if it grows by no more than this.
const FLAT_BYTES: u64 = 8 << 20;
/// A server keeps up with the baseline if its ratio is at most this.
const RATIO_MOST: f64 = 1.15;

const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

/// What a row of runs has in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// Which way the bytes go.
    pub direction: Direction,
    /// Connections that share the bytes.
    pub connections: u32,
    /// Bytes of all bodies together.
    pub bytes: u64,
}

/// One server under one scenario, once.
#[derive(Debug)]
pub struct Run {
    /// The server's place in the list of names.
    pub server: usize,
    /// The round, from 1; 0 is the warm-up, which counts for memory only.
    pub round: u32,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// CPU time of the server process.
    pub cpu_nanos: u64,
    /// Whether the two clocks of the server process agreed.
    pub clocks_agree: bool,
    /// From the first connection to the last byte.
    pub transfer_nanos: u64,
    /// From before the transfer to after it, and until the server has settled.
    pub wall_nanos: u64,
    /// Time that the server's core spent on anything else.
    pub server_other_nanos: u64,
    /// Time that the client's core spent on anything else.
    pub client_other_nanos: u64,
    /// CPU time of the servers that had nothing to do.
    pub idle_nanos: u64,
    /// The most memory seen, above what the server had before the scenario's first run.
    pub growth: Memory,
}

impl Run {
    fn millis_per_gib(&self, scenario: &Scenario) -> f64 {
        self.cpu_nanos as f64 / 1e6 / (scenario.bytes as f64 / GIB)
    }

    fn share(&self, nanos: u64) -> f64 {
        100.0 * nanos as f64 / self.wall_nanos as f64
    }

    /// The greater of the two figures of memory.
    fn grown(&self) -> u64 {
        self.growth.proportional.max(self.growth.resident)
    }

    fn is_measured(&self) -> bool {
        self.round > 0 && self.error.is_none()
    }
}

/// The scenario's table, what falls short of the two aims, and what makes the figures doubtful.
#[must_use]
pub fn markdown(scenario: &Scenario, names: &[String], baseline: usize, runs: &[Run]) -> String {
    let Scenario { direction, connections, bytes } = *scenario;
    let plural = if connections == 1 { "" } else { "s" };
    let mut text = format!(
        "## {}, {} MiB over {connections} connection{plural}\n\n\
         | server | CPU ms/GiB | to {} (min..max) | GiB/s | server's core | others, server/client core | \
         memory | runs |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        direction.name(),
        bytes as f64 / MIB,
        names[baseline],
    );
    let mut remarks = String::new();
    for (server, name) in names.iter().enumerate() {
        let all = runs.iter().filter(|run| run.server == server);
        let rounds = all.clone().filter(|run| run.round > 0).count();
        let good: Vec<&Run> = all.clone().filter(|run| run.is_measured()).collect();
        // Runs that failed may have taken memory too.
        let grown = all.map(Run::grown).max().unwrap_or(0);
        if grown > FLAT_BYTES {
            remarks += &format!("- {name}: its memory is not flat within {} MiB\n", FLAT_BYTES >> 20);
        }
        if good.is_empty() {
            text += &format!("| {name} | | | | | | +{:.1} MiB | 0/{rounds} |\n", grown as f64 / MIB);
            continue;
        }
        let base_of =
            |round| runs.iter().find(|run| run.server == baseline && run.round == round && run.is_measured());
        let pairs: Vec<(f64, f64)> = good
            .iter()
            .filter_map(|run| {
                Some((run.millis_per_gib(scenario), base_of(run.round)?.millis_per_gib(scenario)))
            })
            .collect();
        if median(pairs.iter().map(|(own, base)| own / base).collect()) > RATIO_MOST {
            remarks += &format!("- {name}: more than {RATIO_MOST} times the CPU of {}\n", names[baseline]);
        }
        let of = |figure: &dyn Fn(&Run) -> f64| median(good.iter().map(|run| figure(run)).collect());
        text += &format!(
            "| {name} | {:.1} | {} | {:.2} | {:.0} % | {:.1}/{:.1} % | +{:.1} MiB | {}/{rounds} |\n",
            of(&|run| run.millis_per_gib(scenario)),
            ratios(pairs.into_iter()),
            of(&|run| bytes as f64 / GIB / (run.transfer_nanos as f64 / 1e9)),
            of(&|run| run.share(run.cpu_nanos)),
            of(&|run| run.share(run.server_other_nanos)),
            of(&|run| run.share(run.client_other_nanos)),
            grown as f64 / MIB,
            good.len(),
        );
    }
    text.push('\n');
    remarks += &doubts(names, runs);
    if !remarks.is_empty() {
        text += &remarks;
        text.push('\n');
    }
    text
}

fn doubts(names: &[String], runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let name = &names[run.server];
        let round = if run.round == 0 { "warm-up".into() } else { format!("round {}", run.round) };
        if let Some(error) = &run.error {
            text += &format!("- {name}, {round}, left out: {error}\n");
        } else if run.round > 0 && !run.clocks_agree {
            text += &format!("- {name}, {round}: the two CPU clocks disagree\n");
        }
        if run.round > 0 && run.share(run.idle_nanos) > 0.5 {
            text += &format!(
                "- {name}, {round}: idle servers took {:.1} % of a core\n",
                run.share(run.idle_nanos)
            );
        }
    }
    let measured = runs.iter().filter(|run| run.round > 0);
    let disturbed = measured.clone().filter(|run| {
        let other = run.server_other_nanos.max(run.client_other_nanos);
        run.share(other) > 5.0
    });
    let disturbed = disturbed.count();
    if disturbed > 0 {
        let measured = measured.count();
        text += &format!("- other programs took over 5 % of a core in {disturbed} of {measured} runs\n");
    }
    text
}

/// One run as one line of JSON.
#[must_use]
pub fn json(scenario: &Scenario, name: &str, run: &Run) -> String {
    let fields = [
        ("direction", quoted(scenario.direction.name())),
        ("connections", scenario.connections.to_string()),
        ("bytes", scenario.bytes.to_string()),
        ("server", quoted(name)),
        ("round", run.round.to_string()),
        ("error", run.error.as_deref().map_or_else(|| "null".into(), quoted)),
        ("cpu_nanos", run.cpu_nanos.to_string()),
        ("transfer_nanos", run.transfer_nanos.to_string()),
        ("wall_nanos", run.wall_nanos.to_string()),
        ("server_other_nanos", run.server_other_nanos.to_string()),
        ("client_other_nanos", run.client_other_nanos.to_string()),
        ("idle_nanos", run.idle_nanos.to_string()),
        ("clocks_agree", run.clocks_agree.to_string()),
        ("pss_growth", run.growth.proportional.to_string()),
        ("rss_growth", run.growth.resident.to_string()),
    ];
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: Scenario = Scenario { direction: Direction::Upload, connections: 8, bytes: 1 << 29 };

    fn run(server: usize, round: u32, cpu_millis: u64, grown: u64) -> Run {
        Run {
            server,
            round,
            error: None,
            cpu_nanos: cpu_millis * 1_000_000,
            clocks_agree: true,
            transfer_nanos: 500_000_000,
            wall_nanos: 1_000_000_000,
            server_other_nanos: 0,
            client_other_nanos: 0,
            idle_nanos: 0,
            growth: Memory { proportional: grown, resident: 0 },
        }
    }

    fn table(runs: &[Run]) -> String {
        markdown(&SCENARIO, &["floor".to_owned(), "other".to_owned()], 0, runs)
    }

    #[test]
    fn figures_are_per_gib_and_ratios_within_a_round() {
        let runs = [
            run(0, 0, 999, 1 << 20),
            run(1, 0, 999, 3 << 20),
            run(0, 1, 100, 0),
            run(1, 1, 110, 1 << 20),
            run(1, 2, 230, 2 << 20),
            run(0, 2, 200, 0),
        ];
        let text = table(&runs);
        assert!(text.starts_with("## upload, 512 MiB over 8 connections\n"), "{text}");
        assert!(
            text.contains(
                "| floor | 300.0 | 1.000 (1.000..1.000) | 1.00 | 15 % | 0.0/0.0 % | +1.0 MiB | 2/2 |"
            ),
            "{text}"
        );
        assert!(text.contains("| other | 340.0 | 1.125 (1.100..1.150) |"), "{text}");
        assert!(text.contains("| +3.0 MiB | 2/2 |"), "the warm-up takes memory: {text}");
        assert!(!text.contains("\n- "), "{text}");
    }

    #[test]
    fn what_falls_short_is_told() {
        let text = table(&[run(0, 1, 100, 0), run(1, 1, 116, (8 << 20) + 1)]);
        assert!(text.contains("- other: its memory is not flat within 8 MiB\n"), "{text}");
        assert!(text.contains("- other: more than 1.15 times the CPU of floor\n"), "{text}");
    }

    #[test]
    fn failed_runs_are_left_out_and_listed() {
        let failed = Run { error: Some("closed".into()), ..run(1, 1, 5, 1 << 20) };
        let text = table(&[run(0, 1, 100, 0), failed]);
        assert!(text.contains("| other | | | | | | +1.0 MiB | 0/1 |"), "{text}");
        assert!(text.contains("- other, round 1, left out: closed\n"), "{text}");
    }

    #[test]
    fn a_run_is_one_json_object() {
        let text = json(&SCENARIO, "a\"b", &run(0, 1, 5, 7));
        assert!(
            text.starts_with(r#"{"direction":"upload","connections":8,"bytes":536870912,"server":"a\"b","#)
        );
        assert!(text.ends_with(r#""error":null,"cpu_nanos":5000000,"transfer_nanos":500000000,"wall_nanos":1000000000,"server_other_nanos":0,"client_other_nanos":0,"idle_nanos":0,"clocks_agree":true,"pss_growth":7,"rss_growth":0}"#), "{text}");
    }
}
