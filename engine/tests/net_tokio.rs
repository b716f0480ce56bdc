//! The streams as `tokio::io` knows them, without a runtime of tokio's.
#![cfg(feature = "tokio-io")]

mod support;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::pin::Pin;

use peregrine::net::{TcpListener, TcpStream, UnixStream};
use peregrine::{App, spawn};
use support::client::{Client, assert_same_bytes, pattern};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sends back what it reads, through the traits alone, then ends.
async fn echo(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut stream = Box::pin(stream);
    let mut memory = [0; 5000];
    loop {
        let mut read = ReadBuf::new(&mut memory);
        poll_fn(|context| stream.as_mut().poll_read(context, &mut read)).await?;
        let mut rest = read.filled();
        if rest.is_empty() {
            return poll_fn(|context| stream.as_mut().poll_shutdown(context)).await;
        }
        while !rest.is_empty() {
            let (first, second) = rest.split_at(rest.len() / 2);
            let parts = [IoSlice::new(first), IoSlice::new(second)];
            let written = poll_fn(|context| stream.as_mut().poll_write_vectored(context, &parts)).await?;
            rest = &rest[written..];
        }
        poll_fn(|context| stream.as_mut().poll_flush(context)).await?;
    }
}

/// Sends much, in one task with what it reads meanwhile.
async fn ask(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut stream = Box::pin(stream);
    let bytes = pattern(500_000);
    let (mut sent, mut got) = (0, Vec::new());
    let mut memory = vec![0; 30_000];
    let mut has_shut = false;
    poll_fn(|context| {
        loop {
            let mut goes_on = false;
            if sent < bytes.len() {
                if let std::task::Poll::Ready(written) = stream.as_mut().poll_write(context, &bytes[sent..]) {
                    sent += written?;
                    goes_on = true;
                }
            } else if !has_shut {
                has_shut = stream.as_mut().poll_shutdown(context)?.is_ready();
            }
            let mut read = ReadBuf::new(&mut memory);
            if stream.as_mut().poll_read(context, &mut read)?.is_ready() {
                if read.filled().is_empty() {
                    return std::task::Poll::Ready(Ok::<_, io::Error>(()));
                }
                got.extend_from_slice(read.filled());
                goes_on = true;
            }
            if !goes_on {
                return std::task::Poll::Pending;
            }
        }
    })
    .await?;
    assert_same_bytes(&got, &bytes);
    Ok(())
}

fn is_connection(_: &(impl AsyncRead + AsyncWrite + Unpin)) {}

async fn test() -> String {
    let tested = async {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        is_connection(&stream);
        let (accepted, _) = listener.accept().await?;
        let echoing = spawn(echo(accepted));
        ask(stream).await?;
        echoing.await.map_err(io::Error::other)??;

        let (one, other) = UnixStream::pair()?;
        is_connection(&one);
        let echoing = spawn(echo(one));
        ask(other).await?;
        echoing.await.map_err(io::Error::other)??;

        let (one, other) = UnixStream::pair()?;
        let (mut reader, mut writer) = one.split();
        drop(spawn(echo(other)));
        let written = poll_fn(|context| Pin::new(&mut writer).poll_write(context, b"halves")).await?;
        let mut memory = [0; 10];
        let mut read = ReadBuf::new(&mut memory);
        while read.filled().len() < written {
            poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut read)).await?;
        }
        assert_eq!(read.filled(), b"halves");
        Ok::<_, io::Error>("tested")
    };
    tested.await.map_or_else(|error| error.to_string(), str::to_owned)
}

#[test]
fn streams_are_what_clients_on_tokio_expect() {
    let mut app = App::with_options(support::options());
    app.get("/", test);
    let server = app.start().expect("a server");
    let response = Client::connect(server.addresses()[0]).get("/");
    assert_eq!((response.status, response.text()), (200, "tested"));
}
