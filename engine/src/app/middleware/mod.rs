//! Middleware: what stands around handlers.
//!
//! Owns the form of it ([`Middleware`], [`Next`]), the chain of a route as it is made at the start, and what this crate
//! brings along (`builtin`). A route without middleware knows nothing of this. It must not know routes.

mod builtin;
mod https;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use peregrine_pool::Placed;
use pin_project_lite::pin_project;

use super::handler::Call;
use crate::conn::{Task, Work, task};
use crate::http::{Context as Worker, Error, Kept, Reply, Request, Respond, Response, Status};
use crate::proto::h1::ResponseWriter;

pub use builtin::{Access, RequestId, access, catch_panic, request_id, timeout};
pub use https::{Hsts, HttpsRedirection, hsts, https_redirection};

/// A response on its way.
type Replying<'a> = Placed<dyn Future<Output = Reply> + 'a>;

/// What stands between the server and handlers: an `async` function of the request and what comes next. It runs around
/// sync and async handlers alike, on the worker, and costs nothing where there is none.
///
/// ```
/// use peregrine::prelude::*;
///
/// async fn only_with_key(request: &Request<'_>, next: Next<'_>) -> Result<Reply> {
///     if request.field("X-Key") != Some("secret") {
///         return Err(Error::new(401));
///     }
///     let mut reply = next.run().await;
///     reply.field("Cache-Control", "private");
///     Ok(reply)
/// }
///
/// let mut app = App::new();
/// let mut admin = app.group("/admin");
/// admin.middleware(only_with_key);
/// admin.get("/", || "welcome");
/// ```
///
/// A closure may capture what it needs, if that is `Send` and `Sync`: all workers share it. For what a worker has of
/// its own there is [`Request::state`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no middleware",
    label = "is no middleware",
    note = "middleware is `async fn(request: &Request<'_>, next: Next<'_>) -> R` where `R` can be returned from a handler; \
            a closure is `async |request: &Request<'_>, next: Next<'_>| ...`, and captures only what is `Send + Sync`"
)]
pub trait Middleware: Send + Sync + 'static {
    /// Begins to handle a request.
    #[doc(hidden)]
    fn handle<'a>(&'a self, request: &'a Request<'a>, next: Next<'a>) -> Replying<'a>;
}

impl<F, R> Middleware for F
where
    F: for<'a> AsyncFn(&'a Request<'a>, Next<'a>) -> R + Send + Sync + 'static,
    R: Respond,
{
    fn handle<'a>(&'a self, request: &'a Request<'a>, next: Next<'a>) -> Replying<'a> {
        let replying = async move { self(request, next).await.into_reply(request) };
        request.context().slots.place(replying, |replying| replying as &mut (dyn Future<Output = Reply> + 'a))
    }
}

/// Where a chain ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Handler(Call),
    /// No handler is there, see [`Kept::refusal`].
    Nobody,
}

/// The middleware of a route, the outermost first, and what it stands around.
pub(crate) struct Chain {
    pub(crate) layers: Box<[Arc<dyn Middleware>]>,
    pub(crate) end: End,
}

impl Chain {
    /// Whether its handler reads or writes bodies in pieces.
    pub(super) fn streams(&self) -> bool {
        matches!(self.end, End::Handler(call) if call.streams())
    }
}

/// The rest of a request's way: further middleware, and the handler.
pub struct Next<'a> {
    chain: &'a Chain,
    /// The next of its layers.
    at: usize,
    request: &'a Request<'a>,
}

impl<'a> Next<'a> {
    /// Lets the rest handle the request. Dropping the future drops whatever runs in there.
    pub async fn run(self) -> Reply {
        let Self { chain, at, request } = self;
        match chain.layers.get(at) {
            Some(layer) => layer.handle(request, Next { chain, at: at + 1, request }).await,
            None => end(chain.end, request).await,
        }
    }
}

impl std::fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// Lets the handler handle the request.
async fn end(end: End, request: &Request<'_>) -> Reply {
    let mut reply = Reply::new(request);
    match end {
        End::Handler(Call::Sync(handler)) => {
            reply.edit(|response| handler(request, response));
        }
        End::Handler(Call::Async(handler)) => {
            let begun = reply.write(|writer| handler(request, &mut Response::new(writer))).flatten();
            if let Some(mut task) = begun {
                return finish(&mut task, reply, request).await;
            }
        }
        End::Handler(Call::Stream(handler)) => {
            let mut task = handler(request);
            return finish(&mut task, reply, request).await;
        }
        #[cfg(feature = "tower")]
        End::Handler(Call::Mounted(_)) => unreachable!("refused at the start"),
        End::Nobody => {
            let (status, allow) = request.refusal().unwrap_or((404, None));
            reply = request.reply(Status(status));
            if let Some(allow) = allow {
                reply.field("Allow", allow);
            }
        }
    }
    reply
}

/// Waits for a handler's task. Its response is written to `reply`, unless it sends that itself.
async fn finish(task: &mut Task, mut reply: Reply, request: &Request<'_>) -> Reply {
    let outcome = poll_fn(|context| Work::poll(task.as_mut(), context)).await;
    let has_begun = request.shared().is_some_and(|shared| shared.has_begun());
    match outcome {
        outcome if has_begun => Reply::sent(request, outcome.err()),
        // The connection answers what it has refused itself.
        Err(told) if request.shared().is_some_and(|shared| shared.is_refused()) => {
            Reply::sent(request, Some(told))
        }
        Ok(()) => {
            reply.write(|writer| task.as_mut().respond(writer));
            reply
        }
        Err(told) => request.reply(Error::new(500).with_cause(told)),
    }
}

pin_project! {
    /// A chain at work.
    struct Chained<F> {
        #[pin]
        future: F,
        reply: Option<Reply>,
        kept: Option<Rc<Kept>>,
    }
}

impl<F: Future<Output = Reply>> Work for Chained<F> {
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let this = self.project();
        let Poll::Ready(reply) = this.future.poll(context) else { return Poll::Pending };
        let kept = this.kept.take();
        let has_begun = kept.as_ref().and_then(|kept| kept.shared()).is_some_and(|shared| shared.has_begun());
        if let Some(kept) = kept {
            kept.give_back();
        }
        Poll::Ready(match reply {
            reply if reply.is_sent() => reply.failure().map_or(Ok(()), Err),
            // Whatever it answers now cannot be sent, and what was sent is not whole.
            _ if has_begun => Err("its middleware answered when the response had begun".to_owned()),
            reply => {
                *this.reply = Some(reply);
                Ok(())
            }
        })
    }

    fn has_response(&self) -> bool {
        self.reply.is_some()
    }

    fn respond(self: Pin<&mut Self>, response: &mut ResponseWriter<'_>) {
        if let Some(reply) = self.project().reply.take() {
            reply.respond(&mut Response::new(response));
        }
    }

    fn part(&self) {
        if let Some(kept) = &self.kept {
            kept.part();
        }
    }
}

/// Begins to handle a request by a chain.
pub(super) fn begin(chain: &Arc<Chain>, kept: Rc<Kept>, context: &Worker) -> Task {
    let (chain, inner) = (Arc::clone(chain), Rc::clone(&kept));
    let future = async move {
        let parts = inner.parts();
        let request = inner.request(&parts);
        Next { chain: &chain, at: 0, request: &request }.run().await
    };
    task(&context.slots, Chained { future, reply: None, kept: Some(kept) })
}
