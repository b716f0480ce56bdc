//! The first contract: a warm request costs no heap allocation, on the thread that serves it.
//!
//! Every thread counts its own allocations. A worker is asked for its count by requests, `/allocations`,
//! whose own cost is therefore measured too.

#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use peregrine::{App, Request, Response, Server};
use support::client::{Client, get, post, post_chunked};

/// The system's allocator, and a count of what it is asked for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Gone while its thread ends, when nobody asks any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: hands every call on to the system's allocator, with the arguments that it got.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: promised by the caller.
        unsafe { System.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers with the allocations of this worker so far.
fn allocations(_: &Request, response: &mut Response) {
    let mut text = [0; 20];
    let mut rest = &mut text[..];
    write!(rest, "{}", COUNT.get()).expect("20 digits are room for any number");
    let unused = rest.len();
    response.bytes(&text[..20 - unused]);
}

fn plaintext(_: &Request, response: &mut Response) {
    response.text("Hello, World!");
}

#[cfg(feature = "json")]
fn json(_: &Request, response: &mut Response) {
    #[derive(serde::Serialize)]
    struct Message {
        message: &'static str,
        number: u64,
        list: [f64; 3],
    }
    response.json(&Message { message: "Hello, \"World\"!", number: u64::MAX, list: [0.1, 2.5, -7.0] });
}

fn user(request: &Request, response: &mut Response) {
    response.text(request.param("id").unwrap_or_default());
}

fn fields(request: &Request, response: &mut Response) {
    response.status(201).field("X-Host", request.field("host").unwrap_or_default()).field("ETag", "\"1\"");
    response.text(request.path());
}

fn echo(request: &Request, response: &mut Response) {
    response.bytes(request.body());
}

/// A service of tower that answers at once.
#[cfg(feature = "tower")]
#[derive(Clone)]
struct Bare;

#[cfg(feature = "tower")]
impl tower_service::Service<http::Request<peregrine::tower::IncomingBody>> for Bare {
    type Response = http::Response<http_body_util::Full<&'static [u8]>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<peregrine::tower::IncomingBody>) -> Self::Future {
        std::future::ready(Ok(http::Response::new(http_body_util::Full::new(b"Hello, World!"))))
    }
}

#[cfg(feature = "tower")]
fn axum_router() -> axum::Router {
    axum::Router::new().route("/axum/hello", axum::routing::get(|| async { "Hello, World!" }))
}

fn start() -> Server {
    let mut app = App::with_options(support::options());
    app.get("/allocations", allocations).get("/plaintext", plaintext).get("/users/{id}", user);
    app.get("/fields", fields).post("/echo", echo);
    #[cfg(feature = "json")]
    {
        app.get("/json", json);
        handlers::register(&mut app);
    }
    #[cfg(feature = "tower")]
    app.tower_at("/tower/{*rest}", Bare).tower_at("/axum/{*rest}", axum_router());
    app.start().expect("a server")
}

/// Runs `exchange` often on one connection, first to warm it up and then to count. One run is so many
/// requests; all of them must cost nothing.
#[track_caller]
fn assert_no_allocations(what: &str, requests: u64, exchange: impl FnMut(&mut Client)) {
    assert_allocations(what, requests, 0, exchange);
}

/// The same for requests of which each may cost so many.
#[track_caller]
fn assert_allocations(what: &str, requests: u64, most: u64, mut exchange: impl FnMut(&mut Client)) {
    const WARM_UP: u64 = 20;
    const RUNS: u64 = 500;
    let server = start();
    let mut client = Client::connect(server.addresses()[0]);
    let count = |client: &mut Client| client.get("/allocations").text().parse::<u64>().expect("a number");
    (0..WARM_UP).for_each(|_| exchange(&mut client));
    count(&mut client);
    let before = count(&mut client);
    (0..RUNS).for_each(|_| exchange(&mut client));
    let allocations = count(&mut client) - before;
    println!("{what}: {allocations} allocations in {} requests on {}", RUNS * requests, server.driver());
    assert!(before > 0, "the worker's allocations are not counted");
    assert!(allocations <= most * RUNS * requests, "{what}: {allocations}");
    drop(client);
    server.shutdown().expect("a worker that does not fail");
}

/// Runs a request that arrives whole.
#[track_caller]
fn assert_no_allocations_for(what: &str, request: impl AsRef<[u8]>, status: u16, body: &[u8]) {
    assert_no_allocations(what, 1, |client| {
        client.send(&request);
        let response = client.receive();
        assert_eq!((response.status, response.body.as_slice()), (status, body));
    });
}

#[test]
fn plaintext_costs_no_allocation() {
    assert_no_allocations_for("plaintext", get("/plaintext"), 200, b"Hello, World!");
}

/// What the types of `http` cost: the copy of the head and its count, the map of fields with its index, and the
/// extensions with the peer's address.
#[cfg(feature = "tower")]
#[test]
fn a_service_of_tower_costs_what_its_request_does() {
    let run = |path: &str, most| {
        assert_allocations(path, 1, most, |client| {
            client.send(get(path));
            assert_eq!(client.receive().text(), "Hello, World!");
        });
    };
    run("/tower/hello", 8);
    run("/axum/hello", 20);
}

#[cfg(feature = "json")]
#[test]
fn json_costs_no_allocation() {
    let body = br#"{"message":"Hello, \"World\"!","number":18446744073709551615,"list":[0.1,2.5,-7.0]}"#;
    assert_no_allocations_for("json", get("/json"), 200, body);
}

#[test]
fn a_path_parameter_costs_no_allocation() {
    assert_no_allocations_for("a path parameter", get("/users/4711"), 200, b"4711");
}

#[test]
fn a_path_that_must_be_decoded_costs_no_allocation() {
    assert_no_allocations_for("a decoded path", get("/x/../users/%C3%A9"), 200, "é".as_bytes());
}

#[test]
fn fields_and_a_status_cost_no_allocation() {
    let request = "GET /fields HTTP/1.1\r\nHOST: test\r\nAccept: */*\r\nUser-Agent: test\r\n\r\n";
    assert_no_allocations_for("fields and a status", request, 201, b"/fields");
}

#[test]
fn a_path_without_a_route_costs_no_allocation() {
    assert_no_allocations_for("404", get("/nowhere"), 404, b"");
}

#[test]
fn a_body_with_a_length_costs_no_allocation() {
    let body = [b'x'; 1000];
    assert_no_allocations_for("a body with a length", post("/echo", &body), 200, &body);
}

#[test]
fn a_chunked_body_in_one_block_costs_no_allocation() {
    let body = [b'x'; 1000];
    assert_no_allocations_for("a chunked body", post_chunked("/echo", &body, 300), 200, &body);
}

#[test]
fn a_pipelined_batch_costs_no_allocation() {
    let batch = get("/plaintext").repeat(16);
    assert_no_allocations("a batch of 16", 16, |client| {
        client.send(&batch);
        for _ in 0..16 {
            assert_eq!(client.receive().text(), "Hello, World!");
        }
    });
}

/// Cuts a request in two. The first part follows a whole request, whose response tells that it has arrived.
#[track_caller]
fn assert_no_allocations_if_torn(what: &str, request: &[u8], cut: usize, body: &[u8]) {
    let first = [get("/plaintext").as_bytes(), &request[..cut]].concat();
    assert_no_allocations(what, 2, |client| {
        client.send(&first);
        assert_eq!(client.receive().text(), "Hello, World!");
        client.send(&request[cut..]);
        assert_eq!(client.receive().body, body);
    });
}

#[test]
fn a_torn_head_costs_no_allocation() {
    assert_no_allocations_if_torn("a torn head", get("/users/7").as_bytes(), 25, b"7");
}

#[test]
fn a_torn_body_costs_no_allocation() {
    let body = [b'x'; 1000];
    let request = post("/echo", &body);
    assert_no_allocations_if_torn("a torn body", &request, request.len() - 500, &body);
}

#[test]
fn a_torn_chunked_body_costs_no_allocation() {
    let body = [b'x'; 1000];
    let request = post_chunked("/echo", &body, 300);
    assert_no_allocations_if_torn("a torn chunked body", &request, request.len() - 500, &body);
}

/// Handlers with extractors and with answers of their own kind.
#[cfg(feature = "json")]
mod handlers {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use peregrine::prelude::*;
    use peregrine::sleep;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, Deserialize, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum Order {
        Up,
        Down,
    }

    #[derive(Clone, Copy, Deserialize)]
    pub(super) struct Page {
        offset: u64,
        limit: Option<u16>,
        order: Order,
    }

    /// Borrows from the request.
    #[derive(Serialize)]
    pub(super) struct Found<'a> {
        id: u64,
        path: &'a str,
        host: Option<&'a str>,
        end: u64,
        order: Order,
        is_hit: bool,
    }

    pub(super) struct Hits(Cell<u32>);

    fn find<'a>(
        request: &'a Request<'a>,
        Path(id): Path<u64>,
        Query(page): Query<Page>,
        State(hits): State<Hits>,
    ) -> Json<Found<'a>> {
        hits.0.set(hits.0.get() + 1);
        let end = page.offset + u64::from(page.limit.unwrap_or(20));
        let (path, host) = (request.path(), request.field("Host"));
        Json(Found { id, path, host, end, order: page.order, is_hit: hits.0.get() > 0 })
    }

    #[derive(Serialize)]
    struct User {
        id: u64,
        name: &'static str,
    }

    fn checked(Path(id): Path<u64>) -> Result<Json<User>> {
        if id == 0 { Err(Error::new(404)) } else { Ok(Json(User { id, name: "Ada" })) }
    }

    async fn checked_async(Path(id): Path<u64>) -> Result<Json<User>> {
        checked(Path(id))
    }

    async fn ready() -> &'static str {
        "ready"
    }

    async fn slept() -> &'static str {
        sleep(Duration::from_millis(1)).await;
        "slept"
    }

    async fn yielded(Path(id): Path<u64>, Query(page): Query<Page>, hits: State<Hits>) -> Json<User> {
        let mut was_here = false;
        poll_fn(|context| {
            if std::mem::replace(&mut was_here, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Json(User { id: id + page.offset, name: if hits.0.0.get() > 0 { "Grace" } else { "Ada" } })
    }

    pub(super) fn register(app: &mut App) {
        app.state(|_| Hits(Cell::new(0)));
        app.get("/find/{id}", find).get("/checked/{id}", checked).get("/checked-async/{id}", checked_async);
        app.get("/ready", ready).get("/slept", slept).get("/yielded/{id}", yielded);
    }
}

#[cfg(feature = "json")]
#[test]
fn extractors_and_borrowed_json_cost_no_allocation() {
    let body = br#"{"id":7,"path":"/find/7","host":"test","end":52,"order":"down","is_hit":true}"#;
    let request = get("/find/7?order=down&offset=42&limit=10");
    assert_no_allocations_for("extractors and borrowed JSON", request, 200, body);
}

#[cfg(feature = "json")]
#[test]
fn a_result_of_json_costs_no_allocation() {
    let body = br#"{"id":7,"name":"Ada"}"#;
    assert_no_allocations_for("a result", get("/checked/7"), 200, body);
    assert_no_allocations_for("a result of an async handler", get("/checked-async/7"), 200, body);
}

#[cfg(feature = "json")]
#[test]
fn an_async_handler_that_does_not_wait_costs_no_allocation() {
    assert_no_allocations_for("an async handler", get("/ready"), 200, b"ready");
}

#[cfg(feature = "json")]
#[test]
fn a_batch_for_async_handlers_costs_no_allocation() {
    let batch = [get("/ready"), get("/yielded/7?order=up&offset=1"), get("/slept"), get("/ready")].concat();
    assert_no_allocations("a batch for async handlers", 4, |client| {
        client.send(&batch);
        for body in ["ready", r#"{"id":8,"name":"Ada"}"#, "slept", "ready"] {
            assert_eq!(client.receive().text(), body);
        }
    });
}

#[cfg(feature = "json")]
#[test]
fn an_async_handler_that_sleeps_costs_no_allocation() {
    assert_no_allocations_for("an async handler that sleeps", get("/slept"), 200, b"slept");
}

#[cfg(feature = "json")]
#[test]
fn an_async_handler_that_yields_costs_no_allocation() {
    let request = get("/yielded/7?limit=1&order=up&offset=40");
    assert_no_allocations_for("an async handler that yields", request, 200, br#"{"id":47,"name":"Ada"}"#);
}
