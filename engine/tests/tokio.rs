//! Handlers inside a runtime of tokio's: its sockets, timers, tasks and channels wake them, and end with them.

mod support;

use std::future::pending;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{fs, thread};

use peregrine::prelude::*;
use peregrine::{Server, StartError};
use support::client::{Client, PATIENCE, assert_same_bytes, get, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::sleep;

const SHORT: Duration = Duration::from_millis(5);

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn application() -> App {
    let mut app = App::with_options(support::options());
    app.get("/", || "hi");
    app.get("/slept", slept);
    app.get("/spawned", spawned);
    app.get("/panics", panics);
    app
}

fn start(change: impl FnOnce(&mut App)) -> (Server, SocketAddr) {
    let mut app = application();
    change(&mut app);
    let server = app.start().expect("a server");
    let address = server.addresses()[0];
    (server, address)
}

async fn slept() -> &'static str {
    for _ in 0..3 {
        sleep(SHORT).await;
        tokio::task::yield_now().await;
    }
    "slept"
}

/// The name of the thread that a spawned task runs on.
async fn spawned() -> Result<String> {
    let task = tokio::spawn(async {
        sleep(SHORT).await;
        thread::current().name().map(str::to_owned)
    });
    Ok(task.await?.unwrap_or_default())
}

async fn panics() -> Result<&'static str> {
    let failed = tokio::spawn(async { panic!("a task of a handler") }).await.expect_err("it has panicked");
    assert!(failed.is_panic());
    let failed = tokio::spawn(async { panic!("a task of a handler") }).await;
    Ok(failed.map(|()| "no panic")?)
}

/// Tells the test when it is dropped.
struct Tells(Sender<&'static str>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[test]
fn timers_and_tasks_wake_handlers() {
    let (server, address) = start(|_| {});
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect(address)).collect();
    for _ in 0..10 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(get(if index % 2 == 0 { "/slept" } else { "/spawned" }));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let expected = if index % 2 == 0 { "slept" } else { "peregrine-tokio" };
            assert_eq!(client.receive().text(), expected);
        }
    }
    drop(clients);
    server.shutdown().expect("an orderly end");
}

/// Asks an echo that is a task of tokio's.
async fn echo() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let (mut reader, mut writer) = stream.split();
        let copied = tokio::io::copy(&mut reader, &mut writer).await?;
        writer.shutdown().await.map(|()| copied)
    });
    let sent = pattern(300_000);
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    // Both sides are tasks of the worker, so that neither fills the other's buffers for ever.
    let writing = peregrine::spawn({
        let sent = sent.clone();
        async move {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        }
    });
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await?;
    writing.await??;
    assert_same_bytes(&got, &sent);
    Ok(echo.await??.to_string())
}

#[test]
fn sockets_wake_handlers() {
    let (_server, address) = start(|app| {
        app.get("/echo", echo);
    });
    let mut client = Client::connect(address);
    for _ in 0..5 {
        assert_eq!(client.get("/echo").text(), "300000");
    }
}

type Asked = oneshot::Sender<String>;

#[test]
fn channels_lead_from_handler_to_handler_and_to_tasks() {
    let (questions, asked) = mpsc::channel::<Asked>(1);
    let asked = Arc::new(AsyncMutex::new(asked));
    let (_server, address) = start(|app| {
        app.configure(|options| options.workers = Some(2));
        app.shared(Arc::new(questions)).shared(asked);
        app.get("/ask", |Shared(questions): Shared<mpsc::Sender<Asked>>| async move {
            let (sender, answer) = oneshot::channel();
            questions.send(sender).await?;
            Ok::<_, Error>(answer.await?)
        });
        app.get("/answer", |Shared(asked): Shared<AsyncMutex<mpsc::Receiver<Asked>>>| async move {
            let question = asked.lock().await.recv().await.expect("a sender is kept");
            let task = tokio::spawn(async move { question.send("from another handler".to_owned()) });
            task.await?.map_err(|_| Error::new(410))?;
            Ok::<_, Error>("told")
        });
    });
    // By connections of their own, which may be of different workers, and more than the channel takes.
    let mut asking: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    asking.iter_mut().for_each(|client| client.send(get("/ask")));
    let mut answering: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    answering.iter_mut().for_each(|client| client.send(get("/answer")));
    asking.iter_mut().for_each(|client| assert_eq!(client.receive().text(), "from another handler"));
    answering.iter_mut().for_each(|client| assert_eq!(client.receive().text(), "told"));
}

#[test]
fn a_client_that_goes_takes_its_handlers_resources_along() {
    let backend = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let target = backend.local_addr().expect("an address");
    let (_server, address) = start(|app| {
        app.shared(Arc::new(target)).get("/held", |Shared(target): Shared<SocketAddr>| async move {
            let mut stream = TcpStream::connect(*target).await?;
            stream.write_all(b"here").await?;
            // Nothing ever comes.
            let read = stream.read(&mut [0; 10]).await?;
            Ok::<_, Error>(read.to_string())
        });
    });
    let mut client = Client::connect(address);
    client.send(get("/held"));
    let (mut held, _) = backend.accept().expect("the handler's connection");
    held.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    let mut read = [0; 4];
    held.read_exact(&mut read).expect("it lives");
    assert_eq!(&read, b"here");
    drop(client);
    assert_eq!(held.read(&mut read).expect("an orderly end"), 0);
    assert_eq!(Client::connect(address).get("/").text(), "hi", "the worker goes on");
}

#[test]
fn a_panic_of_a_task_is_its_handlers_error() {
    let (_server, address) = start(|_| {});
    let mut client = Client::connect(address);
    assert_eq!(client.get("/panics").status, 500);
    // The runtime has lost nothing by it.
    assert_eq!(client.get("/spawned").text(), "peregrine-tokio");
}

/// Waits for ever, and leaves a task that does too. Both tell when they are dropped.
async fn endless(Shared(sender): Shared<Sender<&'static str>>) {
    let tells = Tells(Sender::clone(&sender));
    tokio::spawn(async move {
        let _tells = tells;
        pending::<()>().await;
    });
    let _tells = Tells(Sender::clone(&sender));
    sender.send("begun").expect("the test listens");
    sleep(FOR_EVER).await;
}

fn add_endless(app: &mut App) -> Receiver<&'static str> {
    let (sender, told) = channel();
    app.shared(Arc::new(sender)).get("/endless", endless);
    told
}

#[test]
fn the_end_of_a_server_ends_its_tasks_and_waits_for_none() {
    for is_dropped in [false, true] {
        let mut told = None;
        let (server, address) = start(|app| {
            app.configure(|options| options.shutdown_timeout = SHORT);
            told = Some(add_endless(app));
        });
        let told = told.expect("added");
        let mut client = Client::connect(address);
        client.send(get("/endless"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("begun"));
        if is_dropped {
            drop(server);
        } else {
            server.shutdown().expect("an orderly end");
        }
        // The handler and its task.
        assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
    }
}

/// A runtime of an application's own.
fn runtime(builder: &mut Builder) -> Runtime {
    builder.thread_name("of the application").enable_all().build().expect("a runtime")
}

/// What `/spawned` says of a server that is started and ended inside `runtime`.
fn spawned_inside(runtime: &Runtime) -> String {
    runtime.block_on(async {
        let (server, address) = start(|_| {});
        let mut client = Client::connect(address);
        assert_eq!(client.get("/slept").text(), "slept");
        let name = client.get("/spawned").text().to_owned();
        drop(client);
        server.shutdown().expect("an orderly end");
        name
    })
}

#[test]
fn the_runtime_of_the_application_is_used_if_its_threads_drive_it() {
    let theirs = runtime(Builder::new_multi_thread().worker_threads(1));
    assert_eq!(spawned_inside(&theirs), "of the application");
    // It outlives the server.
    let name = theirs.block_on(theirs.spawn(async { thread::current().name().map(str::to_owned) }));
    assert_eq!(name.expect("no panic").as_deref(), Some("of the application"));
    // The only thread of this one waits for the server.
    assert_eq!(spawned_inside(&runtime(&mut Builder::new_current_thread())), "peregrine-tokio");
}

#[test]
fn a_server_may_end_inside_a_runtime_that_it_did_not_begin_in() {
    let (server, address) = start(|_| {});
    assert_eq!(Client::connect(address).get("/spawned").text(), "peregrine-tokio");
    runtime(&mut Builder::new_multi_thread()).block_on(async { server.shutdown().expect("an orderly end") });
}

#[test]
fn state_is_made_inside_and_threads_that_block_leave_the_workers_cpu() {
    const CPUS: &str = "Cpus_allowed_list:";

    fn cpus(status: &str) -> String {
        let status = fs::read_to_string(status).expect("Linux");
        status.lines().find_map(|line| line.strip_prefix(CPUS)).expect("a list").trim().to_owned()
    }

    let (_server, address) = start(|app| {
        app.configure(|options| options.pin = true);
        app.state(|_| Handle::current());
        app.get("/cpus", |State(handle): State<Handle>| async move {
            let of_thread = handle.spawn_blocking(|| cpus("/proc/thread-self/status")).await?;
            assert_eq!(of_thread, cpus("/proc/self/status"));
            Ok::<_, Error>("all")
        });
    });
    assert_eq!(Client::connect(address).get("/cpus").text(), "all");
}

#[test]
fn the_number_of_threads_is_an_option() {
    let mut app = application();
    app.configure(|options| options.tokio_worker_threads = 3);
    app.get("/threads", || Handle::current().metrics().num_workers().to_string());
    let server = app.start().expect("a server");
    assert_eq!(Client::connect(server.addresses()[0]).get("/threads").text(), "3");
    app.configure(|options| options.tokio_worker_threads = 0);
    assert!(matches!(app.start(), Err(StartError::InvalidOption { option: "tokio_worker_threads", .. })));
}

#[test]
fn clients_of_tests_are_inside_too_and_leave_in_any_order() {
    let mut app = application();
    app.get("/echo", echo);
    let told = add_endless(&mut app);
    let mut first = app.client().expect("a client");
    let mut second = app.client().expect("a client");
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/slept").send().text(), "slept");
        assert_eq!(client.get("/spawned").send().text(), "peregrine-tokio");
        assert_eq!(client.get("/echo").send().text(), "300000");
        assert_eq!(client.get("/panics").send().status(), 500);
    }
    assert!(Handle::try_current().is_err(), "the test's thread is inside only while a client runs");
    let endless = first.get("/endless").begin();
    assert_eq!(told.recv_timeout(PATIENCE), Ok("begun"));
    drop(first);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("dropped"));
    drop(endless);
    assert_eq!(second.get("/spawned").send().text(), "peregrine-tokio");
    // Made and dropped inside a runtime.
    drop(second);
    runtime(&mut Builder::new_current_thread()).block_on(async {
        assert_eq!(app.client().expect("a client").get("/spawned").send().text(), "peregrine-tokio");
    });
}
