//! The routes that ask PostgreSQL. Each connection pipelines: no request waits for one to be free, and some requests
//! that come together share one, so that their queries leave in one send, as with Peregrine's peer. Statements are
//! prepared once for each connection.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio_postgres::NoTls;

use crate::world::{Database, World};

/// How many rows one request may ask for.
const QUERIES_MOST: u32 = 500;

/// So many requests at most are gathered for one send.
const GATHERED_MAX: usize = 16;

/// A connection, and how often it was handed out since its task has last sent what it was asked.
struct Place {
    database: Database,
    gathered: Arc<AtomicUsize>,
}

async fn connect(url: &str) -> Result<Place, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let gathered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&gathered);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let ended = poll_fn(|context| {
            count.store(0, Ordering::Relaxed);
            connection.as_mut().poll(context)
        });
        if let Err(error) = ended.await {
            eprintln!("axum-peer: the database is gone: {error}");
        }
    });
    Ok(Place { database: Database::prepare(client).await?, gathered })
}

struct Pool {
    places: Vec<Place>,
    turn: AtomicUsize,
}

impl Pool {
    fn next(&self) -> &Database {
        let place = |turn| &self.places[turn % self.places.len()];
        let turn = self.turn.load(Ordering::Relaxed);
        let gathers = (1..GATHERED_MAX).contains(&place(turn).gathered.load(Ordering::Relaxed));
        let turn = if gathers { turn } else { self.turn.fetch_add(1, Ordering::Relaxed) + 1 };
        place(turn).gathered.fetch_add(1, Ordering::Relaxed);
        &place(turn).database
    }
}

/// Connects, and fails if that does.
pub async fn routes(url: &str, connections: usize) -> Result<Router, Box<dyn Error>> {
    let places = try_join_all((0..connections).map(|_| connect(url))).await?;
    let pool = Pool { places, turn: AtomicUsize::new(0) };
    Ok(Router::new()
        .route("/db", get(db))
        .route("/queries", get(queries))
        .route("/fortunes", get(fortunes))
        .route("/updates", get(updates))
        .with_state(Arc::new(pool)))
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

type Answer<T> = Result<T, StatusCode>;

fn failed(error: tokio_postgres::Error) -> StatusCode {
    eprintln!("axum-peer: {error:?}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn db(State(pool): State<Arc<Pool>>) -> Answer<Json<World>> {
    pool.next().world().await.map(Json).map_err(failed)
}

async fn queries(State(pool): State<Arc<Pool>>, Query(count): Query<Count>) -> Answer<Json<Vec<World>>> {
    pool.next().worlds(count.get()).await.map(Json).map_err(failed)
}

async fn updates(State(pool): State<Arc<Pool>>, Query(count): Query<Count>) -> Answer<Json<Vec<World>>> {
    pool.next().updates(count.get()).await.map(Json).map_err(failed)
}

async fn fortunes(State(pool): State<Arc<Pool>>) -> Answer<Html<String>> {
    pool.next().fortunes().await.map(Html).map_err(failed)
}
