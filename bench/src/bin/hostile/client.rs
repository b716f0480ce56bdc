//! A client as they should be: one kept connection, a request every few milliseconds, every answer awaited.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The rest between two requests.
const REST: Duration = Duration::from_millis(5);
/// After so long an answer does not come any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A kept connection.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
}

/// How long the answers took, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    /// Ascending.
    times: Vec<Duration>,
    /// Requests that were not answered with 200.
    pub(crate) failures: Vec<String>,
}

impl Latencies {
    /// The time within which so much of the requests was answered, in milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let index = (last as f64 * quantile).round() as usize;
        self.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// How many were answered.
    pub(crate) fn answered(&self) -> usize {
        self.times.len()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { address, stream: connect(address, PATIENCE)? })
    }

    /// Asks for as long as this says so.
    pub(crate) fn ask_while(&mut self, goes_on: impl Fn() -> bool) -> Latencies {
        let mut latencies = Latencies::default();
        while goes_on() {
            let start = Instant::now();
            let stays = ask(&mut self.stream);
            match &stays {
                Ok(_) => latencies.times.push(start.elapsed()),
                Err(error) => latencies.failures.push(error.to_string()),
            }
            if !matches!(stays, Ok(true)) {
                self.reconnect(&mut latencies);
            }
            sleep(REST);
        }
        latencies.times.sort_unstable();
        latencies
    }

    fn reconnect(&mut self, latencies: &mut Latencies) {
        match connect(self.address, PATIENCE) {
            Ok(stream) => self.stream = stream,
            Err(error) => latencies.failures.push(error.to_string()),
        }
    }
}

/// Asks over new connections until one of them is answered.
///
/// # Errors
/// That of the last attempt within this time.
pub(crate) fn await_answer(address: SocketAddr, within: Duration) -> Result<()> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(REST);
        match connect(address, left).and_then(|mut stream| ask(&mut stream)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(REST),
        }
    }
}

fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// Sends one request and reads its whole answer; returns whether the connection stays.
fn ask(stream: &mut TcpStream) -> Result<bool> {
    stream.write_all(REQUEST)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..received]);
        let Some((head, rest)) = split(&answer) else { continue };
        if !head.starts_with("HTTP/1.1 200 ") {
            let line = head.lines().next().unwrap_or_default();
            return Err(Error::new(ErrorKind::InvalidData, format!("answered with {line}")));
        }
        let length = field(head, "Content-Length").and_then(|value| value.parse().ok());
        if length.is_some_and(|length: usize| rest >= length) {
            return Ok(!field(head, "Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
        }
    }
}

/// The head of an answer and how many bytes follow it, once the head is whole.
fn split(answer: &[u8]) -> Option<(&str, usize)> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    Some((str::from_utf8(&answer[..end]).ok()?, answer.len() - end - 4))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_once_its_head_is_whole() {
        assert_eq!(split(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
        let (head, rest) = split(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nxyz").expect("a head");
        assert_eq!((field(head, "a"), rest), (Some("b"), 3));
        assert_eq!(field(head, "b"), None);
    }

    #[test]
    fn quantiles_are_of_the_answers() {
        let times = (1..=101).map(Duration::from_millis).collect();
        let latencies = Latencies { times, failures: Vec::new() };
        assert!((latencies.quantile(0.5) - 51.0).abs() < 1e-9);
        assert!((latencies.quantile(1.0) - 101.0).abs() < 1e-9);
        assert!(Latencies::default().quantile(0.99).abs() < 1e-9);
    }
}
