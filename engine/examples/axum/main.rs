//! An axum application, with layers of tower-http, on this engine instead of hyper and tokio.
//!
//! It takes the flags of every app: `cargo run --release --features tower --example axum -- --urls http://*:8080`.

mod router;

use peregrine::prelude::*;

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    // As hyper, which does not tell of itself.
    app.configure(|options| options.server_header = false);
    app.tower(router::router());
    app.run()
}
