//! Hostile connections: what each of them does, and a loop that drives thousands from one thread.
//!
//! The loop asks every socket in turn and never waits for one. That costs a few calls per connection and turn,
//! needs no poller, and is how an attacker with time to waste would do it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that are opened in one turn of the loop, so that those which are open get their turns.
const OPENED_PER_TURN: usize = 256;
/// A turn in which nothing moved is followed by so long a sleep.
const IDLE: Duration = Duration::from_millis(2);
/// So much of an answer is looked at: its status line, and perhaps an interim response before it.
const KEPT_BYTES: usize = 64;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How fast bytes go one way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as the socket moves them.
    Full,
    /// So many at a time, with so long a rest after each.
    Drip(usize, Duration),
    /// Not at all.
    Never,
}

/// What follows when everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finally {
    /// Stays, and reads at its pace.
    Stay,
    /// Shuts down its sending side, and stays.
    HalfClose,
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
    /// The same as soon as a part of the answer is here.
    ResetWithinAnswer,
}

/// What one hostile connection does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Sent first, as fast as it is taken.
    pub(crate) opening: Vec<u8>,
    /// Sent after that, at `send`, so many times over.
    pub(crate) refrain: Vec<u8>,
    pub(crate) times: u64,
    pub(crate) send: Pace,
    pub(crate) read: Pace,
    pub(crate) finally: Finally,
    /// The size of the socket's receive buffer, the kernel's own if there is none.
    pub(crate) receive_buffer: Option<usize>,
}

impl Plan {
    /// Sends these bytes, reads everything and stays.
    pub(crate) fn new(opening: impl Into<Vec<u8>>) -> Self {
        Self {
            opening: opening.into(),
            refrain: Vec::new(),
            times: 0,
            send: Pace::Full,
            read: Pace::Full,
            finally: Finally::Stay,
            receive_buffer: None,
        }
    }

    /// And then these, so many times over.
    pub(crate) fn then(mut self, refrain: impl Into<Vec<u8>>, times: u64, send: Pace) -> Self {
        (self.refrain, self.times, self.send) = (refrain.into(), times, send);
        self
    }

    /// And then these, for as long as it lasts.
    pub(crate) fn endlessly(self, refrain: impl Into<Vec<u8>>) -> Self {
        self.then(refrain, u64::MAX, Pace::Full)
    }

    pub(crate) fn read(mut self, read: Pace) -> Self {
        self.read = read;
        self
    }

    pub(crate) fn finally(mut self, finally: Finally) -> Self {
        self.finally = finally;
        self
    }

    /// Leaves the server little room to send into.
    pub(crate) fn narrow(mut self) -> Self {
        self.receive_buffer = Some(4096);
        self
    }
}

/// How a hostile connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The server refused it with this status and closed.
    Refused(u16),
    /// The server closed, without a refusal.
    Closed,
    /// The server reset it, without a refusal.
    Reset,
    /// It left of its own accord.
    Left,
    /// It was open until the end.
    Open,
    /// This machine did not let it connect.
    Unconnected,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "{status}"),
            Self::Closed => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::Left => f.write_str("left"),
            Self::Open => f.write_str("open"),
            Self::Unconnected => f.write_str("unconnected"),
        }
    }
}

/// How many connections ended in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<End, u64>);

impl Tally {
    fn add(&mut self, end: End) {
        *self.0.entry(end).or_default() += 1;
    }

    /// How many ended like this.
    pub(crate) fn count(&self, end: End) -> u64 {
        self.0.get(&end).copied().unwrap_or(0)
    }

    /// Every way that occurred.
    pub(crate) fn ends(&self) -> impl Iterator<Item = End> {
        self.0.keys().copied()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (end, count)) in self.0.iter().enumerate() {
            write!(f, "{}{end} x{count}", if number > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

struct Hostile {
    socket: Socket,
    opened: usize,
    sung: usize,
    times: u64,
    write_at: Instant,
    read_at: Instant,
    /// The first bytes of the answer.
    answer: Vec<u8>,
    has_half_closed: bool,
    /// Nothing more can be sent.
    is_cut: bool,
}

/// What came of one turn of one connection.
enum Turn {
    Moved,
    Rested,
    Ended(End),
}

impl Hostile {
    fn open(address: SocketAddr, plan: &Plan, now: Instant) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = plan.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        Ok(Self {
            socket,
            opened: 0,
            sung: 0,
            times: 0,
            write_at: now,
            read_at: now,
            answer: Vec::new(),
            has_half_closed: false,
            is_cut: false,
        })
    }

    fn turn(&mut self, plan: &Plan, buffer: &mut [u8], now: Instant) -> Turn {
        let sent = self.send(plan, now);
        match self.receive(plan, buffer, now) {
            Ok(received) => {
                if self.is_done(plan) && self.leaves(plan) {
                    return Turn::Ended(End::Left);
                }
                if sent || received { Turn::Moved } else { Turn::Rested }
            }
            Err(end) => Turn::Ended(self.refusal().map_or(end, End::Refused)),
        }
    }

    fn is_done(&self, plan: &Plan) -> bool {
        self.is_cut || (self.opened == plan.opening.len() && self.is_sung(plan))
    }

    fn is_sung(&self, plan: &Plan) -> bool {
        plan.refrain.is_empty() || self.times >= plan.times
    }

    /// Whether it goes now that all is sent.
    fn leaves(&mut self, plan: &Plan) -> bool {
        match plan.finally {
            Finally::Stay => return false,
            Finally::HalfClose => {
                if !self.has_half_closed {
                    let _ = self.socket.shutdown(Shutdown::Write); // fails where the connection has failed
                    self.has_half_closed = true;
                }
                return false;
            }
            Finally::ResetWithinAnswer if self.answer.is_empty() => return false,
            Finally::Close => {}
            Finally::Reset | Finally::ResetWithinAnswer => {
                let _ = self.socket.set_linger(Some(Duration::ZERO)); // without it the end is only more polite
            }
        }
        true
    }

    /// Sends one piece; returns whether anything was taken.
    fn send(&mut self, plan: &Plan, now: Instant) -> bool {
        if self.is_done(plan) {
            return false;
        }
        let opening = &plan.opening[self.opened..];
        let mut piece = if opening.is_empty() { &plan.refrain[self.sung..] } else { opening };
        if opening.is_empty() {
            match plan.send {
                Pace::Never => return false,
                Pace::Drip(..) if now < self.write_at => return false,
                Pace::Drip(most, _) => piece = &piece[..most.min(piece.len())],
                Pace::Full => {}
            }
        }
        let sent = match (&self.socket).write(piece) {
            Ok(sent) => sent,
            Err(error) if is_transient(&error) => return false,
            Err(_) => {
                // What has been received before the end is read first.
                self.is_cut = true;
                return false;
            }
        };
        if !opening.is_empty() {
            self.opened += sent;
            return true;
        }
        self.sung += sent;
        if self.sung == plan.refrain.len() {
            (self.sung, self.times) = (0, self.times + 1);
        }
        if let Pace::Drip(_, rest) = plan.send {
            self.write_at = now + rest;
        }
        true
    }

    /// Reads one piece; returns whether there was any, or how the connection has ended.
    fn receive(&mut self, plan: &Plan, buffer: &mut [u8], now: Instant) -> std::result::Result<bool, End> {
        let most = match plan.read {
            Pace::Full => buffer.len(),
            Pace::Drip(most, _) if now >= self.read_at => most.min(buffer.len()),
            // A reset still tells of itself.
            _ if self.is_cut || matches!(self.socket.take_error(), Ok(Some(_))) => return Err(End::Reset),
            _ => return Ok(false),
        };
        match (&self.socket).read(&mut buffer[..most]) {
            Ok(0) => Err(End::Closed),
            Ok(received) => {
                let room = KEPT_BYTES - self.answer.len();
                self.answer.extend_from_slice(&buffer[..received.min(room)]);
                if let Pace::Drip(_, rest) = plan.read {
                    self.read_at = now + rest;
                }
                Ok(true)
            }
            Err(error) if is_transient(&error) && !self.is_cut => Ok(false),
            Err(_) => Err(End::Reset),
        }
    }

    /// The status of the answer if it refuses something.
    fn refusal(&self) -> Option<u16> {
        let answer = self.answer.strip_prefix(CONTINUE).unwrap_or(&self.answer);
        let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        let status = str::from_utf8(status).ok()?.parse().ok()?;
        (status >= 400).then_some(status)
    }
}

fn is_transient(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

/// Hostile connections with one plan.
pub(crate) struct Swarm {
    address: SocketAddr,
    plan: Plan,
    /// So many at once.
    connections: usize,
    /// Each one that has ended is followed by another.
    again: bool,
    open: Vec<Hostile>,
    started: usize,
    tally: Tally,
}

impl Swarm {
    pub(crate) fn new(address: SocketAddr, plan: Plan, connections: usize, again: bool) -> Self {
        Self { address, plan, connections, again, open: Vec::new(), started: 0, tally: Tally::default() }
    }

    /// Attacks for so long, or until every connection has ended. Those that are left stay open.
    pub(crate) fn attack(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut buffer = vec![0; 64 * 1024];
        while Instant::now() < end {
            self.fill();
            if self.open.is_empty() && self.started >= self.connections && !self.again {
                return;
            }
            if !self.turn(&mut buffer) {
                sleep(IDLE);
            }
        }
    }

    /// Opens what is missing; several turns may be needed for it.
    fn fill(&mut self) {
        for _ in 0..OPENED_PER_TURN {
            if self.open.len() >= self.connections || (!self.again && self.started >= self.connections) {
                return;
            }
            self.started += 1;
            match Hostile::open(self.address, &self.plan, Instant::now()) {
                Ok(hostile) => self.open.push(hostile),
                Err(_) => {
                    self.tally.add(End::Unconnected);
                    return;
                }
            }
        }
    }

    /// Gives every connection its turn; returns whether anything moved.
    fn turn(&mut self, buffer: &mut [u8]) -> bool {
        let (now, mut moved) = (Instant::now(), false);
        let mut number = 0;
        while number < self.open.len() {
            match self.open[number].turn(&self.plan, buffer, now) {
                Turn::Moved => moved = true,
                Turn::Rested => {}
                Turn::Ended(end) => {
                    self.tally.add(end);
                    self.open.swap_remove(number);
                    moved = true;
                    continue;
                }
            }
            number += 1;
        }
        moved
    }

    /// Closes what is open and tells how all have ended.
    pub(crate) fn end(mut self) -> Tally {
        for _ in self.open.drain(..) {
            self.tally.add(End::Open);
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that does this with its first connection.
    fn serve(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || serve(listener.accept().expect("a connection").0));
        address
    }

    fn ends(address: SocketAddr, plan: Plan) -> String {
        let mut swarm = Swarm::new(address, plan, 1, false);
        swarm.attack(Duration::from_secs(10));
        swarm.end().to_string()
    }

    #[test]
    fn a_refusal_is_told_by_its_status() {
        let address = serve(|mut stream| {
            let mut bytes = [0; 6];
            stream.read_exact(&mut bytes).expect("the opening and two refrains");
            assert_eq!(&bytes, b"abcdcd");
            stream.write_all(CONTINUE).expect("an interim response");
            stream.write_all(b"HTTP/1.1 431 Too Large\r\n\r\n").expect("an answer");
        });
        let plan = Plan::new("ab").then("cd", 2, Pace::Drip(1, Duration::from_millis(1)));
        assert_eq!(ends(address, plan), "431 x1");
    }

    #[test]
    fn an_answer_and_a_close_are_no_refusal() {
        let address = serve(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer"));
        assert_eq!(ends(address, Plan::new("")), "closed x1");
    }

    #[test]
    fn a_reset_is_told_though_nothing_is_read() {
        let address = serve(|stream| {
            let socket = Socket::from(stream);
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        });
        assert_eq!(ends(address, Plan::new("").read(Pace::Never)), "reset x1");
    }

    #[test]
    fn a_half_close_stays_and_a_close_leaves() {
        let address = serve(|mut stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("the end of the sending side");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("an answer");
        });
        assert_eq!(ends(address, Plan::new("GET").finally(Finally::HalfClose)), "400 x1");
        let address = serve(drop);
        assert_eq!(ends(address, Plan::new("").finally(Finally::Close)), "left x1");
    }
}
