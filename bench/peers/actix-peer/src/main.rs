//! actix-web with one worker, with typed extractors. `--listen ADDR` names the address; port 0 takes a free one.

use std::error::Error;

use actix_web::rt::System;
use actix_web::web::{Json, Path, Query, get, post};
use actix_web::{App, HttpServer};
use peer_api::{Detail, Order, Page, Receipt, User};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = match [(); 3].map(|()| arguments.next()) {
        [Some(flag), Some(address), None] if flag == "--listen" => address,
        _ => return Err("usage: actix-peer --listen ADDRESS:PORT".into()),
    };
    System::new().block_on(serve(&address))
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let app = || {
        App::new()
            .route("/plaintext", get().to(plaintext))
            .route("/users/{id}", get().to(user))
            .route("/users/{id}/orders", post().to(order))
    };
    let server = HttpServer::new(app).workers(1).tcp_nodelay(true).bind(address)?;
    for address in server.addrs() {
        println!("Now listening on: http://{address}");
    }
    Ok(server.run().await?)
}

async fn plaintext() -> &'static str {
    "Hello, World!"
}

async fn user(id: Path<u64>, detail: Query<Detail>) -> Json<User> {
    Json(User::of(*id, &detail))
}

async fn order(id: Path<u64>, page: Query<Page>, order: Json<Order>) -> Json<Receipt> {
    Json(Receipt::of(*id, order.into_inner(), &page))
}
