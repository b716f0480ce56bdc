//! The stage against rustls' client, on a driver that does as it is told: every split, every kind of record.

use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use peregrine_pool::{Blocks, Payload, Slab};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedCipherSuite};

use super::harness::*;
use super::{Stage, State};
use crate::driver::secure::Breach;
use crate::driver::{Driver, Errno, Event, Fd, Received};
use crate::sys::wake::Waker;
use crate::tls::context::Context;
use crate::tls::offload::{Offload, Returns};
use crate::tls::{TlsName, TlsOptions};

#[test]
fn every_split_of_handshakes_and_records_is_the_same() {
    for version in [&TLS12, &TLS13] {
        for split in (1..40).chain([100, 999, 4095, 4096]) {
            let files = Files::new();
            let client = client_config(&files, &[version]);
            let mut rig = Rig::with(files, TlsOptions::default(), client, split);
            rig.shake();
            rig.prove();
            let info = rig.info.clone().unwrap();
            assert_eq!(info.alpn.as_deref(), Some("http/1.1"));
            assert_eq!(info.server_name.as_deref(), Some("localhost"));
            assert!(!info.is_resumed && info.client_certificates.is_empty());
            assert_eq!(rig.stage.tally().full.get(), 1);
        }
    }
}

#[test]
fn every_suite_keeps_its_records() {
    for suite in provider().cipher_suites {
        let files = Files::new();
        let is_rsa = format!("{:?}", suite.suite()).contains("_RSA_");
        if is_rsa {
            // The certificate is of the other kind; their ciphers are the same.
            continue;
        }
        let version = match suite {
            SupportedCipherSuite::Tls12(_) => &TLS12,
            SupportedCipherSuite::Tls13(_) => &TLS13,
        };
        let only = CryptoProvider { cipher_suites: vec![suite], ..provider() };
        let client = client_of(&files, only, &[version]);
        let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
        rig.shake();
        assert_eq!(Some(rig.info.clone().unwrap().cipher_suite), suite.suite().as_str());
        for _ in 0..3 {
            rig.prove();
        }
    }
}

#[test]
fn sends_of_all_sizes_arrive_whole() {
    let bytes: &'static [u8] = (0..300_000_u32).map(|number| (number / 7) as u8).collect::<Vec<_>>().leak();
    for takes in [1000, 16_384, usize::MAX] {
        let mut rig = Rig::new(4096);
        rig.shake();
        rig.stage.driver.takes = Some(takes);
        for len in [0, 1, 4000, 4074, 4075, 4096, 16_383, 16_384, 16_385, 65_536, 70_000, 300_000] {
            let block = &bytes[..len.min(1234)];
            let payload = &bytes[block.len()..len];
            if len == 0 {
                continue;
            }
            rig.send(block, Some(Payload::Static(payload)));
            assert_eq!(rig.exchange(), bytes[..len], "{len} bytes, {takes} at once");
        }
        assert!(rig.sends.iter().all(Result::is_ok));
    }
}

#[test]
fn small_answers_share_a_record_and_large_ones_fill_theirs() {
    let mut rig = Rig::new(4096);
    rig.shake();
    let records = |sent: &[u8]| {
        let (mut lens, mut at) = (Vec::new(), 0);
        while at < sent.len() {
            let len = usize::from(u16::from_be_bytes([sent[at + 3], sent[at + 4]]));
            lens.push(len);
            at += 5 + len;
        }
        lens
    };
    rig.send(&[1; 3000], None);
    assert_eq!(records(&rig.stage.driver.sent), [3000 + 17]);
    rig.exchange();
    rig.send(&[1; 1000], Some(Payload::Static(&[2; 40_000])));
    assert_eq!(records(&rig.stage.driver.sent), [16_384 + 17, 16_384 + 17, 41_000 - 2 * 16_384 + 17]);
}

#[test]
fn records_at_the_limit_are_taken_and_larger_ones_are_not() {
    for len in [16_384, 16_385] {
        let mut rig = Rig::new(4096);
        rig.shake();
        let record = rig.forge(23, &vec![7; len], 0);
        rig.arrive(&record);
        if len == 16_384 {
            assert_eq!(rig.plain, vec![7; len]);
            assert_eq!(rig.breach, None);
        } else {
            assert!(rig.plain.is_empty());
            assert_eq!(rig.breach, Some(Breach::Record));
            assert_eq!(rig.stage.tally().broken.get(), 1);
        }
    }
    // A header that announces more than any record has is refused before the rest comes.
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.arrive(&[23, 3, 3, 0x41, 0x01]);
    assert_eq!(rig.breach, Some(Breach::Record));
}

#[test]
fn padding_is_taken_off_and_records_of_nothing_are_few() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.arrive_forged(23, b"padded", 100);
    assert_eq!(rig.plain, b"padded");
    for _ in 0..32 {
        rig.arrive_forged(23, b"", 3);
    }
    assert_eq!(rig.breach, None);
    rig.arrive_forged(23, b"x", 0);
    for _ in 0..32 {
        rig.arrive_forged(23, b"", 0);
    }
    assert_eq!(rig.breach, None);
    rig.arrive_forged(23, b"", 0);
    assert_eq!(rig.breach, Some(Breach::Record));
}

#[test]
fn what_no_key_fits_or_no_place_is_for_ends_the_connection_with_an_alert() {
    type Make = fn(&mut Rig) -> Vec<u8>;
    let cases: [(&str, Make); 10] = [
        ("a flipped bit", |rig| {
            let mut record = rig.forge(23, b"data", 0);
            record[7] ^= 1;
            record
        }),
        ("a record twice", |rig| {
            let record = rig.forge(23, b"data", 0);
            [record.clone(), record].concat()
        }),
        ("a type that is none", |_| vec![99, 3, 3, 0, 1, 0]),
        ("plaintext", |_| vec![23, 3, 3, 0, 4, b'd', b'a', b't', b'a']),
        ("a change of cipher", |_| vec![20, 3, 3, 0, 1, 1]),
        ("a hello within", |rig| rig.forge(22, &[1, 0, 0, 2, 3, 3], 0)),
        ("a message that is none", |rig| rig.forge(22, &[24, 0, 1], 0)),
        ("more than a message", |rig| rig.forge(22, &[24, 0, 0, 1, 0, 24], 0)),
        ("no message", |rig| rig.forge(22, &[], 0)),
        ("a key update that is none", |rig| rig.forge(22, &[24, 0, 0, 1, 2], 0)),
    ];
    for (name, make) in cases {
        for split in [1, 4096] {
            let mut rig = Rig::new(split);
            rig.shake();
            let bytes = make(&mut rig);
            rig.arrive(&bytes);
            assert_eq!(rig.breach, Some(Breach::Record), "{name}");
            let before = rig.plain.len();
            assert!(rig.stage.driver.sent.len() > 7, "{name}: no alert");
            rig.client_hears();
            assert!(rig.is_client_broken, "{name}: the client has not been told");
            // Nothing more is understood, and nothing is sent.
            rig.arrive(&bytes);
            rig.send(b"answer", None);
            rig.settle();
            assert_eq!(rig.plain.len(), before, "{name}");
            assert_eq!(rig.sends, [Err(Errno(libc::EPIPE))], "{name}");
        }
    }
}

#[test]
fn garbage_instead_of_a_hello_fails_the_handshake() {
    let cases: [&[u8]; 5] = [
        &[0; 100],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[22, 3, 1, 255, 255, 0, 0],
        &[128, 46, 1, 3, 1],
        &[255; 64],
    ];
    for bytes in cases {
        for split in [1, 4096] {
            let mut rig = Rig::new(split);
            rig.arrive(bytes);
            if rig.breach.is_none() {
                // It could still become one.
                assert!(bytes[0] == 22, "{bytes:?}");
                rig.arrive(&[0; 20_000]);
            }
            assert_eq!(rig.breach, Some(Breach::Handshake), "{bytes:?}");
            assert_eq!(rig.stage.driver.sent[0], 21, "no alert: {:?}", rig.stage.driver.sent);
            assert_eq!(rig.stage.tally().failed.get(), 1);
        }
    }
}

#[test]
fn plain_http_is_let_through_after_it_is_told() {
    let mut rig = Rig::new(4096);
    rig.arrive(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(rig.breach, Some(Breach::PlainHttp));
    assert!(rig.plain.is_empty(), "nothing of it may be served");
    rig.send(b"HTTP/1.1 400 Bad Request\r\n\r\n", None);
    rig.settle();
    assert_eq!(rig.stage.driver.sent, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    rig.stage.shutdown_write(SOCKET);
    assert!(rig.stage.driver.is_shut);
}

#[test]
fn a_peer_that_says_goodbye_gets_its_answer_and_ours() {
    for version in [&TLS12, &TLS13] {
        let files = Files::new();
        let client = client_config(&files, &[version]);
        let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
        rig.shake();
        rig.client.writer().write_all(b"last words").unwrap();
        rig.client.send_close_notify();
        let bytes = rig.client_says();
        rig.arrive(&bytes);
        assert_eq!(rig.plain, b"last words");
        assert!(rig.is_eof);
        rig.send(b"answer", None);
        assert_eq!(rig.exchange(), b"answer");
        rig.stage.shutdown_write(SOCKET);
        rig.settle();
        assert!(rig.stage.driver.is_shut);
        assert!(!rig.stage.driver.sent.is_empty(), "no close_notify");
        rig.client_hears();
        assert_eq!(rig.client.reader().read(&mut [0; 8]).unwrap(), 0, "the client must see an orderly end");
        rig.stage.close(SOCKET);
        assert!(rig.stage.driver.is_closed);
    }
}

#[test]
fn a_peer_that_leaves_is_said_goodbye_to() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.client.send_close_notify();
    let bytes = rig.client_says();
    rig.arrive(&bytes);
    assert!(rig.is_eof);
    rig.stage.close(SOCKET);
    assert!(!rig.stage.driver.is_closed, "the goodbye is being sent");
    rig.settle();
    assert!(rig.stage.driver.is_closed && rig.stage.leaving.is_empty());
    rig.client_hears();
    assert_eq!(rig.client.reader().read(&mut [0; 8]).unwrap(), 0);
    // Not to one that was cut off.
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.stage.driver.sent.clear();
    rig.stage.abort(SOCKET);
    rig.stage.driver.end(rig.key, Received::Failed(Errno(libc::ECANCELED)));
    rig.settle();
    rig.stage.close(SOCKET);
    assert!(rig.stage.driver.is_closed && rig.stage.driver.sent.is_empty());
}

#[test]
fn we_say_goodbye_behind_what_is_being_sent() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.send(b"answer", None);
    rig.settle();
    rig.stage.shutdown_write(SOCKET);
    rig.settle();
    assert_eq!(rig.client_hears(), b"answer");
    assert!(rig.stage.driver.is_shut);
    assert_eq!(rig.client.reader().read(&mut [0; 8]).unwrap(), 0);
    // The peer's end comes without a goodbye: TCP tells.
    rig.stage.driver.end(rig.key, Received::Eof);
    rig.settle();
    assert!(rig.is_eof);
}

#[test]
fn the_last_answer_takes_the_goodbye_along() {
    for version in [&TLS12, &TLS13] {
        // In one block with the tickets, in the large one, in several, and where there is hardly room.
        for len in [1, 3900, 4020, 4044, 4060, 60_000, 65_600, 200_000] {
            let files = Files::new();
            let client = client_config(&files, &[version]);
            let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
            rig.shake();
            let answer: Vec<u8> = (0..len).map(|at: u32| at as u8).collect();
            rig.send_last(b"", Some(Payload::Owned(answer.clone())));
            rig.settle();
            assert!(!rig.is_sending && !rig.stage.driver.is_shut);
            let mut heard = rig.client_hears();
            let is_told = matches!(rig.client.reader().read(&mut [0; 8]), Ok(0));
            assert!(is_told || (4000..4100).contains(&len) || len > 60_000, "{len}: no goodbye");
            rig.stage.shutdown_write(SOCKET);
            rig.settle();
            heard.append(&mut rig.client_hears());
            assert!(rig.stage.driver.is_shut && heard == answer, "{len}");
            assert_eq!(rig.client.reader().read(&mut [0; 8]).unwrap(), 0, "{len}: no goodbye, or two");
        }
    }
}

#[test]
fn a_socket_waits_for_the_goodbye_but_not_for_ever() {
    for is_read in [true, false] {
        let mut rig = Rig::new(4096);
        rig.shake();
        rig.stage.driver.takes = None;
        rig.stage.shutdown_write(SOCKET);
        rig.stage.driver.end(rig.key, Received::Eof);
        rig.settle();
        rig.stage.close(SOCKET);
        assert!(!rig.stage.driver.is_closed && !rig.stage.driver.is_aborted);
        // Its place is another's by now.
        rig.stage.opened(Fd(8), rig.key, 0);
        if is_read {
            let (key, buffer) = rig.stage.driver.open.take().unwrap();
            let len = buffer.remaining() as u32;
            rig.stage.driver.events.push_back(Event::Sent { key, buffer, result: Ok(len) });
        } else {
            rig.stage.driver.now += 1999;
            rig.settle();
            assert!(!rig.stage.driver.is_aborted);
            rig.stage.driver.now += 1;
        }
        rig.settle();
        assert_eq!(rig.stage.driver.is_aborted, !is_read);
        assert!(rig.stage.driver.is_closed && rig.stage.leaving.is_empty());
        assert!(rig.sends.is_empty(), "nobody asked for that send");
    }
}

#[test]
fn keys_are_updated_in_both_directions() {
    let mut rig = Rig::new(4096);
    rig.shake();
    for _ in 0..5 {
        rig.client.refresh_traffic_keys().unwrap();
        rig.prove();
    }
    // One that wants ours to be new, while a send is open and another waits.
    rig.stage.driver.takes = None;
    rig.send(b"one", None);
    rig.arrive_forged(22, &[24, 0, 0, 1, 1], 0);
    let (key, buffer) = rig.stage.driver.open.take().unwrap();
    rig.stage.driver.takes = Some(usize::MAX);
    rig.stage.driver.sent.extend_from_slice(buffer.block());
    let len = buffer.remaining() as u32;
    rig.stage.driver.events.push_back(Event::Sent { key, buffer, result: Ok(len) });
    rig.settle();
    rig.send(b"two", None);
    rig.settle();
    assert_eq!(rig.client_hears(), b"onetwo");
    // In several records, with nothing between them.
    let mut rig = Rig::new(4096);
    rig.shake();
    for piece in [&[24, 0][..], &[0, 1], &[0]] {
        rig.arrive_forged(22, piece, 0);
    }
    rig.arrive_forged(23, b"by a new key", 0);
    assert_eq!((&*rig.plain, rig.breach), (&b"by a new key"[..], None));
    for between in [21, 23] {
        let mut rig = Rig::new(4096);
        rig.shake();
        rig.arrive_forged(22, &[24, 0], 0);
        assert_eq!(rig.breach, None);
        rig.arrive_forged(between, &[1, 0], 0);
        assert_eq!((rig.breach, rig.plain.len()), (Some(Breach::Record), 0));
    }
    // A flood of them is refused.
    let mut rig = Rig::new(4096);
    rig.shake();
    for _ in 0..40 {
        rig.client.refresh_traffic_keys().unwrap();
        let bytes = rig.client_says();
        rig.arrive(&bytes);
    }
    assert_eq!(rig.breach, Some(Breach::Record));
}

#[test]
fn a_new_handshake_is_declined_in_tls_12() {
    let files = Files::new();
    let client = client_config(&files, &[&TLS12]);
    let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
    rig.shake();
    rig.arrive_forged(22, &[1, 0, 0, 2, 3, 3], 0);
    assert_eq!(rig.breach, None);
    assert_eq!(rig.stage.driver.sent.len(), 5 + 8 + 2 + 16, "no warning");
    rig.arrive_forged(23, b"still here", 0);
    assert_eq!(rig.plain, b"still here");
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    for progress in [0, 1, 100] {
        let files = Files::new();
        let client = client_config(&files, &[&TLS13]);
        let options = TlsOptions { handshake_timeout: Some(Duration::from_secs(3)), ..TlsOptions::default() };
        let mut rig = Rig::with(files, options, client, 4096);
        let hello = rig.client_says();
        if progress > 0 {
            rig.arrive(&hello[..progress]);
        }
        rig.stage.driver.now += 2999;
        rig.settle();
        assert_eq!(rig.breach, None);
        assert_eq!(rig.stage.next_deadline(), Some(4000));
        rig.stage.driver.now += 1;
        rig.settle();
        assert_eq!(rig.breach, Some(Breach::Timeout));
        assert_eq!(rig.stage.next_deadline(), None);
    }
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.stage.driver.now += 100_000;
    rig.settle();
    assert_eq!(rig.breach, None, "it was over in time");
    assert_eq!(rig.stage.next_deadline(), None);
}

#[test]
fn a_client_that_never_reads_holds_its_send_alone() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.stage.driver.takes = None;
    rig.send(b"answer", Some(Payload::Static(&[1; 100_000])));
    rig.client.writer().write_all(b"another request").unwrap();
    let bytes = rig.client_says();
    rig.arrive(&bytes);
    assert_eq!(rig.plain, b"another request");
    assert!(rig.sends.is_empty());
    rig.stage.abort(SOCKET);
    rig.settle();
    assert_eq!(rig.sends, [Err(Errno(libc::ECANCELED))]);
}

#[test]
fn receives_end_where_the_connection_wants_and_begin_again() {
    let mut rig = Rig::new(4096);
    rig.shake();
    // In the middle of a record.
    rig.client.writer().write_all(&[9; 2000]).unwrap();
    let bytes = rig.client_says();
    rig.arrive(&bytes[..700]);
    rig.stage.stop_receiving(SOCKET, rig.key);
    let stopped = rig.stage.next();
    assert!(matches!(stopped, Some(Event::Received { outcome: Received::Stopped, more: false, .. })));
    rig.stage.receive(SOCKET, rig.key);
    rig.arrive(&bytes[700..]);
    assert_eq!(rig.plain, [9; 2000]);
    // A receive that ends by itself without any plaintext is started anew, and nobody is told.
    rig.client.writer().write_all(&[8; 2000]).unwrap();
    let bytes = rig.client_says();
    rig.stage.driver.arrive(rig.key, &bytes[..700], false);
    assert!(rig.stage.next().is_none());
    assert!(rig.stage.driver.is_receiving);
    rig.arrive(&bytes[700..]);
    assert_eq!(rig.plain[2000..], [8; 2000]);
}

#[test]
fn a_flood_of_handshakes_takes_turns() {
    let files = Files::new();
    let context = Context::new(&files.options(), &[b"http/1.1"]).unwrap();
    let client = Arc::new(client_config(&files, &[&TLS13]));
    let mut keys: Slab<()> = Slab::new(100);
    let mut stage = Stage::new(Fake::new(), vec![Some(context)], Blocks::new(SMALL), Arc::default(), None);
    let mut queue = Vec::new();
    for number in 0..20 {
        let key = keys.insert(()).unwrap();
        let mut client =
            ClientConnection::new(Arc::clone(&client), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        stage.driver.is_receiving = false;
        stage.opened(Fd(10 + number), key, 0);
        stage.receive(Fd(10 + number), key);
        queue.push((key, hello));
    }
    for (key, hello) in &queue {
        stage.driver.is_receiving = true;
        stage.driver.arrive(*key, hello, true);
    }
    let mut answered = Vec::new();
    for _ in 0..4 {
        stage.turn(None).unwrap();
        while stage.next().is_some() {}
        let sessions = stage.sessions.iter().flatten().map(AsRef::as_ref);
        let is_answered = |session: &&super::Session| {
            matches!(&session.state, State::Shaking(handshake) if !handshake.is_new()) && !session.is_queued
        };
        answered.push(sessions.filter(is_answered).count());
    }
    assert_eq!(answered, [8, 16, 20, 20]);
}

#[test]
fn tickets_resume_on_any_worker() {
    for version in [&TLS12, &TLS13] {
        let files = Files::new();
        let context = Context::new(&files.options(), &[b"http/1.1"]).unwrap();
        let client = Arc::new(client_config(&files, &[version]));
        let mut rig = Rig::on(Rc::new(files), Arc::clone(&context), Arc::clone(&client), 4096);
        rig.shake();
        assert!(!rig.info.clone().unwrap().is_resumed);
        // Another stage is another worker.
        let mut other = Rig::on(Rc::new(Files::new()), context, client, 4096);
        other.shake();
        assert!(other.info.clone().unwrap().is_resumed, "{version:?}");
        assert_eq!(other.stage.tally().resumed.get(), 1);
        other.prove();
    }
}

#[test]
fn handshakes_on_other_threads_come_to_the_same() {
    let offload = Offload::start(2);
    for version in [&TLS12, &TLS13] {
        for split in [7, 500, 4096] {
            let files = Files::new();
            let client = client_config(&files, &[version]);
            let mut rig = Rig::with(files, TlsOptions::default(), client, split);
            let returns = Returns::new(Waker::new().unwrap());
            rig.offload(Arc::clone(&offload), returns);
            while rig.client.is_handshaking() || rig.info.is_none() {
                let bytes = rig.client_says();
                rig.arrive(&bytes);
                std::thread::yield_now();
                rig.stage.driver.events.push_back(Event::Woken);
                rig.settle();
                rig.client_hears();
                assert_eq!(rig.breach, None);
            }
            rig.prove();
        }
    }
    // One that fails, and one whose connection is gone before it comes back.
    let mut rig = Rig::new(4096);
    let returns = Returns::new(Waker::new().unwrap());
    rig.offload(Arc::clone(&offload), returns);
    rig.arrive(&[22, 3, 1, 0, 4, 1, 0, 0, 0]);
    while rig.breach.is_none() {
        std::thread::yield_now();
        rig.stage.driver.events.push_back(Event::Woken);
        rig.settle();
    }
    assert_eq!(rig.breach, Some(Breach::Handshake));
    let mut rig = Rig::new(4096);
    let returns = Returns::new(Waker::new().unwrap());
    rig.offload(offload, returns);
    let bytes = rig.client_says();
    rig.arrive(&bytes);
    rig.stage.driver.end(rig.key, Received::Eof);
    rig.settle();
    rig.stage.close(SOCKET);
    rig.stage.driver.events.push_back(Event::Woken);
    rig.settle();
    assert!(rig.stage.driver.is_closed && rig.info.is_none());
}

#[test]
fn a_warm_connection_holds_no_buffer() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.prove();
    let session = rig.stage.sessions[rig.key.index() as usize].as_ref().unwrap();
    assert!(session.partial.is_none() && session.own.capacity() == 0 && session.held.is_none());
    assert_eq!(rig.stage.whole.stats().leased, 0);
    assert_eq!(rig.stage.small.stats().leased + rig.stage.large.stats().leased, 0);
}

#[test]
fn a_peer_that_asks_for_keys_and_never_reads_costs_one_answer() {
    for (version, message) in [(&TLS13, &[24, 0, 0, 1, 1][..]), (&TLS12, &[1, 0, 0, 0][..])] {
        let files = Files::new();
        let client = client_config(&files, &[version]);
        let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
        rig.shake();
        rig.stage.driver.takes = None;
        rig.send(b"stuck", None);
        for _ in 0..50 {
            for _ in 0..32 {
                rig.arrive_forged(22, message, 0);
            }
            rig.arrive_forged(23, b"x", 0);
        }
        assert_eq!(rig.plain.len(), 50);
        let session = rig.stage.sessions[rig.key.index() as usize].as_ref().unwrap();
        assert!(session.own.len() < 100, "{} bytes wait", session.own.len());
    }
}

#[test]
fn nothing_is_sent_behind_our_goodbye() {
    for (version, message) in [(&TLS13, &[24, 0, 0, 1, 1][..]), (&TLS12, &[1, 0, 0, 0][..])] {
        let files = Files::new();
        let client = client_config(&files, &[version]);
        let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
        rig.shake();
        rig.stage.shutdown_write(SOCKET);
        rig.settle();
        assert!(rig.stage.driver.is_shut);
        // The driver would not take a send any more.
        rig.arrive_forged(22, message, 0);
        let mut broken = rig.forge(23, b"x", 0);
        broken[8] ^= 1;
        rig.arrive(&broken);
        assert_eq!(rig.breach, Some(Breach::Record));
    }
}

#[test]
fn a_socket_is_closed_though_there_is_no_block_for_the_goodbye() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.stage.driver.end(rig.key, Received::Eof);
    rig.settle();
    let held: Vec<_> = std::iter::from_fn(|| rig.stage.small.lease()).collect();
    rig.stage.close(SOCKET);
    assert!(rig.stage.driver.is_closed && rig.stage.leaving.is_empty());
    drop(held);
    rig.settle();
    assert_eq!(rig.stage.next_deadline(), None);
}

#[test]
fn an_end_does_not_overtake_a_handshake_that_waits() {
    for offload in [None, Some(Offload::start(1))] {
        let mut rig = Rig::new(4096);
        rig.exchange_hello();
        rig.client.writer().write_all(b"a request").unwrap();
        let bytes = rig.client_says();
        let is_away = offload.is_some();
        if let Some(offload) = offload {
            rig.offload(offload, Returns::new(Waker::new().unwrap()));
        }
        rig.stage.flights_left = 0;
        // One turn brings the last flight with the request, and the end.
        rig.stage.driver.arrive(rig.key, &bytes, true);
        rig.stage.driver.end(rig.key, Received::Eof);
        while !rig.is_eof {
            while let Some(event) = rig.stage.next() {
                rig.handle(event);
            }
            rig.stage.turn(Some(0)).unwrap();
            if is_away {
                rig.stage.driver.events.push_back(Event::Woken);
            }
        }
        assert_eq!(rig.plain, b"a request");
        assert!(rig.info.is_some());
        assert_eq!(rig.breach, Some(Breach::Truncated), "it has not said goodbye");
        while let Some(event) = rig.stage.next() {
            assert!(matches!(event, Event::Woken), "{event:?} after the end");
        }
    }
}

#[test]
fn small_records_behind_a_handshake_share_blocks() {
    let mut rig = Rig::new(4096);
    rig.exchange_hello();
    let sent: Vec<u8> = (0..1500_u32).map(|number| number as u8).collect();
    for byte in &sent {
        rig.client.writer().write_all(&[*byte]).unwrap();
    }
    let bytes = rig.client_says();
    // All of them wait for the handshake's turn.
    rig.stage.flights_left = 0;
    for piece in bytes.chunks(4096) {
        rig.stage.driver.arrive(rig.key, piece, true);
    }
    while let Some(event) = rig.stage.next() {
        rig.handle(event);
    }
    rig.exchange();
    assert_eq!(rig.plain, sent);
    let most = rig.stage.whole.stats().peak_leased;
    assert!(most <= 5, "{most} blocks for {} bytes", bytes.len());
}

#[test]
fn a_message_in_a_great_many_records_is_given_up() {
    let files = Files::new();
    let client = client_config(&files, &[&TLS12]);
    let mut rig = Rig::with(files, TlsOptions::default(), client, 4096);
    let hello = rig.client_says();
    rig.arrive(&hello);
    // The beginning of a message that says it is as long as may be.
    let message = [16, 0, 0xff, 0xf0].into_iter().chain(std::iter::repeat_n(0, 30_000));
    let records: Vec<u8> = message.flat_map(|byte| [22, 3, 3, 0, 1, byte]).collect();
    rig.arrive(&records);
    assert_eq!(rig.breach, Some(Breach::Handshake));
}

#[test]
fn blocks_of_a_peak_are_given_back() {
    let mut rig = Rig::new(4096);
    rig.shake();
    assert!(!rig.stage.is_sparse());
    let mut held: Vec<_> = (0..400).map(|_| rig.stage.whole.lease().unwrap()).collect();
    assert!(!rig.stage.is_sparse(), "they are in use");
    held.truncate(80);
    assert!(rig.stage.is_sparse());
    rig.stage.trim();
    assert!(!rig.stage.is_sparse(), "once is enough");
    held.clear();
    assert!(rig.stage.is_sparse());
    rig.stage.trim();
    assert!(!rig.stage.is_sparse());
    assert!(rig.stage.whole.stats().mapped_blocks <= 32);
}

#[test]
fn a_peer_that_reads_slowly_is_seen_to_go_on() {
    let mut rig = Rig::new(4096);
    rig.shake();
    rig.stage.driver.takes = Some(3000);
    let answer = vec![7; 200_000];
    rig.send(b"", Some(Payload::Owned(answer.clone())));
    rig.settle();
    assert_eq!(rig.client_hears(), answer);
    // The first flight is as large as any, each that follows one record.
    let (first, others) = rig.sends.split_first().unwrap();
    assert_eq!(*first, Ok(65_536));
    assert!(
        others.len() >= 8 && others.iter().all(|sent| sent.is_ok_and(|sent| sent <= 16_384)),
        "{others:?}"
    );
}

#[test]
fn what_comes_while_a_handshake_waits_is_bounded() {
    for is_away in [false, true] {
        let mut rig = Rig::new(4096);
        if is_away {
            // No thread takes the job.
            rig.offload(Offload::start(0), Returns::new(Waker::new().unwrap()));
        }
        let hello = rig.client_says();
        rig.stage.flights_left = 0;
        rig.stage.driver.arrive(rig.key, &hello, true);
        let mut pieces = 0;
        while rig.stage.driver.is_receiving {
            rig.stage.driver.arrive(rig.key, &[23; 4096], true);
            while let Some(event) = rig.stage.next() {
                rig.handle(event);
            }
            pieces += 1;
        }
        assert!(pieces <= 17, "the kernel keeps the rest");
        assert!(rig.is_receiving && rig.breach.is_none(), "the connection need not know");
        // Whatever comes all the same is not kept without end.
        for _ in 0..300 {
            rig.stage.driver.is_receiving = true;
            rig.stage.driver.arrive(rig.key, &[23; 4096], true);
            while let Some(event) = rig.stage.next() {
                rig.handle(event);
            }
        }
        assert_eq!(rig.breach, Some(Breach::Handshake));
    }
}

#[test]
fn keys_that_are_new_right_behind_the_handshake_are_taken() {
    let mut rig = Rig::new(4096);
    rig.exchange_hello();
    rig.client.refresh_traffic_keys().unwrap();
    rig.client.writer().write_all(b"a request").unwrap();
    let bytes = rig.client_says();
    rig.arrive(&bytes);
    assert_eq!(rig.plain, b"a request");
    rig.send(b"an answer", None);
    assert_eq!(rig.exchange(), b"an answer");
}

#[test]
fn a_hello_in_any_pieces_finds_its_name() {
    for len in [1, 7, 200] {
        let files = Files::new();
        let client = client_config(&files, &[&TLS13]);
        let mut options = files.options();
        options.names.push(TlsName::new("localhost", options.certificate.clone().unwrap()));
        let mut rig = Rig::with(files, options, client, 4096);
        let hello = rig.client_says();
        for piece in hello[5..].chunks(len) {
            rig.arrive(&[&[22, 3, 1, 0, piece.len() as u8][..], piece].concat());
        }
        rig.client_hears();
        rig.shake();
        assert_eq!(rig.info.clone().unwrap().server_name.as_deref(), Some("localhost"));
        rig.prove();
    }
    // One that has no end.
    let files = Files::new();
    let client = client_config(&files, &[&TLS13]);
    let mut options = files.options();
    options.names.push(TlsName::new("localhost", options.certificate.clone().unwrap()));
    let mut rig = Rig::with(files, options, client, 4096);
    rig.arrive(&[22, 3, 1, 0, 4, 1, 0, 255, 0]);
    for _ in 0..70_000 / 4000 {
        rig.arrive(&[&[22, 3, 1, 0x0f, 0xa0][..], &[0; 4000]].concat());
    }
    assert_eq!(rig.breach, Some(Breach::Handshake));
}

#[test]
fn nothing_is_heard_after_an_abort() {
    let mut rig = Rig::new(4096);
    rig.shake();
    let goodbye = rig.forge(21, &[1, 0], 0);
    rig.stage.driver.arrive(rig.key, &goodbye, true);
    rig.stage.abort(SOCKET);
    rig.stage.driver.end(rig.key, Received::Stopped);
    rig.settle();
    assert!(!rig.is_eof && !rig.is_receiving);
    rig.stage.close(SOCKET);
    assert!(rig.stage.driver.is_closed);
}

#[test]
fn an_abort_ends_a_receive_that_was_stopped_for_a_handshake() {
    let mut rig = Rig::new(4096);
    // No thread takes the job.
    rig.offload(Offload::start(0), Returns::new(Waker::new().unwrap()));
    let hello = rig.client_says();
    rig.arrive(&hello);
    for _ in 0..17 {
        rig.stage.driver.arrive(rig.key, &[23; 4096], true);
    }
    // As far as the data goes: the end of the receive is under way then.
    while rig.stage.driver.is_receiving {
        let event = rig.stage.driver.next().expect("data");
        let Event::Received { key, outcome, more } = event else { panic!("{event:?}") };
        rig.stage.received(key, outcome, more);
    }
    rig.stage.abort(SOCKET);
    rig.settle();
    assert!(!rig.is_receiving, "the last event is missing");
}

#[test]
fn handshakes_that_find_the_threads_busy_take_turns() {
    let offload = Offload::start(0);
    let mut rig = Rig::new(4096);
    let mut keys: Slab<()> = Slab::new(2000);
    for _ in 0..1024 {
        let key = keys.insert(()).unwrap();
        let snapshot = rig.stage.contexts[1].as_ref().unwrap().snapshot();
        let returns = Returns::new(Waker::new().unwrap());
        offload.push(key, Box::new(crate::tls::handshake::Handshake::new(snapshot)), returns);
    }
    rig.offload(offload, Returns::new(Waker::new().unwrap()));
    rig.shake();
    rig.prove();
}
