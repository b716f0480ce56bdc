//! The way out: what connections send, encrypted into whole records, and what the stage itself has to say.

use peregrine_pool::{Key, Payload};

use super::{Flight, KEY_UPDATE, Session, Shut, Stage, State, WARNING};
use crate::driver::{Driver, Errno, Event, Fd, SendBuffer};
use crate::tls::record::{Alert, Content, OVERHEAD_MAX, PLAIN_MAX};

/// So many bytes of the stage's own go out with those of the connection: the tickets of a handshake.
const JOINED_MAX: usize = 2048;

/// Without it the peer takes the end for one that an attacker has made (RFC 8446 section 6.1).
const GOODBYE: [u8; 2] = [WARNING, Alert::CloseNotify as u8];

impl<D: Driver> Stage<D> {
    #[inline]
    pub(super) fn send_for(&mut self, session: &mut Session, buffer: SendBuffer) {
        match session.state {
            State::Open(_) if session.flight.is_none() && session.own.len() <= JOINED_MAX => {
                self.start(session, buffer);
            }
            State::Open(_) => session.held = Some(buffer),
            State::Plain => {
                session.flight = Some(Flight::Through);
                self.driver.send(session.socket, session.key, buffer);
            }
            // Nobody could read it.
            State::Shaking(_) | State::Away(_) | State::Broken => {
                let result = Err(Errno(libc::EPIPE));
                self.ready.push_back(Event::Sent { key: session.key, buffer, result });
            }
        }
    }

    #[inline]
    fn start(&mut self, session: &mut Session, plain: SendBuffer) {
        match self.seal(session, &plain) {
            Ok((sealed, taken)) => {
                session.flight = Some(Flight::Sealed { plain, taken });
                self.driver.send(session.socket, session.key, sealed);
            }
            Err(error) => {
                let result = Err(error);
                self.ready.push_back(Event::Sent { key: session.key, buffer: plain, result });
            }
        }
    }

    /// Encrypts as much of a buffer as fits into a block, behind what the stage itself has to say.
    ///
    /// # Errors
    /// `ENOMEM`: there is no block. `EKEYEXPIRED`: there is no key any more to do it with.
    #[inline]
    fn seal(&mut self, session: &mut Session, plain: &SendBuffer) -> Result<(SendBuffer, u32), Errno> {
        const NO_KEY: Errno = Errno(libc::EKEYEXPIRED);
        let State::Open(secrets) = &mut session.state else { return Err(NO_KEY) };
        let mut block = plain.block();
        let mut payload = plain.payload().unwrap_or_default();
        let total = block.len() + payload.len();
        // A peer that reads slowly is sent so little at once that its progress is seen.
        let most = if std::mem::take(&mut session.is_slow) { total.min(PLAIN_MAX) } else { total };
        let is_worn = secrets.records.is_worn();
        let own = session.own.len();
        let small = own + most + OVERHEAD_MAX <= self.small.stats().block_bytes && !is_worn;
        let lease =
            if small { self.small.lease() } else { self.large.lease().or_else(|| self.small.lease()) };
        let mut lease = lease.ok_or(Errno(libc::ENOMEM))?;
        let (mut end, mut taken) = (own, 0);
        if own > 0 {
            lease.get_mut(..own).ok_or(Errno(libc::ENOMEM))?.copy_from_slice(&session.own);
            session.own = Vec::new();
            session.is_answering = false;
        }
        if is_worn {
            let said = secrets.records.seal(Content::Handshake, &KEY_UPDATE, &mut lease[end..]);
            end += said.map_err(|_| NO_KEY)?;
            secrets.renew_outgoing().map_err(|_| NO_KEY)?;
        }
        while taken < most {
            let room = (lease.len() - end).saturating_sub(OVERHEAD_MAX).min(PLAIN_MAX).min(most - taken);
            if room == 0 {
                break;
            }
            let (first, rest) = block.split_at(block.len().min(room));
            let (second, others) = payload.split_at(payload.len().min(room - first.len()));
            let sealed = secrets.records.seal_pieces(Content::Data, [first, second], &mut lease[end..]);
            end += sealed.map_err(|_| NO_KEY)?;
            taken += first.len() + second.len();
            (block, payload) = (rest, others);
        }
        // The goodbye goes along, for which there is nearly always room.
        let has_room = end + GOODBYE.len() + OVERHEAD_MAX <= lease.len();
        let is_last = plain.is_last() && taken == total && has_room && !session.has_said_goodbye;
        if is_last {
            let said = secrets.records.seal(Content::Alert, &GOODBYE, &mut lease[end..]);
            end += said.map_err(|_| NO_KEY)?;
            session.has_said_goodbye = true;
        }
        let sealed = SendBuffer::new(lease, end as u32, None);
        Ok((if is_last { sealed.last() } else { sealed }, taken as u32))
    }

    /// A send of a session has ended.
    #[inline]
    pub(super) fn sent(&mut self, session: &mut Session, mut buffer: SendBuffer, result: Result<u32, Errno>) {
        let key = session.key;
        if matches!(session.flight, Some(Flight::Through)) {
            session.flight = None;
            self.ready.push_back(Event::Sent { key, buffer, result });
            return self.flush(session);
        }
        let failure = match result {
            Ok(sent) if sent > 0 => {
                buffer.advance(sent);
                if buffer.remaining() > 0 && !session.is_aborted {
                    session.is_slow = true;
                    return self.driver.send(session.socket, key, buffer);
                }
                None
            }
            Ok(_) => Some(Errno(libc::EPIPE)),
            Err(error) => Some(error),
        };
        drop(buffer);
        if let Some(Flight::Sealed { plain, taken }) = session.flight.take() {
            let result = failure.map_or(Ok(taken), Err);
            self.ready.push_back(Event::Sent { key, buffer: plain, result });
        }
        if let Some(error) = failure {
            session.own = Vec::new();
            if let Some(buffer) = session.held.take() {
                self.ready.push_back(Event::Sent { key, buffer, result: Err(error) });
            }
        }
        self.flush(session);
    }

    /// Starts what is to be sent next, if nothing is being sent.
    #[inline]
    pub(super) fn flush(&mut self, session: &mut Session) {
        if session.flight.is_some() || session.is_aborted || session.shut == Shut::Done {
            return;
        }
        if session.own.is_empty() && session.held.is_none() && session.shut != Shut::Wanted {
            return;
        }
        self.flush_more(session);
    }

    fn flush_more(&mut self, session: &mut Session) {
        if session.own.len() <= JOINED_MAX
            && let Some(buffer) = session.held.take()
        {
            return self.start(session, buffer);
        }
        if session.shut == Shut::Wanted && !session.has_said_goodbye {
            // If nothing can be said any more, the end says it all.
            let _ = self.say(session, Content::Alert, &GOODBYE);
            session.has_said_goodbye = true;
        }
        if !session.own.is_empty() {
            return self.send_own(session);
        }
        if session.shut == Shut::Wanted {
            session.shut = Shut::Done;
            self.driver.shutdown_write(session.socket);
        }
    }

    fn send_own(&mut self, session: &mut Session) {
        let bytes = std::mem::take(&mut session.own);
        let Some(mut lease) = self.small.lease() else {
            // It is tried again before the next turn.
            session.own = bytes;
            return self.unflushed.push(session.key);
        };
        session.flight = Some(Flight::Own);
        session.is_answering = false;
        let buffer = if bytes.len() <= lease.len() {
            lease[..bytes.len()].copy_from_slice(&bytes);
            SendBuffer::new(lease, bytes.len() as u32, None)
        } else {
            SendBuffer::new(lease, 0, Some(Payload::Owned(bytes)))
        };
        let is_last = session.shut == Shut::Wanted && session.has_said_goodbye && session.held.is_none();
        let buffer = if is_last { buffer.last() } else { buffer };
        self.driver.send(session.socket, session.key, buffer);
    }

    /// Adds a record to what the stage has to say.
    pub(super) fn say(
        &mut self,
        session: &mut Session,
        content: Content,
        message: &[u8],
    ) -> Result<(), Alert> {
        let State::Open(secrets) = &mut session.state else { return Ok(()) };
        // Nothing may come behind a goodbye (RFC 8446 section 6.1).
        if session.has_said_goodbye {
            return Ok(());
        }
        let start = session.own.len();
        session.own.resize(start + message.len() + OVERHEAD_MAX, 0);
        let sealed = secrets.records.seal(content, message, &mut session.own[start..]);
        session.own.truncate(start + sealed.unwrap_or(0));
        sealed.map(|_| ())
    }

    /// Tells the peer of a new key, and takes it.
    pub(super) fn renew_outgoing(&mut self, session: &mut Session) -> Result<(), Alert> {
        self.say(session, Content::Handshake, &KEY_UPDATE)?;
        let State::Open(secrets) = &mut session.state else { return Ok(()) };
        secrets.renew_outgoing()
    }

    pub(super) fn is_leaving(&self, key: Key) -> bool {
        self.leaving.contains_key(&key)
    }

    /// A send has ended of a session whose connection is gone.
    #[cold]
    pub(super) fn sent_last(&mut self, key: Key, buffer: SendBuffer, result: Result<u32, Errno>) {
        let Some(mut session) = self.leaving.remove(&key) else { return };
        self.sent(&mut session, buffer, result);
        // Nobody wants to know.
        while matches!(self.ready.back(), Some(Event::Sent { key: told, .. }) if *told == key) {
            self.ready.pop_back();
        }
        if session.flight.is_some() {
            self.leaving.insert(key, session);
        } else {
            self.driver.close(session.socket);
        }
    }

    /// Closes a socket that nothing is open on.
    pub(super) fn release(&mut self, socket: Fd) {
        if let Some(place) = usize::try_from(socket.0).ok().and_then(|number| self.by_socket.get_mut(number))
        {
            *place = None;
        }
        self.driver.close(socket);
    }
}
