//! The system calls of the epoll driver: readiness, and socket calls that never wait.
//!
//! Owns the epoll descriptor and the layout of its events. It must know neither what the tokens in the events
//! stand for nor when to call again after `EAGAIN`: that is the driver's.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Fd, check};

/// Readable, or a connection to accept.
pub(crate) const IN: u32 = libc::EPOLLIN as u32;
/// Writable again.
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
/// The peer will send nothing more, or the socket failed: no more data may be waited for.
pub(crate) const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
/// Both directions have ended: a send finds out how.
pub(crate) const BROKEN: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// What a descriptor is watched for. Failures are reported whatever is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// A connection: data and end of file, told once per change.
    Receive,
    /// A connection whose socket buffer has been full: room in it, too.
    ReceiveAndSend,
    /// Anything that can be polled, told once: then nothing more until it is asked for again.
    ReadOnce,
    /// The same for writing.
    WriteOnce,
    /// The same for either, whichever comes first.
    ReadOrWriteOnce,
    /// A listener, which other workers may be sharing: told as long as one waits, preferably to one worker.
    Accept,
    /// An eventfd: told until it is drained.
    Wake,
}

impl Interest {
    fn flags(self) -> u32 {
        let flags = match self {
            Self::Receive => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET,
            Self::ReceiveAndSend => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Self::ReadOnce => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLONESHOT,
            Self::WriteOnce => libc::EPOLLOUT | libc::EPOLLONESHOT,
            Self::ReadOrWriteOnce => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLONESHOT,
            Self::Accept => libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
            Self::Wake => libc::EPOLLIN,
        };
        flags.cast_unsigned()
    }
}

/// An epoll instance and room for what one wait reports.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    reported: usize,
}

impl Poller {
    /// Makes the instance; one wait reports at most `batch` descriptors.
    pub(crate) fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: takes an integer, returns a descriptor or -1.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let batch = batch.clamp(1, BATCH_MAX);
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; batch].into(), reported: 0 })
    }

    /// Watches `fd`; its events carry `token`.
    pub(crate) fn add(&self, fd: Fd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest.flags(), token)
    }

    /// Watches `fd` for something else; what is the case already is told again.
    pub(crate) fn modify(&self, fd: Fd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest.flags(), token)
    }

    /// Watches `fd` no longer. Closing the last descriptor of a socket does the same.
    pub(crate) fn remove(&self, fd: Fd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: libc::c_int, fd: Fd, flags: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags, u64: token };
        // SAFETY: `event` is valid for the read, and the kernel keeps no pointer to it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.0, &raw mut event) })?;
        Ok(())
    }

    /// Waits at most `millis` milliseconds, without end if `None`, and returns how many descriptors have
    /// something to tell. A signal ends the wait early.
    pub(crate) fn wait(&mut self, millis: Option<u64>) -> io::Result<usize> {
        let timeout = millis.map_or(-1, |millis| i32::try_from(millis).unwrap_or(i32::MAX));
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        self.reported = 0;
        // SAFETY: `events` is valid for `room` elements, and any bytes are a valid `epoll_event`.
        let reported = check(unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, timeout)
        });
        match reported {
            Ok(reported) => self.reported = usize::try_from(reported).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(self.reported)
    }

    /// The flags and the token of the event `index` of the last wait.
    pub(crate) fn event(&self, index: usize) -> (u32, u64) {
        debug_assert!(index < self.reported, "an event of an earlier wait");
        let event = self.events[index];
        (event.events, event.u64)
    }
}

/// Accepts one connection, non-blocking and closed on exec.
pub(crate) fn accept(listener: Fd) -> io::Result<Fd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null for the address is what accept4 takes when nobody asks for it.
    let fd = check(unsafe { libc::accept4(listener.0, ptr::null_mut(), ptr::null_mut(), flags) })?;
    Ok(Fd(fd))
}

/// Receives what is there; 0 is the end of the stream.
pub(crate) fn receive(socket: Fd, into: &mut [u8]) -> io::Result<usize> {
    debug_assert!(!into.is_empty(), "an empty buffer cannot tell data from the end");
    // SAFETY: `into` is valid for writes of its length, and the call does not outlive it.
    let received = unsafe { libc::recv(socket.0, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
    check_length(received)
}

/// Sends as much of `first` and then of `second` as the socket takes.
pub(crate) fn send(socket: Fd, first: &[u8], second: &[u8], more_follows: bool) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more_follows { libc::MSG_MORE } else { 0 };
    if first.is_empty() || second.is_empty() {
        let bytes = if first.is_empty() { second } else { first };
        // SAFETY: `bytes` is valid for reads of its length, and the call does not outlive it.
        return check_length(unsafe { libc::send(socket.0, bytes.as_ptr().cast(), bytes.len(), flags) });
    }
    let mut parts = [first, second]
        .map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths. Field by field it could
    // not be written for every libc, some pad it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: `message` points at `parts`, those at the two slices; all outlive the call, and sendmsg only
    // reads, so that the casts from `*const` are sound.
    check_length(unsafe { libc::sendmsg(socket.0, &raw const message, flags) })
}

/// Closes a socket. Whatever this returns, the number is free afterwards: there is nothing to try again.
pub(crate) fn close(socket: Fd) {
    // SAFETY: takes an integer. The caller owns the number and does not use it again.
    unsafe { libc::close(socket.0) };
}

/// Makes a descriptor non-blocking: an accept must not wait for a connection that another worker took.
pub(crate) fn set_nonblocking(fd: Fd) -> io::Result<()> {
    // SAFETY: takes two integers.
    let flags = check(unsafe { libc::fcntl(fd.0, libc::F_GETFL) })?;
    // SAFETY: takes three integers.
    check(unsafe { libc::fcntl(fd.0, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Moves a socket to a number of the test's choice, to see numbers used again.
#[cfg(test)]
pub(crate) fn renumber(socket: Fd, number: libc::c_int) -> Fd {
    // SAFETY: takes three integers; the tests choose numbers that nothing else in the process reaches.
    let moved = check(unsafe { libc::dup3(socket.0, number, libc::O_CLOEXEC) });
    close(socket);
    Fd(moved.expect("a number below the limit"))
}

/// As [`check`], for calls that return a length.
fn check_length(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// 64 KiB of events: more would not fit a cache that also has requests to hold.
const BATCH_MAX: usize = 4096;
