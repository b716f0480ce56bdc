//! The first contract, over TLS: a warm request costs no heap allocation, on the thread that serves it; and what a
//! handshake costs.

#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use peregrine::{App, Request, Response, Server};
use rustls::client::Resumption;
use rustls::{ClientConfig, SupportedProtocolVersion};
use support::client::{get, post, post_chunked};
use support::tls::{self, Folder, NAME, Pair, TlsClient, VERSIONS, config, connect};

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

/// Answers with the allocations of this worker so far; the answer's own are counted in the next.
fn allocations(_: &Request, response: &mut Response) {
    response.bytes(&COUNT.get().to_be_bytes());
}

static LARGE: [u8; 100_000] = [b'x'; 100_000];

struct Https {
    server: Server,
    pair: Pair,
    _folder: Folder,
}

impl Https {
    fn start(driver: peregrine::DriverChoice) -> Self {
        let folder = Folder::new();
        let pair = tls::pair(NAME);
        let mut options = tls::options(Some(folder.pair("server", &pair)));
        options.driver = driver;
        let mut app = App::with_options(options);
        app.get("/allocations", allocations);
        app.get("/plaintext", |_: &Request, response: &mut Response| response.text("Hello, World!"));
        app.get("/large", |_: &Request, response: &mut Response| response.body("", &LARGE[..]));
        app.post("/echo", |request: &Request, response: &mut Response| response.bytes(request.body()));
        Self { server: app.start().expect("a server"), pair, _folder: folder }
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> TlsClient {
        connect(self.server.addresses()[0], NAME, config)
    }
}

#[track_caller]
fn counted(client: &mut TlsClient) -> u64 {
    let body = client.get("/allocations").body;
    u64::from_be_bytes(body.try_into().expect("eight bytes"))
}

/// Runs `exchange` often on one connection, first to warm it up and then to count, with each version on each driver.
#[track_caller]
fn assert_no_allocations(what: &str, exchange: fn(&mut TlsClient)) {
    assert_allocations(what, 0, exchange);
}

/// The same for exchanges of which each may cost so many.
#[track_caller]
fn assert_allocations(what: &str, most: u64, exchange: fn(&mut TlsClient)) {
    const WARM_UP: u64 = 20;
    const RUNS: u64 = 300;
    for driver in tls::drivers() {
        let https = Https::start(driver);
        for version in VERSIONS {
            let mut client = https.connect(&config(&[&https.pair], None, &[version]));
            (0..WARM_UP).for_each(|_| exchange(&mut client));
            counted(&mut client);
            let before = counted(&mut client);
            (0..RUNS).for_each(|_| exchange(&mut client));
            let allocations = counted(&mut client) - before;
            let version = version.version;
            println!("{what}, {version:?}: {allocations} in {RUNS} runs on {}", https.server.driver());
            assert!(before > 0, "the worker's allocations are not counted");
            assert!(allocations <= most * RUNS, "{what} with {version:?}: {allocations}");
        }
        https.server.shutdown().expect("a worker that does not fail");
    }
}

#[test]
fn plaintext_costs_no_allocation() {
    assert_no_allocations("plaintext", |client| {
        assert_eq!(client.get("/plaintext").text(), "Hello, World!");
    });
}

#[test]
fn a_body_costs_no_allocation() {
    assert_no_allocations("a body with a length", |client| {
        client.send(post("/echo", &[b'x'; 1000]));
        assert_eq!(client.receive().body, [b'x'; 1000]);
    });
}

#[test]
fn a_chunked_body_costs_no_allocation() {
    assert_no_allocations("a chunked body", |client| {
        client.send(post_chunked("/echo", &[b'x'; 1000], 300));
        assert_eq!(client.receive().body, [b'x'; 1000]);
    });
}

#[test]
fn a_pipelined_batch_costs_no_allocation() {
    assert_no_allocations("a batch of 16", |client| {
        client.send(get("/plaintext").repeat(16));
        for _ in 0..16 {
            assert_eq!(client.receive().text(), "Hello, World!");
        }
    });
}

#[test]
fn a_request_in_two_records_costs_no_allocation() {
    assert_no_allocations("a request in two records", |client| {
        let torn = get("/plaintext");
        client.send(format!("{}{}", get("/plaintext"), &torn[..20]));
        assert_eq!(client.receive().text(), "Hello, World!");
        client.send(&torn[20..]);
        assert_eq!(client.receive().text(), "Hello, World!");
    });
}

/// A body that lies elsewhere costs its place in the buffer, as it does without TLS; its records cost none.
#[test]
fn a_response_of_many_records_costs_no_more_than_without_tls() {
    assert_allocations("a response of 100,000 bytes", 1, |client| {
        assert_eq!(client.get("/large").body, LARGE);
    });
}

/// What one connection costs from its accept to its end, with a handshake and one request.
fn of_a_connection(https: &Https, version: &'static SupportedProtocolVersion, resumes: bool) -> u64 {
    const WARM_UP: u64 = 20;
    const RUNS: u64 = 100;
    let plain = config(&[&https.pair], None, &[version]);
    let mut of_client = (*plain).clone();
    if !resumes {
        of_client.resumption = Resumption::disabled();
    }
    let of_client = Arc::new(of_client);
    let mut teller = https.connect(&plain);
    let run = || {
        let mut client = https.connect(&of_client);
        client.send("GET /plaintext HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.receive().text(), "Hello, World!");
        client.expect_end();
    };
    (0..WARM_UP).for_each(|_| run());
    counted(&mut teller);
    let before = counted(&mut teller);
    (0..RUNS).for_each(|_| run());
    (counted(&mut teller) - before).div_ceil(RUNS)
}

/// Nearly all of them are rustls' own; the bound is there so that a change for the worse is seen.
#[test]
fn a_handshake_costs_some_hundred_allocations_at_most() {
    for driver in tls::drivers() {
        let https = Https::start(driver);
        for version in VERSIONS {
            for resumes in [false, true] {
                let allocations = of_a_connection(&https, version, resumes);
                let kind = if resumes { "resumed" } else { "full" };
                println!("a {kind} handshake, {:?}: {allocations} allocations", version.version);
                assert!((1..=HANDSHAKE_MAX).contains(&allocations), "{allocations}");
            }
        }
    }
}

const HANDSHAKE_MAX: u64 = 200;
