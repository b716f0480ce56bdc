//! Handlers that stream, for the conversations of [`wire`](super::wire).

#![allow(dead_code, reason = "every test binary uses another part of it")]

use peregrine::{App, Exchange, ExchangeError, Method, Request, Response};

/// Registers all of them.
pub(crate) fn register(app: &mut App) {
    app.on(Method::Post, "/pour", pour);
    app.on(Method::Get, "/stream", stream);
    app.on(Method::Get, "/trailers", trailers);
    app.on(Method::Get, "/trailers/forbidden", forbidden_trailers);
    app.on(Method::Get, "/sized/{size}", sized);
    app.on(Method::Get, "/hints", hints);
    app.on(Method::Post, "/early", early);
    app.on(Method::Post, "/silent", silent);
    app.on(Method::Get, "/upgrade", upgrade);
    app.on(Method::Post, "/upgrade", upgrade);
    app.on(Method::Post, "/pour/trailers", pour_trailers);
    app.post("/request/trailers", request_trailers);
    app.connect(tunnel);
}

/// Answers with the whole body, as `/echo` does, but reads it piece by piece.
async fn pour(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut body = Vec::new();
    while let Some(chunk) = exchange.body().read().await? {
        body.extend_from_slice(&chunk);
    }
    exchange.respond(|response| response.body("", body))
}

/// Sends a body without knowing its length first.
async fn stream(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.start(|_| {})?;
    stream.write(b"ab").await?;
    stream.flush().await?;
    stream.send(&b"cd"[..]).await?;
    stream.finish()
}

async fn trailers(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.start(|head| {
        head.field("Trailer", "X-T");
    })?;
    stream.write(b"ab").await?;
    stream.trailer("X-T", "c")?;
    stream.finish()
}

/// Tells how many of the forbidden names are taken.
async fn forbidden_trailers(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut stream = exchange.start(|_| {})?;
    let names = ["Content-Length", "Transfer-Encoding", "Host", "Trailer", "Content-Type", "Set Cookie", ""];
    let taken = names.iter().filter(|name| stream.trailer(name, "1").is_ok()).count();
    let split = usize::from(stream.trailer("X-T", "a\r\nX: b").is_ok());
    stream.write(format!("{}", taken + split).as_bytes()).await?;
    stream.finish()
}

/// Promises four bytes and writes as many as the path says.
async fn sized(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let size = exchange.request().param("size").and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut stream = exchange.start(|head| {
        head.content_length(4);
    })?;
    stream.write(&b"abcdefgh"[..size]).await?;
    stream.finish()
}

async fn hints(mut exchange: Exchange) -> Result<(), ExchangeError> {
    exchange.inform(103, &[("Link", "</a>; rel=preload")])?;
    exchange.respond(|response| response.body("", &b"hinted"[..]))
}

/// Answers without a look at the body.
async fn early(mut exchange: Exchange) -> Result<(), ExchangeError> {
    exchange.respond(|response| response.body("", &b"early"[..]))
}

async fn silent(_: Exchange) -> Result<(), ExchangeError> {
    Ok(())
}

/// Speaks `echo`, which says everything again.
async fn upgrade(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let Ok(mut upgraded) = exchange.upgrade("echo", |_| {}) else {
        return exchange.respond(|response| response.body("", &b"not upgraded"[..]));
    };
    while let Some(chunk) = upgraded.read().await? {
        upgraded.write(&chunk).await?;
        upgraded.flush().await?;
    }
    Ok(())
}

async fn tunnel(mut exchange: Exchange) -> Result<(), ExchangeError> {
    let mut upgraded = exchange.accept_connect(|_| {})?;
    while let Some(chunk) = upgraded.read().await? {
        upgraded.write(&chunk).await?;
        upgraded.flush().await?;
    }
    Ok(())
}

fn shown<'a>(trailers: impl Iterator<Item = (&'a str, &'a [u8])>, fields: usize) -> Vec<u8> {
    let mut all = format!("{fields}|").into_bytes();
    for (name, value) in trailers {
        all.extend_from_slice(&[name.as_bytes(), b"=", value, b"|"].concat());
    }
    all
}

/// How many fields there are, and the trailers.
fn request_trailers(request: &Request, response: &mut Response) {
    response.body("", shown(request.trailers(), request.fields().count()));
}

async fn pour_trailers(mut exchange: Exchange) -> Result<(), ExchangeError> {
    while exchange.body().read().await?.is_some() {}
    let fields = exchange.request().fields().count();
    let body = exchange.body().trailers(|trailers| shown(trailers, fields));
    exchange.respond(|response| response.body("", body))
}
