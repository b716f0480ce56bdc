//! A request that has left the block it arrived in: for what runs on when the block is gone.
//!
//! Owns copies of the head and the body, and what middleware has attached to the request. Its buffers are used again.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use peregrine_parser::{Method, TargetForm, Version};

use super::request::Request;
use super::{Context, Respond};
use crate::conn::{ConnectionInfo, Shared};
use crate::proto::{RequestParts, Trailers};

/// The head of a request, kept for a handler that runs on when its block is gone.
#[derive(Default)]
pub(crate) struct KeptHead {
    /// The head, then the parts that may not lie in it.
    bytes: Vec<u8>,
    head: Range<usize>,
    fields: Vec<peregrine_parser::Field>,
    method_name: Range<usize>,
    target: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    /// Names and values.
    params: Vec<(Range<usize>, Range<usize>)>,
    what: Option<What>,
    trailers: Trailers,
}

/// The parts of a head that need no bytes.
#[derive(Clone, Copy)]
struct What {
    method: Method,
    version: Version,
    form: TargetForm,
    may_upgrade: bool,
    may_tunnel: bool,
}

impl KeptHead {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let mut head = Self::default();
        head.keep(request);
        head
    }

    /// Keeps another head, in the same buffers.
    fn keep(&mut self, request: &Request<'_>) {
        let parts = request.parts();
        let bytes = &mut self.bytes;
        bytes.clear();
        let mut keep = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            start..bytes.len()
        };
        self.head = keep(&parts.head[..parts.head_bytes]);
        self.method_name = keep(parts.method_name);
        self.target = keep(parts.target);
        self.path = keep(parts.path);
        self.query = parts.query.map(&mut keep);
        self.params.clear();
        for (name, value) in request.params() {
            self.params.push((keep(name.as_bytes()), keep(value.as_bytes())));
        }
        self.trailers.clone_from(parts.trailers);
        self.fields.clear();
        self.fields.extend_from_slice(parts.fields);
        self.what = Some(What {
            method: parts.method,
            version: parts.version,
            form: parts.form,
            may_upgrade: parts.may_upgrade,
            may_tunnel: parts.may_tunnel,
        });
    }

    /// The parts of the request, with this body.
    pub(crate) fn parts<'a>(&'a self, body: &'a [u8]) -> RequestParts<'a> {
        let What { method, version, form, may_upgrade, may_tunnel } = self.what.expect("a head was kept");
        let part = |range: &Range<usize>| &self.bytes[range.clone()];
        RequestParts {
            method,
            method_name: part(&self.method_name),
            version,
            target: part(&self.target),
            form,
            path: part(&self.path),
            query: self.query.as_ref().map(part),
            fields: &self.fields,
            head: part(&self.head),
            head_bytes: self.head.len(),
            body,
            trailers: &self.trailers,
            may_upgrade,
            may_tunnel,
        }
    }

    /// A parameter of the path, by its place.
    pub(crate) fn param(&self, at: usize) -> Option<(&str, &str)> {
        let (name, value) = self.params.get(at)?;
        let text = |range: &Range<usize>| std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default();
        Some((text(name), text(value)))
    }
}

/// A request on its way through middleware.
#[derive(Default)]
pub(crate) struct Kept {
    head: KeptHead,
    body: Vec<u8>,
    /// `None` while it waits for its next request.
    rest: Option<Rest>,
    extensions: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    /// Field lines that the response begins with.
    response_lines: RefCell<Vec<u8>>,
    /// The status, and perhaps `Allow`, of a request that has no handler.
    refusal: Option<(u16, Option<String>)>,
}

struct Rest {
    context: Rc<Context>,
    info: ConnectionInfo,
    shared: Option<Rc<Shared>>,
}

/// Bodies up to this size leave their memory for the next one.
const SPARE_BODY_BYTES: usize = 64 * 1024;

impl Kept {
    /// Keeps a request.
    pub(crate) fn of(request: &Request<'_>, refusal: Option<(u16, Option<String>)>) -> Rc<Self> {
        let context = request.context();
        let mut kept = context.spare_kept.borrow_mut().take().unwrap_or_default();
        let place = Rc::get_mut(&mut kept).expect("kept only when nobody else had it");
        place.head.keep(request);
        place.body.extend_from_slice(request.body());
        place.refusal = refusal;
        place.rest = Some(Rest {
            context: Rc::clone(context),
            info: request.connection().share(),
            shared: request.shared().map(Rc::clone),
        });
        kept
    }

    /// Gives the place to the next request, unless somebody still has this one.
    pub(crate) fn give_back(mut self: Rc<Self>) {
        let Some(place) = Rc::get_mut(&mut self) else { return };
        place.body.clear();
        place.body.shrink_to(SPARE_BODY_BYTES);
        place.extensions.get_mut().clear();
        place.response_lines.get_mut().clear();
        if let Some(rest) = place.rest.take() {
            rest.context.spare_kept.borrow_mut().give(self);
        }
    }

    fn rest(&self) -> &Rest {
        self.rest.as_ref().expect("a request was kept")
    }

    /// The parts that [`request`](Self::request) borrows.
    pub(crate) fn parts(&self) -> RequestParts<'_> {
        self.head.parts(&self.body)
    }

    pub(crate) fn request<'a>(&'a self, parts: &'a RequestParts<'a>) -> Request<'a> {
        let Rest { context, info, shared } = self.rest();
        Request::of_kept(parts, &self.head, info, context, shared.as_ref(), Some(self))
    }

    /// The connection is gone, whose socket may be another's by now.
    pub(crate) fn part(&self) {
        self.rest().info.detach();
    }

    pub(crate) fn refusal(&self) -> Option<(u16, Option<&str>)> {
        self.refusal.as_ref().map(|(status, allow)| (*status, allow.as_deref()))
    }

    pub(crate) fn shared(&self) -> Option<&Rc<Shared>> {
        self.rest().shared.as_ref()
    }

    pub(crate) fn insert<T: 'static>(&self, value: T) {
        let mut extensions = self.extensions.borrow_mut();
        extensions.retain(|(id, _)| *id != TypeId::of::<T>());
        extensions.push((TypeId::of::<T>(), Rc::new(value)));
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let extensions = self.extensions.borrow();
        let (_, value) = extensions.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Rc::clone(value).downcast().ok()
    }

    pub(crate) fn add_response_line(&self, line: &[u8]) {
        self.response_lines.borrow_mut().extend_from_slice(line);
    }

    pub(crate) fn with_response_lines(&self, look: impl FnOnce(&[u8])) {
        look(&self.response_lines.borrow());
    }
}

/// What every value that can be returned has, for the sake of those that are responses already.
pub(crate) fn draft(value: impl Respond, request: &Request<'_>) -> super::Reply {
    let mut reply = super::Reply::new(request);
    reply.edit(|response| value.respond(response));
    reply
}
