//! The methods of all streams, and the halves that a stream can be split into.

use std::rc::Rc;

use super::handle::Handle;

/// The methods for reading, of whatever has a `handle`.
macro_rules! reading {
    ($type:ty) => {
        impl $type {
            /// Waits until something has come, and copies what there is, at most as much as fits. 0 is the end: the
            /// peer has shut down its sending side, or `into` is empty.
            ///
            /// What has been received counts as 64 KiB at most before the peer has to wait. Dropped where it waits,
            /// a read has lost nothing.
            ///
            /// # Errors
            /// The socket's, e.g. [`ConnectionReset`](std::io::ErrorKind::ConnectionReset).
            pub async fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                std::future::poll_fn(|context| {
                    let mut filled = 0;
                    self.handle.poll_read(context, into.len(), |bytes| {
                        into[filled..filled + bytes.len()].copy_from_slice(bytes);
                        filled += bytes.len();
                    })
                })
                .await
            }

            /// Reads until `into` is full. Dropped where it waits, it has lost what was read before.
            ///
            /// # Errors
            /// [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof) when the end comes first, otherwise as of `read`.
            pub async fn read_exact(&mut self, into: &mut [u8]) -> std::io::Result<()> {
                let mut filled = 0;
                while filled < into.len() {
                    match self.read(&mut into[filled..]).await? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        read => filled += read,
                    }
                }
                Ok(())
            }

            /// Appends everything up to the end, without a limit, and returns how many bytes that are.
            ///
            /// # Errors
            /// As of `read`.
            pub async fn read_to_end(&mut self, into: &mut Vec<u8>) -> std::io::Result<usize> {
                let before = into.len();
                let mut read = 1;
                while read > 0 {
                    read = std::future::poll_fn(|context| {
                        self.handle.poll_read(context, usize::MAX, |bytes| into.extend_from_slice(bytes))
                    })
                    .await?;
                }
                Ok(into.len() - before)
            }
        }
    };
}

/// The methods for writing.
macro_rules! writing {
    ($type:ty) => {
        impl $type {
            /// Waits until there is room, and copies as much of `bytes` as may be queued: 64 KiB wait at most. It
            /// is sent with the worker's next turn, together with what is written until then.
            ///
            /// # Errors
            /// What became of earlier bytes, e.g. [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), which is also the
            /// error after a shutdown.
            pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.write_vectored(&[std::io::IoSlice::new(bytes)]).await
            }

            /// The same for several pieces, one behind the other.
            ///
            /// # Errors
            /// As of [`write`](Self::write).
            pub async fn write_vectored(&mut self, parts: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                std::future::poll_fn(|context| self.handle.poll_write(context, parts)).await
            }

            /// Writes all of `bytes`, however often it has to wait for that. Success means that they are queued, not
            /// that they have been sent: [`flush`](Self::flush) tells more.
            ///
            /// # Errors
            /// As of [`write`](Self::write).
            pub async fn write_all(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
                while !bytes.is_empty() {
                    let written = self.write(bytes).await?;
                    bytes = &bytes[written..];
                }
                Ok(())
            }

            /// Waits until the kernel has everything that was written. Not needed for it to be sent.
            ///
            /// # Errors
            /// What became of it, as of [`write`](Self::write).
            pub async fn flush(&mut self) -> std::io::Result<()> {
                std::future::poll_fn(|context| self.handle.poll_flush(context)).await
            }

            /// Ends the sending direction behind what was written: the peer reads an end of file. Reading goes on.
            ///
            /// # Errors
            /// As of [`flush`](Self::flush).
            pub async fn shutdown(&mut self) -> std::io::Result<()> {
                std::future::poll_fn(|context| self.handle.poll_shutdown(context)).await
            }
        }
    };
}

pub(super) use {reading, writing};

/// The receiving half of a stream, for a task of its own. The socket is closed with the second half.
#[derive(Debug)]
pub struct ReadHalf {
    pub(super) handle: Rc<Handle>,
}

/// The sending half of a stream, for a task of its own. Dropping it ends the sending direction behind what was
/// written, as [`shutdown`](Self::shutdown) does.
#[derive(Debug)]
pub struct WriteHalf {
    pub(super) handle: Rc<Handle>,
}

reading!(ReadHalf);
writing!(WriteHalf);

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.handle.shut();
    }
}

/// Splits a stream.
pub(super) fn split(handle: Handle) -> (ReadHalf, WriteHalf) {
    let handle = Rc::new(handle);
    (ReadHalf { handle: Rc::clone(&handle) }, WriteHalf { handle })
}
