//! One connection's handshake, by rustls: bytes in, bytes out, and in the end keys for the record layer.
//!
//! The only file that names rustls' connections, whose interface changes with its next version. It must not know
//! sockets, nor when anything is sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::kernel::KernelConnection;
use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use super::context::Snapshot;
use super::hello::{self, Asked};
use super::record::{Alert, Records, record_bytes};
use crate::driver::secure::TlsInfo;

/// Flights of clients are a few thousand bytes at most, with certificates some tens of thousands.
const INCOMING_MAX: usize = 128 * 1024;

/// So many characters of a name that nobody has are shown.
const NAME_SHOWN: usize = 64;

/// A handshake that is not over. `Send`, so that any thread may go on with it.
pub(super) struct Handshake {
    snapshot: Arc<Snapshot>,
    /// None until it is known which name is asked for, if that makes a difference.
    connection: Option<UnbufferedServerConnection>,
    /// What has come and is not understood.
    pub(super) incoming: Vec<u8>,
    /// What is to be sent.
    pub(super) outgoing: Vec<u8>,
    /// How many bytes of that rustls has been given: whole records.
    given: usize,
    /// What finds the name in a hello of several records, and how many bytes it has read.
    acceptor: Option<Box<Acceptor>>,
    asked: usize,
    /// What the client asks for.
    server_name: Option<String>,
}

/// Where a handshake is.
pub(super) enum Step {
    /// It needs more bytes.
    More,
    /// It is over, once what is outgoing is sent.
    Done(Box<Agreed>),
    /// It has failed; the alert is outgoing. For a log.
    Failed(String),
}

/// What a handshake has come to.
pub(super) struct Agreed {
    pub(super) secrets: Secrets,
    pub(super) info: TlsInfo,
    /// Bytes of records that are not decrypted.
    pub(super) rest: Vec<u8>,
}

/// The keys in use, and what makes the next ones.
pub(super) struct Secrets {
    pub(super) records: Records,
    next: KernelConnection<ServerConnectionData>,
}

impl Secrets {
    /// Takes a new key for what is received (RFC 8446 section 4.6.3).
    pub(super) fn renew_incoming(&mut self) -> Result<(), Alert> {
        let secrets = self.next.update_rx_secret().map_err(|_| Alert::UnexpectedMessage)?;
        self.records.renew_incoming(secrets).ok_or(Alert::InternalError)
    }

    /// Takes a new key for what is sent.
    pub(super) fn renew_outgoing(&mut self) -> Result<(), Alert> {
        let secrets = self.next.update_tx_secret().map_err(|_| Alert::InternalError)?;
        self.records.renew_outgoing(secrets).ok_or(Alert::InternalError)
    }
}

impl Handshake {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            connection: None,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            given: 0,
            acceptor: None,
            asked: 0,
            server_name: None,
        }
    }

    /// Whether nothing has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.connection.is_none() && self.incoming.is_empty()
    }

    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Goes on with what is there. Nothing that a peer sends may end a worker: a panic is the handshake's alone.
    pub(super) fn advance_safely(&mut self) -> Step {
        let step = catch_unwind(AssertUnwindSafe(|| self.advance()));
        step.unwrap_or_else(|_| Step::Failed(String::from("it has panicked")))
    }

    /// Goes on with what is there.
    fn advance(&mut self) -> Step {
        if self.connection.is_none() {
            match self.choose() {
                Ok(Some(config)) => match UnbufferedServerConnection::new(config) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(error) => return self.fail(Alert::InternalError, error.to_string()),
                },
                Ok(None) if self.incoming.len() > INCOMING_MAX => {
                    return self.fail(Alert::DecodeError, String::from("a hello without end"));
                }
                Ok(None) => return Step::More,
                Err(step) => return step,
            }
        }
        loop {
            let Some(connection) = &mut self.connection else { return Step::More };
            let given = &mut self.incoming[..self.given];
            let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(given);
            let (mut is_over, mut is_blocked) = (false, false);
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(_)) => is_over = true,
                Ok(ConnectionState::BlockedHandshake) => is_blocked = true,
                // No data comes before the end, and early data is never offered.
                Ok(_) => return self.fail(Alert::UnexpectedMessage, String::from("out of order")),
                Err(error) => {
                    let told = error.to_string();
                    self.incoming.drain(..discard);
                    self.drain_alert();
                    return Step::Failed(told);
                }
            }
            self.incoming.drain(..discard);
            self.given -= discard;
            if is_over {
                return self.finish();
            }
            if is_blocked && !self.give_more() {
                // What is left is a torn record, and pieces of a message that rustls keeps until it is whole.
                if self.incoming.len() > INCOMING_MAX {
                    return self.fail(Alert::DecodeError, String::from("a message without end"));
                }
                return Step::More;
            }
        }
    }

    /// Gives rustls one more record. It gets no record behind the handshake's last one: what it makes of such would be
    /// lost with it, new keys above all.
    fn give_more(&mut self) -> bool {
        let rest = &self.incoming[self.given..];
        let record = match record_bytes(rest) {
            Ok(Some(bytes)) if bytes <= rest.len() => bytes,
            Ok(_) => 0,
            // It says what is wrong.
            Err(_) => rest.len(),
        };
        self.given += record;
        record > 0
    }

    /// What serves the name that the client asks for; `None` as long as it has not said.
    fn choose(&mut self) -> Result<Option<Arc<ServerConfig>>, Step> {
        match hello::asked(&self.incoming) {
            Asked::Unknown => return Ok(None),
            Asked::For(name) => self.server_name = name.map(str::to_owned),
            Asked::Unclear => match self.ask_rustls() {
                Asking::More => return Ok(None),
                Asking::For(name) => self.server_name = name,
                Asking::Failed(told, alert) => {
                    self.outgoing.extend_from_slice(&alert);
                    return Err(Step::Failed(told));
                }
            },
        }
        let name = self.server_name.as_deref();
        let config = self.snapshot.is_single().map(Arc::clone).or_else(|| self.snapshot.config(name));
        match (config, name) {
            (Some(config), _) => Ok(Some(config)),
            (None, Some(name)) => {
                let shown: String = name.chars().take(NAME_SHOWN).collect();
                let told = format!("no certificate for {shown:?}");
                Err(self.fail(Alert::UnrecognizedName, told))
            }
            (None, None) => {
                let told = String::from("it asks for no name, and there is no default certificate");
                Err(self.fail(Alert::UnrecognizedName, told))
            }
        }
    }

    /// Has rustls read a hello that is in several records, or broken: each byte once.
    fn ask_rustls(&mut self) -> Asking {
        let acceptor = self.acceptor.get_or_insert_default();
        while self.asked < self.incoming.len() {
            let mut unread = &self.incoming[self.asked..];
            match acceptor.read_tls(&mut unread) {
                Ok(read) => self.asked += read,
                Err(error) => {
                    return Asking::Failed(error.to_string(), plain_alert(Alert::DecodeError).to_vec());
                }
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    self.acceptor = None;
                    return Asking::For(name);
                }
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    // A `Vec` takes all that is written.
                    let _ = alert.write_all(&mut bytes);
                    return Asking::Failed(error.to_string(), bytes);
                }
            }
        }
        Asking::More
    }

    /// Ends with an alert that is not encrypted: no key is agreed upon.
    fn fail(&mut self, alert: Alert, told: String) -> Step {
        self.outgoing.extend_from_slice(&plain_alert(alert));
        Step::Failed(told)
    }

    /// Brings the alert out that rustls has queued with its error.
    ///
    /// It must not look at any bytes after that: it remembers places in those that have come, and to fail for a second
    /// time is a panic. What is queued it gives out before it looks.
    fn drain_alert(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while connection.wants_write() {
            match connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                _ => return,
            }
        }
    }

    fn finish(&mut self) -> Step {
        let Some(connection) = self.connection.take() else {
            return self.fail(Alert::InternalError, String::from("no connection"));
        };
        let is_tls13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let version = if is_tls13 { "TLS 1.3" } else { "TLS 1.2" };
        let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let mut info = TlsInfo::new(version, suite.unwrap_or("?"));
        info.key_exchange =
            connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        info.server_name = self.server_name.take();
        info.alpn = connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        info.is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let certificates = connection.peer_certificates().unwrap_or_default();
        info.client_certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
        let (secrets, next) = match connection.dangerous_into_kernel_connection() {
            Ok(both) => both,
            Err(error) => return self.fail(Alert::InternalError, error.to_string()),
        };
        let Some(records) = Records::new(is_tls13, secrets.rx, secrets.tx) else {
            return self.fail(Alert::InternalError, String::from("a cipher that the engine does not have"));
        };
        Step::Done(Box::new(Agreed {
            secrets: Secrets { records, next },
            info,
            rest: std::mem::take(&mut self.incoming),
        }))
    }
}

/// See [`Handshake::ask_rustls`].
enum Asking {
    More,
    For(Option<String>),
    Failed(String, Vec<u8>),
}

/// Appends what rustls has to send.
fn encode(data: &mut rustls::unbuffered::EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    let mut room = 4096;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(len) => return outgoing.truncate(start + len),
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => return outgoing.truncate(start),
        }
    }
}

/// A fatal alert for a peer with which no keys are agreed upon.
pub(crate) fn plain_alert(alert: Alert) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert as u8]
}

const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Handshake>();
    is_send::<Agreed>();
};
