//! A table of values under generational keys: a key that outlived its value finds nothing.
//!
//! Owns: the values, where they lie, and which keys are good. Must not know: what a value is.
//!
//! The address space for `max` slots is taken once, so that a slot is found by one multiplication; its pages
//! are made usable chunk by chunk, as they are needed, and given back by [`Slab::trim`]. New values go to the
//! lowest chunk with room: after a burst, the high chunks drain. Generations are counted per chunk, outside
//! the chunk's own memory, so that they run on when that memory is given back. Invariants:
//!
//! - `SLAB-USABLE`: slots below `ready` lie in committed pages of the region; their tags are initialised,
//!   zero (vacant) when never written.
//! - `SLAB-TAG`: a slot's tag has the `OCCUPIED` bit exactly while its value is initialised.
//! - `SLAB-LINK`: the links that start at a chunk's `free_head` run through vacant slots of that chunk below
//!   `fresh`, each of them once.

#![allow(unsafe_code, reason = "keeps values in memory that it maps itself")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::ptr::NonNull;

use crate::Region;

/// Names one value of a [`Slab`], and no later value in the same slot: until its chunk has seen 2^24 more
/// inserts, after which an old key may match again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// Which of the slot's values: 24 bits.
    pub generation: u32,
}

impl Key {
    /// The place in the slab. Keys with different generations share it, one after the other.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The key in the low 56 bits: generation in bits 32 to 55, index in bits 0 to 31. The high 8 bits are 0.
    #[inline]
    #[must_use]
    pub const fn pack(self) -> u64 {
        ((self.generation & GENERATION_MASK) as u64) << 32 | self.index as u64
    }

    /// The key that was packed into the low 56 bits; the high 8 bits are the caller's and ignored.
    #[inline]
    #[must_use]
    pub const fn unpack(packed: u64) -> Key {
        Key { index: packed as u32, generation: (packed >> 32) as u32 & GENERATION_MASK }
    }
}

/// Up to `max` values that never move, under keys that tell when their value is gone.
///
/// A slot costs 4 bytes beyond `T`, rounded up to `T`'s alignment.
pub struct Slab<T> {
    /// Slot 0; dangling before the first chunk is committed.
    base: NonNull<Slot<T>>,
    /// Slots that may be looked at.
    ready: u32,
    len: u32,
    max: u32,
    /// `1 << chunk_shift` slots make a chunk.
    chunk_shift: u32,
    /// Every chunk below `ready`.
    chunks: Vec<Chunk>,
    room: Room,
    region: Option<Region>,
    values: PhantomData<T>,
}

impl<T> Slab<T> {
    /// A slab for at most `max` values, with nothing mapped yet.
    ///
    /// # Panics
    ///
    /// When `max` is 0, or `max` slots exceed the address space.
    #[must_use]
    pub fn new(max: u32) -> Slab<T> {
        const { assert!(align_of::<T>() <= 4096, "a mapping is aligned to a page and no more") };
        assert!(max > 0, "an empty slab");
        let fits = size_of::<Slot<T>>().checked_mul(max as usize).is_some_and(|n| n <= isize::MAX as usize);
        assert!(fits, "slab too large: {max} slots of {} bytes", size_of::<Slot<T>>());
        // Larger chunks for larger slabs, so that two levels of words find the lowest one with room.
        let slots = max.div_ceil(Room::CHUNKS_MAX).next_power_of_two().max(CHUNK_SLOTS_MIN);
        Slab {
            base: NonNull::dangling(),
            ready: 0,
            len: 0,
            max,
            chunk_shift: slots.trailing_zeros(),
            chunks: Vec::new(),
            room: Room::new(max.div_ceil(slots)),
            region: None,
            values: PhantomData,
        }
    }

    /// Puts `value` into the lowest chunk with room, in constant time.
    ///
    /// # Errors
    ///
    /// Gives `value` back when `max` values are in, or when the system has no memory for another chunk.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let Some(number) = self.room.lowest() else { return Err(value) };
        if number as usize >= self.chunks.len() && !self.grow() {
            return Err(value);
        }
        let slots = self.chunk_slots(number);
        let chunk = &mut self.chunks[number as usize];
        debug_assert!((chunk.live as usize) < slots.len());
        let is_fresh = chunk.free_head == LINK_END;
        let local = if is_fresh { chunk.fresh } else { chunk.free_head };
        debug_assert!((local as usize) < slots.len());
        let index = slots.start + local;
        debug_assert!(index < self.ready);
        // SAFETY: SLAB-USABLE: a chunk with room has a fresh or a linked slot (SLAB-LINK), all below `ready`.
        let slot = unsafe { self.base.add(index as usize).as_mut() };
        debug_assert_eq!(slot.tag & OCCUPIED, 0);
        if is_fresh {
            chunk.fresh += 1;
        } else {
            chunk.free_head = slot.tag;
        }
        chunk.generation = (chunk.generation + 1) & GENERATION_MASK;
        chunk.live += 1;
        if chunk.live as usize == slots.len() {
            self.room.clear(number);
        }
        self.len += 1;
        slot.value.write(value);
        slot.tag = OCCUPIED | chunk.generation;
        Ok(Key { index, generation: chunk.generation })
    }

    /// The value of `key`, or `None` when it is gone.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.occupied(key)?;
        // SAFETY: SLAB-TAG: the slot is occupied, so its value is initialised; the loan of `self` keeps it
        // so.
        Some(unsafe { slot.as_ref().value.assume_init_ref() })
    }

    /// The value of `key`, or `None` when it is gone.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let mut slot = self.occupied(key)?;
        // SAFETY: as in `get`; the loan of `self` is exclusive.
        Some(unsafe { slot.as_mut().value.assume_init_mut() })
    }

    /// Takes the value of `key` out, in constant time; `None` when it is gone. Its slot is open for reuse:
    /// whoever lent the value's address to the kernel removes it only when the kernel has finished.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let mut slot = self.occupied(key)?;
        let number = key.index >> self.chunk_shift;
        let chunk = &mut self.chunks[number as usize];
        // SAFETY: SLAB-USABLE, and `self` is borrowed exclusively.
        let slot = unsafe { slot.as_mut() };
        // SAFETY: SLAB-TAG: the slot is occupied, so its value is initialised; the next line clears the bit,
        // so that it is read once.
        let value = unsafe { slot.value.assume_init_read() };
        slot.tag = chunk.free_head;
        chunk.free_head = key.index & ((1 << self.chunk_shift) - 1);
        chunk.live -= 1;
        self.room.set(number);
        self.len -= 1;
        Some(value)
    }

    /// How many values are in.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no value is in.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slots of all chunks that hold memory of the system: those that had a value since the last trim.
    #[must_use]
    pub fn capacity_mapped(&self) -> u32 {
        let used = self.chunks.iter().zip(0..).filter(|(chunk, _)| chunk.fresh > 0);
        used.map(|(_, number)| self.chunk_slots(number).len() as u32).sum()
    }

    /// The keys of all values, by index.
    pub fn iter_keys(&self) -> impl Iterator<Item = Key> + '_ {
        let used = self.chunks.iter().zip(0..).filter(|(chunk, _)| chunk.live > 0);
        used.flat_map(|(chunk, number)| {
            let first = self.chunk_slots(number).start;
            first..first + chunk.fresh
        })
        .filter_map(|index| {
            let tag = self.tag(index);
            (tag & OCCUPIED != 0).then_some(Key { index, generation: tag & GENERATION_MASK })
        })
    }

    /// Gives the memory of every chunk without a value back to the system. For a timer: what is trimmed now
    /// is paid for again by page faults at the next burst.
    pub fn trim(&mut self) {
        let Some(region) = &self.region else { return };
        // Neighbours go in one piece: a page on the border of two chunks is given back when both are empty.
        let mut number = 0;
        while number < self.chunks.len() {
            let rest = &mut self.chunks[number..];
            let run = rest.iter().take_while(|chunk| chunk.live == 0).count();
            if rest[..run].iter().any(|chunk| chunk.fresh > 0) {
                for chunk in &mut rest[..run] {
                    // The border pages keep their old tags. These are vacant, and nothing links to them.
                    chunk.fresh = 0;
                    chunk.free_head = LINK_END;
                }
                let first = self.chunk_slots(number as u32).start as usize;
                let end = self.chunk_slots((number + run - 1) as u32).end as usize;
                region.discard(first * size_of::<Slot<T>>()..end * size_of::<Slot<T>>());
            }
            number += run.max(1);
        }
    }

    /// The slot of `key` if it still holds the value that `key` was made for.
    #[inline(always)]
    fn occupied(&self, key: Key) -> Option<NonNull<Slot<T>>> {
        if key.index >= self.ready {
            return None;
        }
        // SAFETY: SLAB-USABLE, by the line above.
        let slot = unsafe { self.base.add(key.index as usize) };
        // A key made up from other bits finds nothing or a value that is really there.
        (self.tag(key.index) == OCCUPIED | key.generation).then_some(slot)
    }

    #[inline(always)]
    fn tag(&self, index: u32) -> u32 {
        debug_assert!(index < self.ready);
        // SAFETY: SLAB-USABLE: all callers pass an index below `ready`.
        let slot = unsafe { self.base.add(index as usize) };
        // SAFETY: SLAB-USABLE: the tag is initialised; the pointer is used for the tag alone.
        unsafe { (*slot.as_ptr()).tag }
    }

    /// The slots of a chunk; the last one may be short.
    #[inline(always)]
    fn chunk_slots(&self, number: u32) -> Range<u32> {
        let start = number << self.chunk_shift;
        start..start.saturating_add(1 << self.chunk_shift).min(self.max)
    }

    /// Commits the next chunk. False when the system refuses.
    #[cold]
    fn grow(&mut self) -> bool {
        let slots = self.chunk_slots(self.chunks.len() as u32);
        debug_assert!(slots.start == self.ready && !slots.is_empty());
        if self.region.is_none() {
            let Ok(region) = Region::reserve(size_of::<Slot<T>>() * self.max as usize) else { return false };
            self.base = region.as_ptr().cast();
            self.region = Some(region);
        }
        let bytes = slots.start as usize * size_of::<Slot<T>>()..slots.end as usize * size_of::<Slot<T>>();
        if self.region.as_ref().is_none_or(|region| region.commit(bytes).is_err()) {
            return false;
        }
        self.chunks.push(Chunk { live: 0, fresh: 0, free_head: LINK_END, generation: 0 });
        self.ready = slots.end;
        true
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        for number in 0..self.chunks.len() {
            let first = self.chunk_slots(number as u32).start;
            for index in first..first + self.chunks[number].fresh {
                if self.tag(index) & OCCUPIED != 0 {
                    // SAFETY: SLAB-USABLE: `fresh` slots lie below `ready`.
                    let slot = unsafe { self.base.add(index as usize).as_mut() };
                    // SAFETY: SLAB-TAG: the value is initialised, and nobody looks at the slot after this.
                    unsafe { slot.value.assume_init_drop() };
                }
            }
        }
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len).field("max", &self.max).finish_non_exhaustive()
    }
}

#[repr(C)]
struct Slot<T> {
    /// `OCCUPIED` and the generation, or, vacant, the next free slot of the chunk.
    tag: u32,
    value: MaybeUninit<T>,
}

/// What is known of a chunk without touching its memory.
struct Chunk {
    /// Slots with a value.
    live: u32,
    /// Slots that had a value since the chunk was last trimmed; those above are untouched.
    fresh: u32,
    /// The vacant slot that was used last, counted from the chunk's first; or `LINK_END`.
    free_head: u32,
    /// The generation given out last.
    generation: u32,
}

/// Which chunks have room: a bit for each, and a bit for each word of bits that is not zero.
struct Room {
    summary: u64,
    words: Box<[u64]>,
}

impl Room {
    const CHUNKS_MAX: u32 = 64 * 64;

    fn new(chunks: u32) -> Room {
        debug_assert!(0 < chunks && chunks <= Room::CHUNKS_MAX);
        let mut room = Room { summary: 0, words: vec![0; chunks.div_ceil(64) as usize].into() };
        (0..chunks).for_each(|chunk| room.set(chunk));
        room
    }

    #[inline(always)]
    fn lowest(&self) -> Option<u32> {
        if self.summary == 0 {
            return None;
        }
        let word = self.summary.trailing_zeros();
        Some(word * 64 + self.words[word as usize].trailing_zeros())
    }

    #[inline(always)]
    fn set(&mut self, chunk: u32) {
        self.words[(chunk / 64) as usize] |= 1 << (chunk % 64);
        self.summary |= 1 << (chunk / 64);
    }

    #[inline(always)]
    fn clear(&mut self, chunk: u32) {
        let word = &mut self.words[(chunk / 64) as usize];
        *word &= !(1 << (chunk % 64));
        if *word == 0 {
            self.summary &= !(1 << (chunk / 64));
        }
    }
}

const CHUNK_SLOTS_MIN: u32 = 256;
const GENERATION_MASK: u32 = (1 << 24) - 1;
const OCCUPIED: u32 = 1 << 31;
/// Larger than any slot's place in its chunk, and without the `OCCUPIED` bit.
const LINK_END: u32 = OCCUPIED - 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^60 bytes, which no machine maps, without a value of that size on the stack.
    #[test]
    fn no_memory_is_an_error_and_no_panic() {
        let mut slab: Slab<[u8; 1 << 28]> = Slab::new(u32::MAX);
        assert!(!slab.grow());
        assert!(slab.get(Key { index: 0, generation: 0 }).is_none());
        slab.trim();
        assert_eq!((slab.len(), slab.capacity_mapped()), (0, 0));
    }
}
