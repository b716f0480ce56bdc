//! Applications tested in memory: what the test client promises.

#![cfg(feature = "json")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use peregrine::testing::TestClient;
use peregrine::{
    App, Exchange, ExchangeError, Method, Options, Peer, Request, Response, Shared, State, sleep, spawn,
    timeout,
};

fn client(make: impl FnOnce(&mut App)) -> TestClient {
    let mut app = App::new();
    make(&mut app);
    app.client().expect("a sound application")
}

fn plain(_: &Request, response: &mut Response) {
    response.text("Hello, World!");
}

/// Tells what has come.
fn tell(request: &Request, response: &mut Response) {
    let fields: Vec<String> =
        request.fields().map(|(name, value)| format!("{name}: {}\n", value.escape_ascii())).collect();
    let body = String::from_utf8_lossy(request.body()).into_owned();
    response.text(&format!("{} {}\n{}\n{body}", request.method(), request.target(), fields.concat()));
}

#[test]
fn requests_arrive_as_they_were_made() {
    let mut client = client(|app| {
        app.any("/tell", tell);
    });
    let told = client.get("/tell?a=%20b").send();
    assert_eq!(told.text(), "GET /tell?a=%20b\nHost: localhost\n\n");
    let told = client.post("/tell").field("X-A", "1").field("host", "b").body("abc").send();
    assert_eq!(told.text(), "POST /tell\nX-A: 1\nhost: b\nContent-Length: 3\n\nabc");
    let told = client.put("/tell").send();
    assert_eq!(told.text(), "PUT /tell\nHost: localhost\nContent-Length: 0\n\n");
    let told = client.patch("/tell").field("content-length", "1").body("x").send();
    assert_eq!(told.text(), "PATCH /tell\nHost: localhost\ncontent-length: 1\n\nx");
    assert_eq!(client.delete("/tell").send().text(), "DELETE /tell\nHost: localhost\n\n");
    let told = client.request("PURGE", "/tell").send();
    assert_eq!(told.text(), " /tell\nHost: localhost\n\n", "a method that has no name here");
    let told = client.post("/tell").form([("a b", "c&d"), ("e", "")]).send();
    let fields = "Host: localhost\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 12";
    assert_eq!(told.text(), format!("POST /tell\n{fields}\n\na+b=c%26d&e="));
}

#[test]
fn responses_are_those_of_a_server() {
    let mut client = client(|app| {
        app.get("/", plain);
    });
    let response = client.get("/").send();
    assert_eq!((response.status(), response.body()), (200, &b"Hello, World!"[..]));
    let fields: Vec<&str> = response.fields().map(|(name, _)| name).collect();
    assert_eq!(fields, ["Server", "Date", "Content-Type", "Content-Length"]);
    assert_eq!(response.field("content-TYPE"), Some("text/plain; charset=utf-8"));
    let head = client.request("HEAD", "/").send();
    assert_eq!((head.status(), head.body(), head.field("Content-Length")), (200, &b""[..], Some("13")));
    assert_eq!(client.get("/nowhere").send().status(), 404);
    let refused = client.post("/").send();
    assert_eq!((refused.status(), refused.field("Allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn options_count() {
    let mut options = Options::default();
    options.server_header = false;
    options.limits.max_request_body_size = Some(3);
    options.limits.max_requests_per_connection = Some(2);
    let mut app = App::with_options(options);
    app.get("/", plain).post("/", plain);
    let mut client = app.client().expect("a sound application");
    assert_eq!(client.get("/").send().field("Server"), None);
    assert_eq!(client.get("/").send().field("Connection"), Some("close"), "the second");
    // On a new connection, which ends with it.
    assert_eq!(client.post("/").body("long").send().status(), 413);
    assert_eq!(client.post("/").body("abc").send().status(), 200);
}

#[test]
fn an_application_that_cannot_start_is_told_and_the_thread_is_free() {
    let mut app = App::new();
    app.get("/{", plain);
    assert!(app.client().is_err());
    let mut app = App::new();
    app.state(|_| -> u32 { panic!("this state panics on purpose") });
    let told = app.client().expect_err("no state").to_string();
    assert_eq!(told, "Failed to make the state of worker 0: it panicked, see above.");
    assert!(catch_unwind(|| spawn(async {})).is_err(), "this thread is no worker");
    // It works here all the same.
    let mut client = client(|app| {
        app.get("/", plain);
    });
    assert_eq!(client.get("/").send().status(), 200);
    drop(client);
    assert!(catch_unwind(|| spawn(async {})).is_err(), "this thread is no worker any more");
}

#[test]
fn bodies_of_any_length_and_form_go_both_ways() {
    async fn pour(mut exchange: Exchange) -> Result<(), ExchangeError> {
        let mut stream = None;
        while let Some(chunk) = exchange.body().read().await? {
            if stream.is_none() {
                stream = Some(exchange.start(|head| {
                    head.field("Trailer", "X-Sum");
                })?);
            }
            if let Some(stream) = &mut stream {
                stream.write(&chunk).await?;
            }
        }
        let Some(mut stream) = stream else { return exchange.respond(|response| response.text("nothing")) };
        stream.trailer("X-Sum", "7")?;
        stream.finish()
    }
    fn echo(request: &Request, response: &mut Response) {
        response.bytes(request.body());
    }
    let mut client = client(|app| {
        app.post("/pour", pour).post("/echo", echo);
    });
    let body = support::client::pattern(3_000_000);
    let poured = client.post("/pour").body(body.clone()).send();
    support::client::assert_same_bytes(poured.body(), &body);
    assert_eq!(poured.trailer("x-sum"), Some("7"));
    assert_eq!(poured.field("Transfer-Encoding"), Some("chunked"));
    let echoed = client.post("/echo").body(body.clone()).send();
    support::client::assert_same_bytes(echoed.body(), &body);
    assert_eq!(client.post("/pour").send().text(), "nothing");
    let chunked = client.post("/pour").field("Transfer-Encoding", "chunked").body("3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(chunked.send().text(), "abc");
    let expecting = client.post("/pour").field("Expect", "100-continue").body("abc").send();
    assert_eq!((expecting.status(), expecting.text()), (200, "abc"), "the interim response is skipped");
}

#[test]
fn time_jumps_to_when_something_is_due() {
    async fn hours() -> String {
        sleep(Duration::from_secs(3600)).await;
        let late = timeout(Duration::from_secs(60), sleep(Duration::from_secs(61))).await;
        format!("{late:?}")
    }
    let mut client = client(|app| {
        app.get("/", hours).get("/now", plain);
    });
    let date = |client: &mut TestClient| client.get("/now").send().field("Date").map(str::to_owned);
    let before = date(&mut client);
    assert_eq!(date(&mut client), before, "time stands still");
    let begun = Instant::now();
    assert_eq!(client.get("/").send().text(), "Err(Elapsed)");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_ne!(date(&mut client), before);
}

#[test]
fn time_that_is_let_pass_wakes_in_order() {
    async fn wait(order: State<RefCell<Vec<u64>>>, peregrine::Path(millis): peregrine::Path<u64>) -> String {
        sleep(Duration::from_millis(millis)).await;
        order.borrow_mut().push(millis);
        format!("{:?}", order.borrow())
    }
    let mut client = client(|app| {
        app.state(|_| RefCell::new(Vec::<u64>::new())).get("/{millis}", wait);
    });
    let pending = [5000, 3, 70_000, 900].map(|millis| client.get(&format!("/{millis}")).begin());
    assert!(pending.iter().all(|pending| pending.try_take(&mut client).is_none()));
    client.advance(Duration::from_millis(2));
    assert!(pending[1].try_take(&mut client).is_none());
    client.advance(Duration::from_millis(1));
    assert_eq!(pending[1].try_take(&mut client).expect("an answer").text(), "[3]");
    client.advance(Duration::from_secs(65));
    assert_eq!(pending[0].try_take(&mut client).expect("an answer").text(), "[3, 900, 5000]");
    assert_eq!(pending[3].try_take(&mut client).expect("an answer").text(), "[3, 900]");
    let [_, _, last, _] = pending;
    assert_eq!(last.take(&mut client).text(), "[3, 900, 5000, 70000]");
}

#[test]
fn connections_are_used_again_and_several_for_several_requests() {
    fn number(request: &Request, response: &mut Response) {
        response.text(&request.connection_id().to_string());
    }
    async fn slow(method: Method) -> String {
        sleep(Duration::from_secs(1)).await;
        method.to_string()
    }
    let mut client = client(|app| {
        app.get("/", number).get("/slow", slow).get("/last", |_: &Request, response: &mut Response| {
            response.close().text("bye");
        });
    });
    let number = |client: &mut TestClient| client.get("/").send().text().parse::<u64>().expect("a number");
    let first = number(&mut client);
    assert_eq!(number(&mut client), first);
    let pending = client.get("/slow").begin();
    let second = number(&mut client);
    assert_ne!(second, first, "the first one is busy");
    assert_eq!(pending.take(&mut client).text(), "GET");
    assert!([first, second].contains(&number(&mut client)));
    assert_eq!(client.get("/last").send().field("Connection"), Some("close"));
    assert_eq!(client.get("/last").send().text(), "bye", "on the other");
    let third = number(&mut client);
    assert!(![first, second].contains(&third));
    // The limit on idle connections ends it.
    client.advance(Duration::from_secs(200));
    assert_ne!(number(&mut client), third);
}

#[test]
fn a_client_that_is_gone_drops_its_handler() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    thread_local! {
        static DROPS: Rc<Cell<u32>> = Rc::default();
    }
    async fn wait() {
        let _dropped = Dropped(DROPS.with(Rc::clone));
        sleep(Duration::from_secs(1)).await;
    }
    let drops = DROPS.with(Rc::clone);
    let mut client = client(|app| {
        app.get("/", wait);
    });
    let pending = client.get("/").begin();
    assert_eq!(drops.get(), 0);
    pending.disconnect(&mut client);
    assert_eq!(drops.get(), 1);
    let _pending = client.get("/").begin();
    drop(client);
    assert_eq!(drops.get(), 2, "it goes with the client");
}

/// Waits for another thread.
async fn elsewhere(millis: u64) -> u64 {
    let mut thread = None;
    let done = Arc::new(AtomicU32::new(0));
    poll_fn(move |context| {
        if done.load(Ordering::Acquire) > 0 {
            return Poll::Ready(millis);
        }
        thread.get_or_insert_with(|| {
            let (done, waker) = (Arc::clone(&done), context.waker().clone());
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(millis));
                done.store(1, Ordering::Release);
                waker.wake();
            })
        });
        Poll::Pending
    })
    .await
}

#[test]
fn other_threads_work_is_waited_for() {
    let mut client = client(|app| {
        app.get("/", || async { elsewhere(30).await.to_string() });
    });
    assert_eq!(client.get("/").send().text(), "30");
    let pending = client.get("/").begin();
    client.advance(Duration::from_secs(1));
    assert!(pending.try_take(&mut client).is_none(), "that is no time");
    assert_eq!(pending.take(&mut client).text(), "30");
}

#[test]
fn clients_of_one_thread_take_turns() {
    async fn slow(hits: State<Cell<u32>>, all: Shared<AtomicU32>) -> String {
        // Each of these asks for the runtime of this thread.
        sleep(Duration::from_secs(1)).await;
        let spawned = spawn(async {
            sleep(Duration::from_secs(1)).await;
            1
        });
        let one = spawned.await.unwrap_or_default();
        hits.set(hits.get() + one);
        format!("{} of {}", hits.get(), all.fetch_add(1, Ordering::Relaxed) + 1)
    }
    let mut app = App::new();
    app.state(|_| Cell::new(0_u32)).shared(Arc::new(AtomicU32::new(0))).get("/", slow);
    let (mut one, mut two) = (app.client().expect("a client"), app.client().expect("a client"));
    let first = one.get("/").begin();
    let second = two.get("/").begin();
    one.advance(Duration::from_secs(1));
    assert_eq!(second.take(&mut two).text(), "1 of 1");
    assert_eq!(two.get("/").send().text(), "2 of 2");
    assert!(first.try_take(&mut one).is_none(), "the other's time is not this one's");
    drop(two);
    assert_eq!(first.take(&mut one).text(), "1 of 3");
    let mut three = app.client().expect("a client");
    assert_eq!(three.get("/").send().text(), "1 of 4");
    assert_eq!(one.get("/").send().text(), "2 of 5");
}

#[test]
fn raw_bytes_get_all_that_comes_back() {
    async fn slow() -> &'static str {
        sleep(Duration::from_secs(5)).await;
        "slow"
    }
    async fn pour(mut exchange: Exchange) -> Result<(), ExchangeError> {
        while exchange.body().read().await?.is_some() {}
        exchange.respond(|response| response.text("poured"))
    }
    let mut client = client(|app| {
        app.get("/", plain).get("/slow", slow).post("/pour", pour);
    });
    let raw = |client: &mut TestClient, bytes: &str| {
        let answer = String::from_utf8(client.raw(bytes.as_bytes())).expect("text");
        let lines =
            answer.lines().filter(|line| !line.starts_with("Date: ") && !line.starts_with("Server: "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let plain =
        "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\nContent-Length: 13\n\nHello, World!";
    let slow = "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\nContent-Length: 4\n\nslow";
    assert_eq!(raw(&mut client, &request("/")), plain);
    let batch = [request("/"), request("/slow"), request("/slow"), request("/")].concat();
    assert_eq!(raw(&mut client, &batch), [plain, slow, slow, plain].concat());
    assert_eq!(raw(&mut client, "GET / HTTP/1.1\r\nHo"), "", "a part of a request is none");
    let cut = "POST /pour HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab";
    assert_eq!(raw(&mut client, cut), "");
    let bad = raw(&mut client, "GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!(bad, "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 0\n");
}

#[test]
fn there_is_no_peer_address() {
    let mut client = client(|app| {
        app.get("/", |Peer(peer): Peer| peer.to_string());
        app.get("/perhaps", |peer: Option<Peer>| {
            format!("{:?}", peer.map(|Peer(address)| -> SocketAddr { address }))
        });
    });
    assert_eq!(client.get("/").send().status(), 500);
    assert_eq!(client.get("/perhaps").send().text(), "None");
}

fn message(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it must panic");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .expect("text")
}

#[test]
fn what_cannot_go_on_is_told() {
    async fn torn(mut exchange: Exchange) -> Result<(), ExchangeError> {
        let mut stream = exchange.start(|head| {
            head.content_length(10);
        })?;
        stream.write(b"short").await?;
        stream.flush().await?;
        Err(ExchangeError::Disconnected)
    }
    let mut client = client(|app| {
        app.get("/", plain).get("/torn", torn).get("/text", |_: &Request, response: &mut Response| {
            response.text("\u{e9}");
        });
    });
    let told = message(|| drop(client.get("/torn").send()));
    assert!(told.starts_with("GET /torn: the connection was aborted before all of the response: "), "{told}");
    assert!(told.contains("short"), "{told}");
    assert_eq!(client.get("/").send().status(), 200, "on another connection");
    let pending = client.get("/").begin();
    assert!(pending.try_take(&mut client).is_some());
    let told = message(|| drop(pending.try_take(&mut client)));
    assert!(told.contains("whose response was not taken before"), "{told}");
    let told = message(|| assert_eq!(client.get("/text").send().json::<u32>(), 0));
    assert!(told.starts_with("the body of the 200: "), "{told}");
}
