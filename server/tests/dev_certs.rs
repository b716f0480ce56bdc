//! `peregrine dev-certs https`: each test with a folder, a home and a machine's store of its own; what is written is
//! read back by OpenSSL.

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use peregrine::tls::development::{DevCertificates, Found};
use support::client::await_some;
use support::{Exit, TempDir, command, run, skip};

/// A user of a machine.
struct User {
    root: TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self { root: TempDir::new() };
        for folder in ["home", "store"] {
            fs::create_dir(user.path(folder)).expect("a new folder");
        }
        user.program("update", "ls \"$(dirname \"$0\")/store\" >> \"$(dirname \"$0\")/updates\"");
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A shell script that can be run by its path.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    fn certificates(&self) -> DevCertificates {
        DevCertificates::at(self.path("certificates"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(["dev-certs", "https"].iter().chain(args));
        command
            .current_dir(self.root.path())
            .env("HOME", self.path("home"))
            .env_remove("XDG_DATA_HOME")
            .env("PEREGRINE_DEV_CERTS", self.path("certificates"))
            .env("PEREGRINE_DEV_CERTS_SYSTEM_FOLDER", self.path("store"))
            .env("PEREGRINE_DEV_CERTS_SYSTEM_UPDATE", self.path("update"));
        command
    }

    /// Runs the command and asserts how it ends.
    #[track_caller]
    fn ends(&self, args: &[&str], code: i32) -> Exit {
        let exit = run(self.command(args));
        assert_eq!(exit.status.code(), Some(code), "{args:?}: {exit:?}");
        exit
    }

    /// Asserts that the command ends with this code and a reason that holds these words, and changes nothing.
    #[track_caller]
    fn refuses(&self, args: &[&str], code: i32, reason: &str) {
        let before = self.certificates().look().expect("readable files");
        let exit = self.ends(args, code);
        assert!(exit.stderr.contains(reason), "{args:?}: {}", exit.stderr);
        assert_eq!(self.certificates().look().expect("readable files"), before);
    }

    #[track_caller]
    fn thumbprint(&self) -> String {
        self.certificates().find().expect("readable files").expect("a valid certificate").thumbprint
    }

    /// What is in the machine's store.
    fn store(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("store")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Runs OpenSSL and asserts that it succeeds.
    #[track_caller]
    fn openssl(&self, args: &[&str]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(args).current_dir(self.root.path()).stdin(Stdio::null());
        let output = openssl.output().expect("OpenSSL is needed");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Asserts that a file holds the certificate of this user.
    #[track_caller]
    fn assert_has_certificate(&self, file: &str) {
        let said = self.openssl(&["x509", "-in", file, "-noout", "-fingerprint", "-sha256"]);
        let digits = said.trim().rsplit('=').next().unwrap_or_default().replace(':', "").to_lowercase();
        assert_eq!(digits, self.thumbprint());
    }

    /// Asserts that a file holds the key of this user's certificate.
    #[track_caller]
    fn assert_has_key(&self, file: &str, password: &str) {
        let password = format!("pass:{password}");
        let key = self.openssl(&["pkey", "-in", file, "-passin", &password, "-pubout"]);
        let certificate = self.openssl(&["x509", "-in", "certificates/localhost.pem", "-noout", "-pubkey"]);
        assert_eq!(key, certificate);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn has_certutil() -> bool {
    let found =
        Command::new("certutil").arg("-H").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skip("certutil is missing");
    }
    found
}

#[test]
fn it_is_made_once_and_then_found() {
    let user = User::new();
    user.refuses(&["--check"], 6, "There is no development certificate");
    assert!(user.ends(&[], 0).stdout[0].starts_with("The certificate was made: "));
    let thumbprint = user.thumbprint();
    assert_eq!(mode(&user.path("certificates/localhost-key.pem")), 0o600);
    assert!(user.ends(&[], 0).stdout[0].starts_with("There is a valid certificate already: "));
    assert_eq!(user.thumbprint(), thumbprint);
    assert!(user.ends(&["--check"], 0).stdout[0].contains(&thumbprint));
    assert_eq!(user.ends(&["--check", "--quiet"], 0).stdout, [""; 0]);
    let verbose = user.ends(&["-c", "-v"], 0).stdout;
    assert!(verbose[0].starts_with("The certificate's folder is "), "{verbose:?}");
    user.assert_has_certificate("certificates/localhost.pem");
    user.assert_has_key("certificates/localhost-key.pem", "");
}

#[test]
fn without_a_variable_it_lies_in_the_home_folder() {
    let user = User::new();
    let mut command = user.command(&[]);
    command.env_remove("PEREGRINE_DEV_CERTS");
    assert_eq!(run(command).status.code(), Some(0));
    assert!(user.path("home/.local/share/peregrine/dev-certs/localhost.pem").is_file());
    let mut command = user.command(&[]);
    command.env_remove("PEREGRINE_DEV_CERTS").env_remove("HOME");
    let exit = run(command);
    assert_eq!((exit.status.code(), exit.stderr.contains("set HOME")), (Some(2), true), "{exit:?}");
}

#[test]
fn one_that_has_expired_is_replaced() {
    let user = User::new();
    let long_ago = SystemTime::now() - Duration::from_secs(400 * 24 * 60 * 60);
    let old = user.certificates().create_as_of(long_ago).expect("a writable folder");
    user.refuses(&["--check"], 6, "The certificate is valid from");
    let exit = user.ends(&[], 0);
    assert!(exit.stderr.starts_with("warning: ") && exit.stderr.contains("it is replaced"), "{exit:?}");
    assert_ne!(user.thumbprint(), old.thumbprint);
}

#[test]
fn damaged_files_are_told_from_missing_ones_and_replaced() {
    let user = User::new();
    user.ends(&[], 0);
    fs::write(user.path("certificates/localhost-key.pem"), "no key").expect("our own file");
    user.refuses(&["--check"], 9, "The private key cannot be used");
    user.ends(&[], 0);
    user.ends(&["--check"], 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let user = User::new();
    fs::write(user.path("certificates"), "a file in the way").expect("a file");
    let exit = user.ends(&[], 2);
    assert!(exit.stderr.contains(user.path("certificates").to_str().expect("text")), "{exit:?}");
}

#[test]
fn pfx_files_are_read_by_openssl() {
    let user = User::new();
    user.ends(&["-ep", "out.pfx", "-p", "secret"], 0);
    assert_eq!(mode(&user.path("out.pfx")), 0o600);
    let pem = user.openssl(&["pkcs12", "-in", "out.pfx", "-passin", "pass:secret", "-nodes"]);
    fs::write(user.path("read.pem"), pem).expect("a file");
    user.assert_has_certificate("read.pem");
    user.assert_has_key("read.pem", "");
    // Over the older file.
    user.ends(&["--ep", "out.pfx", "-np", "--format", "PFX"], 0);
    user.openssl(&["pkcs12", "-in", "out.pfx", "-passin", "pass:", "-nodes"]);
    user.refuses(&["-ep", "nowhere/out.pfx", "-np"], 3, "nowhere/out.pfx");
    assert_eq!(fs::read_dir(user.root.path()).expect("a folder").count(), 6, "nothing is left behind");
}

#[test]
fn pem_files_are_read_by_openssl() {
    let user = User::new();
    user.ends(&["--export-path", "out.crt", "--format", "pem"], 0);
    user.assert_has_certificate("out.crt");
    assert!(!user.path("out.key").exists(), "no key without a word about its password");
    user.ends(&["--export-path", "out.crt", "--format", "pem", "--no-password"], 0);
    user.assert_has_key("out.key", "");
    user.ends(&["--export-path", "out.crt", "--format", "pem", "--password", "secret"], 0);
    user.assert_has_key("out.key", "secret");
    let key = fs::read_to_string(user.path("out.key")).expect("a key");
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{key}");
    assert_eq!(mode(&user.path("out.key")), 0o600);
}

#[test]
fn what_one_has_exported_another_imports() {
    let maker = User::new();
    maker.ends(&["-ep", "out.pfx", "-p", "secret"], 0);
    maker.ends(&["-ep", "locked.crt", "-p", "secret", "--format", "pem"], 0);
    maker.ends(&["-ep", "open.crt", "-np", "--format", "pem"], 0);
    let file = |name: &str| maker.path(name).to_str().expect("text").to_owned();
    for (name, password) in [("out.pfx", Some("secret")), ("locked.crt", Some("secret")), ("open.crt", None)]
    {
        let user = User::new();
        let file = file(name);
        let mut args = vec!["--import", &file];
        args.extend(password.iter().flat_map(|password| ["-p", password]));
        user.ends(&args, 0);
        assert_eq!(user.thumbprint(), maker.thumbprint(), "{name}");
        user.assert_has_key("certificates/localhost-key.pem", "");
        user.refuses(&args, 15, "add --clean");
        args.push("--clean");
        user.ends(&args, 0);
        // What was imported can be exported again.
        user.ends(&["-ep", "again.pfx", "-p", "other"], 0);
        user.openssl(&["pkcs12", "-in", "again.pfx", "-passin", "pass:other", "-nodes"]);
    }
    let user = User::new();
    user.refuses(&["-i", &file("out.pfx"), "-p", "wrong"], 13, "the password is wrong");
    user.refuses(&["-i", &file("out.pfx")], 13, "the password is wrong");
    user.refuses(&["-i", &file("locked.crt")], 13, "the key needs a --password");
    user.refuses(&["-i", &file("locked.crt"), "-p", "wrong"], 13, "the password of the key is wrong");
    user.refuses(&["-i", "nowhere.pfx"], 12, "nowhere.pfx is not there");
}

#[test]
fn certificates_of_openssl_are_imported_if_they_are_for_localhost() {
    let user = User::new();
    let make = |name: &str, host: &str| {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let (subject, names) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "5"];
        let files = ["-keyout", &key, "-out", &certificate, "-subj", &subject, "-addext", &names];
        user.openssl(&[&["req", "-x509"], &curve[..], &files[..]].concat());
    };
    make("other", "example.com");
    user.refuses(&["-i", "other.crt"], 14, "not for localhost");
    make("own", "localhost");
    user.openssl(&[
        "pkcs12", "-export", "-in", "own.crt", "-inkey", "own.key", "-out", "own.pfx", "-passout", "pass:x",
    ]);
    user.ends(&["-i", "own.pfx", "-p", "x"], 0);
    user.assert_has_certificate("own.crt");
    fs::copy(user.path("other.key"), user.path("own.key")).expect("our own files");
    user.ends(&["--clean"], 0);
    user.refuses(&["-i", "own.crt"], 14, "not that of the certificate");
    fs::remove_file(user.path("own.key")).expect("our own file");
    user.refuses(&["-i", "own.crt"], 13, "own.key cannot be read");
    fs::write(user.path("own.crt"), "nothing").expect("our own file");
    user.refuses(&["-i", "own.crt"], 13, "it is not PKCS#12");
}

#[test]
fn combinations_that_make_no_sense_are_refused_with_the_usage() {
    let user = User::new();
    for (args, reason) in [
        (&["--check", "--clean"][..], "cannot be used with"),
        (&["--check", "--export-path", "a", "-np"], "cannot be used with"),
        (&["--check", "--import", "a"], "cannot be used with"),
        (&["--check", "--password", "a"], "cannot be used with"),
        (&["--clean", "--export-path", "a", "-np"], "cannot be used with"),
        (&["--clean", "--trust"], "use one of them"),
        (&["--clean", "--password", "a"], "--password is for"),
        (&["--password", "a"], "--password is for"),
        (&["-ep", "a", "-p", "a", "-np"], "cannot be used with"),
        (&["-ep", "a"], "give --password or --no-password"),
        (&["-ep", "a.key", "--format", "pem"], "name the file otherwise"),
        (&["-ep", "a", "-np", "--import", "a"], "cannot be used with"),
        (&["--format", "pem"], "--export-path <PATH>"),
        (&["--no-password"], "--export-path <PATH>"),
        (&["-q", "-v"], "cannot be used with"),
        (&["--no-such-flag"], "unexpected argument"),
    ] {
        user.refuses(args, 1, reason);
        let exit = run(user.command(args));
        assert!(exit.stderr.contains("Usage: peregrine dev-certs https"), "{args:?}: {}", exit.stderr);
    }
    user.refuses(&["-ep", "a", "--format", "der", "-np"], 1, "possible values: pfx, pem");
    assert_eq!(user.certificates().look().expect("readable files"), Found::Nothing);
    assert_eq!(run(command(["dev-certs"])).status.code(), Some(1));
    assert_eq!(run(command(["dev-certs", "http"])).status.code(), Some(1));
}

#[test]
fn the_help_says_what_each_exit_code_means() {
    let help = run(command(["dev-certs", "https", "--help"]));
    assert_eq!(help.status.code(), Some(0));
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15] {
        assert!(help.stdout.iter().any(|line| line.starts_with(&format!("  {code:>2}  "))), "{code}");
    }
}

#[test]
fn the_machines_store_gets_it_and_is_cleaned_again() {
    let user = User::new();
    fs::write(user.path("store/other.crt"), "another's").expect("a file");
    user.ends(&[], 0);
    user.refuses(&["--check", "--trust"], 7, "the machine's store");
    let verbose = user.ends(&["--trust", "--verbose"], 0).stdout.join("\n");
    assert!(verbose.contains("Running install -m 0644 "), "{verbose}");
    let name = format!("peregrine-dev-{}.crt", &user.thumbprint()[..8]);
    user.assert_has_certificate(&format!("store/{name}"));
    let updates = || fs::read_to_string(user.path("updates")).unwrap_or_default();
    assert_eq!(updates(), format!("other.crt\n{name}\n"), "the program has seen it");
    user.ends(&["--check", "--trust"], 0);
    user.ends(&["--trust"], 0);
    assert_eq!(updates().lines().count(), 2, "what is there is not added again");
    user.ends(&["--clean"], 0);
    assert_eq!(user.store(), ["other.crt"]);
    assert_eq!(updates(), format!("other.crt\n{name}\nother.crt\n"), "and seen it go");
    assert_eq!(user.certificates().look().expect("readable files"), Found::Nothing);
    assert_eq!(user.ends(&["--clean"], 0).stdout, ["There was no certificate to remove."]);
}

#[test]
fn a_store_that_keeps_links_is_made_anew_when_it_is_cleaned() {
    let user = User::new();
    let update = user.program("update-ca-certificates", "echo \"called: $*\"");
    let run_with = |args: &[&str]| {
        let mut command = user.command(args);
        command.env("PEREGRINE_DEV_CERTS_SYSTEM_UPDATE", &update);
        let exit = run(command);
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        exit.stdout
    };
    let has = |lines: Vec<String>, line: &str| lines.iter().any(|each| each == line);
    assert!(has(run_with(&["--trust", "-v"]), "called: "));
    assert!(has(run_with(&["--clean", "-v"]), "called: --fresh"));
}

#[test]
fn a_store_that_cannot_be_updated_is_not_trust() {
    let user = User::new();
    user.program("update", "echo the disk is full >&2; exit 3");
    let exit = user.ends(&["--trust"], 4);
    assert!(exit.stderr.contains("the disk is full"), "{exit:?}");
    let exit = user.ends(&["--clean"], 8);
    assert!(exit.stderr.contains("the disk is full"), "{exit:?}");
    assert_eq!(user.certificates().look().expect("readable files"), Found::Nothing, "the rest is cleaned");
}

#[test]
fn without_certutil_its_package_is_named() {
    let user = User::new();
    let tools = user.path("tools");
    fs::create_dir(&tools).expect("a new folder");
    for tool in ["install", "rm", "ls", "dirname", "sh"] {
        let found = ["/usr/bin", "/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(tool))
            .find(|path| path.is_file());
        std::os::unix::fs::symlink(found.expect("a tool of every system"), tools.join(tool)).expect("a link");
    }
    let mut command = user.command(&["--trust"]);
    command.env("PATH", &tools);
    let exit = run(command);
    assert_eq!(exit.status.code(), Some(0), "the machine's store has it: {exit:?}");
    assert!(exit.stderr.contains("libnss3-tools"), "{exit:?}");
    let mut command = user.command(&["--trust"]);
    command.env("PATH", &tools).env("PEREGRINE_DEV_CERTS_SYSTEM_FOLDER", user.path("nowhere"));
    let exit = run(command);
    assert_eq!(exit.status.code(), Some(4), "nothing has it: {exit:?}");
}

#[test]
fn databases_of_browsers_get_it_and_are_cleaned_again() {
    if !has_certutil() {
        return;
    }
    let user = User::new();
    let profile = "home/.mozilla/firefox/abc.default";
    fs::create_dir_all(user.path(profile)).expect("a new folder");
    let certutil = |args: &[&str]| {
        let output =
            Command::new("certutil").args(args).current_dir(user.root.path()).output().expect("certutil");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    certutil(&["-N", "--empty-password", "-d", &format!("sql:{profile}")]);
    user.ends(&["--trust"], 0);
    let nickname = format!("peregrine localhost {}", &user.thumbprint()[..8]);
    let databases = [("home/.pki/nssdb", "P,,"), (profile, "C,,")];
    let line = |folder: &str| {
        let list = certutil(&["-L", "-d", &format!("sql:{folder}")]);
        list.lines().find(|line| line.starts_with(&nickname)).map(str::to_owned)
    };
    for (folder, trust) in databases {
        let line = line(folder).unwrap_or_else(|| panic!("{folder} has it not"));
        assert!(line.trim_end().ends_with(trust), "{line}");
    }
    assert_eq!(mode(&user.path("home/.pki/nssdb")), 0o700);
    user.ends(&["--check", "--trust"], 0);
    user.ends(&["--trust"], 0);
    certutil(&["-D", "-d", &format!("sql:{profile}"), "-n", &nickname]);
    user.refuses(&["--check", "--trust"], 7, "abc.default");
    user.ends(&["--trust"], 0);
    user.ends(&["--clean"], 0);
    for (folder, _) in databases {
        assert_eq!(line(folder), None, "{folder}");
    }
}

#[test]
fn a_database_of_newer_browsers_is_not_hidden_by_one_for_older_ones() {
    if !has_certutil() {
        return;
    }
    let user = User::new();
    let folder = user.path("home/.local/share/pki/nssdb");
    fs::create_dir_all(&folder).expect("a new folder");
    let database = format!("sql:{}", folder.display());
    let made = Command::new("certutil").args(["-N", "--empty-password", "-d", &database]).status();
    assert!(made.expect("certutil").success());
    user.ends(&["--trust"], 0);
    assert!(!user.path("home/.pki").exists());
    user.ends(&["--check", "--trust"], 0);
}

#[test]
fn what_somebody_else_has_signed_is_not_trusted_itself() {
    let user = User::new();
    fs::write(user.path("names"), "subjectAltName=DNS:localhost\n").expect("a file");
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=An authority", "-days", "5"];
    user.openssl(&[&["req", "-x509"], &curve[..], &authority[..]].concat());
    user.openssl(
        &[&["req"], &curve[..], &["-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=a"]].concat(),
    );
    let sign = ["x509", "-req", "-in", "own.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    user.openssl(&[&sign[..], &["-days", "5", "-extfile", "names", "-out", "own.crt"]].concat());
    let exit = user.ends(&["--import", "own.crt", "--trust"], 4);
    assert!(exit.stderr.contains("signed by CN=An authority"), "{exit:?}");
    assert_eq!(user.store(), [""; 0]);
}

/// A server of OpenSSL's; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn curl_believes_a_server_that_has_it() {
    let user = User::new();
    user.ends(&["-ep", "out.crt", "-np", "--format", "pem"], 0);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    let port = port.expect("a free port").port();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
    server.args(["-cert", "out.crt", "-key", "out.key"]).current_dir(user.root.path());
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Server(server.spawn().expect("OpenSSL is needed"));
    let curl = |host: &str, authority: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--output", "/dev/null", "--cacert", authority]);
        curl.arg("--resolve").arg(format!("{host}:{port}:127.0.0.1")).arg(format!("https://{host}:{port}/"));
        curl.current_dir(user.root.path()).status().expect("curl is needed").code()
    };
    await_some("a server of OpenSSL's", || {
        assert!(server.0.try_wait().expect("a child").is_none(), "it has ended");
        (curl("localhost", "out.crt") == Some(0)).then_some(())
    });
    for host in ["127.0.0.1", "app.dev.localhost", "host.docker.internal"] {
        assert_eq!(curl(host, "out.crt"), Some(0), "{host}");
    }
    assert_eq!(curl("example.com", "out.crt"), Some(60), "not its name");
    let other = User::new();
    other.ends(&[], 0);
    let other = other.path("certificates/localhost.pem");
    assert_eq!(curl("localhost", other.to_str().expect("text")), Some(60), "another's certificate");
}
