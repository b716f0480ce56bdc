//! What the command says when it cannot do what it is asked for: one clear sentence on standard error, nothing
//! on standard output, and an exit code that is not 0.

#![allow(unsafe_code, reason = "a capability is dropped by a system call")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use support::{
    Exit, LOCAL, Peregrine, TempDir, before_exec, check, command, limit_descriptors, own_address, run,
    seccomp, skip,
};

/// Asserts that a command refuses to start; returns what it says.
#[track_caller]
fn refusal(command: Command) -> String {
    let exit = run(command);
    assert_refused(&exit);
    exit.stderr
}

#[track_caller]
fn assert_refused(exit: &Exit) {
    assert!(exit.status.code().is_some_and(|code| code != 0), "{exit:?}");
    assert_eq!(exit.stdout, [""; 0], "nothing on standard output");
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

/// Asserts that a command refuses to start with this sentence and nothing else.
#[track_caller]
fn assert_says(command: Command, sentence: &str) {
    assert_eq!(refusal(command), format!("peregrine: {sentence}\n"));
}

/// Asserts that a command line is not understood, for a reason that holds these words.
#[track_caller]
fn assert_not_understood(args: &[&str], reason: &str) {
    let exit = run(command(args));
    assert_refused(&exit);
    assert_eq!(exit.status.code(), Some(2), "the code of a wrong command line");
    let first = exit.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: ") && first.contains(reason), "{}", exit.stderr);
}

fn in_use(url: &str, port: u16) -> String {
    format!(
        "Failed to bind to address {url}: address already in use. Choose another port with --urls, or see who \
         has it: ss -ltnp 'sport = :{port}'"
    )
}

#[test]
fn a_port_that_a_plain_listener_holds() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = holder.local_addr().expect("an open socket").port();
    let url = format!("http://127.0.0.1:{port}");
    assert_says(command(["--urls", &url]), &in_use(&url, port));
    let url = format!("http://localhost:{port}");
    assert_says(command(["--urls", &url]), &in_use(&url, port));
}

#[test]
fn a_port_that_another_peregrine_holds() {
    let other = Peregrine::serve(&["--workers", "2", "--no-pin"]);
    let url = format!("http://{}", other.address());
    // Both share their port among their workers, but not with each other.
    assert_says(
        command(["--urls", &url, "--workers", "2", "--no-pin"]),
        &in_use(&url, other.address().port()),
    );
    assert_eq!(other.connect().get("/plaintext").status, 200, "the holder is not disturbed");
}

#[test]
fn one_address_that_fails_leaves_the_others_free() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = holder.local_addr().expect("an open socket").port();
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    let url = format!("http://127.0.0.1:{port}");
    let urls = format!("http://unix:{};{url}", socket.display());
    assert_says(command(["--urls", &urls]), &in_use(&url, port));
    assert!(!socket.exists(), "the socket that was bound first is gone");
}

#[test]
fn an_address_that_is_named_twice() {
    // A port of that address that nobody has: the listener has let go of it.
    let address = TcpListener::bind((own_address(), 0)).expect("a free port").local_addr();
    let url = format!("http://{}", address.expect("an open socket"));
    let said = refusal(command(["--urls", &format!("{url};{url}")]));
    let sentence = format!(
        "Failed to bind to address {url}: address already in use by {url}, on which this server listens too. \
         Name each address once."
    );
    assert_eq!(said, format!("peregrine: {sentence}\n"));
}

#[test]
fn a_privileged_port() {
    const CAP_NET_BIND_SERVICE: libc::c_ulong = 10;
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let lowest_free: u16 = start.ok().and_then(|port| port.trim().parse().ok()).unwrap_or(1024);
    if lowest_free < 2 {
        return skip("no port is privileged here");
    }
    let mut command = command(["--urls", "http://127.0.0.1:1"]);
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        // What the bounding set lacks, a program that root starts does not get.
        before_exec(&mut command, || {
            // SAFETY: takes integers.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0) })
        });
    }
    match Peregrine::spawn(command) {
        Err(error) => skip(&format!("the capability cannot be dropped: {error}")),
        Ok(child) => {
            let exit = child.wait();
            assert_refused(&exit);
            let expected = format!(
                "peregrine: Failed to bind to address http://127.0.0.1:1: ports below {lowest_free} need a \
                 privilege. Choose a higher port, or grant it to the program: setcap \
                 cap_net_bind_service=+ep FILE\n"
            );
            assert_eq!(exit.stderr, expected);
        }
    }
}

#[test]
fn urls_that_cannot_be_served() {
    for (url, sentence) in [
        (
            "ftp://localhost:5000",
            "Unrecognized scheme in server address 'ftp://localhost:5000'. Only 'http://' and 'https://' are supported.",
        ),
        (
            "https://localhost:5001",
            "Cannot serve https://localhost:5001: it has no certificate. Name one with --tls-cert and --tls-key, or in \
             TlsOptions::certificate; in the environment Development a certificate for localhost is made.",
        ),
        (
            "http://localhost:5000/base",
            "Invalid server address 'http://localhost:5000/base': a server address has no path; put prefixes \
             into the routes.",
        ),
        (
            "localhost:5000",
            "Invalid server address 'localhost:5000': it has no scheme; write http://HOST:PORT.",
        ),
        (
            "http://localhost:65536",
            "Invalid server address 'http://localhost:65536': its port is not a number from 0 to 65535.",
        ),
        (
            "http://192.0.2.1:0",
            "Failed to bind to address http://192.0.2.1:0: this machine does not have that address. Use one \
             that `ip address` shows, or http://* for all of them.",
        ),
    ] {
        assert_says(command(["--urls", url]), sentence);
        let mut by_variable = command::<&str>([]);
        by_variable.env("PEREGRINE_URLS", url);
        assert_says(by_variable, sentence);
    }
}

#[test]
fn a_list_of_cpus_that_cannot_be_read() {
    for (list, problem) in [
        ("3-1", "the range 3-1 runs backwards"),
        ("all", "'all' is not the number of a CPU"),
        ("0,", "'' is not the number of a CPU"),
        ("0-99999999", "no machine has a CPU 99999999"),
    ] {
        let reason = format!("Invalid list of CPUs '{list}': {problem}.");
        assert_not_understood(&["--urls", LOCAL, "--cpus", list], &reason);
    }
}

#[test]
fn a_cpu_that_is_not_there() {
    let said = refusal(command(["--urls", LOCAL, "--cpus", "4095"]));
    let expected = "peregrine: CPU 4095 is not one that this process may use. Those are: ";
    assert!(said.starts_with(expected) && said.ends_with(".\n") && said.lines().count() == 1, "{said}");
}

#[test]
fn more_pinned_workers_than_cpus_but_not_if_they_may_share() {
    let cpus = thread::available_parallelism().expect("a number").get();
    let many = (cpus + 1).to_string();
    let exit = Peregrine::try_serve_by(command(["--urls", LOCAL, "--workers", &many]));
    match exit {
        // With a quota of the control group nobody is pinned anyway.
        Ok(server) => assert!(server.driver().contains("not pinned"), "{}", server.driver()),
        Err(exit) => {
            assert_refused(&exit);
            let said = exit.stderr;
            let begin = format!("peregrine: Cannot pin {many} workers to CPUs ");
            let end = format!(
                ": there are only {cpus}. Lower --workers, or let them share the CPUs with --no-pin.\n"
            );
            assert!(said.starts_with(&begin) && said.ends_with(&end), "{said}");
        }
    }
    let server = Peregrine::serve(&["--workers", &many, "--no-pin"]);
    assert!(server.driver().ends_with(&format!("{many} workers, not pinned")), "{}", server.driver());
    assert_eq!(server.connect().get("/plaintext").status, 200);
}

#[test]
fn a_unix_socket_in_a_directory_that_is_not_there() {
    let directory = TempDir::new();
    let socket = directory.join("run/app.sock");
    let sentence = format!(
        "Failed to bind to Unix socket {}: its directory does not exist. Make it first: mkdir -p {}",
        socket.display(),
        directory.join("run").display()
    );
    assert_says(command(["--urls", &format!("http://unix:{}", socket.display())]), &sentence);
}

#[test]
fn a_unix_socket_where_there_is_a_file() {
    let directory = TempDir::new();
    let path = directory.join("app.sock");
    fs::write(&path, "precious").expect("a new file");
    let sentence = format!(
        "Failed to bind to Unix socket {}: there is something that is not a socket. Move it away or choose \
         another path.",
        path.display()
    );
    assert_says(command(["--urls", &format!("http://unix:{}", path.display())]), &sentence);
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
}

#[test]
fn a_unix_socket_that_another_peregrine_holds() {
    let directory = TempDir::new();
    let socket = directory.join("app.sock");
    let urls = format!("http://unix:{}", socket.display());
    let _other = Peregrine::serve_by(command(["--urls", &urls]));
    let sentence = format!(
        "Failed to bind to Unix socket {}: a server is listening on it. Stop that one or choose another path.",
        socket.display()
    );
    assert_says(command(["--urls", &urls]), &sentence);
    assert!(socket.exists(), "the holder keeps its file");
}

#[test]
fn a_content_root_that_is_not_there_or_no_directory() {
    let directory = TempDir::new();
    let missing = directory.join("site");
    let said = refusal(command(["--urls", LOCAL, "--content-root", &missing.to_string_lossy()]));
    let begin = format!("peregrine: The content root {} cannot be used: No such file", missing.display());
    assert!(said.starts_with(&begin) && said.lines().count() == 1, "{said}");
    fs::write(&missing, "").expect("a new file");
    let said = refusal(command(["--urls", LOCAL, "--content-root", &missing.to_string_lossy()]));
    assert!(said.contains("not a directory") && said.lines().count() == 1, "{said}");
}

#[test]
fn too_few_descriptors() {
    let mut command = command(["--urls", LOCAL]);
    limit_descriptors(&mut command, 40);
    assert_says(
        command,
        "This process may open only 40 descriptors, which is too few. Raise the limit: `ulimit -n`, or \
         LimitNOFILE= of its service.",
    );
}

#[test]
fn io_uring_as_the_only_choice_where_it_is_refused() {
    if !seccomp::can_refuse() {
        return;
    }
    let mut command = command(["--urls", LOCAL, "--driver", "io_uring"]);
    seccomp::refuse(&mut command, libc::SYS_io_uring_setup, libc::EPERM);
    assert_says(
        command,
        "No worker could start: io_uring_setup: Operation not permitted (os error 1) (kernel.io_uring_disabled \
         or a seccomp filter forbids it). Choose another with --driver auto.",
    );
}

#[test]
fn a_command_line_that_is_not_understood() {
    assert_not_understood(&["--frobnicate"], "unexpected argument '--frobnicate' found");
    assert_not_understood(&["serve"], "unrecognized subcommand 'serve'");
    assert_not_understood(&["--driver", "kqueue"], "invalid value 'kqueue' for '--driver <DRIVER>'");
    assert_not_understood(&["--workers", "0"], "invalid value '0' for '--workers <COUNT>'");
    assert_not_understood(&["--workers", "many"], "invalid value 'many' for '--workers <COUNT>'");
    assert_not_understood(&["--backlog", "0"], "invalid value '0' for '--backlog <COUNT>'");
    assert_not_understood(&["--content-root"], "a value is required for '--content-root <DIRECTORY>'");
}
