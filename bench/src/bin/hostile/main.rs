//! Attacks a running server in every way that a client can, and judges what it makes of that.
//!
//! Each attack has a server of its own. A normal client asks it before and during the attack; what the process
//! holds is looked at all the time. `scripts/faults.sh` builds and starts this.

mod client;
mod scenario;
mod swarm;
mod target;
mod verdict;

use std::env;
use std::io::{Error, ErrorKind, Result, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use client::Client;
use scenario::Scenario;
use swarm::Swarm;
use target::{Holding, Program, Target};
use verdict::Seen;

const USAGE: &str = "\
hostile [options] PROGRAM            attacks the command `peregrine`

  --quick            fewer connections and less time
  --only WORD        only the attacks whose names contain this; repeatable
  --list             the names of the attacks
  --workers N [1]
  --server-cpu N [0]";

/// How long the normal client asks before the attack.
const CALM: Duration = Duration::from_millis(500);
/// How long the server may take to be as before.
const RECOVERY: Duration = Duration::from_secs(8);
/// How long a new connection may wait for its answer after the attack.
const ANSWER: Duration = Duration::from_secs(2);
/// How often is looked whether it has recovered.
const LOOK: Duration = Duration::from_millis(50);

struct Options {
    quick: bool,
    list: bool,
    only: Vec<String>,
    workers: usize,
    core: usize,
    program: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match options(arguments.into_iter()).and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::from(2)
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options =
        Options { quick: false, list: false, only: Vec::new(), workers: 1, core: 0, program: None };
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| invalid(format!("{word} needs a value")));
        let number = |text: String| text.parse().map_err(|_| invalid(format!("{text} is no number")));
        match word.as_str() {
            "--quick" => options.quick = true,
            "--list" => options.list = true,
            "--only" => options.only.push(value()?),
            "--workers" => options.workers = number(value()?)?,
            "--server-cpu" => options.core = number(value()?)?,
            flag if flag.starts_with('-') => return Err(invalid(format!("unknown option {flag}\n{USAGE}"))),
            _ => options.program = Some(word),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<ExitCode> {
    let mut scenarios = scenario::all(options.quick);
    if !options.only.is_empty() {
        scenarios.retain(|scenario| options.only.iter().any(|word| scenario.name.contains(word.as_str())));
    }
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(ExitCode::SUCCESS);
    }
    let program = options.program.clone().ok_or_else(|| invalid(format!("no PROGRAM\n{USAGE}")))?;
    let program = Program::new(program, options.workers, options.core)?;
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for scenario in &scenarios {
        let name = format!("{:width$}", scenario.name);
        match program.start(&scenario.limits, scenario.descriptors)? {
            Err(limit) => {
                println!("SKIPPED {name}  the server cannot be told {limit}");
                skipped += 1;
            }
            Ok(target) => {
                let mut seen = attack(scenario, target, options)?;
                // A machine that is busy with others makes everything slow, but hardly twice.
                if seen.is_slow()
                    && let Ok(target) = program.start(&scenario.limits, scenario.descriptors)?
                {
                    println!("again   {name}  {seen}");
                    seen = attack(scenario, target, options)?;
                }
                let complaints = seen.complaints(scenario);
                println!("{}  {name}  {seen}", if complaints.is_empty() { "PASS  " } else { "FAIL  " });
                complaints.iter().for_each(|complaint| println!("        {complaint}"));
                if complaints.is_empty() { passed += 1 } else { failed += 1 }
            }
        }
        std::io::stdout().flush()?;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn attack(scenario: &Scenario, mut target: Target, options: &Options) -> Result<Seen> {
    let (pid, address) = (target.pid(), target.address);
    let mut client = Client::connect(address)?;
    let calm_end = Instant::now() + if options.quick { CALM / 2 } else { CALM };
    let calm = client.ask_while(|| Instant::now() < calm_end);
    let before = Holding::of(pid)?;

    let connections = scenario.connections.min(target::descriptors_left()?);
    let mut swarm = Swarm::new(address, scenario.plan.clone(), connections, scenario.again);
    let stop = AtomicBool::new(false);
    let (normal, most, last) = thread::scope(|scope| {
        let client = scope.spawn(|| client.ask_while(|| !stop.load(Ordering::Relaxed)));
        let meter = scope.spawn(|| Holding::most(pid, &stop));
        swarm.attack(scenario.time);
        let last = Holding::of(pid);
        stop.store(true, Ordering::Relaxed);
        let ended = "the threads of this program do not panic";
        (client.join().expect(ended), meter.join().expect(ended), last)
    });
    let tally = swarm.end();

    let start = Instant::now();
    let alive = target.check().and_then(|()| client::await_answer(address, ANSWER));
    let alive = alive.map_err(|error| error.to_string());
    let may_keep = before.memory + scenario.may_keep(options.workers);
    let mut after = before;
    while let Ok(now) = Holding::of(pid) {
        after = now;
        let has_recovered = now.descriptors <= before.descriptors && now.memory <= may_keep;
        if has_recovered || start.elapsed() > RECOVERY {
            break;
        }
        sleep(LOOK);
    }
    let last = last.unwrap_or_default();
    Ok(Seen { before, most, last, after, calm, normal, tally, alive, workers: options.workers })
}
