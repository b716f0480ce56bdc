//! The command `peregrine`: serves the demo application, with every flag that an application gets, and makes
//! development certificates.

mod demo;
mod dev_certs;

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use peregrine::prelude::*;
use peregrine::{Flags, Options};

use dev_certs::DevCerts;

/// What [`demo::map`] serves, for `--help`.
const ROUTES: &str = "\
The demo application:
  GET  /            a page that says which routes there are
  GET  /plaintext   Hello, World!
  GET  /json        the same as JSON
  GET  /users/{id}  a parameter of the path
  POST /echo        the request's body";

/// The command line.
#[derive(Parser)]
#[command(name = "peregrine", version, about = "Serves the demo application of Peregrine over HTTP")]
#[command(after_help = ROUTES, max_term_width = 110)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What else the command does.
#[derive(Subcommand)]
enum Command {
    /// Development certificates: make, trust, export and remove the one for localhost
    #[command(subcommand)]
    DevCerts(DevCerts),
}

fn main() -> ExitCode {
    let args = dev_certs::spell(env::args_os());
    let is_for_certificates = dev_certs::is_meant(&args);
    match CommandLine::try_parse_from(args) {
        Ok(CommandLine { command: Some(Command::DevCerts(work)), .. }) => {
            work.run().unwrap_or_else(|(kind, why)| wrong_use(&usage_error(kind, why)))
        }
        Ok(CommandLine { command: None, flags }) => match serve(flags) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("peregrine: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) if is_for_certificates => wrong_use(&error),
        Err(error) => error.exit(),
    }
}

/// Clap's own exit code means something else to `dev-certs`.
fn wrong_use(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(dev_certs::WRONG_USE) } else { ExitCode::SUCCESS }
}

/// An error as clap makes them, with the usage of `dev-certs https`.
fn usage_error(kind: ErrorKind, why: &str) -> clap::Error {
    let mut command = CommandLine::command();
    command.build();
    let https = ["dev-certs", "https"].iter().try_fold(&mut command, |at, name| at.find_subcommand_mut(name));
    https.expect("a subcommand of ours").error(kind, why)
}

fn serve(flags: Flags) -> Result<()> {
    let mut options = Options::default();
    flags.apply(&mut options);
    let mut app = App::with_options(options);
    demo::map(&mut app);
    app.run()
}
