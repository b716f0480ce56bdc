//! hyper as its users deploy it for throughput: HTTP/1 alone, one current-thread runtime, pipelined
//! responses flushed together. `--listen ADDR` names the address; port 0 takes a free one. Bodies of uploads are
//! counted as they come; downloads are chunks of 64 KiB, of one static buffer or copied anew.
//!
//! `--bulk` flushes each response by itself: with pipelined flushes hyper buffers whatever a body has ready,
//! a gigabyte if need be.

use std::convert::Infallible;
use std::error::Error;
use std::iter::repeat_n;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let arguments = [(); 3].map(|()| arguments.next());
    let (address, pipelined) = match arguments.each_ref().map(Option::as_deref) {
        [Some("--listen"), Some(address), None] => (address, true),
        [Some("--listen"), Some(address), Some("--bulk")] => (address, false),
        _ => return Err("usage: hyper-peer --listen ADDRESS:PORT [--bulk]".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(address, pipelined))
}

async fn serve(address: &str, pipelined: bool) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    println!("Now listening on: http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The load generator drops its connections at the end of a run: such an end is no news.
            let _ = http1::Builder::new()
                .pipeline_flush(pipelined)
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

const CHUNK_BYTES: usize = 64 * 1024;
static CHUNK: [u8; CHUNK_BYTES] = [b'x'; CHUNK_BYTES];

/// Small bodies are not boxed.
type Body = Either<Full<Bytes>, BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path();
    let (body, media) = if let Some(bytes) = path.strip_prefix("/download/") {
        (download(bytes, || Bytes::from_static(&CHUNK)), "application/octet-stream")
    } else if let Some(bytes) = path.strip_prefix("/copied/") {
        (download(bytes, || Bytes::copy_from_slice(&CHUNK)), "application/octet-stream")
    } else if path == "/upload" {
        let count = count(request.into_body()).await?;
        (Either::Left(Full::new(count.to_string().into())), "text/plain; charset=utf-8")
    } else {
        return Ok(small(path));
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("hyper"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}

/// A body of no known length, so that hyper frames it in chunks.
fn download(bytes: &str, chunk: impl Fn() -> Bytes + Send + Sync + 'static) -> Body {
    let chunks = bytes.parse().unwrap_or(0_usize).div_ceil(CHUNK_BYTES);
    let frames = repeat_n((), chunks).map(move |()| Ok(Frame::data(chunk())));
    Either::Right(StreamBody::new(futures_util::stream::iter(frames)).boxed())
}

async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// hyper itself adds Date and Content-Length.
fn small(path: &str) -> Response<Body> {
    let (status, media, body) = match path {
        "/plaintext" => (StatusCode::OK, "text/plain; charset=utf-8", Bytes::from_static(b"Hello, World!")),
        "/json" => match serde_json::to_vec(&Message { message: "Hello, World!" }) {
            Ok(body) => (StatusCode::OK, "application/json", Bytes::from(body)),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new()),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", Bytes::new()),
    };
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("hyper"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
