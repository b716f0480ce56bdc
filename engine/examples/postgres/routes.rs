//! What is asked over HTTP. It must not know how a connection comes to be, nor SQL.

use std::error::Error as StdError;
use std::io;

use peregrine::prelude::*;
use serde::Deserialize;
use tokio_postgres::Config;
use tokio_postgres::error::SqlState;

use super::pool::Pool;
use super::world::World;

/// How many rows one request may ask for.
const QUERIES_MOST: u32 = 500;

/// What a database says that is about to go, or not yet there, or that has no room.
const AWAY: [SqlState; 4] = [
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CRASH_SHUTDOWN,
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::TOO_MANY_CONNECTIONS,
];

/// Every worker has connections of its own, which no other thread knows: no lock, and nothing is `Send`.
pub(crate) fn add(app: &mut App, config: Config) {
    app.state(move |_worker| Pool::new(config.clone()));
    app.get("/db", db);
    app.get("/queries", queries);
    app.get("/fortunes", fortunes);
    app.get("/updates", updates);
}

#[derive(Deserialize)]
struct Count {
    queries: Option<String>,
}

impl Count {
    /// What is missing or no number counts as 1, what is out of range as the nearest that is not.
    fn get(&self) -> usize {
        let count = self.queries.as_deref().and_then(|text| text.parse().ok()).unwrap_or(1);
        count.clamp(1, QUERIES_MOST) as usize
    }
}

async fn db(State(pool): State<Pool>) -> Result<Json<World>> {
    pool.next().await?.world().await.map(Json).map_err(failed)
}

async fn queries(State(pool): State<Pool>, Query(count): Query<Count>) -> Result<Json<Vec<World>>> {
    pool.next().await?.worlds(count.get()).await.map(Json).map_err(failed)
}

async fn updates(State(pool): State<Pool>, Query(count): Query<Count>) -> Result<Json<Vec<World>>> {
    pool.next().await?.updates(count.get()).await.map(Json).map_err(failed)
}

async fn fortunes(State(pool): State<Pool>) -> Result<Html<String>> {
    pool.next().await?.fortunes().await.map(Html).map_err(failed)
}

/// A query's failure: 503 when the database went away over it, 500 when it is our fault.
fn failed(error: tokio_postgres::Error) -> Error {
    let is_away = error.is_closed()
        || error.code().is_some_and(|code| AWAY.contains(code))
        || error.source().is_some_and(<dyn StdError>::is::<io::Error>);
    if is_away { away(error) } else { error.into() }
}

/// The client may come again: the next request makes another connection.
pub(crate) fn away(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(503).with_detail("the database is away").with_cause(cause)
}
