//! The application: extractors, state, nested routers, layers, and bodies that are streamed. It knows nothing of the
//! server that it runs on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Form, Json, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, NoContent, Redirect};
use axum::routing::{any, delete, get, post};
use axum::{Router, middleware};
use http_body::Frame;
use serde::{Deserialize, Serialize};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// What all handlers share.
#[derive(Clone, Default)]
struct Shop {
    orders: Arc<AtomicU64>,
}

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Deserialize)]
struct Page {
    page: u32,
    #[serde(default)]
    tag: String,
}

async fn item(Path(id): Path<u64>) -> String {
    format!("item {id}")
}

async fn list(Query(Page { page, tag }): Query<Page>) -> String {
    format!("page {page} of {tag:?}")
}

async fn order(State(shop): State<Shop>, Json(order): Json<Order>) -> (StatusCode, Json<Order>) {
    shop.orders.fetch_add(1, Ordering::Relaxed);
    (StatusCode::CREATED, Json(order))
}

async fn order_form(Form(Order { item, count }): Form<Order>) -> Html<String> {
    Html(format!("<p>{count} of {item}</p>"))
}

async fn orders(State(shop): State<Shop>) -> String {
    shop.orders.load(Ordering::Relaxed).to_string()
}

async fn echo(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    ([(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("x/unknown")))], body)
}

/// Sends back what comes, while it comes.
async fn relay(request: Request) -> Body {
    request.into_body()
}

async fn fields(request: Request) -> String {
    let mut told = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        told.push_str(&format!("{name}: {}\n", value.as_bytes().escape_ascii()));
    }
    told
}

/// Frames that are all there, but not of a known length.
struct Frames(VecDeque<Frame<Bytes>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

async fn numbers(Path(count): Path<usize>) -> impl IntoResponse {
    let frames = (0..count).map(|number| Frame::data(Bytes::from(format!("number {number}\n"))));
    ([(header::CONTENT_TYPE, "text/plain")], Body::new(Frames(frames.collect())))
}

async fn with_trailers() -> impl IntoResponse {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let frames = [Frame::data(Bytes::from_static(b"summed")), Frame::trailers(trailers)];
    ([(header::TRAILER, "x-sum")], Body::new(Frames(frames.into())))
}

/// Tells how much has come, and of the trailers behind it.
async fn trailers_in(request: Request) -> String {
    let mut body = request.into_body();
    let (mut bytes, mut sums) = (0, String::from("none"));
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => bytes += data.len(),
            Ok(Err(frame)) => sums = format!("{:?}", frame.into_trailers().unwrap_or_default()),
            Err(error) => return error.to_string(),
        }
    }
    format!("{bytes} bytes, {sums}")
}

async fn large() -> Vec<u8> {
    vec![b'L'; 300_000]
}

async fn count_requests(request: Request, next: middleware::Next) -> impl IntoResponse {
    let path = HeaderValue::from_str(request.uri().path()).unwrap_or(HeaderValue::from_static("?"));
    let mut response = next.run(request).await;
    response.headers_mut().append("x-path", path);
    response
}

async fn not_found(request: Request) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("nothing at {}", request.uri().path()))
}

/// All of it.
pub(crate) fn router() -> Router {
    let api = Router::new()
        .route("/items/{id}", get(item))
        .route("/items/{id}", delete(|| async { NoContent }))
        .route("/list", get(list))
        .route("/orders", post(order).get(orders))
        .route("/form", post(order_form))
        .layer(middleware::from_fn(count_requests))
        .layer(CorsLayer::permissive());
    let packed = Router::new()
        .route("/text", get(|| async { "squeeze me ".repeat(1000) }))
        .layer(CompressionLayer::new());
    let limited = Router::new().route("/echo", post(echo)).layer(RequestBodyLimitLayer::new(1000));
    Router::new()
        .route("/", get(|| async { "Hello, World!" }))
        .route("/empty", get(|| async {}))
        .route("/moved", get(|| async { Redirect::permanent("/") }))
        .route("/teapot", any(|| async { (StatusCode::IM_A_TEAPOT, "short and stout") }))
        .route("/cached", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/reset", get(|| async { StatusCode::RESET_CONTENT }))
        .route("/bye", get(|| async { ([(header::CONNECTION, "close")], "bye") }))
        .route("/dated", get(|| async { ([(header::SERVER, "me"), (header::ETAG, "\"1\"")], "dated") }))
        .route("/echo", any(echo))
        .route("/relay", post(relay))
        .route("/fields", any(fields))
        .route("/numbers/{count}", get(numbers))
        .route("/trailers", get(with_trailers).post(trailers_in))
        .route("/large", get(large))
        .nest("/api", api)
        .nest("/packed", packed)
        .nest("/limited", limited)
        .fallback(not_found)
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(Shop::default())
}
