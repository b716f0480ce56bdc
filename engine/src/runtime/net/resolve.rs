//! Looking names up by the system's resolver, which blocks: on a thread of its own.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// What the thread and the waiting task share.
#[derive(Default)]
struct Answer {
    addresses: Option<io::Result<Vec<SocketAddr>>>,
    waiter: Option<Waker>,
}

/// The addresses of a name, in the order in which they should be tried. Dropped, it leaves the thread to end alone.
pub(super) async fn resolve(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let shared = Arc::new(Mutex::new(Answer::default()));
    let theirs = Arc::clone(&shared);
    thread::Builder::new().name("peregrine-resolve".to_owned()).spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let mut answer = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        answer.addresses = Some(addresses);
        let waiter = answer.waiter.take();
        drop(answer);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    })?;
    poll_fn(|context| {
        let mut answer = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match answer.addresses.take() {
            Some(addresses) => Poll::Ready(addresses),
            None => {
                answer.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
