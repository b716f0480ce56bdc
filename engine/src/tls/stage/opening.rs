//! The way in: records decrypted in the blocks that they were received into, or put together first.

use peregrine_pool::Lease;

use super::{KEY_UPDATE, Session, Stage, State, WARNING};
use crate::driver::secure::Breach;
use crate::driver::{Driver, Errno, Received};
use crate::tls::record::{Alert, Content, HEADER_BYTES, RECORD_MAX, record_bytes};

/// So many records in a row may hold no data: enough for what peers say to each other, too few to keep us busy with.
const IDLE_RECORDS_MAX: u8 = 32;

/// The level of an alert that ends the connection.
const FATAL: u8 = 2;

/// An alert that `close_notify` follows (RFC 8446 section 6.1).
const USER_CANCELED: u8 = 90;

/// What a peer asks for that would agree upon new keys by a new handshake in TLS 1.2.
const CLIENT_HELLO: u8 = 1;

impl<D: Driver> Stage<D> {
    /// Takes received records, and lets out what they are answered with.
    #[inline]
    pub(super) fn open(&mut self, session: &mut Session, lease: Lease, len: usize) {
        self.open_records(session, lease, len);
        self.flush(session);
    }

    /// Takes records. What they hold is moved together in front of what the first one holds.
    #[inline]
    fn open_records(&mut self, session: &mut Session, mut lease: Lease, len: usize) {
        let mut at = if session.partial.is_some() { self.fill(session, &lease[..len]) } else { 0 };
        let (mut start, mut end) = (0, 0);
        let mut problem = None;
        while at < len && !session.is_peer_closed && problem.is_none() {
            let State::Open(secrets) = &mut session.state else { break };
            let record = match record_bytes(&lease[at..len]) {
                Ok(Some(bytes)) if at + bytes <= len => at..at + bytes,
                Ok(_) => break,
                Err(alert) => {
                    problem = Some(alert);
                    break;
                }
            };
            match secrets.records.open(&mut lease[record.clone()]) {
                Ok((Content::Data, found)) if !found.is_empty() && session.message.is_empty() => {
                    session.idle_records = 0;
                    let found = at + found.start..at + found.end;
                    if end == 0 {
                        (start, end) = (found.start, found.end);
                    } else {
                        let moved = found.len();
                        lease.copy_within(found, end);
                        end += moved;
                    }
                }
                Ok((content, found)) => {
                    let message = &lease[at + found.start..at + found.end];
                    problem = self.hear(session, content, message).err();
                }
                Err(alert) => problem = Some(alert),
            }
            at = record.end;
        }
        let rest = at..len;
        if !rest.is_empty() && problem.is_none() && !session.is_peer_closed {
            self.fill(session, &lease[rest]);
        }
        if end > start && !session.is_aborted {
            lease.skip(start);
            self.tell(session, Received::Data { lease, len: (end - start) as u32 });
        }
        if let Some(alert) = problem {
            self.end_with(session, alert);
        }
    }

    /// Puts bytes into the record that has not come whole, and takes it once it has. Returns how many were used: all
    /// that belong to this record.
    fn fill(&mut self, session: &mut Session, bytes: &[u8]) -> usize {
        let (mut lease, mut have) = match session.partial.take() {
            Some(partial) => partial,
            None => match self.whole.lease() {
                Some(lease) => (lease, 0),
                None => {
                    self.run_dry(session);
                    return bytes.len();
                }
            },
        };
        let mut used = 0;
        // The header first, which tells how much is wanted.
        for _ in 0..2 {
            let wanted = match record_bytes(&lease[..have]) {
                Ok(wanted) => wanted.unwrap_or(HEADER_BYTES),
                Err(alert) => {
                    self.end_with(session, alert);
                    return bytes.len();
                }
            };
            let taken = (wanted - have).min(bytes.len() - used);
            lease[have..have + taken].copy_from_slice(&bytes[used..used + taken]);
            have += taken;
            used += taken;
        }
        match record_bytes(&lease[..have]) {
            Ok(Some(wanted)) if wanted == have => {}
            Ok(_) => {
                session.partial = Some((lease, have));
                return used;
            }
            Err(alert) => {
                self.end_with(session, alert);
                return bytes.len();
            }
        }
        let State::Open(secrets) = &mut session.state else { return bytes.len() };
        match secrets.records.open(&mut lease[..have]) {
            Ok((Content::Data, found)) if !found.is_empty() && session.message.is_empty() => {
                session.idle_records = 0;
                lease.skip(found.start);
                self.tell(session, Received::Data { lease, len: found.len() as u32 });
            }
            Ok((content, found)) => {
                if let Err(alert) = self.hear(session, content, &lease[found]) {
                    self.end_with(session, alert);
                }
            }
            Err(alert) => self.end_with(session, alert),
        }
        used
    }

    /// Takes what has come together with the handshake's end. Many small records share a block, as others do.
    pub(super) fn open_early(&mut self, session: &mut Session, rest: &[u8]) {
        for bytes in rest.chunks(RECORD_MAX) {
            if session.is_peer_closed || !matches!(session.state, State::Open(_)) {
                return;
            }
            let Some(mut lease) = self.whole.lease() else { return self.run_dry(session) };
            lease[..bytes.len()].copy_from_slice(bytes);
            self.open_records(session, lease, bytes.len());
        }
    }

    /// There is no block for a record.
    #[cold]
    fn run_dry(&mut self, session: &mut Session) {
        session.state = State::Broken;
        self.tell(session, Received::Failed(Errno(libc::ENOMEM)));
    }

    /// Takes a record that holds no data.
    fn hear(&mut self, session: &mut Session, content: Content, message: &[u8]) -> Result<(), Alert> {
        session.idle_records += 1;
        if session.idle_records > IDLE_RECORDS_MAX {
            return Err(Alert::UnexpectedMessage);
        }
        let State::Open(secrets) = &mut session.state else { return Ok(()) };
        let is_tls13 = secrets.records.is_tls13();
        // Nothing may come between the records of one message (RFC 8446 section 5.1).
        if !session.message.is_empty() && content != Content::Handshake {
            return Err(Alert::UnexpectedMessage);
        }
        match (content, message) {
            (Content::Data, _) => {}
            (Content::Alert, &[_, code]) if code == Alert::CloseNotify as u8 => self.hear_goodbye(session),
            // A warning of TLS 1.2, or one that comes before close_notify (RFC 8446 section 6.1).
            (Content::Alert, &[level, code]) if code == USER_CANCELED || (level == WARNING && !is_tls13) => {}
            (Content::Alert, &[_, _]) => {
                session.state = State::Broken;
                self.tell(session, Received::Failed(Errno(libc::ECONNRESET)));
            }
            (Content::Handshake, part) if is_tls13 && !part.is_empty() => {
                return self.hear_message(session, part);
            }
            (Content::Handshake, &[CLIENT_HELLO, ..]) if !is_tls13 && session.is_answering => {}
            (Content::Handshake, &[CLIENT_HELLO, ..]) if !is_tls13 => {
                session.is_answering = true;
                self.say(session, Content::Alert, &[WARNING, Alert::NoRenegotiation as u8])?;
            }
            _ => return Err(Alert::UnexpectedMessage),
        }
        Ok(())
    }

    /// Takes the one message of a handshake that may come behind it, or a part of it (RFC 8446 section 4.6.3).
    #[cold]
    fn hear_message(&mut self, session: &mut Session, part: &[u8]) -> Result<(), Alert> {
        session.message.extend_from_slice(part);
        let (known, message) = (&KEY_UPDATE[..4], &session.message);
        if message.len() > KEY_UPDATE.len() || !known.starts_with(&message[..message.len().min(known.len())])
        {
            return Err(Alert::UnexpectedMessage);
        }
        let Some(&wants_ours) = message.get(known.len()) else { return Ok(()) };
        session.message = Vec::new();
        if wants_ours > 1 {
            return Err(Alert::IllegalParameter);
        }
        let State::Open(secrets) = &mut session.state else { return Ok(()) };
        secrets.renew_incoming()?;
        // One answer is enough for all that ask before it is on its way.
        if wants_ours == 1 && !session.is_answering && !session.has_said_goodbye {
            session.is_answering = true;
            self.renew_outgoing(session)?;
        }
        Ok(())
    }

    /// The peer sends no more (RFC 8446 section 6.1).
    pub(super) fn hear_goodbye(&mut self, session: &mut Session) {
        session.is_peer_closed = true;
        session.partial = None;
        if session.is_receiving_inside {
            self.driver.stop_receiving(session.socket, session.key);
        }
    }

    /// Ends a session for what its peer has sent.
    #[cold]
    fn end_with(&mut self, session: &mut Session, alert: Alert) {
        if !matches!(session.state, State::Open(_)) {
            return;
        }
        // Nothing can be said any more if this fails.
        let _ = self.say(session, Content::Alert, &[FATAL, alert as u8]);
        session.state = State::Broken;
        session.has_said_goodbye = true;
        session.partial = None;
        self.tally.broken.increase();
        self.note(session, Breach::Record, "");
        self.tell(session, Received::Broken(Breach::Record));
    }
}
