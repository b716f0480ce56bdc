//! Every reason to refuse a request and every reason to end a connection: each happens, and is counted.

use super::*;
#[cfg(feature = "tls")]
use crate::driver::secure::Breach;
#[cfg(feature = "tls")]
use crate::driver::{Event, Received};
use crate::proto::TLS_ALERT;

/// A settled answer to `bytes`: the harness that counted, and the peer.
fn after(bytes: &[u8], change: impl FnOnce(&mut Settings)) -> (Harness, Peer) {
    let (driver, world) = Sim::new(0, Faults::NONE);
    let mut harness = Harness::with_settings(driver, world, change);
    let peer = harness.connect();
    peer.send(bytes);
    harness.turns(10);
    (harness, peer)
}

fn request(method: &str, path: &str, fields: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn chunked(rest: &str) -> Vec<u8> {
    [request("POST", "/b", "Transfer-Encoding: chunked\r\n"), rest.as_bytes().to_vec()].concat()
}

fn refused(harness: &Harness, peer: &Peer, rejection: Rejection) {
    let status = rejection.status();
    assert_eq!(responses(&peer.received()), [(status, Vec::new())], "{rejection:?}");
    let counted = &harness.connections.counters().rejections;
    assert_eq!(counted[rejection.kind()], 1, "{rejection:?}");
    assert_eq!(counted.iter().sum::<u64>(), 1, "{rejection:?}");
    let head = String::from_utf8_lossy(&peer.received()).into_owned();
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert_eq!(head.contains("\r\nRetry-After: 1\r\n"), status == 503, "{head}");
}

#[test]
fn every_rejection_is_answered_with_its_status_and_counted() {
    use peregrine_parser::{ChunkError, HeadError};

    let large = format!("0\r\nA: {}\r\n\r\n", "x".repeat(40_000));
    let whole = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Rejection::Head(HeadError::MissingHost)),
        (chunked("x\r\n"), Rejection::Chunk(ChunkError::InvalidSize)),
        (chunked("0\r\nA : b\r\n\r\n"), Rejection::Trailer(HeadError::WhitespaceBeforeColon)),
        (chunked(&large), Rejection::Trailer(HeadError::FieldsTooLarge)),
        (chunked("0\r\nContent-Length: 1\r\n\r\n"), Rejection::ForbiddenTrailer),
        (request("POST", "/small", "Content-Length: 6\r\n"), Rejection::BodyTooLarge),
        (b"POST / HTTP/1.0\r\n\r\n".to_vec(), Rejection::LengthRequired),
        (request("POST", "/b", "Expect: tea\r\nContent-Length: 1\r\n"), Rejection::UnknownExpectation),
    ];
    for (bytes, rejection) in whole {
        let (mut harness, peer) = after(&bytes, |_| {});
        refused(&harness, &peer, rejection);
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::InvalidRequest), 1, "{rejection:?}");
    }

    let (mut harness, peer) = after(b"GET / HT", |_| {});
    harness.world.advance(HEADERS + 500);
    harness.turns(5);
    refused(&harness, &peer, Rejection::HeadTimeout);

    let (mut harness, peer) = after(&request("POST", "/b", "Content-Length: 9\r\n"), |_| {});
    harness.world.advance(5500);
    harness.turns(5);
    refused(&harness, &peer, Rejection::BodyTimeout);

    let body = [request("POST", "/b", "Content-Length: 90000\r\n"), vec![b'x'; 50_000]].concat();
    let (harness, peer) = after(&body, |settings| settings.max_assembled = 20_000);
    refused(&harness, &peer, Rejection::BodiesTooLarge);

    let gate = |limits| Arc::new(Gate::new(limits));
    let none = gate(GateLimits { connections: Some(0), ..GateLimits::default() });
    let (harness, peer) = after(&request("GET", "/a", ""), |settings| settings.gate = none);
    refused(&harness, &peer, Rejection::TooManyConnections);

    // A TLS handshake is told so in its own words.
    let (mut harness, peer) = after(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", |_| {});
    assert_eq!(peer.received(), TLS_ALERT);
    assert_eq!(harness.connections.counters().rejections[Rejection::TlsOnPlainHttp.kind()], 1);
    peer.close();
    harness.assert_nothing_left();

    #[cfg(feature = "tls")]
    {
        let (mut harness, peer) = after(b"", |_| {});
        breach(&mut harness, Breach::PlainHttp);
        refused(&harness, &peer, Rejection::PlainHttpOnTls);
    }
    // Sockets of the simulator have no address: the gate's own tests count by them.
    assert_eq!(Rejection::TlsOnPlainHttp.kind() + 1, Rejection::KINDS, "each kind is above");
}

/// What a stage that secures connections would tell of the only one.
#[cfg(feature = "tls")]
fn breach(harness: &mut Harness, breach: Breach) {
    let key = harness.connections.table.iter_keys().next().expect("one connection");
    let outcome = Received::Broken(breach);
    assert!(harness.connections.handle(Event::Received { key, outcome, more: true }).is_none());
    harness.turns(5);
}

#[cfg(feature = "tls")]
#[test]
fn every_breach_ends_its_connection_in_order() {
    for (told, reason) in [
        (Breach::Handshake, EndReason::TlsHandshakeFailed),
        (Breach::Timeout, EndReason::TlsHandshakeTimeout),
        (Breach::Record, EndReason::TlsRecordInvalid),
    ] {
        let (mut harness, peer) = after(b"", |_| {});
        breach(&mut harness, told);
        assert!(peer.saw_eof() && peer.received().is_empty(), "{told:?}");
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(reason), 1, "{told:?}");
        // While something is being sent there is no order to keep.
        let (driver, world) = Sim::new(0, Faults::NONE);
        let mut harness = Harness::with_settings(driver, world, |_| {});
        let peer = harness.connect();
        peer.set_window(Some(0));
        peer.send(&request("GET", "/a", ""));
        harness.turns(10);
        breach(&mut harness, told);
        harness.assert_nothing_left();
        assert_eq!(harness.ended(reason), 1, "{told:?}");
    }
}

/// How to come to an end.
type Scenario = fn() -> Harness;

fn wait(mut harness: Harness, millis: u64) -> Harness {
    harness.world.advance(millis);
    harness.turns(10);
    harness
}

fn ended_by(bytes: &[u8], then: impl FnOnce(&mut Harness, &Peer)) -> Harness {
    let (mut harness, peer) = after(bytes, |_| {});
    then(&mut harness, &peer);
    harness.turns(10);
    harness
}

/// Every reason, but for the few that need what the simulator does not have.
const SCENARIOS: [(EndReason, Scenario); 19] = [
    (EndReason::ClosedByPeer, || ended_by(b"", |_, peer| peer.close())),
    (EndReason::UnexpectedEndOfRequest, || ended_by(b"GET / HT", |_, peer| peer.close())),
    (EndReason::ClosedBeforeResponse, || {
        ended_by(&request("GET", "/a/sleep/60000", ""), |harness, peer| {
            peer.close();
            harness.turns(2);
            harness.world.advance(HALF_CLOSED + 500);
        })
    }),
    (EndReason::ConnectionReset, || ended_by(b"GET / HT", |_, peer| peer.reset())),
    (EndReason::ClosedAfterResponse, || {
        ended_by(&request("GET", "/a", "Connection: close\r\n"), |_, peer| peer.close())
    }),
    (EndReason::InvalidRequest, || ended_by(b"G@T / HTTP/1.1\r\n", |_, peer| peer.close())),
    (EndReason::KeepAliveTimeout, || {
        ended_by(&request("GET", "/a", ""), |harness, peer| {
            harness.world.advance(KEEP_ALIVE + 500);
            harness.turns(5);
            peer.close();
        })
    }),
    (EndReason::LifetimeReached, || {
        let (mut harness, peer) = after(&request("GET", "/a", ""), |s| s.lifetime_millis = Some(10_000));
        harness.world.advance(9000);
        harness.turns(5);
        assert!(!peer.saw_eof());
        harness.world.advance(1500);
        harness.turns(5);
        peer.close();
        wait(harness, 0)
    }),
    (EndReason::RequestLimitReached, || {
        let two = request("GET", "/a", "").repeat(3);
        let (harness, peer) = after(&two, |settings| settings.max_requests = Some(2));
        assert_eq!(responses(&peer.received()).len(), 2);
        peer.close();
        wait(harness, 0)
    }),
    (EndReason::RequestHeadersTimeout, || {
        ended_by(b"GET / HT", |harness, peer| {
            harness.world.advance(HEADERS + 500);
            harness.turns(5);
            peer.close();
        })
    }),
    (EndReason::RequestBodyTimeout, || {
        ended_by(&request("POST", "/b", "Content-Length: 9\r\n"), |harness, peer| {
            harness.world.advance(5500);
            harness.turns(5);
            peer.close();
        })
    }),
    (EndReason::BodyDrainTimeout, || {
        ended_by(&request("POST", "/s/ignore", "Content-Length: 9\r\n"), |harness, peer| {
            harness.world.advance(5500);
            harness.turns(5);
            peer.close();
        })
    }),
    (EndReason::StalledTransfer, || {
        let (driver, world) = Sim::new(0, Faults::NONE);
        let mut harness = Harness::with_driver(driver, world);
        let peer = harness.connect();
        peer.set_window(Some(1));
        peer.send(&request("GET", "/a", ""));
        harness.turns(5);
        wait(harness, KEEP_ALIVE + 500)
    }),
    (EndReason::MinResponseDataRate, || {
        let (driver, world) = Sim::new(0, Faults::NONE);
        let rate = Some(Rate::from(RATE));
        let mut harness = Harness::with_settings(driver, world, |s| s.min_response_rate = rate);
        let peer = harness.connect();
        peer.set_window(Some(1));
        peer.send(&request("GET", "/a", ""));
        harness.turns(5);
        wait(harness, 5500)
    }),
    (EndReason::TooManyConnections, || {
        let none = GateLimits { connections: Some(0), ..GateLimits::default() };
        let (harness, peer) = after(b"", |settings| settings.gate = Arc::new(Gate::new(none)));
        assert!(peer.received().is_empty());
        // It asks for nothing: then it is told unasked, at last.
        let harness = wait(harness, 5500);
        assert_eq!(responses(&peer.received()), [(503, Vec::new())]);
        peer.close();
        wait(harness, 0)
    }),
    (EndReason::ErrorAfterStartingResponse, || after(&request("GET", "/s/late-error", ""), |_| {}).0),
    (EndReason::UpgradedClosed, || {
        let upgrade = request("GET", "/s/upgrade", "Connection: upgrade\r\nUpgrade: echo\r\n");
        ended_by(&upgrade, |_, peer| peer.shutdown())
    }),
    (EndReason::ShuttingDown, || {
        ended_by(b"", |harness, peer| {
            harness.connections.drain();
            harness.turns(5);
            peer.close();
        })
    }),
    (EndReason::ShutdownTimeout, || ended_by(b"GET / HT", |harness, _| harness.connections.end_all())),
];

#[test]
fn every_end_has_its_reason() {
    for (reason, scenario) in SCENARIOS {
        let mut harness = scenario();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(reason), 1, "{reason:?}: {:?}", harness.connections.counters().ended);
    }
    let told = SCENARIOS.map(|(reason, _)| reason as usize);
    // No memory is `no_block_to_answer_with_ends_the_connection`; addresses are on loopback.
    // Those of TLS are `every_breach_ends_its_connection_in_order`.
    let elsewhere = [
        EndReason::OutOfMemory as usize,
        EndReason::TooManyConnectionsOfAddress as usize,
        EndReason::TlsHandshakeFailed as usize,
        EndReason::TlsHandshakeTimeout as usize,
        EndReason::TlsRecordInvalid as usize,
    ];
    let missing =
        (0..EndReason::COUNT).filter(|reason| !told.contains(reason) && !elsewhere.contains(reason));
    assert_eq!(missing.count(), 0, "a reason has no scenario");
}

#[cfg(feature = "tls")]
#[test]
fn an_end_without_a_goodbye_is_one_like_any_other() {
    let torn = b"GET / HT";
    for (sent, reason) in [(&b""[..], EndReason::ClosedByPeer), (torn, EndReason::UnexpectedEndOfRequest)] {
        let (mut harness, peer) = after(sent, |_| {});
        breach(&mut harness, Breach::Truncated);
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(reason), 1, "{reason:?}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn rfc8446_6_1_another_protocol_is_told_of_an_end_without_a_goodbye() {
    // The second handler comes to its upgrade when the end has come already, behind bytes that belong to it.
    for (path, is_torn, told) in [
        ("/s/upgrade-end", false, &b"closed"[..]),
        ("/s/upgrade-end", true, b"torn"),
        ("/s/upgrade-late", false, b"closed"),
        ("/s/upgrade-late", true, b"torn"),
    ] {
        let upgrade = request("GET", path, "Connection: upgrade\r\nUpgrade: end\r\n");
        let (mut harness, peer) = after(&[&upgrade[..], b"early"].concat(), |_| {});
        if is_torn {
            breach(&mut harness, Breach::Truncated);
        }
        peer.shutdown();
        harness.turns(5);
        harness.world.advance(200);
        harness.turn_until("its word for it", |_| peer.received().ends_with(told));
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::UpgradedClosed), 1);
    }
}

#[cfg(feature = "tls")]
#[test]
fn plain_http_that_comes_too_late_is_not_answered() {
    // While it lingers, and once it is ending.
    for is_ending in [false, true] {
        let (mut harness, peer) = after(b"", |_| {});
        if is_ending {
            harness.connections.end_all();
        } else {
            harness.connections.drain();
        }
        let key = harness.connections.table.iter_keys().next().expect("it is not closed yet");
        let outcome = Received::Broken(Breach::PlainHttp);
        assert!(harness.connections.handle(Event::Received { key, outcome, more: true }).is_none());
        harness.turns(5);
        peer.close();
        harness.assert_nothing_left();
        assert!(peer.received().is_empty());
    }
}

#[test]
fn no_block_to_answer_with_ends_the_connection() {
    let shape = BlockConfig { block_bytes: 4096, stride_bytes: 4096, max_blocks: 1, chunk_blocks: 1 };
    for path in ["/a", "/s/count"] {
        let blocks = Blocks::new(shape);
        let held = blocks.lease().expect("the only one");
        let (driver, world) = Sim::new(0, Faults::NONE);
        let mut harness = Harness::with_settings(driver, world, |s| s.send_blocks = blocks.clone());
        let peer = harness.connect();
        peer.send(&request("GET", path, ""));
        harness.turns(10);
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::OutOfMemory), 1, "{path}");
        drop(held);
    }
}

#[test]
fn too_many_that_wait_to_be_told_are_closed_without_a_word() {
    let none = GateLimits { connections: Some(0), ..GateLimits::default() };
    let (driver, world) = Sim::new(0, Faults::NONE);
    let mut harness =
        Harness::with_settings(driver, world, |settings| settings.gate = Arc::new(Gate::new(none)));
    let peers: Vec<Peer> = (0..300).map(|_| harness.world.connect()).collect();
    harness.turn_until("all accepted", |harness| harness.connections.counters().accepted == 300);
    assert_eq!(harness.connections.len(), 256);
    harness.world.advance(5500);
    harness.turns(10);
    peers.iter().for_each(Peer::close);
    harness.assert_nothing_left();
    assert_eq!(harness.ended(EndReason::TooManyConnections), 300);
    assert_eq!(peers.iter().filter(|peer| !peer.received().is_empty()).count(), 256);
}

#[test]
fn the_last_request_that_a_connection_may_bring_says_so() {
    for path in ["/a", "/s/ignore"] {
        let bytes = request("GET", path, "").repeat(2);
        let (mut harness, peer) = after(&bytes, |settings| settings.max_requests = Some(2));
        harness.turn_until("the end", |_| peer.saw_eof());
        let got = peer.received();
        let first = memchr::memmem::find(&got, b"\r\nConnection: close\r\n").expect("the last says so");
        let second = memchr::memmem::rfind(&got, b"HTTP/1.1 ").expect("two answers");
        assert!(first > second && second > 0, "{path}");
        peer.close();
        harness.assert_nothing_left();
        assert_eq!(harness.ended(EndReason::RequestLimitReached), 1, "{path}");
    }
}

#[test]
fn kestrel_1_1_the_request_buffer_holds_its_limit_and_not_a_byte_more() {
    for (arrived, pauses) in [(1000, false), (1001, true)] {
        let (mut harness, peer) =
            after(&request("POST", "/s/wait", "Content-Length: 9000\r\n"), |s| s.max_request_buffer = 1000);
        peer.send(&vec![b'x'; arrived]);
        harness.turns(5);
        let key = harness.connections.table.iter_keys().next().expect("one connection");
        let connection = harness.connections.table.get(key).expect("it is there");
        assert_eq!(connection.has(flag::PAUSED), pauses, "{arrived}");
        peer.reset();
        harness.connections.end_all();
        harness.assert_nothing_left();
    }
}

#[test]
fn kestrel_1_1_a_writer_waits_at_the_limit_of_the_response_buffer() {
    // `/s/large` writes 100,007 bytes before it waits for the first time; what waits shows in what it has sent
    // blocks for: a second piece is there only if the first left room.
    for (limit, waits) in [(LARGE_BYTES * 3, false), (100_000, true), (0, true)] {
        let (driver, world) = Sim::new(0, Faults::NONE);
        let mut harness = Harness::with_settings(driver, world, |s| s.max_response_buffer = limit);
        let peer = harness.connect();
        peer.set_window(Some(0));
        peer.send(&request("GET", "/s/large", ""));
        harness.turns(20);
        // A block for the head and the first piece, one for what follows it.
        assert_eq!(harness.send_blocks.stats().leased <= 2, waits, "{limit}");
        peer.reset();
        harness.connections.end_all();
        harness.assert_nothing_left();
    }
}
