//! A server inside another program: configured by code alone, started and ended by it, on a port of the system's choice.
//!
//! The flag `--urls` is the program's own here, to show that none is the engine's.

use std::io::Read;
use std::time::Duration;

use peregrine::prelude::*;
use peregrine::{DriverChoice, Options};

fn main() -> Result<()> {
    let mut options = Options::default();
    options.urls = match std::env::args().skip_while(|argument| argument != "--urls").nth(1) {
        Some(urls) => urls.split(';').map(str::to_owned).collect(),
        None => vec!["http://127.0.0.1:0".to_owned()],
    };
    options.workers = Some(1);
    options.pin = false;
    options.driver = DriverChoice::Auto;
    options.server_header = false;
    options.shutdown_timeout = Duration::from_secs(5);
    options.limits.max_request_body_size = Some(64 * 1024);

    let mut app = App::with_options(options);
    app.get("/", || "embedded");
    let server = app.start()?;
    for address in server.addresses() {
        println!("Now listening on: http://{address}");
    }
    println!("End the input to end the server.");
    // The program's own work goes here; the server has threads of its own.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.shutdown()?;
    println!("Ended.");
    Ok(())
}
