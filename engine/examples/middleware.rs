//! Middleware of one's own and of the crate, around an application, a group and a handler.
//!
//! `curl -i localhost:5000/`, `curl -i localhost:5000/admin -H 'X-Key: secret'`

use std::time::{Duration, Instant};

use peregrine::Extension;
use peregrine::middleware::{access, catch_panic, request_id, timeout};
use peregrine::prelude::*;

/// Who asks, as [`authenticate`] has found out.
struct User(&'static str);

/// Lets those in who have the key, and attaches who they are.
async fn authenticate(request: &Request<'_>, next: Next<'_>) -> Result<Reply> {
    if request.field("X-Key") != Some("secret") {
        return Err(Error::new(401).with_detail("this takes a key"));
    }
    request.insert(User("admin"));
    Ok(next.run().await)
}

/// Tells how long the answer has taken.
async fn timing(_: &Request<'_>, next: Next<'_>) -> Reply {
    let begun = Instant::now();
    let mut reply = next.run().await;
    reply.field("Server-Timing", format!("app;dur={:.3}", begun.elapsed().as_secs_f64() * 1000.0));
    reply
}

async fn slow() -> &'static str {
    peregrine::sleep(Duration::from_secs(60)).await;
    "at last"
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    // From the outside to the inside.
    app.middleware(request_id());
    app.middleware(access(|access| {
        println!("{} {:?} {:?} in {:?}", access.method_name, access.path, access.status, access.duration);
    }));
    app.middleware(catch_panic());
    app.middleware(timing);

    app.get("/", || "open to all");
    app.get("/panic", || -> () { panic!("as asked") });
    app.get("/slow", slow.with(timeout(Duration::from_millis(200))));
    let mut admin = app.group("/admin");
    admin.middleware(authenticate);
    admin.get("/", |Extension(user): Extension<User>| format!("hello {}", user.0));
    app.run()
}
