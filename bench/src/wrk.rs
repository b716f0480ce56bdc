//! The load generator: runs `wrk` and reads its summary.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::process::Command;

use crate::answer::Request;
use crate::server::on_core;

/// One run's load.
#[derive(Debug)]
pub struct Load<'a> {
    /// The server's address, with no path.
    pub url: &'a str,
    /// What to request.
    pub request: &'a Request,
    /// Connections kept open.
    pub connections: u32,
    /// Requests sent at once on each connection.
    pub depth: u32,
    /// How long to send.
    pub seconds: u32,
    /// The core that the generator is pinned to.
    pub core: usize,
}

/// What one run came to.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    /// Responses received; each one of a pipelined batch counts.
    pub requests: u64,
    /// Responses per second.
    pub rate: f64,
    /// Bytes received per response, as far as the summary's rounding tells.
    pub response_bytes: f64,
    /// The 99th percentile of latency in microseconds, of a whole batch when pipelined; NaN if it is not known.
    pub p99_micros: f64,
    /// Failed connects, reads, writes, and timeouts.
    pub socket_errors: [u64; 4],
    /// Responses of status 400 and up.
    pub bad_statuses: u64,
}

impl Summary {
    /// What went wrong, if anything did.
    #[must_use]
    pub fn errors(&self) -> Option<String> {
        let [connect, read, write, timeout] = self.socket_errors;
        let mut errors = Vec::new();
        if self.socket_errors != [0; 4] {
            errors.push(format!("sockets: connect {connect}, read {read}, write {write}, timeout {timeout}"));
        }
        if self.bad_statuses > 0 {
            errors.push(format!("{} responses not 2xx or 3xx", self.bad_statuses));
        }
        if self.requests == 0 {
            errors.push("no responses".into());
        }
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

/// Runs the load to its end. `script` is this crate's `load.lua`: it makes the requests and their batches, and tells the latency
/// that was measured, which `wrk` itself does not.
pub fn run(load: &Load<'_>, script: &Path) -> Result<Summary> {
    let Load { url, request, connections, depth, seconds, core } = load;
    let mut command = on_core(*core, "wrk");
    command.args(["-t1", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    command.arg("-s").arg(script).arg(format!("{url}{}", request.path));
    command.env("CONNECTIONS", connections.to_string()).env("DEPTH", depth.to_string());
    command.env("METHOD", request.method).env("JSON", request.body.unwrap_or_default());
    let text = successful_output(&mut command)?;
    parse(&text).map_err(|what| Error::new(ErrorKind::InvalidData, format!("wrk said no {what}:\n{text}")))
}

fn successful_output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(format!("wrk failed, {}: {text}{complaint}", output.status)))
}

/// Reads a summary; the error names what is missing.
pub fn parse(text: &str) -> std::result::Result<Summary, &'static str> {
    let mut summary = Summary { p99_micros: f64::NAN, ..Summary::default() };
    let (mut bytes, mut requests, mut rate) = (None, None, None);
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [count, "requests", "in", _, read, "read"] => {
                requests = count.parse().ok();
                bytes = parse_bytes(read);
            }
            ["Requests/sec:", value] => rate = value.parse().ok(),
            ["Measured", "99%:", micros, "us", ..] => {
                summary.p99_micros = micros.parse().map_err(|_| "readable 99th percentile")?;
            }
            ["Socket", "errors:", "connect", connect, "read", read, "write", write, "timeout", timeout] => {
                for (slot, field) in summary.socket_errors.iter_mut().zip([connect, read, write, timeout]) {
                    *slot = field.trim_end_matches(',').parse().map_err(|_| "readable socket errors")?;
                }
            }
            ["Non-2xx", "or", "3xx", "responses:", count] => {
                summary.bad_statuses = count.parse().map_err(|_| "readable count of bad statuses")?;
            }
            _ => {}
        }
    }
    summary.requests = requests.ok_or("count of requests")?;
    summary.rate = rate.ok_or("rate")?;
    let bytes = bytes.ok_or("count of bytes")?;
    summary.response_bytes = bytes / (summary.requests.max(1) as f64);
    Ok(summary)
}

fn parse_bytes(text: &str) -> Option<f64> {
    let kib = 1024.0_f64;
    let units =
        [("KB", kib), ("MB", kib.powi(2)), ("GB", kib.powi(3)), ("TB", kib.powi(4)), ("B", 1.0), ("", 1.0)];
    // A unit counts if nothing but the number remains before it.
    units.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
Running 2s test @ http://127.0.0.1:5000/plaintext
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   344.92us    0.99ms  18.23ms   98.82%
    Req/Sec   129.14k     5.35k  132.84k    95.00%
  257379 requests in 2.00s, 36.57MB read
Requests/sec: 128476.17
Transfer/sec:     18.26MB
Measured 99%: 2110 us of 257379
";

    #[test]
    fn a_clean_run() {
        let summary = parse(CLEAN).expect("a whole summary");
        assert_eq!(summary.requests, 257_379);
        assert!((summary.rate - 128_476.17).abs() < 1e-6);
        assert!((summary.p99_micros - 2110.0).abs() < 1e-6);
        assert!((summary.response_bytes - 149.0).abs() < 0.1);
        assert_eq!(summary.errors(), None);
    }

    #[test]
    fn errors_are_told() {
        let text = CLEAN.replace(
            "Requests/sec:",
            "  Socket errors: connect 1, read 20, write 0, timeout 3\n  \
             Non-2xx or 3xx responses: 7\nRequests/sec:",
        );
        let summary = parse(&text).expect("a whole summary");
        assert_eq!(summary.socket_errors, [1, 20, 0, 3]);
        assert_eq!(summary.bad_statuses, 7);
        let told = summary.errors().expect("errors");
        assert_eq!(told, "sockets: connect 1, read 20, write 0, timeout 3; 7 responses not 2xx or 3xx");
    }

    #[test]
    fn a_run_without_responses_is_an_error() {
        let text = "  0 requests in 2.00s, 0.00B read\nRequests/sec:      0.00\n";
        assert_eq!(parse(text).expect("a whole summary").errors().as_deref(), Some("no responses"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("unable to connect"), Err("count of requests"));
        assert_eq!(parse(&CLEAN.replace("36.57MB", "36.57XB")), Err("count of bytes"));
        assert_eq!(parse(&CLEAN.replace("2110 us", "2.11ms us")), Err("readable 99th percentile"));
        let unmeasured = parse(&CLEAN.replace("Measured", "")).expect("a whole summary");
        assert!(unmeasured.p99_micros.is_nan());
    }

    #[test]
    fn units() {
        assert_eq!(parse_bytes("512.00B"), Some(512.0));
        assert_eq!(parse_bytes("1.50KB"), Some(1536.0));
        assert_eq!(parse_bytes("2.00MB"), Some(2_097_152.0));
        assert_eq!(parse_bytes("2.00GB"), Some(2_147_483_648.0));
        assert_eq!(parse_bytes("1.00TB"), Some(1_099_511_627_776.0));
        assert_eq!(parse_bytes("12us"), None);
    }
}
