//! The databases of NSS, in which Chromium and Firefox keep whom a user trusts; changed by its program `certutil`.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use peregrine::tls::development::DevCertificate;

use super::super::console::{Console, find_program};
use super::NICKNAME;

/// The file by which a folder is known to be a database.
const DATABASE_FILE: &str = "cert9.db";

/// The digits of the thumbprint in a nickname.
const DIGITS: usize = 8;

/// Below the home folder: where Firefox keeps its profiles, as itself, as a snap and as a flatpak.
const FIREFOX: [&str; 5] = [
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox",
];

/// The database of Chromium and its kin, below the home folder; and below the folder for data, where newer ones make it.
const CHROMIUM: &str = ".pki/nssdb";
const CHROMIUM_NEWER: &str = "pki/nssdb";

/// The same of the snap.
const CHROMIUM_SNAP: [&str; 2] =
    ["snap/chromium/current/.pki/nssdb", "snap/chromium/current/.local/share/pki/nssdb"];

/// The parts of a flatpak's folder that hold a database.
const FLATPAK: [&str; 2] = [".pki/nssdb", "data/pki/nssdb"];

/// A folder with a database, or one that is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) folder: PathBuf,
    is_firefox: bool,
}

impl Database {
    fn argument(&self) -> OsString {
        let mut argument = OsString::from("sql:");
        argument.push(&self.folder);
        argument
    }

    fn exists(&self) -> bool {
        self.folder.join(DATABASE_FILE).is_file()
    }

    /// Chromium takes a trusted peer (`P`): the certificate may be this host and sign nothing. Firefox knows no peers,
    /// and needs an authority (`C`); as the certificate says that it is none, it still signs nothing.
    fn trust(&self) -> &'static str {
        if self.is_firefox { "C,," } else { "P,," }
    }
}

/// The databases of this user; with `with_new`, also the one that is to be made for Chromium if it has none.
pub(super) fn databases(with_new: bool) -> Vec<Database> {
    let Some(home) = env::var_os("HOME").map(PathBuf::from) else { return Vec::new() };
    let data = env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty());
    databases_of(&home, &data.map_or_else(|| home.join(".local/share"), PathBuf::from), with_new)
}

fn databases_of(home: &Path, data: &Path, with_new: bool) -> Vec<Database> {
    let chromium = |folder| Database { folder, is_firefox: false };
    // Newer ones look at the second only where the first is not there: one that is made would hide the other.
    let mut all = vec![chromium(home.join(CHROMIUM)), chromium(data.join(CHROMIUM_NEWER))];
    all.retain(Database::exists);
    if with_new && all.is_empty() {
        all.push(chromium(home.join(CHROMIUM)));
    }
    let snaps = CHROMIUM_SNAP.iter().map(|folder| home.join(folder));
    let flatpaks = folders_in(&home.join(".var/app"));
    let flatpaks = flatpaks.into_iter().flat_map(|app| FLATPAK.map(|part| app.join(part)));
    let firefox = FIREFOX.iter().flat_map(|folder| folders_in(&home.join(folder)));
    let others = snaps.chain(flatpaks).map(chromium);
    let others = others.chain(firefox.map(|folder| Database { folder, is_firefox: true }));
    all.extend(others.filter(Database::exists));
    all
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The program that changes databases.
#[derive(Debug)]
pub(super) struct Certutil(PathBuf);

impl Certutil {
    pub(super) fn find() -> Option<Self> {
        find_program("certutil").map(Self)
    }

    /// Adds the certificate, and makes the database if there is none.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn add(
        &self,
        database: &Database,
        certificate: &DevCertificate,
        console: &Console,
    ) -> Result<(), String> {
        if !database.exists() {
            let make = DirBuilder::new().recursive(true).mode(0o700).create(&database.folder);
            make.map_err(|error| error.to_string())?;
            let mut make = Command::new(&self.0);
            console.run(make.args(["-N", "--empty-password", "-d"]).arg(database.argument()))?;
        } else if self.has(database, certificate, console) {
            return Ok(());
        }
        let mut add = self.on(database, "-A");
        add.arg("-n").arg(nickname(certificate)).args(["-t", database.trust()]);
        console.run(add.arg("-i").arg(&certificate.certificate)).map(drop)
    }

    /// Whether the database has the certificate. One that cannot be read has it not.
    pub(super) fn has(&self, database: &Database, certificate: &DevCertificate, console: &Console) -> bool {
        console.run(self.on(database, "-L").arg("-n").arg(nickname(certificate))).is_ok()
    }

    /// Removes every development certificate from the database.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn remove_all(&self, database: &Database, console: &Console) -> Result<(), String> {
        let list = console.run(&mut self.on(database, "-L"))?;
        nicknames(&list)
            .try_for_each(|nickname| console.run(self.on(database, "-D").arg("-n").arg(nickname)).map(drop))
    }

    /// A database with a password is left as it is: asked for it, the program would not end without a terminal.
    fn on(&self, database: &Database, action: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(action).arg("-d").arg(database.argument()).args(["-f", "/dev/null"]);
        command
    }
}

fn nickname(certificate: &DevCertificate) -> String {
    format!("{NICKNAME}{}", certificate.short_thumbprint())
}

/// Our nicknames in the list that the program prints, in which trust flags follow each name.
fn nicknames(list: &str) -> impl Iterator<Item = &str> {
    let is_ours = |line: &&str| line.starts_with(NICKNAME);
    list.lines().filter(is_ours).filter_map(|line| line.get(..NICKNAME.len() + DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_nicknames_are_told_from_others() {
        let list = "\nCertificate Nickname      Trust Attributes\n                   SSL,S/MIME,JAR/XPI\n\n\
                    peregrine localhost 0123abcd     P,,\nlocalhost      C,,\nperegrine localhost ffffffff  P,,\n";
        let ours: Vec<&str> = nicknames(list).collect();
        assert_eq!(ours, ["peregrine localhost 0123abcd", "peregrine localhost ffffffff"]);
    }
}
