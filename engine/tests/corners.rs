//! Corners of the application's side, where one part meets another: each of these went wrong once.

#![cfg(feature = "json")]

mod support;

use std::time::Duration;

use peregrine::prelude::*;
use peregrine::testing::TestClient;
use peregrine::{StreamBody, sleep};
use support::client::Client;

fn client(make: impl FnOnce(&mut App)) -> TestClient {
    let mut app = App::new();
    make(&mut app);
    app.client().expect("a sound application")
}

/// A body of one piece.
fn pieces() -> StreamBody<impl futures_core::Stream<Item = Result<&'static str>>> {
    StreamBody::new("text/plain", futures_util::stream::iter([Ok("a")]))
}

#[test]
fn a_body_that_nobody_wants_is_no_request_even_if_middleware_waits() {
    let mut client = client(|app| {
        app.get("/admin", || "ADMIN");
        app.middleware(async |_: &Request<'_>, next: Next<'_>| {
            sleep(Duration::from_millis(5)).await;
            next.run().await
        });
    });
    let inner = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n";
    let raw = format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
    let out = client.raw(raw.as_bytes());
    assert!(!String::from_utf8_lossy(&out).contains("ADMIN"), "smuggled");
}

#[test]
fn trailers_can_be_written_while_others_are_read() {
    async fn echo(mut exchange: Exchange) -> Result<(), ExchangeError> {
        while exchange.body().read().await?.is_some() {}
        let mut out = exchange.start(|_| {})?;
        out.write(b"x").await?;
        exchange.body().trailers(|trailers| {
            for (name, value) in trailers {
                let _ = out.trailer(name, value);
            }
        });
        out.finish()
    }
    let mut client = client(|app| {
        app.post("/", echo);
    });
    let out = client.raw(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n",
    );
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.ends_with("0\r\nX-T: 1\r\n\r\n"), "{out}");
}

#[cfg(feature = "cookies")]
#[test]
fn cookies_come_back_as_they_were_set() {
    use peregrine::{Cookie, Cookies};
    let mut client = client(|app| {
        app.get("/set", |mut cookies: Cookies| {
            cookies.set(Cookie::new("a", "x y;z"));
            (cookies, "")
        });
        app.get("/get", |cookies: Cookies| cookies.get("a").unwrap_or("none").to_owned());
    });
    let set = client.get("/set").send();
    let set = set.field("Set-Cookie").unwrap().to_owned();
    assert_eq!(client.get("/get").field("Cookie", &set).send().text(), "x y;z");
}

#[test]
fn what_stands_around_a_reply_is_in_it() {
    let mut client = client(|app| {
        app.get("/", || "hi");
        app.middleware(async |_: &Request<'_>, next: Next<'_>| {
            let reply = next.run().await;
            (203, [("X-A", "1")], reply)
        });
    });
    let r = client.get("/").send();
    assert_eq!((r.status(), r.field("X-A")), (203, Some("1")));
}

#[test]
fn head_of_a_stream_ends_with_its_head() {
    use peregrine::{Event, Sse};
    let mut client = client(|app| {
        app.get("/events", async || Sse::new(futures_util::stream::pending::<Event>()));
        app.get("/", || "hi");
    });
    let out = client.raw(b"HEAD /events HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(out.ends_with("hi"), "{out}");
}

#[test]
fn head_of_an_endless_body_does_not_turn_for_ever() {
    // In a thread, because it never ends.
    let (s, r) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut client = client(|app| {
            app.get("/zeros", async || {
                StreamBody::new(
                    "a/b",
                    futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 100])),
                )
            });
        });
        let p = client.request("HEAD", "/zeros").begin();
        let r = p.try_take(&mut client).map(|r| r.status());
        s.send(r).unwrap();
    });
    let r = r.recv_timeout(Duration::from_secs(10));
    assert!(r.is_ok(), "the worker turns for ever");
}

#[test]
fn head_of_an_endless_loop_leaves_others_their_turn() {
    async fn zeros(mut exchange: Exchange) -> Result<(), ExchangeError> {
        let mut out = exchange.start(|_| {})?;
        loop {
            out.write(&[0; 100]).await?;
        }
    }
    let mut app = App::with_options(support::options());
    app.get("/zeros", zeros).get("/", || "others");
    let server = app.start().expect("a server");
    let [mut endless, mut other] = [(), ()].map(|()| Client::connect(server.addresses()[0]));
    endless.send("HEAD /zeros HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(endless.receive_head().status, 200);
    assert_eq!(other.get("/").text(), "others");
    // When its client goes so does the loop.
    drop((endless, other));
    server.shutdown().expect("an orderly end");
}

#[test]
fn middleware_changes_no_answer_that_it_only_hands_on() {
    fn all(app: &mut App) {
        app.get("/t", || "text");
        app.get("/big", || "b".repeat(200_000));
        app.get("/bigs", |_: &Request, r: &mut Response| r.text(&"b".repeat(100_000)));
        app.get("/204", || (204, "text"));
        app.get("/304", || (304, [("ETag", "\"a\"")], "text"));
        app.get("/205", || (205, "text"));
        app.get("/close", |_: &Request, r: &mut Response| {
            r.close().text("x");
        });
        app.get("/late", |_: &Request, r: &mut Response| {
            r.text("x");
            r.field("X-Late", "1").status(404);
        });
        app.get("/cl", |_: &Request, r: &mut Response| {
            r.field("Content-Length", "77");
        });
        app.get("/json", || Json(vec![1, 2, 3]));
        app.get("/err", || Err::<(), _>(Error::new(503).with_detail("a\"b")));
        app.get("/bad", |_: &Request, r: &mut Response| {
            r.field("a b", "1");
        });
        app.get("/async", async || "text");
        app.get("/post", async || Body::from("text"));
    }
    let plain = || client(all);
    let layered = |is_slow: bool| {
        client(|app| {
            all(app);
            app.middleware(async move |_: &Request<'_>, next: Next<'_>| {
                if is_slow {
                    sleep(Duration::from_millis(1)).await;
                }
                next.run().await
            });
        })
    };
    let mut bad = Vec::new();
    for path in [
        "/t", "/big", "/bigs", "/204", "/304", "/205", "/close", "/late", "/cl", "/json", "/err", "/bad",
        "/async", "/post", "/nope",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            for (v, extra) in [
                ("1.1", ""),
                ("1.1", "Connection: close\r\n"),
                ("1.0", ""),
                ("1.0", "Connection: keep-alive\r\n"),
            ] {
                let body = if method == "POST" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
                let one = format!("{method} {path} HTTP/{v}\r\nHost: x\r\n{extra}{body}");
                let raw = if v == "1.1" && extra.is_empty() {
                    format!("{one}GET /t HTTP/1.1\r\nHost: x\r\n\r\n")
                } else {
                    one
                };
                let norm = |o: Vec<u8>| {
                    let s = String::from_utf8(o).unwrap();
                    let mut l: Vec<String> =
                        s.split("\r\n")
                            .filter(|l| !l.starts_with("Date"))
                            .map(|l| {
                                if l.len() > 200 {
                                    format!("<{} {}>", l.len(), &l[..5])
                                } else {
                                    l.to_owned()
                                }
                            })
                            .collect();
                    l.sort();
                    l
                };
                let want = norm(plain().raw(raw.as_bytes()));
                for slow in [false, true] {
                    let got = norm(layered(slow).raw(raw.as_bytes()));
                    if got != want {
                        bad.push(format!(
                            "{method} {path} {v} {extra:?} slow={slow}\n  want {want:?}\n  got  {got:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{} differ\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn tasks_that_spawn_as_they_are_dropped_do_not_hold_the_end() {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            let a = Again;
            drop(peregrine::spawn(async move {
                let _a = a;
                std::future::pending::<()>().await;
            }));
        }
    }
    let (s, r) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut client = client(|app| {
            app.get("/", || {
                drop(Again);
                "x"
            });
        });
        client.get("/").send();
        drop(client);
        s.send(()).unwrap();
    });
    assert!(r.recv_timeout(Duration::from_secs(10)).is_ok(), "the worker never ends");
}

#[test]
fn limits_of_a_group_hold_for_its_fallback() {
    let mut app = App::new();
    let mut g = app.group("/g");
    g.limits(|l| l.max_request_body_size = Some(3));
    g.post("/x", || "x");
    g.fallback(|| "fallback");
    let mut c = app.client().unwrap();
    let a = c.post("/g/x").body("long").send().status();
    let b = c.post("/g/y").body("long").send().status();
    assert_eq!((a, b), (413, 413));
}

#[test]
fn what_stands_around_a_sent_reply_is_left_out() {
    let mut client = client(|app| {
        app.get("/", async |mut e: Exchange| e.respond(|r| r.text("hi")));
        app.middleware(async |_: &Request<'_>, next: Next<'_>| {
            let reply = next.run().await;
            ([("X-A", "1")], reply)
        });
    });
    let out = client.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(out.matches("hi").count(), 2, "{out}");
}

#[test]
fn streams_can_be_returned_with_a_status_and_fields() {
    let mut client = client(|app| {
        app.get("/status", async || (206, pieces()));
        app.get("/fields", async || ([("X-A", "1")], pieces()));
        app.get("/both", async || (203, [("X-A", "1")], Some(pieces())));
        app.get("/none", async || if true { None } else { Some(pieces()) });
    });
    for (path, status, field) in
        [("/status", 206, None), ("/fields", 200, Some("1")), ("/both", 203, Some("1"))]
    {
        let response = client.get(path).send();
        assert_eq!((response.status(), response.field("X-A"), response.text()), (status, field, "a"));
    }
    assert_eq!(client.get("/none").send().status(), 404);
}
