//! Sockets of handlers and spawned tasks over loopback, on whichever driver `PEREGRINE_DRIVER` names.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener as Listener, TcpStream as Blocking};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use peregrine::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use peregrine::{App, Exchange, ExchangeError, Options, Server, spawn};
use support::client::{Client, PATIENCE, assert_same_bytes, pattern};

const LARGE: usize = 10 << 20;

/// A thread that deals with the next `count` connections to its address, one after the other.
fn backend<T: Send + 'static>(
    count: usize,
    mut serve: impl FnMut(Blocking) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a listener");
    let thread = thread::spawn(move || {
        (0..count)
            .map(|_| {
                let (stream, _) = listener.accept().expect("a connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
                stream.set_write_timeout(Some(PATIENCE)).expect("an open socket");
                serve(stream)
            })
            .collect()
    });
    (address, thread)
}

/// Sends back whatever comes.
fn echo(mut stream: Blocking) -> usize {
    let mut bytes = vec![0; 64 * 1024];
    let mut count = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return count,
            Ok(len) => {
                count += len;
                if stream.write_all(&bytes[..len]).is_err() {
                    return count;
                }
            }
        }
    }
}

fn address_in(exchange: &Exchange) -> SocketAddr {
    exchange.request().param("address").and_then(|text| text.parse().ok()).expect("an address")
}

/// Runs the test of the name in the path with the address in it, on the worker.
async fn run(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let address = address_in(&exchange);
    let test = exchange.request().param("test").expect("a name").to_owned();
    let told = match test.as_str() {
        "refused" => refused(address).await,
        "names" => names(address).await,
        "half-close" => half_close(address).await,
        "broken" => broken(address).await,
        "many" => many(address).await,
        "halves" => halves(address).await,
        "slow" => slow(address).await,
        "drops" => drops(address).await,
        "udp" => udp().await,
        "unix" => unix().await,
        "pair" => pair().await,
        "accept" => accept().await,
        "nodelay" => nodelay(address).await,
        "last-words" => last_words(address).await,
        _ => Err(io::Error::other("no such test")),
    };
    let told = told.unwrap_or_else(|error| format!("{:?}: {error}", error.kind()));
    exchange.respond(|response| response.text(&told))
}

/// A handler that hands a body to a backend and the backend's answer to the client, both at once.
async fn proxy(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let address = address_in(&exchange);
    let (mut reader, mut writer) = TcpStream::connect(address).await.expect("a backend").split();
    let mut response = exchange.start(|_| {})?;
    let sending = async {
        while let Some(chunk) = exchange.body().read().await? {
            writer.write_all(&chunk).await.expect("a backend that reads");
        }
        writer.shutdown().await.expect("a backend that reads");
        Ok::<_, ExchangeError>(())
    };
    let receiving = async {
        let mut bytes = [0; 16 * 1024];
        loop {
            match reader.read(&mut bytes).await.expect("a backend that answers") {
                0 => return Ok(()),
                len => response.write(&bytes[..len]).await?,
            }
        }
    };
    let (sent, received) = futures_util::future::join(sending, receiving).await;
    sent.and(received)?;
    response.finish()
}

fn start_with(options: Options) -> Server {
    let mut app = App::with_options(options);
    app.get("/run/{test}/{address}", run).post("/proxy/{address}", proxy);
    app.start().expect("a server")
}

/// What a test on the worker has to tell.
#[track_caller]
fn told_by(server: &Server, test: &str, address: SocketAddr) -> String {
    let response = Client::connect(server.addresses()[0]).get(&format!("/run/{test}/{address}"));
    assert_eq!(response.status, 200, "{test} has panicked");
    response.text().to_owned()
}

fn nowhere() -> SocketAddr {
    // Bound and free again: nobody listens there.
    let listener = Listener::bind((support::own_address(), 0)).expect("a port");
    listener.local_addr().expect("a listener")
}

#[test]
fn ten_megabytes_go_through_a_proxy_and_come_back() {
    let server = start_with(support::options());
    let (address, backend) = backend(1, echo);
    let body = pattern(LARGE);
    let mut client = Client::connect(server.addresses()[0]);
    let mut sending = client.stream.try_clone().expect("a descriptor");
    let sender = {
        let body = body.clone();
        thread::spawn(move || {
            let head = format!(
                "POST /proxy/{address} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            sending.write_all(head.as_bytes()).expect("a server that reads");
            sending.write_all(&body).expect("a server that reads");
        })
    };
    let response = client.receive_stream();
    sender.join().expect("sent");
    assert_eq!(response.status, 200);
    assert_same_bytes(&response.body, &body);
    assert_eq!(backend.join().expect("no panic"), [LARGE]);
}

async fn refused(address: SocketAddr) -> io::Result<String> {
    TcpStream::connect(address).await.map(|_| "connected".to_owned())
}

#[test]
fn a_refused_connection_is_an_error() {
    let server = start_with(support::options());
    assert!(told_by(&server, "refused", nowhere()).starts_with("ConnectionRefused"));
}

async fn names(address: SocketAddr) -> io::Result<String> {
    let port = address.port();
    let mut stream = TcpStream::connect(("localhost", port)).await?;
    assert_eq!(stream.peer_addr()?.port(), port);
    stream.write_all(b"one").await?;
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await?;
    drop(stream);
    let mut stream = TcpStream::connect(format!("localhost:{port}")).await?;
    assert_eq!(stream.local_addr()?.ip(), stream.peer_addr()?.ip());
    stream.write_all(b"two").await?;
    stream.read_exact(&mut answer).await?;
    let malformed = TcpStream::connect("localhost").await.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(malformed, Err(ErrorKind::InvalidInput));
    assert!(TcpStream::connect("no-such-name.invalid:1").await.is_err());
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn names_are_looked_up() {
    let server = start_with(support::options());
    let (address, backend) = backend(2, echo);
    assert_eq!(told_by(&server, "names", address), "two");
    assert_eq!(backend.join().expect("no panic"), [3, 3]);
}

async fn half_close(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"question").await?;
    stream.shutdown().await?;
    let late = stream.write(b"more").await.map_err(|error| error.kind());
    assert_eq!(late, Err(ErrorKind::BrokenPipe));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert_eq!(stream.read(&mut [0; 8]).await?, 0, "the end stays");
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn an_answer_comes_after_the_end_of_the_question() {
    let server = start_with(support::options());
    let (address, backend) = backend(1, |mut stream| {
        let mut question = String::new();
        stream.read_to_string(&mut question).expect("an orderly end");
        stream.write_all(b"answer").expect("a client that reads");
        question
    });
    assert_eq!(told_by(&server, "half-close", address), "answer");
    assert_eq!(backend.join().expect("no panic"), ["question"]);
}

/// Reads and writes until the peer's end is noticed, on either side.
async fn broken(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await?;
    let torn = stream.read_exact(&mut [0; 100]).await.expect_err("the peer has gone").kind();
    assert!(matches!(torn, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{torn:?}");
    loop {
        if let Err(error) = stream.write_all(&[0; 50_000]).await {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            assert!(stream.flush().await.is_err() && stream.shutdown().await.is_err());
            return Ok("noticed".to_owned());
        }
    }
}

#[test]
fn a_peer_that_goes_in_the_middle_is_noticed() {
    let server = start_with(support::options());
    let (address, _backend) = backend(1, |mut stream| {
        stream.write_all(b"hello and no more").expect("a client");
        // What it sends is not read: a reset.
    });
    assert_eq!(told_by(&server, "broken", address), "noticed");
}

async fn many(address: SocketAddr) -> io::Result<String> {
    for number in 0..1000_u32 {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&number.to_be_bytes()).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        assert_eq!(u32::from_be_bytes(answer), number);
    }
    Ok("all".to_owned())
}

#[test]
fn a_thousand_connections_in_a_row_are_each_closed() {
    let server = start_with(support::options());
    // The backend goes on only when a connection has ended.
    let (address, backend) = backend(1000, echo);
    assert_eq!(told_by(&server, "many", address), "all");
    assert_eq!(backend.join().expect("no panic"), [4; 1000]);
}

async fn halves(address: SocketAddr) -> io::Result<String> {
    let (mut reader, mut writer) = TcpStream::connect(address).await?.split();
    let writing = spawn(async move {
        let bytes = pattern(3_000_000);
        for piece in bytes.chunks(70_001) {
            writer.write_all(piece).await?;
        }
        // Its end is the end of the sending direction.
        Ok::<_, io::Error>(())
    });
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await?;
    writing.await.map_err(io::Error::other)??;
    assert_same_bytes(&got, &pattern(3_000_000));
    Ok("same".to_owned())
}

#[test]
fn two_tasks_share_a_connection() {
    let server = start_with(support::options());
    let (address, _backend) = backend(1, echo);
    assert_eq!(told_by(&server, "halves", address), "same");
}

static SLOW_READ: AtomicU64 = AtomicU64::new(0);
static SLOW_GO_ON: AtomicU64 = AtomicU64::new(0);

/// Reads a byte, then nothing until it is told to.
async fn slow(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.read_exact(&mut [0]).await?;
    SLOW_READ.store(1, Ordering::Release);
    while SLOW_GO_ON.load(Ordering::Acquire) == 0 {
        peregrine::sleep(Duration::from_millis(5)).await;
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    Ok((rest.len() + 1).to_string())
}

#[test]
fn a_peer_waits_for_a_reader_that_rests() {
    let server = start_with(support::options());
    let (address, backend) = backend(1, |mut stream| {
        stream.set_nonblocking(true).expect("an open socket");
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        let mut refusals = 0;
        // Full, and still full a while later: nobody takes it out of the socket buffers.
        while refusals < 100 {
            match stream.write(&piece) {
                Ok(len) => (sent, refusals) = (sent + len, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refusals += u32::from(SLOW_READ.load(Ordering::Acquire) == 1);
                    thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 256 << 20, "there is no end to it");
        }
        SLOW_GO_ON.store(1, Ordering::Release);
        stream.shutdown(Shutdown::Write).expect("an open socket");
        stream.set_nonblocking(false).expect("an open socket");
        let _ = stream.read(&mut [0]);
        sent
    });
    let told = told_by(&server, "slow", address);
    assert_eq!(backend.join().expect("no panic")[0].to_string(), told);
}

/// Drops sockets in every state that they can be in.
async fn drops(address: SocketAddr) -> io::Result<String> {
    for round in 0..20_u32 {
        // While it connects, before its first poll and after it.
        drop(TcpStream::connect(address));
        let _ = peregrine::timeout(Duration::ZERO, TcpStream::connect(address)).await;
        // Connected, reading, with something unsent, half closed.
        let stream = TcpStream::connect(address).await?;
        drop(stream);
        let mut stream = TcpStream::connect(address).await?;
        let _ = peregrine::timeout(Duration::from_millis(1), stream.read(&mut [0; 10])).await;
        drop(stream);
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&round.to_be_bytes()).await?;
        drop(stream);
        let mut stream = TcpStream::connect(address).await?;
        stream.shutdown().await?;
        let (reader, writer) = stream.split();
        drop(reader);
        drop(writer);
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let _ = peregrine::timeout(Duration::from_millis(1), listener.accept()).await;
        let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let _ = peregrine::timeout(Duration::from_millis(1), socket.recv(&mut [0; 10])).await;
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"last!").await?;
    Ok("dropped".to_owned())
}

#[test]
fn dropped_sockets_are_closed_in_whatever_state() {
    let server = start_with(support::options());
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a listener");
    let backend = thread::spawn(move || {
        let mut received = 0;
        let mut is_last = false;
        // Every connection ends, or a read of it would fail after a while.
        while !is_last {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
            let mut bytes = Vec::new();
            match stream.read_to_end(&mut bytes) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
            received += bytes.len();
            is_last = bytes == b"last!";
        }
        received
    });
    assert_eq!(told_by(&server, "drops", address), "dropped");
    assert_eq!(backend.join().expect("no panic"), 85);
    server.shutdown().expect("an orderly end");
}

async fn udp() -> io::Result<String> {
    let mut server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = server.local_addr()?;
    let echoing = spawn(async move {
        let mut bytes = [0; 2000];
        for _ in 0..20 {
            let (len, peer) = server.recv_from(&mut bytes).await?;
            server.send_to(&bytes[..len], peer).await?;
        }
        Ok::<_, io::Error>(server)
    });
    let mut client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for number in 0..10 {
        assert_eq!(client.send_to(&[number; 1000], address).await?, 1000);
        let mut bytes = [0; 2000];
        assert_eq!(client.recv_from(&mut bytes).await?, (1000, address));
        assert_eq!(bytes[..1000], [number; 1000]);
    }
    client.connect(address)?;
    for number in 0..10 {
        assert_eq!(client.send(&[number; 10]).await?, 10);
        let mut bytes = [0; 4];
        assert_eq!(client.recv(&mut bytes).await?, 4, "the rest of it is lost");
        assert_eq!(bytes, [number; 4]);
    }
    drop(echoing.await.map_err(io::Error::other)??);
    Ok("echoed".to_owned())
}

#[test]
fn datagrams_come_back() {
    let server = start_with(support::options());
    assert_eq!(told_by(&server, "udp", nowhere()), "echoed");
}

fn socket_path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("peregrine-net-{}.sock", std::process::id()))
}

async fn unix() -> io::Result<String> {
    let missing = UnixStream::connect("/nowhere/at/all").await.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(missing, Err(ErrorKind::NotFound));
    let (mut reader, mut writer) = UnixStream::connect(socket_path()).await?.split();
    let bytes = pattern(1_000_000);
    let sent = bytes.clone();
    let writing = spawn(async move {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    });
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await?;
    writing.await.map_err(io::Error::other)??;
    assert_same_bytes(&got, &bytes);
    Ok("echoed".to_owned())
}

#[test]
fn unix_sockets_carry_everything_to_the_end() {
    let _ = std::fs::remove_file(socket_path());
    let listener = UnixListener::bind(socket_path()).expect("a path");
    let backend = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an orderly end");
        stream.write_all(&bytes).expect("a client that reads");
    });
    let server = start_with(support::options());
    assert_eq!(told_by(&server, "unix", nowhere()), "echoed");
    backend.join().expect("no panic");
    let _ = std::fs::remove_file(socket_path());
}

async fn pair() -> io::Result<String> {
    let (mut one, mut other) = UnixStream::pair()?;
    let echoing = spawn(async move {
        let mut bytes = [0; 100];
        while let Ok(len @ 1..) = other.read(&mut bytes).await {
            other.write_all(&bytes[..len]).await.expect("an open end");
        }
    });
    for number in 0..50_u8 {
        one.write_all(&[number; 20]).await?;
        let mut bytes = [0; 20];
        one.read_exact(&mut bytes).await?;
        assert_eq!(bytes, [number; 20]);
    }
    drop(one);
    echoing.await.map_err(io::Error::other)?;
    Ok("paired".to_owned())
}

#[test]
fn a_pair_is_connected() {
    let server = start_with(support::options());
    assert_eq!(told_by(&server, "pair", nowhere()), "paired");
}

/// Accepts in a task of its own, and connects to it.
async fn accept() -> io::Result<String> {
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let taken = TcpListener::bind(address).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(taken, Err(ErrorKind::AddrInUse));
    let accepting = spawn(async move {
        for _ in 0..30 {
            let (mut stream, peer) = listener.accept().await?;
            assert_eq!(stream.peer_addr()?, peer);
            drop(spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..len]).await.is_err() {
                        break;
                    }
                }
            }));
        }
        Ok::<_, io::Error>(())
    });
    let clients: Vec<_> = (0..30_u8)
        .map(|number| {
            spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(&[number; 10_000]).await?;
                stream.shutdown().await?;
                let mut got = Vec::new();
                stream.read_to_end(&mut got).await?;
                Ok::<_, io::Error>(got == [number; 10_000])
            })
        })
        .collect();
    for client in clients {
        assert!(client.await.map_err(io::Error::other)??);
    }
    accepting.await.map_err(io::Error::other)??;
    // The listener has gone with its task.
    Ok(match TcpStream::connect(address).await {
        Ok(_) => "still there".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    })
}

#[test]
fn a_task_accepts_connections_of_its_own() {
    let server = start_with(support::options());
    assert_eq!(told_by(&server, "accept", nowhere()), "ConnectionRefused");
}

#[test]
fn two_workers_have_sockets_of_their_own() {
    let mut options = support::options();
    options.workers = Some(2);
    let server = start_with(options);
    let (address, backend) = backend(40, echo);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let at = server.addresses()[0];
            thread::spawn(move || {
                // The kernel spreads them over the workers.
                for _ in 0..10 {
                    let told = Client::connect(at).get(&format!("/run/nodelay/{address}"));
                    assert_eq!(told.text(), "ping");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(backend.join().expect("no panic"), [4; 40]);
}

async fn nodelay(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(b"pi").await?;
    stream.write_all(b"ng").await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn last_words(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&[b'w'; 60_000]).await?;
    Ok("written".to_owned())
}

#[test]
fn the_end_of_a_server_lets_the_last_words_out() {
    let server = start_with(support::options());
    let (address, backend) = backend(1, |mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes.len()).map_err(|error| error.kind())
    });
    assert_eq!(told_by(&server, "last-words", address), "written");
    server.shutdown().expect("an orderly end");
    assert_eq!(backend.join().expect("no panic"), [Ok(60_000)]);
}

/// Holds sockets in all states for as long as its client stays.
async fn hold(exchange: Exchange) -> Result<(), ExchangeError> {
    let address = address_in(&exchange);
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let mut stream = TcpStream::connect(address).await.expect("a backend");
    let mut stuck = TcpStream::connect(address).await.expect("a backend");
    let stuffed = vec![0; 32 << 20];
    let mut datagram = [0; 8];
    let mut byte = [0];
    let waiting =
        futures_util::future::join3(listener.accept(), socket.recv(&mut datagram), stream.read(&mut byte));
    futures_util::future::join(waiting, stuck.write_all(&stuffed)).await.1.expect("nobody reads");
    Ok(())
}

#[test]
fn the_end_of_a_server_ends_what_waits() {
    let mut options = support::options();
    options.shutdown_timeout = Duration::from_millis(300);
    let mut app = App::with_options(options);
    app.get("/hold/{address}", hold);
    let server = app.start().expect("a server");
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a listener");
    let mut client = Client::connect(server.addresses()[0]);
    client.send(format!("GET /hold/{address} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let (idle, _) = listener.accept().expect("a connection");
    let (stuck, _) = listener.accept().expect("a connection");
    server.shutdown().expect("an orderly end");
    for mut stream in [idle, stuck] {
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}
