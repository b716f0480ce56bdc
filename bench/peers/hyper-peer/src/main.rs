//! hyper as its users deploy it for throughput: HTTP/1 alone, one current-thread runtime, pipelined
//! responses flushed together. `--listen ADDR` names the address; port 0 takes a free one.

use std::convert::Infallible;
use std::error::Error;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
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
    let address = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => address,
        _ => return Err("usage: hyper-peer --listen ADDRESS:PORT".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(&address))
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    println!("Now listening on: http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // The load generator drops its connections at the end of a run: such an end is no news.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

/// hyper itself adds Date and Content-Length.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, media, body) = match request.uri().path() {
        "/plaintext" => (StatusCode::OK, "text/plain; charset=utf-8", Bytes::from_static(b"Hello, World!")),
        "/json" => match serde_json::to_vec(&Message { message: "Hello, World!" }) {
            Ok(body) => (StatusCode::OK, "application/json", Bytes::from(body)),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new()),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("hyper"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}
