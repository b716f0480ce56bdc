//! How the command ends: on a signal it finishes what is open and takes nothing new.

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use support::client::{Client, PATIENCE, assert_same_bytes, await_some, get, pattern, post};
use support::{LOCAL, Peregrine, TempDir, command, own_address};

const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

#[test]
fn an_idle_server_ends_well_on_each_signal_of_a_shutdown() {
    for signal in SIGNALS {
        let server = Peregrine::serve(&[]);
        server.begin_shutdown(signal);
        let exit = server.wait();
        assert_eq!((exit.status.code(), exit.stdout), (Some(0), Vec::new()), "on signal {signal}");
    }
}

#[test]
fn idle_connections_are_closed_in_order() {
    for signal in SIGNALS {
        let server = Peregrine::serve(&[]);
        let mut idle: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        idle.iter_mut().for_each(|client| assert_eq!(client.get("/plaintext").status, 200));
        server.begin_shutdown(signal);
        for mut client in idle {
            client.expect_end();
        }
        assert_eq!(server.wait().status.code(), Some(0), "on signal {signal}");
    }
}

#[test]
fn connections_without_a_request_are_closed_in_order() {
    let server = Peregrine::serve(&["--workers", "1"]);
    let mut silent = server.connect();
    // Accepted after the silent one, by the same worker: once this one is served, both are.
    assert_eq!(server.connect().get("/plaintext").status, 200);
    server.begin_shutdown(libc::SIGTERM);
    silent.expect_end();
    drop(silent);
    assert_eq!(server.wait().status.code(), Some(0));
}

/// Sends a request before the part of another one, so that its response tells that the part has arrived.
fn send_part(client: &mut Client, part: &[u8]) {
    client.send([get("/plaintext").as_bytes(), part].concat());
    assert!(!client.receive().is_last());
}

/// Sends a signal and waits until the only worker drains, which is when idle connections are closed.
fn begin_drain(server: &Peregrine, signal: libc::c_int) {
    let mut idle = server.connect();
    assert_eq!(idle.get("/plaintext").status, 200);
    server.begin_shutdown(signal);
    idle.expect_end();
}

#[test]
fn rfc9112_9_6_a_request_whose_head_is_torn_is_still_answered() {
    for signal in SIGNALS {
        let server = Peregrine::serve(&["--workers", "1"]);
        let mut client = server.connect();
        let request = get("/users/7");
        send_part(&mut client, &request.as_bytes()[..20]);
        begin_drain(&server, signal);
        client.send(&request[20..]);
        let response = client.receive();
        assert_eq!((response.status, response.text()), (200, "User 7"));
        assert!(response.is_last(), "{response:?}");
        client.expect_end();
        drop(client);
        assert_eq!(server.wait().status.code(), Some(0));
    }
}

#[test]
fn rfc9112_9_6_a_request_whose_body_is_incomplete_is_still_answered() {
    let server = Peregrine::serve(&["--workers", "1"]);
    let mut client = server.connect();
    let body = pattern(100_000);
    let request = post("/echo", &body);
    send_part(&mut client, &request[..50_000]);
    begin_drain(&server, libc::SIGTERM);
    client.send(&request[50_000..]);
    let response = client.receive();
    assert_eq!(response.status, 200);
    assert!(response.is_last(), "{response:?}");
    assert_same_bytes(&response.body, &body);
    client.expect_end();
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_response_that_its_client_has_not_read_yet_arrives_whole_and_then_the_connection_ends() {
    let server = Peregrine::serve(&["--workers", "1"]);
    let body = pattern(20 << 20);
    let mut slow = server.connect();
    slow.send(post("/echo", &body));
    // The response is on its way, and far larger than what the sockets hold.
    let head = slow.receive_head();
    assert!(!head.is_last(), "{head:?}");
    begin_drain(&server, libc::SIGTERM);
    let length: usize = head.field("Content-Length").expect("a length").parse().expect("a number");
    assert_same_bytes(&slow.take(length), &body);
    slow.expect_end();
    drop(slow);
    assert_eq!(server.wait().status.code(), Some(0));
}

/// Waits until nobody takes connections at an address.
fn await_refusal(address: SocketAddr) {
    await_some("the refusal of a connection", || match TcpStream::connect_timeout(&address, PATIENCE) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Some(()),
        _ => None,
    });
}

#[test]
fn during_the_drain_new_connections_are_refused() {
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    let urls = format!("{LOCAL};http://unix:{}", socket.display());
    let mut server = Peregrine::serve_by(command(["--urls", &urls]));
    let mut client = server.connect();
    let request = get("/plaintext");
    send_part(&mut client, &request.as_bytes()[..20]);
    server.begin_shutdown(libc::SIGTERM);
    await_refusal(server.address());
    await_some("the refusal of a connection to the Unix socket", || UnixStream::connect(&socket).err());
    assert!(server.is_running(), "held open by the request");
    client.send(&request[20..]);
    assert!(client.receive().is_last());
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut server = Peregrine::serve(&[]);
        let mut client = server.connect();
        send_part(&mut client, b"GET /plaintext HTTP/1.1\r\n");
        server.begin_shutdown(signal);
        assert!(server.is_running(), "held open by the request");
        server.signal(signal);
        let exit = server.wait();
        assert_eq!(exit.status.signal(), Some(signal), "{exit:?}");
        client.await_any_end();
    }
}

#[test]
fn nothing_is_left_behind() {
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    let unix = format!("http://unix:{}", socket.display());
    // An address of its own, so that nothing else can get its port in between.
    let own = own_address();
    let server = Peregrine::serve_by(command(["--urls", &format!("http://{own}:0;{unix}")]));
    let (pid, address) = (server.pid(), server.address());
    let mut client = server.connect();
    assert_eq!(client.get("/plaintext").status, 200);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    assert_eq!(children, "", "it has no children to leave behind");
    server.begin_shutdown(libc::SIGTERM);
    client.expect_end();
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(!socket.exists(), "the socket's file is gone");
    let left: Vec<_> = fs::read_dir(directory.path()).expect("the directory").collect();
    assert!(left.is_empty(), "{left:?}");
    // The port is free for the next one, although the server closed a connection first a moment ago.
    let again = Peregrine::serve_by(command(["--urls", &format!("http://{address};{unix}")]));
    assert_eq!(again.address(), address);
    assert_eq!(again.connect().get("/plaintext").status, 200);
    again.stop();
}
