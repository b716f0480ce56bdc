//! What idle connections cost: 10,000 of them, measured at the process that holds them.

#![allow(unsafe_code, reason = "the limit of descriptors is raised by a system call")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::client::{Client, PATIENCE, await_some, get};
use support::{Peregrine, check, skip};

const CONNECTIONS: usize = 10_000;

/// With fewer the figure would say nothing.
const CONNECTIONS_MIN: usize = 2_000;

/// Connections that are opened, and requests that are sent, before the answers are read: so few that blocks
/// for active connections stay out of the measurement.
const BATCH: usize = 32;

/// Connections of the warm-up: so many that the server has tidied up after them when it is measured.
const WARM_UP: usize = 1_000;

/// Descriptors that this process needs for other things.
const OTHER_DESCRIPTORS: usize = 100;

/// Nothing changes for so long while nothing happens; but what a server gives back later than a second after
/// a burst takes longer to show.
const STEADY: Duration = Duration::from_millis(300);
const TIDIED: Duration = Duration::from_millis(2500);

/// The design's promise.
const BYTES_PER_CONNECTION_MAX: f64 = 256.0;

/// What may be left when all connections have gone, and what the measurement itself wavers by.
const LEFT_BYTES_MAX: u64 = 64 * 1024;
const WAVER_BYTES: u64 = 64 * 1024;

/// Takes all the descriptors that this process may have; returns how many those are.
fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which fills it in.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).expect("a known limit");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` outlives the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).expect("up to the hard limit");
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}

/// The memory that a process has for itself, in bytes; none where the kernel does not tell.
fn private_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let own = ["Private_Clean:", "Private_Dirty:", "Private_Hugetlb:", "Swap:"];
    let kib = rollup.lines().filter_map(|line| {
        let rest = own.iter().find_map(|name| line.strip_prefix(name))?;
        rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    Some(kib.sum::<u64>() * 1024)
}

/// Opens connections in batches, each of which makes one request.
fn open(server: &Peregrine, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    let request = get("/plaintext");
    while clients.len() < count {
        let begin = clients.len();
        clients.extend((0..BATCH.min(count - begin)).map(|_| server.connect()));
        for client in &mut clients[begin..] {
            client.send(&request);
        }
        for client in &mut clients[begin..] {
            assert_eq!(client.receive().status, 200);
        }
    }
    clients
}

/// Waits until the memory has not changed for so long, then says what it is.
fn settled_bytes(pid: u32, steady_for: Duration) -> u64 {
    let mut last = private_bytes(pid);
    let mut since = Instant::now();
    await_some("steady memory", || {
        let now = private_bytes(pid);
        if now != last {
            last = now;
            since = Instant::now();
        }
        if since.elapsed() >= steady_for { now } else { None }
    })
}

#[test]
fn an_idle_connection_costs_at_most_256_bytes_and_leaves_nothing() {
    let descriptors = raise_descriptors();
    let connections = CONNECTIONS.min(descriptors.saturating_sub(OTHER_DESCRIPTORS));
    if connections < CONNECTIONS_MIN {
        return skip(&format!("only {descriptors} descriptors are allowed"));
    }
    if connections < CONNECTIONS {
        eprintln!(
            "{descriptors} descriptors are allowed: {connections} connections instead of {CONNECTIONS}"
        );
    }
    let server = Peregrine::serve(&["--workers", "1"]);
    let pid = server.pid();
    if private_bytes(pid).is_none() {
        return skip("this kernel does not tell what memory is private");
    }
    drop(open(&server, WARM_UP));
    let before = settled_bytes(pid, TIDIED);

    let clients = open(&server, connections);
    let during = settled_bytes(pid, STEADY);
    let per_connection = (during.saturating_sub(before)) as f64 / connections as f64;
    println!("{}", server.driver());
    println!(
        "{connections} idle connections: {per_connection:.1} bytes each ({before} bytes before, {during} with them)"
    );

    drop(clients);
    let closed = Instant::now();
    let mut after = u64::MAX;
    while after > before + LEFT_BYTES_MAX + WAVER_BYTES && closed.elapsed() < PATIENCE {
        after = settled_bytes(pid, STEADY);
    }
    println!("{after} bytes {:.1} s after all were closed", closed.elapsed().as_secs_f64());

    assert!(per_connection <= BYTES_PER_CONNECTION_MAX, "{per_connection:.1} bytes per idle connection");
    let left = after.saturating_sub(before);
    assert!(left <= LEFT_BYTES_MAX + WAVER_BYTES, "{left} bytes are left of {connections} connections");
    assert_eq!(server.connect().get("/plaintext").status, 200, "it still serves");
}
