//! Where io_uring is refused, whole or in part, the command serves on epoll and says why.

mod support;

use support::client::{assert_same_bytes, get, pattern, post};
use support::{LOCAL, Peregrine, command, has_io_uring, seccomp};

/// Starts the command where `call` is answered with `errno`; asserts that it serves on epoll for this reason.
#[track_caller]
fn assert_falls_back(call: libc::c_long, errno: libc::c_int, reason: &str) {
    // What comes after the set-up is not reached where that fails already.
    if !seccomp::can_refuse() || call != libc::SYS_io_uring_setup && !has_io_uring() {
        return;
    }
    // Of all drivers, whatever the suite is run on.
    let mut command = command(["--urls", LOCAL, "--driver", "auto", "--workers", "2", "--no-pin"]);
    seccomp::refuse(&mut command, call, errno);
    let server = Peregrine::serve_by(command);
    let expected = format!("Driver: epoll (io_uring refused: {reason}), 2 workers, not pinned");
    assert_eq!(server.driver(), expected);

    let mut client = server.connect();
    assert_eq!(client.get("/plaintext").text(), "Hello, World!");
    client.send(get("/users/7").repeat(10));
    for _ in 0..10 {
        assert_eq!(client.receive().text(), "User 7");
    }
    let body = pattern(1 << 20);
    client.send(post("/echo", &body));
    assert_same_bytes(&client.receive().body, &body);
    drop(client);
    server.begin_shutdown(libc::SIGTERM);
    let exit = server.wait();
    assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[test]
fn the_set_up_is_forbidden_as_by_container_runtimes() {
    assert_falls_back(
        libc::SYS_io_uring_setup,
        libc::EPERM,
        "io_uring_setup: Operation not permitted (os error 1) (kernel.io_uring_disabled or a seccomp filter \
         forbids it)",
    );
}

#[test]
fn the_set_up_is_unknown_as_in_user_space_kernels() {
    assert_falls_back(
        libc::SYS_io_uring_setup,
        libc::ENOSYS,
        "io_uring_setup: Function not implemented (os error 38) (the kernel or the sandbox does not have it)",
    );
}

#[test]
fn there_is_no_memory_to_lock() {
    assert_falls_back(
        libc::SYS_io_uring_setup,
        libc::ENOMEM,
        "io_uring_setup: Cannot allocate memory (os error 12) (the locked-memory limit is too low)",
    );
}

#[test]
fn a_ring_is_allowed_but_nothing_may_be_registered() {
    assert_falls_back(
        libc::SYS_io_uring_register,
        libc::EPERM,
        "io_uring_register: Operation not permitted (os error 1) (kernel.io_uring_disabled or a seccomp filter \
         forbids it)",
    );
}

#[test]
fn a_ring_is_allowed_but_no_operation() {
    assert_falls_back(
        libc::SYS_io_uring_enter,
        libc::EPERM,
        "receive into provided buffers: Operation not permitted (os error 1) (kernel.io_uring_disabled or a \
         seccomp filter forbids it)",
    );
}
