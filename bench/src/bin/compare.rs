//! Compares servers under the same load on the same core, in interleaved rounds, by CPU time per request.
//!
//! The server under load runs on one core and the load generator on another. All servers live through the whole
//! comparison; in each round each of them is loaded once, in an order that rotates.

use std::env;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use peregrine_bench::cpu::{self, ProcessTime};
use peregrine_bench::flags::{self, core, invalid, number, numbers, recipe, whole};
use peregrine_bench::report::{self, Run, Scenario};
use peregrine_bench::server::{Recipe, Server};
use peregrine_bench::wrk::{self, Load};

const USAGE: &str = "\
compare [options]                    floor, peregrine, hyper and may, as far as they are built
compare --ab 'COMMAND' 'COMMAND'     two command lines against each other

  --servers NAME,NAME...             only these of the known ones
  --server NAME='COMMAND'            one more; repeatable
  --baseline NAME                    what ratios are taken to [floor, or else the first]
  --rounds N [6]  --seconds N [3]  --warmup SECONDS [1]
  --depths N,N... [1,16]             requests sent at once on each connection
  --connections N,N... [64,256,1024]
  --path PATH [/plaintext]
  --server-cpu N [0]  --client-cpu N [1]
  --out FILE                         the tables, as Markdown
  --json FILE                        every run, one JSON object per line

In a COMMAND, {cpu}, {listen} and {url} stand for the core, 127.0.0.1:0 and http://127.0.0.1:0. It must print
`Now listening on: URL`. Quotes group words; there is no shell: write `env NAME=VALUE program` to set a variable.";

/// Connections that the generator drops at its end are still to be closed: that work belongs to the run.
const SETTLE: Duration = Duration::from_millis(100);

struct Options {
    recipes: Vec<Recipe>,
    baseline: Option<String>,
    rounds: u32,
    seconds: u32,
    warmup: u32,
    depths: Vec<u32>,
    connections: Vec<u32>,
    path: String,
    server_core: usize,
    client_core: usize,
    out: Option<PathBuf>,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match options(arguments.into_iter()).and_then(|options| compare(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        recipes: Vec::new(),
        baseline: None,
        rounds: 6,
        seconds: 3,
        warmup: 1,
        depths: vec![1, 16],
        connections: vec![64, 256, 1024],
        path: "/plaintext".into(),
        server_core: 0,
        client_core: 1,
        out: None,
        json: None,
    };
    let (mut chosen, mut pair, mut more) = (None, None, Vec::new());
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| invalid(format!("{flag} needs a value")));
        match flag.as_str() {
            "--ab" => pair = Some([value()?, value()?]),
            "--servers" => chosen = Some(value()?),
            "--server" => more.push(recipe(&value()?)?),
            "--baseline" => options.baseline = Some(value()?),
            "--rounds" => options.rounds = number(&flag, &value()?)?,
            "--seconds" => options.seconds = number(&flag, &value()?)?,
            "--warmup" => options.warmup = whole(&flag, &value()?)?,
            "--depths" => options.depths = numbers(&flag, &value()?)?,
            "--connections" => options.connections = numbers(&flag, &value()?)?,
            "--path" => options.path = value()?,
            "--server-cpu" => options.server_core = core(&value()?)?,
            "--client-cpu" => options.client_core = core(&value()?)?,
            "--out" => options.out = Some(value()?.into()),
            "--json" => options.json = Some(value()?.into()),
            _ => return Err(invalid(format!("unknown option {flag}\n{USAGE}"))),
        }
    }
    options.recipes = match pair {
        Some([a, b]) => {
            vec![Recipe { name: "A".into(), command: a }, Recipe { name: "B".into(), command: b }]
        }
        None => known_servers(chosen.as_deref())?,
    };
    options.recipes.extend(more);
    Ok(options)
}

/// The servers that this suite builds: all that are built, or else the chosen ones, which then must be.
fn known_servers(chosen: Option<&str>) -> Result<Vec<Recipe>> {
    let this = env::current_exe()?;
    let own = this.parent().ok_or_else(|| invalid("this program lies nowhere".into()))?;
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release");
    let known = [
        ("floor", own.join("floor"), "--listen {listen} --cpu {cpu}"),
        ("peregrine", own.join("peregrine"), "--urls {url} --cpus {cpu}"),
        ("hyper", peers.join("hyper-peer"), "--listen {listen}"),
        ("may", peers.join("may-peer"), "--listen {listen}"),
    ];
    flags::recipes(&known, chosen)
}

fn compare(options: &Options) -> Result<()> {
    let names: Vec<String> = options.recipes.iter().map(|recipe| recipe.name.clone()).collect();
    let baseline = flags::baseline(&names, options.baseline.as_deref())?;
    let start = |recipe| Server::start(recipe, options.server_core);
    let mut servers = options.recipes.iter().map(start).collect::<Result<Vec<_>>>()?;
    if servers.is_empty() {
        return Err(invalid("no server to compare".into()));
    }
    let (mut tables, mut lines) = (introduction(options)?, String::new());
    print!("{tables}");
    for &depth in &options.depths {
        for &connections in &options.connections {
            let scenario = Scenario { path: options.path.clone(), depth, connections };
            let runs = rounds(options, &scenario, &mut servers)?;
            let table = report::markdown(&scenario, &names, baseline, &runs);
            print!("{table}");
            tables += &table;
            for run in &runs {
                lines += &report::json(&scenario, &names[run.server], run);
                lines.push('\n');
            }
            // Written after each scenario, so that an end before time keeps what is there.
            report::write(options.out.as_deref(), &tables)?;
            report::write(options.json.as_deref(), &lines)?;
        }
    }
    Ok(())
}

fn introduction(options: &Options) -> Result<String> {
    let Options { rounds, seconds, server_core, client_core, .. } = options;
    let mut text = format!(
        "# Servers compared\n\n{}; server on core {server_core}, wrk on core {client_core}. \
         Medians of {rounds} interleaved rounds of {seconds} s; ratios are taken within a round.\n\n",
        report::machine()?,
    );
    text += &report::recipes(&options.recipes);
    Ok(text)
}

fn rounds(options: &Options, scenario: &Scenario, servers: &mut [Server]) -> Result<Vec<Run>> {
    if options.warmup > 0 {
        for server in 0..servers.len() {
            run(options, scenario, servers, server, 0, options.warmup)?;
        }
    }
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let server = (turn + round as usize) % servers.len();
            let run = run(options, scenario, servers, server, round, options.seconds)?;
            eprintln!(
                "depth {:2}, {:4} connections, round {}, {}: {:.3} us/request, {:.0} requests/s",
                scenario.depth,
                scenario.connections,
                round + 1,
                servers[server].name,
                run.micros_per_request(),
                run.summary.rate
            );
            runs.push(run);
        }
    }
    Ok(runs)
}

/// All clocks at one moment.
struct Moment {
    time: Instant,
    servers: Vec<ProcessTime>,
    server_core: u64,
    client_core: u64,
    client: u64,
}

fn run(
    options: &Options,
    scenario: &Scenario,
    servers: &mut [Server],
    server: usize,
    round: u32,
    seconds: u32,
) -> Result<Run> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load.lua");
    let url = format!("{}{}", servers[server].url, scenario.path);
    let Scenario { connections, depth, .. } = *scenario;
    let load = Load { url: &url, connections, depth, seconds, core: options.client_core };
    let moment = |servers: &[Server]| {
        let times = servers.iter().map(|server| ProcessTime::now(server.pid()));
        Ok::<_, Error>(Moment {
            time: Instant::now(),
            servers: times.collect::<Result<_>>()?,
            server_core: cpu::core_busy(options.server_core)?,
            client_core: cpu::core_busy(options.client_core)?,
            client: cpu::children()?,
        })
    };

    let before = moment(servers)?;
    let summary = wrk::run(&load, &script)?;
    sleep(SETTLE);
    servers.iter_mut().try_for_each(Server::check)?;
    let after = moment(servers)?;

    let pairs = after.servers.iter().zip(&before.servers);
    let used: Vec<u64> = pairs.map(|(after, before)| after.since(before)).collect();
    let cpu_nanos = used[server];
    let client_nanos = after.client - before.client;
    Ok(Run {
        server,
        round,
        summary,
        cpu_nanos,
        clocks_agree: after.servers[server].agrees_since(&before.servers[server]),
        wall_nanos: after.time.duration_since(before.time).as_nanos() as u64,
        server_other_nanos: after.server_core.saturating_sub(before.server_core).saturating_sub(cpu_nanos),
        client_other_nanos: after.client_core.saturating_sub(before.client_core).saturating_sub(client_nanos),
        idle_nanos: used.iter().sum::<u64>() - cpu_nanos,
    })
}
