//! Responses whose bodies come from streams: pieces of any length, and server-sent events.
//!
//! Owns how a stream becomes a body. It knows no framing.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;

use super::{Body, Error, Respond, Responder, Response};
use crate::runtime::sleep;

/// The next item of a stream.
async fn next<S: Stream>(stream: &mut Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// What a handler that streams can only be an `async` function for.
fn refuse(response: &mut Response<'_, '_>) {
    Error::refusal(500, "a stream was to be sent as a whole").respond(response);
}

/// A response whose body comes from a stream of pieces, each sent when it is ready. The stream waits while the client
/// has more than [`max_response_buffer_size`](crate::Limits::max_response_buffer_size) to read, and is dropped when the
/// client is gone. An error of the stream aborts the connection, so that nobody takes a part for all, and is logged.
///
/// ```
/// use peregrine::prelude::*;
/// use peregrine::StreamBody;
///
/// async fn numbers() -> StreamBody<impl futures_core::Stream<Item = Result<String>>> {
///     let mut numbers = 1..=1000;
///     let pieces = std::iter::from_fn(move || numbers.next().map(|number| Ok(format!("{number}\n"))));
///     StreamBody::new("text/plain", futures_util::stream::iter(pieces))
/// }
/// # let mut app = App::new();
/// # app.get("/numbers", numbers);
/// ```
#[derive(Debug)]
pub struct StreamBody<S> {
    content_type: Cow<'static, str>,
    length: Option<u64>,
    stream: S,
}

impl<S> StreamBody<S> {
    /// A body of that type. One that is no field value makes the response a 500.
    pub fn new(content_type: impl Into<Cow<'static, str>>, stream: S) -> Self {
        Self { content_type: content_type.into(), length: None, stream }
    }

    /// Promises a body of so many bytes; otherwise it is sent in the chunked coding.
    #[must_use]
    pub fn with_length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }
}

impl<S, B, E> Respond for StreamBody<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Body>,
    E: Display,
{
    const STREAMS: bool = true;

    fn respond(self, response: &mut Response<'_, '_>) {
        refuse(response);
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        let Self { content_type, length, stream } = self;
        let mut out = responder
            .start(|head| {
                head.field("Content-Type", content_type.as_bytes());
                if let Some(length) = length {
                    head.content_length(length);
                }
            })
            .map_err(|error| error.to_string())?;
        if responder.is_bodiless() {
            // To HEAD, say: nobody would see what the stream takes pains with.
            return out.finish().map_err(|error| error.to_string());
        }
        let mut stream = pin!(stream);
        while let Some(piece) = next(&mut stream).await {
            let piece = piece.map_err(|error| error.to_string())?;
            out.send(piece).await.map_err(|error| error.to_string())?;
        }
        out.finish().map_err(|error| error.to_string())
    }
}

/// One event of [`Sse`].
///
/// ```
/// use peregrine::Event;
///
/// let event = Event::new("two\nlines").named("news").with_id("7");
/// assert_eq!(event.to_string(), "event: news\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    data: String,
}

impl Event {
    /// An event with this data, of any number of lines.
    #[must_use]
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// An event whose data is a value in JSON.
    ///
    /// # Errors
    /// `value` cannot be serialized.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self, Error> {
        Ok(Self::new(serde_json::to_string(value)?))
    }

    /// Names the kind of event, which scripts listen for; without a name it is a `message`. Line breaks in it are
    /// dropped.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(one_line(name));
        self
    }

    /// Gives it the id that a client sends as `Last-Event-ID` when it connects again. Line breaks and zero bytes in it
    /// are dropped.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(one_line(id));
        self
    }

    /// Tells the client to wait for so long before it connects again, in whole milliseconds.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// The event on the wire (the HTML standard, section 9.2.6).
impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            writeln!(f, "event: {name}")?;
        }
        if let Some(id) = &self.id {
            writeln!(f, "id: {id}")?;
        }
        if let Some(retry) = self.retry {
            writeln!(f, "retry: {}", retry.as_millis())?;
        }
        // Each of the three ends a line there.
        let mut rest = &*self.data;
        loop {
            let end = rest.find(['\r', '\n']);
            writeln!(f, "data: {}", &rest[..end.unwrap_or(rest.len())])?;
            let Some(end) = end else { break };
            let after = &rest[end..];
            rest = after.strip_prefix("\r\n").unwrap_or_else(|| &after[1..]);
        }
        f.write_char('\n')
    }
}

/// Server-sent events (`text/event-stream`), one for each item of a stream. So that nobody in between takes a silent
/// connection for a dead one, a comment is sent after 15 s without an event.
///
/// ```
/// use std::time::Duration;
///
/// use peregrine::prelude::*;
/// use peregrine::{Event, Sse};
///
/// async fn ticks() -> Sse<impl futures_core::Stream<Item = Event>> {
///     let ticks = futures_util::stream::unfold(0, |tick| async move {
///         peregrine::sleep(Duration::from_secs(1)).await;
///         Some((Event::new(tick.to_string()), tick + 1))
///     });
///     Sse::new(ticks)
/// }
/// # let mut app = App::new();
/// # app.get("/ticks", ticks);
/// ```
#[derive(Debug)]
pub struct Sse<S> {
    events: S,
    keep_alive: Option<Duration>,
}

/// How long a stream of events may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl<S> Sse<S> {
    /// Events out of a stream.
    pub fn new(events: S) -> Self {
        Self { events, keep_alive: Some(KEEP_ALIVE) }
    }

    /// Changes how long the stream may be silent; `None` for any time.
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: Option<Duration>) -> Self {
        self.keep_alive = keep_alive;
        self
    }
}

impl<S: Stream<Item = Event>> Respond for Sse<S> {
    const STREAMS: bool = true;

    fn respond(self, response: &mut Response<'_, '_>) {
        refuse(response);
    }

    async fn stream(self, responder: Responder) -> Result<(), String> {
        let mut out = responder
            .start(|head| {
                head.field("Content-Type", "text/event-stream").field("Cache-Control", "no-cache");
            })
            .map_err(|error| error.to_string())?;
        if responder.is_bodiless() {
            return out.finish().map_err(|error| error.to_string());
        }
        let mut events = pin!(self.events);
        let mut text = String::new();
        loop {
            let mut silence = self.keep_alive.map(sleep);
            let event = poll_fn(|context| {
                if let Poll::Ready(event) = events.as_mut().poll_next(context) {
                    return Poll::Ready(Some(event));
                }
                match &mut silence {
                    Some(silence) => Pin::new(silence).poll(context).map(|()| None),
                    None => Poll::Pending,
                }
            });
            text.clear();
            match event.await {
                Some(Some(event)) => {
                    let _ = write!(text, "{event}");
                }
                Some(None) => return out.finish().map_err(|error| error.to_string()),
                None => text.push_str(":\n\n"),
            }
            out.write(text.as_bytes()).await.map_err(|error| error.to_string())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_lines_whatever_ends_them() {
        let event = Event::new("a\r\nb\rc\n\nd");
        assert_eq!(event.to_string(), "data: a\ndata: b\ndata: c\ndata: \ndata: d\n\n");
        assert_eq!(Event::new("").to_string(), "data: \n\n");
        let event = Event::new("x").named("a\nb").with_id("1\r\n2\0").with_retry(Duration::from_secs(3));
        assert_eq!(event.to_string(), "event: ab\nid: 12\nretry: 3000\ndata: x\n\n");
    }
}
