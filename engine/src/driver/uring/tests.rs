//! What only the io_uring driver does; what it promises is tested with the contract.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use peregrine_pool::Payload;

use super::*;
use crate::driver::bufring::INITIAL_TARGET;
use crate::driver::contract::{End, OnUring, Rig, Seen, Setup, Subject, key, pool, serve_echoes};

/// The flags of a completion that hands a block over.
fn with_block(block: u32) -> u32 {
    1 | block << 16
}

#[test]
fn driver_is_what_was_asked_for() {
    for subject in OnUring::all() {
        let driver = subject.driver(&Setup::new(64, 4));
        assert_eq!((driver.rung, driver.mode), (subject.rung, subject.mode));
        let mode = match subject.mode {
            ReceiveMode::Single => "single receive",
            ReceiveMode::Multishot => "multishot receive",
            ReceiveMode::Bundle => "bundled receive",
        };
        assert_eq!(driver.describe(), format!("{}, {mode}", subject.rung.name()));
    }
}

#[test]
fn tiny_ring_of_blocks_starves_and_recovers() {
    for subject in OnUring::all() {
        for ring_entries in [1, 2, 8] {
            let mut rig = subject.rig_of(Setup { ring_entries, ..Setup::new(64, 64) });
            let mut pairs: Vec<_> = (0..10).map(|_| rig.pair()).collect();
            let bytes: Vec<u8> = (0..640_u32).map(|place| place as u8).collect();
            for (it, peer) in &mut pairs {
                rig.receive(*it);
                peer.write_all(&bytes).unwrap();
            }
            let seen = rig.turn(1000);
            assert!(seen.iter().any(|seen| matches!(seen, Seen::Ended(_, End::Starved))), "{seen:?}");
            assert!(rig.driver.has_receive_blocks());
            rig.until("received", |rig| pairs.iter().all(|(it, _)| rig.data(*it) == bytes));
            assert!(rig.blocks.0.stats().lent <= u32::from(ring_entries));
        }
    }
}

#[test]
fn tiny_ring_of_blocks_serves_many() {
    for subject in OnUring::all() {
        serve_echoes(&subject, &Setup { ring_entries: 2, ..Setup::new(1000, 8) });
    }
}

#[test]
fn memory_follows_the_demand() {
    for subject in OnUring::all() {
        let mut rig = subject.rig_of(Setup { ring_entries: 256, ..Setup::new(64, 4096) });
        rig.turn(0);
        assert_eq!(rig.blocks.0.stats().lent, u32::from(INITIAL_TARGET));
        let mut pairs: Vec<_> = (0..100).map(|_| rig.pair()).collect();
        let mut received = 0;
        let mut round = |rig: &mut Rig<Uring>, pairs: &mut [(u32, UnixStream)]| {
            received += 64;
            for (_, peer) in pairs.iter_mut() {
                peer.write_all(&[b'x'; 64]).unwrap();
            }
            rig.until("received", |rig| pairs.iter().all(|(it, _)| rig.data(*it).len() == received));
            rig.turn(0);
            rig.blocks.0.stats().lent
        };
        for (it, _) in &pairs {
            rig.receive(*it);
        }
        let most = (0..3).map(|_| round(&mut rig, &mut pairs)).max().unwrap();
        assert!((128..=256).contains(&most), "{most}");
        for (it, _) in &pairs[..50] {
            rig.send(*it, b"block", Some(Payload::Static(b"payload")));
        }
        assert!(rig.driver.sends.capacity_mapped() >= 50);
        rig.until("sent", |rig| pairs[..50].iter().all(|(it, _)| rig.sent(*it) == [Ok(12)]));
        assert_eq!(rig.driver.spare_messages.len(), 50);

        rig.driver.trim();
        assert_eq!((rig.driver.sends.capacity_mapped(), rig.driver.spare_messages.capacity()), (0, 0));
        // What is lent beyond the demand is not lent again.
        let mut few = pairs.split_off(95);
        for (it, _) in &pairs {
            rig.stop_receiving(*it);
        }
        rig.until("ended", |rig| pairs.iter().all(|(it, _)| rig.end(*it).is_some()));
        let least = (0..100).map(|_| round(&mut rig, &mut few)).min().unwrap();
        assert_eq!(least, u32::from(INITIAL_TARGET));
    }
}

#[test]
fn full_completion_queue_loses_nothing() {
    for subject in OnUring::all() {
        let mut rig = subject.rig(64, 64);
        let (it, mut peer) = rig.pair();
        let (other, _other_peer) = rig.pair();
        rig.receive(it);
        rig.turn(0);
        peer.write_all(b"some").unwrap();
        // Each completes at once, and there is room for 16 thousand completions.
        for _ in 0..20_000 {
            rig.stop_receiving(other);
        }
        peer.write_all(b"thing").unwrap();
        // Whatever repeats ends when its completion does not fit.
        rig.waker.wake();
        rig.send(it, b"answer", None);
        rig.until("received and sent", |rig| rig.data(it) == b"something" && rig.sent(it) == [Ok(6)]);
        let mut got = [0; 6];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"answer");
        while !rig.turn(0).is_empty() {}
        rig.waker.wake();
        assert_eq!(rig.events(1), [Seen::Woken]);
    }
}

#[test]
fn block_that_comes_without_data_is_not_lost() {
    for subject in OnUring::all() {
        let mut rig = subject.rig(64, 4);
        rig.turn(0);
        assert_eq!(rig.blocks.0.stats().lent, 4);
        for (block, result) in [-libc::ECONNRESET, -libc::ECANCELED, 0].into_iter().enumerate() {
            rig.driver.receiving += 1;
            let event = rig.driver.received(key(1), result, with_block(block as u32));
            assert!(matches!(event, Event::Received { more: false, .. }));
        }
        assert_eq!((rig.blocks.0.stats().lent, rig.blocks.0.stats().leased), (1, 0));
        assert_eq!(rig.driver.in_flight(), 0);
    }
}

#[test]
fn ends_of_all_kinds_cost_no_block() {
    for subject in OnUring::all() {
        let mut rig = subject.rig_of(Setup { ring_entries: 4, ..Setup::new(64, 4) });
        for round in 0..60 {
            let (it, mut peer) = rig.tcp_pair();
            rig.receive(it);
            if round % 2 == 0 {
                rig.turn(0);
                peer.write_all(b"data").unwrap();
                rig.until("received", |rig| rig.data(it) == b"data");
            }
            match round % 4 {
                0 | 1 => drop(peer),
                2 => socket::reset_on_close(Fd(peer.as_raw_fd())).map(|()| drop(peer)).unwrap(),
                _ => rig.abort(it),
            }
            rig.until("ended", |rig| rig.end(it).is_some_and(|end| end != End::Starved));
            rig.close(it);
        }
        rig.turn(0);
        let stats = rig.blocks.0.stats();
        assert_eq!((stats.lent, stats.leased, rig.driver.buffers.lent()), (4, 0, 4));
    }
}

#[test]
fn connection_that_nobody_was_told_of_is_closed_at_the_end() {
    for subject in OnUring::all() {
        let mut rig = subject.rig(64, 4);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rig.accept(Fd(listener.as_raw_fd()));
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        rig.driver.turn(Some(clock::now().millis + 1000)).unwrap();
        drop(rig);
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn memory_that_the_kernel_keeps_is_never_given_back() {
    let Some(subject) = OnUring::all().next() else { return };
    let setup = Setup { receive_blocks: pool(64, 4), ..Setup::new(64, 4) };
    let mut driver = subject.driver(&setup);
    driver.turn(Some(0)).unwrap();
    // As if there were a receive that cannot be cancelled.
    driver.receiving += 1;
    let start = Instant::now();
    drop(driver);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(setup.receive_blocks.stats().lent, 4);
}

#[test]
fn what_comes_in_quick_succession_is_taken_at_once_where_more_is_expected() {
    const COUNT: usize = 16;
    for subject in OnUring::all() {
        // Nobody waits for so long: the last of them ends the turn.
        let mut rig = subject.rig_of(Setup { coalesce_micros: 60_000_000, ..Setup::new(64, 64) });
        if !rig.driver.ring.has_min_wait() {
            return eprintln!("skipped: the kernel has no minimal wait");
        }
        let mut pairs: Vec<_> = (0..COUNT).map(|_| rig.pair()).collect();
        for (it, _) in &pairs {
            rig.receive(*it);
        }
        rig.turn(0);
        rig.driver.coalesce(8 * COUNT);
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                for (_, peer) in &mut pairs {
                    std::thread::sleep(Duration::from_millis(2));
                    peer.write_all(b"x").unwrap();
                }
            });
            rig.turn(20_000)
        });
        assert!(seen.len() >= COUNT, "{seen:?}");
        assert!(pairs.iter().all(|(it, _)| rig.data(*it) == b"x"));
    }
}
