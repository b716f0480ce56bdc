//! The least that a driver's owner does right: accepts, echoes, closes in order. Tests any driver.

use std::collections::BTreeMap;

use peregrine_pool::{BlockConfig, Blocks, Key, Payload};

use crate::driver::{Driver, Errno, Event, Fd, Received, SendBuffer};

/// Echoes on every connection of one listener until the peer has ended and got everything back.
pub(crate) struct Echo<D> {
    pub(crate) driver: D,
    pub(crate) listener: Fd,
    blocks: Blocks,
    connections: BTreeMap<u32, Connection>,
    /// All keys differ, also when numbers of descriptors come again.
    accepted: u32,
    pub(crate) closed: u32,
    pub(crate) failed: u32,
    is_stopping: bool,
    starved: Vec<u32>,
}

struct Connection {
    socket: Fd,
    waiting: Vec<u8>,
    is_receiving: bool,
    is_sending: bool,
    has_ended: bool,
    is_aborted: bool,
}

impl<D: Driver> Echo<D> {
    pub(crate) fn new(mut driver: D, listener: Fd) -> Self {
        driver.accept(listener, 0);
        let shape = BlockConfig { block_bytes: 16, stride_bytes: 16, max_blocks: 1024, chunk_blocks: 1024 };
        Self {
            driver,
            listener,
            blocks: Blocks::new(shape),
            connections: BTreeMap::new(),
            accepted: 0,
            closed: 0,
            failed: 0,
            is_stopping: false,
            starved: Vec::new(),
        }
    }

    /// One turn of the driver, and everything that it brings.
    pub(crate) fn turn(&mut self, until: Option<u64>) {
        if self.driver.has_receive_blocks() {
            for index in std::mem::take(&mut self.starved) {
                self.receive(index);
            }
        }
        self.driver.turn(until).expect("a working kernel");
        while let Some(event) = self.driver.next() {
            self.handle(event);
        }
    }

    /// Stops accepting; `is_stopped` once it has.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.driver.stop_accepting(self.listener, 0);
    }

    /// Resets every connection.
    pub(crate) fn abort_all(&mut self) {
        for connection in self.connections.values_mut() {
            connection.is_aborted = true;
            self.driver.abort(connection.socket);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { result, more, .. } => {
                match result {
                    Ok(socket) => self.open(socket),
                    Err(Errno(error)) => assert!(matches!(error, libc::EMFILE | libc::ECANCELED)),
                }
                if !more && !self.is_stopping {
                    self.driver.accept(self.listener, 0);
                }
            }
            Event::Received { key, outcome, more } => self.received(key.index, outcome, more),
            Event::Sent { key, mut buffer, result } => {
                let connection = self.connections.get_mut(&key.index).expect("an open connection");
                connection.is_sending = false;
                match result {
                    Ok(sent) => {
                        buffer.advance(sent);
                        if buffer.remaining() > 0 && !connection.is_aborted {
                            connection.is_sending = true;
                            return self.driver.send(connection.socket, key, buffer);
                        }
                    }
                    Err(_) => connection.abort(&mut self.driver),
                }
                self.go_on(key.index);
            }
            Event::Ready { .. } => panic!("nobody watches"),
            #[cfg(feature = "tls")]
            Event::Secured { .. } => panic!("no driver secures anything"),
            Event::Woken => {}
        }
    }

    fn open(&mut self, socket: Fd) {
        let index = self.accepted;
        self.accepted += 1;
        let connection = Connection {
            socket,
            waiting: Vec::new(),
            is_receiving: false,
            is_sending: false,
            has_ended: false,
            is_aborted: false,
        };
        self.connections.insert(index, connection);
        self.receive(index);
    }

    fn receive(&mut self, index: u32) {
        let connection = self.connections.get_mut(&index).expect("an open connection");
        if !connection.is_aborted {
            connection.is_receiving = true;
            self.driver.receive(connection.socket, key(index));
        } else {
            self.go_on(index);
        }
    }

    fn received(&mut self, index: u32, outcome: Received, more: bool) {
        let connection = self.connections.get_mut(&index).expect("an open connection");
        assert!(connection.is_receiving, "an event after the last one");
        connection.is_receiving = more;
        match outcome {
            Received::Data { lease, len } => {
                assert!(len > 0);
                connection.waiting.extend_from_slice(&lease[..len as usize]);
                drop(lease);
                if !more {
                    self.receive(index);
                }
            }
            Received::Starved => self.starved.push(index),
            Received::Eof => connection.has_ended = true,
            Received::Stopped => assert!(connection.is_aborted),
            Received::Failed(_) => connection.abort(&mut self.driver),
            #[cfg(feature = "tls")]
            Received::Broken(_) => panic!("no driver secures anything"),
        }
        self.go_on(index);
    }

    /// Sends what waits, or ends what is over.
    fn go_on(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(&index) else { return };
        if !connection.is_sending && !connection.is_aborted && !connection.waiting.is_empty() {
            let mut lease = self.blocks.lease().expect("more blocks than connections");
            let waiting = std::mem::take(&mut connection.waiting);
            let (head, tail) = waiting.split_at(waiting.len().min(lease.len()));
            lease[..head.len()].copy_from_slice(head);
            let payload = (!tail.is_empty()).then(|| Payload::Owned(tail.to_vec()));
            connection.is_sending = true;
            let buffer = SendBuffer::new(lease, head.len() as u32, payload);
            return self.driver.send(connection.socket, key(index), buffer);
        }
        let is_idle = !connection.is_sending && !connection.is_receiving && !self.starved.contains(&index);
        if is_idle && (connection.has_ended || connection.is_aborted) {
            self.closed += 1;
            self.failed += u32::from(connection.is_aborted);
            if !connection.is_aborted {
                self.driver.shutdown_write(connection.socket);
            }
            self.driver.close(connection.socket);
            self.connections.remove(&index);
        }
    }
}

impl Connection {
    fn abort<D: Driver>(&mut self, driver: &mut D) {
        self.is_aborted = true;
        driver.abort(self.socket);
    }
}

fn key(index: u32) -> Key {
    Key { index, generation: 7 }
}
