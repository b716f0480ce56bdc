//! A fuzz target: peers that do anything, on a kernel that does anything, at any time.
//!
//! Owns the reading of a fuzzer's bytes as a script, and what must hold whatever it says. It must not know how.

use super::harness::Harness;
use crate::driver::Driver;
use crate::driver::sim::{Faults, Peer, Sim};

/// Pieces of requests that a fuzzer would take long to find.
const PIECES: [&[u8]; 24] = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"POST /s/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /s/count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"GET /s/large HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /s/upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    b"POST /s/ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
    b"POST /unwanted HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"POST /s/trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /s/wait HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /s/late-error HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /s/short HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /s/long HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /s/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /s/echo HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
    b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-A: b\r\n\r\n",
    b"5;a=\"b\"\r\nhel",
    b"lo\r\n1\r\n",
];

/// Plays the script that `data` is, then ends everything.
///
/// # Panics
/// Something leaks, or an answer follows what was said to be the last one.
pub(crate) fn play(data: &[u8]) {
    let mut script = data.iter().copied();
    let seed = script.next().unwrap_or(0);
    let faults = match seed % 4 {
        0 => Faults::NONE,
        1 | 2 => Faults::UNKIND,
        _ => Faults::BREAKING,
    };
    let (driver, world) = Sim::new(u64::from(seed), faults);
    let mut harness = Harness::with_settings(driver, world, |settings| {
        settings.max_request_buffer = 40_000;
        settings.max_response_buffer = 1000;
        settings.max_requests = (seed >= 128).then_some(3);
        settings.lifetime_millis = (seed >= 192).then_some(20_000);
    });
    let mut peers: Vec<(Peer, bool)> = Vec::new();
    let mut current = 0;
    while let Some(step) = script.next() {
        let mut next = || usize::from(script.next().unwrap_or(0));
        if peers.is_empty() || (step == 0 && peers.len() < 4) {
            peers.push((harness.world.connect(), false));
            current = peers.len() - 1;
        }
        let count = peers.len();
        let (peer, is_over) = &mut peers[current];
        match step {
            1 => current = next() % count,
            2..=5 => harness.turns(u32::from(step)),
            6 => harness.world.advance((next() as u64) * 100),
            7 => harness.world.advance((next() as u64) * 2000),
            8 => peer.set_window([None, Some(next() * 100)][next() % 2]),
            9 if !*is_over => {
                peer.shutdown();
                *is_over = true;
            }
            10 if !*is_over => {
                peer.reset();
                *is_over = true;
            }
            11 if !*is_over => {
                peer.close();
                *is_over = true;
            }
            12..=15 if !*is_over => peer.send(&[next() as u8]),
            16 if !*is_over => {
                let len = next();
                let bytes: Vec<u8> = (0..len).map(|_| next() as u8).collect();
                peer.send(&bytes);
            }
            17 if !*is_over => peer.send(&vec![b'x'; next() * 200]),
            18 => harness.connections.drain(),
            _ if !*is_over => peer.send(PIECES[usize::from(step) % PIECES.len()]),
            _ => {}
        }
    }
    harness.turns(10);
    harness.connections.end_all();
    harness.world.set_faults(Faults::NONE);
    // A peer that nobody has accepted is closed as it comes.
    harness
        .turn_until("all accepted", |harness| harness.connections.counters().accepted == peers.len() as u64);
    harness.connections.end_all();
    harness.assert_nothing_left();
    assert_eq!(harness.connections.driver.in_flight(), 0);
    peers.iter().for_each(|(peer, _)| check(&peer.received()));
}

/// Reads answers up to where they end or are cut off.
fn check(mut bytes: &[u8]) {
    let mut was_last = false;
    while let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
        assert!(!was_last, "more follows the last answer: {}", bytes.escape_ascii());
        let head = std::str::from_utf8(&bytes[..end + 2]).expect("a head of ASCII");
        assert!(head.starts_with("HTTP/1.1 "), "no head: {head:?}");
        bytes = &bytes[end + 4..];
        let has = |field: &str| head.contains(field);
        was_last = has("\r\nConnection: close\r\n");
        match &head[9..12] {
            "100" => continue,
            "101" => return,
            _ => {}
        }
        if has("\r\nTransfer-Encoding: chunked\r\n") {
            // Swallowed for HEAD: then the next head follows, or nothing.
            if bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 ") {
                continue;
            }
            loop {
                let Some(line) = memchr::memmem::find(bytes, b"\r\n") else { return };
                let size = std::str::from_utf8(&bytes[..line]).ok();
                let size =
                    size.and_then(|size| usize::from_str_radix(size, 16).ok()).expect("a chunk's size");
                bytes = &bytes[line + 2..];
                if size == 0 {
                    let Some(end) = memchr::memmem::find(bytes, b"\r\n") else { return };
                    let trailers = if end == 0 {
                        Some(2)
                    } else {
                        memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
                    };
                    let Some(end) = trailers else { return };
                    bytes = &bytes[end..];
                    break;
                }
                let Some(rest) = bytes.get(size + 2..) else { return };
                assert_eq!(&bytes[size..size + 2], b"\r\n");
                bytes = rest;
            }
        } else if let Some(length) = head.split("\r\nContent-Length: ").nth(1) {
            let length: usize =
                length.split("\r\n").next().and_then(|text| text.parse().ok()).expect("a length");
            let Some(rest) = bytes.get(length..) else { return };
            bytes = rest;
        } else {
            assert!(was_last, "an answer without an end: {head:?}");
            return;
        }
    }
}
