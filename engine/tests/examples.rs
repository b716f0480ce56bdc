//! Each example does what it says, as its user starts it.

#![cfg(all(feature = "cli", feature = "json"))]

mod support;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

#[cfg(feature = "serde")]
use support::client::await_some;
use support::client::{Client, Response, get, post};

/// A running example; killed when dropped.
struct Example {
    child: Child,
    address: SocketAddr,
    stdin: Option<ChildStdin>,
}

impl Example {
    #[track_caller]
    fn start(name: &str) -> Self {
        // Cargo builds examples beside the folder of the tests.
        let test = env::current_exe().expect("a path");
        let folder = test.ancestors().nth(2).expect("the profile's folder");
        let program: PathBuf = folder.join("examples").join(name);
        let mut command = Command::new(&program);
        command.args(["--urls", "http://127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if name != "embedded" {
            command.args(["--workers", "1", "--no-pin"]);
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        let url = lines
            .find_map(|line| line.trim().strip_prefix("Now listening on: http://").map(str::to_owned))
            .unwrap_or_else(|| panic!("{name} did not start"));
        // Whatever it prints is read, so that it never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: url.parse().expect("an address"), stdin }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.client();
        client.send(request);
        client.receive()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_body(method: &str, path: &str, content_type: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn hello() {
    let example = Example::start("hello");
    assert_eq!(example.ask(get("/")).text(), "Hello, World!");
    assert_eq!(example.ask(get("/ada")).text(), "Hello, ada!");
}

#[test]
fn todo() {
    let example = Example::start("todo");
    let json = |method, path, body| example.ask(with_body(method, path, "application/json", body));
    let made = json("POST", "/todos", r#"{"title":"write"}"#);
    assert_eq!((made.status, made.field("Location")), (201, Some("/todos/1")));
    assert_eq!(json("POST", "/todos", r#"{"title":"test"}"#).status, 201);
    let refused = json("POST", "/todos", r#"{"title":" "}"#);
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains(r#""detail":"a todo needs a title""#), "{}", refused.text());
    let changed = json("PATCH", "/todos/1", r#"{"done":true}"#);
    assert_eq!(changed.text(), r#"{"id":1,"title":"write","done":true}"#);
    let open = example.ask(get("/todos?done=false"));
    assert_eq!(open.text(), r#"[{"id":2,"title":"test","done":false}]"#);
    assert_eq!(example.ask(get("/todos?done=maybe")).status, 400);
    assert_eq!(json("DELETE", "/todos/2", "").status, 204);
    assert_eq!(example.ask(get("/todos/2")).status, 404);
    assert_eq!(example.ask(get("/todos/two")).status, 404);
    assert_eq!(json("PUT", "/todos/1", "").status, 405);
}

#[test]
fn upload() {
    let example = Example::start("upload");
    let body = vec![b'x'; 3 << 20];
    let told = example.ask(post("/upload", &body));
    assert!(told.text().starts_with("3145728 bytes, checksum "), "{}", told.text());
}

#[test]
fn sse() {
    let example = Example::start("sse");
    assert!(example.ask(get("/")).text().contains("EventSource"));
    let mut client = example.client();
    client.send(get("/events?every=1&count=3"));
    let events = client.receive_stream();
    assert_eq!(events.field("Content-Type"), Some("text/event-stream"));
    let expected: String = (0..3).map(|number| format!("id: {number}\ndata: tick {number}\n\n")).collect();
    assert_eq!(events.text(), expected);
}

#[test]
fn middleware() {
    let example = Example::start("middleware");
    let open = example.ask(get("/"));
    assert_eq!((open.status, open.text()), (200, "open to all"));
    assert!(open.field("X-Request-Id").is_some() && open.field("Server-Timing").is_some());
    assert_eq!(example.ask(get("/admin")).status, 401);
    let admin = example.ask("GET /admin HTTP/1.1\r\nHost: test\r\nX-Key: secret\r\n\r\n");
    assert_eq!((admin.status, admin.text()), (200, "hello admin"));
    assert_eq!(example.ask(get("/panic")).status, 500);
    assert_eq!(example.ask(get("/slow")).status, 504);
}

#[cfg(feature = "serde")]
#[test]
fn deferred() {
    let example = Example::start("deferred");
    assert_eq!(example.ask(get("/primes/1000")).text(), "168 primes up to 1000");
    // More than the pool has threads, none of which would ever be done.
    let clients: Vec<Client> = (0..3).map(|_| example.client()).collect();
    for mut client in clients {
        client.send(get("/primes/18446744073709551615"));
    }
    await_some("all being given up", || (example.ask(get("/given-up")).text() == "3").then_some(()));
    assert_eq!(example.ask(get("/primes/10")).text(), "4 primes up to 10");
}

#[cfg(feature = "tokio")]
#[test]
fn reqwest() {
    let example = Example::start("reqwest");
    for _ in 0..3 {
        let relayed = example.ask(get("/relay"));
        assert_eq!((relayed.status, relayed.text()), (203, "the backend says hello"));
    }
    assert_eq!(example.ask(get("/unreachable")).status, 502);
}

#[test]
fn embedded() {
    let mut example = Example::start("embedded");
    assert_eq!(example.ask(get("/")).text(), "embedded");
    drop(example.stdin.take());
    assert!(example.child.wait().expect("a child").success());
}

#[cfg(feature = "multipart")]
#[test]
fn multipart() {
    let example = Example::start("multipart");
    let body = "--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
                --xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nthe file\r\n--xyz--\r\n";
    let told = example.ask(with_body("POST", "/", "multipart/form-data; boundary=xyz", body));
    assert_eq!(told.text(), "note: 5 bytes\nfile: the file \"a.txt\", 8 bytes\n");
    assert_eq!(example.ask(with_body("POST", "/", "text/plain", body)).status, 415);
    let torn = &body[..body.len() - 8];
    assert_eq!(example.ask(with_body("POST", "/", "multipart/form-data; boundary=xyz", torn)).status, 400);
}
