//! What the command prints when it starts, and what its flags and variables make it listen on.

mod support;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};

use support::client::{Client, PATIENCE};
use support::{LOCAL, Peregrine, TempDir, command, run, skip, wants_epoll};

/// A CPU that this process may use.
fn any_cpu() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a readable file");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the line");
    let first = list.trim().split([',', '-']).next().expect("at least one");
    first.parse().expect("a number")
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn assert_serves(address: SocketAddr) {
    assert_eq!(Client::connect(address).get("/plaintext").text(), "Hello, World!", "at {address}");
}

#[test]
fn the_start_up_lines_come_in_order_and_to_the_letter() {
    let root = TempDir::new();
    let mut command = command(["--urls", LOCAL]);
    command.current_dir(root.path());
    let server = Peregrine::serve_by(command);
    let driver = server.driver().to_owned();
    let expected = [
        driver.clone(),
        format!("Now listening on: http://{}", server.address()),
        "Application started. Press Ctrl+C to shut down.".to_owned(),
        "Hosting environment: Production".to_owned(),
        format!("Content root path: {}", root.path().display()),
    ];
    assert_eq!(server.started, expected);
    if wants_epoll() {
        assert!(driver.starts_with("Driver: epoll (as asked), "), "{driver}");
    } else {
        let known = ["Driver: io_uring (", "Driver: epoll (io_uring refused: "];
        assert!(known.iter().any(|known| driver.starts_with(known)), "{driver}");
    }
    assert_ne!(server.address().port(), 0, "the port that the kernel chose is told");
    assert_serves(server.address());

    server.begin_shutdown(libc::SIGTERM);
    let exit = server.wait();
    assert_eq!((exit.status.code(), exit.stdout), (Some(0), Vec::new()));
    // Nothing but what this kernel caps.
    assert!(exit.stderr.lines().all(|line| line.starts_with("warning: The backlog of ")), "{}", exit.stderr);
}

#[test]
fn the_driver_line_says_where_the_workers_run() {
    let cpu = any_cpu();
    let server = Peregrine::serve(&["--workers", "1", "--cpus", &cpu.to_string()]);
    let (_, placement) = server.driver().rsplit_once("), ").expect("a placement behind the driver");
    // A quota of the control group forbids to pin.
    let expected = [format!("1 worker on CPU {cpu}"), format!("1 worker moving freely on CPU {cpu}")];
    assert!(expected.iter().any(|expected| expected == placement), "{}", server.driver());

    let server = Peregrine::serve(&["--workers", "3", "--no-pin"]);
    assert!(server.driver().ends_with("), 3 workers, not pinned"), "{}", server.driver());
    assert_serves(server.address());
}

#[test]
fn the_environment_is_named_by_flag_or_variable() {
    let line = |server: &Peregrine| server.started[3].clone();
    let server = Peregrine::serve(&["--environment", "Staging"]);
    assert_eq!(line(&server), "Hosting environment: Staging");

    let mut by_variable = command(["--urls", LOCAL]);
    by_variable.env("PEREGRINE_ENVIRONMENT", "Development");
    assert_eq!(line(&Peregrine::serve_by(by_variable)), "Hosting environment: Development");

    let mut both = command(["--urls", LOCAL, "--environment", "Staging"]);
    both.env("PEREGRINE_ENVIRONMENT", "Development");
    assert_eq!(line(&Peregrine::serve_by(both)), "Hosting environment: Staging");
}

#[test]
fn a_relative_content_root_is_shown_as_the_absolute_path_that_it_means() {
    let root = TempDir::new();
    let site = root.join("site");
    fs::create_dir(&site).expect("a new directory");
    let expected = format!("Content root path: {}", site.display());

    let mut relative = command(["--urls", LOCAL, "--content-root", "site"]);
    relative.current_dir(root.path());
    assert_eq!(Peregrine::serve_by(relative).started[4], expected);

    let mut by_variable = command(["--urls", LOCAL]);
    by_variable.env("PEREGRINE_CONTENT_ROOT", &site);
    assert_eq!(Peregrine::serve_by(by_variable).started[4], expected);
}

#[test]
fn urls_are_taken_from_the_variable_unless_the_flag_is_given() {
    let mut by_variable = command::<&str>([]);
    by_variable.env("PEREGRINE_URLS", LOCAL);
    let server = Peregrine::serve_by(by_variable);
    assert!(server.urls()[0].starts_with("http://127.0.0.1:"), "{:?}", server.started);
    assert_serves(server.address());

    let mut both = command(["--urls", LOCAL]);
    both.env("PEREGRINE_URLS", "http://nothing-listens-here.invalid/with/a/path");
    let server = Peregrine::serve_by(both);
    assert_eq!(server.urls(), [format!("http://{}", server.address())]);
    assert_serves(server.address());
}

#[test]
fn several_urls_are_all_served_and_shown_in_their_order() {
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    let unix = format!("http://unix:{}", socket.display());
    let ipv6 = has_ipv6();
    let urls = if ipv6 { format!("{LOCAL};{unix};http://[::1]:0") } else { format!("{LOCAL};{unix}") };
    let server = Peregrine::serve_by(command(["--urls", &urls]));

    let shown = server.urls();
    assert_eq!(shown.len(), if ipv6 { 3 } else { 2 });
    assert_eq!(shown[1], unix);
    assert_serves(server.address());
    if ipv6 {
        let address: SocketAddr =
            shown[2].strip_prefix("http://").expect("a URL").parse().expect("an address");
        assert_eq!(address.ip(), Ipv6Addr::LOCALHOST);
        assert_serves(address);
    } else {
        skip("this machine has no IPv6");
    }
    let mut client = connect_unix(&socket);
    assert_eq!(client.get("/plaintext").text(), "Hello, World!");
    assert_eq!(client.get("/users/7").text(), "User 7", "a Unix connection is kept alive");

    drop(client);
    server.stop();
    assert!(!socket.exists(), "the socket's file is gone");
}

fn connect_unix(path: &std::path::Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).expect("a server at the socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    Client::over(stream)
}

#[test]
fn a_unix_socket_that_nobody_listens_on_is_replaced() {
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    drop(UnixListener::bind(&socket).expect("a new socket"));
    assert!(socket.exists(), "its file stays behind");
    let server = Peregrine::serve_by(command(["--urls", &format!("http://unix:{}", socket.display())]));
    assert_eq!(connect_unix(&socket).get("/plaintext").text(), "Hello, World!");
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn localhost_with_port_0_is_one_port_on_both_loopback_addresses() {
    let server = Peregrine::serve_by(command(["--urls", "http://localhost:0"]));
    let port: u16 =
        server.urls()[0].strip_prefix("http://localhost:").expect("as asked").parse().expect("a port");
    assert_ne!(port, 0);
    assert_serves((Ipv4Addr::LOCALHOST, port).into());
    if has_ipv6() {
        assert_serves((Ipv6Addr::LOCALHOST, port).into());
    }
}

#[test]
fn all_interfaces_are_reached_by_any_address() {
    if !has_ipv6() {
        return skip("this machine has no IPv6");
    }
    let server = Peregrine::serve_by(command(["--urls", "http://*:0"]));
    let port: u16 = server.urls()[0].strip_prefix("http://[::]:").expect("the form").parse().expect("a port");
    assert_serves((Ipv4Addr::LOCALHOST, port).into());
    assert_serves((Ipv6Addr::LOCALHOST, port).into());
}

#[test]
fn without_urls_it_listens_on_localhost_5000() {
    const PORT: u16 = 5000;
    if TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_err() {
        return skip("port 5000 is in use");
    }
    match Peregrine::try_serve_by(command::<&str>([])) {
        Ok(server) => {
            assert_eq!(server.urls(), ["http://localhost:5000"]);
            assert_serves((Ipv4Addr::LOCALHOST, PORT).into());
            server.stop();
        }
        Err(exit) if exit.stderr.contains("address already in use") => skip("port 5000 is in use"),
        Err(exit) => panic!("{exit:?}"),
    }
}

#[test]
fn the_memory_plan_is_printed_instead_of_serving() {
    // An address that could not be bound: it is not tried.
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}", holder.local_addr().expect("an open socket"));
    let exit = run(command(["--memory-plan", "--workers", "1", "--urls", &url]));
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), ""));
    let plan = exit.stdout.join("\n");
    for holder in ["receive blocks", "send blocks", "idle connections", "total"] {
        assert!(plan.to_lowercase().contains(holder), "no {holder} in\n{plan}");
    }
    assert!(!plan.contains("Now listening on"));
}

#[test]
fn help_mentions_every_flag_and_every_variable() {
    let exit = run(command(["--help"]));
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), ""));
    let help = exit.stdout.join("\n");
    for name in [
        "urls",
        "backlog",
        "workers",
        "cpus",
        "no-pin",
        "driver",
        "busy-poll-us",
        "coalesce-us",
        "content-root",
        "environment",
        "no-server-header",
        "memory-plan",
    ] {
        let variable = format!("[env: PEREGRINE_{}", name.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("--{name}")), "no --{name} in\n{help}");
        assert!(help.contains(&variable), "no {variable} in\n{help}");
    }
    assert!(help.contains("--help") && help.contains("--version"));
    assert!(!help.contains("--driver-rung"), "not for users");
}

#[test]
fn version_is_one_line_on_standard_output() {
    let exit = run(command(["--version"]));
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), ""));
    assert_eq!(exit.stdout.len(), 1, "{:?}", exit.stdout);
    assert!(exit.stdout[0].contains(env!("CARGO_PKG_VERSION")), "{:?}", exit.stdout);
}

#[test]
fn the_server_field_is_left_out_on_demand() {
    let server = Peregrine::serve(&[]);
    assert!(server.connect().get("/plaintext").field("Server").is_some());
    let server = Peregrine::serve(&["--no-server-header"]);
    assert_eq!(server.connect().get("/plaintext").field("Server"), None);
}
