//! Serving: from a batch of bytes to the bytes of one send.
//!
//! Owns what answering takes (the service, the common part of all heads, the blocks to write into) and the
//! rule that everything received together is answered together. Knows neither driver nor connection table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use peregrine_pool::{Blocks, Lease, Payload};

use super::{ConnectionInfo, Counters, EndReason, Service};
use crate::proto::Rejection;
use crate::proto::h1::{Finished, Machine, Preamble, Progress, ResponseWriter, Terms};
use crate::telemetry;

/// A response begins in a block only if this many bytes are left: almost all heads and small bodies fit.
const RESPONSE_ROOM_BYTES: usize = 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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

    #[inline]
    fn add(&mut self, finished: Finished, reason: EndReason) {
        self.len += finished.block_bytes as usize;
        if finished.close {
            self.last = Some(reason);
        }
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
    /// The connection ends.
    Last,
}

/// What serving takes.
pub(super) struct Server<S> {
    pub(super) service: S,
    pub(super) preamble: Preamble,
    pub(super) blocks: Blocks,
    pub(super) counters: Counters,
    /// Each response is its connection's last.
    pub(super) draining: bool,
}

impl<S: Service> Server<S> {
    /// Serves as many requests out of `bytes` as are whole.
    #[inline]
    pub(super) fn serve(&mut self, info: &ConnectionInfo, machine: &mut Machine, bytes: &mut [u8]) -> Served {
        let mut outgoing = Outgoing::default();
        let (bytes, stop) = self.serve_into(&mut outgoing, info, machine, bytes);
        Served { bytes, stop, outgoing }
    }

    fn serve_into(
        &mut self,
        outgoing: &mut Outgoing,
        info: &ConnectionInfo,
        machine: &mut Machine,
        bytes: &mut [u8],
    ) -> (usize, Stop) {
        let mut served = 0;
        while served < bytes.len() {
            let rest = &mut bytes[served..];
            match machine.handle_bytes(rest) {
                Ok(Progress::Complete { consumed }) => {
                    let answered = self.answer(outgoing, info, machine, &rest[..consumed]);
                    machine.reset();
                    if !answered {
                        return (bytes.len(), Stop::Last);
                    }
                    served += consumed;
                    if outgoing.last.is_some() {
                        return (served, Stop::Last);
                    }
                    if !outgoing.has_room() {
                        return (served, if served < bytes.len() { Stop::Full } else { Stop::Served });
                    }
                }
                Ok(Progress::NeedMore) => {
                    if outgoing.has_room() && machine.take_expectation(rest.len()) {
                        self.interim(outgoing, CONTINUE);
                    }
                    return (served, Stop::Torn);
                }
                Err(rejection) => {
                    self.reject(outgoing, rejection, EndReason::InvalidRequest);
                    machine.reset();
                    return (bytes.len(), Stop::Last);
                }
            }
        }
        (served, Stop::Served)
    }

    /// Answers one request. Returns false when there is no memory for it.
    #[inline]
    fn answer(
        &mut self,
        outgoing: &mut Outgoing,
        info: &ConnectionInfo,
        machine: &Machine,
        bytes: &[u8],
    ) -> bool {
        let mut terms = machine.terms();
        terms.close |= self.draining;
        let Some(block) = outgoing.block(&self.blocks) else {
            outgoing.last = Some(EndReason::OutOfMemory);
            return false;
        };
        let mut response = ResponseWriter::new(block, &mut self.preamble, terms);
        response.begin();
        let request = machine.request(bytes);
        let service = &mut self.service;
        let called = catch_unwind(AssertUnwindSafe(|| service.call(&request, info, &mut response)));
        if let Err(panic) = called {
            // What was panicked with may panic again when dropped.
            std::mem::forget(panic);
            response.reset();
            response.set_status(500).expect("a final status");
            response.close();
            self.counters.panics += 1;
        }
        self.counters.requests += 1;
        let finished = response.finish();
        if let Some(failure) = response.failure() {
            telemetry::handler_failed(request.path, failure);
        }
        let payload = if finished.has_payload { response.take_payload() } else { None };
        let reason = if self.draining { EndReason::ShuttingDown } else { EndReason::ClosedAfterResponse };
        outgoing.add(finished, reason);
        if payload.is_some() {
            outgoing.payload = payload;
        }
        true
    }

    /// Adds an interim response, which is none of a handler's.
    fn interim(&mut self, outgoing: &mut Outgoing, bytes: &[u8]) {
        if let Some(block) = outgoing.block(&self.blocks) {
            block[..bytes.len()].copy_from_slice(bytes);
            outgoing.len += bytes.len();
        }
    }

    /// Answers what cannot be served; the connection ends with it.
    #[cold]
    pub(super) fn reject(&mut self, outgoing: &mut Outgoing, rejection: Rejection, reason: EndReason) {
        self.counters.rejections += 1;
        outgoing.last = Some(reason);
        let terms = Terms { close: true, ..Terms::default() };
        let Some(block) = outgoing.block(&self.blocks) else { return };
        let mut response = ResponseWriter::new(block, &mut self.preamble, terms);
        response.begin();
        response.set_status(rejection.status()).expect("a final status");
        if let Some(allow) = rejection.allow() {
            response.add_field("Allow", allow.as_bytes()).expect("a valid field");
        }
        let finished = response.finish();
        // None but that of a head that did not fit: nothing follows a payload in a batch.
        let payload = response.take_payload();
        outgoing.add(finished, reason);
        if finished.has_payload {
            outgoing.payload = payload;
        }
    }
}
