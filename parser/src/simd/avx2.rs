//! 32 bytes at a time on x86-64 with AVX2.
//!
//! It must not know anything but its instructions; the loops are in `lanes`.

#![allow(unsafe_code, reason = "vector instructions; each use is justified by a value that proves detection")]

use super::{Class, Task, lanes::Lanes};
use crate::table::{HIGH_NIBBLES, TARGET_NIBBLES, TOKEN_NIBBLES};
use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_andnot_si256, _mm256_broadcastsi128_si256,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16,
};

/// Proves that the processor has AVX2, BMI1, BMI2 and LZCNT: only `detect` makes one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    #[cfg(feature = "std")]
    pub(super) fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("lzcnt");
        found.then_some(Self(()))
    }

    #[cfg(not(feature = "std"))]
    pub(super) fn detect() -> Option<Self> {
        let granted = cfg!(all(
            target_feature = "avx2",
            target_feature = "bmi1",
            target_feature = "bmi2",
            target_feature = "lzcnt"
        ));
        granted.then_some(Self(()))
    }
}

/// Runs `task` on this level.
#[inline(always)]
pub(super) fn enter<T: Task>(level: Avx2, task: T) -> T::Output {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn inner<T: Task>(level: Avx2, task: T) -> T::Output {
        task.run(level)
    }
    // SAFETY: `level` proves that the processor has the enabled features.
    unsafe { inner(level, task) }
}

#[inline(always)]
fn table(nibbles: &[u8; 16]) -> __m256i {
    // SAFETY: the reference is valid for a read of 16 bytes, unaligned loads are asked for, and this is
    // only called with an `Avx2` in hand.
    unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(nibbles.as_ptr().cast::<__m128i>())) }
}

/// Mask of the bytes whose class bit is not set in `nibbles`.
#[inline(always)]
fn not_in(_: Avx2, block: __m256i, nibbles: &[u8; 16]) -> u64 {
    let (low_table, high_table) = (table(nibbles), table(&HIGH_NIBBLES));
    // SAFETY: register instructions, and the `Avx2` proves that the processor has them.
    let mask = unsafe {
        let low = _mm256_shuffle_epi8(low_table, block);
        let nibble = _mm256_and_si256(_mm256_srli_epi16::<4>(block), _mm256_set1_epi8(0x0f));
        let high = _mm256_shuffle_epi8(high_table, nibble);
        let class = _mm256_and_si256(low, high);
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(class, _mm256_setzero_si256()))
    };
    u64::from(mask as u32)
}

/// Mask of the bytes that are CTL, but for HTAB.
#[inline(always)]
fn control(_: Avx2, block: __m256i) -> u64 {
    // SAFETY: register instructions, and the `Avx2` proves that the processor has them.
    let mask = unsafe {
        let control = _mm256_cmpeq_epi8(_mm256_min_epu8(block, _mm256_set1_epi8(0x1f)), block);
        let tab = _mm256_cmpeq_epi8(block, _mm256_set1_epi8(b'\t' as i8));
        let del = _mm256_cmpeq_epi8(block, _mm256_set1_epi8(0x7f));
        _mm256_movemask_epi8(_mm256_or_si256(_mm256_andnot_si256(tab, control), del))
    };
    u64::from(mask as u32)
}

impl Lanes for Avx2 {
    const WIDTH: usize = 32;
    const BITS: usize = 1;
    type Block = __m256i;

    #[inline(always)]
    fn load(self, bytes: &[u8], at: usize) -> Option<__m256i> {
        let chunk: &[u8; 32] = bytes.get(at..)?.first_chunk()?;
        // SAFETY: `chunk` is valid for a read of 32 bytes, an unaligned load is asked for, and `self`
        // proves that the processor has it.
        Some(unsafe { _mm256_loadu_si256(chunk.as_ptr().cast::<__m256i>()) })
    }

    #[inline(always)]
    fn outside(self, block: __m256i, class: Class) -> u64 {
        match class {
            Class::Target => not_in(self, block, &TARGET_NIBBLES),
            Class::Token => not_in(self, block, &TOKEN_NIBBLES),
            Class::Value => control(self, block),
        }
    }
}
