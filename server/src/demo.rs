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
    app.on(Method::Post, "/upload", upload);
    app.limits_for("/upload", |limits| limits.max_request_body_size = None);
    app.on(Method::Get, "/download", file);
    app.on(Method::Get, "/download/{bytes}", download);
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

/// Counts a body of any size as it comes.
async fn upload(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut bytes = 0;
    while let Some(chunk) = exchange.body().read().await? {
        bytes += chunk.len() as u64;
    }
    exchange.respond(|response| response.text(&format!("{bytes} bytes")))
}

static PIECE: [u8; 64 * 1024] = [b'.'; 64 * 1024];

/// Sends 10 MiB of a told length, as a file would be.
async fn file(mut exchange: Exchange) -> Result<(), ExchangeError> {
    const PIECES: usize = (10 << 20) / PIECE.len();
    let mut stream = exchange.start(|head| {
        head.field("Content-Type", "text/plain; charset=utf-8");
        head.content_length((PIECES * PIECE.len()) as u64);
    })?;
    for _ in 0..PIECES {
        stream.send(&PIECE).await?;
    }
    stream.finish()
}

/// Sends so many bytes, in chunks that are not copied.
async fn download(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let Some(mut left) = exchange.request().param("bytes").and_then(|bytes| bytes.parse::<usize>().ok())
    else {
        return exchange.respond(|response| response.status(400).text("write a number of bytes"));
    };
    let mut stream = exchange.start(|head| {
        head.field("Content-Type", "text/plain; charset=utf-8");
    })?;
    while left > 0 {
        let piece = left.min(PIECE.len());
        stream.send(&PIECE[..piece]).await?;
        left -= piece;
    }
    stream.finish()
}
