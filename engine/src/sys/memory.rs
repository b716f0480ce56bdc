//! Memory of the heap that is free, given back to the system.

/// Gives back what earlier peaks have left: the allocator keeps it otherwise as long as anything above it lives.
/// With another C library, or another allocator, it does nothing.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number; the C library locks its own arenas.
    unsafe {
        libc::malloc_trim(0);
    }
}
