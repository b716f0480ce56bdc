//! What the harnesses write: one Markdown table per setting, and one JSON object per run.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use crate::server::Recipe;
use crate::wrk::Summary;

/// What a row of runs has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// How the scenario is called.
    pub name: &'static str,
    /// The method requested.
    pub method: &'static str,
    /// The path requested.
    pub path: String,
    /// Whether a database has a part in the work. It shares the client's core, where its time is no disturbance.
    pub database: bool,
    /// Requests sent at once on each connection.
    pub depth: u32,
    /// Connections kept open.
    pub connections: u32,
}

/// One server in one setting in one round.
#[derive(Debug)]
pub struct Run {
    /// The server's place in the list of names.
    pub server: usize,
    /// The round, from 0.
    pub round: u32,
    /// What the load generator saw.
    pub summary: Summary,
    /// CPU time of the server process.
    pub cpu_nanos: u64,
    /// Whether the two clocks of the server process agreed.
    pub clocks_agree: bool,
    /// From before the load to after it.
    pub wall_nanos: u64,
    /// Time that the server's core spent on anything else.
    pub server_other_nanos: u64,
    /// Time that the generator's core spent on anything else.
    pub client_other_nanos: u64,
    /// CPU time of the servers that had nothing to do.
    pub idle_nanos: u64,
}

impl Run {
    /// CPU time per request in microseconds.
    #[must_use]
    pub fn micros_per_request(&self) -> f64 {
        self.cpu_nanos as f64 / 1e3 / self.summary.requests as f64
    }

    fn share(&self, nanos: u64) -> f64 {
        100.0 * nanos as f64 / self.wall_nanos as f64
    }

    /// Whether other programs took so much of a core that the figures may tell of them.
    fn is_disturbed(&self, database: bool) -> bool {
        let client_other_nanos = if database { 0 } else { self.client_other_nanos };
        self.share(self.server_other_nanos.max(client_other_nanos)) > 5.0
    }

    /// What else makes this run doubtful, though not wrong.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.clocks_agree {
            doubts.push("the two CPU clocks disagree".into());
        }
        if self.share(self.idle_nanos) > 0.5 {
            doubts.push(format!("idle servers took {:.1} % of a core", self.share(self.idle_nanos)));
        }
        doubts
    }
}

/// The middle of the values, or the mean of the middle two; NaN of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The setting's table. Runs with errors are left out of its figures, counted, and listed below it.
#[must_use]
pub fn markdown(setting: &Setting, names: &[String], baseline: usize, runs: &[Run]) -> String {
    let Setting { name, method, path, database, depth, connections } = setting;
    let mut text = format!("## {name}: {method} {path}, depth {depth}, {connections} connections\n\n");
    let base = &names[baseline];
    text += &format!(
        "| server | CPU us/request | to {base} (min..max) | requests/s | p99 | server's core | others, server/client core | \
         bytes | runs |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for (server, name) in names.iter().enumerate() {
        let all: Vec<&Run> = runs.iter().filter(|run| run.server == server).collect();
        let good: Vec<&Run> = all.iter().copied().filter(|run| run.summary.errors().is_none()).collect();
        if good.is_empty() {
            text += &format!("| {name} | | | | | | | | 0/{} |\n", all.len());
            continue;
        }
        let of = |figure: &dyn Fn(&Run) -> f64| median(good.iter().map(|run| figure(run)).collect());
        text += &format!(
            "| {name} | {:.3} | {} | {:.0} | {} | {:.0} % | {:.1}/{:.1} % | {:.0} | {}/{} |\n",
            of(&Run::micros_per_request),
            ratio(&good, baseline, runs),
            of(&|run| run.summary.rate),
            latency(of(&|run| run.summary.p99_micros)),
            of(&|run| run.share(run.cpu_nanos)),
            of(&|run| run.share(run.server_other_nanos)),
            of(&|run| run.share(run.client_other_nanos)),
            of(&|run| run.summary.response_bytes),
            good.len(),
            all.len()
        );
    }
    text.push('\n');
    let mut remarks = String::new();
    for run in runs {
        let (name, round) = (&names[run.server], run.round + 1);
        if let Some(errors) = run.summary.errors() {
            remarks += &format!("- {name}, round {round}, left out: {errors}\n");
        }
        for doubt in run.doubts() {
            remarks += &format!("- {name}, round {round}: {doubt}\n");
        }
    }
    let disturbed = runs.iter().filter(|run| run.is_disturbed(*database)).count();
    if disturbed > 0 {
        remarks +=
            &format!("- other programs took over 5 % of a core in {disturbed} of {} runs\n", runs.len());
    }
    if !remarks.is_empty() {
        text += &remarks;
        text.push('\n');
    }
    text
}

/// Median, least and greatest of the ratios, each within one round.
fn ratio(good: &[&Run], baseline: usize, runs: &[Run]) -> String {
    let base_of = |round| {
        runs.iter().find(|run| run.server == baseline && run.round == round && run.summary.errors().is_none())
    };
    ratios(
        good.iter()
            .filter_map(|run| Some((run.micros_per_request(), base_of(run.round)?.micros_per_request()))),
    )
}

/// Median, least and greatest of the ratios of pairs.
#[must_use]
pub fn ratios(pairs: impl Iterator<Item = (f64, f64)>) -> String {
    let ratios: Vec<f64> = pairs.map(|(figure, base)| figure / base).collect();
    if ratios.is_empty() {
        return String::new();
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({least:.3}..{greatest:.3})", median(ratios))
}

/// The kernel and the processor that figures are of.
pub fn machine() -> io::Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    Ok(format!("Linux {}, {model}", kernel.trim()))
}

/// The servers' command lines, as a list.
#[must_use]
pub fn recipes(recipes: &[Recipe]) -> String {
    let mut text = String::new();
    for Recipe { name, command } in recipes {
        // The directory that a program lies in tells nothing.
        let shown: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
        let program = shown[0].rsplit('/').next().unwrap_or_default();
        text += &format!("- {name}: `{program} {}`\n", shown[1..].join(" "));
    }
    text.push('\n');
    text
}

/// Writes a file, and its directory if need be; nothing if there is no file to write.
pub fn write(file: Option<&Path>, text: &str) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    directory.map_or(Ok(()), fs::create_dir_all)?;
    fs::write(file, text)
}

fn latency(micros: f64) -> String {
    match micros {
        micros if micros.is_nan() => String::new(),
        micros if micros < 1e3 => format!("{micros:.0} us"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// One run as one line of JSON.
#[must_use]
pub fn json(setting: &Setting, name: &str, run: &Run) -> String {
    let Summary { requests, rate, response_bytes, p99_micros, bad_statuses, .. } = run.summary;
    let [connect, read, write, timeout] = run.summary.socket_errors;
    let number = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "null".into() };
    let mut text = String::from("{");
    let mut field = |key: &str, value: &str| {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, "{comma}\"{key}\":{value}");
    };
    field("scenario", &quoted(setting.name));
    field("method", &quoted(setting.method));
    field("path", &quoted(&setting.path));
    field("depth", &setting.depth.to_string());
    field("connections", &setting.connections.to_string());
    field("server", &quoted(name));
    field("round", &(run.round + 1).to_string());
    field("requests", &requests.to_string());
    field("requests_per_second", &number(rate));
    field("cpu_micros_per_request", &number(run.micros_per_request()));
    field("p99_micros", &number(p99_micros));
    field("response_bytes", &number(response_bytes));
    field("cpu_nanos", &run.cpu_nanos.to_string());
    field("wall_nanos", &run.wall_nanos.to_string());
    field("server_other_nanos", &run.server_other_nanos.to_string());
    field("client_other_nanos", &run.client_other_nanos.to_string());
    field("idle_nanos", &run.idle_nanos.to_string());
    field("clocks_agree", &run.clocks_agree.to_string());
    field("bad_statuses", &bad_statuses.to_string());
    field("socket_errors", &format!("[{connect},{read},{write},{timeout}]"));
    text.push('}');
    text
}

/// Text as JSON writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(server: usize, round: u32, cpu_nanos: u64, read_errors: u64) -> Run {
        let summary = Summary {
            requests: 1000,
            rate: 500.0,
            response_bytes: 149.0,
            p99_micros: 1500.0,
            socket_errors: [0, read_errors, 0, 0],
            bad_statuses: 0,
        };
        Run {
            server,
            round,
            summary,
            cpu_nanos,
            clocks_agree: true,
            wall_nanos: 2_000_000_000,
            server_other_nanos: 0,
            client_other_nanos: 0,
            idle_nanos: 0,
        }
    }

    fn setting() -> Setting {
        let path = "/a\"b".into();
        Setting { name: "test", method: "GET", path, database: false, depth: 16, connections: 64 }
    }

    #[test]
    fn medians() {
        assert!(median(vec![]).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let runs = [
            run(0, 0, 1_000_000, 0),
            run(1, 0, 3_000_000, 0),
            run(1, 1, 4_000_000, 0),
            run(0, 1, 2_000_000, 0),
            run(0, 2, 1_000_000, 0),
            run(1, 2, 5_000_000, 0),
        ];
        let names = ["floor".to_owned(), "other".to_owned()];
        let text = markdown(&setting(), &names, 0, &runs);
        assert!(text.contains("| floor | 1.000 | 1.000 (1.000..1.000) | 500 | 1.50 ms |"), "{text}");
        assert!(text.contains("| other | 4.000 | 3.000 (2.000..5.000) |"), "{text}");
        assert!(!text.contains("left out"), "{text}");
    }

    #[test]
    fn runs_with_errors_are_left_out_and_listed() {
        let runs = [
            run(0, 0, 1_000_000, 9),
            run(1, 0, 3_000_000, 0),
            run(0, 1, 2_000_000, 0),
            run(1, 1, 4_000_000, 0),
        ];
        let names = ["floor".to_owned(), "other".to_owned()];
        let text = markdown(&setting(), &names, 0, &runs);
        assert!(text.contains("| floor | 2.000 | 1.000 (1.000..1.000) |"), "{text}");
        assert!(text.contains("| 1/2 |"), "{text}");
        assert!(text.contains("| other | 3.500 | 2.000 (2.000..2.000) |"), "{text}");
        let remark = "- floor, round 1, left out: sockets: connect 0, read 9, write 0, timeout 0\n";
        assert!(text.contains(remark), "{text}");
    }

    #[test]
    fn disturbances_are_told() {
        let mut disturbed = run(0, 0, 1_000_000, 0);
        disturbed.client_other_nanos = 1_000_000_000;
        disturbed.idle_nanos = 20_000_000;
        let text = markdown(&setting(), &["floor".to_owned()], 0, &[disturbed, run(0, 1, 1_000_000, 0)]);
        assert!(text.contains("| 0.0/25.0 % |"), "{text}");
        assert!(text.contains("- floor, round 1: idle servers took 1.0 % of a core\n"), "{text}");
        assert!(text.contains("- other programs took over 5 % of a core in 1 of 2 runs\n"), "{text}");
    }

    #[test]
    fn a_database_disturbs_on_the_servers_core_alone() {
        let setting = Setting { database: true, ..setting() };
        let names = ["floor".to_owned()];
        let mut run = run(0, 0, 1_000_000, 0);
        run.client_other_nanos = 1_000_000_000;
        assert!(!markdown(&setting, &names, 0, &[run]).contains("other programs took"));
        let mut run = self::run(0, 0, 1_000_000, 0);
        run.server_other_nanos = 1_000_000_000;
        assert!(markdown(&setting, &names, 0, &[run]).contains("other programs took"));
    }

    #[test]
    fn json_is_escaped() {
        let text = json(&setting(), "a\\b\n", &run(0, 1, 5, 0));
        assert!(
            text.starts_with(r#"{"scenario":"test","method":"GET","path":"/a\"b","depth":16,"#),
            "{text}"
        );
        assert!(text.contains(r#""server":"a\\b\u000a","round":2,"#), "{text}");
        assert!(text.ends_with("\"socket_errors\":[0,0,0,0]}"), "{text}");
    }
}
