//! The ring of receive blocks that the kernel picks from.
//!
//! Owns which blocks are lent to the kernel, in which order and how many. The number follows the demand: it doubles
//! when a turn used up half of it, so that it is sized by active bytes, never by connections, and beyond 2 MiB by
//! active connections, because what is left over by bulk transfers is better left to the peer. Blocks that come back
//! go to the pool's free list and are lent again from its warm end.

#![allow(unsafe_code, reason = "entries of a ring shared with the kernel")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use peregrine_pool::{Blocks, Lease, Region};

use crate::sys::ring::Ring;

/// Blocks lent at first.
pub(super) const INITIAL_TARGET: u16 = 64;

/// With more blocks than this it is receives that count, not blocks.
const BULK_TARGET: u16 = 512;

/// `struct io_uring_buf` of the kernel. The last field of entry 0 is the ring's tail.
#[repr(C)]
struct Entry {
    address: u64,
    len: u32,
    block: u16,
    tail: u16,
}

pub(super) struct BufferRing {
    blocks: Blocks,
    memory: Region,
    mask: u16,
    tail: u16,
    /// Blocks that the kernel holds now, wanted, and at most.
    lent: u16,
    target: u16,
    max: u16,
    /// Blocks that the kernel has used since the last refill, and receives that used or wanted some.
    used: u16,
    receives: u16,
    /// Where in the ring each block was put last.
    positions: Box<[u16]>,
}

impl BufferRing {
    /// Maps a ring of `entries` (a power of two) and registers it as `group`.
    pub(super) fn register(ring: &Ring, blocks: Blocks, entries: u16, group: u16) -> io::Result<Self> {
        assert!(entries.is_power_of_two(), "the kernel wants a power of two");
        let memory = Region::map(usize::from(entries) * size_of::<Entry>())?;
        // SAFETY: RECEIVE-RING: the region is as large as `entries` entries and is unmapped only after the
        // ring is gone: `Uring` drops its ring first, and leaks the region when operations remain.
        unsafe { ring.register_buffers(memory.as_ptr().as_ptr(), entries, group)? };
        let target = INITIAL_TARGET.min(entries);
        let positions = vec![0; blocks.stats().max as usize].into_boxed_slice();
        let (mask, max) = (entries - 1, entries);
        Ok(Self { blocks, memory, mask, tail: 0, lent: 0, target, max, used: 0, receives: 0, positions })
    }

    /// Lends blocks until as many are out as the demand of the last turn suggests, and publishes them.
    pub(super) fn refill(&mut self) {
        let demand = if self.target < BULK_TARGET { self.used } else { self.receives };
        if demand > self.target / 2 {
            self.target = self.target.saturating_mul(2).min(self.max);
        }
        (self.used, self.receives) = (0, 0);
        if self.lent >= self.target {
            return;
        }
        while self.lent < self.target {
            let Some(lease) = self.blocks.lease() else { break };
            self.put(lease);
        }
        // SAFETY: RECEIVE-RING: entry 0 is inside the region; the kernel reads its tail field atomically.
        let tail = unsafe { AtomicU16::from_ptr(&raw mut (*self.entry(0).as_ptr()).tail) };
        tail.store(self.tail, Ordering::Release);
    }

    fn put(&mut self, lease: Lease) {
        let lent = lease.lend();
        let block = u16::try_from(lent.index).expect("the pool holds at most 65536 blocks");
        let entry = self.entry(self.tail & self.mask).as_ptr();
        // SAFETY: RECEIVE-RING: the entry is inside the region and, being beyond the published tail, not
        // read by the kernel. The fields are written one by one to leave the tail in entry 0 alone.
        unsafe {
            (*entry).address = lent.ptr as u64;
            (*entry).len = lent.len;
            (*entry).block = block;
        }
        self.positions[usize::from(block)] = self.tail;
        self.tail = self.tail.wrapping_add(1);
        self.lent += 1;
    }

    /// Forgets an earlier peak's demand: what is lent beyond it is not lent again once it comes back. Memory
    /// of free blocks goes back to the system.
    pub(super) fn trim(&mut self) {
        self.target = INITIAL_TARGET.min(self.max);
        self.blocks.trim(u32::from(INITIAL_TARGET));
    }

    /// Takes back the block that a completion names.
    pub(super) fn take(&mut self, block: u16) -> Lease {
        self.receives = self.receives.saturating_add(1);
        self.reclaim(block)
    }

    /// Takes back the block that was put behind another which has just been taken: the next of a bundle.
    pub(super) fn take_behind(&mut self, block: u16) -> Lease {
        let position = self.positions[usize::from(block)].wrapping_add(1);
        // SAFETY: RECEIVE-RING: the entry is inside the region. The kernel only reads it, and we write none between
        // a completion and the next refill, so that it still names the block that the kernel has used.
        let next = unsafe { (*self.entry(position & self.mask).as_ptr()).block };
        self.reclaim(next)
    }

    fn reclaim(&mut self, block: u16) -> Lease {
        // Even of the kernel: two leases of one block would show one client's bytes to another.
        assert!(self.blocks.is_lent(u32::from(block)), "a completion names a block that was not lent");
        self.lent -= 1;
        self.used += 1;
        // SAFETY: LENT-ONCE: `put` lent the block, and the kernel names it, or the bundle that it is in, in exactly
        // one completion, after which it does not touch it.
        unsafe { self.blocks.reclaim(u32::from(block)) }
    }

    /// Takes back every block that the kernel has not used.
    ///
    /// # Safety
    /// The ring is closed and none of its receives is in flight.
    pub(super) unsafe fn reclaim_all(&mut self) {
        for block in 0..self.blocks.stats().max {
            if self.lent > 0 && self.blocks.is_lent(block) {
                // SAFETY: LENT-ONCE: it is lent, and only `put` lends blocks of this pool; the kernel has
                // finished with it, as the caller promises.
                drop(unsafe { self.blocks.reclaim(block) });
                self.lent -= 1;
            }
        }
        debug_assert_eq!(self.lent, 0, "a lent block is lost");
    }

    /// Takes note that a receive found no block: more are needed, whatever the count says.
    pub(super) fn starve(&mut self) {
        self.used = self.target;
        self.receives = self.receives.saturating_add(1);
    }

    /// Whether a receive would find a block, now or after the next refill.
    pub(super) fn has_blocks(&self) -> bool {
        // Not by counting: the system may refuse the memory for one that would be allowed.
        self.lent > 0 || self.blocks.lease().is_some()
    }

    /// Blocks that the kernel holds now.
    #[cfg(test)]
    pub(super) fn lent(&self) -> u16 {
        self.lent
    }

    fn entry(&self, index: u16) -> NonNull<Entry> {
        debug_assert!(index <= self.mask);
        // SAFETY: RECEIVE-RING: the region holds `mask + 1` entries, page-aligned.
        unsafe { self.memory.as_ptr().cast::<Entry>().add(usize::from(index)) }
    }
}
