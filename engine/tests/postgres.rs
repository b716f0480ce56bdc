//! The example `postgres`, against a database of its own that goes and comes back.

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, process};

use serde_json::Value;

use support::client::{Client, Response, get};

/// Connections that the example makes, each of which must find out for itself that the database has gone.
const CONNECTIONS: usize = 8;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/postgres.sh")
}

/// Whether this machine has the server's programs, where Debian or a path has them.
fn is_installed() -> bool {
    let in_path = |folder: PathBuf| folder.join("initdb").exists();
    let of_debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    of_debian.map(|version| version.path().join("bin")).any(in_path)
        || env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(in_path))
}

/// A database that is removed when dropped.
struct Database {
    folder: PathBuf,
    is_running: bool,
}

impl Database {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("peregrine-pg-{}", process::id()));
        Self { folder, is_running: false }
    }

    /// Starts it with fresh tables, on a port or on a free one, and returns its URL. `None`, and a line, where it
    /// cannot be installed.
    fn start(&mut self, port: &str) -> Option<String> {
        fs::create_dir_all(&self.folder).expect("a temporary folder");
        let log = self.folder.with_extension("log");
        let output = Command::new(script())
            .args(["start".as_ref(), self.folder.as_os_str(), port.as_ref()])
            .stderr(File::create(&log).expect("a temporary file"))
            .output()
            .expect("bash");
        let told = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        if !output.status.success() && !is_installed() {
            println!("skipped: PostgreSQL cannot be installed here: {told}");
            return None;
        }
        assert!(output.status.success(), "the database does not start: {told}");
        self.is_running = true;
        Some(String::from_utf8(output.stdout).expect("text").trim().to_owned())
    }

    /// Ends it in the midst of whatever it does.
    fn stop(&mut self) {
        self.is_running = false;
        let stopped = Command::new(script()).arg("stop").arg(&self.folder).stderr(Stdio::null()).status();
        assert!(stopped.expect("bash").success(), "the database does not stop");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.is_running {
            self.stop();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The example; killed when dropped.
struct Example {
    child: Child,
    address: SocketAddr,
}

impl Example {
    #[track_caller]
    fn start(url: &str) -> Self {
        // Cargo builds examples beside the folder of the tests.
        let test = env::current_exe().expect("a path");
        let program = test.ancestors().nth(2).expect("the profile's folder").join("examples/postgres");
        let mut child = Command::new(&program)
            .args(["--urls", "http://127.0.0.1:0", "--workers", "1", "--no-pin"])
            .env("DATABASE_URL", url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines
            .find_map(|line| {
                line.expect("text").trim().strip_prefix("Now listening on: http://").map(str::to_owned)
            })
            .expect("it starts");
        // Whatever it prints is read, so that it never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.parse().expect("an address") }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn json(response: &Response) -> Value {
    assert_eq!(
        (response.status, response.field("Content-Type")),
        (200, Some("application/json; charset=utf-8"))
    );
    serde_json::from_slice(&response.body).expect("JSON")
}

/// A row's number and value.
#[track_caller]
fn world(value: &Value) -> (u64, u64) {
    assert_eq!(value.as_object().expect("an object").len(), 2);
    let number = |key: &str| value[key].as_u64().filter(|number| (1..=10_000).contains(number));
    number("id").zip(number("randomNumber")).unwrap_or_else(|| panic!("no row: {value}"))
}

#[track_caller]
fn worlds(client: &mut Client, path: &str) -> Vec<(u64, u64)> {
    json(&client.get(path)).as_array().expect("an array").iter().map(world).collect()
}

/// What the tables say, asked of them directly.
fn ask(url: &str, sql: &str) -> String {
    let output =
        Command::new("psql").args([url, "--no-psqlrc", "--tuples-only", "--no-align", "-c", sql]).output();
    String::from_utf8(output.expect("psql").stdout).expect("text").trim().to_owned()
}

/// Which fortunes a page has, by number.
fn fortunes(page: &str) -> Vec<u32> {
    let rows = page.split("<tr><td>").skip(1);
    rows.map(|row| row.split('<').next().and_then(|id| id.parse().ok()).expect("a number")).collect()
}

#[track_caller]
fn answers_everything(client: &mut Client, url: &str) {
    let mut seen: Vec<_> = (0..2 * CONNECTIONS).map(|_| world(&json(&client.get("/db"))).0).collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 1, "it is always the same row");

    assert_eq!(worlds(client, "/queries?queries=20").len(), 20);
    for (path, count) in [("", 1), ("?queries=x", 1), ("?queries=0", 1), ("?queries=501", 500)] {
        assert_eq!(worlds(client, &format!("/queries{path}")).len(), count, "{path}");
    }

    let mut stored = worlds(client, "/updates?queries=20");
    assert_eq!(stored.len(), 20);
    stored.sort_unstable();
    stored.dedup();
    let rows: Vec<_> = stored.iter().map(|(id, number)| format!("({id},{number})")).collect();
    let sql = format!("SELECT count(*) FROM world WHERE (id, randomnumber) IN ({})", rows.join(","));
    assert_eq!(ask(url, &sql), stored.len().to_string(), "what is answered is what is stored");

    let page = client.get("/fortunes");
    assert_eq!((page.status, page.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    // By message, byte by byte.
    assert_eq!(fortunes(page.text()), [11, 4, 0, 9, 5, 8, 6, 2, 10, 7, 1, 3, 12]);
    assert!(page.text().contains("<td>&lt;script&gt;alert(&quot;This must never"), "{}", page.text());
    assert!(page.text().contains("<td>ベンチマークは嘘をつかない</td>"));
}

#[test]
fn a_database_over_the_workers_sockets_may_go_and_come_back() {
    let mut database = Database::new();
    let Some(url) = database.start("auto") else { return };
    let example = Example::start(&url);
    let mut client = example.client();
    answers_everything(&mut client, &url);

    // Many at once share the connections.
    client.send(get("/db").repeat(100));
    for _ in 0..100 {
        world(&json(&client.receive()));
    }
    // psql names itself.
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND application_name = ''";
    assert_eq!(ask(&url, sql), CONNECTIONS.to_string());

    let port = url.rsplit([':', '/']).nth(1).expect("a port").to_owned();
    let by_path = format!("postgresql://bench@/postgres?host={}&port={port}", database.folder.display());
    answers_everything(&mut Example::start(&by_path).client(), &url);

    database.stop();
    for path in ["/db", "/queries?queries=20", "/fortunes", "/updates?queries=20"].repeat(CONNECTIONS) {
        let away = client.get(path);
        assert_eq!(
            (away.status, away.field("Content-Type")),
            (503, Some("application/problem+json")),
            "{path}"
        );
        assert!(away.text().contains(r#""detail":"the database is away""#), "{}", away.text());
    }

    database.start(&port).expect("it is installed");
    answers_everything(&mut client, &url);
}
