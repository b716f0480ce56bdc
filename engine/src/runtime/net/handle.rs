//! A task's side of one socket.
//!
//! Owns the socket's place in the table: when the handle goes, the socket is closed. It must not know the protocol
//! that is spoken.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use peregrine_pool::Key;

use super::table::{End, Kind, Watch, flag};
use crate::driver::{Errno, Fd, Interest};
use crate::runtime::{Runtime, drop_foreign, timeout};

/// What has been written to a socket that is dropped may take so long to be sent.
const LINGER: Duration = Duration::from_secs(5);

/// See the module's text.
pub(super) struct Handle {
    pub(super) runtime: Rc<Runtime>,
    key: Key,
    /// Its end waits for what has been written.
    lingers: bool,
}

impl Handle {
    /// Takes a socket in, which is closed with the handle, or at once if there is no room for it.
    pub(super) fn new(runtime: &Rc<Runtime>, socket: OwnedFd, kind: Kind) -> io::Result<Self> {
        let handle = Self::adopt(runtime, Fd(socket.as_raw_fd()), kind)?;
        // The driver closes it.
        let _ = socket.into_raw_fd();
        Ok(handle)
    }

    /// The same for a descriptor by number.
    pub(super) fn adopt(runtime: &Rc<Runtime>, socket: Fd, kind: Kind) -> io::Result<Self> {
        let key = runtime.sockets.borrow_mut().insert(socket, kind).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { runtime: Rc::clone(runtime), key, lingers: true })
    }

    /// The descriptor, for system calls here and now.
    pub(super) fn fd(&self) -> io::Result<Fd> {
        self.runtime.sockets.borrow_mut().get(self.key).map(|socket| socket.fd).ok_or_else(worker_has_ended)
    }

    /// Waits until the socket is ready. The next system call may find that it is not, all the same.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        poll_fn(|context| self.poll_ready(context, interest)).await
    }

    fn poll_ready(&self, context: &Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        let mut sockets = self.runtime.sockets.borrow_mut();
        let Some(socket) = sockets.get(self.key) else { return Poll::Ready(Err(worker_has_ended())) };
        let watch = &mut socket.watches[interest as usize];
        if let Watch::Over(result) = *watch {
            *watch = Watch::Unwanted;
            return Poll::Ready(result.map_err(to_error));
        }
        *watch = Watch::Wanted;
        let former = match interest {
            Interest::Read => wait(&mut socket.reader, context),
            Interest::Write => wait(&mut socket.writer, context),
        };
        sockets.change(self.key);
        drop(sockets);
        drop_foreign(former);
        Poll::Pending
    }

    /// Hands out what has been received, up to `room` bytes; nothing at the end.
    pub(super) fn poll_read(
        &self,
        context: &Context<'_>,
        room: usize,
        put: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut sockets = self.runtime.sockets.borrow_mut();
        let Some(read) = sockets.read(self.key, room, put) else {
            return Poll::Ready(Err(worker_has_ended()));
        };
        if read > 0 || room == 0 {
            return Poll::Ready(Ok(read));
        }
        let Some(socket) = sockets.get(self.key) else { return Poll::Ready(Err(worker_has_ended())) };
        match socket.end {
            Some(End::Eof) => return Poll::Ready(Ok(0)),
            Some(End::Failed(error)) => return Poll::Ready(Err(to_error(error))),
            None => {}
        }
        let former = wait(&mut socket.reader, context);
        if !socket.has(flag::READ) {
            socket.flags |= flag::READ;
            sockets.change(self.key);
        }
        drop(sockets);
        drop_foreign(former);
        Poll::Pending
    }

    /// Copies what may be queued, at least a byte unless `parts` are empty.
    pub(super) fn poll_write(&self, context: &Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut sockets = self.runtime.sockets.borrow_mut();
        let blocks = sockets.send_blocks.clone();
        let Some(socket) = sockets.get(self.key) else { return Poll::Ready(Err(worker_has_ended())) };
        if let Some(error) = socket.send_error {
            return Poll::Ready(Err(to_error(error)));
        }
        if socket.has(flag::SHUT) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let is_empty = parts.iter().all(|part| part.is_empty());
        let Some(written) = socket.outbox.write(&blocks, parts) else {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        };
        if written > 0 {
            if !socket.has(flag::SENDING) {
                sockets.change(self.key);
            }
            return Poll::Ready(Ok(written));
        }
        if is_empty {
            return Poll::Ready(Ok(0));
        }
        let former = wait(&mut socket.writer, context);
        drop(sockets);
        drop_foreign(former);
        Poll::Pending
    }

    /// Waits until the kernel has all that was written.
    pub(super) fn poll_flush(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut sockets = self.runtime.sockets.borrow_mut();
        let Some(socket) = sockets.get(self.key) else { return Poll::Ready(Err(worker_has_ended())) };
        if let Some(error) = socket.send_error {
            return Poll::Ready(Err(to_error(error)));
        }
        if socket.unsent() == 0 {
            return Poll::Ready(Ok(()));
        }
        let former = wait(&mut socket.writer, context);
        drop(sockets);
        drop_foreign(former);
        Poll::Pending
    }

    /// The same, then ends the sending direction.
    pub(super) fn poll_shutdown(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        ready!(self.poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    /// Ends the sending direction with what has been written.
    pub(super) fn shut(&self) {
        let mut sockets = self.runtime.sockets.borrow_mut();
        if let Some(socket) = sockets.get(self.key)
            && !socket.has(flag::SHUT)
        {
            socket.flags |= flag::SHUT;
            sockets.change(self.key);
        }
    }

    fn unsent(&self) -> usize {
        self.runtime.sockets.borrow_mut().get(self.key).map_or(0, |socket| socket.unsent())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.lingers && self.unsent() > 0 {
            let rest = Self { runtime: Rc::clone(&self.runtime), key: self.key, lingers: false };
            self.runtime.clone().spawn_detached(async move {
                // Whether it succeeds is told to nobody.
                let _ = timeout(LINGER, poll_fn(|context| rest.poll_flush(context))).await;
            });
            return;
        }
        let waiters = self.runtime.sockets.borrow_mut().close(self.key);
        drop_foreign(waiters);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Makes the task the one to be woken. The former one is dropped by the caller, when nothing is borrowed.
fn wait(waiter: &mut Option<Waker>, context: &Context<'_>) -> Option<Waker> {
    match waiter {
        Some(known) if known.will_wake(context.waker()) => None,
        _ => waiter.replace(context.waker().clone()),
    }
}

fn to_error(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.0)
}

fn worker_has_ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket's worker has ended")
}
