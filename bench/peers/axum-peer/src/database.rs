//! The routes that ask PostgreSQL. Each connection pipelines: a request takes the next one in turn and never waits
//! for it to be free. Statements are prepared once for each connection.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::TryFutureExt;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};

use crate::fortunes::{self, Fortune};

/// The rows of the table `world` have the numbers from 1 to this, and values in the same range.
const WORLDS: i32 = 10_000;
/// How many rows one request may ask for.
const QUERIES_MOST: u32 = 500;

#[derive(Clone, Copy, Serialize)]
struct World {
    id: i32,
    #[serde(rename = "randomNumber")]
    random_number: i32,
}

/// One connection, and its statements.
struct Database {
    client: Client,
    world: Statement,
    fortunes: Statement,
    update: Statement,
}

impl Database {
    async fn connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(
            connection.unwrap_or_else(|error| eprintln!("axum-peer: the database is gone: {error}")),
        );
        // Plans are made once. That of the update takes rows in the order of its arguments, as no plan made for
        // many arguments would.
        client.batch_execute("SET plan_cache_mode = force_generic_plan").await?;
        let world = client.prepare("SELECT id, randomnumber FROM world WHERE id = $1").await?;
        let fortunes = client.prepare("SELECT id, message FROM fortune").await?;
        let update = "UPDATE world SET randomnumber = new.number \
                      FROM (SELECT unnest($1) AS id, unnest($2) AS number) AS new WHERE world.id = new.id";
        let update = client.prepare_typed(update, &[Type::INT4_ARRAY, Type::INT4_ARRAY]).await?;
        Ok(Self { client, world, fortunes, update })
    }

    async fn world(&self) -> Result<World, tokio_postgres::Error> {
        let id = fastrand::i32(1..=WORLDS);
        let row = self.client.query_one(&self.world, &[&id]).await?;
        Ok(World { id: row.try_get(0)?, random_number: row.try_get(1)? })
    }

    /// One query for each, all sent before the first answer comes.
    async fn worlds(&self, count: usize) -> Result<Vec<World>, tokio_postgres::Error> {
        try_join_all((0..count).map(|_| self.world())).await
    }

    async fn update(&self, worlds: &[World]) -> Result<(), tokio_postgres::Error> {
        let ids: Vec<i32> = worlds.iter().map(|world| world.id).collect();
        let numbers: Vec<i32> = worlds.iter().map(|world| world.random_number).collect();
        self.client.execute(&self.update, &[&ids, &numbers]).await?;
        Ok(())
    }

    async fn fortunes(&self) -> Result<Vec<Fortune>, tokio_postgres::Error> {
        let rows = self.client.query(&self.fortunes, &[]).await?;
        rows.iter()
            .map(|row| Ok(Fortune { id: row.try_get(0)?, message: row.try_get::<_, String>(1)?.into() }))
            .collect()
    }
}

struct Pool {
    databases: Vec<Database>,
    turn: AtomicUsize,
}

impl Pool {
    fn next(&self) -> &Database {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.databases[turn % self.databases.len()]
    }
}

/// Connects, and fails if that does.
pub async fn routes(url: &str, connections: usize) -> Result<Router, Box<dyn Error>> {
    let databases = try_join_all((0..connections).map(|_| Database::connect(url))).await?;
    let pool = Pool { databases, turn: AtomicUsize::new(0) };
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
    let database = pool.next();
    let mut worlds = database.worlds(count.get()).await.map_err(failed)?;
    // In this order rows are locked, so that two requests cannot wait for each other.
    worlds.sort_unstable_by_key(|world| world.id);
    for world in &mut worlds {
        world.random_number = fastrand::i32(1..=WORLDS);
    }
    // A row that came up twice gets one number, so that what is answered is what is stored.
    for index in 1..worlds.len() {
        if worlds[index].id == worlds[index - 1].id {
            worlds[index] = worlds[index - 1];
        }
    }
    database.update(&worlds).await.map_err(failed)?;
    Ok(Json(worlds))
}

async fn fortunes(State(pool): State<Arc<Pool>>) -> Answer<Html<String>> {
    let fortunes = pool.next().fortunes().await.map_err(failed)?;
    Ok(Html(fortunes::page(fortunes)))
}
