//! What a streamed response has written and the kernel has not taken yet.
//!
//! Owns the order of the bytes and their count. Small writes share a block, large ones are sent from where they
//! lie. It must not know framing, sockets or who waits for room.

use std::collections::VecDeque;

use peregrine_pool::{Blocks, Lease, Payload};

use crate::driver::SendBuffer;

/// There is no block to write into.
#[derive(Debug)]
pub(super) struct NoMemory;

/// What a block counts for that holds little, in bytes.
const BLOCK_WEIGHT: usize = 8 * 1024;

/// A head begins in a block only if so many bytes are left.
const HEAD_ROOM_BYTES: usize = 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The block being written, and how far.
    block: Option<Lease>,
    len: usize,
    queue: VecDeque<SendBuffer>,
    /// Bytes that are in here or on their way.
    bytes: usize,
    /// A piece did not fit for want of memory: what is written stops in the middle of something.
    is_broken: bool,
}

impl Outbox {
    /// Forgets everything, but for the memory of the queue.
    pub(super) fn reset(&mut self) {
        self.queue.clear();
        *self = Self { queue: std::mem::take(&mut self.queue), ..Self::default() };
    }

    /// Bytes that the kernel has not taken, those of an open send included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that waits to be sent: the bytes, or the blocks where these are hardly used.
    pub(super) fn weight(&self) -> usize {
        let blocks = self.queue.len() + usize::from(self.block.is_some());
        self.bytes.max(blocks.saturating_sub(1) * BLOCK_WEIGHT)
    }

    /// Whether a part of something is missing: nothing that is written after it may be sent.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The kernel has taken so many bytes of what [`next`](Self::next) gave out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Closes the block being written, with `payload` behind it.
    fn close(&mut self, payload: Option<Payload>) {
        if self.len == 0 && payload.is_none() {
            return;
        }
        let len = std::mem::take(&mut self.len);
        if let Some(lease) = self.block.take() {
            let len = u32::try_from(len).expect("a block is shorter than 4 GiB");
            self.queue.push_back(SendBuffer::new(lease, len, payload));
        }
    }

    fn block(&mut self, blocks: &Blocks) -> Result<&mut Lease, NoMemory> {
        if self.block.is_none() {
            self.block = blocks.lease();
        }
        self.is_broken |= self.block.is_none();
        self.block.as_mut().ok_or(NoMemory)
    }

    /// Adds bytes by copying them.
    pub(super) fn push(&mut self, blocks: &Blocks, mut bytes: &[u8]) -> Result<(), NoMemory> {
        while !bytes.is_empty() {
            let len = self.len;
            let room = &mut self.block(blocks)?[len..];
            let fits = bytes.len().min(room.len());
            room[..fits].copy_from_slice(&bytes[..fits]);
            self.len += fits;
            self.bytes += fits;
            bytes = &bytes[fits..];
            if !bytes.is_empty() {
                self.close(None);
            }
        }
        Ok(())
    }

    /// Adds bytes that are sent from where they lie.
    pub(super) fn push_payload(&mut self, blocks: &Blocks, payload: Payload) -> Result<(), NoMemory> {
        self.block(blocks)?;
        self.bytes += payload.as_slice().len();
        self.close(Some(payload));
        Ok(())
    }

    /// Room for a head, to be written in place; [`commit`](Self::commit) says how much of it was.
    pub(super) fn head_room(&mut self, blocks: &Blocks) -> Result<&mut [u8], NoMemory> {
        if self.block.as_ref().is_some_and(|block| block.len() - self.len < HEAD_ROOM_BYTES) {
            self.close(None);
        }
        let len = self.len;
        Ok(&mut self.block(blocks)?[len..])
    }

    pub(super) fn commit(&mut self, bytes: usize) {
        self.len += bytes;
        self.bytes += bytes;
    }

    /// The bytes of the next send, if there are any.
    pub(super) fn next(&mut self) -> Option<SendBuffer> {
        if self.queue.is_empty() && self.len > 0 {
            self.close(None);
        }
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use peregrine_pool::BlockConfig;

    use super::*;

    fn drain(outbox: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(buffer) = outbox.next() {
            all.extend_from_slice(buffer.block());
            all.extend_from_slice(buffer.payload().unwrap_or_default());
            outbox.sent(buffer.remaining());
        }
        all
    }

    #[test]
    fn what_is_written_comes_out_in_order_and_is_counted() {
        let shape = BlockConfig { block_bytes: 16, stride_bytes: 16, max_blocks: 8, chunk_blocks: 8 };
        let blocks = Blocks::new(shape);
        let mut outbox = Outbox::default();
        outbox.push(&blocks, b"0123456789").unwrap();
        outbox.push_payload(&blocks, Payload::Static(b"payload")).unwrap();
        outbox.push_payload(&blocks, Payload::Static(b"another")).unwrap();
        outbox.push(&blocks, &[b'x'; 40]).unwrap();
        assert_eq!(outbox.bytes(), 64);
        let all = drain(&mut outbox);
        assert_eq!(all, [&b"0123456789payloadanother"[..], &[b'x'; 40]].concat());
        assert_eq!((outbox.bytes(), blocks.stats().leased), (0, 0));
    }

    #[test]
    fn no_block_is_an_error_and_takes_nothing_away() {
        let shape = BlockConfig { block_bytes: 4, stride_bytes: 4, max_blocks: 1, chunk_blocks: 1 };
        let blocks = Blocks::new(shape);
        let mut outbox = Outbox::default();
        outbox.push(&blocks, b"1234").unwrap();
        assert!(outbox.push(&blocks, b"5").is_err() && outbox.is_broken());
        assert!(outbox.next().is_some_and(|buffer| buffer.block() == b"1234"));
    }
}
