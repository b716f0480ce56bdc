//! HTTP/1.1 as clients meet it: a server in this process, and sockets that carry exactly the bytes of the test.

mod support;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic;
use std::sync::{Arc, LazyLock, Once};
use std::thread;
use std::time::{Duration, Instant};

use peregrine::{App, Method, Options, Request, Response, Server, Version};
use support::client::{
    Client, PATIENCE, Response as Received, assert_same_bytes, await_some, get, pattern, post, post_chunked,
};

const LARGE: usize = 10 << 20;

static LARGE_STATIC: LazyLock<&'static [u8]> = LazyLock::new(|| Vec::leak(pattern(LARGE)));
static LARGE_SHARED: LazyLock<Arc<[u8]>> = LazyLock::new(|| pattern(LARGE).into());

/// Tells what the handler sees of a request, a line for each thing.
fn inspect(request: &Request, response: &mut Response) {
    let mut seen = String::new();
    let mut line = |name: &str, value: &str| writeln!(seen, "{name}={value}").expect("a string takes all");
    line("method", request.method_name());
    line("version", if request.version() == Version::Http10 { "1.0" } else { "1.1" });
    line("path", request.path());
    line("target", request.target());
    line("query", request.query().unwrap_or("none"));
    request.params().for_each(|(name, value)| line(&format!("param {name}"), value));
    request.query_pairs().for_each(|(name, value)| line(&format!("query {name}"), &value));
    line("query_value a", request.query_value("a").as_deref().unwrap_or("none"));
    for name in ["x-plain", "X-PLAIN", "X-Plain", "x-absent"] {
        line(name, request.field(name).unwrap_or("none"));
    }
    line("fields", &request.fields().map(|(name, _)| name).collect::<Vec<_>>().join(","));
    line("body", &String::from_utf8_lossy(request.body()));
    line("peer", &request.peer_address().map_or("none".to_owned(), |address| address.to_string()));
    line("local", &request.local_address().map_or("none".to_owned(), |address| address.to_string()));
    line("connection", &request.connection_id().to_string());
    response.text(&seen);
}

fn app(options: Options) -> App {
    let mut app = App::with_options(options);
    app.get("/", |_: &Request, response: &mut Response| response.text("Hello, World!"));
    app.get("/number/{number}", |request: &Request, response: &mut Response| {
        response.text(request.param("number").unwrap_or_default());
    });
    app.post("/echo", |request: &Request, response: &mut Response| response.bytes(request.body()));
    app.put("/echo", |request: &Request, response: &mut Response| response.bytes(request.body()));
    app.any("/inspect", inspect).any("/inspect/{first}/{second}", inspect).any("/files/{*rest}", inspect);
    app.get("/large/static", |_: &Request, response: &mut Response| {
        response.body("application/x-test", *LARGE_STATIC);
    });
    app.get("/large/owned", |_: &Request, response: &mut Response| {
        response.body("application/x-test", pattern(LARGE));
    });
    app.get("/large/shared", |_: &Request, response: &mut Response| {
        response.body("application/x-test", Arc::clone(&LARGE_SHARED));
    });
    app.get("/large/copied", |_: &Request, response: &mut Response| response.bytes(*LARGE_STATIC));
    app.get("/medium/{size}", |request: &Request, response: &mut Response| {
        let size = request.param("size").and_then(|size| size.parse().ok()).unwrap_or(0);
        response.body("application/x-test", pattern(size));
    });
    app.get("/close", |_: &Request, response: &mut Response| response.close().text("closed"));
    app.get("/no-content", |_: &Request, response: &mut Response| {
        response.status(204);
    });
    app.get("/status/{status}", |request: &Request, response: &mut Response| {
        let status = request.param("status").and_then(|status| status.parse().ok()).unwrap_or(0);
        response.status(status).text("body");
    });
    app.get("/panic", |_: &Request, _: &mut Response| panic!("as asked"));
    app.get("/panic/late", |_: &Request, response: &mut Response| {
        response.status(201).field("X-Late", "1").text("never sent");
        panic!("as asked");
    });
    app.get("/invalid/value", |_: &Request, response: &mut Response| {
        response.field("X-Split", "a\r\nSet-Cookie: stolen=1").text("body");
    });
    app.get("/invalid/name", |_: &Request, response: &mut Response| {
        response.field("X Split", "a").text("body");
    });
    app.get("/invalid/framing", |_: &Request, response: &mut Response| {
        response.field("Transfer-Encoding", "chunked").text("body");
    });
    app
}

fn start(change: impl FnOnce(&mut Options)) -> Server {
    silence_workers();
    let mut options = support::options();
    change(&mut options);
    app(options).start().expect("a server")
}

/// Keeps panics of handlers, which are on purpose here, out of the tests' output.
fn silence_workers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !thread::current().name().is_some_and(|name| name.starts_with("peregrine-")) {
                print(info);
            }
        }));
    });
}

/// The server of all tests that need nothing special. It ends with the process.
static SERVER: LazyLock<Server> = LazyLock::new(|| start(|options| options.workers = Some(2)));

fn address() -> SocketAddr {
    SERVER.addresses()[0]
}

fn connect() -> Client {
    Client::connect(address())
}

/// Asserts that a connection still serves.
#[track_caller]
fn assert_open(client: &mut Client) {
    let response = client.get("/");
    assert_eq!((response.status, response.text(), response.is_last()), (200, "Hello, World!", false));
}

/// Asserts that a response is the last one of its connection, and says so.
#[track_caller]
fn assert_last(client: &mut Client, response: &Received) {
    assert!(response.is_last(), "{response:?}");
    client.expect_end();
}

/// The value of a line of [`inspect`].
#[track_caller]
fn seen<'a>(response: &'a Received, name: &str) -> &'a str {
    let mut lines = response.text().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {}", response.text()))
}

// Persistence.

#[test]
fn rfc9112_9_3_a_connection_is_kept_unless_somebody_closes_it() {
    let mut client = connect();
    for _ in 0..100 {
        assert_open(&mut client);
    }
    assert_eq!(client.get("/").field("Connection"), None, "HTTP/1.1 needs no word for it");
}

#[test]
fn rfc9112_9_6_a_request_with_close_is_the_last_one() {
    for options in ["close", "Close", "keep-alive, close", "x-other,close"] {
        let mut client = connect();
        // What comes behind it is not looked at.
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {options}\r\n\r\n{}", get("/")));
        let response = client.receive();
        assert_eq!((response.status, response.text()), (200, "Hello, World!"), "{options}");
        assert_last(&mut client, &response);
    }
}

#[test]
fn rfc9112_9_6_a_handler_can_close() {
    let mut client = connect();
    client.send(get("/close") + &get("/"));
    let response = client.receive();
    assert_eq!(response.text(), "closed");
    assert_last(&mut client, &response);
}

#[test]
fn rfc9112_9_3_http_1_0_closes_unless_asked_to_keep_the_connection() {
    let mut client = connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.receive();
    assert_eq!((response.status, response.text()), (200, "Hello, World!"));
    assert_last(&mut client, &response);

    let mut client = connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.receive();
        assert_eq!((response.status, response.text()), (200, "Hello, World!"));
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.receive();
    assert_last(&mut client, &response);
}

// Arrival: all at once, in parts, in bulk.

#[test]
fn rfc9112_9_3_2_pipelined_requests_are_answered_in_order() {
    let mut client = connect();
    for count in 1..=100 {
        client.send((0..count).map(|number| get(&format!("/number/{number}"))).collect::<String>());
        for number in 0..count {
            assert_eq!(client.receive().text(), number.to_string(), "of {count}");
        }
    }
}

#[test]
fn rfc9112_9_3_2_pipelined_requests_of_all_kinds_are_answered_in_order() {
    let mut client = connect();
    let body = pattern(3000);
    for _ in 0..10 {
        let batch: Vec<u8> = (0..20)
            .flat_map(|_| {
                let parts = [get("/").into_bytes(), post("/echo", &body), post_chunked("/echo", &body, 999)];
                [parts.concat(), get("/medium/20000").into_bytes(), get("/nowhere").into_bytes()].concat()
            })
            .collect();
        // The answers are larger than what the sockets hold: both directions at once, or neither goes on.
        let mut sender = client.stream.try_clone().expect("an open socket");
        let sending = thread::spawn(move || sender.write_all(&batch));
        for _ in 0..20 {
            assert_eq!(client.receive().text(), "Hello, World!");
            assert_same_bytes(&client.receive().body, &body);
            assert_same_bytes(&client.receive().body, &body);
            assert_same_bytes(&client.receive().body, &pattern(20_000));
            assert_eq!(client.receive().status, 404);
        }
        sending.join().expect("no panic").expect("an open connection");
    }
}

#[test]
fn rfc9112_2_2_a_request_may_be_torn_anywhere() {
    let requests = [
        get("/number/7").into_bytes(),
        post("/echo", b"7"),
        post_chunked("/echo", b"7", 1),
        post("/echo", b""),
    ];
    let answers: [&[u8]; 4] = [b"7", b"7", b"7", b""];
    let mut client = connect();
    for (request, answer) in requests.iter().zip(answers) {
        for cut in 0..=request.len() {
            // Two writes, as the network may have them.
            client.send(&request[..cut]);
            client.send(&request[cut..]);
            assert_eq!(client.receive().body, answer, "cut at {cut}");
            // Two receives for certain: the response before says that the first part has arrived.
            client.send([get("/").as_bytes(), &request[..cut]].concat());
            assert_eq!(client.receive().text(), "Hello, World!");
            client.send(&request[cut..]);
            assert_eq!(client.receive().body, answer, "cut at {cut}");
        }
    }
}

#[test]
fn rfc9112_2_2_a_request_may_arrive_byte_by_byte() {
    let mut client = connect();
    for request in [get("/number/7").into_bytes(), post("/echo", b"7"), post_chunked("/echo", b"7", 1)] {
        request.chunks(1).for_each(|byte| client.send(byte));
        assert_eq!(client.receive().text(), "7");
    }
}

#[test]
fn rfc9112_2_2_an_empty_line_before_a_request_is_no_part_of_it() {
    let mut client = connect();
    client.send(format!("\r\n{}", get("/")));
    assert_eq!(client.receive().status, 200);
    assert_open(&mut client);
}

const SIZES: [usize; 8] = [0, 1, 4095, 4096, 4097, 65_536, 1 << 20, 5 << 20];

/// Sends a request and reads its response at the same time.
fn exchange(client: &mut Client, request: Vec<u8>) -> Received {
    let mut sender = client.stream.try_clone().expect("an open socket");
    let sending = thread::spawn(move || sender.write_all(&request));
    let response = client.receive();
    sending.join().expect("no panic").expect("an open connection");
    response
}

#[test]
fn rfc9112_6_2_bodies_of_all_sizes_come_back_by_length() {
    let mut client = connect();
    for size in SIZES {
        let body = pattern(size);
        let response = exchange(&mut client, post("/echo", &body));
        assert_eq!(response.status, 200, "{size}");
        assert_same_bytes(&response.body, &body);
        assert_open(&mut client);
    }
}

#[test]
fn rfc9112_7_1_bodies_of_all_sizes_come_back_by_chunks() {
    for chunk in [1, 999, 65_536] {
        let mut client = connect();
        // A byte a chunk makes six of one: the smaller ones prove it.
        for size in SIZES.into_iter().filter(|&size| chunk > 1 || size <= 65_536) {
            let body = pattern(size);
            let response = exchange(&mut client, post_chunked("/echo", &body, chunk));
            assert_eq!(response.status, 200, "{size} in chunks of {chunk}");
            assert_same_bytes(&response.body, &body);
            assert_open(&mut client);
        }
    }
}

#[test]
fn rfc9112_7_1_extensions_and_trailers_are_no_part_of_the_body() {
    let mut client = connect();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n\
         00A\r\n, chunked!\r\n0\r\nX-Trailer: 1\r\n\r\n",
    );
    assert_eq!(client.receive().text(), "hello, chunked!");
    assert_open(&mut client);
}

#[test]
fn many_connections_with_random_splits_get_their_answers() {
    const CONNECTIONS: u64 = 200;
    const THREADS: u64 = 20;
    const ROUNDS: usize = 5;
    let run = |seed: u64| {
        let mut random = Random(seed * 2 + 1);
        let mut clients: Vec<Client> = (0..CONNECTIONS / THREADS).map(|_| connect()).collect();
        for _ in 0..ROUNDS {
            let mut left = Vec::new();
            let mut expected = Vec::new();
            for _ in &clients {
                let mut bytes = Vec::new();
                let mut answers = Vec::new();
                for _ in 0..=random.below(20) {
                    let body = pattern(random.below(600));
                    match random.below(3) {
                        0 => {
                            let number = random.below(1 << 30).to_string();
                            bytes.extend_from_slice(get(&format!("/number/{number}")).as_bytes());
                            answers.push(number.into_bytes());
                        }
                        1 => {
                            bytes.extend_from_slice(&post("/echo", &body));
                            answers.push(body);
                        }
                        _ => {
                            bytes.extend_from_slice(&post_chunked("/echo", &body, 1 + random.below(200)));
                            answers.push(body);
                        }
                    }
                }
                left.push(bytes);
                expected.push(answers);
            }
            // One piece of each in turn, until all are sent.
            while left.iter().any(|bytes| !bytes.is_empty()) {
                for (client, bytes) in clients.iter_mut().zip(&mut left) {
                    let piece = random.below(1500).min(bytes.len());
                    client.send(bytes.drain(..piece).as_slice());
                }
            }
            for (client, answers) in clients.iter_mut().zip(&expected) {
                for answer in answers {
                    assert_same_bytes(&client.receive().body, answer);
                }
            }
        }
    };
    thread::scope(|scope| {
        for seed in 0..THREADS {
            // A panic tells the name of its thread.
            let thread = thread::Builder::new().name(format!("seed {seed}"));
            thread.spawn_scoped(scope, move || run(seed)).expect("a thread");
        }
    });
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % end
    }
}

// Large responses.

#[test]
fn large_bodies_reach_a_slow_reader_whole_while_others_are_served() {
    let server = start(|_| {});
    let mut slow = Client::connect(server.addresses()[0]);
    let mut other = Client::connect(server.addresses()[0]);
    for path in ["/large/static", "/large/owned", "/large/shared", "/large/copied"] {
        slow.send(get(path) + &get(path) + &get("/"));
        for _ in 0..2 {
            let head = slow.receive_head();
            assert_eq!(head.field("Content-Length"), Some(LARGE.to_string().as_str()), "{path}");
            // The response fills the sockets and waits; the only worker does not.
            for piece in pattern(LARGE).chunks(1 << 20) {
                assert_open(&mut other);
                assert_same_bytes(&slow.take(piece.len()), piece);
            }
        }
        assert_open_after(&mut slow);
    }
}

/// Reads the response to a request for `/` that was sent before.
#[track_caller]
fn assert_open_after(client: &mut Client) {
    assert_eq!(client.receive().text(), "Hello, World!");
}

#[test]
fn rfc9112_9_6_the_last_response_arrives_whole_however_large_it_is() {
    let last = "GET /large/shared HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    for request in
        [last.to_owned(), format!("{last}{}", get("/")), "GET /large/owned HTTP/1.0\r\n\r\n".into()]
    {
        let mut client = connect();
        client.send(request);
        let response = client.receive();
        assert_same_bytes(&response.body, &LARGE_SHARED);
        assert_last(&mut client, &response);
    }
    // The rejection waits for the response before it.
    let mut client = connect();
    client.send(get("/large/static") + "nonsense\r\n\r\n" + &get("/"));
    assert_same_bytes(&client.receive().body, *LARGE_STATIC);
    let response = client.receive();
    assert_eq!(response.status, 400);
    assert_last(&mut client, &response);
}

#[test]
fn bodies_around_every_threshold_arrive_whole() {
    let mut client = connect();
    let around = [1024, 4096, 8192, 16_384, 65_536, 1 << 20];
    for size in around.into_iter().flat_map(|size| size - 300..size + 300).step_by(37) {
        client.send(get(&format!("/medium/{size}")) + &get("/"));
        assert_same_bytes(&client.receive().body, &pattern(size));
        assert_open_after(&mut client);
    }
}

#[test]
fn a_client_that_reads_nothing_holds_only_itself_up() {
    let server = start(|_| {});
    let mut stuck = Client::connect(server.addresses()[0]);
    stuck.stream.set_nonblocking(true).expect("an open socket");
    let batch = get("/large/shared").repeat(1000);
    let mut sent = 0;
    let mut last = Instant::now();
    // Until nothing is taken any more: both sides' sockets are full, and the server's own memory is not used.
    while last.elapsed() < Duration::from_millis(300) {
        match stuck.stream.write(batch.as_bytes()) {
            Ok(len) => {
                sent += len;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "{sent} bytes of requests are taken without an answer being read");
    }
    let mut other = Client::connect(server.addresses()[0]);
    for _ in 0..100 {
        assert_open(&mut other);
    }
    drop(stuck);
    assert_open(&mut other);
}

// Methods and routes.

#[test]
fn rfc9110_9_3_2_head_gets_the_fields_of_get_and_no_body() {
    let mut client = connect();
    for path in ["/", "/large/shared", "/large/copied", "/medium/9000", "/nowhere", "/no-content"] {
        client.send(get(path));
        let got = client.receive();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let head = client.receive_head();
        assert_eq!(head.status, got.status, "{path}");
        for name in ["Content-Length", "Content-Type", "Server"] {
            assert_eq!(head.field(name), got.field(name), "{name} of {path}");
        }
        assert_open(&mut client);
    }
}

#[test]
fn rfc9110_9_3_7_options_names_the_methods_of_a_path_and_of_the_server() {
    let mut client = connect();
    for (target, allow) in [
        ("/", "GET, HEAD, OPTIONS"),
        ("/echo", "POST, PUT, OPTIONS"),
        ("*", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ] {
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let response = client.receive();
        assert_eq!((response.status, response.field("Allow")), (204, Some(allow)), "{target}");
        assert_eq!(response.field("Content-Length"), None, "RFC 9110 section 8.6");
    }
    client.send("OPTIONS /nowhere HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive().status, 404);
    assert_open(&mut client);
}

#[test]
fn rfc9110_15_5_5_a_path_without_a_route_is_not_found() {
    let mut client = connect();
    for path in ["/nowhere", "/number", "/number/1/2", "/Number/1", "//"] {
        let response = client.get(path);
        assert_eq!(
            (response.status, response.status_line.as_str()),
            (404, "HTTP/1.1 404 Not Found"),
            "{path}"
        );
    }
    assert_open(&mut client);
}

#[test]
fn rfc9110_15_5_6_a_method_without_a_handler_is_told_which_there_are() {
    let mut client = connect();
    for (request, allow) in [
        (post("/", b"body"), "GET, HEAD, OPTIONS"),
        (get("/echo").into_bytes(), "POST, PUT, OPTIONS"),
        (b"PROPFIND /echo HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), "POST, PUT, OPTIONS"),
    ] {
        client.send(request);
        let response = client.receive();
        assert_eq!((response.status, response.field("Allow")), (405, Some(allow)));
        assert_open(&mut client);
    }
}

#[test]
fn any_answers_every_method_by_its_name() {
    let mut client = connect();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        client.send(format!("{method} /inspect HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
        let response = client.receive();
        assert_eq!((response.status, seen(&response, "method")), (200, method));
    }
}

#[test]
fn every_kind_of_registration_answers_its_own_method() {
    let name = |request: &Request, response: &mut Response| response.text(request.method_name());
    let mut app = App::with_options(support::options());
    app.get("/", name).post("/", name).put("/", name).patch("/", name).delete("/", name).options("/", name);
    app.head("/own-head", |_: &Request, response: &mut Response| {
        response.field("X-Head", "own");
    });
    app.get("/own-head", name);
    app.fallback(|request: &Request, response: &mut Response| {
        response.status(404).text(&format!("fallback for {} {}", request.method_name(), request.path()));
    });
    let server = app.start().expect("a server");
    let mut client = Client::connect(server.addresses()[0]);
    for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Options] {
        let method = method.as_str();
        client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.receive().text(), method);
    }
    client.send("HEAD /own-head HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive_head().field("X-Head"), Some("own"));
    let response = client.get("/nowhere/at/all");
    assert_eq!((response.status, response.text()), (404, "fallback for GET /nowhere/at/all"));
    client.send(post("/elsewhere", b""));
    assert_eq!(client.receive().text(), "fallback for POST /elsewhere");
    client.send("DELETE /own-head HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive().status, 405, "a path with a route is not the fallback's");
}

#[test]
fn routes_that_cannot_be_registered_are_refused_at_the_start() {
    let handler = |_: &Request, _: &mut Response| {};
    let refusal = |templates: &[&str]| {
        let mut app = App::with_options(support::options());
        for template in templates {
            app.get(template, handler);
        }
        app.start().expect_err("a refusal").to_string()
    };
    assert!(refusal(&["users"]).starts_with("Invalid route 'users': "));
    assert!(refusal(&["/users/{id"]).starts_with("Invalid route '/users/{id': "));
    assert!(refusal(&["/a", "/a"]).contains("twice"));
    let conflict = refusal(&["/a/{x}", "/a/{y}"]);
    assert!(conflict.starts_with("Invalid route '/a/{y}': "), "{conflict}");
}

// What a handler sees.

#[test]
fn path_parameters_and_catch_alls_are_found_by_name_and_decoded() {
    let mut client = connect();
    let response = client.get("/inspect/one/t%77o%20%C3%A9?a=1");
    assert_eq!(seen(&response, "param first"), "one");
    assert_eq!(seen(&response, "param second"), "two é");
    assert_eq!(seen(&response, "path"), "/inspect/one/two é");
    assert_eq!(seen(&response, "target"), "/inspect/one/t%77o%20%C3%A9?a=1");
    let response = client.get("/files/a/b%2Fc/./d/../e.txt");
    assert_eq!(seen(&response, "param rest"), "a/b%2Fc/e.txt");
    assert_eq!(client.get("/inspect/one").status, 404);
}

#[test]
fn query_values_are_decoded_and_come_in_order() {
    let mut client = connect();
    let response = client.get("/inspect?b=x+y%26z&a=%C3%A9&a=second&flag&=nameless");
    assert_eq!(seen(&response, "query"), "b=x+y%26z&a=%C3%A9&a=second&flag&=nameless");
    assert_eq!(seen(&response, "query b"), "x y&z");
    assert_eq!(seen(&response, "query a"), "é");
    assert_eq!(seen(&response, "query_value a"), "é");
    assert_eq!(seen(&response, "query flag"), "");
    let response = client.get("/inspect");
    assert_eq!((seen(&response, "query"), seen(&response, "query_value a")), ("none", "none"));
    assert_eq!(seen(&client.get("/inspect?"), "query"), "");
}

#[test]
fn rfc9110_5_1_fields_are_found_in_any_case() {
    let mut client = connect();
    client.send("GET /inspect HTTP/1.1\r\nHOST: test\r\nX-pLaIn:  spaced out \t\r\nx-plain: second\r\n\r\n");
    let response = client.receive();
    for name in ["x-plain", "X-PLAIN", "X-Plain"] {
        assert_eq!(seen(&response, name), "spaced out");
    }
    assert_eq!(seen(&response, "x-absent"), "none");
    assert_eq!(seen(&response, "fields"), "HOST,X-pLaIn,x-plain", "in order and as they came");
}

#[test]
fn rfc9112_3_2_2_a_target_may_be_absolute() {
    let mut client = connect();
    client.send("GET http://test/inspect?a=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.receive();
    assert_eq!((seen(&response, "path"), seen(&response, "query_value a")), ("/inspect", "1"));
    client.send("GET http://test HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.receive().text(), "Hello, World!");
}

#[test]
fn addresses_and_connection_ids_are_those_of_the_connection() {
    let mut ids = HashSet::new();
    for _ in 0..10 {
        let mut client = connect();
        let response = client.get("/inspect");
        let local = client.stream.local_addr().expect("an open socket").to_string();
        assert_eq!(seen(&response, "peer"), local);
        assert_eq!(seen(&response, "local"), address().to_string());
        let id = seen(&response, "connection").to_owned();
        assert_eq!(seen(&client.get("/inspect"), "connection"), id, "the same for all of its requests");
        assert!(ids.insert(id.clone()), "{id} of another connection");
    }
}

// Expectations.

#[test]
fn rfc9110_10_1_1_the_interim_answer_comes_before_the_body() {
    let mut client = connect();
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client
            .send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"));
        let interim = client.receive();
        assert_eq!(interim.status_line, "HTTP/1.1 100 Continue", "{framing}");
        client.send(if framing.contains("chunked") { "5\r\nhello\r\n0\r\n\r\n" } else { "hello" });
        let response = client.receive();
        assert_eq!((response.status, response.text()), (200, "hello"), "{framing}");
        assert_open(&mut client);
    }
}

#[test]
fn rfc9110_10_1_1_a_body_that_came_along_needs_no_interim_answer() {
    let mut client = connect();
    client
        .send("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.receive().status, 200);
    // Nothing to wait for either.
    client.send("GET / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    assert_open(&mut client);
}

#[test]
fn rfc9110_10_1_1_http_1_0_gets_no_interim_answer() {
    let mut client = connect();
    client.send("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    client.send("hello");
    let response = client.receive();
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert_last(&mut client, &response);
}

// Rejections.

/// Asserts that bytes are answered with one rejection, after which the connection ends in order.
#[track_caller]
fn assert_rejected(bytes: impl AsRef<[u8]>, status: u16) -> Received {
    // Valid requests before it are served, those behind it are not looked at.
    let mut client = connect();
    client.send([get("/").as_bytes(), bytes.as_ref(), get("/").as_bytes()].concat());
    assert_eq!(client.receive().text(), "Hello, World!");
    let response = client.receive();
    let shown = String::from_utf8_lossy(&bytes.as_ref()[..bytes.as_ref().len().min(80)]).into_owned();
    assert_eq!(response.status, status, "{shown:?}");
    assert_last(&mut client, &response);
    assert_eq!(response.field("Content-Length"), Some("0"), "{shown:?}");
    assert!(response.field("Date").is_some(), "{shown:?}");
    response
}

#[test]
fn rfc9112_2_2_and_3_malformed_request_lines_are_rejected_with_400() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET nowhere HTTP/1.1",
        "GET / HTTP/x.y",
        "GET / http/1.1",
        "GET /%zz HTTP/1.1",
        "GET /%ff HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
    ] {
        assert_rejected(format!("{line}\r\nHost: test\r\n\r\n"), 400);
    }
}

#[test]
fn rfc9112_5_malformed_fields_are_rejected_with_400() {
    for field in
        ["X : a", ": a", "X", " X: a", "X: a\r\n folded", "X: a\u{0}b", "X: a\rb", "X(: a", "X: a\u{7f}"]
    {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n"), 400);
    }
    assert_rejected("GET / HTTP/1.1\nHost: test\n\n", 400);
}

#[test]
fn rfc9112_3_2_a_request_without_one_valid_host_is_rejected_with_400() {
    for host in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a:b\r\n", "Host: a/b\r\n"] {
        assert_rejected(format!("GET / HTTP/1.1\r\n{host}\r\n"), 400);
    }
}

#[test]
fn rfc9112_6_3_ambiguous_framing_is_rejected_with_400() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1, 2",
        "Content-Length: +1",
        "Content-Length: -1",
        "Content-Length: 0x1",
        "Content-Length: ",
        "Transfer-Encoding: chunked, chunked",
    ] {
        assert_rejected(format!("POST /echo HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n"), 400);
    }
}

#[test]
fn rfc9112_7_1_broken_chunks_are_rejected_with_400() {
    for body in [
        "x\r\n",
        "-1\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX",
        "5 \r\nhello\r\n",
        "11111111111111111\r\n",
        "0\r\nX : a\r\n\r\n",
    ] {
        let request =
            format!("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_rejected(request, 400);
    }
}

#[test]
fn rfc9110_15_5_6_forms_of_targets_that_belong_to_other_methods_are_rejected_with_405() {
    assert_eq!(assert_rejected("GET * HTTP/1.1\r\nHost: test\r\n\r\n", 405).field("Allow"), Some("OPTIONS"));
    let authority = assert_rejected("GET test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n", 405);
    assert_eq!(authority.field("Allow"), Some("CONNECT"));
}

#[test]
fn rfc9110_15_5_14_a_body_beyond_the_limit_is_rejected_with_413() {
    assert_rejected("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 30000001\r\n\r\n", 413);
    assert_rejected("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999999999999\r\n\r\n", 413);
}

#[test]
fn rfc9110_15_5_15_a_long_target_is_rejected_with_414() {
    let at_the_limit = "a".repeat(8192 - "GET / HTTP/1.1\r\n".len());
    assert_eq!(connect().get(&format!("/{at_the_limit}")).status, 404, "just short enough");
    assert_rejected(get(&format!("/{at_the_limit}a")), 414);
    // Already when no end is in sight.
    assert_rejected(format!("GET /{}", "a".repeat(20_000)), 414);
}

#[test]
fn rfc6585_5_too_many_or_too_large_fields_are_rejected_with_431() {
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let mut client = connect();
    client.send(with(&"X: a\r\n".repeat(99)));
    assert_eq!(client.receive().status, 200, "as many as are allowed");
    assert_rejected(with(&"X: a\r\n".repeat(100)), 431);
    assert_rejected(with(&format!("X: {}\r\n", "a".repeat(33_000))), 431);
}

#[test]
fn rfc9112_6_1_a_transfer_coding_that_is_not_known_is_rejected_with_501() {
    assert_rejected("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501);
}

#[test]
fn rfc9112_2_3_other_versions_are_rejected_with_505() {
    assert_rejected("GET / HTTP/1.2\r\nHost: test\r\n\r\n", 505);
    assert_rejected("GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505);
    assert_rejected("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn rfc9110_10_1_1_an_unknown_expectation_is_rejected_with_417() {
    assert_rejected("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417);
}

#[test]
fn a_tls_handshake_is_answered_with_an_alert() {
    let mut client = connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    // A fatal handshake_failure, which every TLS client understands.
    assert_eq!(client.take(7), [21, 3, 3, 0, 2, 2, 40]);
    client.expect_end();
}

#[test]
fn limits_that_were_changed_count() {
    let server = start(|options| {
        options.limits.max_request_line_size = 64;
        options.limits.max_request_header_count = 3;
        options.limits.max_request_headers_total_size = 128;
        options.limits.max_request_body_size = Some(1000);
    });
    let status = |request: Vec<u8>| {
        let mut client = Client::connect(server.addresses()[0]);
        client.send(request);
        let response = client.receive();
        if response.status != 200 {
            assert_last(&mut client, &response);
        }
        response.status
    };
    assert_eq!(status(get("/").into_bytes()), 200);
    assert_eq!(status(get(&format!("/{}", "a".repeat(60))).into_bytes()), 414);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\nA: b\r\n\r\n".to_vec()), 431);
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(128)).into_bytes()),
        431
    );
    assert_eq!(status(post("/echo", &[b'x'; 1000])), 200);
    assert_eq!(status(post("/echo", &[b'x'; 1001])), 413);
    assert_eq!(status(post_chunked("/echo", &[b'x'; 1000], 100)), 200);
    assert_eq!(status(post_chunked("/echo", &[b'x'; 1001], 100)), 413);
}

// The ends of a connection.

#[test]
fn rfc9112_9_6_a_client_that_keeps_sending_after_a_rejection_reads_all_of_it() {
    let server = start(|options| options.limits.max_request_body_size = Some(1000));
    for _ in 0..5 {
        let mut client = Client::connect(server.addresses()[0]);
        client.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 8 << 20));
        // Without lingering the server would reset this, and the reset could overtake the answer.
        client.send(pattern(8 << 20));
        let response = client.receive();
        assert_eq!(response.status, 413);
        assert_last(&mut client, &response);
    }
}

#[test]
fn rfc9112_9_6_a_client_that_does_not_close_in_its_turn_is_not_waited_for() {
    let mut client = connect();
    let response = client.get("/close");
    assert_last(&mut client, &response);
    // Whatever is still sent is dropped for a while, then refused.
    await_some("the end of both directions", || client.stream.write(b"x").err());
}

#[test]
fn rfc9112_9_6_a_client_that_shuts_down_its_side_still_gets_all_answers() {
    let mut client = connect();
    client.send(get("/number/1").repeat(50) + &get("/large/shared"));
    client.finish_sending();
    for _ in 0..50 {
        assert_eq!(client.receive().text(), "1");
    }
    assert_same_bytes(&client.receive().body, &LARGE_SHARED);
    client.expect_end();
}

#[test]
fn rfc9112_9_6_the_end_in_the_middle_of_a_request_is_no_request() {
    for part in [
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: test\r\n",
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhell",
    ] {
        let mut client = connect();
        client.send(get("/") + part);
        client.finish_sending();
        assert_eq!(client.receive().text(), "Hello, World!");
        client.expect_end();
    }
    let mut silent = connect();
    silent.finish_sending();
    silent.expect_end();
}

#[test]
fn clients_that_vanish_do_not_disturb_others() {
    let server = start(|_| {});
    let mut steady = Client::connect(server.addresses()[0]);
    for round in 0..100 {
        let mut client = Client::connect(server.addresses()[0]);
        match round % 4 {
            0 => {}
            1 => client.send(get("/large/shared")),
            2 => client.send(&post("/echo", &pattern(100_000))[..50_000]),
            _ => assert_open(&mut client),
        }
        drop(client);
        assert_open(&mut steady);
    }
}

// Handlers that go wrong.

#[test]
fn a_handler_that_panics_is_answered_with_500_and_its_worker_lives_on() {
    let server = start(|_| {});
    let mut other = Client::connect(server.addresses()[0]);
    for path in ["/panic", "/panic/late"] {
        for _ in 0..20 {
            let mut client = Client::connect(server.addresses()[0]);
            client.send(get("/") + &get(path) + &get("/"));
            assert_eq!(client.receive().status, 200);
            let response = client.receive();
            assert_eq!((response.status, response.body.len()), (500, 0), "{path}");
            assert_eq!(response.field("X-Late"), None, "nothing of what it had written");
            assert_last(&mut client, &response);
            assert_open(&mut other);
        }
    }
    drop(other);
    server.shutdown().expect("the only worker has not failed");
}

#[test]
fn rfc9110_5_5_a_handler_that_writes_an_invalid_field_is_answered_with_500() {
    let mut client = connect();
    for path in
        ["/invalid/value", "/invalid/name", "/invalid/framing", "/status/99", "/status/600", "/status/101"]
    {
        let mut broken = connect();
        broken.send(get(path));
        let response = broken.receive();
        assert_eq!((response.status, response.body.len()), (500, 0), "{path}");
        assert_eq!(response.field("Set-Cookie"), None);
        assert_last(&mut broken, &response);
        assert_open(&mut client);
    }
}

// The engine's own fields.

#[test]
fn rfc9110_6_6_1_every_response_has_one_date() {
    let mut client = connect();
    for path in ["/", "/nowhere", "/large/shared", "/no-content"] {
        let response = client.get(path);
        let date = response.field("Date").expect("a date");
        let parts: Vec<&str> = date.split(' ').collect();
        let [day_name, day, month, year, time, zone] = parts[..] else { panic!("no date: {date}") };
        assert!(["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"].contains(&day_name), "{date}");
        assert_eq!((date.len(), day.len(), month.len(), time.len(), zone), (29, 2, 3, 8, "GMT"), "{date}");
        assert!(year.parse::<u16>().is_ok_and(|year| year >= 2024), "{date}");
    }
}

#[test]
fn rfc9110_6_6_1_the_date_goes_with_the_time() {
    let mut client = connect();
    let first = client.get("/").field("Date").expect("a date").to_owned();
    await_some("another date", || (client.get("/").field("Date") != Some(&first)).then_some(()));
}

#[test]
fn rfc9110_10_2_4_the_server_field_can_be_turned_off() {
    let mut client = connect();
    let named = client.get("/").field("Server").expect("the field").to_owned();
    assert!(named.eq_ignore_ascii_case("peregrine"), "{named}");
    let server = start(|options| options.server_header = false);
    let mut client = Client::connect(server.addresses()[0]);
    assert_eq!(client.get("/").field("Server"), None);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.receive().field("Server"), None, "of a rejection neither");
}

#[test]
fn rfc9110_8_6_statuses_without_a_body_have_none() {
    let mut client = connect();
    let response = client.get("/no-content");
    assert_eq!((response.status, response.field("Content-Length")), (204, None));
    let response = client.get("/status/304");
    assert_eq!((response.status, response.field("Content-Length")), (304, Some("4")));
    assert_eq!(client.get("/status/418").text(), "body");
    assert_open(&mut client);
}

// Time.

/// How much too early a timeout may seem to end: the server reads a coarse clock, and that once a turn.
const CLOCK_SLACK: Duration = Duration::from_millis(50);
const ALMOST_A_SECOND: Duration = Duration::from_secs(1).saturating_sub(CLOCK_SLACK);

#[test]
fn rfc9112_9_5_an_idle_connection_is_closed_after_the_keep_alive_timeout() {
    let server = start(|options| options.limits.keep_alive_timeout = Duration::from_secs(1));
    let begin = Instant::now();
    let mut silent = Client::connect(server.addresses()[0]);
    let mut idle = Client::connect(server.addresses()[0]);
    for client in [&mut idle, &mut silent] {
        client.expect_end_after(begin, ALMOST_A_SECOND);
    }
    let mut used = Client::connect(server.addresses()[0]);
    let begin = Instant::now();
    assert_open(&mut used);
    used.expect_end_after(begin, ALMOST_A_SECOND);
}

#[test]
fn rfc9112_9_5_a_request_moves_the_keep_alive_deadline() {
    // Long enough for a machine that does other things between two requests.
    const TIMEOUT: Duration = Duration::from_secs(3);
    let server = start(|options| options.limits.keep_alive_timeout = TIMEOUT);
    let mut client = Client::connect(server.addresses()[0]);
    let begin = Instant::now();
    while begin.elapsed() < TIMEOUT + Duration::from_secs(1) {
        assert_open(&mut client);
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rfc9110_15_5_9_a_slow_head_is_answered_with_408() {
    let server = start(|options| options.limits.request_headers_timeout = Duration::from_secs(1));
    let mut client = Client::connect(server.addresses()[0]);
    assert_open(&mut client);
    let begin = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: te");
    let response = client.receive();
    assert_eq!(response.status, 408);
    assert!(begin.elapsed() >= ALMOST_A_SECOND, "after {:?}", begin.elapsed());
    assert_last(&mut client, &response);
}

#[test]
fn rfc9110_15_5_9_a_head_that_trickles_in_gets_no_more_time() {
    let server = start(|options| options.limits.request_headers_timeout = Duration::from_secs(1));
    let mut client = Client::connect(server.addresses()[0]);
    let begin = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX: ");
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("an open socket");
    let mut first = [0; 12];
    let status = loop {
        // It may have been closed between two of them.
        let _ = client.stream.write(b"a");
        match client.stream.read(&mut first) {
            Ok(len) => break String::from_utf8_lossy(&first[..len]).into_owned(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < PATIENCE, "every byte moves the deadline");
    };
    assert_eq!(status, "HTTP/1.1 408");
    assert!(begin.elapsed() >= ALMOST_A_SECOND, "after {:?}", begin.elapsed());
}

// The end of the server.

/// Where nobody else can listen once the server has gone.
fn own_urls() -> Vec<String> {
    vec![format!("http://{}:0", support::own_address())]
}

#[test]
fn shutdown_finishes_what_is_open_and_closes_the_rest() {
    let server = start(|options| {
        options.workers = Some(2);
        options.urls = own_urls();
    });
    let address = server.addresses()[0];
    let body = pattern(100_000);
    let request = post("/echo", &body);
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    idle.iter_mut().for_each(assert_open);
    let mut open: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    for client in &mut open {
        client.send([get("/").as_bytes(), &request[..60_000]].concat());
        assert_open_after(client);
    }
    let shutdown = thread::spawn(move || server.shutdown());
    for mut client in idle {
        client.expect_end();
    }
    for mut client in open {
        client.send(&request[60_000..]);
        let response = client.receive();
        assert_eq!(response.status, 200);
        assert_same_bytes(&response.body, &body);
        assert_last(&mut client, &response);
    }
    shutdown.join().expect("no panic").expect("no worker has failed");
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn shutdown_closes_a_connection_once_its_open_response_is_sent() {
    let server = start(|_| {});
    let mut slow = Client::connect(server.addresses()[0]);
    slow.send(get("/large/shared"));
    // On its way, and far larger than what the sockets hold.
    assert!(!slow.receive_head().is_last());
    let mut idle = Client::connect(server.addresses()[0]);
    assert_open(&mut idle);
    let shutdown = thread::spawn(move || server.shutdown());
    idle.expect_end();
    drop(idle);
    assert_same_bytes(&slow.take(LARGE), &LARGE_SHARED);
    slow.expect_end();
    drop(slow);
    shutdown.join().expect("no panic").expect("no worker has failed");
}

#[test]
fn shutdown_waits_no_longer_than_its_timeout() {
    let server = start(|options| options.shutdown_timeout = Duration::from_millis(300));
    let mut torn = Client::connect(server.addresses()[0]);
    torn.send(get("/") + "GET / HTTP/1.1\r\n");
    assert_open_after(&mut torn);
    let mut stuck = Client::connect(server.addresses()[0]);
    stuck.send(get("/large/shared"));
    stuck.receive_head();
    let begin = Instant::now();
    server.shutdown().expect("no worker has failed");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300) - CLOCK_SLACK && took < PATIENCE, "{took:?}");
    torn.await_any_end();
    stuck.await_any_end();
}

#[test]
fn dropping_a_server_ends_it_at_once() {
    let server = start(|options| options.urls = own_urls());
    let address = server.addresses()[0];
    let mut torn = Client::connect(address);
    torn.send(get("/") + "GET / HTTP/1.1\r\n");
    assert_open_after(&mut torn);
    let begin = Instant::now();
    drop(server);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    torn.await_any_end();
    TcpStream::connect(address).expect_err("nobody listens");
}
