//! Anonymous memory straight from the system: what the kernel may read and write on our behalf.
//!
//! Owns: one mapping, from `mmap` to `munmap`, and which of its pages are usable.
//! Must not know: what lies in it.
//!
//! Invariants, named by the comments below and by the modules that build on them:
//!
//! - `REGION-OWNED`: `base..base + bytes` is one mapping made by this value, and nothing but its drop unmaps
//!   it. Both ends lie on page borders.
//! - `REGION-USABLE`: a page is readable and writable from the `map` or `commit` that covers it until the
//!   region is dropped; `discard` may zero it but never takes it away.

#![allow(unsafe_code, reason = "maps, protects and unmaps memory")]

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// Zeroed, page-aligned, private memory, unmapped when dropped.
///
/// Whoever lends a part of it to the kernel keeps the region until the kernel has finished.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    bytes: usize,
}

#[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
impl Region {
    /// Maps `bytes` (rounded up to whole pages), readable, writable and zeroed. Pages cost nothing before
    /// they are touched, and are never merged into huge pages: one touched byte must not hold 2 MiB.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `bytes` is 0 or cannot be rounded up; otherwise what `mmap` says, most often
    /// `OutOfMemory`.
    pub fn map(bytes: usize) -> io::Result<Region> {
        Region::map_with(bytes, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Takes `bytes` (rounded up to whole pages) of address space, none of it usable before
    /// [`Region::commit`]. Address space alone is charged to nobody, even where the system refuses to
    /// overcommit.
    pub(crate) fn reserve(bytes: usize) -> io::Result<Region> {
        Region::map_with(bytes, libc::PROT_NONE)
    }

    /// The first byte, on a page border.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes, a multiple of the page size.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Makes every page that `range` (in bytes) touches readable and writable; what it held stays.
    pub(crate) fn commit(&self, range: Range<usize>) -> io::Result<()> {
        debug_assert!(range.start < range.end && range.end <= self.bytes);
        let page = page_bytes();
        let start = range.start / page * page;
        let bytes = range.end.next_multiple_of(page) - start;
        // SAFETY: REGION-OWNED: `start < bytes`, so the result stays inside the mapping.
        let address = unsafe { self.base.add(start) };
        // SAFETY: REGION-OWNED: these are whole pages of our own mapping, and the change only adds rights.
        let result =
            unsafe { libc::mprotect(address.as_ptr().cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Gives the pages that lie wholly inside `range` (in bytes) back to the system. They stay usable and
    /// read as zero until written again; where the system refuses (locked memory), they keep what they held.
    ///
    /// Nobody, the kernel included, may still count on what `range` holds.
    pub(crate) fn discard(&self, range: Range<usize>) {
        debug_assert!(range.start <= range.end && range.end <= self.bytes);
        let page = page_bytes();
        let start = range.start.next_multiple_of(page);
        let end = range.end / page * page;
        if start >= end {
            return;
        }
        // SAFETY: REGION-OWNED: `start < end <= bytes`, so the result stays inside the mapping.
        let address = unsafe { self.base.add(start) };
        // SAFETY: REGION-OWNED: these are whole pages of our own mapping. Bytes turning to zero is a write to
        // memory that the caller says nobody counts on.
        // A refusal costs memory and nothing else, so there is nothing to report.
        unsafe { libc::madvise(address.as_ptr().cast(), end - start, libc::MADV_DONTNEED) };
    }

    fn map_with(bytes: usize, protection: libc::c_int) -> io::Result<Region> {
        let bytes = match bytes.checked_next_multiple_of(page_bytes()) {
            Some(bytes) if bytes > 0 && isize::try_from(bytes).is_ok() => bytes,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(address.cast::<u8>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        // SAFETY: REGION-OWNED, established by the call above; the advice changes no byte.
        // Kernels built without huge pages refuse it, and need it least.
        unsafe { libc::madvise(address, bytes, libc::MADV_NOHUGEPAGE) };
        Ok(Region { base, bytes })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: REGION-OWNED: this is the mapping that `map_with` made, and dropping happens once.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(result, 0);
    }
}

/// The size of a page in bytes.
fn page_bytes() -> usize {
    // SAFETY: asks for a constant; touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    debug_assert!(bytes > 0);
    usize::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(region: &Region, offset: usize) -> u8 {
        assert!(offset < region.len());
        // SAFETY: in bounds, and every test reads committed pages only (REGION-USABLE).
        unsafe { region.as_ptr().add(offset).read() }
    }

    fn write(region: &Region, offset: usize, byte: u8) {
        assert!(offset < region.len());
        // SAFETY: as in `read`.
        unsafe { region.as_ptr().add(offset).write(byte) };
    }

    #[test]
    fn map_rounds_up_and_zeroes() {
        let region = Region::map(1).unwrap();
        let page = page_bytes();
        assert_eq!(region.len(), page);
        assert_eq!(region.as_ptr().as_ptr() as usize % page, 0);
        assert_eq!(read(&region, 0), 0);
        write(&region, page - 1, 7);
        assert_eq!(read(&region, page - 1), 7);
    }

    #[test]
    fn map_refuses_what_cannot_be() {
        assert_eq!(Region::map(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Region::map(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Region::map(isize::MAX as usize).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Region::map(1 << 60).is_err());
    }

    #[test]
    fn commit_covers_and_discard_stays_inside() {
        let page = page_bytes();
        let region = Region::reserve(8 * page).unwrap();
        region.commit(page / 2..3 * page + 1).unwrap();
        for index in 0..4 {
            write(&region, index * page, 1);
        }
        region.discard(page / 2..3 * page + 1);
        assert_eq!([0, 1, 2, 3].map(|index| read(&region, index * page)), [1, 0, 0, 1]);
        region.commit(0..4 * page).unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| read(&region, index * page)), [1, 0, 0, 1]);
        region.discard(page..page + 1);
    }
}
