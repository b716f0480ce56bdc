//! Every system call of the engine, made safe or refused.
//!
//! Owns descriptors, sockets, clocks, CPUs, signals and the two kernel interfaces for completions. It must
//! know neither connections nor HTTP. Nothing outside this room and the ring part of [`driver`](crate::driver)
//! talks to the kernel.

#![allow(unsafe_code, reason = "system calls; each block states why its arguments are sound")]

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod epoll;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod ring;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod wake;

use std::io;
use std::os::fd::RawFd;

/// A socket by number. Not an owner: the driver closes it when its connection says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fd(pub(crate) RawFd);

/// Turns the `-1` of a system call into the error that it left in `errno`.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
