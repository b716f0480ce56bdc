//! The router of the engine's axum example under `axum::serve`, on one current-thread runtime.
//!
//! `--listen ADDR` names the address; port 0 takes a free one.

#[path = "../../../../../engine/examples/axum/router.rs"]
mod router;

use std::env;
use std::error::Error;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

const USAGE: &str = "usage: router-serve --listen ADDRESS:PORT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [flag, address] = &*arguments else { return Err(USAGE.into()) };
    if flag != "--listen" {
        return Err(USAGE.into());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("Now listening on: http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // A connection that is gone already fails soon by itself.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router::router()).await?)
    })
}
