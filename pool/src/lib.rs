//! The memory of one worker: where bytes lent to the kernel lie, and who may touch them when.
//!
//! Owns: mapped [`Region`]s, the [`Blocks`] cut from them and their [`Lease`]s, the generational [`Slab`],
//! the [`Slots`] of values that stay where they are, the [`Spare`] shelf of reusable values, and the
//! [`MemoryPlan`] that sums up every holder.
//!
//! Must not know: sockets, rings, HTTP, or why anybody wants a block.
//!
//! Three rules hold throughout:
//!
//! - One thread. Nothing here is `Send` once it holds memory, so nothing here locks.
//! - An address stays. A block and a slab's value lie where they were first put until they are given back,
//!   because the kernel may hold a pointer to them.
//! - A burst is paid back. Whatever grew on demand has a `trim` that returns its pages to the system.

#![deny(unsafe_code)]

mod block;
mod payload;
mod plan;
mod region;
mod slab;
mod slots;
mod spare;

pub use block::{BlockConfig, BlockStats, Blocks, Lease, Lent};
pub use payload::Payload;
pub use plan::{Holder, MemoryPlan};
pub use region::Region;
pub use slab::{Key, Slab};
pub use slots::{Placed, Slots};
pub use spare::Spare;
