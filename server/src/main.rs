//! The command `peregrine`: serves the demo application, with every flag that an application gets.

mod demo;

use std::process::ExitCode;

use clap::Parser;
use peregrine::prelude::*;
use peregrine::{Flags, Options};

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
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    match serve(CommandLine::parse().flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peregrine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: Flags) -> Result<()> {
    let mut options = Options::default();
    flags.apply(&mut options);
    let mut app = App::with_options(options);
    demo::map(&mut app);
    app.run()
}
