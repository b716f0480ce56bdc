//! What one connection is asked: rows of `world` and `fortune`, by statements that are prepared once. It must not know
//! HTTP, nor what runs it: bench/peers/axum-peer asks with the same code.

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::fortunes::{self, Fortune};

/// The rows of the table `world` have the numbers from 1 to this, and values in the same range.
const WORLDS: i32 = 10_000;

#[derive(Clone, Copy, Serialize)]
pub(crate) struct World {
    id: i32,
    #[serde(rename = "randomNumber")]
    random_number: i32,
}

/// One connection, and its statements.
pub(crate) struct Database {
    client: Client,
    world: Statement,
    fortunes: Statement,
    update: Statement,
}

impl Database {
    pub(crate) async fn prepare(client: Client) -> Result<Self, Error> {
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

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Some row.
    pub(crate) async fn world(&self) -> Result<World, Error> {
        let id = fastrand::i32(1..=WORLDS);
        let row = self.client.query_one(&self.world, &[&id]).await?;
        Ok(World { id: row.try_get(0)?, random_number: row.try_get(1)? })
    }

    /// One query for each, all sent before the first answer comes.
    pub(crate) async fn worlds(&self, count: usize) -> Result<Vec<World>, Error> {
        try_join_all((0..count).map(|_| self.world())).await
    }

    /// Some rows, after a new number is stored in each by one statement.
    pub(crate) async fn updates(&self, count: usize) -> Result<Vec<World>, Error> {
        let mut worlds = self.worlds(count).await?;
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
        let ids: Vec<i32> = worlds.iter().map(|world| world.id).collect();
        let numbers: Vec<i32> = worlds.iter().map(|world| world.random_number).collect();
        self.client.execute(&self.update, &[&ids, &numbers]).await?;
        Ok(worlds)
    }

    /// The page of all fortunes.
    pub(crate) async fn fortunes(&self) -> Result<String, Error> {
        let rows = self.client.query(&self.fortunes, &[]).await?;
        let fortunes = rows.iter().map(|row| Ok(Fortune { id: row.try_get(0)?, message: row.try_get(1)? }));
        Ok(fortunes::page(fortunes.collect::<Result<_, Error>>()?))
    }
}
