//! What a socket has received and what it is to send.
//!
//! Owns the blocks of both until they are read, or handed to the driver. It must not know the driver's calls, nor
//! who waits.

use std::collections::VecDeque;
use std::io::IoSlice;

use peregrine_pool::{Blocks, Lease};

use crate::driver::SendBuffer;

/// So many bytes may wait to be read before no more are received, and to be sent before writes wait.
pub(super) const QUEUED_MAX: usize = 64 * 1024;

/// So many receive blocks a socket may keep from the connections; what comes beyond that is copied.
const LEASES_MAX: u32 = 16;

/// What is so short moves into the rest of the block before it.
const JOINED_MAX: usize = 1024;

enum Bytes {
    Leased(Lease),
    Copied(Vec<u8>),
}

struct Piece {
    bytes: Bytes,
    start: usize,
    end: usize,
}

impl Piece {
    fn unread(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Leased(lease) => &lease[self.start..self.end],
            Bytes::Copied(bytes) => &bytes[self.start..self.end],
        }
    }

    /// Adds `more` where that costs no further memory that others could use.
    fn join(&mut self, more: &[u8], may_hold: bool) -> bool {
        match &mut self.bytes {
            Bytes::Leased(lease) => {
                let has_room = more.len() <= JOINED_MAX && lease.len() - self.end >= more.len();
                if has_room {
                    lease[self.end..self.end + more.len()].copy_from_slice(more);
                    self.end += more.len();
                }
                has_room
            }
            Bytes::Copied(_) if may_hold => false,
            Bytes::Copied(bytes) => {
                let has_room = self.end + more.len() <= QUEUED_MAX;
                if has_room {
                    bytes.extend_from_slice(more);
                    self.end += more.len();
                }
                has_room
            }
        }
    }
}

/// What has been received and not been read.
#[derive(Default)]
pub(super) struct Inbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Receive blocks among the pieces.
    leases: u32,
}

impl Inbox {
    /// Takes the first `len` bytes of `lease`: the block itself, or a copy if no more of them may be held.
    pub(super) fn push(&mut self, lease: Lease, len: usize, may_hold: bool) {
        let may_hold = may_hold && self.leases < LEASES_MAX;
        self.bytes += len;
        if self.pieces.back_mut().is_some_and(|last| last.join(&lease[..len], may_hold)) {
            return;
        }
        let bytes = if may_hold {
            self.leases += 1;
            Bytes::Leased(lease)
        } else {
            Bytes::Copied(lease[..len].to_vec())
        };
        self.pieces.push_back(Piece { bytes, start: 0, end: len });
    }

    /// Hands out `room` bytes at most, in order, and returns how many there were.
    pub(super) fn read(&mut self, room: usize, mut put: impl FnMut(&[u8])) -> usize {
        let mut read = 0;
        while read < room
            && let Some(piece) = self.pieces.front_mut()
        {
            let unread = piece.unread();
            let len = unread.len().min(room - read);
            put(&unread[..len]);
            piece.start += len;
            read += len;
            if piece.start == piece.end {
                self.leases -= u32::from(matches!(piece.bytes, Bytes::Leased(_)));
                self.pieces.pop_front();
            }
        }
        self.bytes -= read;
        read
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn leases(&self) -> u32 {
        self.leases
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// What has been written and is not with the kernel.
#[derive(Default)]
pub(super) struct Outbox {
    /// Blocks, and how far they are filled.
    blocks: VecDeque<(Lease, usize)>,
    /// What a short send has left.
    rest: Option<SendBuffer>,
    /// Bytes of all that, and of the open send.
    unsent: usize,
}

impl Outbox {
    /// Copies as much as may be queued, and returns how much that is: nothing if there is too much already.
    /// `None` if there is no block to copy into.
    pub(super) fn write(&mut self, blocks: &Blocks, parts: &[IoSlice<'_>]) -> Option<usize> {
        let mut written = 0;
        for part in parts {
            let mut bytes = &part[..part.len().min(QUEUED_MAX.saturating_sub(self.unsent))];
            while !bytes.is_empty() {
                if self.blocks.back().is_none_or(|(block, end)| *end == block.len()) {
                    match blocks.lease() {
                        Some(block) => self.blocks.push_back((block, 0)),
                        None => return (written > 0).then_some(written),
                    }
                }
                let Some((block, end)) = self.blocks.back_mut() else { break };
                let len = bytes.len().min(block.len() - *end);
                block[*end..*end + len].copy_from_slice(&bytes[..len]);
                *end += len;
                self.unsent += len;
                written += len;
                bytes = &bytes[len..];
            }
        }
        Some(written)
    }

    /// The next thing to send. What is written from here on goes to other blocks.
    pub(super) fn next(&mut self) -> Option<SendBuffer> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        let (block, end) = self.blocks.pop_front()?;
        Some(SendBuffer::new(block, u32::try_from(end).expect("a block is shorter than 4 GiB"), None))
    }

    /// The kernel has taken `sent` bytes of what [`next`](Self::next) has handed out.
    pub(super) fn sent(&mut self, mut buffer: SendBuffer, sent: u32) {
        buffer.advance(sent);
        self.unsent -= sent as usize;
        if buffer.remaining() > 0 {
            self.rest = Some(buffer);
        }
    }

    /// Bytes that are not with the kernel.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }
}

#[cfg(test)]
mod tests {
    use peregrine_pool::BlockConfig;

    use super::*;

    fn blocks(block_bytes: usize, max_blocks: u32) -> Blocks {
        Blocks::new(BlockConfig {
            block_bytes,
            stride_bytes: block_bytes,
            max_blocks,
            chunk_blocks: max_blocks,
        })
    }

    fn filled(blocks: &Blocks, bytes: &[u8]) -> Lease {
        let mut lease = blocks.lease().expect("a block");
        lease[..bytes.len()].copy_from_slice(bytes);
        lease
    }

    fn read(inbox: &mut Inbox, room: usize) -> Vec<u8> {
        let mut got = Vec::new();
        assert_eq!(inbox.read(room, |bytes| got.extend_from_slice(bytes)), got.len());
        got
    }

    #[test]
    fn short_pieces_share_a_block_and_long_ones_keep_theirs() {
        let blocks = blocks(4096, 8);
        let mut inbox = Inbox::default();
        inbox.push(filled(&blocks, b"one "), 4, true);
        inbox.push(filled(&blocks, b"two "), 4, true);
        assert_eq!((inbox.leases(), blocks.stats().leased), (1, 1));
        inbox.push(filled(&blocks, &[b'x'; 2000]), 2000, true);
        assert_eq!((inbox.bytes(), inbox.leases()), (2008, 2));
        assert_eq!(read(&mut inbox, 6), b"one tw");
        inbox.push(filled(&blocks, b"end"), 3, true);
        let rest = read(&mut inbox, usize::MAX);
        assert_eq!((&rest[..2], &rest[2002..]), (&b"o "[..], &b"end"[..]));
        assert_eq!((inbox.bytes(), inbox.leases(), blocks.stats().leased), (0, 0, 0));
    }

    #[test]
    fn blocks_that_may_not_be_held_are_copied_in_order() {
        let blocks = blocks(4096, 64);
        let mut inbox = Inbox::default();
        let mut sent = Vec::new();
        for number in 0..60_u8 {
            let bytes = [number; 3000];
            sent.extend_from_slice(&bytes);
            // Every third time somebody else holds too many.
            inbox.push(filled(&blocks, &bytes), 3000, number % 3 != 0);
        }
        assert_eq!((inbox.leases(), blocks.stats().leased), (LEASES_MAX, LEASES_MAX));
        let mut got = Vec::new();
        while !inbox.is_empty() {
            got.extend(read(&mut inbox, 1777));
        }
        assert_eq!(got, sent);
        assert_eq!((inbox.leases(), blocks.stats().leased), (0, 0));
    }

    #[test]
    fn writes_share_blocks_up_to_the_bound() {
        let blocks = blocks(16 * 1024, 8);
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.write(&blocks, &[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")]),
            Some(3)
        );
        assert_eq!(outbox.write(&blocks, &[IoSlice::new(b"def")]), Some(3));
        assert_eq!(blocks.stats().leased, 1);
        let mut buffer = outbox.next().expect("a block");
        assert_eq!(buffer.block(), b"abcdef");
        assert_eq!(outbox.write(&blocks, &[IoSlice::new(&vec![b'x'; 100_000])]), Some(QUEUED_MAX - 6));
        assert_eq!(outbox.write(&blocks, &[IoSlice::new(b"more")]), Some(0));
        outbox.sent(buffer, 4);
        assert_eq!(outbox.unsent(), QUEUED_MAX - 4);
        buffer = outbox.next().expect("the rest of a short send");
        assert_eq!(buffer.block(), b"ef");
        outbox.sent(buffer, 2);
        let mut sent = 0;
        while let Some(buffer) = outbox.next() {
            let len = u32::try_from(buffer.remaining()).expect("a block");
            sent += len as usize;
            outbox.sent(buffer, len);
        }
        assert_eq!((sent, outbox.unsent(), blocks.stats().leased), (QUEUED_MAX - 6, 0, 0));
    }

    #[test]
    fn without_blocks_a_write_takes_what_fits_or_fails() {
        let blocks = blocks(16, 1);
        let mut outbox = Outbox::default();
        assert_eq!(outbox.write(&blocks, &[IoSlice::new(&[1; 20])]), Some(16));
        assert_eq!(outbox.write(&blocks, &[IoSlice::new(&[1; 4])]), None);
        assert_eq!(outbox.unsent(), 16);
    }
}
