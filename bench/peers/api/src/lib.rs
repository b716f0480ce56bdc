//! The API that application servers are compared by: what goes in, what comes out and the work between. It knows
//! no server; the README of the bench has the contract in words.

use serde::{Deserialize, Serialize};

/// The query of `POST /users/{id}/orders`.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// How many items the receipt lists at most.
    pub limit: u32,
    /// Told back, and not applied: sorting would cost the same in every server.
    pub sort: Sort,
}

/// What a list may be sorted by.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Price,
    Quantity,
    Sku,
}

/// The body of `POST /users/{id}/orders`.
#[derive(Debug, Deserialize)]
pub struct Order {
    pub customer: String,
    pub items: Vec<Item>,
}

/// One line of an order.
#[derive(Debug, Deserialize)]
pub struct Item {
    pub sku: String,
    pub quantity: u32,
    pub price: f64,
}

/// The answer to `POST /users/{id}/orders`.
#[derive(Debug, Serialize)]
pub struct Receipt {
    pub id: u64,
    pub customer: String,
    /// Of all items of the order, not only of those listed.
    pub total: f64,
    pub items: Vec<Line>,
    pub sort: Sort,
}

/// One line of a receipt.
#[derive(Debug, Serialize)]
pub struct Line {
    pub sku: String,
    pub quantity: u32,
    pub price: f64,
    pub total: f64,
}

impl Receipt {
    /// Lists the first items of an order, and sums up all of them.
    #[must_use]
    pub fn of(id: u64, order: Order, page: &Page) -> Self {
        let total = order.items.iter().map(Item::total).sum();
        let listed = order.items.into_iter().take(page.limit as usize);
        let items = listed.map(|item| {
            let total = item.total();
            Line { sku: item.sku, quantity: item.quantity, price: item.price, total }
        });
        Self { id, customer: order.customer, total, items: items.collect(), sort: page.sort }
    }
}

impl Item {
    fn total(&self) -> f64 {
        f64::from(self.quantity) * self.price
    }
}

/// The query of `GET /users/{id}`.
#[derive(Debug, Deserialize)]
pub struct Detail {
    /// Whether the answer tells the address too.
    #[serde(default)]
    pub verbose: bool,
}

/// The answer to `GET /users/{id}`.
#[derive(Debug, Serialize)]
pub struct User {
    pub id: u64,
    pub name: String,
    /// Absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl User {
    /// Makes up a user.
    #[must_use]
    pub fn of(id: u64, detail: &Detail) -> Self {
        let email = detail.verbose.then(|| format!("user{id}@example.org"));
        Self { id, name: format!("User {id}"), email }
    }
}
