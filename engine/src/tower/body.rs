//! The body of a request, as a service of tower reads it.
//!
//! Owns how pieces get from an exchange, which stays on its worker's thread, to a body that may be on any. It must not
//! know heads or responses.
//!
//! Most requests have no body or one that is here already; these need no more than the bytes. Any other is fed: the
//! reader says that it wants a piece, the service's task fetches it. There is never more than one piece in between, so
//! that a reader that does not come on holds back the client.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::request::{stated_length, trailers};
use crate::conn::{ExchangeError, Shared};
use crate::proto::RequestParts;

/// The body of a request, as [`App::tower`](crate::App::tower) hands it to its service. It may be read on any thread.
///
/// What is not read when the response is out is drained, as of any [`Exchange`](crate::Exchange).
#[derive(Default)]
pub struct IncomingBody(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Whole {
        data: Bytes,
        trailers: Option<Box<HeaderMap>>,
    },
    Fed {
        channel: Arc<Channel>,
        /// Bytes of the length that was promised, if one was.
        left: Option<u64>,
    },
}

/// What the reader and the feeder of a body share.
#[derive(Default)]
struct Channel(Mutex<State>);

#[derive(Default)]
struct State {
    next: Option<Result<Frame<Bytes>, ExchangeError>>,
    /// Nothing comes after `next`.
    is_over: bool,
    /// The reader waits for `next`.
    is_wanted: bool,
    /// The reader is gone.
    is_dropped: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

impl Channel {
    /// No code of others runs under the lock, so that nothing is torn if somebody has panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, and what must feed it if it is not here as a whole.
pub(super) fn incoming(parts: &RequestParts<'_>, is_streamed: bool) -> (IncomingBody, Option<Feeder>) {
    if is_streamed {
        let channel = Arc::<Channel>::default();
        let kind = Kind::Fed { channel: Arc::clone(&channel), left: stated_length(parts) };
        return (IncomingBody(kind), Some(Feeder(channel)));
    }
    let trailers = if parts.trailers.fields.is_empty() { None } else { trailers(parts.trailers) };
    if parts.body.is_empty() && trailers.is_none() {
        return (IncomingBody(Kind::Empty), None);
    }
    let kind = Kind::Whole { data: Bytes::copy_from_slice(parts.body), trailers: trailers.map(Box::new) };
    (IncomingBody(kind), None)
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole { data, .. } if !data.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))))
            }
            Kind::Whole { trailers, .. } => Poll::Ready(trailers.take().map(|map| Ok(Frame::trailers(*map)))),
            Kind::Fed { channel, left } => {
                let mut state = channel.lock();
                if let Some(next) = state.next.take() {
                    drop(state);
                    if let (Some(left), Some(data)) =
                        (left, next.as_ref().ok().and_then(|frame| frame.data_ref()))
                    {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(next));
                }
                if state.is_over {
                    return Poll::Ready(None);
                }
                state.is_wanted = true;
                let before = state.reader.replace(context.waker().clone());
                // The task that feeds looks by itself when it has polled this.
                let feeder = state.feeder.take_if(|feeder| !feeder.will_wake(context.waker()));
                drop(state);
                drop(before);
                if let Some(feeder) = feeder {
                    feeder.wake();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole { data, trailers } => data.is_empty() && trailers.is_none(),
            Kind::Fed { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole { data, .. } => SizeHint::with_exact(data.len() as u64),
            Kind::Fed { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        let Kind::Fed { channel, .. } = &self.0 else { return };
        let mut state = channel.lock();
        state.is_dropped = true;
        // A read that waits must not blame the client any longer.
        let feeder = if state.is_wanted { state.feeder.take() } else { None };
        let dropped = (state.next.take(), state.reader.take());
        drop(state);
        drop(dropped);
        if let Some(feeder) = feeder {
            feeder.wake();
        }
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IncomingBody").field(&self.size_hint()).finish()
    }
}

/// The other end of a body: what fetches its pieces.
pub(super) struct Feeder(Arc<Channel>);

impl Feeder {
    /// Fetches a piece if one is wanted. Returns whether the task that calls has now something to do at once.
    pub(super) fn feed(&self, shared: &Shared, context: &mut Context<'_>) -> bool {
        let mut state = self.0.lock();
        if state.is_over {
            return false;
        }
        if state.is_dropped {
            state.is_over = true;
            drop(state);
            shared.stop_reading();
            return false;
        }
        if state.feeder.as_ref().is_none_or(|feeder| !feeder.will_wake(context.waker())) {
            state.feeder = Some(context.waker().clone());
        }
        let fetched = if state.is_wanted { shared.poll_read(context) } else { Poll::Pending };
        let Poll::Ready(fetched) = fetched else { return false };
        state.is_wanted = false;
        state.is_over = !matches!(fetched, Ok(Some(_)));
        state.next = match fetched {
            Ok(Some(piece)) => Some(Ok(Frame::data(Bytes::from(piece.into_vec())))),
            Ok(None) => shared.with_trailers(trailers).map(|map| Ok(Frame::trailers(map))),
            Err(error) => Some(Err(error)),
        };
        let reader = state.reader.take();
        drop(state);
        match reader {
            Some(reader) if reader.will_wake(context.waker()) => true,
            Some(reader) => {
                reader.wake();
                false
            }
            None => false,
        }
    }
}

/// Whoever still reads elsewhere finds that there is no more.
impl Drop for Feeder {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !std::mem::replace(&mut state.is_over, true) {
            state.next = Some(Err(ExchangeError::Disconnected));
        }
        let (reader, feeder) = (state.reader.take(), state.feeder.take());
        drop(state);
        drop(feeder);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
