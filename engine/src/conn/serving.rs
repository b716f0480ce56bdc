//! Serving: from a batch of bytes to the bytes of one send.
//!
//! Owns what answering takes (the service, the common part of all heads, the blocks to write into) and the
//! rule that everything received together is answered together. Knows neither driver nor connection table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll};

use peregrine_parser::TargetForm;
use peregrine_pool::{Blocks, Key, Lease, Payload, Spare};

use super::exchange::{CONTINUE, Common, Opening};
use super::running::{Exchange, Running};
use super::{Admission, Called, ConnectionInfo, Counters, EndReason, Service, Shared, Streaming, Task, Work};
use crate::proto::h1::{BodyDecoder, Machine, Preamble, Progress, ResponseWriter, Terms};
use crate::proto::{Rejection, RequestParts, TLS_ALERT, TLS_HELLO};
use crate::runtime::{Owner, Runtime, TaskWakers, drop_foreign, drop_panic};
use crate::telemetry;

/// A response begins in a block only if this many bytes are left: almost all heads and small bodies fit.
const RESPONSE_ROOM_BYTES: usize = 1024;

/// Responses on their way out: the bytes of one send.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) lease: Option<Lease>,
    pub(super) len: usize,
    pub(super) payload: Option<Payload>,
    /// The last of them ends the connection, for this reason.
    pub(super) last: Option<EndReason>,
}

impl Outgoing {
    /// Whether the next response can begin in the block.
    #[inline]
    fn has_room(&self) -> bool {
        let room = |lease: &Lease| lease.len() - self.len >= RESPONSE_ROOM_BYTES;
        self.payload.is_none() && self.lease.as_ref().is_none_or(room)
    }

    /// The block being written, leased when the first response needs it.
    #[inline]
    fn block(&mut self, blocks: &Blocks) -> Option<&mut [u8]> {
        if self.lease.is_none() {
            self.lease = blocks.lease();
        }
        Some(&mut self.lease.as_mut()?[self.len..])
    }
}

/// What serving a batch came to.
pub(super) struct Served {
    /// Bytes that are done with.
    pub(super) bytes: usize,
    pub(super) stop: Stop,
    pub(super) outgoing: Outgoing,
}

/// Why serving stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All bytes are served.
    Served,
    /// The rest is the beginning of a request.
    Torn,
    /// A send must come first.
    Full,
    /// The rest begins with a request that is answered in a task: [`Server::begin_exchange`].
    Stream,
    /// The last request served is answered by a task that waits: [`Server::take_waiting`]. The rest is behind it.
    Wait,
    /// The rest begins with a request that is answered, but for its body, which is to be drained.
    Drain,
    /// The connection ends.
    Last,
}

/// What the connection says about its next requests.
pub(super) struct Quota<'a> {
    /// How many more there may be.
    pub(super) left: &'a mut u32,
    /// It has lived long enough: the next is the last.
    pub(super) is_expired: bool,
}

/// What serving takes.
pub(super) struct Server<S> {
    pub(super) service: S,
    pub(super) preamble: Preamble,
    pub(super) common: Rc<Common>,
    pub(super) counters: Counters,
    pub(super) log_rejections: bool,
    pub(super) runtime: Rc<Runtime>,
    /// What serving has stopped for with [`Stop::Wait`].
    pub(super) waiting: Option<Box<Exchange>>,
    /// Places of exchanges that are over, for the next ones.
    pub(super) spare_shared: Spare<Rc<Shared>>,
    pub(super) spare_exchanges: Spare<Box<Exchange>>,
}

/// What becomes of a body.
enum Admitted {
    /// The machine goes on with it.
    Collected,
    Streamed,
    /// Its request is answered without it.
    Unwanted,
}

/// How answering a request has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    Yes,
    /// The answer is to be streamed.
    Streams,
    /// By a task that waits.
    Waits,
    NoMemory,
}

/// Writes the answer to what is refused.
pub(super) fn write_rejection(response: &mut ResponseWriter<'_>, rejection: Rejection) {
    response.set_status(rejection.status()).expect("a final status");
    let fields = [("Allow", rejection.allow()), ("Retry-After", rejection.retry_after())];
    for (name, value) in fields {
        if let Some(value) = value {
            response.add_field(name, value.as_bytes()).expect("a valid field");
        }
    }
    response.close();
}

impl<S: Service> Server<S> {
    /// Serves as many requests out of `bytes` as are whole.
    #[inline]
    pub(super) fn serve(
        &mut self,
        (key, info): (Key, &ConnectionInfo),
        quota: Quota<'_>,
        machine: &mut Machine,
        bytes: &mut [u8],
    ) -> Served {
        let mut outgoing = Outgoing::default();
        let (bytes, stop) = self.serve_into(&mut outgoing, (key, info), quota, machine, bytes);
        Served { bytes, stop, outgoing }
    }

    fn serve_into(
        &mut self,
        outgoing: &mut Outgoing,
        (key, info): (Key, &ConnectionInfo),
        mut quota: Quota<'_>,
        machine: &mut Machine,
        bytes: &mut [u8],
    ) -> (usize, Stop) {
        let mut served = 0;
        while served < bytes.len() {
            let rest = &mut bytes[served..];
            let (consumed, is_drained) = match machine.handle_bytes(rest) {
                Ok(Progress::Complete { consumed }) => (consumed, false),
                Ok(Progress::NeedMore) => {
                    if outgoing.has_room() && machine.take_expectation(rest.len()) {
                        self.interim(outgoing, CONTINUE);
                    }
                    return (served, Stop::Torn);
                }
                Ok(Progress::Head) => match self.admit(machine, rest) {
                    Ok(Admitted::Collected) => continue,
                    Ok(Admitted::Streamed) => return (served, Stop::Stream),
                    Ok(Admitted::Unwanted) => (machine.head_bytes(), true),
                    Err(rejection) => return self.stop_refused(outgoing, info, machine, rejection, rest),
                },
                Err(rejection) => return self.stop_refused(outgoing, info, machine, rejection, rest),
            };
            match self.answer(outgoing, (key, info), &mut quota, machine, &rest[..consumed]) {
                Answered::Yes if is_drained && outgoing.last.is_none() => return (served, Stop::Drain),
                Answered::Yes => {}
                Answered::Streams => return (served, Stop::Stream),
                Answered::Waits => {
                    if is_drained && let Some(waiting) = &mut self.waiting {
                        // What nobody wants is the request's all the same, and never the next one.
                        waiting.body = machine.take_body();
                    }
                    machine.reset();
                    return (served + consumed, Stop::Wait);
                }
                Answered::NoMemory => {
                    machine.reset();
                    return (bytes.len(), Stop::Last);
                }
            }
            machine.reset();
            served += consumed;
            if outgoing.last.is_some() {
                return (served, Stop::Last);
            }
            if !outgoing.has_room() {
                return (served, if served < bytes.len() { Stop::Full } else { Stop::Served });
            }
        }
        (served, Stop::Served)
    }

    #[cold]
    fn stop_refused(
        &mut self,
        outgoing: &mut Outgoing,
        info: &ConnectionInfo,
        machine: &mut Machine,
        rejection: Rejection,
        bytes: &[u8],
    ) -> (usize, Stop) {
        let is_tls = bytes.starts_with(&TLS_HELLO) && matches!(rejection, Rejection::Head(_));
        let rejection = if is_tls { Rejection::TlsOnPlainHttp } else { rejection };
        if is_tls {
            telemetry::connection_lost(info.peer_address(), rejection);
        }
        self.note_rejection(rejection, bytes);
        self.reject(outgoing, rejection, EndReason::InvalidRequest);
        machine.reset();
        (usize::MAX, Stop::Last)
    }

    /// Decides about the body of a request whose head is here.
    #[inline(never)]
    fn admit(&mut self, machine: &mut Machine, bytes: &[u8]) -> Result<Admitted, Rejection> {
        match self.service.admit(&machine.request(bytes)) {
            Admission::Whole(limits) => machine.collect(&limits).map(|()| Admitted::Collected),
            Admission::Stream(limits) => machine.limit_body(&limits).map(|()| Admitted::Streamed),
            Admission::Unwanted => {
                // A client that waits may now send the body or not: only the end of the connection is clear.
                if machine.take_expectation(bytes.len()) {
                    machine.close();
                }
                Ok(Admitted::Unwanted)
            }
        }
    }

    /// What the response to the machine's request may do with the connection.
    #[inline(always)]
    fn terms(&self, quota: &mut Quota<'_>, machine: &Machine) -> Terms {
        let mut terms = machine.terms();
        *quota.left = quota.left.wrapping_sub(1);
        terms.close |= *quota.left == 0 || quota.is_expired || self.common.draining.get();
        terms
    }

    /// Why a connection ends whose response says so.
    #[cold]
    fn reason(&self, quota: &Quota<'_>) -> EndReason {
        match *quota.left {
            _ if self.common.draining.get() => EndReason::ShuttingDown,
            0 => EndReason::RequestLimitReached,
            _ if quota.is_expired => EndReason::LifetimeReached,
            _ => EndReason::ClosedAfterResponse,
        }
    }

    /// Answers one request.
    #[inline]
    fn answer(
        &mut self,
        outgoing: &mut Outgoing,
        (key, info): (Key, &ConnectionInfo),
        quota: &mut Quota<'_>,
        machine: &Machine,
        bytes: &[u8],
    ) -> Answered {
        let terms = self.terms(quota, machine);
        let Some(block) = outgoing.block(&self.common.blocks) else {
            outgoing.last = Some(EndReason::OutOfMemory);
            return Answered::NoMemory;
        };
        let mut response = ResponseWriter::new(block, &mut self.preamble, terms);
        response.begin();
        let request = machine.request(bytes);
        let service = &mut self.service;
        let called = catch_unwind(AssertUnwindSafe(|| service.call(&request, info, &mut response)));
        match called {
            Ok(Called::Answered) => {}
            Ok(Called::Begun(task)) => {
                let first = Waiting { runtime: &self.runtime, key, path: request.path };
                if let Some(waits) = first.poll(task, &mut response, &mut self.counters) {
                    self.wait(info, waits, terms, request.path);
                    return Answered::Waits;
                }
            }
            Ok(Called::Streams) => {
                *quota.left = quota.left.wrapping_add(1);
                return Answered::Streams;
            }
            Err(panic) => {
                drop_panic(panic);
                self.counters.panics += 1;
                become_panic(&mut response);
            }
        }
        self.counters.requests += 1;
        let finished = response.finish();
        if response.has_told()
            && let Some((did, why)) = told(&mut response)
        {
            telemetry::handler_failed(request.path, &did, why);
        }
        if finished.has_payload {
            outgoing.payload = response.take_payload();
        }
        outgoing.len += finished.block_bytes as usize;
        if finished.close {
            outgoing.last = Some(self.reason(quota));
        }
        Answered::Yes
    }

    /// Keeps a task that waits, as the exchange that serving stops for.
    #[inline(never)]
    fn wait(
        &mut self,
        info: &ConnectionInfo,
        (mut task, wakers, is_detached): (Task, TaskWakers, bool),
        terms: Terms,
        path: &[u8],
    ) {
        let shared = self.open_shared(info, wakers, Opening::whole(terms, path));
        task.as_mut().attach(&shared);
        let mut running = Running::new(shared, task, None, None);
        running.is_detached = is_detached;
        self.counters.requests += 1;
        self.waiting = Some(self.exchange(BodyDecoder::default(), running));
    }

    /// A place for an exchange.
    fn open_shared(&mut self, info: &ConnectionInfo, wakers: TaskWakers, opening: Opening<'_>) -> Rc<Shared> {
        let common = &self.common;
        let mut shared = self.spare_shared.take_or(|| Rc::new(Shared::new(Rc::clone(common))));
        let place = Rc::get_mut(&mut shared).expect("kept only when nobody else had it");
        place.begin(info.share(), wakers, opening);
        shared
    }

    /// The exchange is over: its place is kept for another, unless something of the handler's lives on.
    pub(super) fn close_shared(&mut self, mut shared: Rc<Shared>) {
        let wakers = shared.wakers.take();
        if let Some(wakers) = wakers {
            self.runtime.give_waker(wakers);
        }
        if Rc::get_mut(&mut shared).is_some() {
            self.spare_shared.give(shared);
        }
    }

    fn exchange(&mut self, body: BodyDecoder, running: Running) -> Box<Exchange> {
        let exchange = Exchange::running(body, running);
        match self.spare_exchanges.take() {
            Some(mut place) => {
                *place = exchange;
                place
            }
            None => Box::new(exchange),
        }
    }

    /// The exchange that serving has stopped for.
    pub(super) fn take_waiting(&mut self) -> Box<Exchange> {
        self.waiting.take().expect("what serving has stopped for")
    }

    /// Begins to answer the request that the machine has stopped at, in a task of the connection `key`.
    #[inline(never)]
    pub(super) fn begin_exchange(
        &mut self,
        (key, info): (Key, &ConnectionInfo),
        mut quota: Quota<'_>,
        machine: &mut Machine,
        bytes: &[u8],
    ) -> Box<Exchange> {
        self.counters.requests += 1;
        let terms = self.terms(&mut quota, machine);
        let expects_continue = machine.take_expectation(bytes.len());
        let request = machine.request(bytes);
        let opening = Opening {
            terms,
            expects_continue,
            is_complete: !machine.is_reading_body(),
            upgrades: if request.may_upgrade { upgrades(&request) } else { Vec::new() },
            is_connect: request.form == TargetForm::Authority,
            may_connect: request.form == TargetForm::Authority && request.may_tunnel,
            path: request.path,
        };
        let wakers = self.runtime.waker(Owner::Connection(key));
        let shared = self.open_shared(info, wakers, opening);
        let service = &mut self.service;
        let handed = Rc::clone(&shared);
        let called = catch_unwind(AssertUnwindSafe(|| service.stream(&request, handed)));
        let Streaming { task, min_response_rate } = called.unwrap_or_else(|panic| {
            drop_panic(panic);
            self.counters.panics += 1;
            Streaming::failed(&self.runtime.slots)
        });
        let (_, min_body_rate) = machine.body_progress();
        let is_complete = !machine.is_reading_body();
        let running = Running::new(shared, task, min_body_rate, min_response_rate);
        let body = machine.take_body();
        debug_assert_eq!(body.is_done(), is_complete, "another request's body");
        self.exchange(body, running)
    }

    /// Counts a refusal, and tells of it if that is wanted. `bytes` are the peer's.
    pub(super) fn note_rejection(&mut self, rejection: Rejection, bytes: &[u8]) {
        self.counters.rejections[rejection.kind()] += 1;
        if self.log_rejections {
            telemetry::request_rejected(rejection.status(), rejection, bytes);
        }
    }

    /// Adds an interim response, which is none of a handler's.
    fn interim(&mut self, outgoing: &mut Outgoing, bytes: &[u8]) {
        if let Some(block) = outgoing.block(&self.common.blocks) {
            block[..bytes.len()].copy_from_slice(bytes);
            outgoing.len += bytes.len();
        }
    }

    /// Answers what cannot be served; the connection ends with it.
    #[cold]
    pub(super) fn reject(&mut self, outgoing: &mut Outgoing, rejection: Rejection, reason: EndReason) {
        outgoing.last = Some(reason);
        let terms = Terms { close: true, ..Terms::default() };
        let Some(block) = outgoing.block(&self.common.blocks) else { return };
        if rejection == Rejection::TlsOnPlainHttp {
            block[..TLS_ALERT.len()].copy_from_slice(&TLS_ALERT);
            outgoing.len += TLS_ALERT.len();
            return;
        }
        let mut response = ResponseWriter::new(block, &mut self.preamble, terms);
        response.begin();
        write_rejection(&mut response, rejection);
        let finished = response.finish();
        // None but that of a head that did not fit: nothing follows a payload in a batch.
        let payload = response.take_payload();
        outgoing.len += finished.block_bytes as usize;
        if finished.has_payload {
            outgoing.payload = payload;
        }
    }
}

/// A task at its first poll, whose response may yet be one of the batch.
struct Waiting<'a> {
    runtime: &'a Rc<Runtime>,
    key: Key,
    path: &'a [u8],
}

impl Waiting<'_> {
    /// Polls it for the first time. If it is ready its response is written; otherwise it comes back, with what wakes
    /// it and whether it has asked to outlive its client.
    #[inline(never)]
    fn poll(
        self,
        mut task: Task,
        response: &mut ResponseWriter<'_>,
        counters: &mut Counters,
    ) -> Option<(Task, TaskWakers, bool)> {
        let wakers = self.runtime.waker(Owner::Connection(self.key));
        let (polled, is_detached) = self.runtime.poll(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let polled = Work::poll(task.as_mut(), &mut Context::from_waker(&wakers.waker));
                if polled.is_ready() {
                    task.as_mut().respond(response);
                }
                polled
            }))
        });
        match polled {
            Ok(Poll::Pending) => return Some((task, wakers, is_detached)),
            Ok(Poll::Ready(Ok(()))) => {}
            Ok(Poll::Ready(Err(told))) => {
                telemetry::handler_failed(self.path, "answered 500", told);
                become_panic(response);
            }
            Err(panic) => {
                drop_panic(panic);
                counters.panics += 1;
                become_panic(response);
            }
        }
        drop_foreign(task);
        self.runtime.give_waker(wakers);
        None
    }
}

/// The answer of a handler that has panicked, or failed otherwise.
#[cold]
pub(super) fn become_panic(response: &mut ResponseWriter<'_>) {
    response.reset();
    response.set_status(500).expect("a final status");
    response.close();
}

/// What the log is to be told of a finished response: what happened, and why.
#[cold]
pub(super) fn told(response: &mut ResponseWriter<'_>) -> Option<(String, String)> {
    if let Some(failure) = response.failure() {
        return Some(("answered 500".to_owned(), failure.to_string()));
    }
    response.take_told().map(|told| (format!("answered {}", response.status()), told))
}

/// The protocols that the client would rather speak.
fn upgrades(request: &RequestParts<'_>) -> Vec<u8> {
    let named = request.fields.iter().filter(|field| field.id == peregrine_parser::FieldName::Upgrade);
    named.map(|field| field.value.of(request.head)).collect::<Vec<_>>().join(&b","[..])
}
