//! What `dev-certs` prints, and the programs that it runs. Knows nothing of certificates.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Standard output and standard error, as loud as they were asked to be.
#[derive(Debug)]
pub(super) struct Console {
    verbose: bool,
    quiet: bool,
}

impl Console {
    pub(super) fn new(verbose: bool, quiet: bool) -> Self {
        Self { verbose, quiet }
    }

    /// What was done.
    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            println!("{text}");
        }
    }

    /// How it is done.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose {
            println!("{text}");
        }
    }

    /// What was not done, while the rest went on.
    #[expect(
        clippy::unused_self,
        reason = "nothing silences warnings; they are asked of the same thing as the rest"
    )]
    pub(super) fn warn(&self, text: &str) {
        eprintln!("warning: {text}");
    }

    /// Why nothing went on.
    #[expect(
        clippy::unused_self,
        reason = "nothing silences errors; they are asked of the same thing as the rest"
    )]
    pub(super) fn error(&self, text: &str) {
        eprintln!("peregrine: {text}");
    }

    /// Runs a program that asks nothing, to its end; returns what it printed.
    ///
    /// # Errors
    /// It could not be run or has failed; with what it said.
    pub(super) fn run(&self, command: &mut Command) -> Result<String, String> {
        self.detail(&format!("Running {}", line(command)));
        let output = command.stdin(Stdio::null()).output().map_err(|error| failed_to_run(command, &error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("{} failed ({}): {said}", name(command), output.status))
    }

    /// Runs a program that may ask at the terminal; returns whether it has succeeded.
    ///
    /// # Errors
    /// It could not be run.
    pub(super) fn run_at_terminal(&self, command: &mut Command) -> Result<bool, String> {
        self.say(&format!("Running {}", line(command)));
        command.status().map(|status| status.success()).map_err(|error| failed_to_run(command, &error))
    }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn failed_to_run(command: &Command, error: &io::Error) -> String {
    format!("{} could not be run: {error}", name(command))
}

/// A command as one would type it.
pub(super) fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Where a program lies. Those for administrators are looked for where the search path of users does not lead.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| Path::is_file(program))
}
