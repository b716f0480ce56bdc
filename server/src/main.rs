//! tmp
use peregrine::prelude::*;
fn main() -> Result<()> { let mut app = App::from_args()?; app.get("/plaintext", |_, r| r.text("Hello, World!")); 
app.get("/json", |_, r| r.json(&[1]));
app.post("/echo", |q, r| r.bytes(q.body()));
app.run() }
