//! Server-sent events: a page that counts, one connection for each that looks.
//!
//! `curl -N localhost:5000/events?every=200`, or a browser at `/`.

use std::time::Duration;

use futures_util::stream;
use peregrine::prelude::*;
use peregrine::{Event, Sse};
use serde::Deserialize;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Events</title><h1 id=tick>...</h1>
<script>new EventSource('/events').onmessage = event => tick.textContent = event.data</script>";

#[derive(Deserialize)]
struct Pace {
    /// Milliseconds between two events.
    #[serde(default = "a_second")]
    every: u64,
    /// How many there are.
    #[serde(default = "no_end")]
    count: u64,
}

fn a_second() -> u64 {
    1000
}

fn no_end() -> u64 {
    u64::MAX
}

async fn events(Query(pace): Query<Pace>) -> Sse<impl stream::Stream<Item = Event>> {
    let ticks = peregrine::interval(Duration::from_millis(pace.every.max(1)));
    // The stream, and with it the timer, is dropped when the client goes.
    Sse::new(stream::unfold((ticks, 0), move |(mut ticks, number)| async move {
        if number == pace.count {
            return None;
        }
        ticks.tick().await;
        let event = Event::new(format!("tick {number}")).with_id(&number.to_string());
        Some((event, (ticks, number + 1)))
    }))
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.get("/", || Html(PAGE));
    app.get("/events", events);
    app.run()
}
