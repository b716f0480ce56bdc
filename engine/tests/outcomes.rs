//! What becomes of whatever a handler does: returns, refuses, fails, panics, blocks, promises too much.

#![cfg(feature = "json")]

mod support;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::stream;
use peregrine::prelude::*;
use peregrine::testing::TestClient;
use peregrine::{
    ExchangeError, FieldValue, Method, Options, Respond, Server, StreamBody, Version, sleep, timeout,
};
use serde::{Deserialize, Serialize};
use support::client::{Client, await_some, get};

fn client_in(environment: &str, make: impl FnOnce(&mut App)) -> TestClient {
    let mut options = Options::default();
    options.environment = environment.to_owned();
    options.server_header = false;
    let mut app = App::with_options(options);
    make(&mut app);
    app.client().expect("a sound application")
}

fn client(make: impl FnOnce(&mut App)) -> TestClient {
    client_in("Production", make)
}

/// All bytes of the answer but the date.
fn bytes(client: &mut TestClient, method: &str, target: &str) -> String {
    let answer = client.raw(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let answer = String::from_utf8(answer).expect("text");
    let (before, after) = answer.split_once("Date: ").expect("a date");
    assert_eq!(after.find("\r\n"), Some(29), "no date: {answer}");
    format!("{before}{}", &after[31..]).replace("\r\n", "\n")
}

fn plain(_: &Request, response: &mut Response) {
    response.text("Hello, World!");
}

// Panics

const PANICKED: &str = "HTTP/1.1 500 Internal Server Error\nConnection: close\nContent-Length: 0\n\n";

/// Panics as it is written.
struct Trap;

impl Respond for Trap {
    fn respond(self, response: &mut Response<'_, '_>) {
        response.status(201).field("X-Before", "1").text("lost");
        panic!("a response panics on purpose");
    }
}

#[test]
fn a_panic_is_a_500_wherever_it_happens_and_the_worker_lives_on() {
    async fn before() -> &'static str {
        panic!("a handler panics on purpose, before it waits");
    }
    async fn after() -> &'static str {
        sleep(Duration::from_secs(1)).await;
        panic!("a handler panics on purpose, after it has waited");
    }
    async fn trap_after() -> Trap {
        sleep(Duration::from_secs(1)).await;
        Trap
    }
    struct Refusing;
    impl FromRequest for Refusing {
        fn from_request(_: &Request<'_>) -> Result<Self> {
            panic!("an extractor panics on purpose");
        }
    }
    let mut client = client(|app| {
        app.get("/sync", |_: &Request, response: &mut Response| {
            response.field("X-Before", "1").text("lost");
            panic!("a handler panics on purpose");
        });
        app.get("/before", before).get("/after", after);
        app.get("/trap", || Trap).get("/trap/async", || async { Trap }).get("/trap/after", trap_after);
        app.get("/extractor", |_: Refusing| "never").get("/extractor/async", async |_: Refusing| "never");
        app.get("/", plain);
    });
    for path in [
        "/sync",
        "/before",
        "/after",
        "/trap",
        "/trap/async",
        "/trap/after",
        "/extractor",
        "/extractor/async",
    ] {
        assert_eq!(bytes(&mut client, "GET", path), PANICKED, "{path}");
        // Nothing behind it is answered.
        let batch = format!("{}{}", get(path), get("/"));
        let answer = String::from_utf8(client.raw(batch.as_bytes())).expect("text");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert_eq!(client.get("/").send().text(), "Hello, World!", "after {path}");
    }
}

fn start(make: impl FnOnce(&mut App)) -> Server {
    let mut app = App::with_options(support::options());
    make(&mut app);
    app.start().expect("a server")
}

// Blocking

#[test]
fn a_handler_that_blocks_makes_its_workers_other_connections_wait_and_then_all_are_answered() {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    static HAS_ENDED: AtomicBool = AtomicBool::new(false);
    fn block() -> &'static str {
        HAS_BEGUN.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        HAS_ENDED.store(true, Ordering::SeqCst);
        "unblocked"
    }
    let server = start(|app| {
        app.get("/block", block)
            .get("/", || if HAS_ENDED.load(Ordering::SeqCst) { "after" } else { "before" });
    });
    let address = server.addresses()[0];
    let mut others: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    assert!(others.iter_mut().all(|other| other.get("/").text() == "before"));
    let mut blocking = Client::connect(address);
    blocking.send(get("/block"));
    await_some("the handler", || HAS_BEGUN.load(Ordering::SeqCst).then_some(()));
    others.iter_mut().for_each(|other| other.send(get("/")));
    assert!(others.iter_mut().all(|other| other.receive().text() == "after"));
    assert_eq!(blocking.receive().text(), "unblocked");
    server.shutdown().expect("a worker that does not fail");
}

// Lengths

/// Promises four bytes and writes these.
async fn sized(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let pieces = exchange.request().param("pieces").unwrap_or_default().to_owned();
    let mut stream = exchange.start(|head| {
        head.content_length(4);
    })?;
    for piece in pieces.split('-') {
        stream.write(piece.as_bytes()).await?;
    }
    stream.finish()
}

/// The same, and takes no note of errors.
async fn careless(mut exchange: Exchange) {
    let pieces = exchange.request().param("pieces").unwrap_or_default().to_owned();
    let head = exchange.start(|head| {
        head.content_length(4);
    });
    let Ok(mut stream) = head else { return };
    for piece in pieces.split('-') {
        let _ = stream.write(piece.as_bytes()).await;
    }
}

async fn streamed(Path(pieces): Path<String>) -> impl Respond {
    let pieces: Vec<Result<String>> = pieces.split('-').map(|piece| Ok(piece.to_owned())).collect();
    StreamBody::new("text/plain", stream::iter(pieces)).with_length(4)
}

#[test]
fn a_body_of_another_length_than_promised_ends_its_connection() {
    let server = start(|app| {
        app.get("/sized/{pieces}", sized).get("/careless/{pieces}", careless);
        app.get("/streamed/{pieces}", streamed).get("/", plain);
    });
    let address = server.addresses()[0];
    let mut client = Client::connect(address);
    for path in ["/sized/ab-cd", "/careless/abcd", "/streamed/ab-cd", "/streamed/a-bcd"] {
        assert_eq!(client.get(path).text().len(), 4, "{path}");
    }
    for (path, sent) in [
        ("/sized/ab", "ab"),
        ("/careless/ab", "ab"),
        ("/streamed/ab", "ab"),
        ("/streamed/a-b", "ab"),
        ("/sized/ab-cde", "ab"),
        ("/careless/ab-cde", "ab"),
        ("/streamed/ab-cde", "ab"),
        ("/sized/abcd-e", "abcd"),
        ("/careless/abcd-e", "abcd"),
        ("/streamed/abcd-e", "abcd"),
        ("/sized/abcde", ""),
        ("/streamed/abcde", ""),
    ] {
        let mut client = Client::connect(address);
        client.send([get(path), get("/")].concat());
        let mut answer = Vec::new();
        let is_orderly = client.stream.read_to_end(&mut answer).is_ok();
        let answer = String::from_utf8(answer).expect("text");
        // One that is whole may also be followed by an orderly end.
        assert!(!is_orderly || sent.len() == 4, "{path}: {answer}");
        // A reset may overtake what was sent before it. In no case is the request behind it answered.
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(sent.starts_with(body), "{path}: {answer}");
    }
    // HEAD has no body that could be wrong.
    for path in ["/sized/abcd", "/streamed/ab", "/streamed/abcde"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.receive_head();
        assert_eq!((head.status, head.field("Content-Length")), (200, Some("4")), "{path}");
    }
    assert_eq!(client.get("/").text(), "Hello, World!", "on the same connection");
    server.shutdown().expect("a worker that does not fail");
}

#[test]
fn a_length_that_is_set_by_hand_is_that_of_no_body() {
    let mut client = client(|app| {
        app.get("/body", |_: &Request, response: &mut Response| {
            response.field("Content-Length", "99").text("abc");
        });
        app.get("/none", |_: &Request, response: &mut Response| {
            response.field("Content-Length", "99");
        });
        app.get("/unchanged", |_: &Request, response: &mut Response| {
            response.status(304).field("Content-Length", "99");
        });
        app.get("/wrong", |_: &Request, response: &mut Response| {
            response.field("Content-Length", "many");
        });
    });
    let text = "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\nContent-Length: 3\n\n";
    assert_eq!(bytes(&mut client, "GET", "/body"), format!("{text}abc"));
    assert_eq!(bytes(&mut client, "HEAD", "/body"), text);
    assert_eq!(bytes(&mut client, "GET", "/none"), "HTTP/1.1 200 OK\nContent-Length: 0\n\n");
    assert_eq!(bytes(&mut client, "HEAD", "/none"), "HTTP/1.1 200 OK\nContent-Length: 99\n\n");
    assert_eq!(bytes(&mut client, "GET", "/unchanged"), "HTTP/1.1 304 Not Modified\nContent-Length: 99\n\n");
    assert_eq!(client.get("/wrong").send().status(), 500);
}

// Refusals and errors

fn problem(status: u16, title: &str, detail: &str) -> String {
    let detail = if detail.is_empty() { String::new() } else { format!(",\"detail\":{detail:?}") };
    format!("{{\"title\":\"{title}\",\"status\":{status}{detail}}}")
}

#[test]
fn what_an_extractor_refuses_is_told_in_problem_details_and_why_only_in_development() {
    #[derive(Deserialize)]
    struct Page {
        #[expect(dead_code, reason = "only its absence matters")]
        offset: u64,
    }
    struct Number;
    impl FieldValue for Number {
        const NAME: &'static str = "X-Number";
        fn from_value(value: &str) -> Option<Self> {
            value.parse::<u64>().ok().map(|_| Self)
        }
    }
    async fn path(Path(id): Path<u64>) -> String {
        id.to_string()
    }
    let make = |app: &mut App| {
        app.get("/path/{id}", path).get("/query", |_: Query<Page>| "").get("/header", |_: Header<Number>| "");
        app.post("/text", |text: String| text);
        app.post("/json", |Json(number): Json<u64>| number.to_string());
        app.post("/json/async", async |Json(number): Json<u64>| number.to_string());
        app.post("/form", |form: Form<HashMap<String, u64>>| form.0.len().to_string());
    };
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    const NO_JSON: &str = "the body must be of the type application/json";
    let refusals = [
        ("GET /path/x", "", "", 400, r#"the path: parameter "id": expected u64, got "x""#),
        ("GET /query", "", "", 400, r#"the query: parameter "offset": missing"#),
        ("GET /query?offset=-1", "", "", 400, r#"the query: parameter "offset": expected u64, got "-1""#),
        ("GET /header", "", "", 400, "the field X-Number is missing"),
        ("POST /text", "", "\u{ff}", 400, "the body is no UTF-8"),
        ("POST /json", JSON, "", 400, "the body: EOF while parsing a value at line 1 column 0"),
        ("POST /json", JSON, "1x", 400, "the body: trailing characters at line 1 column 2"),
        ("POST /json", "text/plain", "1", 415, NO_JSON),
        ("POST /json/async", "", "1", 415, NO_JSON),
        ("POST /form", JSON, "a=1", 415, &format!("the body must be of the type {FORM}")),
        (
            "POST /json",
            JSON,
            "\"a\"",
            422,
            r#"the body: invalid type: string "a", expected u64 at line 1 column 3"#,
        ),
        ("POST /form", FORM, "a=b", 422, r#"the form: parameter "a": expected u64, got "b""#),
    ];
    for environment in ["Production", "Development"] {
        let mut client = client_in(environment, make);
        for (line, kind, body, status, why) in refusals {
            let (method, path) = line.split_once(' ').expect("a method and a path");
            let title = match status {
                400 => "Bad Request",
                415 => "Unsupported Media Type",
                _ => "Unprocessable Content",
            };
            // Latin-1, so that a test can write what is no UTF-8.
            let body: Vec<u8> = body.chars().map(|char| char as u8).collect();
            let response = client.request(method, path).field("Content-Type", kind).body(body).send();
            let why = if environment == "Development" { why } else { "" };
            assert_eq!(response.text(), problem(status, title, why), "{path} in {environment}");
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(response.field("Content-Type"), Some("application/problem+json"), "{path}");
            assert_eq!(response.field("Connection"), None, "{path}: the connection goes on");
        }
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_by_the_connection() {
    let mut options = Options::default();
    options.server_header = false;
    options.limits.max_request_body_size = Some(3);
    let mut app = App::with_options(options);
    app.post("/", |_: String| "");
    let mut client = app.client().expect("a sound application");
    let response = client.post("/").body("long").send();
    assert_eq!((response.status(), response.body()), (413, &b""[..]));
    assert_eq!(response.field("Connection"), Some("close"));
}

async fn io_error() -> Result<&'static str> {
    Err(io::Error::other("the disk is gone"))?;
    Ok("never")
}

#[test]
fn errors_are_500_and_told_in_detail_only_in_development() {
    async fn late() -> Result<()> {
        timeout(Duration::from_secs(1), sleep(Duration::from_secs(2))).await?;
        Ok(())
    }
    fn detailed() -> Result<()> {
        Err(Error::new(409).with_detail("taken \"already\"").with_cause(io::Error::other("row 7")))
    }
    let make = |app: &mut App| {
        app.get("/io", io_error).get("/late", late).get("/detailed", detailed);
        app.get("/status", || -> Result<()> { Err(Error::new(200)) });
    };
    let title = "Internal Server Error";
    let mut production = client_in("Production", make);
    assert_eq!(production.get("/io").send().text(), problem(500, title, ""));
    assert_eq!(production.get("/late").send().text(), problem(504, "Gateway Timeout", ""));
    let told = problem(409, "Conflict", "taken \"already\"");
    assert_eq!(production.get("/detailed").send().text(), told);
    assert_eq!(production.get("/status").send().status(), 500, "no error is a success");
    let mut development = client_in("Development", make);
    assert_eq!(development.get("/io").send().text(), problem(500, title, "the disk is gone"));
    let told = problem(504, "Gateway Timeout", "the time-out has passed");
    assert_eq!(development.get("/late").send().text(), told);
    let told = problem(409, "Conflict", "taken \"already\": row 7");
    assert_eq!(development.get("/detailed").send().text(), told);
}

#[test]
#[ignore = "its standard error is read by another test"]
fn child_that_logs() {
    let mut client = client(|app| {
        app.get("/io", io_error);
    });
    assert_eq!(client.get("/io?secret").send().status(), 500);
}

#[test]
fn the_log_is_told_of_errors() {
    let mut child = Command::new(std::env::current_exe().expect("a path"));
    let child =
        child.args(["--exact", "child_that_logs", "--ignored", "--nocapture"]).output().expect("a child");
    let told = String::from_utf8(child.stderr).expect("text");
    let line = "peregrine: the handler of \"/io\" answered 500: the disk is gone\n";
    assert!(child.status.success() && told.contains(line), "{told}");
}

#[test]
fn an_error_of_any_type_is_no_success() {
    let mut client = client(|app| {
        app.get("/text", || -> Result<(), _> { Err("no such user") });
        app.get("/status", || -> Result<(), _> { Err(Status(204)) });
        app.get("/own", || -> Result<(), _> { Err((404, "no such user")) });
        app.get("/async", || async { Err::<(), _>("no such user") });
        app.get("/some", || Some("here")).get("/none", || None::<&str>);
    });
    let text = "Content-Type: text/plain; charset=utf-8\nContent-Length: 12\n\nno such user";
    let failed = format!("HTTP/1.1 500 Internal Server Error\n{text}");
    assert_eq!(bytes(&mut client, "GET", "/text"), failed);
    assert_eq!(bytes(&mut client, "GET", "/async"), failed);
    assert_eq!(bytes(&mut client, "GET", "/own"), format!("HTTP/1.1 404 Not Found\n{text}"));
    assert_eq!(client.get("/status").send().status(), 500);
    assert_eq!(client.get("/some").send().text(), "here");
    let none = client.get("/none").send();
    assert_eq!((none.status(), none.text()), (404, problem(404, "Not Found", "").as_str()));
}

// State

struct Db;

/// Why an application starts neither as a server nor for a client.
fn why_not(make: impl FnOnce(&mut App)) -> String {
    let mut app = App::with_options(support::options());
    make(&mut app);
    let told = app.start().expect_err("it must not start").to_string();
    assert_eq!(app.client().err().map(|error| error.to_string()).as_ref(), Some(&told));
    told
}

#[test]
fn state_that_is_missing_twice_or_panics_is_found_at_the_start() {
    let told = why_not(|app| {
        app.get("/", plain).get("/users/{id}", |_: Path<u64>, _: State<Db>| "");
    });
    let expected = "The handler of '/users/{id}' takes State<outcomes::Db>, which the application does not have. \
                    Make it with app.state(|worker| ...).";
    assert_eq!(told, expected);
    let told = why_not(|app| {
        app.state(|_| Db).fallback(async |_: Option<Shared<Db>>| "");
    });
    let expected = "The handler of 'the fallback' takes Shared<outcomes::Db>, which the application does not have. \
                    Give it with app.shared(Arc::new(...)).";
    assert_eq!(told, expected);
    let told = why_not(|app| {
        app.state(|_| Db).state(|_| Db);
    });
    assert_eq!(told, "There is state of the type outcomes::Db twice: handlers could not tell them apart.");
    let told = why_not(|app| {
        app.state(|_| -> Db { panic!("a state panics on purpose") });
    });
    assert_eq!(told, "Failed to make the state of worker 0: it panicked, see above.");
}

// Forms

#[test]
fn handlers_take_up_to_eight_extractors_in_any_form() {
    #[derive(Deserialize)]
    struct Page {
        page: u32,
    }
    struct Host(String);
    impl FieldValue for Host {
        const NAME: &'static str = "Host";
        fn from_value(value: &str) -> Option<Self> {
            Some(Self(value.to_owned()))
        }
    }
    #[expect(clippy::too_many_arguments, reason = "as many as there may be")]
    async fn eight(
        Path(id): Path<u64>,
        Query(Page { page }): Query<Page>,
        Header(Host(host)): Header<Host>,
        method: Method,
        version: Version,
        State(hits): State<Cell<u32>>,
        Shared(name): Shared<String>,
        Json(body): Json<Vec<u8>>,
    ) -> String {
        format!("{id} {page} {host} {method} {version:?} {} {name} {body:?}", hits.get())
    }
    let mut client = client(|app| {
        app.state(|worker| Cell::new(u32::try_from(worker.count).unwrap_or(0)));
        app.shared(Arc::new("Ada".to_owned()));
        app.post("/async/{id}", eight);
        app.post(
            "/sync/{id}",
            |request: &Request,
             Path(id): Path<u64>,
             Query(Page { page }): Query<Page>,
             Header(Host(host)): Header<Host>,
             method: Method,
             State(hits): State<Cell<u32>>,
             Shared(name): Shared<String>,
             Json(body): Json<Vec<u8>>| {
                let version = request.version();
                format!("{id} {page} {host} {method} {version:?} {} {name} {body:?}", hits.get())
            },
        );
    });
    for path in ["/async/7?page=2", "/sync/7?page=2"] {
        let told = client.post(path).json(&[1, 2]).send();
        assert_eq!(told.text(), "7 2 localhost POST Http11 1 Ada [1, 2]", "{path}");
    }
}

#[test]
fn every_response_has_its_bytes() {
    #[derive(Serialize)]
    struct User {
        id: u64,
        name: &'static str,
    }
    let mut client = client(|app| {
        app.get("/unit", || ()).get("/str", || "é").get("/string", || "é".to_owned());
        app.get("/cow/borrowed", || Cow::Borrowed("é"))
            .get("/cow/owned", || Cow::<str>::Owned("é".to_owned()));
        app.get("/vec", || vec![1_u8, 2])
            .get("/slice", || &b"\x01\x02"[..])
            .get("/body", || Body::from("\u{1}\u{2}"));
        app.get("/html", || Html("<p>")).get("/json", || Json(User { id: 7, name: "Ada" }));
        app.get("/status", || Status(404))
            .get("/no-content", || Status(204))
            .get("/bad-status", || Status(99));
        app.get("/to", || Redirect::to("/a")).get("/temporary", || Redirect::temporary("/a"));
        app.get("/permanent", || Redirect::permanent("/a")).get("/split", || Redirect::to("/a\r\nX: b"));
        app.get("/pair", || (201, "made"))
            .get("/fields", || ([("X-A", "1"), ("Content-Type", "text/x")], "a"));
        app.get("/triple", || (201, [("Location", "/a")], Json(1)));
        app.get("/ok", || Ok::<_, Error>("fine")).get("/error", || Err::<(), _>(Error::new(403)));
        app.get("/exchange-error", || Err::<(), _>(ExchangeError::Rejected(413)));
        app.get("/stream", || async {
            StreamBody::new("text/plain", stream::iter(["a", "bc"].map(Ok::<_, Error>)))
        });
    });
    let text = "Content-Type: text/plain; charset=utf-8";
    let binary = "Content-Type: application/octet-stream\nContent-Length: 2\n\n\u{1}\u{2}";
    let accented = format!("200 OK\n{text}\nContent-Length: 2\n\né");
    for (path, expected) in [
        ("/unit", "200 OK\nContent-Length: 0\n\n"),
        ("/str", &accented),
        ("/string", &accented),
        ("/cow/borrowed", &accented),
        ("/cow/owned", &accented),
        ("/vec", &format!("200 OK\n{binary}")),
        ("/slice", &format!("200 OK\n{binary}")),
        ("/body", &format!("200 OK\n{binary}")),
        ("/html", "200 OK\nContent-Type: text/html; charset=utf-8\nContent-Length: 3\n\n<p>"),
        (
            "/json",
            "200 OK\nContent-Type: application/json; charset=utf-8\nContent-Length: 21\n\n{\"id\":7,\"name\":\"Ada\"}",
        ),
        ("/status", "404 Not Found\nContent-Length: 0\n\n"),
        ("/no-content", "204 No Content\n\n"),
        ("/bad-status", "500 Internal Server Error\nConnection: close\nContent-Length: 0\n\n"),
        ("/to", "303 See Other\nLocation: /a\nContent-Length: 0\n\n"),
        ("/temporary", "307 Temporary Redirect\nLocation: /a\nContent-Length: 0\n\n"),
        ("/permanent", "308 Permanent Redirect\nLocation: /a\nContent-Length: 0\n\n"),
        ("/split", "500 Internal Server Error\nConnection: close\nContent-Length: 0\n\n"),
        ("/pair", &format!("201 Created\n{text}\nContent-Length: 4\n\nmade")),
        ("/fields", "200 OK\nX-A: 1\nContent-Type: text/x\nContent-Length: 1\n\na"),
        (
            "/triple",
            "201 Created\nLocation: /a\nContent-Type: application/json; charset=utf-8\nContent-Length: 1\n\n1",
        ),
        ("/ok", &format!("200 OK\n{text}\nContent-Length: 4\n\nfine")),
        (
            "/error",
            "403 Forbidden\nContent-Type: application/problem+json\nContent-Length: 34\n\n\
             {\"title\":\"Forbidden\",\"status\":403}",
        ),
        (
            "/exchange-error",
            "413 Content Too Large\nContent-Type: application/problem+json\nContent-Length: 42\n\n\
             {\"title\":\"Content Too Large\",\"status\":413}",
        ),
        ("/stream", "200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n1\na\n2\nbc\n0\n\n"),
    ] {
        assert_eq!(bytes(&mut client, "GET", path), format!("HTTP/1.1 {expected}"), "{path}");
    }
}
