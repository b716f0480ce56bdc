//! One io_uring instance: set-up by trying, submission, entering, and the completion queue.
//!
//! Owns the ring's descriptor and the ladder of feature rungs. It must not know what the operations mean;
//! whoever pushes an operation answers for the memory that it names.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, squeue};

use super::check;

/// Entries of the submission queue. A turn that queues more than this enters the kernel in between.
const SUBMISSION_ENTRIES: u32 = 1024;

/// Entries of the completion queue, so large that it does not overflow: an overflow ends multishot
/// operations. The kernel clamps it to its own limit.
const COMPLETION_ENTRIES: u32 = 16 * 1024;

/// A set of ring features that some kernels have; tried from the best down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// Linux 6.6: deferred task work, and no index array between queue and entries.
    DeferredNoArray,
    /// Linux 6.1: task work runs only when the worker asks for completions, in batches.
    Deferred,
    /// Linux 6.0: one thread submits, no interrupts to run task work.
    SingleIssuer,
    /// Linux 5.19: no interrupts to run task work.
    Cooperative,
}

impl Rung {
    /// All rungs, best first.
    pub(crate) const ALL: [Self; 4] =
        [Self::DeferredNoArray, Self::Deferred, Self::SingleIssuer, Self::Cooperative];

    /// What the start-up line says.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DeferredNoArray => "deferred task work, no index array",
            Self::Deferred => "deferred task work",
            Self::SingleIssuer => "single issuer",
            Self::Cooperative => "cooperative task work",
        }
    }
}

/// An io_uring instance, entered only by the thread that made it.
pub(crate) struct Ring {
    ring: IoUring,
    /// The ring's descriptor, or its index once registered (saves a descriptor look-up per enter).
    enter_fd: i32,
    enter_flags: u32,
    /// The registration of the descriptor is the thread's.
    not_send: PhantomData<*const ()>,
}

/// How often the kernel may take nothing out of a full submission queue before that counts as broken.
const PUSH_TRIES: u32 = 64;

/// The longest wait, in milliseconds: 24 days. The kernel adds it to its clock, which must not overflow.
const WAIT_MILLIS_MAX: u64 = i32::MAX as u64;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

/// `struct io_uring_getevents_arg` of the kernel.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_micros: u32,
    timespec: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

/// `struct io_uring_rsrc_update` of the kernel.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

impl Ring {
    /// Sets a ring up with the features of `rung`.
    ///
    /// # Errors
    /// EINVAL where the kernel lacks a feature; EPERM, ENOSYS or ENOMEM where it refuses rings at all.
    pub(crate) fn open(rung: Rung) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(COMPLETION_ENTRIES);
        builder.setup_submit_all().setup_coop_taskrun();
        if rung <= Rung::SingleIssuer {
            builder.setup_single_issuer();
        }
        if rung <= Rung::Deferred {
            builder.setup_defer_taskrun();
        }
        if rung <= Rung::DeferredNoArray {
            builder.setup_no_sqarray();
        }
        let ring = builder.build(SUBMISSION_ENTRIES)?;
        if !ring.params().is_feature_ext_arg() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let enter_fd = ring.as_raw_fd();
        let mut opened = Self { ring, enter_fd, enter_flags: ENTER_GETEVENTS, not_send: PhantomData };
        opened.register_descriptor();
        Ok(opened)
    }

    /// Registers the ring's descriptor with this thread; where that fails the plain one serves.
    fn register_descriptor(&mut self) {
        let mut update = ResourceUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: self.ring.as_raw_fd().cast_unsigned().into(),
        };
        if self.register(REGISTER_RING_FDS, &mut update) == 1 {
            self.enter_fd = update.offset.cast_signed();
            self.enter_flags |= ENTER_REGISTERED_RING;
        }
    }

    fn register(&self, operation: libc::c_uint, update: &mut ResourceUpdate) -> libc::c_long {
        // SAFETY: the argument points to one valid `io_uring_rsrc_update`, which the call reads and may fill
        // in; both operations take an array of these.
        unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                operation,
                &raw mut *update,
                1 as libc::c_uint,
            )
        }
    }

    /// Registers a ring of provided buffers as `group`.
    ///
    /// # Safety
    /// `entries` buffer entries at `address` stay valid until this ring is gone.
    ///
    /// # Errors
    /// EINVAL before Linux 5.19; EPERM or ENOSYS where a sandbox forbids registering.
    pub(crate) unsafe fn register_buffers(
        &self,
        address: *mut u8,
        entries: u16,
        group: u16,
    ) -> io::Result<()> {
        // SAFETY: promised by the caller.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address as u64, entries, group, 0) }
    }

    /// Queues an operation; enters the kernel first if the queue is full.
    ///
    /// # Safety
    /// Whatever memory the operation names stays valid, and for writes by the kernel unshared, until its
    /// final completion.
    ///
    /// # Errors
    /// Only when the queue is full and the kernel takes nothing out of it.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..PUSH_TRIES {
            // SAFETY: promised by the caller.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0, None)?;
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Submits everything queued and waits until `want` completions are there or `timeout_millis` have
    /// passed. The one system call of a loop turn.
    ///
    /// # Errors
    /// What the kernel says, except for time-outs, signals and a full completion queue, which are no errors:
    /// look at the completions, then enter again.
    pub(crate) fn enter(&mut self, want: u32, timeout_millis: Option<u64>) -> io::Result<()> {
        self.enter_coalescing(want, 0, timeout_millis)
    }

    /// The same, but `min_wait_micros` after its start one completion is enough; without a time-out it then returns in any
    /// case. 0 is no such time. Only where the kernel [has it](Self::has_min_wait).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    #[inline]
    pub(crate) fn enter_coalescing(
        &mut self,
        want: u32,
        min_wait_micros: u32,
        timeout_millis: Option<u64>,
    ) -> io::Result<()> {
        let to_submit = self.ring.submission().len() as libc::c_uint;
        let mut timespec = Timespec { seconds: 0, nanos: 0 };
        let mut argument = GetEventsArg { sigmask: 0, sigmask_bytes: 0, min_wait_micros, timespec: 0 };
        let mut flags = self.enter_flags;
        if let Some(millis) = timeout_millis {
            let millis = millis.min(WAIT_MILLIS_MAX);
            timespec.seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
            timespec.nanos = (millis % 1000).cast_signed() * 1_000_000;
            argument.timespec = (&raw const timespec) as u64;
        }
        let (pointer, bytes) = if timeout_millis.is_none() && min_wait_micros == 0 {
            (std::ptr::null(), 0)
        } else {
            flags |= ENTER_EXT_ARG;
            (&raw const argument, size_of::<GetEventsArg>())
        };
        // SAFETY: `pointer` is null or names `argument`, which names `timespec`; both outlive the call. The
        // memory of the submitted operations was promised to `push`.
        let entered = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, self.enter_fd, to_submit, want, flags, pointer, bytes)
        };
        if entered >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// The next completion, if there is one.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Whether completions are waiting to be taken.
    #[inline]
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// How many completions are waiting to be taken.
    pub(crate) fn completions(&mut self) -> u32 {
        u32::try_from(self.ring.completion().len()).unwrap_or(u32::MAX)
    }

    /// Whether the kernel has [`enter_coalescing`](Self::enter_coalescing).
    pub(crate) fn has_min_wait(&self) -> bool {
        self.ring.params().is_feature_min_timeout()
    }
}

impl Drop for Ring {
    /// Without this the thread would hold the ring, and what it was cancelled for, to its own end.
    fn drop(&mut self) {
        if self.enter_flags & ENTER_REGISTERED_RING != 0 {
            let mut update = ResourceUpdate { offset: self.enter_fd.cast_unsigned(), reserved: 0, data: 0 };
            let unregistered = self.register(UNREGISTER_RING_FDS, &mut update);
            debug_assert_eq!(unregistered, 1);
        }
    }
}

/// What is known of why a ring was refused, for messages; empty when nothing is.
pub(crate) fn refusal_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "kernel.io_uring_disabled or a seccomp filter forbids it",
        Some(libc::ENOSYS) => "the kernel or the sandbox does not have it",
        Some(libc::ENOMEM) => "the locked-memory limit is too low",
        Some(libc::EINVAL) => "the kernel lacks a feature that was asked for; Linux 5.19 is the least",
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor is left",
        _ => "",
    }
}

/// A connected pair of sockets, for trying operations out.
pub(crate) fn socket_pair() -> io::Result<[std::os::fd::OwnedFd; 2]> {
    use std::os::fd::FromRawFd;
    let mut pair = [0; 2];
    // SAFETY: `pair` is valid for two descriptors.
    check(unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr())
    })?;
    // SAFETY: both descriptors are new and nobody else's.
    Ok(pair.map(|fd| unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }))
}

/// Sends one byte into a socket of a pair.
pub(crate) fn send_byte(socket: &std::os::fd::OwnedFd) -> io::Result<()> {
    let byte = [b'.'];
    // SAFETY: `byte` is valid for one byte.
    let sent = unsafe { libc::send(socket.as_raw_fd(), byte.as_ptr().cast(), 1, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_that_are_gone_hold_no_place() {
        let is_registered =
            || Ring::open(Rung::Cooperative).map(|ring| ring.enter_flags & ENTER_REGISTERED_RING);
        match is_registered() {
            Err(error) => eprintln!("not tested: {error}"),
            // A thread has 16 places.
            Ok(first) => assert!((0..40).all(|_| is_registered().unwrap() == first)),
        }
    }
}
