//! Blocks of equal size and the exclusive right to one of them.
//!
//! Owns: the region that the blocks are cut from, which of them are free, and the count of those lent.
//! Must not know: what a block is filled with, or which ring it is lent to.
//!
//! A block is in exactly one of three states: free (its index is on the free list), leased (one [`Lease`] for
//! it exists) or lent (the kernel may touch it, no `Lease` for it exists). Invariants:
//!
//! - `BLOCK-MAPPED`: every index on the free list, in a lease or lent lies in a mapped chunk: its
//!   `block_bytes` are usable, initialised (the system zeroed them first) and apart from every other block's.
//! - `BLOCK-ONE-HOLDER`: an index leaves the free list for one lease and comes back when that lease is
//!   dropped; lending takes the lease away, reclaiming makes it again. So no two leases share a block.
//! - `BLOCK-KEPT`: each lease, and each lent block, holds one count of the pool's `Rc`. The region outlives
//!   them all; a block that is lent and never reclaimed leaks the pool, and never frees what the kernel uses.
//! - `BLOCK-UNSHARED`: the pool is `!Send` and calls nobody while it holds `&mut State`.

#![allow(unsafe_code, reason = "cuts blocks out of mapped memory")]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use crate::Region;

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// The usable bytes of a block.
    pub block_bytes: usize,
    /// The distance in bytes from one block's start to the next one's, at least `block_bytes`. At exactly a
    /// page, the first lines of all blocks would compete for the same few cache sets: 4096 + 64 spreads them.
    pub stride_bytes: usize,
    /// The most blocks that can exist. At most 65,536 for indexes to fit the kernel's 16-bit buffer ids.
    pub max_blocks: u32,
    /// How many blocks are mapped, and given back, at a time.
    pub chunk_blocks: u32,
}

/// What a pool holds at one moment, in blocks unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStats {
    /// The usable bytes of one block.
    pub block_bytes: usize,
    /// Blocks held by a [`Lease`].
    pub leased: u32,
    /// Blocks lent to the kernel.
    pub lent: u32,
    /// Mapped blocks that nobody holds.
    pub free: u32,
    /// `leased + lent + free`.
    pub mapped_blocks: u32,
    /// The most blocks that were leased at once since the pool was made.
    pub peak_leased: u32,
    /// The most blocks that can exist.
    pub max: u32,
}

/// A handle on a pool of equal blocks; clones share the pool.
#[derive(Clone)]
pub struct Blocks {
    pool: Rc<Pool>,
}

/// The exclusive right to one block, which goes back to its pool on drop.
///
/// The bytes are as their last holder left them. Moving a lease moves no byte: [`Lease::as_ptr`] stays valid
/// until the lease is dropped, so whoever lends that address keeps the lease until the kernel has finished.
pub struct Lease {
    block: NonNull<u8>,
    index: u32,
    bytes: u32,
    pool: Rc<Pool>,
}

/// A block in the kernel's hands: plain data for a buffer ring's entry. Forgetting it without a
/// [`Blocks::reclaim`] leaks the block and keeps the whole pool mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lent block comes back only through `Blocks::reclaim`"]
pub struct Lent {
    /// The block's index: its buffer id.
    pub index: u32,
    /// The block's first byte.
    pub ptr: *mut u8,
    /// The block's usable bytes.
    pub len: u32,
}

impl Blocks {
    /// A pool of that shape, with nothing mapped yet.
    ///
    /// # Panics
    ///
    /// When a number is 0, `stride_bytes < block_bytes`, `block_bytes` exceeds `u32::MAX`, or all blocks
    /// together exceed the address space.
    #[must_use]
    pub fn new(config: BlockConfig) -> Blocks {
        let BlockConfig { block_bytes, stride_bytes, max_blocks, chunk_blocks } = config;
        assert!(block_bytes > 0 && max_blocks > 0 && chunk_blocks > 0, "an empty pool: {config:?}");
        assert!(stride_bytes >= block_bytes, "blocks would overlap: {config:?}");
        assert!(u32::try_from(block_bytes).is_ok(), "block too large: {config:?}");
        let fits = stride_bytes.checked_mul(max_blocks as usize).is_some_and(|n| n <= isize::MAX as usize);
        assert!(fits, "pool too large: {config:?}");
        let state = UnsafeCell::new(State {
            base: NonNull::dangling(),
            region: None,
            free: Vec::new(),
            is_lent: Vec::new(),
            is_mapped: Vec::new(),
            mapped: 0,
            lent: 0,
            peak_leased: 0,
        });
        Blocks { pool: Rc::new(Pool { config, state }) }
    }

    /// The right to a block: the free one that was used last, or the first of a newly mapped chunk.
    ///
    /// `None` when all `max_blocks` are in use, or when the system has no memory for another chunk.
    #[inline]
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let Pool { config, .. } = &*self.pool;
        let (block, index) = self.pool.with(|state| {
            let index = match state.free.pop() {
                Some(index) => index,
                None => state.grow(config)?,
            };
            state.peak_leased = state.peak_leased.max(state.leased());
            Some((state.block(config, index), index))
        })?;
        Some(Lease { block, index, bytes: config.block_bytes as u32, pool: Rc::clone(&self.pool) })
    }

    /// Makes the lease of a lent block again. The bytes are as the kernel left them.
    ///
    /// # Safety
    ///
    /// `index` comes from a [`Lease::lend`] of this pool, has not been reclaimed since, and the kernel has
    /// finished with the block. [`Blocks::is_lent`] tells the first two; with debug assertions they are
    /// checked here. Without, a breach is not noticed: two leases of one block may come to exist.
    #[inline]
    #[must_use]
    pub unsafe fn reclaim(&self, index: u32) -> Lease {
        debug_assert!(self.is_lent(index), "block {index} is not lent");
        let Pool { config, .. } = &*self.pool;
        let block = self.pool.with(|state| {
            if let Some(is_lent) = state.is_lent.get_mut(index as usize) {
                *is_lent = false;
            }
            state.lent = state.lent.wrapping_sub(1);
            state.peak_leased = state.peak_leased.max(state.leased());
            state.block(config, index)
        });
        // SAFETY: BLOCK-KEPT: `lend` forgot one count for this block, which the new lease takes over.
        let pool = unsafe { Rc::from_raw(Rc::as_ptr(&self.pool)) };
        Lease { block, index, bytes: config.block_bytes as u32, pool }
    }

    /// Whether block `index` is lent now; false for an index that never existed. For checking an id that
    /// comes back from outside, and for finding what is left to reclaim once a ring is gone.
    #[inline]
    #[must_use]
    pub fn is_lent(&self, index: u32) -> bool {
        self.pool.with(|state| state.is_lent.get(index as usize).copied().unwrap_or(false))
    }

    /// What the pool holds now.
    #[must_use]
    pub fn stats(&self) -> BlockStats {
        let Pool { config, .. } = &*self.pool;
        self.pool.with(|state| BlockStats {
            block_bytes: config.block_bytes,
            leased: state.leased(),
            lent: state.lent,
            free: state.free.len() as u32,
            mapped_blocks: state.mapped,
            peak_leased: state.peak_leased,
            max: config.max_blocks,
        })
    }

    /// Gives the memory of free blocks back to the system, whole free chunks only, the highest first, as long
    /// as at least `keep_free` free blocks stay mapped. Walks the free list: for a timer, not for each turn.
    pub fn trim(&self, keep_free: u32) {
        let Pool { config, .. } = &*self.pool;
        self.pool.with(|state| state.trim(config, keep_free));
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocks").field(&self.stats()).finish()
    }
}

impl Lease {
    /// The block's index in its pool, below `max_blocks`.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The block's first byte, good for the block's whole length while the lease lives.
    #[inline]
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.block.as_ptr()
    }

    /// Leaves the first bytes of the lease out from now on, so that what lies behind them is at its front. The whole
    /// block goes back to its pool, or to the kernel.
    ///
    /// # Panics
    ///
    /// When the lease has fewer bytes.
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes as usize, "{bytes} of {} bytes", self.bytes);
        // SAFETY: BLOCK-MAPPED: the bytes up to `self.bytes` belong to the block, and so does the place behind them.
        self.block = unsafe { self.block.add(bytes) };
        self.bytes -= bytes as u32;
    }

    /// Hands the block over to the kernel: until [`Blocks::reclaim`] it counts as lent, and the pool's memory
    /// stays mapped even when every handle and lease is gone.
    #[inline]
    pub fn lend(self) -> Lent {
        // The forgotten `Rc` count is the lent block's own (BLOCK-KEPT).
        let lease = ManuallyDrop::new(self);
        let Pool { config, .. } = &*lease.pool;
        let block = lease.pool.with(|state| {
            let is_lent = &mut state.is_lent[lease.index as usize];
            debug_assert!(!*is_lent);
            *is_lent = true;
            state.lent += 1;
            state.block(config, lease.index)
        });
        Lent { index: lease.index, ptr: block.as_ptr(), len: config.block_bytes as u32 }
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: BLOCK-MAPPED: the bytes are usable and initialised, and BLOCK-KEPT: they stay so as long as
        // `self`. BLOCK-ONE-HOLDER: nobody else writes them, and through `self` only `deref_mut` does.
        unsafe { slice::from_raw_parts(self.block.as_ptr(), self.bytes as usize) }
    }
}

impl DerefMut for Lease {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; BLOCK-ONE-HOLDER and `&mut self` make this the only reference.
        unsafe { slice::from_raw_parts_mut(self.block.as_ptr(), self.bytes as usize) }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        self.pool.with(|state| state.free.push(self.index));
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("index", &self.index).field("bytes", &self.bytes).finish()
    }
}

struct Pool {
    config: BlockConfig,
    state: UnsafeCell<State>,
}

impl Pool {
    /// The one way to the state. `work` must not reach the pool by another way: it takes only what it is
    /// given.
    #[inline(always)]
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        // SAFETY: BLOCK-UNSHARED: one thread, and no `work` in this file calls `with` again, so this is the
        // only reference to the state while it lives.
        work(unsafe { &mut *self.state.get() })
    }
}

struct State {
    /// The first block; dangling before the first chunk is mapped.
    base: NonNull<u8>,
    /// The address space of all `max_blocks`; of it, the mapped chunks are usable.
    region: Option<Region>,
    /// Free blocks, the warmest last. Its capacity covers every mapped block, so that returning a lease never
    /// allocates.
    free: Vec<u32>,
    /// By block index, for every block that was ever mapped.
    is_lent: Vec<bool>,
    /// By chunk, for every chunk that was ever mapped.
    is_mapped: Vec<bool>,
    mapped: u32,
    lent: u32,
    peak_leased: u32,
}

impl State {
    /// Counted by what is left over, so that leasing and returning touch no counter.
    #[inline(always)]
    fn leased(&self) -> u32 {
        self.mapped.wrapping_sub(self.lent).wrapping_sub(self.free.len() as u32)
    }

    #[inline(always)]
    fn block(&self, config: &BlockConfig, index: u32) -> NonNull<u8> {
        debug_assert!(self.is_mapped[(index / config.chunk_blocks) as usize]);
        // SAFETY: BLOCK-MAPPED: the index lies in a mapped chunk, so below `max_blocks`, whose product with
        // the stride lies inside the region.
        unsafe { self.base.add(index as usize * config.stride_bytes) }
    }

    /// Maps the lowest chunk that is not mapped, puts its blocks on the free list and takes the first one.
    #[cold]
    fn grow(&mut self, config: &BlockConfig) -> Option<u32> {
        let unmapped = self.is_mapped.iter().position(|is_mapped| !is_mapped);
        let chunk = unmapped.unwrap_or(self.is_mapped.len());
        let blocks = config.chunk(chunk);
        if blocks.is_empty() {
            return None;
        }
        if self.region.is_none() {
            let region = Region::reserve(config.stride_bytes * config.max_blocks as usize).ok()?;
            self.base = region.as_ptr();
            self.region = Some(region);
        }
        self.region.as_ref()?.commit(config.bytes(&blocks)).ok()?;

        if chunk == self.is_mapped.len() {
            self.is_mapped.push(true);
            self.is_lent.resize(blocks.end as usize, false);
        } else {
            self.is_mapped[chunk] = true;
        }
        self.mapped += blocks.len() as u32;
        self.free.reserve_exact(self.mapped as usize - self.free.len());
        self.free.extend(blocks.rev());
        self.free.pop()
    }

    fn trim(&mut self, config: &BlockConfig, keep_free: u32) {
        let Some(region) = &self.region else { return };
        let mut free_in = vec![0_u32; self.is_mapped.len()];
        for index in &self.free {
            free_in[(index / config.chunk_blocks) as usize] += 1;
        }
        let mut surplus = (self.free.len() as u32).saturating_sub(keep_free);
        let mut is_doomed = vec![false; self.is_mapped.len()];
        for chunk in (0..self.is_mapped.len()).rev() {
            let count = config.chunk(chunk).len() as u32;
            if self.is_mapped[chunk] && free_in[chunk] == count && count <= surplus {
                surplus -= count;
                self.mapped -= count;
                self.is_mapped[chunk] = false;
                is_doomed[chunk] = true;
            }
        }
        if !is_doomed.contains(&true) {
            return;
        }
        self.free.retain(|index| !is_doomed[(index / config.chunk_blocks) as usize]);
        self.free.shrink_to(self.mapped as usize);

        // Neighbours go in one piece: a page on the border of two chunks is given back when both are
        // unmapped.
        let mut chunk = 0;
        while chunk < is_doomed.len() {
            let run = self.is_mapped[chunk..].iter().take_while(|is_mapped| !**is_mapped).count();
            if is_doomed[chunk..chunk + run].contains(&true) {
                let first = config.bytes(&config.chunk(chunk)).start;
                let end = config.bytes(&config.chunk(chunk + run - 1)).end;
                region.discard(first..end);
            }
            chunk += run.max(1);
        }
    }
}

impl BlockConfig {
    /// The blocks of a chunk; the last chunk may be short, and those beyond it are empty.
    fn chunk(&self, chunk: usize) -> Range<u32> {
        let start = chunk as u64 * u64::from(self.chunk_blocks);
        let end = start + u64::from(self.chunk_blocks);
        let max = u64::from(self.max_blocks);
        start.min(max) as u32..end.min(max) as u32
    }

    /// Where those blocks lie in the region.
    fn bytes(&self, blocks: &Range<u32>) -> Range<usize> {
        blocks.start as usize * self.stride_bytes..blocks.end as usize * self.stride_bytes
    }
}

// A lease travels by value through every layer, with `None` for free.
const _: () = assert!(size_of::<Option<Lease>>() == 24);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SMALL: BlockConfig =
        BlockConfig { block_bytes: 100, stride_bytes: 128, max_blocks: 5, chunk_blocks: 2 };

    fn take(blocks: &Blocks, count: usize) -> Vec<Lease> {
        (0..count).map(|_| blocks.lease().unwrap()).collect()
    }

    fn counts(blocks: &Blocks) -> [u32; 4] {
        let stats = blocks.stats();
        assert_eq!(stats.leased + stats.lent + stats.free, stats.mapped_blocks);
        [stats.leased, stats.lent, stats.free, stats.mapped_blocks]
    }

    #[test]
    fn what_is_skipped_comes_back_with_the_block() {
        let blocks = Blocks::new(SMALL);
        let mut lease = blocks.lease().unwrap();
        let (index, start) = (lease.index(), lease.as_ptr());
        lease.copy_from_slice(&std::array::from_fn::<u8, 100, _>(|at| at as u8));
        lease.skip(40);
        assert_eq!((lease.len(), lease[0]), (60, 40));
        lease.skip(60);
        assert!(lease.is_empty());
        let lent = lease.lend();
        assert_eq!((lent.index, lent.ptr, lent.len), (index, start, 100));
        // SAFETY: it was lent above, to nobody.
        let again = unsafe { blocks.reclaim(index) };
        assert_eq!((again.len(), again[99]), (100, 99));
    }

    #[test]
    #[should_panic(expected = "101 of 100 bytes")]
    fn no_more_can_be_skipped_than_there_is() {
        Blocks::new(SMALL).lease().unwrap().skip(101);
    }

    #[test]
    fn chunks_are_mapped_on_demand_up_to_max() {
        let blocks = Blocks::new(SMALL);
        assert_eq!(counts(&blocks), [0, 0, 0, 0]);
        let leases = take(&blocks, 5);
        assert_eq!(leases.iter().map(Lease::index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(blocks.lease().is_none());
        assert_eq!(counts(&blocks), [5, 0, 0, 5]);
        assert!(leases.iter().all(|lease| lease.len() == 100 && lease.iter().all(|byte| *byte == 0)));
        assert_eq!(leases[1].as_ptr() as usize - leases[0].as_ptr() as usize, 128);
        drop(leases);
        assert_eq!(counts(&blocks), [0, 0, 5, 5]);
        assert_eq!(blocks.stats().peak_leased, 5);
    }

    #[test]
    fn the_warmest_block_comes_first() {
        let blocks = Blocks::new(SMALL);
        let mut leases = take(&blocks, 3);
        leases[1][0] = 7;
        drop(leases.remove(1));
        let again = blocks.lease().unwrap();
        assert_eq!((again.index(), again[0]), (1, 7));
    }

    #[test]
    fn a_lent_block_is_nobodys_until_reclaimed() {
        let blocks = Blocks::new(SMALL);
        let mut lease = blocks.lease().unwrap();
        lease[99] = 9;
        let lent = lease.lend();
        assert_eq!((lent.index, lent.len), (0, 100));
        assert_eq!(counts(&blocks), [0, 1, 1, 2]);
        assert!(blocks.is_lent(0) && !blocks.is_lent(1) && !blocks.is_lent(77));
        let others = take(&blocks, 4);
        assert!(blocks.lease().is_none());
        // SAFETY: lent above, once; no kernel is involved.
        let lease = unsafe { blocks.reclaim(lent.index) };
        assert_eq!((lease.as_ptr(), lease[99]), (lent.ptr, 9));
        assert!(!blocks.is_lent(0));
        assert_eq!(counts(&blocks), [5, 0, 0, 5]);
        drop((others, lease));
        assert_eq!(counts(&blocks), [0, 0, 5, 5]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "not lent")]
    fn reclaiming_what_is_not_lent_is_caught() {
        let blocks = Blocks::new(SMALL);
        let _lease = blocks.lease().unwrap();
        // SAFETY: the contract is broken on purpose; the check panics before anything else is done.
        let _ = unsafe { blocks.reclaim(0) };
    }

    #[test]
    fn memory_outlives_every_handle() {
        let blocks = Blocks::new(SMALL);
        let pool = Rc::downgrade(&blocks.pool);
        let mut lease = blocks.lease().unwrap();
        let lent = blocks.lease().unwrap().lend();
        drop(blocks.clone());
        drop(blocks);
        lease.fill(3);
        assert_eq!(lease[99], 3);
        drop(lease);
        // The kernel may still write: the block is lent, and nothing but that holds the pool.
        assert_eq!(pool.strong_count(), 1);
        // SAFETY: BLOCK-KEPT: the pool is mapped, and nobody else looks at the block.
        unsafe { lent.ptr.write(4) };
        let blocks = Blocks { pool: pool.upgrade().unwrap() };
        // SAFETY: lent above, once; no kernel is involved.
        let lease = unsafe { blocks.reclaim(lent.index) };
        drop(blocks);
        assert_eq!(lease[0], 4);
        drop(lease);
        assert_eq!(pool.strong_count(), 0);
    }

    #[test]
    fn trim_unmaps_whole_free_chunks_and_the_rest_stays() {
        let blocks = Blocks::new(SMALL);
        let mut leases = take(&blocks, 5);
        let kept = leases.remove(2);
        drop(leases);
        blocks.trim(3);
        assert_eq!(counts(&blocks), [1, 0, 3, 4]);
        blocks.trim(2);
        assert_eq!(counts(&blocks), [1, 0, 3, 4]);
        blocks.trim(0);
        assert_eq!(counts(&blocks), [1, 0, 1, 2]);
        assert_eq!(blocks.lease().unwrap().index(), 3);
        let _three = blocks.lease().unwrap();
        assert_eq!(blocks.lease().unwrap().index(), 0);
        drop(kept);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for config in [
            BlockConfig { block_bytes: 0, ..SMALL },
            BlockConfig { stride_bytes: 99, ..SMALL },
            BlockConfig { stride_bytes: usize::MAX, ..SMALL },
            BlockConfig { max_blocks: 0, ..SMALL },
            BlockConfig { chunk_blocks: 0, ..SMALL },
        ] {
            assert!(std::panic::catch_unwind(|| Blocks::new(config)).is_err(), "{config:?}");
        }
        let unmappable = BlockConfig { stride_bytes: 1 << 60, max_blocks: 2, ..SMALL };
        assert!(Blocks::new(unmappable).lease().is_none());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Lease,
        Return(usize),
        Lend(usize),
        Reclaim(usize),
        Trim(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Lease),
            4 => any::<usize>().prop_map(Step::Return),
            2 => any::<usize>().prop_map(Step::Lend),
            2 => any::<usize>().prop_map(Step::Reclaim),
            1 => (0..50_u32).prop_map(Step::Trim),
        ]
    }

    fn pick<T>(map: &mut BTreeMap<u32, T>, at: usize) -> Option<(u32, T)> {
        let index = *map.keys().nth(at.checked_rem(map.len())?)?;
        Some((index, map.remove(&index)?))
    }

    /// What a trim may and may not do, told from the free list before and after it.
    fn check_trim(blocks: &Blocks, keep: u32, before: &[u32], after: &[u32]) {
        let config = blocks.pool.config;
        let mut rest = before.iter();
        assert!(after.iter().all(|index| rest.any(|other| other == index)), "order kept");
        assert!(after.len() >= before.len().min(keep as usize), "enough kept");
        for chunk in 0..config.max_blocks.div_ceil(config.chunk_blocks) {
            let of_chunk = config.chunk(chunk as usize);
            let free_in = |list: &[u32]| list.iter().filter(|index| of_chunk.contains(index)).count();
            let [had, has] = [before, after].map(free_in);
            assert!(has == had || (has == 0 && had == of_chunk.len()), "whole chunks only");
            let could_go = has == of_chunk.len() && after.len() - has >= keep as usize;
            assert!(!could_go, "chunk {chunk} could have gone");
        }
    }

    proptest! {
        #[test]
        fn behaves_as_sets_and_a_stack(
            block_bytes in 1_usize..3000, gap in 0_usize..200, max_blocks in 1_u32..40,
            chunk_blocks in 1_u32..9, steps in prop::collection::vec(step(), 0..300),
        ) {
            let stride_bytes = block_bytes + gap;
            let blocks = Blocks::new(BlockConfig { block_bytes, stride_bytes, max_blocks, chunk_blocks });
            let free_list = || blocks.pool.with(|state| state.free.clone());
            let mut leased: BTreeMap<u32, (Lease, u8)> = BTreeMap::new();
            let mut lent: BTreeMap<u32, (Lent, u8)> = BTreeMap::new();
            let mut free: Vec<u32> = Vec::new();
            let mut peak = 0;
            for (stamp, step) in (1..=u8::MAX).cycle().zip(steps) {
                match step {
                    Step::Lease => {
                        let was_free = free.pop();
                        let Some(mut lease) = blocks.lease() else {
                            prop_assert!(was_free.is_none());
                            prop_assert_eq!((leased.len() + lent.len()) as u32, max_blocks);
                            continue;
                        };
                        prop_assert!(was_free.is_none_or(|index| index == lease.index()));
                        if was_free.is_none() {
                            free = free_list();
                        }
                        lease.fill(stamp);
                        let index = lease.index();
                        prop_assert!(leased.insert(index, (lease, stamp)).is_none());
                        prop_assert!(!lent.contains_key(&index));
                    }
                    Step::Return(at) => {
                        if let Some((index, (lease, stamp))) = pick(&mut leased, at) {
                            prop_assert!(lease.iter().all(|byte| *byte == stamp));
                            free.push(index);
                        }
                    }
                    Step::Lend(at) => {
                        if let Some((index, (lease, stamp))) = pick(&mut leased, at) {
                            lent.insert(index, (lease.lend(), stamp));
                        }
                    }
                    Step::Reclaim(at) => {
                        if let Some((index, (was, stamp))) = pick(&mut lent, at) {
                            // SAFETY: the model says that the block is lent; no kernel is involved.
                            let lease = unsafe { blocks.reclaim(index) };
                            prop_assert_eq!(lease.as_ptr(), was.ptr);
                            leased.insert(index, (lease, stamp));
                        }
                    }
                    Step::Trim(keep) => {
                        blocks.trim(keep);
                        let after = free_list();
                        check_trim(&blocks, keep, &free, &after);
                        free = after;
                    }
                }
                peak = peak.max(leased.len() as u32);
                prop_assert_eq!(&free_list(), &free);
                let held = [leased.len(), lent.len(), free.len()].map(|count| count as u32);
                prop_assert_eq!(&counts(&blocks)[..3], &held);
                prop_assert_eq!(blocks.stats().peak_leased, peak);
            }
            for (lease, stamp) in leased.values() {
                prop_assert!(lease.iter().all(|byte| byte == stamp));
            }
            for (index, (_, stamp)) in lent {
                // SAFETY: as above.
                let lease = unsafe { blocks.reclaim(index) };
                prop_assert!(lease.iter().all(|byte| *byte == stamp));
            }
        }
    }
}
