//! The application that servers are compared by, on Peregrine: written as its users would, with no tricks.
//!
//! DATABASE_URL names the database; without one the routes that need it do not exist. They are those of the engine's
//! example.

#[path = "../../../../engine/examples/postgres/fortunes.rs"]
mod fortunes;
#[path = "../../../../engine/examples/postgres/pool.rs"]
mod pool;
#[path = "../../../../engine/examples/postgres/routes.rs"]
mod routes;
#[path = "../../../../engine/examples/postgres/world.rs"]
mod world;

use std::env;

use peer_api::{Detail, Order, Page, Receipt, User};
use peregrine::prelude::*;

async fn order(Path(id): Path<u64>, Query(page): Query<Page>, Json(order): Json<Order>) -> Json<Receipt> {
    Json(Receipt::of(id, order, &page))
}

async fn user(Path(id): Path<u64>, Query(detail): Query<Detail>) -> Json<User> {
    Json(User::of(id, &detail))
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.get("/plaintext", || "Hello, World!");
    app.get("/users/{id}", user);
    app.post("/users/{id}/orders", order);
    if let Ok(url) = env::var("DATABASE_URL") {
        routes::add(&mut app, url.parse()?);
    }
    app.run()
}
