//! Handshakes: who goes on with them, when, and what they come to.
//!
//! Flights are computed here, so many per turn, or on other threads. What a handshake says is for
//! [`handshake`](crate::tls::handshake) alone to understand.

use std::rc::Rc;
use std::sync::Arc;

use peregrine_pool::{Key, Lease};

use super::{Session, Stage, State};
use crate::driver::secure::Breach;
use crate::driver::{Driver, Event, Received};
use crate::tls::handshake::Step;
use crate::tls::offload::Done;

/// So many bytes may wait for a handshake to go on, and from so many on no more are received. The difference is what
/// is under way when that is decided.
const WAITING_MAX: usize = 1024 * 1024;
const WAITING_ENOUGH: usize = 64 * 1024;

impl<D: Driver> Stage<D> {
    /// Takes what has come for a handshake.
    pub(super) fn take_flight(&mut self, session: &mut Session, lease: Lease, len: usize) {
        let State::Shaking(handshake) = &mut session.state else { return };
        // No record begins with a letter, and every request does.
        if handshake.is_new() && lease.first().is_some_and(u8::is_ascii_alphabetic) {
            return self.turn_away(session);
        }
        handshake.push(&lease[..len]);
        drop(lease);
        if session.is_queued {
            let waiting = handshake.incoming.len();
            self.park(session, waiting);
        } else if session.offloads {
            self.send_away(session);
        } else if self.flights_left > 0 {
            self.flights_left -= 1;
            self.shake(session);
        } else {
            session.is_queued = true;
            self.backlog.push_back(session.key);
        }
    }

    /// Takes what has come while the handshake is on another thread.
    pub(super) fn take_meanwhile(&mut self, session: &mut Session, bytes: &[u8]) {
        let State::Away(waiting) = &mut session.state else { return };
        waiting.extend_from_slice(bytes);
        let waiting = waiting.len();
        self.park(session, waiting);
    }

    /// So many bytes wait for a handshake: behind the last flight a whole body may come. More than enough of them wait in
    /// the kernel.
    fn park(&mut self, session: &mut Session, waiting: usize) {
        if waiting > WAITING_MAX {
            self.fail(session, Breach::Handshake, "more than any handshake has");
        } else if waiting > WAITING_ENOUGH && !session.is_parked {
            session.is_parked = true;
            if session.is_receiving_inside {
                self.driver.stop_receiving(session.socket, session.key);
            }
        }
    }

    #[cold]
    fn turn_away(&mut self, session: &mut Session) {
        session.state = State::Plain;
        self.tally.active.decrease();
        self.tally.failed.increase();
        self.note(session, Breach::PlainHttp, "");
        self.tell(session, Received::Broken(Breach::PlainHttp));
    }

    /// Gives a handshake up, with no alert: nothing of it is worth one.
    #[cold]
    pub(super) fn fail(&mut self, session: &mut Session, breach: Breach, detail: &str) {
        session.state = State::Broken;
        self.tally.active.decrease();
        match breach {
            Breach::Timeout => self.tally.timed_out.increase(),
            _ => self.tally.failed.increase(),
        }
        self.note(session, breach, detail);
        self.tell(session, Received::Broken(breach));
    }

    /// Goes on with a handshake.
    fn shake(&mut self, session: &mut Session) {
        let State::Shaking(handshake) = &mut session.state else { return };
        let step = handshake.advance_safely();
        self.take_step(session, step);
    }

    /// Has another thread go on with a handshake.
    fn send_away(&mut self, session: &mut Session) {
        let Some((offload, returns)) = &self.offload else { return };
        if offload.is_full() {
            // Then we take our turns, as without them.
            session.is_queued = true;
            return self.backlog.push_back(session.key);
        }
        match std::mem::replace(&mut session.state, State::Away(Vec::new())) {
            State::Shaking(handshake) => offload.push(session.key, handshake, Arc::clone(returns)),
            state => session.state = state,
        }
    }

    /// Takes back what other threads have gone on with.
    #[cold]
    pub(super) fn welcome(&mut self) {
        let Some((_, returns)) = &self.offload else { return };
        for Done { key, mut handshake, step } in returns.take() {
            if !self.has(key) {
                continue;
            }
            self.with(key, |stage, session| {
                let State::Away(bytes) = &mut session.state else { return };
                let bytes = std::mem::take(bytes);
                handshake.push(&bytes);
                let is_waiting = matches!(step, Step::More) && !bytes.is_empty();
                session.state = State::Shaking(handshake);
                let first = stage.ready.len();
                match step {
                    // What has come behind the handshake belongs to its end.
                    Step::Done(mut agreed) => {
                        agreed.rest.extend_from_slice(&bytes);
                        stage.take_step(session, Step::Done(agreed));
                    }
                    step => stage.take_step(session, step),
                }
                if is_waiting {
                    stage.send_away(session);
                } else {
                    stage.hear_held_end(session);
                }
                stage.settle(session, first);
            });
        }
    }

    /// Takes what a handshake has come to, or where it is.
    fn take_step(&mut self, session: &mut Session, step: Step) {
        let State::Shaking(handshake) = &mut session.state else { return };
        session.own.append(&mut handshake.outgoing);
        match step {
            Step::More => {}
            Step::Done(agreed) => {
                let agreed = *agreed;
                self.tally.active.decrease();
                if agreed.info.is_resumed {
                    self.tally.resumed.increase();
                } else {
                    self.tally.full.increase();
                }
                session.state = State::Open(Box::new(agreed.secrets));
                self.ready.push_back(Event::Secured { key: session.key, info: Rc::new(agreed.info) });
                self.open_early(session, &agreed.rest);
                return self.unflushed.push(session.key);
            }
            Step::Failed(told) => {
                self.fail(session, Breach::Handshake, &told);
            }
        }
        self.flush(session);
    }

    /// Shakes the hands of those that have waited longest.
    pub(super) fn work_off(&mut self) {
        while self.flights_left > 0
            && let Some(key) = self.backlog.pop_front()
        {
            if !self.has(key) {
                continue;
            }
            self.flights_left -= 1;
            self.with(key, |stage, session| {
                session.is_queued = false;
                let first = stage.ready.len();
                stage.shake(session);
                stage.hear_held_end(session);
                stage.settle(session, first);
            });
        }
    }

    /// The end that has come while a handshake waited, once what has come before it is taken.
    pub(super) fn hear_held_end(&mut self, session: &mut Session) {
        if std::mem::take(&mut session.holds_eof) {
            session.hear_end();
        }
        session.is_parked = false;
    }

    /// Whether the handshake of `key` is not over.
    pub(super) fn is_shaking(&self, key: Key) -> bool {
        self.has(key)
            && self.sessions[key.index() as usize].as_ref().is_some_and(|session| session.is_shaking())
    }
}
