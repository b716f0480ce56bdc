//! What tests and fuzz targets play with: the stage on a driver that does as it is told, and rustls' client at the other
//! end.
//!
//! Owns the peer, the wire and what has passed along it. It must not know what is to be expected.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use peregrine_pool::{BlockConfig, Blocks, Key, Payload, Slab};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::{Stage, State};
use crate::driver::secure::{Breach, TlsInfo};
use crate::driver::{Driver, Errno, Event, Fd, Interest, Now, Received, SendBuffer};
use crate::tls::context::Context;
use crate::tls::fixtures::{self, Folder, Pair};
use crate::tls::offload::{Offload, Returns};
use crate::tls::{Certificate, TlsOptions};

pub(super) const SMALL: BlockConfig =
    BlockConfig { block_bytes: 4096, stride_bytes: 4096, max_blocks: 64, chunk_blocks: 8 };
pub(super) const SOCKET: Fd = Fd(7);

/// A driver without a kernel: what arrives and how much is sent is up to the test.
pub(super) struct Fake {
    pub(super) now: u64,
    pub(super) events: VecDeque<Event>,
    pub(super) blocks: Blocks,
    /// What has been sent.
    pub(super) sent: Vec<u8>,
    /// The most bytes that a send takes; none: it stays open.
    pub(super) takes: Option<usize>,
    pub(super) open: Option<(Key, SendBuffer)>,
    pub(super) is_receiving: bool,
    pub(super) is_shut: bool,
    pub(super) is_aborted: bool,
    pub(super) is_closed: bool,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            now: 1000,
            events: VecDeque::new(),
            blocks: Blocks::new(SMALL),
            sent: Vec::new(),
            takes: Some(usize::MAX),
            open: None,
            is_receiving: false,
            is_shut: false,
            is_aborted: false,
            is_closed: false,
        }
    }

    pub(super) fn arrive(&mut self, key: Key, bytes: &[u8], more: bool) {
        assert!(self.is_receiving, "nothing can be received");
        let mut lease = self.blocks.lease().expect("a block");
        lease[..bytes.len()].copy_from_slice(bytes);
        self.is_receiving = more;
        let outcome = Received::Data { lease, len: bytes.len() as u32 };
        self.events.push_back(Event::Received { key, outcome, more });
    }

    pub(super) fn end(&mut self, key: Key, outcome: Received) {
        assert!(self.is_receiving, "nothing can be received");
        self.is_receiving = false;
        self.events.push_back(Event::Received { key, outcome, more: false });
    }
}

impl Driver for Fake {
    fn accept(&mut self, _: Fd, _: u32) {}
    fn stop_accepting(&mut self, _: Fd, _: u32) {}
    fn receive(&mut self, _: Fd, _: Key) {
        assert!(!self.is_receiving && !self.is_aborted);
        self.is_receiving = true;
    }
    fn stop_receiving(&mut self, _: Fd, key: Key) {
        if self.is_receiving {
            self.end(key, Received::Stopped);
        }
    }
    fn send(&mut self, _: Fd, key: Key, buffer: SendBuffer) {
        assert!(self.open.is_none() && !self.is_shut && !self.is_aborted && !self.is_closed);
        let Some(most) = self.takes else {
            self.open = Some((key, buffer));
            return;
        };
        let all = [buffer.block(), buffer.payload().unwrap_or_default()].concat();
        let taken = all.len().min(most);
        self.sent.extend_from_slice(&all[..taken]);
        self.events.push_back(Event::Sent { key, buffer, result: Ok(taken as u32) });
    }
    fn watch(&mut self, _: Fd, _: Key, _: Interest) {}
    fn unwatch(&mut self, _: Fd, _: Key, _: Interest) {}
    fn shutdown_write(&mut self, _: Fd) {
        assert!(self.open.is_none(), "a send would be cut off");
        self.is_shut = true;
    }
    fn abort(&mut self, _: Fd) {
        self.is_aborted = true;
        if let Some((key, buffer)) = self.open.take() {
            self.events.push_back(Event::Sent { key, buffer, result: Err(Errno(libc::ECANCELED)) });
        }
    }
    fn close(&mut self, _: Fd) {
        assert!(self.open.is_none() && !self.is_closed, "something is open");
        self.is_closed = true;
    }
    fn abandon(&mut self, _: Fd) {}
    fn turn(&mut self, _: Option<u64>) -> io::Result<()> {
        Ok(())
    }
    fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
    fn now(&self) -> Now {
        Now { millis: self.now, unix_seconds: 0 }
    }
    fn has_receive_blocks(&self) -> bool {
        true
    }
    fn trim(&mut self) {}
    fn in_flight(&self) -> usize {
        0
    }
}

/// A certificate for localhost in files of its own.
pub(super) struct Files {
    pair: Pair,
    certificate: Certificate,
    _folder: Folder,
}

impl Files {
    pub(super) fn new() -> Self {
        let (folder, pair) = (Folder::new(), fixtures::pair("localhost"));
        Self { certificate: folder.pair("server", &pair), pair, _folder: folder }
    }

    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions { certificate: Some(self.certificate.clone()), ..TlsOptions::default() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pair.chain.as_bytes()).unwrap()).unwrap();
        roots
    }
}

pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

pub(super) fn client_config(files: &Files, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    client_of(files, provider(), versions)
}

pub(super) fn client_of(
    files: &Files,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(files.roots()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A server's side and a client, and everything that has passed between them.
pub(super) struct Rig {
    pub(super) stage: Stage<Fake>,
    pub(super) key: Key,
    pub(super) client: ClientConnection,
    /// So many bytes arrive at once.
    pub(super) split: usize,
    /// What the connection has been told.
    pub(super) plain: Vec<u8>,
    pub(super) info: Option<TlsInfo>,
    pub(super) breach: Option<Breach>,
    pub(super) is_eof: bool,
    pub(super) failed: Option<Errno>,
    /// Sends that have ended, as bytes or as failures.
    pub(super) sends: Vec<Result<u32, Errno>>,
    pub(super) is_receiving: bool,
    pub(super) is_client_broken: bool,
    /// A send of the connection's is open.
    pub(super) is_sending: bool,
    _files: Rc<Files>,
}

impl Rig {
    pub(super) fn new(split: usize) -> Self {
        let files = Files::new();
        let config = client_config(&files, &[&TLS13, &TLS12]);
        Self::with(files, TlsOptions::default(), config, split)
    }

    pub(super) fn with(files: Files, options: TlsOptions, client: ClientConfig, split: usize) -> Self {
        let certificate = options.certificate.clone().or(files.options().certificate);
        let context = Context::new(&TlsOptions { certificate, ..options }, &[b"http/1.1"]).unwrap();
        Self::on(Rc::new(files), context, Arc::new(client), split)
    }

    pub(super) fn on(
        files: Rc<Files>,
        context: Arc<Context>,
        client: Arc<ClientConfig>,
        split: usize,
    ) -> Self {
        let mut keys: Slab<()> = Slab::new(4);
        let key = keys.insert(()).unwrap();
        let mut stage =
            Stage::new(Fake::new(), vec![None, Some(context)], Blocks::new(SMALL), Arc::default(), None);
        stage.opened(SOCKET, key, 1);
        stage.receive(SOCKET, key);
        let client = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
        Self {
            stage,
            key,
            client,
            split,
            plain: Vec::new(),
            info: None,
            breach: None,
            is_eof: false,
            failed: None,
            sends: Vec::new(),
            is_receiving: true,
            is_client_broken: false,
            is_sending: false,
            _files: files,
        }
    }

    /// Has other threads shake hands from now on.
    pub(super) fn offload(&mut self, offload: Arc<Offload>, returns: Arc<Returns>) {
        self.stage.offload = Some((offload, returns));
        self.stage.sessions[self.key.index() as usize].as_mut().unwrap().offloads = true;
    }

    /// Has the stage work until nothing happens any more.
    pub(super) fn settle(&mut self) {
        loop {
            self.stage.turn(Some(0)).unwrap();
            let mut has_any = false;
            while let Some(event) = self.stage.next() {
                has_any = true;
                self.handle(event);
            }
            if !has_any && self.stage.backlog.is_empty() {
                return;
            }
        }
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Received { key, outcome, more } => {
                assert_eq!(key, self.key);
                assert!(self.is_receiving, "nothing was to be received");
                self.is_receiving = more;
                match outcome {
                    Received::Data { lease, len } => {
                        assert!(len > 0, "data without bytes");
                        self.plain.extend_from_slice(&lease[..len as usize]);
                    }
                    Received::Eof => self.is_eof = true,
                    Received::Broken(breach) => {
                        self.breach = Some(breach);
                        self.is_eof |= breach == Breach::Truncated;
                    }
                    Received::Failed(error) => self.failed = Some(error),
                    Received::Stopped => {}
                    Received::Starved => panic!("no block"),
                }
                if !self.is_receiving
                    && !self.is_eof
                    && self.failed.is_none()
                    && !self.stage.driver.is_aborted
                {
                    self.is_receiving = true;
                    self.stage.receive(SOCKET, self.key);
                }
            }
            Event::Secured { info, .. } => self.info = Some((*info).clone()),
            Event::Sent { buffer, result, .. } => {
                self.sends.push(result);
                self.is_sending = false;
                let mut buffer = buffer;
                if let Ok(sent) = result {
                    buffer.advance(sent);
                    if buffer.remaining() > 0 {
                        self.is_sending = true;
                        self.stage.send(SOCKET, self.key, buffer);
                    }
                }
            }
            Event::Woken => {}
            other => panic!("{other:?}"),
        }
    }

    /// Hands bytes to the server as they are.
    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.split.min(SMALL.block_bytes)) {
            if !self.stage.driver.is_receiving {
                return;
            }
            self.stage.driver.arrive(self.key, piece, true);
            self.settle();
        }
    }

    pub(super) fn client_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub(super) fn client_hears(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.stage.driver.sent);
        let mut unread = &*sent;
        let mut heard = Vec::new();
        while !unread.is_empty() {
            self.client.read_tls(&mut unread).unwrap();
            self.is_client_broken |= self.client.process_new_packets().is_err();
            if self.is_client_broken {
                break;
            }
            let _ = self.client.reader().read_to_end(&mut heard);
        }
        heard
    }

    /// Carries everything in both directions, until there is nothing. Returns what the client has heard.
    pub(super) fn exchange(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        self.settle();
        loop {
            let bytes = self.client_says();
            let is_quiet = bytes.is_empty() && self.stage.driver.sent.is_empty();
            self.arrive(&bytes);
            heard.append(&mut self.client_hears());
            if is_quiet {
                return heard;
            }
        }
    }

    /// The client's hello, and the server's flight: the client's last one is still to come.
    pub(super) fn exchange_hello(&mut self) {
        let hello = self.client_says();
        self.arrive(&hello);
        self.client_hears();
        assert!(!self.client.is_handshaking() && self.info.is_none());
    }

    pub(super) fn shake(&mut self) {
        self.exchange();
        assert!(!self.client.is_handshaking() && self.info.is_some(), "no handshake: {:?}", self.breach);
    }

    /// The next record of the client's, as no client would make it. The client itself can only read from then on.
    pub(super) fn forge(&mut self, code: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        self.forge_behind(0, code, plain, padding)
    }

    /// Forges the next record, and hands it to the server.
    pub(super) fn arrive_forged(&mut self, code: u8, plain: &[u8], padding: usize) {
        let record = self.forge(code, plain, padding);
        self.arrive(&record);
    }

    /// The record after so many that have not arrived.
    pub(super) fn forge_behind(&mut self, others: u64, code: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        let session = self.stage.sessions[self.key.index() as usize].as_mut().unwrap();
        let State::Open(secrets) = &mut session.state else { panic!("no keys") };
        secrets.records.forge(others, code, plain, padding)
    }

    pub(super) fn has_keys(&self) -> bool {
        let session = self.stage.sessions[self.key.index() as usize].as_ref();
        session.is_some_and(|session| matches!(session.state, State::Open(_)) && !session.is_peer_closed)
    }

    pub(super) fn send(&mut self, block: &[u8], payload: Option<Payload>) {
        let buffer = self.buffer(block, payload);
        self.send_buffer(buffer);
    }

    /// The same with nothing behind it.
    pub(super) fn send_last(&mut self, block: &[u8], payload: Option<Payload>) {
        let buffer = self.buffer(block, payload).last();
        self.send_buffer(buffer);
    }

    fn buffer(&mut self, block: &[u8], payload: Option<Payload>) -> SendBuffer {
        let mut lease = self.stage.small.lease().unwrap();
        lease[..block.len()].copy_from_slice(block);
        SendBuffer::new(lease, block.len() as u32, payload)
    }

    fn send_buffer(&mut self, buffer: SendBuffer) {
        self.is_sending = true;
        self.stage.send(SOCKET, self.key, buffer);
    }

    /// A request and an answer.
    pub(super) fn prove(&mut self) {
        let request: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
        let before = self.plain.len();
        self.client.writer().write_all(&request).unwrap();
        self.exchange();
        assert_eq!(self.plain[before..], request);
        self.send(b"an answer", None);
        assert_eq!(self.exchange(), b"an answer");
    }
}
