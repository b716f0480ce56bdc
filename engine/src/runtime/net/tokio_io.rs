//! The streams as `tokio::io` knows them. It needs no runtime of tokio's: these are traits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ReadHalf, TcpStream, UnixStream, WriteHalf};

macro_rules! async_read {
    ($type:ty, $handle:expr) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let read = $handle(&self).poll_read(context, into.remaining(), |bytes| into.put_slice(bytes));
                read.map_ok(|_| ())
            }
        }
    };
}

macro_rules! async_write {
    ($type:ty, $handle:expr) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                $handle(&self).poll_write(context, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                $handle(&self).poll_write(context, parts)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                $handle(&self).poll_flush(context)
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                $handle(&self).poll_shutdown(context)
            }
        }
    };
}

async_read!(TcpStream, TcpStream::handle);
async_write!(TcpStream, TcpStream::handle);
async_read!(UnixStream, UnixStream::handle);
async_write!(UnixStream, UnixStream::handle);
async_read!(ReadHalf, |half: &ReadHalf| std::rc::Rc::clone(&half.handle));
async_write!(WriteHalf, |half: &WriteHalf| std::rc::Rc::clone(&half.handle));
