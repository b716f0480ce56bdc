//! Servers inside the test process.

#![allow(dead_code, reason = "every test binary uses another part of it")]

pub(crate) mod client;
pub(crate) mod streams;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wire;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{env, process};

use peregrine::{DriverChoice, Options};

/// A loopback address that no other process nor test uses.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, 77 + COUNT.fetch_add(1, Ordering::Relaxed), high, low)
}

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
