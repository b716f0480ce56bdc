//! What an operation carries: the bytes of a send, and who waits for its completion.
//!
//! Owns the layout of a send (block part, then payload) and the arithmetic of short sends, shared by all
//! drivers. It must not know any system call.

use peregrine_pool::{Lease, Payload};

/// The bytes of one send: a part of a block, then perhaps a payload that is not copied.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    lease: Lease,
    start: u32,
    end: u32,
    is_last: bool,
    /// Boxed so that the common send, a block alone, moves in few words.
    payload: Option<Box<Tail>>,
}

#[derive(Debug)]
struct Tail {
    payload: Payload,
    sent: usize,
}

impl SendBuffer {
    /// The first `len` bytes of `lease`, then `payload`.
    pub(crate) fn new(lease: Lease, len: u32, payload: Option<Payload>) -> Self {
        debug_assert!(len as usize <= lease.len());
        let payload = payload.filter(|p| !p.as_slice().is_empty());
        let payload = payload.map(|payload| Box::new(Tail { payload, sent: 0 }));
        Self { lease, start: 0, end: len, is_last: false, payload }
    }

    /// The same as the last of a connection: as soon as its end is told, `shutdown_write` or `close` follows. The end of
    /// the connection then travels with the bytes.
    pub(crate) fn last(mut self) -> Self {
        self.is_last = true;
        self
    }

    /// Whether nothing but the connection's end comes behind it.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The unsent bytes of the block.
    pub(crate) fn block(&self) -> &[u8] {
        &self.lease[self.start as usize..self.end as usize]
    }

    /// The unsent bytes of the payload, if there is one.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.payload.as_ref().map(|tail| &tail.payload.as_slice()[tail.sent..])
    }

    /// Bytes still to send.
    pub(crate) fn remaining(&self) -> usize {
        self.block().len() + self.payload().map_or(0, <[u8]>::len)
    }

    /// Takes note that the kernel took `sent` more bytes.
    pub(crate) fn advance(&mut self, sent: u32) {
        debug_assert!(sent as usize <= self.remaining(), "more was sent than there is");
        let of_block = sent.min(self.end - self.start);
        self.start += of_block;
        if let Some(tail) = &mut self.payload {
            tail.sent += (sent - of_block) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use peregrine_pool::{BlockConfig, Blocks};

    use super::*;

    #[test]
    fn short_sends_advance_through_block_and_payload() {
        let shape = BlockConfig { block_bytes: 16, stride_bytes: 16, max_blocks: 1, chunk_blocks: 1 };
        for step in 1..=9 {
            let mut lease = Blocks::new(shape).lease().expect("a block");
            lease[..5].copy_from_slice(b"block");
            let mut buffer = SendBuffer::new(lease, 5, Some(Payload::Static(b"load")));
            let mut sent = Vec::new();
            while buffer.remaining() > 0 {
                let all = [buffer.block(), buffer.payload().unwrap_or_default()].concat();
                let took = step.min(all.len());
                sent.extend_from_slice(&all[..took]);
                buffer.advance(took as u32);
            }
            assert_eq!(sent, b"blockload");
        }
    }

    #[test]
    fn an_empty_payload_is_none() {
        let shape = BlockConfig { block_bytes: 16, stride_bytes: 16, max_blocks: 1, chunk_blocks: 1 };
        let lease = Blocks::new(shape).lease().expect("a block");
        assert!(SendBuffer::new(lease, 5, Some(Payload::Owned(Vec::new()))).payload().is_none());
    }
}
