//! Compares servers by the CPU time of TLS handshakes, full and resumed, in interleaved rounds.
//!
//! The server runs on one core and this program on another. All servers live through the whole comparison; in each
//! round each of them is loaded once, in an order that rotates.

use std::env;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::{ExitCode, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

use peregrine_bench::cpu::{self, ProcessTime};
use peregrine_bench::flags::{self, core, invalid, number, recipe, whole};
use peregrine_bench::handshakes::{self, Load};
use peregrine_bench::report::{self, Run, Setting};
use peregrine_bench::server::{Recipe, Server, pin};
use peregrine_bench::tls::{Client, Group, Version};

const USAGE: &str = "\
handshakes --server NAME='COMMAND'... [options]

  --server NAME='COMMAND'            repeatable
  --baseline NAME                    what ratios are taken to [the first]
  --kinds full,resumed
  --version 1.2|1.3 [1.3]
  --group x25519|hybrid|p256 [x25519]  what is offered; p256 too in TLS 1.2
  --suite NAME                       the only cipher suite, by IANA's name [all that rustls has]
  --connections N [32]               at once
  --rounds N [6]  --seconds N [3]  --warmup SECONDS [1]
  --path PATH [/plaintext]           asked for once on each connection
  --server-cpu N [0]  --client-cpu N [1]
  --out FILE                         the tables, as Markdown
  --json FILE                        every run, one JSON object per line

Each connection makes its handshake, one request with `Connection: close`, and reads to the end, which must be told by
close_notify. In a COMMAND, {cpu} and {listen} stand for the core and 127.0.0.1:0. It must print
`Now listening on: https://ADDRESS:PORT`. Quotes group words; there is no shell: write `env NAME=VALUE program` to set
a variable.";

/// Closing the last connections belongs to the run.
const SETTLE: Duration = Duration::from_millis(100);

struct Options {
    recipes: Vec<Recipe>,
    baseline: Option<String>,
    clients: Vec<Client>,
    connections: u32,
    rounds: u32,
    seconds: u32,
    warmup: u32,
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
            eprintln!("handshakes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        recipes: Vec::new(),
        baseline: None,
        clients: Vec::new(),
        connections: 32,
        rounds: 6,
        seconds: 3,
        warmup: 1,
        path: "/plaintext".into(),
        server_core: 0,
        client_core: 1,
        out: None,
        json: None,
    };
    let (mut client, mut kinds) = (Client::default(), vec![false, true]);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| invalid(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--server" => options.recipes.push(recipe(&value)?),
            "--baseline" => options.baseline = Some(value),
            "--kinds" => kinds = value.split(',').map(resumes).collect::<Result<_>>()?,
            "--version" => client.version = version(&value)?,
            "--group" => client.group = group(&value)?,
            "--suite" => client.suite = Some(value),
            "--connections" => options.connections = number(&flag, &value)?,
            "--rounds" => options.rounds = number(&flag, &value)?,
            "--seconds" => options.seconds = number(&flag, &value)?,
            "--warmup" => options.warmup = whole(&flag, &value)?,
            "--path" => options.path = value,
            "--server-cpu" => options.server_core = core(&value)?,
            "--client-cpu" => options.client_core = core(&value)?,
            "--out" => options.out = Some(value.into()),
            "--json" => options.json = Some(value.into()),
            _ => return Err(invalid(format!("unknown option {flag}\n{USAGE}"))),
        }
    }
    options.clients = kinds.into_iter().map(|resumes| Client { resumes, ..client.clone() }).collect();
    Ok(options)
}

fn resumes(kind: &str) -> Result<bool> {
    match kind {
        "full" => Ok(false),
        "resumed" => Ok(true),
        _ => Err(invalid(format!("--kinds: {kind} is neither full nor resumed"))),
    }
}

fn version(name: &str) -> Result<Version> {
    match name {
        "1.2" => Ok(Version::Tls12),
        "1.3" => Ok(Version::Tls13),
        _ => Err(invalid(format!("--version: {name} is neither 1.2 nor 1.3"))),
    }
}

fn group(name: &str) -> Result<Group> {
    match name {
        "x25519" => Ok(Group::X25519),
        "hybrid" => Ok(Group::Hybrid),
        "p256" => Ok(Group::P256),
        _ => Err(invalid(format!("--group: {name} is not known"))),
    }
}

fn compare(options: &Options) -> Result<()> {
    pin(options.client_core)?;
    let names: Vec<String> = options.recipes.iter().map(|recipe| recipe.name.clone()).collect();
    let baseline = flags::baseline(&names, options.baseline.as_deref())?;
    let start = |recipe| Server::start(recipe, options.server_core);
    let mut servers = options.recipes.iter().map(start).collect::<Result<Vec<_>>>()?;
    if servers.is_empty() {
        return Err(invalid(format!("no server to compare\n{USAGE}")));
    }
    let (mut tables, mut lines) = (introduction(options, &servers)?, String::new());
    print!("{tables}");
    for client in &options.clients {
        let name = if client.resumes { "resumed handshakes" } else { "full handshakes" };
        let (path, connections) = (options.path.clone(), options.connections);
        let setting = Setting { name, method: "GET", path, database: false, depth: 1, connections };
        let runs = rounds(options, client, &mut servers)?;
        let table = report::markdown(&setting, &names, baseline, &runs);
        print!("{table}");
        tables += &table;
        for run in &runs {
            lines += &report::json(&setting, &names[run.server], run);
            lines.push('\n');
        }
        // Written after each kind, so that an end before time keeps what is there.
        report::write(options.out.as_deref(), &tables)?;
        report::write(options.json.as_deref(), &lines)?;
    }
    Ok(())
}

/// What is compared, and what each server agrees to: those that agree to other things are not compared by this.
fn introduction(options: &Options, servers: &[Server]) -> Result<String> {
    let Options { rounds, seconds, server_core, client_core, .. } = options;
    let mut text = format!(
        "# Handshakes compared\n\n{}; server on core {server_core}, client on core {client_core}. \
         Medians of {rounds} interleaved rounds of {seconds} s; ratios are taken within a round. \
         A request is a connection from its beginning to its end, with one handshake.\n\n",
        report::machine()?,
    );
    text += &report::recipes(&options.recipes);
    for server in servers {
        for client in &options.clients {
            let kind = if client.resumes { "resumed" } else { "full" };
            let agreed = handshakes::look(&load(options, client, server, 0)?);
            let agreed = agreed
                .map_err(|error| Error::new(error.kind(), format!("{}, {kind}: {error}", server.name)))?;
            text += &format!("- {}, {kind}: {agreed}\n", server.name);
        }
    }
    text.push('\n');
    Ok(text)
}

fn load<'a>(options: &'a Options, client: &'a Client, server: &'a Server, seconds: u32) -> Result<Load<'a>> {
    let authority = server.url.strip_prefix("https://");
    let authority =
        authority.ok_or_else(|| invalid(format!("{} is not on https: {}", server.name, server.url)))?;
    Ok(Load { authority, client, path: &options.path, connections: options.connections, seconds })
}

fn rounds(options: &Options, client: &Client, servers: &mut [Server]) -> Result<Vec<Run>> {
    if options.warmup > 0 {
        for server in 0..servers.len() {
            run(options, client, servers, server, 0, options.warmup)?;
        }
    }
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let server = (turn + round as usize) % servers.len();
            let run = run(options, client, servers, server, round, options.seconds)?;
            eprintln!(
                "{}, round {}, {}: {:.1} us/handshake, {:.0} handshakes/s",
                if client.resumes { "resumed" } else { "full" },
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
    client: ProcessTime,
    server_core: u64,
    client_core: u64,
}

fn moment(options: &Options, servers: &[Server]) -> Result<Moment> {
    let times = servers.iter().map(|server| ProcessTime::now(server.pid()));
    Ok(Moment {
        time: Instant::now(),
        servers: times.collect::<Result<_>>()?,
        client: ProcessTime::now(id())?,
        server_core: cpu::core_busy(options.server_core)?,
        client_core: cpu::core_busy(options.client_core)?,
    })
}

fn run(
    options: &Options,
    client: &Client,
    servers: &mut [Server],
    server: usize,
    round: u32,
    seconds: u32,
) -> Result<Run> {
    let load = load(options, client, &servers[server], seconds)?;
    let begin = || {
        // What the servers still do for the connections that brought the tickets is no part of the run.
        sleep(SETTLE);
        moment(options, servers)
    };
    let (before, summary) = handshakes::run(&load, begin)?;
    sleep(SETTLE);
    servers.iter_mut().try_for_each(Server::check)?;
    let after = moment(options, servers)?;

    let pairs = after.servers.iter().zip(&before.servers);
    let used: Vec<u64> = pairs.map(|(after, before)| after.since(before)).collect();
    let cpu_nanos = used[server];
    let client_nanos = after.client.since(&before.client);
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
