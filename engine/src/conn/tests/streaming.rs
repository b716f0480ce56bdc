//! Exchanges whose bodies are streamed, on the simulated kernel.

use super::*;

/// The chunked body of the only response in `bytes`, decoded, and what follows it.
fn chunked(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let head_end = memchr::memmem::find(bytes, b"\r\n\r\n").expect("a whole head") + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).expect("ASCII");
    assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head:?}");
    let (mut body, mut rest) = (Vec::new(), &bytes[head_end..]);
    loop {
        let line = memchr::memmem::find(rest, b"\r\n").expect("a chunk's line");
        let size = std::str::from_utf8(&rest[..line]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, rest.to_vec());
        }
        body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
}

fn status(peer: &Peer) -> u16 {
    let bytes = peer.received();
    std::str::from_utf8(&bytes[9..12]).expect("digits").parse().expect("a status")
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn post_chunked(path: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

const GET_A: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn bodies_stream_both_ways_whatever_the_kernel_does() {
    with_seeds(200, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let mut dice = Dice(seed);
        let peer = harness.connect();
        let body = pattern([1, 100, 5000, 300_000][dice.roll(4)]);
        let bytes = match dice.roll(3) {
            0 => post("/s/echo", &body),
            1 => post_chunked("/s/echo", &body, 1 + dice.roll(9000)),
            _ => post_chunked("/s/echo", &body, 1 + body.len() / 50),
        };
        let mut unsent = [GET_A, &bytes, GET_A].concat();
        while !unsent.is_empty() {
            let len = (1 + dice.roll(60_000)).min(unsent.len());
            peer.send(&unsent[..len]);
            unsent.drain(..len);
            harness.turns(dice.roll(4) as u32);
        }
        peer.shutdown();
        harness.assert_nothing_left();
        let got = peer.received();
        let second = memchr::memmem::find(&got, b"GET /a ").expect("the first answer") + 7;
        assert_eq!(responses(&got[..second]), [(200, b"GET /a ".to_vec())]);
        let (echoed, rest) = chunked(&got[second..]);
        assert_eq!(echoed, body);
        assert_eq!(responses(&rest[2..]), [(200, b"GET /a ".to_vec())]);
        assert!(peer.saw_eof());
    });
}

#[test]
fn every_split_of_a_streamed_request_counts_the_same() {
    let bytes = [post_chunked("/s/count", &pattern(100), 7), GET_A.to_vec()].concat();
    for split in 1..bytes.len() {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(&bytes[..split]);
        harness.turns(3);
        peer.send(&bytes[split..]);
        peer.shutdown();
        harness.assert_nothing_left();
        let expected = [(200, b"100".to_vec()), (200, b"GET /a ".to_vec())];
        assert_eq!(responses(&peer.received()), expected, "split at {split}");
    }
}

#[test]
fn large_responses_go_out_in_order_through_short_sends() {
    for send_at_most in [1000, 4096, 65_536, usize::MAX] {
        let mut harness = Harness::new(0, Faults { send_at_most, ..Faults::NONE });
        let peer = harness.connect();
        peer.send(b"GET /s/large HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.shutdown();
        harness.assert_nothing_left();
        let (body, rest) = chunked(&peer.received());
        assert_eq!(body, [&LARGE[..], b"between"].concat().repeat(20));
        assert_eq!(rest, b"\r\n");
    }
}

#[test]
fn a_writer_waits_for_a_slow_reader_and_memory_stays_bounded() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(0));
    peer.send(b"GET /s/large HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(50);
    assert!(harness.send_blocks.stats().leased <= 3, "{:?}", harness.send_blocks.stats());
    peer.set_window(None);
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(chunked(&peer.received()).0.len(), 20 * (LARGE_BYTES + 7));
}

#[test]
fn a_body_that_nobody_reads_makes_its_peer_wait() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let body = vec![b'x'; 1 << 20];
    peer.send(&post("/s/wait", &body));
    harness.turns(500);
    let key = harness.connections.table.iter_keys().next().expect("one connection");
    let connection = harness.connections.table.get(key).expect("it is there");
    assert!(connection.has(flag::PAUSED) && !connection.has(flag::RECEIVING));
    assert!(harness.connections.server.common.held_blocks.get() <= 8, "blocks go round");
    peer.reset();
    harness.connections.end_all();
    harness.assert_nothing_left();
}

#[test]
fn tiny_pieces_share_their_memory() {
    let mut harness = Harness::new(0, Faults { read_at_most: 6, ..Faults::NONE });
    let peer = harness.connect();
    peer.send(&post_chunked("/s/wait", &[b'x'; 2000], 1)[..10_000]);
    harness.turns(3000);
    assert!(harness.connections.server.common.held_blocks.get() <= 2);
    peer.reset();
    harness.connections.end_all();
    harness.assert_nothing_left();
}

#[test]
fn rfc9112_9_3_an_unread_body_is_drained_and_the_connection_goes_on() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let request = post("/s/ignore", &[b'x'; 50_000]);
    peer.send(&request[..1000]);
    harness.turn_until("the answer", |_| !peer.received().is_empty());
    peer.send(&request[1000..]);
    peer.send(GET_A);
    peer.shutdown();
    harness.assert_nothing_left();
    let expected = [(200, b"ignored".to_vec()), (200, b"GET /a ".to_vec())];
    assert_eq!(responses(&peer.received()), expected);
}

#[test]
fn kestrel_4_4_an_unread_body_that_does_not_come_in_5_seconds_ends_the_connection() {
    for path in ["/s/ignore", "/unwanted"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        let request = post(path, &[b'x'; 50_000]);
        peer.send(&request[..1000]);
        harness.turn_until("the answer", |_| !peer.received().is_empty());
        for _ in 0..4 {
            harness.world.advance(1000);
            peer.send(b"x");
            harness.turns(3);
            assert!(!peer.saw_eof());
        }
        harness.world.advance(1300);
        harness.turn_until("the end", |_| peer.saw_eof());
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::BodyDrainTimeout), 1, "{path}");
        assert_eq!(responses(&peer.received()).len(), 1);
    }
}

#[test]
fn an_unwanted_body_is_answered_at_the_head_and_drained() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let request = post("/unwanted", &[b'x'; 50_000]);
    peer.send(&request[..100]);
    harness.turn_until("the answer", |_| !peer.received().is_empty());
    assert_eq!(status(&peer), 404);
    peer.send(&request[100..]);
    peer.send(GET_A);
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(404, Vec::new()), (200, b"GET /a ".to_vec())]);
}

#[test]
fn an_unwanted_body_on_a_last_request_leaves_nothing_behind_for_others() {
    let mut harness = Harness::new(0, Faults::NONE);
    let (peer, other) = (harness.connect(), harness.connect());
    peer.send(b"POST /unwanted HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n");
    harness.turn_until("the end", |_| peer.saw_eof());
    other.send(GET_A);
    other.shutdown();
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(responses(&other.received()), [(200, b"GET /a ".to_vec())]);
}

#[test]
fn rfc9110_10_1_1_continue_is_sent_on_the_first_read_only() {
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    };
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(head("/s/count").as_bytes());
    harness.turn_until("100", |_| !peer.received().is_empty());
    assert_eq!(peer.received(), b"HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(b"abc");
    peer.shutdown();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(200, b"3".to_vec())]);

    // Not when the body is here already.
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send([head("/s/count").as_bytes(), b"abc"].concat().as_slice());
    peer.shutdown();
    harness.assert_nothing_left();
    assert!(memchr::memmem::find(&peer.received(), b"100 Continue").is_none());

    // Nor when nobody reads it: then nobody knows what the client does, and the connection ends.
    for path in ["/s/ignore", "/unwanted", "/small-no"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(head(path).as_bytes());
        if path == "/small-no" {
            harness.turn_until("100", |_| !peer.received().is_empty());
            peer.reset();
            harness.assert_nothing_left();
            continue;
        }
        harness.turn_until("the end", |_| peer.saw_eof());
        let got = peer.received();
        assert!(memchr::memmem::find(&got, b"100 Continue").is_none());
        assert!(memchr::memmem::find(&got, b"\r\nConnection: close\r\n").is_some());
        peer.close();
        harness.assert_nothing_left();
    }
}

#[test]
fn what_breaks_in_a_streamed_body_is_rejected_and_nothing_more_is_answered() {
    let broken = [
        (&b"POST /s/count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX"[..], 400),
        (b"POST /s/count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", 400),
        (b"POST /s/count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST /s/count HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
    ];
    for (request, expected) in broken {
        for split in [request.len(), request.len() - 3] {
            let mut harness = Harness::new(0, Faults::NONE);
            let peer = harness.connect();
            peer.send(&request[..split]);
            harness.turns(4);
            peer.send(&request[split..]);
            if expected == 413 {
                peer.send(&vec![b'x'; (1 << 20) + 1]);
            }
            peer.send(GET_A);
            harness.turn_until("the end", |_| peer.saw_eof());
            peer.close();
            harness.assert_nothing_left();
            assert_eq!(responses(&peer.received()), [(expected, Vec::new())], "{}", request.escape_ascii());
            assert_eq!(harness.ended(EndReason::InvalidRequest), 1);
        }
    }
}

#[test]
fn kestrel_1_1_a_slow_body_is_answered_with_408() {
    for path in ["/s/count", "/whole"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n").as_bytes());
        harness.turns(3);
        // 300 bytes a second will do.
        for _ in 0..10 {
            peer.send(&[b'x'; 300]);
            harness.turns(3);
            harness.world.advance(1000);
        }
        harness.turns(3);
        assert!(!peer.saw_eof(), "{path}");
        // 3000 bytes last for 12.5 s, of which 10 are over.
        harness.world.advance(2000);
        harness.turns(3);
        assert!(!peer.saw_eof(), "{path}");
        harness.world.advance(1000);
        harness.turn_until("the end", |_| peer.saw_eof());
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(responses(&peer.received()), [(408, Vec::new())], "{path}");
        assert_eq!(harness.ended(EndReason::RequestBodyTimeout), 1, "{path}");
    }
}

#[test]
fn time_in_which_nobody_reads_is_not_the_peers() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"POST /s/wait HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nx");
    harness.turns(3);
    harness.world.advance(100_000);
    harness.turns(3);
    assert!(!peer.saw_eof() && harness.connections.len() == 1);
    peer.reset();
    harness.assert_nothing_left();
}

#[test]
fn kestrel_1_1_a_slow_reader_is_aborted() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.set_window(Some(100));
    peer.send(b"GET /s/large HTTP/1.1\r\nHost: a\r\n\r\n");
    harness.turns(10);
    // The first send is the head and 100,000 bytes: 417 s at 240 bytes a second, but no pause of 130 s.
    harness.world.advance(120_000);
    harness.turns(10);
    assert_eq!(harness.connections.len(), 1);
    harness.world.advance(11_000);
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::StalledTransfer), 1);

    let (driver, world) = Sim::new(0, Faults::NONE);
    let mut harness = Harness::with_settings(driver, world, |settings| {
        settings.min_response_rate = Some(Rate::from(RATE));
    });
    let peer = harness.connect();
    peer.set_window(Some(10));
    peer.send(GET_A);
    harness.turns(10);
    harness.world.advance(4900);
    harness.turns(10);
    assert_eq!(harness.connections.len(), 1);
    harness.world.advance(500);
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::MinResponseDataRate), 1);
}

#[test]
fn a_handler_that_fails_before_its_response_answers_500() {
    for path in ["/s/nothing", "/s/error", "/s/panic"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        peer.send(GET_A);
        harness.turn_until("the end", |_| peer.saw_eof());
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(responses(&peer.received()), [(500, Vec::new())], "{path}");
    }
}

#[test]
fn a_response_that_cannot_be_whole_is_never_taken_for_that() {
    for path in ["/s/late-error", "/s/short"] {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        peer.send(GET_A);
        harness.turn_until("gone", |harness| harness.connections.len() == 0);
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::ErrorAfterStartingResponse), 1, "{path}");
        assert!(memchr::memmem::find(&peer.received(), b"0\r\n\r\n").is_none());
    }
}

#[test]
fn a_body_that_is_too_long_is_cut_and_ends_the_connection() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"GET /s/long HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.send(GET_A);
    harness.turn_until("the end", |_| peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    assert_eq!(responses(&peer.received()), [(200, b"full".to_vec())]);
}

#[test]
fn rfc9110_7_8_an_upgrade_hands_over_the_connection_with_what_has_arrived() {
    with_seeds(50, |seed| {
        let (driver, world) = Sim::new(seed, Faults::UNKIND);
        let gate = Arc::new(Gate::new(GateLimits { upgraded: Some(1), ..GateLimits::default() }));
        let mut harness = Harness::with_settings(driver, world, |settings| settings.gate = gate);
        let upgrade =
            b"GET /s/upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other, ECHO\r\n\r\n";
        let peer = harness.connect();
        peer.send(&[&upgrade[..], b"early"].concat());
        harness.turn_until("an echo", |_| peer.received().ends_with(b"early"));
        let second = harness.connect();
        second.send(upgrade);
        harness.turn_until("a refusal", |_| second.received().ends_with(b"open"));
        assert_eq!(status(&second), 426);
        second.shutdown();
        harness.turns(5);
        // Nothing of it is HTTP any more, and no time counts.
        peer.send(GET_A);
        harness.world.advance(10 * KEEP_ALIVE);
        harness.turn_until("an echo", |_| peer.received().ends_with(GET_A));
        peer.shutdown();
        harness.turn_until("the end", |_| peer.saw_eof());
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::UpgradedClosed), 1);
        assert_eq!(status(&peer), 101);
        let head = String::from_utf8_lossy(&peer.received()).into_owned();
        assert!(head.contains("\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly"), "{head}");
        // Its place is free again.
        let third = harness.connect();
        third.send(upgrade);
        harness.turn_until("a hand-over", |_| third.received().ends_with(b"\r\n\r\n"));
        assert_eq!(status(&third), 101);
        third.reset();
        harness.assert_nothing_left();
    });
}

#[test]
fn rfc9110_7_8_no_upgrade_without_being_asked_or_from_http_1_0_or_with_a_body() {
    let requests = [
        &b"GET /s/upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\n\r\n"[..],
        b"GET /s/upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        b"GET /s/upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        b"GET /s/upgrade HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: echo\r\n\r\n",
        b"POST /s/upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 1\r\n\r\nx",
    ];
    for request in requests {
        let mut harness = Harness::new(0, Faults::NONE);
        let peer = harness.connect();
        peer.send(request);
        peer.shutdown();
        harness.assert_nothing_left();
        assert_eq!(status(&peer), 426, "{}", request.escape_ascii());
    }
}

#[test]
fn rfc9110_6_5_trailers_go_both_ways_and_apart_from_the_fields() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let request = b"POST /s/trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    for byte in request {
        peer.send(&[*byte]);
        harness.turns(1);
    }
    peer.shutdown();
    harness.assert_nothing_left();
    let (body, rest) = chunked(&peer.received());
    assert_eq!((body, rest), (b"X-A=1,X-B=2".to_vec(), b"X-Sum: 7\r\n\r\n".to_vec()));
}

#[test]
fn rfc9112_6_1_http_1_0_gets_no_chunks_but_the_end_of_the_connection() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"POST /s/echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello");
    harness.turn_until("the end", |_| peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    let got = String::from_utf8_lossy(&peer.received()).into_owned();
    assert!(got.ends_with("\r\n\r\nhello") && got.contains("\r\nConnection: close\r\n"), "{got}");
    assert!(!got.contains("chunked") && !got.contains("keep-alive"), "{got}");
}

#[test]
fn rfc9110_9_3_2_head_swallows_what_is_streamed() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    peer.send(b"HEAD /s/large HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.send(GET_A);
    peer.shutdown();
    harness.assert_nothing_left();
    let got = peer.received();
    let end = memchr::memmem::find(&got, b"\r\n\r\n").expect("a head") + 4;
    assert!(memchr::memmem::find(&got[..end], b"chunked").is_some());
    assert_eq!(responses(&got[end..]), [(200, b"GET /a ".to_vec())]);
}

#[test]
fn a_client_that_goes_takes_its_handler_along_wherever_that_waits() {
    with_seeds(300, |seed| {
        let mut harness = Harness::new(seed, Faults::UNKIND);
        let mut dice = Dice(seed);
        let paths = ["/s/count", "/s/echo", "/s/large", "/s/wait", "/s/ignore", "/s/upgrade", "/s/trailers"];
        let peers: Vec<Peer> = (0..6)
            .map(|_| {
                let peer = harness.world.connect();
                let request = post_chunked(paths[dice.roll(paths.len())], &pattern(20_000), 1000);
                peer.set_window([None, Some(dice.roll(50_000))][dice.roll(2)]);
                peer.send(&request[..dice.roll(request.len() + 1)]);
                harness.turns(dice.roll(10) as u32);
                match dice.roll(4) {
                    0 => peer.reset(),
                    1 => peer.close(),
                    2 => peer.shutdown(),
                    _ => {}
                }
                peer
            })
            .collect();
        harness.turn_until("accepted", |harness| harness.connections.counters().accepted == 6);
        harness.turns(dice.roll(20) as u32);
        harness.connections.end_all();
        harness.assert_nothing_left();
        drop(peers);
    });
}

#[test]
fn a_reset_that_the_receive_has_missed_is_found_out_in_a_second() {
    let requests = [
        &b"GET /a HTTP/1.1\r\nHo"[..],
        b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc",
        b"POST /s/count HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc",
        b"GET /s/wait HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in requests {
        for seed in 0..4 {
            let mut harness = Harness::new(seed, Faults { missed_ends: true, ..Faults::NONE });
            let peer = harness.connect();
            peer.send(request);
            peer.reset();
            harness.turns(5);
            harness.world.advance(1300);
            harness.turns(5);
            assert_eq!(harness.connections.len(), 0, "{}", request.escape_ascii());
            harness.assert_nothing_left();
            assert_eq!(harness.ended(EndReason::ConnectionReset), 1);
        }
    }
}

#[test]
fn a_silent_peer_that_is_still_there_is_checked_once_and_kept() {
    let mut harness = Harness::new(0, Faults { missed_ends: true, ..Faults::NONE });
    let peer = harness.connect();
    peer.send(b"GET /s/wait HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..20 {
        harness.turns(3);
        harness.world.advance(1000);
    }
    assert_eq!(harness.connections.len(), 1);
    peer.send(b"more");
    peer.reset();
    harness.turns(3);
    harness.world.advance(1300);
    harness.assert_nothing_left();
}

#[test]
fn a_drain_lets_streams_finish() {
    let mut harness = Harness::new(0, Faults::NONE);
    let peer = harness.connect();
    let request = post("/s/count", b"abc");
    peer.send(&request[..request.len() - 1]);
    harness.turns(5);
    harness.connections.drain();
    harness.turns(5);
    peer.send(b"c");
    harness.turn_until("the end", |_| peer.saw_eof());
    peer.close();
    harness.assert_nothing_left();
    let got = peer.received();
    assert!(memchr::memmem::find(&got, b"\r\nConnection: close\r\n").is_some());
    assert_eq!(responses(&got), [(200, b"3".to_vec())]);
    assert_eq!(harness.ended(EndReason::ShuttingDown), 1);
}
