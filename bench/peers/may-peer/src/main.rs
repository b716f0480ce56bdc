//! `may_minihttp` on one worker thread; it writes Date and Server by itself.
//! `--listen ADDR` names the address; port 0 takes a free one.

use std::error::Error;
use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::FromRawFd;

use bytes::BufMut;
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use serde::Serialize;
use socket2::Socket;

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

struct Answer;

impl HttpService for Answer {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        match request.path() {
            "/plaintext" => {
                response.header("Content-Type: text/plain; charset=utf-8").body("Hello, World!");
            }
            "/json" => {
                response.header("Content-Type: application/json");
                serde_json::to_writer(response.body_mut().writer(), &Message { message: "Hello, World!" })?;
            }
            _ => {
                response.status_code(404, "Not Found");
            }
        }
        Ok(())
    }
}

struct Answers;

impl HttpServiceFactory for Answers {
    type Service = Answer;

    fn new_service(&self, id: usize) -> Answer {
        // The library leaves Nagle's algorithm on; every other server here turns it off.
        // SAFETY: on Unix the library passes the descriptor of the stream that it holds across this call;
        // `ManuallyDrop` leaves the closing to that stream.
        let socket = ManuallyDrop::new(unsafe { Socket::from_raw_fd(id as i32) });
        let _ = socket.set_tcp_nodelay(true);
        Answer
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => address,
        _ => return Err("usage: may-peer --listen ADDRESS:PORT".into()),
    };
    // The library binds by itself and does not tell its port: find a free one first.
    let address = TcpListener::bind(address)?.local_addr()?;
    // The harness pins the process; the library's own pinning would count cores of the whole machine.
    may::config().set_workers(1).set_pool_capacity(1024).set_worker_pin(false);
    let server = Answers.start(address)?;
    println!("Now listening on: http://{address}");
    server.join().map_err(|_| "the accept loop panicked")?;
    Ok(())
}
