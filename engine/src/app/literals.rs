//! The literals that may stand at one place of a path, and how the path's next segment is told from others.
//!
//! Owns the table that leads from a segment to the node behind it. It knows nothing of parameters. The table is
//! open, by a hash of the segment's first bytes: what is in it is the application's own, so no peer can make it
//! slow. Segments of less than 16 bytes are their own keys, and are never compared with a text.

use memchr::memchr;

/// What tells a segment from most others: its first 16 bytes, and its length in what is free of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    head: u64,
    tail: u64,
}

/// The segment that begins at `start`, and its end.
#[inline]
pub(super) fn next_segment(path: &[u8], start: usize) -> (Key, usize) {
    let head = word_at(path, start);
    let (head, tail, len) = match first_slash(head) {
        Some(len) => (below(head, len), 0, len),
        None if path.len() - start <= 8 => (head, 0, path.len() - start),
        None => {
            let tail = word_at(path, start + 8);
            match first_slash(tail) {
                Some(len) => (head, below(tail, len), 8 + len),
                None => {
                    let behind = path.get(start + 16..).unwrap_or_default();
                    let len = memchr(b'/', behind).map_or(path.len() - start, |len| 16 + len);
                    (head, tail, len)
                }
            }
        }
    };
    (Key { head, tail: tail ^ (len as u64) << 56 }, start + len)
}

/// The eight bytes at `at`, with zeros behind the path's end.
#[inline]
fn word_at(path: &[u8], at: usize) -> u64 {
    let rest = path.get(at..).unwrap_or_default();
    match (rest.first_chunk(), path.last_chunk()) {
        (Some(first), _) => u64::from_le_bytes(*first),
        // The last bytes of the path; those before the rest are shifted out.
        (None, Some(last)) => {
            u64::from_le_bytes(*last).checked_shr(64 - 8 * rest.len() as u32).unwrap_or_default()
        }
        (None, None) => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The first bytes of eight, less than all.
#[inline]
fn below(word: u64, len: usize) -> u64 {
    word & !(u64::MAX << (8 * len))
}

/// Where the first slash in eight bytes is.
#[inline]
fn first_slash(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The lowest bit that is set tells the first slash; above it there may be others that tell nothing.
    let differences = word ^ (ONES * u64::from(b'/'));
    let slashes = differences.wrapping_sub(ONES) & !differences & (ONES << 7);
    (slashes != 0).then(|| slashes.trailing_zeros() as usize / 8)
}

/// See the module's text. Nodes are told by numbers; 0 is the root, to which no literal leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    /// A power of two of them, at most half of them taken, or none at all.
    slots: Vec<Slot>,
    texts: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: Key,
    /// 0 if the slot is free.
    node: u32,
    text: u32,
}

impl Literals {
    /// The node behind a segment.
    #[inline]
    pub(super) fn get(&self, key: Key, bytes: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut index = self.start(key);
        loop {
            let slot = &self.slots[index];
            if slot.node == 0 {
                return None;
            }
            if slot.key == key && (bytes.len() < 16 || self.texts[slot.text as usize].as_bytes() == bytes) {
                return Some(slot.node);
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    /// The node behind a literal, which is `new` if there was none.
    pub(super) fn get_or_insert(&mut self, text: &str, new: u32) -> u32 {
        let (key, _) = next_segment(text.as_bytes(), 0);
        if let Some(known) = self.get(key, text.as_bytes()) {
            return known;
        }
        self.texts.push(text.into());
        let free = vec![Slot::default(); (2 * self.texts.len()).next_power_of_two()];
        let known = std::mem::replace(&mut self.slots, free);
        let taken = known.into_iter().filter(|slot| slot.node != 0);
        for slot in taken.chain([Slot { key, node: new, text: self.texts.len() as u32 - 1 }]) {
            let mut index = self.start(slot.key);
            while self.slots[index].node != 0 {
                index = (index + 1) & (self.slots.len() - 1);
            }
            self.slots[index] = slot;
        }
        new
    }

    /// All nodes, in no order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|slot| slot.node).filter(|&node| node != 0)
    }

    /// Where the search for a key begins.
    #[inline]
    fn start(&self, key: Key) -> usize {
        let hash = (key.head ^ key.tail.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> 32) as usize & (self.slots.len() - 1)
    }
}
