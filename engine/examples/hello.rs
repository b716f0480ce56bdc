//! The least there is: `cargo run --example hello`, then `curl http://localhost:5000/`.

use peregrine::prelude::*;

fn hello(_: &Request, response: &mut Response) {
    response.text("Hello, World!");
}

async fn greet(Path(name): Path<String>) -> String {
    format!("Hello, {name}!")
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.get("/", hello);
    app.get("/{name}", greet);
    app.run()
}
