//! Every step of the ladder of io_uring features serves alike: what older kernels get works on this one.

mod support;

use support::client::{assert_same_bytes, get, pattern, post, post_chunked};
use support::{Exit, LOCAL, Peregrine, command, has_io_uring, skip, wants_epoll};

fn serve_on_io_uring(args: &[&str]) -> Result<Peregrine, Exit> {
    Peregrine::try_serve_by(command(["--urls", LOCAL, "--driver", "io_uring"].iter().chain(args)))
}

/// Whether there is anything to prove.
fn is_about_io_uring() -> bool {
    if wants_epoll() {
        skip("this run is about epoll");
        return false;
    }
    has_io_uring()
}

fn assert_rung_serves(rung: u8, name: &str) {
    if !is_about_io_uring() {
        return;
    }
    let server = match serve_on_io_uring(&["--driver-rung", &rung.to_string()]) {
        Ok(server) => server,
        Err(exit) if exit.stderr.contains("os error 22") => {
            return skip("this kernel is older than the step");
        }
        Err(exit) => panic!("{exit:?}"),
    };
    let expected = format!("Driver: io_uring ({name}, ");
    assert!(server.driver().starts_with(&expected), "{}", server.driver());

    let mut client = server.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/plaintext").text(), "Hello, World!");
    }
    client.send((0..200).map(|id| get(&format!("/users/{id}"))).collect::<String>());
    for id in 0..200 {
        assert_eq!(client.receive().text(), format!("User {id}"));
    }
    let body = pattern(1 << 20);
    for request in [post("/echo", &body), post_chunked("/echo", &body, 10_000)] {
        client.send(&request);
        assert_same_bytes(&client.receive().body, &body);
    }
    let mut others: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut others {
        client.send(get("/plaintext"));
    }
    for client in &mut others {
        assert_eq!(client.receive().text(), "Hello, World!");
    }
    server.begin_shutdown(libc::SIGTERM);
    client.expect_end();
    others.iter_mut().for_each(|client| client.expect_end());
    drop((client, others));
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn rung_0_serves() {
    assert_rung_serves(0, "deferred task work, no index array");
}

#[test]
fn rung_1_serves() {
    assert_rung_serves(1, "deferred task work");
}

#[test]
fn rung_2_serves() {
    assert_rung_serves(2, "single issuer");
}

#[test]
fn rung_3_serves() {
    assert_rung_serves(3, "cooperative task work");
}

#[test]
fn without_a_choice_the_newest_step_that_works_is_taken() {
    if !is_about_io_uring() {
        return;
    }
    let best = (0..4).find_map(|rung| serve_on_io_uring(&["--driver-rung", &rung.to_string()]).ok());
    let best = best.expect("one of them works");
    let chosen = serve_on_io_uring(&[]).expect("io_uring works");
    assert_eq!(chosen.driver(), best.driver());
}
