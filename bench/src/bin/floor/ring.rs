//! The raw parts of a ring: how the kernel is entered, memory that stays, and the buffers it receives into.

use std::io::{Error, Result};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::Options;

pub(crate) const BUFFER_GROUP: u16 = 0;
const ENTER_FLAGS: u32 = 1 | 1 << 4; // GETEVENTS | REGISTERED_RING
const REGISTER_RING_FDS: u32 = 20;

/// Enters the kernel once: submits everything and waits for one completion.
pub(crate) fn enter(registered_ring: u32, submit: u32) -> Result<()> {
    // SAFETY: the submitted entries point to memory that outlives the ring (see `serve`); no argument is passed.
    let status = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            registered_ring,
            submit,
            1u32,
            ENTER_FLAGS,
            ptr::null::<u8>(),
            0usize,
        )
    };
    if status >= 0 {
        return Ok(());
    }
    match Error::last_os_error() {
        // Interrupted, or completions must be reaped first: the next turn does both.
        error if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => Ok(()),
        error => Err(error),
    }
}

pub(crate) fn register_ring(ring: RawFd) -> Result<u32> {
    #[repr(C)]
    struct Update {
        offset: u32,
        reserved: u32,
        data: u64,
    }
    let mut update = Update { offset: u32::MAX, reserved: 0, data: ring as u64 };
    // SAFETY: the kernel reads and writes one update of this layout, which lives across the call.
    let status =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, &raw mut update, 1u32) };
    if status < 0 { Err(Error::last_os_error()) } else { Ok(update.offset) }
}

/// Zeroed pages that are never unmapped: the kernel may use them until the process ends.
pub(crate) fn pages(bytes: usize) -> Result<*mut u8> {
    // SAFETY: a fresh anonymous mapping touches no existing memory.
    let address = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if address == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(address.cast()) }
}

/// The provided receive buffers and the ring that hands them to the kernel.
pub(crate) struct Buffers {
    entries: *mut BufRingEntry,
    count: u16,
    tail: u16,
    memory: *mut u8,
    pub(crate) bytes: usize,
    stride: usize,
}

impl Buffers {
    pub(crate) fn register(ring: &IoUring, options: &Options) -> Result<Self> {
        let count = options.buffers;
        let mut buffers = Self {
            entries: pages(usize::from(count) * size_of::<BufRingEntry>())?.cast(),
            count,
            tail: 0,
            memory: pages(usize::from(count) * options.stride_bytes)?,
            bytes: options.buffer_bytes,
            stride: options.stride_bytes,
        };
        // SAFETY: the entries are page-aligned, as many as stated, and never unmapped.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.entries as u64, count, BUFFER_GROUP, 0)?;
        }
        (0..count).for_each(|id| buffers.give_back(id));
        buffers.publish();
        Ok(buffers)
    }

    /// The first `length` bytes of a buffer which the kernel has filled and handed over.
    pub(crate) fn filled(&self, id: u16, length: usize) -> &[u8] {
        assert!(id < self.count && length <= self.bytes);
        // SAFETY: in bounds by the assertion; the kernel leaves the buffer alone until it is given back.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(id) * self.stride), length) }
    }

    /// Queues a buffer for the kernel, which sees it at the next `publish`.
    pub(crate) fn give_back(&mut self, id: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `slot` is in bounds by the mask; the kernel does not read entries at or past the tail.
        let entry = unsafe { &mut *self.entries.add(slot) };
        entry.set_addr(self.memory as u64 + (usize::from(id) * self.stride) as u64);
        entry.set_len(self.bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The buffer that the kernel filled after the one just given back. It takes them in the order of the ring,
    /// and each is given back before the next completion is looked at, so that this order is that of the ids.
    pub(crate) fn next_in_bundle(&self, id: u16) -> u16 {
        assert_eq!(self.tail.wrapping_sub(1) & (self.count - 1), id, "buffers out of order");
        self.tail & (self.count - 1)
    }

    pub(crate) fn publish(&self) {
        // SAFETY: the entries are the registered ring's; its tail is aligned and only this thread writes it.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}
