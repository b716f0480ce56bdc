//! axum on hyper, HTTP/1 alone, on one current-thread runtime, as its users deploy it for throughput: connections
//! are served by hyper itself, so that pipelined responses are flushed together. It knows where to listen and how
//! to serve a connection; the routes lie in `api` and `database`.
//!
//! `--listen ADDR` names the address; port 0 takes a free one. `--postgres URL`, or else DATABASE_URL, names the
//! database; without one the routes that need it do not exist. `--pool N` is how many connections it gets.

mod api;
mod database;
// What is asked of the database is the same code for Peregrine's peer, so that the servers are what differs.
#[path = "../../../../engine/examples/postgres/fortunes.rs"]
mod fortunes;
#[path = "../../../../engine/examples/postgres/world.rs"]
#[expect(dead_code, reason = "here a connection that has ended is not made anew")]
mod world;

use std::env;
use std::error::Error;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

const USAGE: &str = "usage: axum-peer --listen ADDRESS:PORT [--postgres URL] [--pool N]";

struct Options {
    address: String,
    postgres: Option<String>,
    pool: usize,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let (mut address, mut postgres, mut pool) = (None, env::var("DATABASE_URL").ok(), 8);
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--listen" => address = Some(value),
            "--postgres" => postgres = Some(value),
            "--pool" => pool = value.parse().ok().filter(|&connections| connections > 0)?,
            _ => return None,
        }
    }
    Some(Options { address: address?, postgres, pool })
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options(env::args().skip(1)).ok_or(USAGE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(&options))
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut router = api::routes();
    if let Some(url) = &options.postgres {
        router = router.merge(database::routes(url, options.pool).await?);
    }
    let listener = TcpListener::bind(&options.address).await?;
    println!("Now listening on: http://{}", listener.local_addr()?);
    accept(&listener, &router).await
}

async fn accept(listener: &TcpListener, router: &Router) -> Result<(), Box<dyn Error>> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // The load generator drops its connections at the end of a run: such an end is no news.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
