//! Sockets of handlers and descriptors: whatever happens to them, none is left. Alone in its process, whose
//! descriptors are counted.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use peregrine::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use peregrine::{App, sleep, spawn, timeout};
use support::client::{Client, await_some};

static PORT: AtomicU16 = AtomicU16::new(0);
const A_MOMENT: Duration = Duration::from_millis(1);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// Leaves sockets in every state, one way or another.
async fn litter() -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT.load(Ordering::Relaxed)));
    let _ = timeout(Duration::ZERO, TcpStream::connect(address)).await;
    let _ = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).await;
    let mut stream = TcpStream::connect(address).await.expect("a backend");
    let _ = timeout(A_MOMENT, stream.read(&mut [0; 10])).await;
    let mut written = TcpStream::connect(address).await.expect("a backend");
    written.write_all(&[0; 10_000]).await.expect("room");
    let (mut reader, writer) = TcpStream::connect(address).await.expect("a backend").split();
    drop(writer);
    let reading = spawn(async move { reader.read_to_end(&mut Vec::new()).await });
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let _unaccepted = TcpStream::connect(listener.local_addr().expect("open")).await.expect("a backlog");
    let _ = listener.accept().await.expect("a connection");
    let _ = timeout(A_MOMENT, listener.accept()).await;
    let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let _ = timeout(A_MOMENT, socket.recv(&mut [0; 10])).await;
    let (mut one, other) = UnixStream::pair().expect("two descriptors");
    let _ = timeout(A_MOMENT, one.read(&mut [0; 10])).await;
    drop(other);
    let _ = reading.await;
    // Dropped by its client, or by its worker.
    let mut held = TcpStream::connect(address).await.expect("a backend");
    drop(spawn(async move { timeout(Duration::from_millis(20), held.read(&mut [0; 10])).await.ok() }));
    sleep(A_MOMENT).await;
    "done".to_owned()
}

#[test]
fn no_descriptor_is_left() {
    let before_all = descriptors();
    let backend = Listener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    PORT.store(backend.local_addr().expect("a listener").port(), Ordering::Relaxed);
    thread::spawn(move || {
        while let Ok((mut stream, _)) = backend.accept() {
            thread::spawn(move || {
                let mut first = [0; 1000];
                if let Ok(len @ 1..) = stream.read(&mut first) {
                    let _ = stream.write_all(&first[..len]);
                }
            });
        }
    });
    let mut app = App::with_options(support::options());
    app.get("/", litter);
    let server = app.start().expect("a server");
    // Whatever is opened once is open by now.
    assert_eq!(Client::connect(server.addresses()[0]).get("/").text(), "done");
    let settled = |most: usize| await_some("few descriptors", || (descriptors() <= most).then(descriptors));
    let before = settled(before_all + 12);
    for _ in 0..50 {
        let mut client = Client::connect(server.addresses()[0]);
        assert_eq!(client.get("/").text(), "done");
        // One whose handler is dropped where it waits.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    settled(before);
    server.shutdown().expect("an orderly end");
    // The backend's listener, at most.
    settled(before_all + 1);
}
