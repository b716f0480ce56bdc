//! Exchanges whose bodies are streamed, from the connection's side.
//!
//! Owns the handler's task, feeds it what arrives, sends what it has written, and brings the connection to its
//! next request afterwards: a body that nobody has read is drained. What both sides share is in `exchange`.

use std::future::poll_fn;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use peregrine_pool::{Key, Lease};

use super::exchange::Written;
use super::serving::{become_panic, told, write_rejection};
use super::timing::NEVER;
use super::{Connection, Connections, EndReason, ExchangeError, Phase, Service, Shared, Task, Work, flag};
use crate::driver::Driver;
use crate::proto::h1::{BodyDecoder, ResponseWriter};
use crate::proto::{Rate, Rejection};
use crate::runtime::{Owner, Runtime, TaskWaker, TaskWakers, drop_foreign, drop_panic};
use crate::telemetry;

/// How long the rest of a body that nobody has read may take (Kestrel's `RequestBodyDrainTimeout`).
const DRAIN_MILLIS: u64 = 5000;

/// A body that is so long is received in bulk from there on.
const BULK_BYTES: u64 = 128 * 1024;

/// How often a turn looks for tasks that others have woken: what reads from a database wakes a handler, which wakes what
/// writes to it, all before the one system call. A task that wakes itself waits for the next turn after so many polls.
const ROUNDS_MAX: u32 = 3;

/// An exchange in progress, or what is left of one.
pub(super) struct Exchange {
    pub(super) body: BodyDecoder,
    /// The handler's part; `None` once that is over and only the body is drained.
    pub(super) handler: Option<Running>,
    /// When the body must be drained.
    drain_by: u64,
    /// When the handler must have something to send, after the client has shut down its sending side.
    half_closed_by: u64,
}

/// A handler at work.
pub(super) struct Running {
    shared: Rc<Shared>,
    /// `None` once it has ended, until all that it wrote is sent.
    task: Option<Task>,
    min_body_rate: Option<Rate>,
    min_response_rate: Option<Rate>,
    /// It runs to its end even if the client is gone.
    pub(super) is_detached: bool,
    /// The open send is of what the handler wrote.
    is_sending: bool,
    /// Since when a read waits, and how long reads have waited before.
    read_since: Option<u64>,
    read_millis: u64,
}

impl Running {
    pub(super) fn new(
        shared: Rc<Shared>,
        task: Task,
        min_body_rate: Option<Rate>,
        min_response_rate: Option<Rate>,
    ) -> Self {
        Self {
            shared,
            task: Some(task),
            min_body_rate,
            min_response_rate,
            is_detached: false,
            is_sending: false,
            read_since: None,
            read_millis: 0,
        }
    }

    /// Keeps account of how long reads have waited.
    pub(super) fn tick(&mut self, now: u64) {
        match (self.shared.is_reading(), self.read_since) {
            (true, None) => self.read_since = Some(now),
            (false, Some(since)) => {
                self.read_millis += now.saturating_sub(since);
                self.read_since = None;
            }
            _ => {}
        }
    }
}

impl Exchange {
    pub(super) fn running(body: BodyDecoder, handler: Running) -> Self {
        Self { body, handler: Some(handler), drain_by: NEVER, half_closed_by: NEVER }
    }

    /// A request that is answered already, but for its body.
    pub(super) fn drained(body: BodyDecoder, now: u64) -> Box<Self> {
        Box::new(Self { body, handler: None, drain_by: now + DRAIN_MILLIS, half_closed_by: NEVER })
    }

    /// Takes note that the client sends no more. Whoever waits for its answer may do so for as long as something is
    /// sent to it, and a little longer: most have closed, and cannot be told from those who read on.
    pub(super) fn note_half_closed(&mut self, by: u64) {
        let waits =
            self.handler.as_ref().is_some_and(|running| running.task.is_some() && !running.is_sending);
        if !waits || !self.body.is_done() {
            self.half_closed_by = NEVER;
        } else if self.half_closed_by == NEVER {
            self.half_closed_by = by;
        }
    }

    /// When the peer must have sent more.
    pub(super) fn deadline(&self, keep_alive_millis: u64) -> u64 {
        let Some(Running { read_since: Some(since), read_millis, min_body_rate, .. }) = &self.handler else {
            return self.drain_by.min(self.half_closed_by);
        };
        if self.body.is_raw() {
            return NEVER;
        }
        // On average over the time that reads have waited, and never longer than an idle connection may.
        let millis = min_body_rate.map_or(NEVER, |rate| rate.millis_for(self.body.received()));
        since.saturating_add(millis.saturating_sub(*read_millis).min(keep_alive_millis))
    }
}

impl<D: Driver, S: Service> Connections<D, S> {
    /// Takes up what serving has begun. What is in `rest` of `lease` came behind the head, or behind the request.
    fn take_up(&mut self, key: Key, exchange: Box<Exchange>, rest: Option<(Lease, Range<usize>)>) {
        if let Some(connection) = self.table.get_mut(key) {
            connection.exchange = Some(exchange);
        }
        if let Some((lease, range)) = rest {
            self.feed(key, lease, range);
        }
        self.feed_assembled(key);
    }

    /// Runs an exchange from its beginning.
    pub(super) fn run_exchange(
        &mut self,
        key: Key,
        exchange: Box<Exchange>,
        rest: Option<(Lease, Range<usize>)>,
    ) {
        self.take_up(key, exchange, rest);
        self.poll(key);
    }

    /// Goes on with an exchange whose task waits, after its first poll.
    pub(super) fn run_waiting(
        &mut self,
        key: Key,
        exchange: Box<Exchange>,
        rest: Option<(Lease, Range<usize>)>,
    ) {
        self.take_up(key, exchange, rest);
        self.pump(key);
    }

    /// Lets every task go on that has been woken, and those that they wake. Returns whether the worker has something else to look at before it
    /// sleeps: more of them by now, or the end of the last that a drain waits for.
    pub(super) fn run_woken(&mut self) -> bool {
        let had_detached = self.runtime.has_detached();
        let mut woken: Vec<Arc<TaskWaker>> = std::mem::take(&mut self.woken);
        for _ in 0..ROUNDS_MAX {
            self.runtime.take_woken(&mut woken);
            if woken.is_empty() {
                break;
            }
            for waker in woken.drain(..) {
                let owner = waker.take();
                // Before the poll: a waker that nobody else holds can be used again after it.
                drop(waker);
                match owner {
                    Owner::Connection(key) => self.poll(key),
                    Owner::Worker(key) => self.runtime.poll_task(key),
                }
            }
        }
        self.woken = woken;
        self.runtime.has_woken() || (had_detached && !self.runtime.has_detached())
    }

    fn handler(&mut self, key: Key) -> Option<&mut Running> {
        self.table.get_mut(key)?.exchange.as_mut()?.handler.as_mut()
    }

    /// Lets the handler go on, then does what it has asked for.
    fn poll(&mut self, key: Key) {
        let Some(running) = self.handler(key) else { return self.pump(key) };
        let shared = Rc::clone(&running.shared);
        if let Some(mut task) = running.task.take() {
            let wakers =
                shared.wakers.take().expect("they are taken only while the task is polled, or with it");
            shared.is_polled.set(true);
            let (polled, detaches) = self.runtime.poll(|| {
                let mut context = Context::from_waker(&wakers.waker);
                catch_unwind(AssertUnwindSafe(|| Work::poll(task.as_mut(), &mut context)))
            });
            shared.wakers.replace(Some(wakers));
            let outcome = match polled {
                Ok(Poll::Pending) => {
                    if let Some(running) = self.handler(key) {
                        running.task = Some(task);
                        running.is_detached |= detaches;
                    }
                    shared.is_polled.set(false);
                    drop(shared);
                    return self.pump(key);
                }
                Ok(Poll::Ready(outcome)) => outcome.map_err(Some),
                Err(panic) => {
                    drop_panic(panic);
                    self.server.counters.panics += 1;
                    Err(None)
                }
            };
            self.complete(key, &shared, &outcome, &mut task);
            drop_foreign(task);
            shared.is_polled.set(false);
        }
        // So that its place can be used again, should the exchange be over.
        drop(shared);
        self.pump(key);
    }

    /// The handler has ended: its response must be whole, or never be taken for that. `Err(None)` is a panic, of
    /// which its hook has told.
    fn complete(
        &mut self,
        key: Key,
        shared: &Rc<Shared>,
        outcome: &Result<(), Option<String>>,
        task: &mut Task,
    ) {
        shared.discard();
        let (is_open, is_whole, failure, rejection, misuse) = {
            let state = shared.state.borrow();
            let is_open = matches!(state.written, Written::Open);
            let is_whole = match &state.written {
                Written::Body(encoder) => encoder.missing() == 0 && outcome.is_ok(),
                Written::Open | Written::Finished | Written::Raw => true,
            };
            (is_open, is_whole, state.failure, state.rejection, state.misuse)
        };
        if failure == Some(ExchangeError::Disconnected) {
            return;
        }
        if is_open && let Some(rejection) = rejection {
            return self.answer_for_handler(key, shared, |response| write_rejection(response, rejection));
        }
        if is_open && failure == Some(ExchangeError::UnexpectedEnd) {
            return self.end(key, EndReason::UnexpectedEndOfRequest);
        }
        if is_open
            && outcome.is_err()
            && let Some((status, protocol)) = shared.refused_upgrade()
        {
            // What the handler has returned is what the client has not asked for: no fault of its own.
            return self.answer_for_handler(key, shared, |response| {
                response.set_status(status).expect("a final status");
                if !protocol.is_empty() {
                    response.add_field("Upgrade", protocol.as_bytes()).expect("a checked value");
                    response.add_field("Connection", b"upgrade").expect("a valid field");
                }
            });
        }
        if is_open && outcome.is_ok() && task.has_response() {
            return self.answer_by_task(key, shared, task);
        }
        let told = match (outcome, misuse) {
            (Err(error), _) => error.clone(),
            (Ok(()), Some(misuse)) => Some(misuse.to_string()),
            (Ok(()), None) if is_open => Some("it ended without a response".to_owned()),
            (Ok(()), None) if !is_whole => Some(ExchangeError::TooShort.to_string()),
            _ => None,
        };
        // That a client has gone or broken off is none of the handler's faults.
        if let (Some(told), None) = (told, failure) {
            let did = if is_open { "answered 500" } else { "failed in the middle of its response" };
            telemetry::handler_failed(&shared.path(), did, told);
        }
        if is_open {
            self.answer_for_handler(key, shared, |response| {
                response.set_status(500).expect("a final status");
                response.close();
            });
        } else if !is_whole || (!shared.is_settled() && shared.finish().is_err()) {
            self.end(key, EndReason::ErrorAfterStartingResponse);
        }
    }

    /// Sends the response that a handler has left to be written.
    fn answer_by_task(&mut self, key: Key, shared: &Shared, task: &mut Task) {
        let panics = &mut self.server.counters.panics;
        let mut telling = None;
        let answered = shared.respond(|response| {
            let written = catch_unwind(AssertUnwindSafe(|| task.as_mut().respond(response)));
            if let Err(panic) = written {
                drop_panic(panic);
                *panics += 1;
                become_panic(response);
            }
            if response.has_told() {
                telling = told(response);
            }
        });
        if let Some((did, why)) = telling {
            telemetry::handler_failed(&shared.path(), &did, why);
        }
        match answered {
            // What cannot be sent has become a 500.
            Ok(()) | Err(ExchangeError::Field(_)) => {}
            Err(_) => self.end(key, EndReason::OutOfMemory),
        }
    }

    /// Sends the response that a handler has not.
    fn answer_for_handler(&mut self, key: Key, shared: &Shared, write: impl FnOnce(&mut ResponseWriter<'_>)) {
        if shared.respond(write).is_err() {
            self.end(key, EndReason::OutOfMemory);
        }
    }

    /// Does what a handler has asked for: sends, receives again, goes on to the next request.
    pub(super) fn pump(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        if connection.phase != Phase::Open {
            return;
        }
        let Some(running) = &mut exchange.handler else {
            self.update_receiving(key);
            return self.rearm(key);
        };
        let shared = Rc::clone(&running.shared);
        if shared.state.borrow().outbox.is_broken() {
            return self.end(key, EndReason::OutOfMemory);
        }
        if shared.is_raw() && !exchange.body.is_raw() {
            exchange.body.become_raw();
            connection.flags |= flag::UPGRADED;
            return self.enter_raw(key);
        }
        let is_over = running.task.is_none();
        let min_response_rate = running.min_response_rate;
        if connection.flags & flag::SENDING == 0 {
            let next = shared.state.borrow_mut().outbox.next();
            match next {
                Some(buffer) => {
                    running.is_sending = true;
                    connection.flags |= flag::SENDING;
                    let (socket, remaining) = (connection.info.socket(), buffer.remaining());
                    self.driver.send(socket, key, buffer);
                    let send_by = self.send_deadline(min_response_rate, remaining);
                    let stall_by = self.idle_deadline(NEVER);
                    if let Some(connection) = self.table.get_mut(key) {
                        connection.send_by = send_by;
                        connection.stall_by = stall_by;
                    }
                }
                None if is_over => {
                    drop(shared);
                    return self.exchange_over(key);
                }
                None => {}
            }
        }
        self.update_receiving(key);
        self.rearm(key);
    }

    /// Receives again, if whatever has paused that is over.
    pub(super) fn update_receiving(&mut self, key: Key) {
        let (max_request_buffer, max_parked) = (self.settings.max_request_buffer, self.max_parked());
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.phase != Phase::Open || !connection.has(flag::PAUSED) {
            return;
        }
        let parked = connection.assembly.as_ref().map_or(0, |assembly| assembly.bytes.len());
        let may_receive = match &connection.exchange {
            None => parked <= max_parked || !connection.has(flag::SENDING),
            Some(exchange) => match &exchange.handler {
                None => parked <= max_parked,
                Some(Running { shared, .. }) => {
                    let is_refused = shared.state.borrow().rejection.is_some();
                    parked <= max_parked && shared.buffered() <= max_request_buffer / 2 && !is_refused
                }
            },
        };
        if may_receive {
            connection.flags &= !flag::PAUSED;
            self.receive(key);
        }
    }

    /// The connection speaks another protocol from here on; what was taken for requests belongs to it.
    fn enter_raw(&mut self, key: Key) {
        self.feed_assembled(key);
        let Some(connection) = self.table.get_mut(key) else { return };
        if connection.has(flag::EOF) {
            #[cfg(feature = "tls")]
            self.tear_raw(key);
            self.end_of_body(key);
        }
        self.pump(key);
    }

    /// Something of what a handler wrote is with the kernel. `is_all` if it was all of the open send.
    pub(super) fn exchange_sent(&mut self, key: Key, sent: usize, is_all: bool) {
        let Some(running) = self.handler(key) else { return };
        if running.is_sending {
            running.is_sending = !is_all;
            let shared = Rc::clone(&running.shared);
            shared.state.borrow_mut().outbox.sent(sent);
            shared.wake();
        }
    }

    /// Takes what has arrived for an exchange, or behind it.
    pub(super) fn feed(&mut self, key: Key, mut lease: Lease, range: Range<usize>) {
        let simd = self.machine.simd();
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.flags &= !flag::CHECKED;
        let Some(exchange) = &mut connection.exchange else { return };
        if exchange.is_refused() {
            return;
        }
        if exchange.body.is_done() {
            if !range.is_empty() {
                self.append(key, &lease[range]);
            }
            return;
        }
        match exchange.body.decode(simd, &mut lease[range.clone()]) {
            Ok(decoded) => {
                let rest = range.start + decoded.consumed..range.end;
                let data = range.start + decoded.data.start..range.start + decoded.data.end;
                let is_done = exchange.body.is_done();
                let reader = exchange.handler.as_ref().filter(|running| running.task.is_some());
                let reader = reader.map(|running| Rc::clone(&running.shared));
                if !rest.is_empty() {
                    self.append(key, &lease[rest]);
                }
                if let Some(shared) = reader {
                    shared.arrive(lease, data);
                }
                self.after_feeding(key, is_done);
            }
            Err(rejection) => self.refuse_body(key, rejection),
        }
    }

    /// The same for what has been assembled before the exchange, or its raw part, began.
    fn feed_assembled(&mut self, key: Key) {
        let simd = self.machine.simd();
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        if exchange.body.is_done() {
            return;
        }
        let Some(mut assembly) = connection.assembly.take() else { return };
        match exchange.body.decode(simd, &mut assembly.bytes) {
            Ok(decoded) => {
                let is_done = exchange.body.is_done();
                if let Some(running) = &exchange.handler {
                    running.shared.arrive_copied(&assembly.bytes[decoded.data]);
                }
                assembly.bytes.drain(..decoded.consumed);
                if assembly.bytes.is_empty() {
                    self.recycle(assembly);
                } else {
                    connection.assembly = Some(assembly);
                }
                self.after_feeding(key, is_done);
            }
            Err(rejection) => {
                self.recycle(assembly);
                self.refuse_body(key, rejection);
            }
        }
    }

    fn after_feeding(&mut self, key: Key, is_done: bool) {
        if is_done {
            return self.end_of_body(key);
        }
        let Some(connection) = self.table.get(key) else { return };
        let is_long =
            connection.exchange.as_ref().is_some_and(|exchange| exchange.body.received() >= BULK_BYTES);
        if is_long && !connection.has(flag::BULK) && self.driver.has_bulk() {
            self.set_bulk(key, true);
        }
        let max_request_buffer = self.settings.max_request_buffer;
        let Some(running) = self.handler(key) else { return };
        let waits = running.read_since.is_some();
        let shared = Rc::clone(&running.shared);
        if shared.is_worth_a_poll() {
            // Before the rest of the turn's blocks have to be copied.
            shared.wake();
            return self.poll(key);
        }
        let buffered = shared.buffered();
        if buffered > max_request_buffer {
            self.pause(key, buffered / 4 > max_request_buffer);
        }
        // Most pieces come while nobody waits for them: then they change no deadline.
        if waits {
            shared.wake();
            self.rearm(key);
        }
    }

    /// Starts to receive in bulk, or no longer: the receive is ended, and goes on in the other way.
    fn set_bulk(&mut self, key: Key, is_bulk: bool) {
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.flags =
            if is_bulk { connection.flags | flag::BULK } else { connection.flags & !flag::BULK };
        if connection.has(flag::RECEIVING) {
            self.driver.stop_receiving(connection.info.socket(), key);
        }
    }

    /// Stops receiving until what has arrived is taken. Said `again` should the kernel have missed it before.
    pub(super) fn pause(&mut self, key: Key, again: bool) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let is_new = !connection.has(flag::PAUSED);
        connection.flags |= flag::PAUSED;
        if (is_new || again) && connection.has(flag::RECEIVING) {
            self.driver.stop_receiving(connection.info.socket(), key);
        }
    }

    /// The body is complete, or as complete as it will be.
    fn end_of_body(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        let trailers = exchange.body.take_trailers();
        match &mut exchange.handler {
            Some(running) => {
                running.shared.end(trailers);
                running.shared.wake();
                self.rearm(key);
            }
            None => self.after_exchange(key),
        }
    }

    /// The body breaks a rule or a limit: nothing that follows on the connection can be trusted.
    pub(super) fn refuse_body(&mut self, key: Key, rejection: Rejection) {
        self.server.note_rejection(rejection, b"");
        let reason = match rejection {
            Rejection::BodyTimeout => EndReason::RequestBodyTimeout,
            _ => EndReason::InvalidRequest,
        };
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.reason = reason;
        let Some(exchange) = &mut connection.exchange else { return };
        match &exchange.handler {
            // It is told, and may still answer.
            Some(running) => {
                let shared = Rc::clone(&running.shared);
                shared.reject(rejection);
                shared.wake();
                self.pause(key, false);
                self.rearm(key);
            }
            None => self.close_after_send(key, reason),
        }
    }

    /// Tells of an end that may not be the peer's. HTTP knows by its own framing what is whole; the protocol of an upgraded
    /// connection may not.
    #[cfg(feature = "tls")]
    pub(super) fn tear_raw(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        if connection.has(flag::TORN)
            && let Some(exchange) = &connection.exchange
            && exchange.body.is_raw()
            && let Some(running) = &exchange.handler
        {
            running.shared.break_off(ExchangeError::UnexpectedEnd);
        }
    }

    /// The peer has shut down its sending side during an exchange.
    pub(super) fn exchange_eof(&mut self, key: Key) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        if exchange.body.is_raw() {
            return self.end_of_body(key);
        }
        if exchange.body.is_done() {
            self.rearm(key);
            return;
        }
        match &exchange.handler {
            Some(running) => {
                let shared = Rc::clone(&running.shared);
                shared.break_off(ExchangeError::UnexpectedEnd);
                shared.wake();
                self.rearm(key);
            }
            None => self.close_after_send(key, EndReason::UnexpectedEndOfRequest),
        }
    }

    /// A deadline of the exchange's has passed, and it was not a send's. Returns whether that was so.
    pub(super) fn expire_exchange(&mut self, key: Key) -> bool {
        let now = self.driver.now().millis;
        let keep_alive = self.settings.keep_alive_millis;
        let Some(connection) = self.table.get_mut(key) else { return false };
        let Some(exchange) = &connection.exchange else { return false };
        if exchange.deadline(keep_alive) > now {
            return false;
        }
        if exchange.half_closed_by <= now {
            self.end(key, EndReason::ClosedBeforeResponse);
        } else if exchange.handler.is_some() {
            self.refuse_body(key, Rejection::BodyTimeout);
        } else {
            self.close_after_send(key, EndReason::BodyDrainTimeout);
        }
        true
    }

    /// Closes, once what is being sent is sent.
    fn close_after_send(&mut self, key: Key, reason: EndReason) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let exchange = connection.exchange.take();
        if connection.has(flag::SENDING) {
            connection.flags |= flag::LAST;
            connection.reason = reason;
            self.rearm(key);
        } else {
            self.close(key, reason);
        }
        drop(exchange);
    }

    /// The handler has ended and everything that it wrote is sent.
    fn exchange_over(&mut self, key: Key) {
        let now = self.driver.now().millis;
        let is_draining = self.server.common.draining.get();
        let Some(connection) = self.table.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        let Some(Running { shared, .. }) = exchange.handler.take() else { return };
        let (is_raw, closes) = (shared.is_raw(), shared.closes());
        let is_refused = shared.state.borrow().rejection.is_some();
        let is_upgraded = shared.is_upgraded.get();
        shared.part();
        self.server.close_shared(shared);
        let closing = match connection.requests_left {
            _ if is_raw => Some(EndReason::UpgradedClosed),
            _ if is_refused => Some(connection.reason),
            _ if !closes => None,
            _ if is_draining => Some(EndReason::ShuttingDown),
            0 => Some(EndReason::RequestLimitReached),
            _ if now >= connection.expires => Some(EndReason::LifetimeReached),
            _ => Some(EndReason::ClosedAfterResponse),
        };
        if is_upgraded {
            connection.flags |= flag::UPGRADED;
        }
        if let Some(reason) = closing {
            connection.exchange = None;
            return self.close(key, reason);
        }
        if exchange.body.is_done() {
            return self.after_exchange(key);
        }
        if connection.flags & flag::EOF != 0 {
            return self.end(key, EndReason::UnexpectedEndOfRequest);
        }
        exchange.drain_by = now + DRAIN_MILLIS;
        self.update_receiving(key);
        self.rearm(key);
    }

    /// The exchange is over, its request used up: what follows is the next one.
    fn after_exchange(&mut self, key: Key) {
        let now = self.driver.now().millis;
        let Some(connection) = self.table.get_mut(key) else { return };
        let exchange = connection.exchange.take();
        if let Some(assembly) = &mut connection.assembly {
            assembly.since = now;
        }
        let is_bulk = connection.has(flag::BULK);
        if let Some(exchange) = exchange {
            self.server.spare_exchanges.give(exchange);
        }
        if is_bulk {
            self.set_bulk(key, false);
        }
        let Some(connection) = self.table.get(key) else { return };
        if !connection.has(flag::SENDING) {
            self.after_send(key);
        }
        let Some(connection) = self.table.get(key) else { return };
        if connection.phase == Phase::Open && connection.exchange.is_none() {
            self.update_receiving(key);
            self.rearm(key);
        }
    }

    /// Takes the exchange from a connection that ends, and drops its handler, which is told by that, or lets it run
    /// on alone. Returns whether a part of a response was out, so that the end must not look like its end.
    pub(super) fn drop_exchange(runtime: &Rc<Runtime>, connection: &mut Connection) -> bool {
        let exchange = connection.exchange.take();
        let Some(running) = exchange.and_then(|exchange| exchange.handler) else { return false };
        if running.shared.is_upgraded.get() {
            connection.flags |= flag::UPGRADED;
        }
        let is_torn = running.shared.is_torn();
        running.shared.part();
        let wakers = running.shared.wakers.take();
        match running.task {
            Some(task) if running.is_detached => run_on(runtime, task, wakers),
            Some(task) => drop_foreign(task),
            None => {}
        }
        is_torn
    }
}

/// Lets a task go on whose connection is gone.
fn run_on(runtime: &Rc<Runtime>, mut task: Task, wakers: Option<TaskWakers>) {
    task.part();
    let rest = async move {
        // What it answers, and whether it fails, is told to nobody.
        let _ = poll_fn(|context| Work::poll(task.as_mut(), context)).await;
    };
    let rest = runtime.slots.place(rest, |rest| rest as &mut dyn Future<Output = ()>);
    runtime.adopt(rest, wakers, true);
}

impl Exchange {
    fn is_refused(&self) -> bool {
        self.handler.as_ref().is_some_and(|running| running.shared.state.borrow().rejection.is_some())
    }
}
