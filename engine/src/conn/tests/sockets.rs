//! Sockets of handlers: whatever the kernel and the peer do, and wherever a task is dropped, nothing leaks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::net::TcpStream;
use crate::{JoinHandle, spawn};

/// Begins a connection of a task's own.
fn dial(harness: &Harness) -> (impl Future<Output = io::Result<TcpStream>> + 'static, Peer) {
    let (socket, peer) = harness.world.dial();
    let world = harness.world.clone();
    let take_error =
        move |socket| Ok(world.take_error(socket).map(|error| io::Error::from_raw_os_error(error.0)));
    (TcpStream::connect_simulated(socket, take_error), peer)
}

/// Lets time pass until something is so.
fn pass_until(harness: &mut Harness, what: &str, mut done: impl FnMut(&Harness) -> bool) {
    harness.turn_until(what, |harness| {
        harness.world.advance(5);
        done(harness)
    });
}

fn assert_no_socket(harness: &mut Harness) {
    pass_until(harness, "all sockets closed", |harness| harness.connections.runtime.sockets().0 == 0);
    pass_until(harness, "all tasks over", |harness| harness.connections.runtime.slots.placed() == 0);
    harness.turn();
    assert_eq!(harness.connections.runtime.sockets(), (0, 0), "receive blocks are held for nobody");
    harness.assert_nothing_left();
    // A look for missed ends may be due, of whoever is gone.
    pass_until(harness, "nothing is due", |harness| harness.connections.runtime.next_due().is_none());
}

fn bytes(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| dice.roll(256) as u8).collect()
}

/// A task that can be dropped from outside, where it waits.
struct Cancel {
    is_cancelled: Rc<Cell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
    _task: JoinHandle<()>,
}

impl Cancel {
    fn spawn(work: impl Future<Output = ()> + 'static) -> Self {
        let (is_cancelled, waker) = (Rc::new(Cell::new(false)), Rc::<RefCell<Option<Waker>>>::default());
        let (told, wakes) = (Rc::clone(&is_cancelled), Rc::clone(&waker));
        let task = spawn(async move {
            let mut work = pin!(work);
            poll_fn(|context| {
                wakes.replace(Some(context.waker().clone()));
                if told.get() { Poll::Ready(()) } else { work.as_mut().poll(context) }
            })
            .await;
        });
        Self { is_cancelled, waker, _task: task }
    }

    fn cancel(&self) {
        self.is_cancelled.set(true);
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Sends back what it reads, and its end.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 3000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            len => stream.write_all(&buffer[..len]).await?,
        }
    }
}

#[test]
fn the_driver_learns_how_many_wait_when_one_is_answered() {
    let mut harness = Harness::new(1, Faults::NONE);
    let mut peers: Vec<Peer> = (0..40)
        .map(|_| {
            let (connecting, peer) = dial(&harness);
            drop(spawn(async { echo(connecting.await.expect("connected")).await.expect("an echo") }));
            peer
        })
        .collect();
    pass_until(&mut harness, "connected", |harness| harness.connections.runtime.sockets().0 == 40);
    for _ in 0..100 {
        harness.world.advance(5);
        harness.turn();
    }
    assert_eq!(harness.world.take_waiting(), None, "nobody has been answered");
    peers[7].send(b"an answer");
    pass_until(&mut harness, "echoed", |_| peers[7].received() == b"an answer");
    harness.turn();
    assert_eq!(harness.world.take_waiting(), Some(40));
    peers.drain(..).for_each(|peer| peer.shutdown());
    assert_no_socket(&mut harness);
    assert_eq!(harness.world.take_waiting(), None, "an end is no answer");
}

#[test]
fn every_byte_comes_back_in_order_and_the_end_behind_it() {
    for (faults, count) in [(Faults::NONE, 5), (Faults::UNKIND, 60)] {
        for missed_ends in [false, true] {
            with_seeds(count, |seed| {
                let mut harness = Harness::new(seed, Faults { missed_ends, ..faults });
                let mut dice = Dice(seed);
                let peers: Vec<(Peer, Vec<u8>)> = (0..3)
                    .map(|_| {
                        let (connecting, peer) = dial(&harness);
                        drop(spawn(async {
                            echo(connecting.await.expect("connected")).await.expect("an echo");
                        }));
                        let len = [1, 4096, 50_000, 300_000][dice.roll(4)];
                        (peer, bytes(&mut dice, len))
                    })
                    .collect();
                let mut sent = [0; 3];
                while peers.iter().zip(sent).any(|((_, bytes), sent)| sent < bytes.len()) {
                    for ((peer, bytes), sent) in peers.iter().zip(&mut sent) {
                        peer.set_window([None, Some(0), Some(700)][dice.roll(3)]);
                        let len = [0, 1, 900, 20_000, 100_000][dice.roll(5)].min(bytes.len() - *sent);
                        if len > 0 {
                            peer.send(&bytes[*sent..*sent + len]);
                            *sent += len;
                        }
                    }
                    harness.world.advance(dice.roll(100) as u64);
                    harness.turns(dice.roll(4) as u32);
                }
                for (peer, _) in &peers {
                    peer.set_window(None);
                    peer.shutdown();
                }
                assert_no_socket(&mut harness);
                for (peer, bytes) in &peers {
                    assert!(peer.received() == *bytes, "{} bytes of {}", peer.received().len(), bytes.len());
                    assert!(peer.saw_eof() && peer.is_closed());
                }
            });
        }
    }
}

#[test]
fn a_refused_connection_is_an_error_and_a_closed_socket() {
    let mut harness = Harness::new(1, Faults { connect_errors: 100, ..Faults::NONE });
    let (connecting, peer) = dial(&harness);
    let outcome = Rc::new(Cell::new(None));
    let told = Rc::clone(&outcome);
    drop(spawn(async move { told.set(connecting.await.err().map(|error| error.kind())) }));
    assert_no_socket(&mut harness);
    assert_eq!(outcome.get(), Some(io::ErrorKind::ConnectionRefused));
    assert!(peer.is_closed());
}

/// Connects, then does a bit of everything.
async fn everything(
    connecting: impl Future<Output = io::Result<TcpStream>>,
    bytes: Vec<u8>,
) -> io::Result<()> {
    let mut stream = connecting.await?;
    stream.write_all(&bytes[..100]).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 5000]).await?;
    stream.write_all(&bytes).await?;
    let (mut reader, mut writer) = stream.split();
    let reading = spawn(async move {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.map(|_| rest.len())
    });
    writer.write_all(&bytes).await?;
    writer.shutdown().await?;
    reading.await.map_err(io::Error::other)??;
    Ok(())
}

#[test]
fn a_task_that_is_dropped_anywhere_leaves_nothing() {
    for faults in [Faults::NONE, Faults::UNKIND, Faults::BREAKING] {
        for turns in 0..40_u64 {
            with_seeds(8, |seed| {
                let mut harness = Harness::new(seed, faults);
                let mut dice = Dice(seed * 100 + turns);
                let (connecting, peer) = dial(&harness);
                let payload = bytes(&mut dice, 90_000);
                let task = Cancel::spawn(async { drop(everything(connecting, payload).await) });
                if dice.roll(2) == 0 {
                    // Some of it stays unread, and some unsent.
                    peer.set_window(Some(dice.roll(150_000)));
                }
                peer.send(&bytes(&mut dice, 20_000));
                for _ in 0..turns {
                    harness.world.advance(dice.roll(30) as u64);
                    harness.turn();
                }
                match dice.roll(4) {
                    0 => peer.reset(),
                    1 => peer.shutdown(),
                    2 => peer.close(),
                    _ => {}
                }
                task.cancel();
                harness.turns(dice.roll(3) as u32);
                drop(task);
                // The half that reads is in a task of its own, which ends with its peer at the latest.
                for _ in 0..100 {
                    harness.world.advance(5);
                    harness.turn();
                }
                peer.reset();
                assert_no_socket(&mut harness);
            });
        }
    }
}

#[test]
fn the_end_of_the_worker_closes_what_is_open_anywhere() {
    for turns in 0..40 {
        with_seeds(4, |seed| {
            let mut harness = Harness::new(seed, Faults::UNKIND);
            let mut dice = Dice(seed * 100 + turns);
            let (connecting, peer) = dial(&harness);
            let payload = bytes(&mut dice, 90_000);
            drop(spawn(async { drop(everything(connecting, payload).await) }));
            peer.set_window(Some(120_000));
            peer.send(&bytes(&mut dice, 20_000));
            for _ in 0..turns {
                harness.world.advance(dice.roll(30) as u64);
                harness.turn();
            }
            let runtime = Rc::clone(&harness.connections.runtime);
            harness.connections.abandon();
            assert_eq!((runtime.sockets(), runtime.slots.placed()), ((0, 0), 0));
        });
    }
}

#[test]
fn a_socket_that_outlives_its_worker_fails() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (connecting, _peer) = dial(&harness);
    let kept = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&kept);
    drop(spawn(async move { *theirs.borrow_mut() = connecting.await.ok() }));
    pass_until(&mut harness, "connected", |_| kept.borrow().is_some());
    harness.connections.abandon();
    let mut stream = kept.take().expect("a stream");
    let mut context = Context::from_waker(Waker::noop());
    let mut buffer = [0; 8];
    let read = pin!(stream.read(&mut buffer)).poll(&mut context);
    assert!(matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected));
    let write = pin!(stream.write(b"x")).poll(&mut context);
    assert!(matches!(write, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected));
}

#[test]
fn what_was_written_is_sent_although_its_stream_is_dropped() {
    for (faults, count) in [(Faults::NONE, 1), (Faults::UNKIND, 40)] {
        with_seeds(count, |seed| {
            let mut harness = Harness::new(seed, faults);
            let (connecting, peer) = dial(&harness);
            peer.set_window(Some(10_000));
            drop(spawn(async {
                let mut stream = connecting.await.expect("connected");
                stream.write_all(&[b'x'; 50_000]).await.expect("room");
            }));
            harness.world.advance(400);
            harness.turns(40);
            assert_eq!(harness.connections.runtime.sockets().0, 1);
            assert!(harness.connections.runtime.has_detached(), "a worker that drains waits for it");
            peer.set_window(None);
            assert_no_socket(&mut harness);
            assert_eq!(peer.received().len(), 50_000);
            assert!(peer.saw_eof(), "no reset");
        });
    }
}

#[test]
fn a_peer_that_never_reads_is_left_after_a_while() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (connecting, peer) = dial(&harness);
    peer.set_window(Some(10));
    drop(spawn(async {
        let mut stream = connecting.await.expect("connected");
        stream.write_all(&[b'x'; 50_000]).await.expect("room");
    }));
    harness.world.advance(400);
    harness.turns(10);
    harness.world.advance(4000);
    harness.turns(10);
    assert!(!peer.is_closed());
    harness.world.advance(1500);
    harness.turns(10);
    assert!(peer.is_closed() && peer.saw_reset(), "what is not whole must not look so");
    assert_no_socket(&mut harness);
}

#[test]
fn a_reader_that_rests_holds_few_blocks_and_gets_everything() {
    with_seeds(20, |seed| {
        let faults = if seed == 0 { Faults::NONE } else { Faults::UNKIND };
        let mut harness = Harness::new(seed, faults);
        let sent = bytes(&mut Dice(seed), 1_000_000);
        let (connecting, peer) = dial(&harness);
        let is_released = Rc::new(Cell::new(false));
        let (released, expected) = (Rc::clone(&is_released), sent.clone());
        drop(spawn(async move {
            let mut stream = connecting.await.expect("connected");
            let mut first = [0; 1];
            stream.read_exact(&mut first).await.expect("a byte");
            while !released.get() {
                crate::sleep(std::time::Duration::from_millis(10)).await;
            }
            let mut got = first.to_vec();
            stream.read_to_end(&mut got).await.expect("the rest");
            assert!(got == expected, "{} bytes", got.len());
        }));
        peer.send(&sent);
        peer.shutdown();
        for _ in 0..50 {
            harness.world.advance(20);
            harness.turn();
            let (_, held) = harness.connections.runtime.sockets();
            assert!(held <= 8, "{held} blocks are held, as many as all sockets together may");
        }
        is_released.set(true);
        assert_no_socket(&mut harness);
    });
}

#[test]
fn writes_wait_for_a_peer_that_does_not_read() {
    let mut harness = Harness::new(3, Faults::NONE);
    let (connecting, peer) = dial(&harness);
    // None at all, and it would not be connected.
    peer.set_window(Some(1));
    let written = Rc::new(Cell::new(0));
    let told = Rc::clone(&written);
    let is_over = Rc::new(Cell::new(false));
    let over = Rc::clone(&is_over);
    drop(spawn(async move {
        let mut stream = connecting.await.expect("connected");
        while written.get() < 500_000 {
            written.set(written.get() + stream.write(&[b'w'; 10_000]).await.expect("a write"));
        }
        stream.flush().await.expect("a flush");
        over.set(true);
    }));
    harness.world.advance(400);
    harness.turns(50);
    assert_eq!(told.get(), 64 * 1024);
    assert!(harness.send_blocks.stats().leased <= 5);
    // Less than the half of what waits makes room for nobody.
    peer.set_window(Some(20_000));
    harness.turns(50);
    assert_eq!(told.get(), 64 * 1024);
    peer.set_window(Some(20_000));
    harness.turns(50);
    assert!((64 * 1024 + 1..=64 * 1024 + 40_000).contains(&told.get()), "{}", told.get());
    peer.set_window(None);
    pass_until(&mut harness, "all written", |_| is_over.get());
    assert_eq!(peer.received().len(), told.get());
    assert_no_socket(&mut harness);
}

#[test]
fn small_writes_of_one_turn_are_sent_together() {
    let mut harness = Harness::new(3, Faults::NONE);
    let (connecting, peer) = dial(&harness);
    drop(spawn(async move {
        let mut stream = connecting.await.expect("connected");
        for _ in 0..100 {
            stream.write_all(b"word ").await.expect("room");
        }
        assert_eq!(
            stream.write_vectored(&[io::IoSlice::new(b"a"), io::IoSlice::new(b"b")]).await.ok(),
            Some(2)
        );
        stream.flush().await.expect("a flush");
    }));
    harness.world.advance(400);
    harness.turn_until("something is there", |_| !peer.received().is_empty());
    assert_eq!(peer.received().len(), 502);
    assert_no_socket(&mut harness);
}

#[test]
fn an_end_that_a_receive_misses_is_found_before_long() {
    let mut harness = Harness::new(5, Faults { missed_ends: true, ..Faults::NONE });
    let (connecting, peer) = dial(&harness);
    let outcome = Rc::new(Cell::new(None));
    let told = Rc::clone(&outcome);
    drop(spawn(async move {
        let mut stream = connecting.await.expect("connected");
        stream.read_exact(&mut [0; 5]).await.expect("the data");
        told.set(stream.read(&mut [0; 1]).await.ok());
    }));
    harness.world.advance(400);
    harness.turns(5);
    peer.send(b"hello");
    peer.shutdown();
    harness.turns(3);
    assert_eq!((harness.connections.runtime.sockets().0, outcome.get()), (1, None), "the end is missed");
    // The look after this finds that something has come, the one after that finds nothing more.
    harness.world.advance(1001);
    harness.turns(2);
    harness.world.advance(1001);
    harness.turns(4);
    assert_eq!(outcome.get(), Some(0));
    assert_no_socket(&mut harness);
}

#[test]
fn connections_and_sockets_share_a_worker() {
    with_seeds(30, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let client = harness.connect();
        let (connecting, peer) = dial(&harness);
        drop(spawn(async { echo(connecting.await.expect("connected")).await.expect("an echo") }));
        for number in 0..10 {
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            peer.send(&[number; 500]);
            harness.turns(3);
        }
        client.shutdown();
        peer.shutdown();
        assert_no_socket(&mut harness);
        assert_eq!(responses(&client.received()).len(), 10);
        assert_eq!(peer.received().len(), 5000);
    });
}
