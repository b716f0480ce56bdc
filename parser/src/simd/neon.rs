//! 16 bytes at a time on AArch64 with NEON.
//!
//! It must not know anything but its instructions; the loops are in `lanes`.

#![allow(unsafe_code, reason = "vector instructions; each use is justified by a value that proves detection")]

use super::{Class, Task, lanes::Lanes};
use crate::table::{HIGH_NIBBLES, TARGET_NIBBLES, TOKEN_NIBBLES};
use core::arch::aarch64::{
    uint8x16_t, vandq_u8, vbicq_u8, vceqq_u8, vceqzq_u8, vcltq_u8, vdupq_n_u8, vget_lane_u64, vld1q_u8,
    vorrq_u8, vqtbl1q_u8, vreinterpret_u64_u8, vreinterpretq_u16_u8, vshrn_n_u16, vshrq_n_u8,
};

/// Proves that the processor has NEON: only `detect` makes one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Neon(());

impl Neon {
    #[cfg(feature = "std")]
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    #[cfg(not(feature = "std"))]
    pub(super) fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }
}

/// Runs `task` on this level.
#[inline(always)]
pub(super) fn enter<T: Task>(level: Neon, task: T) -> T::Output {
    #[target_feature(enable = "neon")]
    fn inner<T: Task>(level: Neon, task: T) -> T::Output {
        task.run(level)
    }
    // SAFETY: `level` proves that the processor has the enabled feature.
    unsafe { inner(level, task) }
}

#[inline(always)]
fn table(_: Neon, nibbles: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is valid for a read of 16 bytes, of any alignment, and the `Neon` proves that
    // the processor has the load.
    unsafe { vld1q_u8(nibbles.as_ptr()) }
}

/// Four bits for each byte: there is no instruction that gathers one bit of each, and this narrowing
/// shift comes closest.
#[inline(always)]
fn mask(_: Neon, flags: uint8x16_t) -> u64 {
    // SAFETY: register instructions, and the `Neon` proves that the processor has them.
    unsafe { vget_lane_u64::<0>(vreinterpret_u64_u8(vshrn_n_u16::<4>(vreinterpretq_u16_u8(flags)))) }
}

/// Mask of the bytes whose class bit is not set in `nibbles`.
#[inline(always)]
fn not_in(level: Neon, block: uint8x16_t, nibbles: &[u8; 16]) -> u64 {
    let (low_table, high_table) = (table(level, nibbles), table(level, &HIGH_NIBBLES));
    // SAFETY: register instructions, and `level` proves that the processor has them.
    let flags = unsafe {
        let low = vqtbl1q_u8(low_table, vandq_u8(block, vdupq_n_u8(0x0f)));
        let high = vqtbl1q_u8(high_table, vshrq_n_u8::<4>(block));
        vceqzq_u8(vandq_u8(low, high))
    };
    mask(level, flags)
}

/// Mask of the bytes that are CTL, but for HTAB.
#[inline(always)]
fn control(level: Neon, block: uint8x16_t) -> u64 {
    // SAFETY: register instructions, and the `Neon` proves that the processor has them.
    let flags = unsafe {
        let control = vcltq_u8(block, vdupq_n_u8(0x20));
        let tab = vceqq_u8(block, vdupq_n_u8(b'\t'));
        let del = vceqq_u8(block, vdupq_n_u8(0x7f));
        vorrq_u8(vbicq_u8(control, tab), del)
    };
    mask(level, flags)
}

impl Lanes for Neon {
    const WIDTH: usize = 16;
    const BITS: usize = 4;
    type Block = uint8x16_t;

    #[inline(always)]
    fn load(self, bytes: &[u8], at: usize) -> Option<uint8x16_t> {
        let chunk: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
        // SAFETY: `chunk` is valid for a read of 16 bytes, of any alignment, and `self` proves that the
        // processor has the load.
        Some(unsafe { vld1q_u8(chunk.as_ptr()) })
    }

    #[inline(always)]
    fn outside(self, block: uint8x16_t, class: Class) -> u64 {
        match class {
            Class::Target => not_in(self, block, &TARGET_NIBBLES),
            Class::Token => not_in(self, block, &TOKEN_NIBBLES),
            Class::Value => control(self, block),
        }
    }
}
