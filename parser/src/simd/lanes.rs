//! The scans over vectors, written once: an instruction set supplies a load and a mask.
//!
//! It must not know any instruction. No closures here: one is compiled without the instructions of the
//! level, and then called instead of inlined.

use super::{Class, Portable, Scan};

/// What one instruction set supplies.
pub(super) trait Lanes: Copy {
    /// Bytes in a block.
    const WIDTH: usize;
    /// Bits of a mask for each byte.
    const BITS: usize;
    /// A vector register.
    type Block: Copy;

    /// The block at `at`, if all of it lies in `bytes`.
    fn load(self, bytes: &[u8], at: usize) -> Option<Self::Block>;

    /// Which bytes of a block are outside of `class`: [`Lanes::BITS`] bits for each byte, that of the
    /// first lowest, and not all zero exactly if the byte is outside.
    fn outside(self, block: Self::Block, class: Class) -> u64;
}

/// The last block of `bytes`, and by how many bits its mask has to be shifted to begin at `at`. Loading
/// what lies before `at` once more is what saves the scans a byte-by-byte tail.
#[inline(always)]
fn tail<L: Lanes>(lanes: L, bytes: &[u8], at: usize) -> Option<(L::Block, usize)> {
    let start = bytes.len().checked_sub(L::WIDTH)?;
    let block = lanes.load(bytes, start)?;
    Some((block, (at - start) * L::BITS))
}

#[inline(always)]
fn first<L: Lanes>(mask: u64) -> usize {
    mask.trailing_zeros() as usize / L::BITS
}

#[inline(always)]
fn find<L: Lanes>(lanes: L, bytes: &[u8], from: usize, class: Class) -> usize {
    let mut at = from;
    while let Some(block) = lanes.load(bytes, at) {
        let mask = lanes.outside(block, class);
        if mask != 0 {
            return at + first::<L>(mask);
        }
        at += L::WIDTH;
    }
    if at >= bytes.len() {
        return bytes.len();
    }
    let Some((block, shift)) = tail(lanes, bytes, at) else { return short(bytes, at, class) };
    let mask = lanes.outside(block, class) >> shift;
    if mask != 0 { at + first::<L>(mask) } else { bytes.len() }
}

/// For fewer bytes than one block. Out of line, to keep it out of the loops of the parser.
#[cold]
#[inline(never)]
fn short(bytes: &[u8], from: usize, class: Class) -> usize {
    match class {
        Class::Target => Portable.target_end(bytes, from),
        Class::Token => Portable.token_end(bytes, from),
        Class::Value => Portable.value_end(bytes, from),
    }
}

impl<L: Lanes> Scan for L {
    #[inline(always)]
    fn target_end(self, bytes: &[u8], from: usize) -> usize {
        find(self, bytes, from, Class::Target)
    }

    #[inline(always)]
    fn token_end(self, bytes: &[u8], from: usize) -> usize {
        find(self, bytes, from, Class::Token)
    }

    #[inline(always)]
    fn value_end(self, bytes: &[u8], from: usize) -> usize {
        find(self, bytes, from, Class::Value)
    }

    #[inline(always)]
    fn line_ends(self, bytes: &[u8], from: usize) -> (usize, usize) {
        let (block, shift) = match self.load(bytes, from) {
            Some(block) => (block, 0),
            None if from < bytes.len() => match tail(self, bytes, from) {
                Some(tail) => tail,
                None => return (short(bytes, from, Class::Token), short(bytes, from, Class::Value)),
            },
            None => return (bytes.len(), bytes.len()),
        };
        // A mask without a bit says "not in this block", also where the end of `bytes` cut the block off.
        let names = self.outside(block, Class::Token) >> shift;
        let values = self.outside(block, Class::Value) >> shift;
        let next = (from + L::WIDTH).min(bytes.len());
        let value_end = if values != 0 { from + first::<L>(values) } else { self.value_end(bytes, next) };
        // Hardly any name is longer than a block.
        let name_end = if names != 0 { from + first::<L>(names) } else { short(bytes, next, Class::Token) };
        (name_end, value_end)
    }
}
