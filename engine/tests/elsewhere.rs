//! Handlers whose answers come from other threads: blocking work, deferred replies, files, names.

mod support;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use peregrine::prelude::*;
use peregrine::{Answer, Cancelled, Deferred, Server, blocking, deferred};
use support::client::{Client, PATIENCE, await_some, get};

/// Hands what handlers wait for to the test.
struct Desk(Sender<Deferred<String>>);

impl Desk {
    fn ask(&self) -> Answer<String> {
        let (deferred, reply) = deferred();
        self.0.send(deferred).expect("the test listens");
        reply
    }
}

/// What a blocking handler waits for.
struct Gate(Mutex<Receiver<()>>);

async fn gated(Shared(gate): Shared<Gate>) -> Result<&'static str> {
    blocking(move || gate.0.lock().expect("no panic").recv()).await??;
    Ok("the gate is open")
}

async fn asked(Shared(desk): Shared<Desk>) -> Result<String, Cancelled> {
    desk.ask().await
}

fn returned(Shared(desk): Shared<Desk>) -> Answer<String> {
    desk.ask()
}

async fn detached(Shared(desk): Shared<Desk>) -> Result<String> {
    peregrine::detach();
    Ok(desk.ask().await?)
}

fn start() -> (Server, Receiver<Deferred<String>>, Sender<()>) {
    let (send, deferreds) = channel();
    let (open, gate) = channel();
    let mut app = App::with_options(support::options());
    app.shared(Arc::new(Desk(send)));
    app.shared(Arc::new(Gate(Mutex::new(gate))));
    app.get("/", |_: &Request, response: &mut Response| response.text("hi"));
    app.get("/gated", gated);
    app.get("/asked", asked);
    app.get("/returned", returned);
    app.get("/detached", detached);
    app.get("/thread", || async { blocking(|| thread::current().name().map(str::to_owned)).await });
    app.get("/panic", || async { blocking(|| -> String { panic!("work of a handler") }).await });
    app.get("/file", || async { Ok::<_, Error>(peregrine::fs::read_to_string("/proc/self/comm").await?) });
    app.get("/no-file", || async { Ok::<_, Error>(peregrine::fs::read("/proc/self/nothing").await?) });
    app.get("/resolve", || async {
        let addresses = peregrine::resolve("localhost", 80).await?;
        Ok::<_, Error>(addresses[0].ip().to_string())
    });
    (app.start().expect("a server"), deferreds, open)
}

fn address(server: &Server) -> std::net::SocketAddr {
    server.addresses()[0]
}

#[test]
fn a_worker_serves_others_while_work_blocks() {
    let (server, _deferreds, open) = start();
    let mut waiting = Client::connect(address(&server));
    waiting.send(get("/gated"));
    let mut other = Client::connect(address(&server));
    for _ in 0..3 {
        assert_eq!(other.get("/").text(), "hi");
    }
    open.send(()).expect("it waits");
    assert_eq!(waiting.receive().text(), "the gate is open");
}

#[test]
fn values_and_errors_come_from_the_pool() {
    let (server, ..) = start();
    let mut client = Client::connect(address(&server));
    assert!(client.get("/thread").text().starts_with("peregrine-blocking-"));
    assert_eq!(client.get("/panic").status, 500);
    assert!(client.get("/file").text().ends_with('\n'));
    assert_eq!(client.get("/no-file").status, 500);
    let resolved = client.get("/resolve");
    assert!(resolved.text().parse::<IpAddr>().is_ok_and(|address| address.is_loopback()), "{resolved:?}");
}

#[test]
fn any_thread_answers() {
    let (server, deferreds, _open) = start();
    let thread = thread::spawn(move || {
        let mut answered = 0;
        for deferred in deferreds {
            answered += usize::from(deferred.complete(format!("answer {answered}")).is_ok());
        }
        answered
    });
    let mut client = Client::connect(address(&server));
    for round in 0..20 {
        let path = if round % 2 == 0 { "/asked" } else { "/returned" };
        assert_eq!(client.get(path).text(), format!("answer {round}"));
    }
    drop(client);
    drop(server);
    assert_eq!(thread.join().expect("no panic"), 20);
}

#[test]
fn one_that_is_dropped_is_answered_with_500() {
    let (server, deferreds, _open) = start();
    let mut client = Client::connect(address(&server));
    for path in ["/asked", "/returned", "/detached"] {
        client.send(get(path));
        drop(deferreds.recv_timeout(PATIENCE).expect("it is asked"));
        assert_eq!(client.receive().status, 500, "{path}");
    }
}

#[test]
fn a_client_that_goes_is_told_of_once() {
    let (server, deferreds, _open) = start();
    for path in ["/asked", "/returned"] {
        let mut client = Client::connect(address(&server));
        client.send(get(path));
        let deferred = deferreds.recv_timeout(PATIENCE).expect("it is asked");
        let count = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&count);
        deferred.on_cancel(move || {
            theirs.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!deferred.is_cancelled());
        drop(client);
        await_some("the cancellation", || deferred.is_cancelled().then_some(()));
        await_some("the call", || (count.load(Ordering::Relaxed) > 0).then_some(()));
        assert_eq!(deferred.complete("too late".to_owned()), Err("too late".to_owned()));
        assert_eq!((count.load(Ordering::Relaxed), Arc::strong_count(&count)), (1, 1));
    }
    // The worker goes on.
    assert_eq!(Client::connect(address(&server)).get("/").text(), "hi");
}

#[test]
fn a_detached_handler_waits_on_without_its_client() {
    let (server, deferreds, _open) = start();
    // When those before and after it have been told of, its own disconnection has been seen too.
    let [before, detached, after] = ["/asked", "/detached", "/asked"].map(|path| {
        let mut client = Client::connect(address(&server));
        client.send(get(path));
        (client, deferreds.recv_timeout(PATIENCE).expect("it is asked"))
    });
    let [before, detached, after] = [before, detached, after].map(|(client, deferred)| {
        drop(client);
        deferred
    });
    for cancelled in [before, after] {
        await_some("the cancellation", || cancelled.is_cancelled().then_some(()));
    }
    assert_eq!(detached.complete("nobody reads it, but it is taken".to_owned()), Ok(()));
}

#[test]
fn a_server_that_ends_cancels_what_waits() {
    let (server, deferreds, _open) = start();
    let mut client = Client::connect(address(&server));
    client.send(get("/asked"));
    let deferred = deferreds.recv_timeout(PATIENCE).expect("it is asked");
    drop(server);
    await_some("the cancellation", || deferred.is_cancelled().then_some(()));
}
