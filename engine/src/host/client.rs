//! A client of an application in the same thread, for tests: no socket, and time that jumps.
//!
//! Owns the connections of a worker on the driver in memory, and both ends of what goes over them. Requests are made
//! in `request`, responses understood in `response`. It must not know what handlers are.

mod request;
mod response;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peregrine_pool::Blocks;

use super::error::{Result, StartError};
use super::options::Options;
use super::reactor::Reactor;
use super::settings::{self, Own, RECEIVE_BLOCKS};
use crate::app::{AppService, Blueprint};
use crate::conn::Connections;
use crate::driver::memory::{End, Memory};
use crate::driver::{Driver, Fd};
use crate::http::WorkerInfo;
use crate::runtime::Runtime;
use crate::sys::wake::Waker;

pub use request::TestRequest;
pub use response::TestResponse;
use response::{Asked, Parsed, parse};

/// How long anything may take in real time that no test would wait for: other threads' work, and handlers that never
/// rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of an application in memory: [`App::client`](crate::App::client) makes it.
///
/// Each request goes through everything that a server has but its sockets. The client runs on the thread of the test,
/// which is the application's worker meanwhile, and nothing happens but in its methods. Several clients of one thread
/// take turns.
///
/// **Time is virtual.** It stands still while handlers run, and when a response waits for nothing but time it jumps to
/// when something is due: a test of a handler that sleeps for an hour ends at once.
///
/// ```
/// use std::time::Duration;
///
/// use peregrine::prelude::*;
///
/// async fn patient() -> &'static str {
///     peregrine::sleep(Duration::from_secs(3600)).await;
///     "here you are"
/// }
///
/// let mut app = App::new();
/// app.get("/", patient);
/// let mut client = app.client()?;
///
/// assert_eq!(client.get("/").send().text(), "here you are");
///
/// let pending = client.get("/").begin();
/// client.advance(Duration::from_secs(3599));
/// assert!(pending.try_take(&mut client).is_none());
/// client.advance(Duration::from_secs(1));
/// assert_eq!(pending.try_take(&mut client).unwrap().text(), "here you are");
/// # Ok::<(), peregrine::StartError>(())
/// ```
///
/// Only the engine's time is: [`sleep`](crate::sleep), [`timeout`](crate::timeout), [`interval`](crate::interval) and
/// the limits of connections. Work of other threads takes the time that it takes; it is waited for when nothing is due,
/// for up to ten seconds. So a time-out around such work passes at once. With the feature `tokio` that goes for tokio's
/// sockets and timers too, which take real time.
///
/// Connections are used again, as browsers do it; several requests at a time use several. They have no addresses, as
/// those over a Unix socket: [`Peer`](crate::Peer) is refused, `Option<Peer>` is `None`.
pub struct TestClient {
    connections: Connections<Memory, AppService>,
    lines: Vec<Line>,
    /// What handlers may be inside of. It is entered by turns: clients of one thread come and go in any order.
    reactor: Reactor,
}

/// One connection.
struct Line {
    socket: Fd,
    /// What waits for its response.
    asked: Option<Asked>,
}

/// A request that may not be answered yet: [`TestRequest::begin`] makes it.
///
/// Dropping it changes nothing: the request is answered, and nobody looks. [`disconnect`](Self::disconnect) ends it.
#[derive(Debug)]
#[must_use = "a response is taken from it by `try_take` or `take`"]
pub struct Pending {
    id: u64,
}

impl TestClient {
    /// `options` are checked.
    pub(super) fn new(options: &Options, blueprint: Blueprint) -> Result<Self> {
        let system = |source| StartError::System { attempt: "make an eventfd".to_owned(), source };
        let bell = Waker::new().map_err(system)?;
        let driver = Memory::new(Blocks::new(RECEIVE_BLOCKS), bell.clone()).map_err(system)?;
        let own = Own {
            index: 0,
            gate: settings::gate(&options.limits),
            bell,
            max_assembled: settings::max_assembled(&options.limits, 1),
            send_blocks: Blocks::new(settings::SEND_BLOCKS),
        };
        let worker = WorkerInfo { index: 0, count: 1, https_port: None };
        let reactor = Reactor::start(options)?;
        let connections = {
            let _inside = reactor.enter();
            settings::connections(driver, blueprint, worker, settings::settings(options, own))
        };
        if connections.is_err() {
            // Unlike a worker's, this thread lives on.
            Runtime::current("a client").leave();
        }
        Ok(Self { connections: connections?, lines: Vec::new(), reactor })
    }

    /// Asks for `target` by GET. Targets go over the wire as they are: `/users/7?all=true`, percent-encoded where that
    /// is needed.
    pub fn get(&mut self, target: &str) -> TestRequest<'_> {
        self.request("GET", target)
    }

    /// A POST request; targets as in [`get`](Self::get).
    pub fn post(&mut self, target: &str) -> TestRequest<'_> {
        self.request("POST", target)
    }

    /// A PUT request; targets as in [`get`](Self::get).
    pub fn put(&mut self, target: &str) -> TestRequest<'_> {
        self.request("PUT", target)
    }

    /// A PATCH request; targets as in [`get`](Self::get).
    pub fn patch(&mut self, target: &str) -> TestRequest<'_> {
        self.request("PATCH", target)
    }

    /// A DELETE request; targets as in [`get`](Self::get).
    pub fn delete(&mut self, target: &str) -> TestRequest<'_> {
        self.request("DELETE", target)
    }

    /// A request of any method; targets as in [`get`](Self::get).
    pub fn request(&mut self, method: &str, target: &str) -> TestRequest<'_> {
        TestRequest::new(self, method, target)
    }

    /// Sends bytes over a connection of their own and returns all that comes back. When everything whole among them is
    /// answered, the client's side of the connection ends, and then the application's.
    ///
    /// ```
    /// let client = &mut peregrine::App::new().client()?;
    /// let answer = client.raw(b"GET / HTTP/1.1\r\n\r\n");
    /// assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "there is no Host");
    /// # Ok::<(), peregrine::StartError>(())
    /// ```
    ///
    /// # Panics
    /// As [`TestRequest::send`].
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) -> Vec<u8> {
        let socket = self.connect();
        self.connections.driver.deliver(socket, bytes);
        let what = || format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(64)]));
        self.settle();
        while self.connections.is_answering(socket) {
            self.go_on(&what);
        }
        self.connections.driver.finish(socket);
        self.settle();
        while self.connections.driver.received(socket).1.is_none() {
            self.go_on(&what);
        }
        let received = self.connections.driver.received(socket).0.len();
        let received = self.connections.driver.take(socket, received);
        self.connections.driver.leave(socket);
        self.settle();
        received
    }

    /// Lets time pass: everything that is due by then happens in its order. In whole milliseconds, rounded up.
    ///
    /// # Panics
    /// A handler never rests: it has been running for ten seconds.
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        self.settle();
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let end = self.connections.driver.now().millis.saturating_add(millis);
        while let Some(due) = self.connections.next_due().filter(|due| *due <= end) {
            self.pass_until(due);
        }
        self.pass_until(end);
    }

    /// Lets time come to `millis`, and whatever is due then happen.
    #[track_caller]
    fn pass_until(&mut self, millis: u64) {
        self.connections.driver.pass_until(millis);
        self.settle();
    }

    /// Lets everything happen that needs neither time nor another thread.
    #[track_caller]
    fn settle(&mut self) {
        let begun = Instant::now();
        let _inside = self.reactor.enter();
        self.connections.runtime.make_current();
        loop {
            self.connections.turn(Some(0)).expect("memory does not fail");
            let mut was_event = false;
            while let Some(event) = self.connections.driver.next() {
                was_event = true;
                // What is no connection's is a wake-up: the next turn looks who is woken.
                let _ = self.connections.handle(event);
            }
            self.connections.end_overdue();
            if !was_event && !self.connections.runtime.has_woken() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "a handler never rests: it wakes itself again and again");
        }
    }

    /// Waits, for time if that is what is waited for, else for another thread.
    #[track_caller]
    fn go_on(&mut self, what: &dyn Fn() -> String) {
        // Connections' deadlines come on the way, but nobody is to wait for them: they are for those who do nothing.
        let is_time = self.connections.runtime.next_due().is_some();
        if let Some(due) = self.connections.next_due().filter(|_| is_time) {
            return self.pass_until(due);
        }
        let rung = self.connections.driver.await_bell(PATIENCE);
        let is_rung = rung.unwrap_or_else(|error| panic!("waiting for another thread failed: {error}"));
        assert!(
            is_rung,
            "{} is not answered: its handler waits for something that has not come for {PATIENCE:?}, and is no time",
            what()
        );
        self.settle();
    }

    fn connect(&mut self) -> Fd {
        self.connections.runtime.make_current();
        let socket = self.connections.driver.connect();
        self.connections.open(socket, 0);
        socket
    }

    /// Sends a request over a connection that is free, if there is one.
    #[track_caller]
    fn begin(&mut self, bytes: &[u8], what: String, method: &str) -> Pending {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);

        self.settle();
        // Some have waited for too long.
        for at in (0..self.lines.len()).rev() {
            let Line { socket, asked } = &self.lines[at];
            if asked.is_none() && self.connections.driver.received(*socket).1.is_some() {
                self.close(at);
            }
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let asked = Some(Asked { id, what, is_head: method == "HEAD", is_connect: method == "CONNECT" });
        let socket = match self.lines.iter_mut().find(|line| line.asked.is_none()) {
            Some(line) => {
                line.asked = asked;
                line.socket
            }
            None => {
                let socket = self.connect();
                self.lines.push(Line { socket, asked });
                socket
            }
        };
        self.connections.driver.deliver(socket, bytes);
        self.settle();
        Pending { id }
    }

    /// The connection of a pending request.
    #[track_caller]
    fn line(&self, pending: &Pending) -> usize {
        let is_it = |line: &Line| line.asked.as_ref().is_some_and(|asked| asked.id == pending.id);
        let line = self.lines.iter().position(is_it);
        line.expect("a request of this client, whose response was not taken before")
    }

    fn close(&mut self, line: usize) {
        let Line { socket, .. } = self.lines.swap_remove(line);
        self.connections.driver.leave(socket);
    }

    /// The response of a request, if it is here.
    #[track_caller]
    fn try_take(&mut self, pending: &Pending) -> Option<TestResponse> {
        self.settle();
        let at = self.line(pending);
        let Line { socket, asked } = &mut self.lines[at];
        let asked = asked.as_ref()?;
        let (received, end) = self.connections.driver.received(*socket);
        let parsed = parse(received, asked, end == Some(End::Orderly)).unwrap_or_else(|problem| {
            panic!("{} is answered by what is no response, {problem}: {:?}", asked.what, shown(received))
        });
        match parsed {
            Parsed::Whole { response, len, is_last } => {
                let (socket, what) = (*socket, asked.what.clone());
                self.connections.driver.take(socket, len);
                self.lines[at].asked = None;
                let (rest, end) = self.connections.driver.received(socket);
                assert!(is_last || rest.is_empty(), "behind the answer to {what} came {:?}", shown(rest));
                if is_last || end.is_some() {
                    self.close(at);
                    self.settle();
                }
                Some(response)
            }
            Parsed::Partial => {
                let how = match end? {
                    End::Orderly => "closed",
                    End::Reset => "aborted",
                };
                panic!(
                    "{}: the connection was {how} before all of the response: {:?}",
                    asked.what,
                    shown(received)
                );
            }
        }
    }

    #[track_caller]
    fn take(&mut self, pending: &Pending) -> TestResponse {
        loop {
            if let Some(response) = self.try_take(pending) {
                return response;
            }
            let line = self.line(pending);
            let what = self.lines[line].asked.as_ref().map(|asked| asked.what.clone()).unwrap_or_default();
            self.go_on(&|| what.clone());
        }
    }
}

/// Some of what has come, for people.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).into_owned()
}

impl Pending {
    /// The response, if it is whole by now. Time does not pass.
    ///
    /// # Panics
    /// The connection has ended before all of the response, the response was taken before, or this is another client's
    /// request.
    #[track_caller]
    pub fn try_take(&self, client: &mut TestClient) -> Option<TestResponse> {
        client.try_take(self)
    }

    /// Waits for the response, as [`TestRequest::send`] does.
    ///
    /// # Panics
    /// As [`try_take`](Self::try_take), and if the response does not come.
    #[track_caller]
    pub fn take(self, client: &mut TestClient) -> TestResponse {
        client.take(&self)
    }

    /// Ends the connection by a reset, as a client that is gone: the handler's future is dropped where it waits, unless
    /// it has [detached](crate::detach).
    ///
    /// # Panics
    /// The response was taken before, or this is another client's request.
    #[track_caller]
    pub fn disconnect(self, client: &mut TestClient) {
        let line = client.line(&self);
        client.connections.driver.reset(client.lines[line].socket);
        client.close(line);
        client.settle();
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        let _inside = self.reactor.enter();
        self.connections.runtime.make_current();
        self.connections.abandon();
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked: Vec<&str> =
            self.lines.iter().filter_map(|line| Some(line.asked.as_ref()?.what.as_str())).collect();
        f.debug_struct("TestClient").field("pending", &asked).finish_non_exhaustive()
    }
}
