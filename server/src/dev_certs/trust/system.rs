//! The machine's store of authorities: a folder of certificates, and a program that makes of it what OpenSSL, `GnuTLS`
//! and others read. Only root may change it.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use peregrine::tls::development::DevCertificate;

use super::super::console::{Console, find_program, line};
use super::super::{Code, Failure};
use super::FILE_NAME;

/// The folders of distributions, and the programs that read them.
const KNOWN: [(&str, &str); 4] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates"), // Debian, Ubuntu, Alpine
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),        // Fedora and its kin
    ("/etc/ca-certificates/trust-source/anchors", "update-ca-trust"), // Arch
    ("/etc/pki/trust/anchors", "update-ca-certificates"),           // openSUSE
];

/// Another folder and program than those of the distribution: for tests.
const FOLDER_VARIABLE: &str = "PEREGRINE_DEV_CERTS_SYSTEM_FOLDER";
const UPDATE_VARIABLE: &str = "PEREGRINE_DEV_CERTS_SYSTEM_UPDATE";

#[derive(Debug)]
pub(super) struct SystemStore {
    folder: PathBuf,
    update: PathBuf,
}

impl SystemStore {
    /// The store of this machine, if it has one in a known place.
    pub(super) fn find() -> Option<Self> {
        if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
            let update = env::var_os(UPDATE_VARIABLE).map(PathBuf::from);
            return update
                .map(|update| Self { folder: folder.into(), update })
                .filter(|it| it.folder.is_dir());
        }
        KNOWN.iter().find_map(|(folder, program)| {
            let folder = Path::new(folder).is_dir().then(|| PathBuf::from(folder))?;
            Some(Self { folder, update: find_program(program)? })
        })
    }

    /// Whether it has this very certificate.
    pub(super) fn has(&self, certificate: &DevCertificate) -> bool {
        let wanted = fs::read(&certificate.certificate);
        let kept = fs::read(self.path_of(certificate));
        matches!((wanted, kept), (Ok(wanted), Ok(kept)) if wanted == kept)
    }

    /// Adds the certificate.
    ///
    /// # Errors
    /// It could not, or nobody could be asked for a password.
    pub(super) fn add(&self, certificate: &DevCertificate, console: &Console) -> Result<(), Failure> {
        let mut install = Command::new("install");
        install.args(["-m", "0644"]).arg(&certificate.certificate).arg(self.path_of(certificate));
        self.change(install, Command::new(&self.update), Code::Trusting, console)
    }

    /// Removes every development certificate, whoever added it.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(super) fn remove_all(&self, console: &Console) -> Result<(), Failure> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FILE_NAME));
        let paths: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let mut remove = Command::new("rm");
        remove.arg("-f").args(paths);
        let mut update = Command::new(&self.update);
        // Those of Debian and openSUSE leave links to a file that is gone, unless they begin anew.
        if self.update.ends_with("update-ca-certificates") {
            update.arg("--fresh");
        }
        self.change(remove, update, Code::Cleaning, console)
    }

    fn path_of(&self, certificate: &DevCertificate) -> PathBuf {
        self.folder.join(format!("{FILE_NAME}{}.crt", certificate.short_thumbprint()))
    }

    /// Changes the folder and lets the program read it.
    fn change(&self, change: Command, update: Command, code: Code, console: &Console) -> Result<(), Failure> {
        let commands = [change, update];
        if self.may_write() {
            return commands.into_iter().try_for_each(|mut command| {
                let said = console.run(&mut command).map_err(|why| Failure::new(code, why))?;
                said.lines().for_each(|line| console.detail(line));
                Ok(())
            });
        }
        let commands = commands.map(|command| with_sudo(&command));
        if find_program("sudo").is_none() || !io::stdin().is_terminal() {
            let lines: Vec<String> = commands.iter().map(|command| format!("  {}", line(command))).collect();
            let why = format!(
                "Only root may change {}, and nobody can be asked for a password here. Run yourself:\n{}",
                self.folder.display(),
                lines.join("\n")
            );
            return Err(Failure::new(code, why));
        }
        let run = |mut command: Command, code, why: &str| match console.run_at_terminal(&mut command) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new(code, why)),
            Err(why) => Err(Failure::new(code, why)),
        };
        // Alone, so that a password that is not given is told from a program that fails.
        let mut ask = Command::new("sudo");
        ask.arg("-v");
        run(ask, Code::Cancelled, "sudo was not allowed to change the machine's store")?;
        commands
            .into_iter()
            .try_for_each(|command| run(command, code, "The machine's store could not be changed"))
    }

    /// Whether this process is root's, or the folder its user's own.
    fn may_write(&self) -> bool {
        let user = fs::metadata("/proc/self").map(|process| process.uid()).ok();
        let owner = fs::metadata(&self.folder).map(|folder| folder.uid()).ok();
        user.is_some_and(|user| user == 0 || owner == Some(user))
    }
}

fn with_sudo(command: &Command) -> Command {
    let mut sudo = Command::new("sudo");
    sudo.arg(command.get_program()).args(command.get_args());
    sudo
}
