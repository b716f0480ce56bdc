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
use peregrine_bench::report::{self, Run, Setting};
use peregrine_bench::scenario::{self, Scenario};
use peregrine_bench::server::{Recipe, Server};
use peregrine_bench::wrk::{self, Load};

const USAGE: &str = "\
compare [options]                    the scenario's servers, as far as they are built
compare --ab 'COMMAND' 'COMMAND'     two command lines against each other

  --scenario NAME [plaintext]        what is asked for: plaintext, user, api, db, queries, fortunes, updates
  --queries N [20]                   rows for each request of queries and updates, 500 at most
  --path PATH                        instead of a scenario: GET of a path, with no look at the answer
  --servers NAME,NAME...             only these: floor, peregrine, hyper, may, axum, actix
  --server NAME='COMMAND'            one more; repeatable
  --baseline NAME                    what ratios are taken to [floor, or else the first]
  --rounds N [6]  --seconds N [3]  --warmup SECONDS [1]
  --depths N,N...                    requests sent at once on each connection [1,16; 1 if not plaintext]
  --connections N,N... [64,256,1024]
  --server-cpu N [0]  --client-cpu N [1]
  --out FILE                         the tables, as Markdown
  --json FILE                        every run, one JSON object per line

In a COMMAND, {cpu}, {listen} and {url} stand for the core, 127.0.0.1:0 and http://127.0.0.1:0. It must print
`Now listening on: URL`. Quotes group words; there is no shell: write `env NAME=VALUE program` to set a variable.
Every server must answer as the scenario wants before anything is measured. Those of db, queries, fortunes and
updates find their database in DATABASE_URL; scripts/postgres.sh makes one.";

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
    scenario: Scenario,
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
        depths: Vec::new(),
        connections: vec![64, 256, 1024],
        scenario: named("plaintext", 1)?,
        server_core: 0,
        client_core: 1,
        out: None,
        json: None,
    };
    let (mut chosen, mut pair, mut more) = (None, None, Vec::new());
    let (mut name, mut path, mut queries) = (None, None, 20);
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
            "--scenario" => name = Some(value()?),
            "--queries" => queries = number(&flag, &value()?)?,
            "--depths" => options.depths = numbers(&flag, &value()?)?,
            "--connections" => options.connections = numbers(&flag, &value()?)?,
            "--path" => path = Some(value()?),
            "--server-cpu" => options.server_core = core(&value()?)?,
            "--client-cpu" => options.client_core = core(&value()?)?,
            "--out" => options.out = Some(value()?.into()),
            "--json" => options.json = Some(value()?.into()),
            _ => return Err(invalid(format!("unknown option {flag}\n{USAGE}"))),
        }
    }
    if queries > 500 {
        return Err(invalid(format!("--queries: {queries} is too much")));
    }
    options.scenario = match (name, path) {
        (Some(_), Some(_)) => return Err(invalid("--path and --scenario exclude each other".into())),
        (None, Some(path)) => {
            Scenario::of_path(&path).ok_or_else(|| invalid(format!("{path} is no path")))?
        }
        (name, None) => named(name.as_deref().unwrap_or("plaintext"), queries)?,
    };
    if options.depths.is_empty() {
        let is_small = options.scenario.servers.contains(&"floor");
        options.depths = if is_small { vec![1, 16] } else { vec![1] };
    }
    options.recipes = match pair {
        Some([a, b]) => {
            vec![Recipe { name: "A".into(), command: a }, Recipe { name: "B".into(), command: b }]
        }
        None => known_servers(&options.scenario, chosen.as_deref())?,
    };
    options.recipes.extend(more);
    Ok(options)
}

fn named(name: &str, queries: u32) -> Result<Scenario> {
    let unknown = || invalid(format!("{name} is no scenario; there are {}", scenario::NAMES.join(", ")));
    Scenario::named(name, queries).ok_or_else(unknown)
}

/// The servers that this suite builds: those of the scenario that are built, or else the chosen ones, which then
/// must be.
fn known_servers(scenario: &Scenario, chosen: Option<&str>) -> Result<Vec<Recipe>> {
    let this = env::current_exe()?;
    let own = this.parent().ok_or_else(|| invalid("this program lies nowhere".into()))?;
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release");
    let mut known = vec![
        ("floor", own.join("floor"), "--listen {listen} --cpu {cpu}"),
        ("peregrine", own.join("peregrine"), "--urls {url} --cpus {cpu}"),
        ("hyper", peers.join("hyper-peer"), "--listen {listen}"),
        ("may", peers.join("may-peer"), "--listen {listen}"),
        ("axum", peers.join("axum-peer"), "--listen {listen}"),
        ("actix", peers.join("actix-peer"), "--listen {listen}"),
    ];
    if chosen.is_none() {
        known.retain(|(name, ..)| scenario.servers.contains(name));
    }
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
    // What is not the right answer is not worth measuring.
    servers.iter().try_for_each(|server| options.scenario.verify(&server.name, &server.url))?;
    let (mut tables, mut lines) = (introduction(options)?, String::new());
    print!("{tables}");
    for &depth in &options.depths {
        for &connections in &options.connections {
            let Scenario { name, ref request, database, .. } = options.scenario;
            let (method, path) = (request.method, request.path.clone());
            let setting = Setting { name, method, path, database, depth, connections };
            let runs = rounds(options, &setting, &mut servers)?;
            let table = report::markdown(&setting, &names, baseline, &runs);
            print!("{table}");
            tables += &table;
            for run in &runs {
                lines += &report::json(&setting, &names[run.server], run);
                lines.push('\n');
            }
            // Written after each setting, so that an end before time keeps what is there.
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

fn rounds(options: &Options, setting: &Setting, servers: &mut [Server]) -> Result<Vec<Run>> {
    if options.warmup > 0 {
        for server in 0..servers.len() {
            run(options, setting, servers, server, 0, options.warmup)?;
        }
    }
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let server = (turn + round as usize) % servers.len();
            let run = run(options, setting, servers, server, round, options.seconds)?;
            eprintln!(
                "depth {:2}, {:4} connections, round {}, {}: {:.3} us/request, {:.0} requests/s",
                setting.depth,
                setting.connections,
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
    setting: &Setting,
    servers: &mut [Server],
    server: usize,
    round: u32,
    seconds: u32,
) -> Result<Run> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load.lua");
    let (url, request) = (servers[server].url.clone(), &options.scenario.request);
    let Setting { connections, depth, .. } = *setting;
    let load = Load { url: &url, request, connections, depth, seconds, core: options.client_core };
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
