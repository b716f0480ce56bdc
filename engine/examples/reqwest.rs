//! A handler that asks another server with reqwest, which is built on tokio: the feature `tokio` makes that work.
//!
//! `curl -i localhost:5000/relay`: what the backend says, a second server of this program on a port of its own.
//! `curl -i localhost:5000/unreachable`: a backend that cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use peregrine::prelude::*;
use peregrine::{Options, Server};

/// How to ask the backend, and where it is. The client keeps connections, so one serves all requests.
struct Backend {
    client: reqwest::Client,
    url: String,
}

/// What is said at `url`, with its status.
async fn ask(client: &reqwest::Client, url: &str) -> Result<(u16, String), reqwest::Error> {
    let answer = client.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn relay(Shared(backend): Shared<Backend>) -> Result<(u16, String)> {
    ask(&backend.client, &backend.url).await.map_err(bad_gateway)
}

async fn unreachable(Shared(backend): Shared<Backend>) -> Result<(u16, String)> {
    // Nobody listens on port 0.
    ask(&backend.client, "http://127.0.0.1:0").await.map_err(bad_gateway)
}

fn bad_gateway(error: reqwest::Error) -> Error {
    Error::new(502).with_detail("the backend does not answer").with_cause(error)
}

/// What is relayed.
fn start_backend() -> Result<Server> {
    let mut options = Options::default();
    options.urls = vec!["http://127.0.0.1:0".to_owned()];
    options.workers = Some(1);
    let mut app = App::with_options(options);
    app.get("/", || (203, "the backend says hello"));
    Ok(app.start()?)
}

fn main() -> Result<()> {
    let backend = start_backend()?;
    let mut app = App::from_args()?;
    app.shared(Arc::new(Backend {
        client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?,
        url: backend.urls()[0].clone(),
    }));
    app.get("/relay", relay).get("/unreachable", unreachable);
    app.run()
}
