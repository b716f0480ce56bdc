//! A database over the worker's own sockets: the routes that frameworks are compared by.
//!
//! ```text
//! export DATABASE_URL=$(scripts/postgres.sh start /tmp/example-db auto)
//! cargo run --example postgres --features tokio-io
//! curl -i localhost:5000/db
//! curl -i localhost:5000/queries?queries=3
//! curl -i localhost:5000/fortunes
//! curl -i localhost:5000/updates?queries=3
//! ```

mod fortunes;
mod pool;
mod routes;
mod world;

use std::env;

use peregrine::prelude::*;

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    let url = env::var("DATABASE_URL").map_err(|_| Error::new(500).with_detail("DATABASE_URL is not set"))?;
    routes::add(&mut app, url.parse()?);
    app.run()
}
