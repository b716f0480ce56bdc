//! The middleware that this crate brings along.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Middleware, Next};
use crate::app::FromRequest;
use crate::http::{Error, Method, Reply, Request};
use crate::runtime::{drop_panic, timeout as within};

/// Answers 504 if the handler, and the middleware around which this stands, take longer than `limit`: their future is
/// dropped. A response that has begun by then is aborted. ASP.NET's request timeouts.
///
/// A handler that blocks the worker cannot be stopped by this, nor by anything else.
///
/// ```
/// use std::time::Duration;
///
/// use peregrine::middleware::timeout;
/// # let mut app = peregrine::App::new();
/// app.middleware(timeout(Duration::from_secs(10)));
/// ```
#[must_use]
pub fn timeout(limit: Duration) -> impl Middleware {
    async move |_: &Request<'_>, next: Next<'_>| match within(limit, next.run()).await {
        Ok(reply) => Ok::<_, Error>(reply),
        Err(elapsed) => Err(Error::from(elapsed)),
    }
}

/// Answers 500 if a handler, or the middleware around which this stands, panics, so that middleware outside of this
/// goes on as after any response. Without it a panic is answered with 500 too, and ends the connection and the whole
/// chain.
#[must_use]
pub fn catch_panic() -> impl Middleware {
    async |request: &Request<'_>, next: Next<'_>| {
        let mut running = pin!(next.run());
        std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
                Ok(polled) => polled,
                Err(panic) => {
                    drop_panic(panic);
                    Poll::Ready(request.reply(Error::new(500).with_cause("its handler has panicked")))
                }
            }
        })
        .await
    }
}

/// The name of a request, which [`request_id`] attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refused with 500 where no [`request_id`] is on the request's way.
impl FromRequest for RequestId {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        let id: Option<Rc<Self>> = request.extension();
        id.map(|id| (*id).clone())
            .ok_or_else(|| Error::new(500).with_cause("there is no middleware request_id"))
    }
}

/// The longest name that is taken from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Gives each request a name: that of its field `X-Request-Id` if it is of 1 to 128 visible ASCII characters, otherwise
/// a new one that no other request of this process has. The response tells it in the field of the same name; handlers
/// take it as [`RequestId`].
#[must_use]
pub fn request_id() -> impl Middleware {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    async |request: &Request<'_>, next: Next<'_>| {
        let is_fine = |id: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let id = match request.field("X-Request-Id").filter(is_fine) {
            Some(id) => id.to_owned(),
            None => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                format!("{:x}-{number:x}", request.connection_id())
            }
        };
        request.response_field("X-Request-Id", &id).expect("a token and a field value");
        request.insert(RequestId(id));
        next.run().await
    }
}

/// What [`access`] tells of a request when it is answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The method.
    pub method: Method,
    /// The method as it came.
    pub method_name: &'a str,
    /// The path, decoded. It is the client's: escape it before it reaches a terminal.
    pub path: &'a str,
    /// The status; `None` if the handler has sent the response itself.
    pub status: Option<u16>,
    /// From the beginning of the answer to its end.
    pub duration: Duration,
    /// The peer's address; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The name of the request, if [`request_id`] stands outside of this.
    pub request_id: Option<Rc<RequestId>>,
}

/// Calls `tell` for each request that is answered, also by 404 and 405. Requests that are no HTTP, or break a limit, do
/// not come so far: of these tells [`Options::log_rejections`](crate::Options::log_rejections).
///
/// ```
/// use peregrine::middleware::access;
/// # let mut app = peregrine::App::new();
/// app.middleware(access(|access| {
///     println!("{} {:?} {:?} {:?}", access.method_name, access.path, access.status, access.duration);
/// }));
/// ```
pub fn access(tell: impl Fn(&Access<'_>) + Send + Sync + 'static) -> impl Middleware {
    async move |request: &Request<'_>, next: Next<'_>| {
        let begun = Instant::now();
        let reply: Reply = next.run().await;
        tell(&Access {
            method: request.method(),
            method_name: request.method_name(),
            path: request.path(),
            status: reply.current_status(),
            duration: begun.elapsed(),
            peer: request.peer_address(),
            request_id: request.extension(),
        });
        reply
    }
}
