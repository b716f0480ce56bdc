//! Compares servers by the CPU time of bulk uploads and downloads, and looks at their memory meanwhile.
//!
//! The server runs on one core and this program on another. All servers live through the whole comparison; in
//! each round each of them transfers once, in an order that rotates.

use std::env;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use peregrine_bench::bulk::{self, Direction};
use peregrine_bench::cpu::{self, ProcessTime};
use peregrine_bench::flags::{self, core, invalid, number, numbers, recipe};
use peregrine_bench::memory::{Memory, Watch};
use peregrine_bench::report;
use peregrine_bench::server::{Recipe, Server, pin};
use peregrine_bench::transfers::{self, Run, Scenario};

const USAGE: &str = "\
transfer [options]                   floor, peregrine and hyper, as far as they are built

  --servers NAME,NAME...             only these of the known ones
  --server NAME='COMMAND'            one more; repeatable
  --baseline NAME                    what ratios are taken to [floor, or else the first]
  --directions upload,download,copied
  --connections N,N... [1,8]         that share the bytes
  --mib N [1024]                     bytes of each run
  --rounds N [6]
  --server-cpu N [0]  --client-cpu N [1]
  --out FILE                         the tables, as Markdown
  --json FILE                        every run, one JSON object per line

A server answers `POST /upload`, `GET /download/BYTES` and `GET /copied/BYTES`. In a COMMAND, {cpu}, {listen} and
{url} stand for the core, 127.0.0.1:0 and http://127.0.0.1:0. It must print `Now listening on: URL`. Quotes group
words; there is no shell: write `env NAME=VALUE program` to set a variable.";

/// Closing the connections belongs to the run.
const SETTLE: Duration = Duration::from_millis(50);

/// Each connection's share is made of these, for `floor` sends nothing less.
const CHUNK_BYTES: u64 = 64 * 1024;

struct Options {
    recipes: Vec<Recipe>,
    baseline: Option<String>,
    directions: Vec<Direction>,
    connections: Vec<u32>,
    bytes: u64,
    rounds: u32,
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
            eprintln!("transfer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        recipes: Vec::new(),
        baseline: None,
        directions: vec![Direction::Upload, Direction::Download, Direction::Copied],
        connections: vec![1, 8],
        bytes: 1 << 30,
        rounds: 6,
        server_core: 0,
        client_core: 1,
        out: None,
        json: None,
    };
    let (mut chosen, mut more) = (None, Vec::new());
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| invalid(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--servers" => chosen = Some(value),
            "--server" => more.push(recipe(&value)?),
            "--baseline" => options.baseline = Some(value),
            "--directions" => options.directions = directions(&value)?,
            "--connections" => options.connections = numbers(&flag, &value)?,
            "--mib" => options.bytes = u64::from(number(&flag, &value)?) << 20,
            "--rounds" => options.rounds = number(&flag, &value)?,
            "--server-cpu" => options.server_core = core(&value)?,
            "--client-cpu" => options.client_core = core(&value)?,
            "--out" => options.out = Some(value.into()),
            "--json" => options.json = Some(value.into()),
            _ => return Err(invalid(format!("unknown option {flag}\n{USAGE}"))),
        }
    }
    if let Some(odd) = options
        .connections
        .iter()
        .find(|&&count| !options.bytes.is_multiple_of(u64::from(count) * CHUNK_BYTES))
    {
        return Err(invalid(format!("{odd} connections cannot share the bytes in parts of 64 KiB")));
    }
    options.recipes = known_servers(chosen.as_deref())?;
    options.recipes.extend(more);
    Ok(options)
}

fn directions(names: &str) -> Result<Vec<Direction>> {
    let direction =
        |name| Direction::named(name).ok_or_else(|| invalid(format!("{name} is not a direction")));
    names.split(',').map(direction).collect()
}

/// The servers that this suite builds: all that are built, or else the chosen ones, which then must be.
fn known_servers(chosen: Option<&str>) -> Result<Vec<Recipe>> {
    let this = env::current_exe()?;
    let own = this.parent().ok_or_else(|| invalid("this program lies nowhere".into()))?;
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release");
    let known = [
        ("floor", own.join("floor"), "--listen {listen} --cpu {cpu}"),
        ("peregrine", own.join("examples/transfer"), "--urls {url} --cpus {cpu}"),
        ("hyper", peers.join("hyper-peer"), "--listen {listen} --bulk"),
    ];
    flags::recipes(&known, chosen)
}

fn compare(options: &Options) -> Result<()> {
    pin(options.client_core)?;
    let names: Vec<String> = options.recipes.iter().map(|recipe| recipe.name.clone()).collect();
    let baseline = flags::baseline(&names, options.baseline.as_deref())?;
    let start = |recipe| Server::start(recipe, options.server_core);
    let mut servers = options.recipes.iter().map(start).collect::<Result<Vec<_>>>()?;
    if servers.is_empty() {
        return Err(invalid("no server to compare".into()));
    }
    let Options { rounds, server_core, client_core, .. } = options;
    let (mut tables, mut lines) = (
        format!(
            "# Bulk transfers compared\n\n{}; server on core {server_core}, client on core {client_core}. \
             Medians of {rounds} interleaved rounds; ratios are taken within a round.\n\n{}",
            report::machine()?,
            report::recipes(&options.recipes)
        ),
        String::new(),
    );
    print!("{tables}");
    for &direction in &options.directions {
        for &connections in &options.connections {
            let scenario = Scenario { direction, connections, bytes: options.bytes };
            let runs = rounds_of(options, &scenario, &mut servers)?;
            let table = transfers::markdown(&scenario, &names, baseline, &runs);
            print!("{table}");
            tables += &table;
            for run in &runs {
                lines += &transfers::json(&scenario, &names[run.server], run);
                lines.push('\n');
            }
            // Written after each scenario, so that an end before time keeps what is there.
            report::write(options.out.as_deref(), &tables)?;
            report::write(options.json.as_deref(), &lines)?;
        }
    }
    Ok(())
}

fn rounds_of(options: &Options, scenario: &Scenario, servers: &mut [Server]) -> Result<Vec<Run>> {
    let before = servers.iter().map(|server| Memory::now(server.pid())).collect::<Result<Vec<_>>>()?;
    let mut runs = Vec::new();
    for round in 0..=options.rounds {
        for turn in 0..servers.len() {
            let server = (turn + round as usize) % servers.len();
            let run = run(options, scenario, servers, server, round, before[server])?;
            eprintln!(
                "{}, {} connections, {}, {}: {} ms of CPU, {} ms in all, +{} KiB{}",
                scenario.direction.name(),
                scenario.connections,
                if round == 0 { "warm-up".into() } else { format!("round {round}") },
                servers[server].name,
                run.cpu_nanos / 1_000_000,
                run.transfer_nanos / 1_000_000,
                run.growth.proportional / 1024,
                run.error.as_deref().map(|error| format!(", {error}")).unwrap_or_default()
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
    client: ProcessTime,
    server_core: u64,
    client_core: u64,
}

fn run(
    options: &Options,
    scenario: &Scenario,
    servers: &mut [Server],
    server: usize,
    round: u32,
    memory_before: Memory,
) -> Result<Run> {
    let moment = |servers: &[Server]| {
        let times = servers.iter().map(|server| ProcessTime::now(server.pid()));
        Ok::<_, Error>(Moment {
            time: Instant::now(),
            servers: times.collect::<Result<_>>()?,
            client: ProcessTime::now(std::process::id())?,
            server_core: cpu::core_busy(options.server_core)?,
            client_core: cpu::core_busy(options.client_core)?,
        })
    };
    let Scenario { direction, connections, bytes } = *scenario;
    let authority = servers[server].url.trim_start_matches("http://").to_owned();

    let before = moment(servers)?;
    let watch = Watch::start(servers[server].pid());
    let begun = Instant::now();
    let result = bulk::run(direction, &authority, connections, bytes / u64::from(connections));
    let transfer_nanos = begun.elapsed().as_nanos() as u64;
    sleep(SETTLE);
    let peak = watch.peak();
    servers.iter_mut().try_for_each(Server::check)?;
    let after = moment(servers)?;

    let pairs = after.servers.iter().zip(&before.servers);
    let used: Vec<u64> = pairs.map(|(after, before)| after.since(before)).collect();
    let cpu_nanos = used[server];
    let client_nanos = after.client.since(&before.client);
    Ok(Run {
        server,
        round,
        error: result.err().map(|error| error.to_string()),
        cpu_nanos,
        clocks_agree: after.servers[server].agrees_since(&before.servers[server]),
        transfer_nanos,
        wall_nanos: after.time.duration_since(before.time).as_nanos() as u64,
        server_other_nanos: after.server_core.saturating_sub(before.server_core).saturating_sub(cpu_nanos),
        client_other_nanos: after.client_core.saturating_sub(before.client_core).saturating_sub(client_nanos),
        idle_nanos: used.iter().sum::<u64>() - cpu_nanos,
        growth: peak?.above(memory_before),
    })
}
