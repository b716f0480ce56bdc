//! A fuzz target: peers and connections that do anything to a stage, on a wire that does anything.
//!
//! Owns the reading of a fuzzer's bytes as a script, and what must hold whatever it says. It must not know how.

use std::cell::OnceCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use super::harness::{Files, Rig, SOCKET, client_config};
use crate::driver::secure::Breach;
use crate::driver::{Driver, Errno, Event, Received};
use crate::tls::context::Context;

/// What all scripts share, as certificates take long to make.
struct Common {
    context: Arc<Context>,
    /// By version.
    clients: [Arc<ClientConfig>; 2],
    files: Rc<Files>,
}

impl Common {
    fn new() -> Self {
        let files = Rc::new(Files::new());
        let context = Context::new(&files.options(), &[b"http/1.1"]).expect("a certificate of ours");
        let clients = [&TLS12, &TLS13].map(|version| Arc::new(client_config(&files, &[version])));
        Self { context, clients, files }
    }
}

thread_local! {
    static COMMON: OnceCell<Common> = const { OnceCell::new() };
}

/// So many records without data are always taken.
const IDLE_RECORDS: u32 = 32;

/// Types of records, as they are sent.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A connection under way, and what it must come to.
struct Play {
    rig: Rig,
    is_tls13: bool,
    /// Records are forged with the server's keys; else the client makes them, as clients do.
    is_forged: bool,
    /// Forged records that have not arrived.
    wire: Vec<u8>,
    forged: u64,
    /// What the peer has sent in records that are as they should be, and what it was sent and has heard.
    sent: Vec<u8>,
    answered: Vec<u8>,
    heard: Vec<u8>,
    idle_records: u32,
    /// Something came that may not.
    is_corrupt: bool,
    /// The peer has ended, or either side has; what is sent from then on need not arrive.
    is_over: bool,
    has_shut: bool,
}

/// Plays the script that `data` is, then ends everything.
///
/// # Panics
/// Bytes are lost, changed or made up, something leaks, or a peer is ended for what it may do.
pub(crate) fn play(data: &[u8]) {
    let mut script = data.iter().copied();
    let kind = script.next().unwrap_or(0);
    let split = [1, 7, 100, 4096][usize::from(kind >> 4 & 3)];
    let rig = COMMON.with(|common| {
        let common = common.get_or_init(Common::new);
        let client = Arc::clone(&common.clients[usize::from(kind & 1)]);
        Rig::on(Rc::clone(&common.files), Arc::clone(&common.context), client, split)
    });
    let mut play = Play {
        rig,
        is_tls13: kind & 1 != 0,
        is_forged: kind & 2 != 0,
        wire: Vec::new(),
        forged: 0,
        sent: Vec::new(),
        answered: Vec::new(),
        heard: Vec::new(),
        idle_records: 0,
        is_corrupt: false,
        is_over: false,
        has_shut: false,
    };
    if kind & 12 == 12 {
        play.shake_badly(data.get(1..).unwrap_or_default());
    } else {
        play.rig.shake();
        while let Some(step) = script.next() {
            play.step(step, script.next().unwrap_or(0));
        }
        play.check();
    }
    play.end();
}

impl Play {
    /// Bytes instead of a handshake, or in its middle.
    fn shake_badly(&mut self, bytes: &[u8]) {
        let hello = self.rig.client_says();
        let kept = hello.len() * usize::from(bytes.first().copied().unwrap_or(0)) / 255;
        self.rig.arrive(&hello[..kept]);
        self.rig.arrive(bytes);
        assert!(self.rig.info.is_none(), "a handshake with nobody");
    }

    fn step(&mut self, step: u8, amount: u8) {
        match step % 16 {
            0..=2 => {
                self.say_data(usize::from(amount) * [1, 10, 300][usize::from(step % 16)]);
                if step >= 128 {
                    self.carry();
                }
            }
            3 => self.ask_for_keys(amount & 1),
            4 => self.idle(),
            5 => self.corrupt(amount),
            6 | 7 => self.answer(usize::from(amount), step % 16 == 7, false),
            8 => {
                self.rig.stage.driver.takes = Some(usize::from(amount) + 1);
                self.finish_send();
            }
            9 => self.rig.stage.driver.takes = None,
            10 => {
                self.rig.stage.driver.takes = Some(usize::MAX);
                self.finish_send();
            }
            11 => {
                self.rig.stage.stop_receiving(SOCKET, self.rig.key);
                self.rig.settle();
            }
            12 if amount > 128 => self.leave(amount),
            13 if amount > 128 && !self.has_shut && !self.rig.is_sending => {
                if amount % 2 == 1 {
                    self.answer(usize::from(amount), amount > 192, true);
                }
                self.has_shut = true;
            }
            _ => {
                self.rig.stage.driver.now += u64::from(amount) * 100;
                self.rig.settle();
            }
        }
        self.shut_if_sent();
        self.heard.append(&mut self.rig.client_hears());
    }

    /// As connections do: once the last send has ended.
    fn shut_if_sent(&mut self) {
        if self.has_shut && !self.rig.is_sending {
            self.rig.stage.shutdown_write(SOCKET);
            self.rig.settle();
        }
    }

    /// Adds a record to what is on its way.
    fn forge(&mut self, code: u8, plain: &[u8], padding: usize) {
        let record = self.rig.forge_behind(self.forged, code, plain, padding);
        self.forged += 1;
        self.wire.extend_from_slice(&record);
    }

    /// Hands over what is on its way.
    fn carry(&mut self) {
        self.forged = 0;
        let mut bytes = std::mem::take(&mut self.wire);
        if !self.is_forged {
            bytes = self.rig.client_says();
        }
        self.rig.arrive(&bytes);
    }

    fn can_forge(&self) -> bool {
        self.is_forged && self.rig.has_keys()
    }

    /// Data in records of any size, several of which may come at once.
    fn say_data(&mut self, len: usize) {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + self.sent.len()) as u8).collect();
        if self.can_forge() {
            for part in bytes.chunks(16 * 1024) {
                self.expect(part);
                let padding = if self.is_tls13 { part.len() % 97 } else { 0 };
                let padding = padding.min(16 * 1024 - part.len());
                self.forge(DATA, part, padding);
            }
        } else if !self.is_forged {
            // The client keeps so much and no more, once the server has gone.
            let taken = self.rig.client.writer().write(&bytes).expect("room or not");
            self.expect(&bytes[..taken]);
        }
    }

    fn expect(&mut self, bytes: &[u8]) {
        if !self.is_over && !self.is_corrupt {
            self.sent.extend_from_slice(bytes);
        }
    }

    /// New keys, or a new handshake in TLS 1.2.
    fn ask_for_keys(&mut self, wants_ours: u8) {
        self.idle_records += 1;
        match (self.is_forged, self.is_tls13) {
            (true, _) if !self.can_forge() => {}
            (true, true) => self.forge(HANDSHAKE, &[24, 0, 0, 1, wants_ours], 0),
            (true, false) => self.forge(HANDSHAKE, &[1, 0, 0, 2, 3, 3], 0),
            // It refuses to, once it has said goodbye.
            (false, true) => drop(self.rig.client.refresh_traffic_keys()),
            (false, false) => {}
        }
        // What comes next has other keys.
        self.carry();
    }

    fn idle(&mut self) {
        if self.can_forge() {
            self.idle_records += 1;
            self.forge(DATA, b"", 0);
        }
    }

    /// A record that no peer would send.
    fn corrupt(&mut self, how: u8) {
        if !self.can_forge() {
            return;
        }
        self.is_corrupt = true;
        let before = self.wire.len();
        match how % 4 {
            0 => self.forge(HANDSHAKE, &[how, 0, 0, 9, 9, 9], 0),
            1 => self.forge(ALERT, &[how], 0),
            _ => {
                self.forge(DATA, &[how; 40], 0);
                // In TLS 1.2 nobody looks at the version that a record says it is of.
                let at = match usize::from(how) % (self.wire.len() - before) {
                    1 | 2 => 3,
                    at => at,
                };
                self.wire[before + at] ^= 1 << (how % 8);
            }
        }
    }

    fn answer(&mut self, len: usize, is_large: bool, is_last: bool) {
        if self.rig.is_sending || self.has_shut || !self.rig.has_keys() {
            return;
        }
        let at = self.answered.len();
        let bytes: Vec<u8> = (at..at + len).map(|at| at as u8).collect();
        let (block, payload) = bytes.split_at(bytes.len().min(if is_large { len / 3 } else { len }));
        let payload = if is_large { payload.repeat(200) } else { payload.to_vec() };
        self.answered.extend_from_slice(block);
        self.answered.extend_from_slice(&payload);
        let payload = (!payload.is_empty()).then_some(peregrine_pool::Payload::Owned(payload));
        if !block.is_empty() || payload.is_some() {
            if is_last {
                self.rig.send_last(block, payload);
            } else {
                self.rig.send(block, payload);
            }
            self.rig.settle();
        }
    }

    /// What the kernel had not taken is taken, as much as it takes at once.
    fn finish_send(&mut self) {
        if let Some((key, buffer)) = self.rig.stage.driver.open.take() {
            self.rig.stage.driver.send(SOCKET, key, buffer);
            self.rig.settle();
        }
    }

    fn leave(&mut self, amount: u8) {
        self.carry();
        if self.is_over || !self.rig.stage.driver.is_receiving {
            return;
        }
        self.is_over = true;
        if amount.is_multiple_of(3) {
            let key = self.rig.key;
            self.rig.stage.driver.end(key, Received::Eof);
            self.rig.settle();
        } else {
            if self.can_forge() {
                self.forge(ALERT, &[1, 0], 0);
            } else if !self.is_forged {
                self.rig.client.send_close_notify();
            }
            self.carry();
        }
    }

    /// What must have come to pass.
    fn check(&mut self) {
        self.carry();
        self.rig.stage.driver.takes = Some(usize::MAX);
        self.finish_send();
        self.shut_if_sent();
        self.heard.append(&mut self.rig.client_hears());
        assert!(self.sent.starts_with(&self.rig.plain), "other bytes than were sent");
        assert!(self.answered.starts_with(&self.heard), "other bytes than were answered");
        if self.is_corrupt || self.idle_records > IDLE_RECORDS {
            return;
        }
        assert_ne!(self.rig.breach, Some(Breach::Record), "an honest peer is ended");
        assert_eq!(self.rig.plain, self.sent, "bytes are lost");
        let is_sound = self.rig.sends.iter().all(Result::is_ok);
        if is_sound && !self.rig.is_client_broken {
            assert_eq!(self.heard, self.answered, "bytes of the answer are lost");
        }
    }

    /// As a connection ends: nothing is left behind.
    fn end(&mut self) {
        self.rig.stage.abort(SOCKET);
        self.rig.settle();
        let ended = self.rig.sends.last();
        assert!(!self.rig.is_sending, "a send has not ended: {ended:?}");
        if self.rig.stage.driver.is_receiving {
            self.rig.stage.driver.end(self.rig.key, Received::Failed(Errno(libc::ECONNRESET)));
            self.rig.settle();
        }
        self.rig.stage.close(SOCKET);
        assert!(self.rig.stage.driver.is_closed, "the socket stays");
        assert!(!matches!(self.rig.stage.next(), Some(Event::Received { .. } | Event::Sent { .. })));
        let stage = &self.rig.stage;
        assert_eq!(stage.tally().active.get(), 0, "a handshake goes on with nobody");
        for blocks in [&stage.driver.blocks, &stage.small, &stage.large, &stage.whole] {
            assert_eq!(blocks.stats().leased, 0, "a block is kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sim::with_seeds;

    #[test]
    fn any_script_is_played_to_its_end() {
        with_seeds(2000, |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let len = random.usize(0..120);
            let script: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            play(&script);
        });
    }
}
