//! Bulk transfers: uploads that are counted as they come, and downloads of any length in pieces of 64 KiB.
//!
//! ```text
//! cargo run --release --example transfer -- --urls http://127.0.0.1:5000
//! curl -T FILE -X POST http://127.0.0.1:5000/upload
//! curl -o FILE http://127.0.0.1:5000/download/1000000000
//! ```

use peregrine::prelude::*;
use peregrine::{Exchange, ExchangeError, Method};

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.on(Method::Post, "/upload", upload);
    app.on(Method::Get, "/download/{bytes}", download);
    app.on(Method::Get, "/copied/{bytes}", copied);
    app.limits_for("/upload", |limits| limits.max_request_body_size = None);
    app.run()
}

/// Answers how many bytes the body has.
async fn upload(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut bytes = 0;
    while let Some(chunk) = exchange.body().read().await? {
        bytes += chunk.len();
    }
    exchange.respond(|response| response.text(&bytes.to_string()))
}

/// Sends from where the bytes lie.
async fn download(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut left = asked_for(&exchange);
    let mut stream = exchange.start(|head| {
        head.field("Content-Type", "application/octet-stream");
    })?;
    while left > 0 {
        let piece = &PIECE[..left.min(PIECE.len())];
        stream.send(piece).await?;
        left -= piece.len();
    }
    stream.finish()
}

/// Has the bytes copied, as a handler must that makes them as it goes.
async fn copied(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut left = asked_for(&exchange);
    let mut stream = exchange.start(|head| {
        head.field("Content-Type", "application/octet-stream");
    })?;
    while left > 0 {
        let piece = &PIECE[..left.min(PIECE.len())];
        stream.write(piece).await?;
        left -= piece.len();
    }
    stream.finish()
}

fn asked_for(exchange: &Exchange) -> usize {
    exchange.request().param("bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
