//! The attacks, each with what the server must make of it.

use std::time::Duration;

use crate::swarm::{End, Finally, Pace, Plan};

/// Memory that any attack may cost and that may stay, in KiB: buffers that are kept for the next request, and what
/// the allocator keeps.
const COMMON_MEMORY: u64 = 12 * 1024;
/// The receive blocks of a worker, in KiB. They stay for as long as there is any connection.
const POOL_MEMORY: u64 = 17 * 1024;

/// What the server must make of the hostile connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// Each of them ends in one of these ways, and some in the first.
    Ends(&'static [End]),
    /// It has let go of all of them before they leave.
    Gone,
    /// It outlives them.
    Endurance,
}

/// One attack.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    /// Hostile connections at once.
    pub(crate) connections: usize,
    /// Each that has ended is followed by another.
    pub(crate) again: bool,
    /// How long it lasts at most.
    pub(crate) time: Duration,
    pub(crate) expected: Expected,
    /// Limits of the server, by name; without them the attack would last too long.
    pub(crate) limits: Vec<(&'static str, &'static str)>,
    /// The most descriptors that the server may open.
    pub(crate) descriptors: Option<u32>,
    /// Memory that each connection may cost, in KiB.
    pub(crate) memory_each: u64,
    /// So much arrives at once that all receive blocks are in use.
    pub(crate) fills_pools: bool,
}

impl Scenario {
    fn new(name: &'static str, connections: usize, plan: Plan) -> Self {
        Self {
            name,
            plan,
            connections,
            again: false,
            time: Duration::from_secs(4),
            expected: Expected::Endurance,
            limits: Vec::new(),
            descriptors: None,
            memory_each: 1,
            fills_pools: false,
        }
    }

    /// How far the server's memory may grow, in KiB.
    pub(crate) fn may_grow(&self, workers: usize) -> u64 {
        self.may_keep(workers) + self.connections as u64 * self.memory_each
    }

    /// How much of it may stay, in KiB.
    pub(crate) fn may_keep(&self, workers: usize) -> u64 {
        COMMON_MEMORY + if self.fills_pools { POOL_MEMORY * workers as u64 } else { 0 }
    }

    fn again(mut self) -> Self {
        self.again = true;
        self
    }

    fn lasts(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    fn ends(mut self, ends: &'static [End]) -> Self {
        self.expected = Expected::Ends(ends);
        self
    }

    fn gone(mut self) -> Self {
        self.expected = Expected::Gone;
        self
    }

    fn limit(mut self, name: &'static str, value: &'static str) -> Self {
        self.limits.push((name, value));
        self
    }

    fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    fn memory_each(mut self, kib: u64) -> Self {
        self.memory_each = kib;
        self
    }

    fn fills_pools(mut self) -> Self {
        self.fills_pools = true;
        self
    }
}

const SECOND: Duration = Duration::from_secs(1);

const GET: &str = "GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Asks for three and a half kilobytes.
const GET_PAGE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEAD_BEGUN: &str = "GET /plaintext HTTP/1.1\r\nHost: localhost\r\n";
const POST_29_MB: &str = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 29000000\r\n\r\n";
const POST_CHUNKED: &str = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
const EXPECT: &str =
    "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 29000000\r\nExpect: 100-continue\r\n\r\n";

/// How a client of TLS begins: the heads of its record and of its handshake.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// The attacks; with `quick` fewer connections and less time.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let many = |count: usize| if quick { count.div_ceil(4) } else { count };
    let flood = if quick { SECOND } else { SECOND * 3 };
    let mut all = slow(&many);
    all.extend(floods(&many, flood));
    all.extend(endless(flood));
    all.extend(bodies(&many, flood));
    all.extend(limits(flood));
    all
}

/// Those that take their time.
fn slow(many: &dyn Fn(usize) -> usize) -> Vec<Scenario> {
    let dripping = Pace::Drip(1, SECOND);
    let heads = Plan::new(format!("{HEAD_BEGUN}X-Slow: ")).then("a", 1000, dripping);
    let first_bytes = Plan::new("").then("GET /plaintext HTTP/1.1", 1, dripping);
    let bodies = Plan::new(POST_29_MB).then("a".repeat(50), u64::MAX, Pace::Drip(50, SECOND));
    let pages = Plan::new(GET_PAGE.repeat(2000)).read(Pace::Drip(10, SECOND)).narrow();
    let mebibyte = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n";
    let large = Plan::new(mebibyte).then("a".repeat(65536), 64, Pace::Full);
    vec![
        Scenario::new("silence", many(2000), Plan::new(""))
            .limit("keep_alive_timeout", "2s")
            .ends(&[End::Closed]),
        Scenario::new("slow first bytes", many(2000), first_bytes)
            .limit("request_headers_timeout", "2s")
            .lasts(SECOND * 6)
            .memory_each(8)
            .ends(&[End::Refused(408)]),
        Scenario::new("slow heads", many(2000), heads)
            .limit("request_headers_timeout", "2s")
            .lasts(SECOND * 6)
            .memory_each(8)
            .ends(&[End::Refused(408)]),
        Scenario::new("slow bodies", many(500), bodies)
            .limit("min_request_body_data_rate", "240/2s")
            .lasts(SECOND * 6)
            .memory_each(16)
            .ends(&[End::Refused(408)]),
        Scenario::new("bodies awaited in vain", many(1000), Plan::new(EXPECT))
            .limit("min_request_body_data_rate", "240/2s")
            .lasts(SECOND * 6)
            .memory_each(16)
            .ends(&[End::Refused(408)]),
        Scenario::new("slow readers of many", many(500), pages)
            .limit("min_response_data_rate", "1m/2s")
            .lasts(SECOND * 10)
            .memory_each(160)
            .fills_pools()
            .gone(),
        Scenario::new("slow readers of much", many(40), large.read(Pace::Drip(10, SECOND)).narrow())
            .limit("min_response_data_rate", "1m/2s")
            .lasts(SECOND * 10)
            .memory_each(2 * 4096)
            .fills_pools()
            .gone(),
    ]
}

/// Those that come in numbers.
fn floods(many: &dyn Fn(usize) -> usize, flood: Duration) -> Vec<Scenario> {
    let asking = Plan::new(GET);
    let torn = Plan::new(HEAD_BEGUN);
    let pages = Plan::new(GET_PAGE.repeat(100)).read(Pace::Drip(100, SECOND)).narrow();
    let pipelines = Plan::new("").then(GET.repeat(100), 1000, Pace::Full);
    // The server may take in all that wait to be accepted before it looks at what they ask.
    let endless =
        |name, plan| Scenario::new(name, 64, plan).again().lasts(flood).memory_each(64).fills_pools();
    vec![
        endless("open and close", Plan::new("").finally(Finally::Close)),
        endless("ask and close", asking.clone().finally(Finally::Close)),
        endless("reset at once", Plan::new("").finally(Finally::Reset)),
        endless("reset within a head", torn.clone().finally(Finally::Reset)),
        endless("reset after asking", asking.clone().finally(Finally::Reset)),
        endless("reset within the answer", pages.finally(Finally::ResetWithinAnswer)).memory_each(160),
        endless("half closed within a head", torn.finally(Finally::HalfClose))
            .ends(&[End::Closed, End::Refused(400)]),
        endless("half closed after asking", Plan::new(GET.repeat(3)).finally(Finally::HalfClose))
            .ends(&[End::Closed]),
        Scenario::new("open and stay", many(5000), Plan::new("")).lasts(flood).ends(&[End::Open]),
        Scenario::new("ask and stay", many(5000), asking.clone())
            .lasts(flood)
            .fills_pools()
            .ends(&[End::Open]),
        Scenario::new("out of descriptors", 600, asking).descriptors(256).lasts(flood).ends(&[End::Open]),
        Scenario::new("pipelines that nobody reads", many(1000), pipelines.read(Pace::Never).narrow())
            .lasts(flood)
            .memory_each(256)
            .fills_pools(),
    ]
}

/// Those that do not end, and those that are no HTTP.
fn endless(flood: Duration) -> Vec<Scenario> {
    let letters = "a".repeat(65536);
    let fields = "X-Many: a\r\n".repeat(5000);
    let refused = |name, plan: Plan, ends| {
        Scenario::new(name, 50, plan).again().lasts(flood).memory_each(80).fills_pools().ends(ends)
    };
    let ignored = Plan::new("").endlessly(letters.clone()).read(Pace::Never);
    vec![
        refused("garbage", Plan::new(garbage()), &[End::Refused(400)]),
        refused("a TLS hello", Plan::new(CLIENT_HELLO), &[End::Refused(400)]),
        refused("endless empty lines", Plan::new("").endlessly("\r\n".repeat(32768)), &[End::Refused(400)]),
        refused("endless method", Plan::new("").endlessly(letters.clone()), &[End::Refused(414)]),
        refused("endless request line", Plan::new("GET /").endlessly(letters.clone()), &[End::Refused(414)]),
        refused(
            "endless field",
            Plan::new(format!("{HEAD_BEGUN}X-Long: ")).endlessly(letters.clone()),
            &[End::Refused(431)],
        ),
        refused("endless fields", Plan::new(HEAD_BEGUN).endlessly(fields.clone()), &[End::Refused(431)]),
        refused(
            "endless trailers",
            Plan::new(format!("{POST_CHUNKED}0\r\n")).endlessly(fields),
            &[End::Refused(431)],
        ),
        refused(
            "endless chunk extension",
            Plan::new(format!("{POST_CHUNKED}1;")).endlessly(letters),
            &[End::Refused(400)],
        ),
        // Its answer is not read; what it goes on to send is dropped for a while, and then it is closed.
        Scenario::new("refusals ignored", 50, ignored)
            .lasts(SECOND * 8)
            .memory_each(16)
            .fills_pools()
            .ends(&[End::Reset]),
    ]
}

/// Those with bodies.
fn bodies(many: &dyn Fn(usize) -> usize, flood: Duration) -> Vec<Scenario> {
    let part = "a".repeat(65536);
    let tiny = Plan::new(POST_CHUNKED).endlessly("1\r\na\r\n".repeat(10_000));
    let extended = Plan::new(POST_CHUNKED).endlessly(format!("1;{}\r\na\r\n", "e".repeat(1000)));
    let too_large = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 31000000\r\n\r\n";
    let held = Plan::new(POST_29_MB).then(part.clone(), 128, Pace::Full);
    let abandoned = Plan::new(POST_29_MB).then(part.clone(), 32, Pace::Full).finally(Finally::Reset);
    vec![
        Scenario::new("tiny chunks", 20, tiny)
            .limit("max_request_body_size", "1m")
            .lasts(SECOND * 8)
            .memory_each(2 * 1024)
            .fills_pools()
            .ends(&[End::Refused(413)]),
        Scenario::new("chunks with long extensions", 20, extended)
            .again()
            .lasts(flood)
            .memory_each(80)
            .fills_pools()
            .ends(&[End::Refused(400)]),
        Scenario::new("bodies announced too large", 50, Plan::new(too_large).endlessly(part))
            .again()
            .lasts(flood)
            .fills_pools()
            .ends(&[End::Refused(413)]),
        Scenario::new("bodies begun and held", many(40), held)
            .lasts(flood)
            .memory_each(2 * 8 * 1024)
            .fills_pools()
            .ends(&[End::Open]),
        Scenario::new("bodies begun and abandoned", 40, abandoned)
            .again()
            .lasts(flood)
            .memory_each(2 * 2 * 1024)
            .fills_pools(),
    ]
}

/// Those that meet a limit of connections, requests or memory.
fn limits(flood: Duration) -> Vec<Scenario> {
    let held = Plan::new(POST_29_MB).then("a".repeat(65536), 128, Pace::Full);
    // So many are told with 503 at once; those beyond are closed, which is a reset once they have asked.
    let refused = &[End::Refused(503), End::Closed, End::Reset, End::Open];
    vec![
        Scenario::new("more connections than allowed", 600, Plan::new(GET))
            .limit("max_concurrent_connections", "100")
            .lasts(flood)
            .ends(refused),
        Scenario::new("more of one address than allowed", 600, Plan::new(GET))
            .limit("max_connections_per_address", "100")
            .lasts(flood)
            .ends(refused),
        Scenario::new("more requests than allowed", 100, Plan::new("").endlessly(GET.repeat(10)))
            .again()
            .limit("max_requests_per_connection", "1000")
            .lasts(flood)
            .memory_each(160)
            .fills_pools()
            .ends(&[End::Closed, End::Reset]),
        Scenario::new("more bodies than memory", 100, held)
            .limit("max_buffered_bodies_size", "64m")
            .lasts(flood)
            .memory_each(2 * 64 * 1024 / 100)
            .fills_pools()
            .ends(&[End::Refused(503), End::Open]),
    ]
}

/// Bytes without sense, the same ones every time.
fn garbage() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(65536).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_quick_is_less() {
        let (full, quick) = (all(false), all(true));
        let names: BTreeSet<_> = full.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), full.len());
        for (full, quick) in full.iter().zip(&quick) {
            assert_eq!(full.name, quick.name);
            assert!(quick.connections <= full.connections && quick.time <= full.time);
        }
    }
}
