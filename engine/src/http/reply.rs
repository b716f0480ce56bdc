//! A response as a value: what middleware is handed, may change, and hands on.
//!
//! Owns the response's bytes between the handler that wrote them and the connection that sends them.

use std::fmt;
use std::rc::Rc;

use peregrine_pool::Lease;

use super::{Request, Respond, Response};
use crate::conn::Common;
use crate::proto::h1::{Draft, ResponseWriter, Terms};

/// A response that [`Next::run`](crate::Next::run) returns, and that middleware returns.
///
/// One that a handler has sent itself, piece by piece, is [`is_sent`](Self::is_sent), and cannot be changed any more:
/// what is to be in its head too is said before by [`Request::response_field`].
pub struct Reply {
    common: Rc<Common>,
    /// The block that it lies in; without memory for one it lies on the heap.
    lease: Option<Lease>,
    /// `None` once it is sent.
    draft: Option<Draft>,
    /// Why a response that was sent is not whole.
    failure: Option<String>,
}

impl Reply {
    /// 200 without a body.
    pub(crate) fn new(request: &Request<'_>) -> Self {
        let common = &request.context().common;
        let mut lease = common.blocks.lease();
        let block = lease.as_deref_mut().unwrap_or_default();
        let draft = common.with_preamble(|preamble| {
            let mut writer = ResponseWriter::new(block, preamble, Terms::default());
            writer.begin();
            request.with_response_fields(|lines| writer.add_lines(lines));
            writer.park()
        });
        Self { common: Rc::clone(common), lease, draft: Some(draft), failure: None }
    }

    /// A response that has been sent already, all of it unless there is a failure.
    pub(crate) fn sent(request: &Request<'_>, failure: Option<String>) -> Self {
        Self { common: Rc::clone(&request.context().common), lease: None, draft: None, failure }
    }

    /// Lets `write` write to it, if it is not sent.
    pub(crate) fn write<T>(&mut self, write: impl FnOnce(&mut ResponseWriter<'_>) -> T) -> Option<T> {
        let draft = self.draft.take()?;
        let block = self.lease.as_deref_mut().unwrap_or_default();
        let (draft, written) = self.common.with_preamble(|preamble| {
            let mut writer = ResponseWriter::resume(block, preamble, draft);
            let written = write(&mut writer);
            (writer.park(), written)
        });
        self.draft = Some(draft);
        Some(written)
    }

    /// Changes it as a handler does. Does nothing if it is sent.
    pub fn edit(&mut self, change: impl FnOnce(&mut Response<'_, '_>)) -> &mut Self {
        self.write(|writer| change(&mut Response::new(writer)));
        self
    }

    /// Sets the status, as [`Response::status`].
    pub fn status(&mut self, status: u16) -> &mut Self {
        self.edit(|response| {
            response.status(status);
        })
    }

    /// Adds a field, as [`Response::field`].
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.edit(|response| {
            response.field(name, value);
        })
    }

    /// The status; `None` if the response was sent by its handler.
    #[must_use]
    pub fn current_status(&self) -> Option<u16> {
        self.draft.as_ref().map(Draft::status)
    }

    /// Whether its handler has sent it itself.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.draft.is_none()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.current_status()).finish_non_exhaustive()
    }
}

impl Respond for Reply {
    fn respond(mut self, response: &mut Response<'_, '_>) {
        if let Some(draft) = self.draft.take() {
            response.adopt(self.lease.as_deref().unwrap_or_default(), draft);
        }
    }

    fn into_reply(self, _: &Request<'_>) -> Reply {
        self
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}
