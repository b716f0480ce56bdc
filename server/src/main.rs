//! The command `peregrine`: serves the demo application, with every flag that an application gets.

mod demo;

use std::process::ExitCode;

use peregrine::prelude::*;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peregrine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let mut app = App::from_args()?;
    demo::map(&mut app);
    app.run()
}
