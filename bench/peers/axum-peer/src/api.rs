//! The routes that need nothing but the request, with typed extractors. They know no database.

use axum::extract::{Path, Query};
use axum::routing::{get, post};
use axum::{Json, Router};
use peer_api::{Detail, Order, Page, Receipt, User};

pub fn routes() -> Router {
    Router::new()
        .route("/plaintext", get(plaintext))
        .route("/users/{id}", get(user))
        .route("/users/{id}/orders", post(order))
}

async fn plaintext() -> &'static str {
    "Hello, World!"
}

async fn user(Path(id): Path<u64>, Query(detail): Query<Detail>) -> Json<User> {
    Json(User::of(id, &detail))
}

async fn order(Path(id): Path<u64>, Query(page): Query<Page>, Json(order): Json<Order>) -> Json<Receipt> {
    Json(Receipt::of(id, order, &page))
}
