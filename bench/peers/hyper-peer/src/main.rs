//! hyper as its users deploy it for throughput: HTTP/1 alone, one current-thread runtime, pipelined
//! responses flushed together. `--listen ADDR` names the address; port 0 takes a free one. Bodies of uploads are
//! counted as they come; downloads are chunks of 64 KiB, of one static buffer or copied anew.
//!
//! `--bulk` flushes each response by itself: with pipelined flushes hyper buffers whatever a body has ready,
//! a gigabyte if need be.
//!
//! `--tls-cert FILE --tls-key FILE` serves the same over TLS, and `--tls-suites NAME,NAME...` chooses what it speaks.

mod tls;

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

const USAGE: &str = "usage: hyper-peer --listen ADDRESS:PORT [--bulk] \
                     [--tls-cert FILE --tls-key FILE [--tls-suites NAME,NAME...]]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut address, mut pipelined) = (None, true);
    let mut files = tls::Files::default();
    while let Some(flag) = arguments.next() {
        if flag == "--bulk" {
            pipelined = false;
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--listen" => address = Some(value),
            "--tls-cert" => files.certificate = value,
            "--tls-key" => files.key = value,
            "--tls-suites" => files.suites = value.split(',').map(str::to_owned).collect(),
            _ => return Err(USAGE.into()),
        }
    }
    let address = address.ok_or(USAGE)?;
    let acceptor = match (files.certificate.is_empty(), files.key.is_empty()) {
        (true, true) => None,
        (false, false) => Some(tls::acceptor(&files)?),
        _ => return Err(USAGE.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(&address, pipelined, acceptor))
}

async fn serve(address: &str, pipelined: bool, acceptor: Option<TlsAcceptor>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    println!("Now listening on: {scheme}://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                None => connection(stream, pipelined).await,
                // A client that fails the handshake has lost its connection, and that is all.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, pipelined).await;
                    }
                }
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, pipelined: bool) {
    // The load generator drops its connections at the end of a run: such an end is no news.
    let _ = http1::Builder::new()
        .pipeline_flush(pipelined)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

/// What `/download` sends, with its length.
static FILE: [u8; 10 << 20] = [b'x'; 10 << 20];

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
        "/download" => (StatusCode::OK, "text/plain; charset=utf-8", Bytes::from_static(&FILE)),
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
