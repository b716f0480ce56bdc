//! From functions of many forms to three kinds of function pointers.
//!
//! Owns [`Handler`] and what calls a handler: its extractors first, then itself, then its response. Each form is
//! compiled for itself; nothing is looked up or boxed when a request comes. It must not know routes.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::extract::{Extract, FromRequest};
use super::item::{self, CallAsync, CallStream, CallSync};
use super::middleware::Middleware;
use crate::conn::{Task, Work, task};
use crate::http::{Error, Needs, Request, Respond, Responder, Response};
use crate::proto::h1::ResponseWriter;

/// A handler that answers before it returns.
pub(crate) type SyncHandler = fn(&Request<'_>, &mut Response<'_, '_>);

/// One that answers by a task, unless it has answered already.
pub(crate) type AsyncHandler = fn(&Request<'_>, &mut Response<'_, '_>) -> Option<Task>;

/// One that reads or writes bodies in pieces, in a task.
pub(crate) type StreamHandler = fn(&Request<'_>) -> Task;

/// A handler, compiled. It can be registered like the function that it was.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) call: Call,
    /// What its extractors need of the application.
    pub(crate) needs: fn(&mut Needs),
    /// What the function is called.
    pub(crate) name: &'static str,
    /// The middleware of its own, the outermost first.
    pub(crate) layers: Vec<Arc<dyn Middleware>>,
}

impl Endpoint {
    fn new<F>(call: Call, needs: fn(&mut Needs)) -> Self {
        Self { call, needs, name: std::any::type_name::<F>(), layers: Vec::new() }
    }

    /// The same in an application that has so many mounted ones already.
    pub(super) fn renumbered(self, mounts: usize) -> Self {
        #[cfg(feature = "tower")]
        if let Call::Mounted(number) = self.call {
            return Self { call: Call::Mounted(number + mounts), ..self };
        }
        let _ = mounts;
        self
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.name)
    }
}

/// See [`Endpoint`].
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Sync(SyncHandler),
    Async(AsyncHandler),
    Stream(StreamHandler),
    /// The application of another library that has this number.
    #[cfg(feature = "tower")]
    Mounted(usize),
}

impl Call {
    /// Whether it may read or write bodies in pieces.
    pub(crate) fn streams(self) -> bool {
        match self {
            Self::Sync(_) | Self::Async(_) => false,
            Self::Stream(_) => true,
            #[cfg(feature = "tower")]
            Self::Mounted(_) => true,
        }
    }
}

/// What can be registered for a route: a function, or a closure that captures nothing.
///
/// - `fn(&Request, &mut Response)`: the barest form.
/// - `fn(...) -> R` with up to eight extractors ([`FromRequest`], or `&Request`) and a response ([`Respond`]).
///   What the response borrows from `&Request` is not copied.
/// - `async fn(...) -> R`, the same with extractors that own what they extract.
/// - `async fn(Exchange) -> R`, which reads and writes bodies piece by piece: see [`Exchange`](crate::Exchange).
///
/// A handler runs on the thread of the worker that received the request, and that worker's other connections wait for
/// it meanwhile: one that blocks (on a lock, a file, a thread) stops all of them. What waits belongs into an `async`
/// handler. An async handler that does not wait for anything costs hardly more than another.
///
/// What a closure captures would be made once and used by all workers. It is refused: state belongs into
/// [`App::state`](crate::App::state) or [`App::shared`](crate::App::shared).
///
/// ```compile_fail
/// let name = "Ada".to_owned();
/// let mut app = peregrine::App::new();
/// app.get("/", move || name.clone());
/// ```
///
/// Nor is anything captured that could be copied:
///
/// ```compile_fail
/// let number = 7;
/// let mut app = peregrine::App::new();
/// app.get("/", move || number.to_string());
/// ```
///
/// A panic is answered with 500 and ends the connection; the worker lives on. This needs `panic = "unwind"`, the
/// default of every profile: with `abort` a panic ends the process. When the client disconnects, the future of an
/// async handler is dropped where it waits; see [`detach`](crate::detach).
///
/// `M` is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle requests",
    label = "is no handler",
    note = "a handler is `fn(&Request, &mut Response)`, or a function with up to 8 extractors whose return value \
            implements `Respond`; async functions take extractors that own their values",
    note = "the types of a closure's parameters must be written: `|request: &Request, response: &mut Response| ...`"
)]
pub trait Handler<M>: Sized {
    /// Compiles it.
    #[doc(hidden)]
    fn endpoint(self) -> Endpoint;

    /// Puts middleware around this handler alone. The one that was put on last is the outermost.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use peregrine::middleware::timeout;
    /// use peregrine::prelude::*;
    ///
    /// async fn report() -> &'static str {
    ///     "all is well"
    /// }
    ///
    /// let mut app = App::new();
    /// app.get("/report", report.with(timeout(Duration::from_secs(60))));
    /// ```
    fn with(self, middleware: impl Middleware) -> Endpoint {
        let mut endpoint = self.endpoint();
        endpoint.layers.insert(0, Arc::new(middleware));
        endpoint
    }
}

/// Marks what is compiled already.
#[doc(hidden)]
pub struct Compiled;

impl Handler<Compiled> for Endpoint {
    fn endpoint(self) -> Endpoint {
        self
    }
}

/// Marks the barest form.
#[doc(hidden)]
pub struct Raw;

/// Marks functions with extractors `T`.
#[doc(hidden)]
pub struct Sync<T>(PhantomData<T>);

/// Marks async functions with extractors `T`.
#[doc(hidden)]
pub struct Async<T>(PhantomData<T>);

impl<F> Handler<Raw> for F
where
    F: Fn(&Request<'_>, &mut Response<'_, '_>) + Copy + Send + 'static,
{
    fn endpoint(self) -> Endpoint {
        Endpoint::new::<F>(Call::Sync(item::sync::<F, Raw>(self)), |_| {})
    }
}

impl<F> CallSync<F> for Raw
where
    F: Fn(&Request<'_>, &mut Response<'_, '_>),
{
    #[inline]
    fn call(item: F, request: &Request<'_>, response: &mut Response<'_, '_>) {
        item(request, response);
    }
}

/// A function that can be called with what extractors `T` find in a request that lives for `'r`.
#[doc(hidden)]
pub trait CallWith<'r, T> {
    /// What it returns then.
    type Output: Respond;

    /// Extracts, and calls.
    fn call_with(&self, request: &'r Request<'r>) -> Result<Self::Output, Error>;
}

impl<F, T> CallSync<F> for Sync<T>
where
    F: for<'r> CallWith<'r, T>,
{
    #[inline]
    fn call(item: F, request: &Request<'_>, response: &mut Response<'_, '_>) {
        match item.call_with(request) {
            Ok(output) => output.respond(response),
            Err(error) => refuse(error, response),
        }
    }
}

/// Answers a request that an extractor has refused.
#[cold]
fn refuse(error: Error, response: &mut Response<'_, '_>) {
    error.respond(response);
}

pin_project! {
    /// A handler whose response is written when it is ready.
    struct Handling<F: Future> {
        #[pin]
        future: F,
        output: Option<F::Output>,
    }
}

impl<F: Future<Output: Respond>> Work for Handling<F> {
    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let this = self.project();
        this.future.poll(context).map(|output| {
            *this.output = Some(output);
            Ok(())
        })
    }

    fn has_response(&self) -> bool {
        self.output.is_some()
    }

    #[inline]
    fn respond(self: Pin<&mut Self>, response: &mut ResponseWriter<'_>) {
        if let Some(output) = self.project().output.take() {
            output.respond(&mut Response::new(response));
        }
    }
}

/// Sends what a handler that may have streamed has returned.
async fn finish<R: Respond>(output: R, responder: Responder, could_send: bool) -> Result<(), String> {
    if !responder.has_begun() {
        // What the connection has refused it answers itself, unless the handler knows better.
        if responder.is_refused()
            && let Some(failure) = output.failure()
        {
            return Err(failure);
        }
        if could_send && output.is_nothing() {
            return Err("it ended without a response".to_owned());
        }
        return output.stream(responder).await;
    }
    // The response is out, but an error tells that it is not whole.
    output.failure().map_or(Ok(()), Err)
}

macro_rules! handlers {
    ($($extractor:ident),*) => {
        impl<'r, F, R, $($extractor),*> CallWith<'r, ($($extractor,)*)> for F
        where
            F: Fn($($extractor::Item<'r>),*) -> R,
            R: Respond,
            $($extractor: Extract,)*
        {
            type Output = R;

            #[inline]
            #[allow(unused_variables, reason = "there may be no extractor")]
            fn call_with(&self, request: &'r Request<'r>) -> Result<R, Error> {
                Ok(self($($extractor::extract(request)?),*))
            }
        }

        impl<F, R, $($extractor),*> Handler<Sync<($($extractor,)*)>> for F
        where
            // The first bound is where the compiler finds the extractors, the second is what is called.
            F: Fn($($extractor),*) -> R + Copy + Send + 'static,
            F: for<'r> CallWith<'r, ($($extractor,)*)>,
            R: Respond,
            $($extractor: Extract,)*
        {
            fn endpoint(self) -> Endpoint {
                const {
                    assert!(
                        !R::STREAMS $(&& !$extractor::STREAMS)*,
                        "a handler that streams must be an async function"
                    );
                }
                let call = Call::Sync(item::sync::<F, Sync<($($extractor,)*)>>(self));
                #[allow(unused_variables, reason = "there may be no extractor")]
                Endpoint::new::<F>(call, |needs| { $($extractor::needs(needs);)* })
            }
        }

        impl<F, Fut, $($extractor),*> CallAsync<F> for Async<($($extractor,)*)>
        where
            F: Fn($($extractor),*) -> Fut,
            Fut: Future<Output: Respond> + 'static,
            $($extractor: FromRequest,)*
        {
            #[inline]
            fn call(item: F, request: &Request<'_>, response: &mut Response<'_, '_>) -> Option<Task> {
                let begin = || Ok(item($($extractor::from_request(request)?),*));
                match begin() {
                    Ok(future) => Some(task(&request.context().slots, Handling { future, output: None })),
                    Err(error) => {
                        refuse(error, response);
                        None
                    }
                }
            }
        }

        impl<F, Fut, $($extractor),*> CallStream<F> for Async<($($extractor,)*)>
        where
            F: Fn($($extractor),*) -> Fut,
            Fut: Future<Output: Respond> + 'static,
            $($extractor: FromRequest,)*
        {
            fn call(item: F, request: &Request<'_>) -> Task {
                let could_send = false $(|| $extractor::ANSWERS)*;
                let responder = Responder::of(request);
                let begin = || Ok::<_, Error>(item($($extractor::from_request(request)?),*));
                let begun = begin();
                task(&request.context().slots, async move {
                    let Some(responder) = responder else {
                        return Err("its bodies cannot be streamed".to_owned());
                    };
                    match begun {
                        Ok(future) => finish(future.await, responder, could_send).await,
                        Err(error) => error.stream(responder).await,
                    }
                })
            }
        }

        impl<F, Fut, $($extractor),*> Handler<Async<($($extractor,)*)>> for F
        where
            F: Fn($($extractor),*) -> Fut + Copy + Send + 'static,
            Fut: Future<Output: Respond> + 'static,
            $($extractor: FromRequest + 'static,)*
        {
            fn endpoint(self) -> Endpoint {
                let call = if const { <Fut::Output as Respond>::STREAMS $(|| $extractor::STREAMS)* } {
                    Call::Stream(item::stream::<F, Async<($($extractor,)*)>>(self))
                } else {
                    Call::Async(item::asynchronous::<F, Async<($($extractor,)*)>>(self))
                };
                #[allow(unused_variables, reason = "there may be no extractor")]
                Endpoint::new::<F>(call, |needs| { $(<$extractor as FromRequest>::needs(needs);)* })
            }
        }
    };
}

handlers!();
handlers!(T1);
handlers!(T1, T2);
handlers!(T1, T2, T3);
handlers!(T1, T2, T3, T4);
handlers!(T1, T2, T3, T4, T5);
handlers!(T1, T2, T3, T4, T5, T6);
handlers!(T1, T2, T3, T4, T5, T6, T7);
handlers!(T1, T2, T3, T4, T5, T6, T7, T8);
