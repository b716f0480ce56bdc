//! A request on its way through a service, and the response on its way out.
//!
//! Owns the order of these steps, and the choice between a response that is written as a whole and one that is
//! streamed. It must not know where the request came from.
//!
//! The service is first polled where its request was read: if its response is ready then, and its body with it, both
//! are written among those of the requests before and after. Otherwise the connection makes an exchange of it, which
//! [`Work::attach`] hands over.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::Body;
use peregrine_pool::Payload;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::BoxError;
use super::body::{Feeder, IncomingBody};
use crate::conn::{ExchangeError, PieceToSend, Shared, Work};
use crate::proto::FieldError;
use crate::proto::h1::{Extent, GivenHead, ResponseWriter};

/// The answer to a request that `http` cannot express, or whose service has failed.
struct Refusal {
    status: http::StatusCode,
    told: Option<String>,
}

/// The head of a response and, unless it is streamed, its body.
struct Answer {
    head: http::response::Parts,
    extent: Extent,
    body: Bytes,
}

pin_project! {
    /// See the module's text.
    pub(super) struct Answering<S, F, B> {
        #[pin]
        stage: Stage<S, F, B>,
        // Once the service has answered.
        answer: Option<Answer>,
        is_head: bool,
        sends_trailers: bool,
        shared: Option<Rc<Shared>>,
        feeder: Option<Feeder>,
    }
}

pin_project! {
    #[project = StageParts]
    enum Stage<S, F, B> {
        // The service is asked whether it is ready.
        Asking { service: S, request: Option<http::Request<IncomingBody>> },
        Calling { #[pin] future: F },
        // The response's body is looked at, or sent.
        Answered { #[pin] body: B, is_looked_at: bool, is_started: bool },
        // The response is in `answer`, or this refusal instead.
        Whole { refusal: Option<Refusal> },
    }
}

impl<S, B> Answering<S, S::Future, B>
where
    S: Service<http::Request<IncomingBody>>,
{
    /// Without a request it is answered with 400.
    pub(super) fn new(
        service: S,
        request: Option<http::Request<IncomingBody>>,
        sends_trailers: bool,
        shared: Option<Rc<Shared>>,
        feeder: Option<Feeder>,
    ) -> Self {
        let is_head = request.as_ref().is_some_and(|request| request.method() == http::Method::HEAD);
        let stage = match request {
            Some(request) => Stage::Asking { service, request: Some(request) },
            None => {
                Stage::Whole { refusal: Some(Refusal { status: http::StatusCode::BAD_REQUEST, told: None }) }
            }
        };
        Self { stage, answer: None, is_head, sends_trailers, shared, feeder }
    }
}

/// How a step has ended.
enum Step {
    /// Go on with the next.
    On,
    Pending,
    /// It is known how the whole response reads.
    Whole,
    Failed(String),
    /// All is sent.
    Sent,
    /// What is sent is not all, and cannot be.
    Torn(String),
}

fn failed(error: impl Into<BoxError>) -> Step {
    Step::Failed(error.into().to_string())
}

impl<S, B> Work for Answering<S, S::Future, B>
where
    S: Service<http::Request<IncomingBody>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut this = self.project();
        loop {
            let step = match this.stage.as_mut().project() {
                StageParts::Asking { service, request } => match service.poll_ready(context) {
                    Poll::Pending => Step::Pending,
                    Poll::Ready(Err(error)) => failed(error),
                    Poll::Ready(Ok(())) => {
                        let future = service.call(request.take().expect("called once"));
                        this.stage.set(Stage::Calling { future });
                        Step::On
                    }
                },
                StageParts::Calling { future } => match future.poll(context) {
                    Poll::Pending => Step::Pending,
                    Poll::Ready(Err(error)) => failed(error),
                    Poll::Ready(Ok(response)) => {
                        let (head, body) = response.into_parts();
                        let extent = extent(&body);
                        *this.answer = Some(Answer { head, extent, body: Bytes::new() });
                        this.stage.set(Stage::Answered { body, is_looked_at: false, is_started: false });
                        Step::On
                    }
                },
                StageParts::Answered { mut body, is_looked_at, is_started } => {
                    let answer = this.answer.as_mut().expect("the service has answered");
                    if !*is_looked_at {
                        *is_looked_at = true;
                        answer.look(body, *this.is_head, context)
                    } else if let Some(shared) = &this.shared {
                        if *is_started {
                            send(shared, answer, body.as_mut(), *this.sends_trailers, context)
                        } else {
                            *is_started = true;
                            answer.start(shared)
                        }
                    } else {
                        // The connection attaches an exchange to what waits.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                StageParts::Whole { .. } => Step::Whole,
            };
            match step {
                Step::On => {}
                Step::Pending => {
                    let is_fed = match (&this.feeder, &this.shared) {
                        (Some(feeder), Some(shared)) => feeder.feed(shared, context),
                        _ => false,
                    };
                    if !is_fed {
                        return Poll::Pending;
                    }
                }
                Step::Sent => return Poll::Ready(Ok(())),
                Step::Torn(told) => return Poll::Ready(Err(told)),
                Step::Whole | Step::Failed(_) => {
                    let mut refusal = match (step, this.stage.as_mut().project()) {
                        (Step::Failed(told), _) => {
                            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
                            Some(Refusal { status, told: Some(told) })
                        }
                        (_, StageParts::Whole { refusal }) => refusal.take(),
                        _ => None,
                    };
                    let Some(shared) = &this.shared else {
                        this.stage.set(Stage::Whole { refusal });
                        return Poll::Ready(Ok(()));
                    };
                    return Poll::Ready(respond(shared, this.answer, &mut refusal));
                }
            }
        }
    }

    fn has_response(&self) -> bool {
        self.shared.is_none() && matches!(self.stage, Stage::Whole { .. })
    }

    fn respond(self: Pin<&mut Self>, writer: &mut ResponseWriter<'_>) {
        let this = self.project();
        if let StageParts::Whole { refusal } = this.stage.project() {
            write_whole(writer, this.answer, refusal);
        }
    }

    fn attach(self: Pin<&mut Self>, shared: &Rc<Shared>) {
        *self.project().shared = Some(Rc::clone(shared));
    }
}

/// What a body says of its length.
fn extent(body: &impl Body) -> Extent {
    if body.is_end_stream() {
        Extent::Nothing
    } else {
        body.size_hint().exact().map_or(Extent::Unknown, Extent::Known)
    }
}

impl Answer {
    /// Finds out whether the body is here as a whole: for that it must know its length, and bring all at once.
    fn look<B>(&mut self, mut body: Pin<&mut B>, is_head: bool, context: &mut Context<'_>) -> Step
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        // None is sent to HEAD, nor with these (RFC 9110 section 6.4.1).
        if is_head || matches!(self.head.status.as_u16(), 204 | 205 | 304) {
            return Step::Whole;
        }
        let length = match self.extent {
            Extent::Nothing | Extent::Known(0) => return Step::Whole,
            Extent::Unknown => return Step::On,
            Extent::Known(length) => length,
        };
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Pending => return Step::On,
                Poll::Ready(Some(Err(error))) => return failed(error),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(mut data) if data.has_remaining() => {
                        self.body = data.copy_to_bytes(data.remaining());
                        let is_whole = self.body.len() as u64 == length;
                        return if is_whole { Step::Whole } else { Step::On };
                    }
                    Ok(_) => {}
                    Err(_) => return failed(ExchangeError::TooShort),
                },
                Poll::Ready(None) => return failed(ExchangeError::TooShort),
            }
        }
    }

    /// Sends the head.
    fn start(&self, shared: &Shared) -> Step {
        let started = shared.start_with(|writer| {
            let encoder = writer.write_given_head(self.given())?;
            Ok((writer.finished(), encoder))
        });
        match started {
            Ok(()) => Step::On,
            Err(ExchangeError::Field(error)) => failed(error),
            Err(error) => Step::Torn(error.to_string()),
        }
    }

    fn given(&self) -> GivenHead<'_, impl Iterator<Item = (&str, &[u8])>> {
        let fields = self.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        given(self.head.status, fields, self.extent)
    }

    fn write(&mut self, writer: &mut ResponseWriter<'_>) -> Result<(), FieldError> {
        let encoder = writer.write_given_head(self.given())?;
        let body = std::mem::take(&mut self.body);
        writer.write_given_body(encoder, body);
        Ok(())
    }
}

/// A head, with the reason phrases that hyper writes.
fn given<'a, F>(status: http::StatusCode, fields: F, extent: Extent) -> GivenHead<'a, F> {
    let reason = status.canonical_reason().unwrap_or("<none>");
    GivenHead { status: status.as_u16(), reason, fields, extent }
}

/// Sends as much of the body as there is and has room.
fn send<B>(
    shared: &Shared,
    answer: &mut Answer,
    mut body: Pin<&mut B>,
    sends_trailers: bool,
    context: &mut Context<'_>,
) -> Step
where
    B: Body,
    B::Error: Into<BoxError>,
{
    loop {
        match shared.poll_room(context, false) {
            Poll::Pending => return Step::Pending,
            Poll::Ready(Err(error)) => return Step::Torn(error.to_string()),
            Poll::Ready(Ok(())) => {}
        }
        let data = if answer.body.is_empty() {
            match body.as_mut().poll_frame(context) {
                Poll::Pending => return Step::Pending,
                Poll::Ready(Some(Err(error))) => return Step::Torn(error.into().to_string()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(mut data) => data.copy_to_bytes(data.remaining()),
                    Err(frame) => {
                        if let (Ok(trailers), true) = (frame.into_trailers(), sends_trailers) {
                            add_trailers(shared, &trailers);
                        }
                        continue;
                    }
                },
                Poll::Ready(None) => {
                    return shared
                        .finish()
                        .map_or_else(|error| Step::Torn(error.to_string()), |()| Step::Sent);
                }
            }
        } else {
            std::mem::take(&mut answer.body)
        };
        if let Err(error) = push(shared, data) {
            return Step::Torn(error.to_string());
        }
    }
}

/// From so many bytes on a piece is handed over; it costs no copy if nobody else has it.
const HANDED_OVER_BYTES: usize = 8 * 1024;

fn push(shared: &Shared, data: Bytes) -> Result<(), ExchangeError> {
    if data.len() > HANDED_OVER_BYTES {
        shared.push(PieceToSend::Payload(Payload::Owned(data.into())))
    } else {
        shared.push(PieceToSend::Bytes(&data))
    }
}

fn add_trailers(shared: &Shared, trailers: &http::HeaderMap) {
    for (name, value) in trailers {
        // One that may not be a trailer is left out, as are all where the body is not chunked.
        let _ = shared.trailer(name.as_str(), value.as_bytes());
    }
}

/// Sends a whole response by an exchange.
fn respond(
    shared: &Shared,
    answer: &mut Option<Answer>,
    refusal: &mut Option<Refusal>,
) -> Result<(), String> {
    let mut told = None;
    let sent = shared.respond(|writer| {
        write_whole(writer, answer, refusal);
        told = writer.take_told();
    });
    match (sent, told) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(()), Some(told)) => Err(told),
        (Ok(()), None) => Ok(()),
    }
}

fn write_whole(writer: &mut ResponseWriter<'_>, answer: &mut Option<Answer>, refusal: &mut Option<Refusal>) {
    let written = match (refusal.take(), answer) {
        (Some(Refusal { status, told }), _) => {
            if let Some(told) = told {
                writer.tell(told);
            }
            let fields = [("connection", &b"close"[..])].into_iter();
            writer.write_given_head(given(status, fields, Extent::Nothing)).map(|_| ())
        }
        (None, Some(answer)) => answer.write(writer),
        (None, None) => Err(FieldError::Body),
    };
    if let Err(error) = written {
        writer.fail(error);
    }
}
