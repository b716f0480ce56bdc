//! The command `peregrine`: serves the demo application, with every flag that an application gets.

mod demo;

use std::process::ExitCode;

use clap::Parser;
use peregrine::prelude::*;
use peregrine::{Flags, Options};

/// The command line.
#[derive(Parser)]
#[command(name = "peregrine", version, about = "Serves the demo application of Peregrine over HTTP")]
#[command(after_help = demo::ROUTES, max_term_width = 110)]
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
