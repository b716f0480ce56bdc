//! Servers inside the test process.

#![allow(dead_code, reason = "every test binary uses another part of it")]

pub(crate) mod client;

use std::env;

use peregrine::{DriverChoice, Options};

/// Options for a server on a port of its own, with one worker that keeps to no CPU. `PEREGRINE_DRIVER` names
/// the driver, as it does for the command.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.urls = vec!["http://127.0.0.1:0".to_owned()];
    options.workers = Some(1);
    options.pin = false;
    options.driver = match env::var("PEREGRINE_DRIVER").as_deref() {
        Ok("epoll") => DriverChoice::Epoll,
        Ok("io_uring") => DriverChoice::IoUring,
        Ok("auto" | "") | Err(_) => DriverChoice::Auto,
        Ok(other) => panic!("no driver: PEREGRINE_DRIVER={other}"),
    };
    options
}
