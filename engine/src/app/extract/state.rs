//! The application's state as handlers take it.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::FromRequest;
use crate::http::{Error, Needs, Request};

/// The worker's own value of a type, which [`App::state`](crate::App::state) makes. It needs no lock, nor to be
/// `Send`: only this worker's handlers see it.
///
/// ```
/// use std::cell::Cell;
///
/// use peregrine::prelude::*;
///
/// struct Hits(Cell<u64>);
///
/// fn count(State(hits): State<Hits>) -> String {
///     hits.0.set(hits.0.get() + 1);
///     format!("{} on this worker", hits.0.get())
/// }
///
/// let mut app = App::new();
/// app.state(|_worker| Hits(Cell::new(0)));
/// app.get("/", count);
/// ```
#[derive(Debug)]
pub struct State<T>(pub Rc<T>);

impl<T: 'static> FromRequest for State<T> {
    #[inline]
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        request.context().state().map(Self).ok_or_else(missing::<T>)
    }

    fn needs(needs: &mut Needs) {
        needs.state::<T>();
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The value of a type that all workers share, which [`App::shared`](crate::App::shared) was given.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use peregrine::prelude::*;
///
/// fn count(Shared(hits): Shared<AtomicU64>) -> String {
///     format!("{} in all", hits.fetch_add(1, Ordering::Relaxed) + 1)
/// }
///
/// let mut app = App::new();
/// app.shared(Arc::new(AtomicU64::new(0)));
/// app.get("/", count);
/// ```
#[derive(Debug)]
pub struct Shared<T>(pub Arc<T>);

impl<T: Send + Sync + 'static> FromRequest for Shared<T> {
    #[inline]
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        request.context().shared().map(Self).ok_or_else(missing::<T>)
    }

    fn needs(needs: &mut Needs) {
        needs.shared::<T>();
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What middleware has attached to the request by [`Request::insert`]. Where nothing of the type is attached the answer
/// is 500.
#[derive(Debug)]
pub struct Extension<T>(pub Rc<T>);

impl<T: 'static> FromRequest for Extension<T> {
    fn from_request(request: &Request<'_>) -> Result<Self, Error> {
        request.extension().map(Self).ok_or_else(|| {
            let name = std::any::type_name::<T>();
            Error::refusal(500, format!("no middleware has attached a value of the type {name}"))
        })
    }
}

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Only for extractors that are called by others: what a handler itself takes is looked for at the start.
#[cold]
fn missing<T>() -> Error {
    Error::refusal(500, format!("the application has no state of the type {}", std::any::type_name::<T>()))
}
