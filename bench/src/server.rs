//! The servers under load: started pinned to a core, asked for their address, ended by their own process id.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const ANNOUNCEMENT: &str = "Now listening on: ";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A command line by name, not yet started.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// How tables call it.
    pub name: String,
    /// Program and arguments; `{cpu}`, `{listen}` and `{url}` stand for the core and the address to take.
    pub command: String,
}

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub struct Server {
    /// How tables call it.
    pub name: String,
    /// Where it listens, with no path.
    pub url: String,
    process: Child,
}

/// A command pinned to a core from its first instruction on. It dies with this process, however this one ends.
#[must_use]
pub fn on_core(core: usize, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string(), program]);
    command
}

/// Pins this process, and with it the threads that it starts later. Fails without the program `taskset`.
pub fn pin(core: usize) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-c", "-p", &core.to_string(), &process::id().to_string()]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("taskset, core {core}: {status}"))) }
}

impl Server {
    /// Starts a server on a core and waits until it says where it listens.
    pub fn start(recipe: &Recipe, core: usize) -> Result<Self> {
        let words = split(&recipe.command).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("open quote in: {}", recipe.command))
        })?;
        let mut words = words.iter().map(|word| {
            let word = word.replace("{cpu}", &core.to_string());
            word.replace("{listen}", "127.0.0.1:0").replace("{url}", "http://127.0.0.1:0")
        });
        let program = words
            .next()
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("{} has no command", recipe.name)))?;
        let mut command = on_core(core, &program);
        let process = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut server = Self { name: recipe.name.clone(), url: String::new(), process };
        server.url = server.announced()?;
        Ok(server)
    }

    /// The process, which is the server itself: what starts it hands its own process over.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Fails if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Error::other(format!("{} ended, {status}", self.name))),
        }
    }

    fn announced(&mut self) -> Result<String> {
        let output = self.process.stdout.take().ok_or_else(|| Error::other("no standard output"))?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end, so that a server that goes on talking never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = announcement(&line) {
                    let _ = sender.send(url.to_owned());
                }
            }
        });
        receiver.recv_timeout(START_TIMEOUT).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                Error::new(ErrorKind::TimedOut, format!("{} did not say where it listens", self.name))
            }
            mpsc::RecvTimeoutError::Disconnected => {
                Error::other(format!("{} ended before it said where it listens", self.name))
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn announcement(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(ANNOUNCEMENT)?;
    rest.split_ascii_whitespace().next().map(|url| url.trim_end_matches('/'))
}

/// Splits at spaces, but not inside single or double quotes. `None` if a quote stays open.
fn split(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in command.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_split_outside_quotes() {
        let words = |command| split(command).expect("closed quotes");
        assert_eq!(words("a --b  c"), ["a", "--b", "c"]);
        assert_eq!(words("env 'X=1 2' \"it's\" ''"), ["env", "X=1 2", "it's", ""]);
        assert_eq!(split("a 'b"), None);
    }

    #[test]
    fn an_address_is_found_in_any_log_line() {
        assert_eq!(
            announcement("info: Now listening on: http://127.0.0.1:80/ (h1)"),
            Some("http://127.0.0.1:80")
        );
        assert_eq!(announcement("Application started."), None);
    }

    #[test]
    fn a_server_that_ends_early_is_an_error() {
        let error = started("Nothing here").announced().expect_err("it listens nowhere");
        assert_eq!(error.to_string(), "test ended before it said where it listens");
    }

    #[test]
    fn a_server_says_where_it_listens() {
        let mut server = started("Now listening on: http://127.0.0.1:80");
        assert_eq!(server.announced().expect("it does"), "http://127.0.0.1:80");
    }

    /// A process that prints one line and ends; pinned to no core, for that takes programs which are not
    /// everywhere.
    fn started(line: &str) -> Server {
        let process = Command::new("echo").arg(line).stdout(Stdio::piped()).spawn().expect("a program");
        Server { name: "test".into(), url: String::new(), process }
    }
}
