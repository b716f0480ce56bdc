//! Middleware around handlers of all kinds, groups, nested applications, and the order of it all.

#![cfg(feature = "serde")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peregrine::middleware::{RequestId, access, catch_panic, request_id, timeout};
use peregrine::prelude::*;
use peregrine::{Extension, Server};
use support::client::{Client, Response, get, post};

fn start(build: impl FnOnce(&mut App)) -> Server {
    let mut app = App::with_options(support::options());
    build(&mut app);
    app.start().expect("the server starts")
}

/// The answer to a request.
fn answer(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(server.addresses()[0]);
    client.send(request);
    let mut response = client.receive_head();
    match response.field("Content-Length").map(|length| length.parse().expect("a number")) {
        Some(length) => response.body = client.take(length),
        None => response = client.receive_chunks(response),
    }
    response
}

/// Its status and body.
fn ask(server: &Server, request: impl AsRef<[u8]>) -> (u16, String) {
    let response = answer(server, request);
    (response.status, response.text().to_owned())
}

fn header(server: &Server, request: impl AsRef<[u8]>, name: &str) -> Option<String> {
    answer(server, request).field(name).map(str::to_owned)
}

/// Notes its name on the way in and on the way out.
fn noting(log: &Arc<Mutex<Vec<String>>>, name: &'static str) -> impl peregrine::Middleware + use<> {
    let log = Arc::clone(log);
    async move |_: &Request<'_>, next: Next<'_>| {
        log.lock().expect("no panic").push(format!("{name} in"));
        let reply = next.run().await;
        log.lock().expect("no panic").push(format!("{name} out"));
        reply
    }
}

async fn slow() -> &'static str {
    peregrine::sleep(Duration::from_millis(2)).await;
    "slow"
}

async fn stream(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.start(|head| {
        head.field("Content-Type", "text/plain");
    })?;
    stream.write(b"one ").await?;
    stream.write(b"two").await?;
    stream.finish()
}

async fn upload(mut body: RequestBody) -> Result<String> {
    let mut bytes = 0;
    while let Some(chunk) = body.read().await? {
        bytes += chunk.len();
    }
    Ok(bytes.to_string())
}

#[test]
fn the_first_is_the_outermost_around_every_kind_of_handler() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let server = start(|app| {
        app.get("/sync", (|| "sync").with(noting(&log, "route inner")).with(noting(&log, "route outer")));
        app.middleware(noting(&log, "app 1"));
        let mut group = app.group("/g");
        group.middleware(noting(&log, "group"));
        group.get("/slow", slow).get("/stream", stream).post("/upload", upload);
        app.middleware(noting(&log, "app 2"));
    });
    let expect = |inner: &[&str]| {
        let names = [&["app 1", "app 2"], inner].concat();
        let ins = names.iter().map(|name| format!("{name} in"));
        ins.chain(names.iter().rev().map(|name| format!("{name} out"))).collect::<Vec<_>>()
    };
    for (request, body, inner) in [
        (get("/sync").into_bytes(), "sync", &["route outer", "route inner"][..]),
        (get("/g/slow").into_bytes(), "slow", &["group"]),
        (get("/g/stream").into_bytes(), "one two", &["group"]),
        (post("/g/upload", &[b'x'; 100_000]), "100000", &["group"]),
    ] {
        log.lock().expect("no panic").clear();
        assert_eq!(ask(&server, &request), (200, body.to_owned()));
        assert_eq!(*log.lock().expect("no panic"), expect(inner), "{body}");
    }
    // What nobody handles is seen by the application's alone.
    log.lock().expect("no panic").clear();
    assert_eq!(ask(&server, get("/g/none")).0, 404);
    assert_eq!(*log.lock().expect("no panic"), expect(&[]));
    server.shutdown().expect("an orderly end");
}

#[test]
fn middleware_answers_changes_and_attaches() {
    struct User(String);

    async fn authenticate(request: &Request<'_>, next: Next<'_>) -> Result<Reply> {
        let Some(name) = request.field("X-User") else { return Err(Error::new(401)) };
        request.insert(User(name.to_owned()));
        let mut reply = next.run().await;
        reply.field("X-Seen", "yes").status(203);
        Ok(reply)
    }

    let server = start(|app| {
        app.get("/open", || "open");
        let mut inner = app.group("/inner");
        inner.middleware(authenticate);
        inner.get("/", |Extension(user): Extension<User>| format!("hello {}", user.0));
        inner.get("/large", || vec![b'x'; 100_000]);
        inner.post("/echo", |body: String| body);
    });
    assert_eq!(ask(&server, get("/open")), (200, "open".to_owned()));
    assert_eq!(ask(&server, get("/inner")).0, 401);
    let with_user = |request: &str| format!("{request} HTTP/1.1\r\nHost: a\r\nX-User: ada\r\n").into_bytes();
    let greet = [&with_user("GET /inner")[..], b"\r\n"].concat();
    assert_eq!(ask(&server, &greet), (203, "hello ada".to_owned()));
    assert_eq!(header(&server, &greet, "X-Seen").as_deref(), Some("yes"));
    let large = [&with_user("GET /inner/large")[..], b"\r\n"].concat();
    assert_eq!(ask(&server, &large).1.len(), 100_000);
    let echo = [&with_user("POST /inner/echo")[..], b"Content-Length: 5\r\n\r\nhello"].concat();
    assert_eq!(ask(&server, &echo), (203, "hello".to_owned()));
    // HEAD has the head alone, and no answer is torn by pipelining.
    let mut client = Client::connect(server.addresses()[0]);
    client.send(greet.repeat(50));
    for _ in 0..50 {
        assert_eq!(client.receive().body, b"hello ada");
    }
    server.shutdown().expect("an orderly end");
}

#[test]
fn time_limits_and_panics_end_in_answers() {
    let told = Arc::new(AtomicU32::new(0));
    let server = start(|app| {
        let told = Arc::clone(&told);
        app.middleware(access(move |access| {
            told.fetch_add(u32::from(access.status.unwrap_or(0)), Ordering::Relaxed);
        }));
        app.middleware(timeout(Duration::from_millis(20)));
        app.middleware(catch_panic());
        app.get("/never", async || std::future::pending::<()>().await);
        app.get("/panic", async || -> () { panic!("as asked") });
        app.get("/fine", || "fine");
        app.get("/late", async |mut exchange: Exchange| {
            let mut stream = exchange.start(|_| {})?;
            stream.write(b"part").await?;
            std::future::pending::<()>().await;
            Ok::<_, ExchangeError>(())
        });
    });
    assert_eq!(ask(&server, get("/never")).0, 504);
    let mut client = Client::connect(server.addresses()[0]);
    client.send([get("/panic"), get("/fine")].concat());
    assert_eq!(client.receive().status, 500);
    assert_eq!(client.receive().body, b"fine");
    assert_eq!(told.load(Ordering::Relaxed), 504 + 500 + 200);
    // A response that has begun is cut off, and never looks whole.
    let mut client = Client::connect(server.addresses()[0]);
    client.send(get("/late"));
    assert_eq!(client.receive_head().status, 200);
    assert!(!client.await_any_end(), "an orderly end would make it whole");
    server.shutdown().expect("an orderly end");
}

#[test]
fn requests_have_names() {
    let server = start(|app| {
        app.middleware(request_id());
        app.get("/", |id: RequestId| id.as_str().to_owned());
        app.get("/stream", stream);
    });
    let named = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-7\r\n\r\n";
    assert_eq!(ask(&server, named), (200, "mine-7".to_owned()));
    assert_eq!(header(&server, named, "X-Request-Id").as_deref(), Some("mine-7"));
    let strange = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n";
    let (first, second) = (ask(&server, strange).1, ask(&server, get("/")).1);
    assert!(first != second && !first.contains(' '), "{first} {second}");
    // In the head of a response that its handler sends itself, and of one that nobody handles.
    assert!(header(&server, get("/stream"), "X-Request-Id").is_some());
    assert!(header(&server, get("/none"), "X-Request-Id").is_some());
    server.shutdown().expect("an orderly end");
}

#[test]
fn groups_have_prefixes_fallbacks_and_limits() {
    let mut shop = App::new();
    shop.get("/things/{id:int}", |Path(id): Path<u64>| format!("thing {id}"));
    shop.fallback(|| (404, "no such thing"));
    let server = start(|app| {
        app.fallback(|| (404, "nowhere"));
        app.nest("/shop", shop);
        let mut api = app.group("/api");
        api.limits(|limits| limits.max_request_body_size = Some(10));
        api.post("/", |body: String| body);
        api.group("/v1").post("/", |body: String| body).get("/{name}", |Path(name): Path<String>| name);
        api.fallback(|| (404, "no such call"));
    });
    for (path, answer) in [
        ("/shop/things/7", (200, "thing 7")),
        ("/shop/things/x", (404, "no such thing")),
        ("/shop", (404, "no such thing")),
        ("/shopping", (404, "nowhere")),
        ("/api/v1/ada", (200, "ada")),
        ("/api/v2/ada", (404, "no such call")),
        ("/", (404, "nowhere")),
    ] {
        assert_eq!(ask(&server, get(path)), (answer.0, answer.1.to_owned()), "{path}");
    }
    assert_eq!(ask(&server, post("/api", b"0123456789")), (200, "0123456789".to_owned()));
    assert_eq!(ask(&server, post("/api/v1", b"01234567890")).0, 413);
    server.shutdown().expect("an orderly end");
}

#[test]
fn routes_are_listed_with_their_handlers() {
    let mut app = App::new();
    app.get("/", slow).post("/upload", upload.with(catch_panic()));
    app.group("/g").middleware(request_id()).any("/{*rest}", slow.with(timeout(Duration::from_secs(1))));
    assert_eq!(
        app.routes(),
        "GET   /           middleware::slow\n\
         POST  /upload     middleware::upload  (1 middleware)\n\
         *     /g/{*rest}  middleware::slow  (2 middleware)\n"
    );
}

#[test]
fn groups_are_checked_at_the_start() {
    for (prefix, told) in [
        ("g", "Invalid route 'g': must begin with \"/\", as the prefix of a group."),
        ("/g/", "Invalid route '/g/': must not end with \"/\", as the prefix of a group."),
    ] {
        let mut app = App::with_options(support::options());
        app.group(prefix);
        let error = app.start().expect_err("refused");
        assert_eq!(error.to_string(), told);
    }
}
