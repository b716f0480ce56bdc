//! The router of the engine's axum example, on the engine: the example itself, built like its other half,
//! `router-serve`.

#[path = "../../../../../engine/examples/axum/router.rs"]
mod router;

use peregrine::prelude::*;

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.configure(|options| options.server_header = false);
    app.tower(router::router());
    app.run()
}
