//! Waking a worker from another thread: an eventfd that its driver listens on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::{Fd, check};

/// Wakes one worker; clones wake the same worker. Any thread may hold one.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    eventfd: Arc<OwnedFd>,
}

impl Waker {
    /// Makes the eventfd, non-blocking so that neither side ever waits in it.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two integers, returns a descriptor or -1.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let eventfd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { eventfd })
    }

    /// The descriptor that becomes readable by a wake-up.
    pub(crate) fn fd(&self) -> Fd {
        Fd(self.eventfd.as_raw_fd())
    }

    /// Wakes the worker: its driver reports [`Event::Woken`](crate::driver::Event::Woken) once or more.
    pub(crate) fn wake(&self) {
        let one: u64 = 1;
        // SAFETY: `one` is valid for 8 bytes. The only error is EAGAIN, when 2^64 - 2 wake-ups are pending:
        // then the worker is being woken anyway.
        unsafe { libc::write(self.fd().0, (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Takes back all wake-ups so far. Returns false when there were none.
    pub(crate) fn drain(&self) -> bool {
        let mut count: u64 = 0;
        // SAFETY: `count` is valid for 8 bytes.
        let read = unsafe { libc::read(self.fd().0, (&raw mut count).cast(), size_of::<u64>()) };
        read == 8
    }
}
