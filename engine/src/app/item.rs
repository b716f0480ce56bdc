//! Handlers without a value: functions, and closures that capture nothing, as plain function pointers.
//!
//! Owns the one step that the language has no safe word for: to have a zero-sized function again, inside a function
//! pointer that carries nothing. It must not know what handlers do.
//!
//! Invariant `ITEM-SEEN`: a value of the type was given to this module before any pointer that conjures it was made.
//! It is `Copy`, so that one more of it takes nothing from anybody; `'static`, so that it is never too late for it; and
//! `Send`, because pointers go to every worker's thread.

#![allow(unsafe_code, reason = "makes zero-sized values")]

use std::ptr::NonNull;

use super::handler::{AsyncHandler, StreamHandler, SyncHandler};
use crate::conn::Task;
use crate::http::{Request, Response};

/// Calls a handler that answers at once.
pub(super) trait CallSync<F> {
    fn call(item: F, request: &Request<'_>, response: &mut Response<'_, '_>);
}

/// Calls a handler that answers by a future; `None` if it has answered already.
pub(super) trait CallAsync<F> {
    fn call(item: F, request: &Request<'_>, response: &mut Response<'_, '_>) -> Option<Task>;
}

/// Calls a handler that streams.
pub(super) trait CallStream<F> {
    fn call(item: F, request: &Request<'_>) -> Task;
}

/// One more of a function that needs no memory.
///
/// # Safety
/// ITEM-SEEN holds for `F`.
unsafe fn conjure<F: Copy + Send + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a handler must not capture anything: give it state with `App::state` or `App::shared`"
        );
    }
    // SAFETY: there is no byte that could be wrong, and values of the type exist.
    unsafe { NonNull::<F>::dangling().read() }
}

pub(super) fn sync<F: Copy + Send + 'static, C: CallSync<F>>(_seen: F) -> SyncHandler {
    // SAFETY: ITEM-SEEN: it is the argument.
    |request, response| C::call(unsafe { conjure::<F>() }, request, response)
}

pub(super) fn asynchronous<F: Copy + Send + 'static, C: CallAsync<F>>(_seen: F) -> AsyncHandler {
    // SAFETY: ITEM-SEEN: it is the argument.
    |request, response| C::call(unsafe { conjure::<F>() }, request, response)
}

pub(super) fn stream<F: Copy + Send + 'static, C: CallStream<F>>(_seen: F) -> StreamHandler {
    // SAFETY: ITEM-SEEN: it is the argument.
    |request| C::call(unsafe { conjure::<F>() }, request)
}
