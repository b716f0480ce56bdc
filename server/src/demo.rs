//! The demo application: one route per thing worth trying with `curl` or a load generator.

use peregrine::prelude::*;
use serde::Serialize;

/// Says which routes there are; self-contained.
const WELCOME: &str = include_str!("welcome.html");

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

/// Adds the routes.
pub(crate) fn map(app: &mut App) {
    app.get("/", welcome);
    app.get("/plaintext", plaintext);
    app.get("/json", json);
    app.get("/users/{id}", user);
    app.post("/echo", echo);
}

fn welcome(_: &Request, response: &mut Response) {
    response.body("text/html; charset=utf-8", WELCOME);
}

fn plaintext(_: &Request, response: &mut Response) {
    response.text("Hello, World!");
}

fn json(_: &Request, response: &mut Response) {
    response.json(&Message { message: "Hello, World!" });
}

fn user(request: &Request, response: &mut Response) {
    let id = request.param("id").unwrap_or_default();
    response.text(&format!("User {id}"));
}

/// Sends the body back under the type that it came with.
fn echo(request: &Request, response: &mut Response) {
    if let Some(content_type) = request.field_bytes("Content-Type") {
        response.field("Content-Type", content_type);
    }
    response.bytes(request.body());
}
