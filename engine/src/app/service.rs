//! All that answers requests on one worker: its routes, and its state.
//!
//! Owns the choice between what is called at once, what becomes a task, and what is answered without a handler.

use std::rc::Rc;

use peregrine_parser::TargetForm;
use peregrine_pool::Slots;

use super::handler::Call;
use super::router::{Entry, Resolved, Router};
use super::{MakeState, RouteLimits, middleware};
use crate::conn::{Admission, Called, Common, ConnectionInfo, Service, Shared, Streaming};
use crate::http::{Context, Kept, Request, Response, WorkerInfo};
use crate::proto::h1::{BodyLimits, ResponseWriter};
use crate::proto::{Rate, RequestParts};

/// What an application is made of, for any worker.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) router: Router,
    pub(crate) states: Vec<MakeState>,
    pub(crate) shared: Vec<std::sync::Arc<dyn std::any::Any + Send + Sync>>,
    #[cfg(feature = "tower")]
    pub(crate) mounts: Vec<super::MakeMount>,
}

/// See the module's text.
pub(crate) struct AppService {
    router: Router,
    context: Rc<Context>,
    #[cfg(feature = "tower")]
    mounts: Vec<Rc<dyn super::Mount>>,
}

impl Blueprint {
    /// The service of the worker that the calling thread is. What makes state may panic.
    pub(crate) fn service(self, worker: WorkerInfo, slots: Slots, common: &Rc<Common>) -> AppService {
        let mut context = Context::new(worker, slots, Rc::clone(common));
        for shared in self.shared {
            context.add_shared(shared);
        }
        for make in &self.states {
            context.add_state(make(&worker));
        }
        AppService {
            router: self.router,
            context: Rc::new(context),
            #[cfg(feature = "tower")]
            mounts: self.mounts.iter().map(|make| make()).collect(),
        }
    }
}

/// What answers a request.
enum Found<'a> {
    Handler(&'a Resolved),
    /// `OPTIONS *` asks for the server as a whole.
    Server,
    Nobody,
}

impl Router {
    #[inline]
    fn find<'a>(&'a self, entry: Option<&'a Entry>, parts: &RequestParts<'_>) -> Found<'a> {
        let own = entry.and_then(|entry| entry.handler(parts.method));
        match (own, parts.form) {
            (Some(handler), _) => Found::Handler(handler),
            (None, TargetForm::Asterisk) => Found::Server,
            (None, _) if entry.is_some() => Found::Nobody,
            (None, TargetForm::Authority) => self.connect.as_ref().map_or(Found::Nobody, Found::Handler),
            (None, _) => {
                self.fallback(parts.path).map_or(Found::Nobody, |(handler, _)| Found::Handler(handler))
            }
        }
    }

    fn limits(&self, entry: Option<&Entry>, parts: &RequestParts<'_>) -> RouteLimits {
        match entry {
            Some(entry) => entry.limits.unwrap_or(self.limits),
            None => self.fallback(parts.path).map_or(self.limits, |(_, limits)| limits),
        }
    }
}

impl Service for AppService {
    #[inline]
    fn call(
        &mut self,
        parts: &RequestParts<'_>,
        connection: &ConnectionInfo,
        writer: &mut ResponseWriter<'_>,
    ) -> Called {
        let Self { router, context, .. } = self;
        router.look_up(parts.path, |entry, params| {
            let response = &mut Response::new(writer);
            let request = || Request::new(parts, params, connection, context, None);
            match router.find(entry, parts) {
                Found::Handler(Resolved::Plain(Call::Sync(handler))) => handler(&request(), response),
                Found::Handler(Resolved::Plain(Call::Async(handler))) => {
                    return handler(&request(), response).map_or(Called::Answered, Called::Begun);
                }
                #[cfg(feature = "tower")]
                Found::Handler(Resolved::Plain(Call::Mounted(number))) => {
                    let mount = &self.mounts[*number];
                    return Called::Begun(mount.begin(parts, connection, &context.slots, None));
                }
                Found::Handler(resolved) if resolved.streams() => return Called::Streams,
                Found::Handler(Resolved::Plain(Call::Stream(_))) => return Called::Streams,
                Found::Handler(Resolved::Chained(chain)) => {
                    return Called::Begun(middleware::begin(chain, Kept::of(&request(), None), context));
                }
                Found::Server => Router::answer_for_server(response),
                Found::Nobody => match &router.nobody {
                    None => router.answer_without_handler(entry, parts.method, response),
                    Some(chain) => {
                        let (status, allow) = router.refusal(entry, parts.method);
                        let refusal = Some((status, allow.map(str::to_owned)));
                        return Called::Begun(middleware::begin(
                            chain,
                            Kept::of(&request(), refusal),
                            context,
                        ));
                    }
                },
            }
            Called::Answered
        })
    }

    fn admit(&self, parts: &RequestParts<'_>) -> Admission {
        self.router.look_up(parts.path, |entry, _| {
            let limits = self.router.limits(entry, parts);
            let limits = BodyLimits {
                max_bytes: limits.max_request_body_size.unwrap_or(u64::MAX),
                min_rate: limits.min_request_body_data_rate.map(Rate::from),
            };
            match self.router.find(entry, parts) {
                Found::Handler(resolved) if resolved.streams() => Admission::Stream(limits),
                Found::Handler(_) => Admission::Whole(limits),
                Found::Server | Found::Nobody => Admission::Unwanted,
            }
        })
    }

    fn stream(&mut self, parts: &RequestParts<'_>, exchange: Rc<Shared>) -> Streaming {
        let Self { router, context, .. } = self;
        router.look_up(parts.path, |entry, params| {
            let request = Request::new(parts, params, &exchange.info, context, Some(&exchange));
            let task = match router.find(entry, parts) {
                Found::Handler(Resolved::Plain(Call::Stream(handler))) => handler(&request),
                #[cfg(feature = "tower")]
                Found::Handler(Resolved::Plain(Call::Mounted(number))) => {
                    let shared = Some(Rc::clone(&exchange));
                    self.mounts[*number].begin(parts, &exchange.info, &context.slots, shared)
                }
                Found::Handler(Resolved::Chained(chain)) => {
                    middleware::begin(chain, Kept::of(&request, None), context)
                }
                _ => unreachable!("only what `call` or `admit` has found to be streamed"),
            };
            Streaming {
                task,
                min_response_rate: router.limits(entry, parts).min_response_data_rate.map(Rate::from),
            }
        })
    }
}
