//! 16 bytes at a time on x86-64 with SSE4.2.
//!
//! It must not know anything but its instructions; the loops are in `lanes`. The string instructions of
//! the level are left alone: two shuffles classify a block in fewer cycles.

#![allow(unsafe_code, reason = "vector instructions; each use is justified by a value that proves detection")]

use super::{Class, Task, lanes::Lanes};
use crate::table::{HIGH_NIBBLES, TARGET_NIBBLES, TOKEN_NIBBLES};
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_srli_epi16,
};

/// Proves that the processor has SSE4.2, and so SSSE3: only `detect` makes one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Sse42(());

impl Sse42 {
    #[cfg(feature = "std")]
    pub(super) fn detect() -> Option<Self> {
        std::is_x86_feature_detected!("sse4.2").then_some(Self(()))
    }

    #[cfg(not(feature = "std"))]
    pub(super) fn detect() -> Option<Self> {
        cfg!(target_feature = "sse4.2").then_some(Self(()))
    }
}

/// Runs `task` on this level.
#[inline(always)]
pub(super) fn enter<T: Task>(level: Sse42, task: T) -> T::Output {
    #[target_feature(enable = "sse4.2")]
    fn inner<T: Task>(level: Sse42, task: T) -> T::Output {
        task.run(level)
    }
    // SAFETY: `level` proves that the processor has the enabled feature.
    unsafe { inner(level, task) }
}

#[inline(always)]
fn table(nibbles: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is valid for a read of 16 bytes, and an unaligned load is asked for; every
    // x86-64 has it.
    unsafe { _mm_loadu_si128(nibbles.as_ptr().cast::<__m128i>()) }
}

/// Mask of the bytes whose class bit is not set in `nibbles`.
#[inline(always)]
fn not_in(_: Sse42, block: __m128i, nibbles: &[u8; 16]) -> u64 {
    let (low_table, high_table) = (table(nibbles), table(&HIGH_NIBBLES));
    // SAFETY: register instructions, and the `Sse42` proves that the processor has them.
    let mask = unsafe {
        let low = _mm_shuffle_epi8(low_table, block);
        let nibble = _mm_and_si128(_mm_srli_epi16::<4>(block), _mm_set1_epi8(0x0f));
        let high = _mm_shuffle_epi8(high_table, nibble);
        let class = _mm_and_si128(low, high);
        _mm_movemask_epi8(_mm_cmpeq_epi8(class, _mm_setzero_si128()))
    };
    u64::from(mask as u32)
}

/// Mask of the bytes that are CTL, but for HTAB.
#[inline(always)]
fn control(_: Sse42, block: __m128i) -> u64 {
    // SAFETY: register instructions of SSE2, which every x86-64 has.
    let mask = unsafe {
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        let tab = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\t' as i8));
        let del = _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f));
        _mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del))
    };
    u64::from(mask as u32)
}

impl Lanes for Sse42 {
    const WIDTH: usize = 16;
    const BITS: usize = 1;
    type Block = __m128i;

    #[inline(always)]
    fn load(self, bytes: &[u8], at: usize) -> Option<__m128i> {
        let chunk: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
        // SAFETY: `chunk` is valid for a read of 16 bytes, and an unaligned load is asked for; every
        // x86-64 has it.
        Some(unsafe { _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>()) })
    }

    #[inline(always)]
    fn outside(self, block: __m128i, class: Class) -> u64 {
        match class {
            Class::Target => not_in(self, block, &TARGET_NIBBLES),
            Class::Token => not_in(self, block, &TOKEN_NIBBLES),
            Class::Value => control(self, block),
        }
    }
}
