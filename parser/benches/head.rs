//! Nanoseconds per head and per chunked body, on every level of this processor, and of httparse beside it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peregrine_parser::{
    Chunk, ChunkedDecoder, Field, HeadLimits, HeadParser, Simd, Status, check_host, connection_options,
    parse_target, request_body,
};
use std::hint::black_box;

const PLAINTEXT: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: server\r\n\r\n";

const BROWSER: &[u8] = b"GET /assets/app.js?v=20240501 HTTP/1.1\r\n\
Host: www.example.com\r\n\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Referer: https://www.example.com/\r\n\
Cookie: session=0123456789abcdef; theme=dark\r\n\r\n";

fn parse(simd: Simd, bytes: &[u8], fields: &mut [Field]) -> u32 {
    let mut parser = HeadParser::new();
    let status = parser.parse(simd, bytes, fields, &HeadLimits::default());
    assert_eq!(status, Ok(Status::Complete(())));
    parser.head().len
}

fn heads(c: &mut Criterion) {
    let pipelined = PLAINTEXT.repeat(16);
    for (name, bytes, count) in
        [("plaintext", PLAINTEXT, 1), ("plaintext x16", &pipelined, 16), ("browser", BROWSER, 1)]
    {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut fields = [Field::default(); 100];
        for simd in Simd::available() {
            group.bench_function(simd.name(), |b| {
                b.iter(|| {
                    let mut rest = black_box(bytes);
                    for _ in 0..count {
                        let len = parse(simd, rest, &mut fields);
                        rest = &rest[len as usize..];
                    }
                    assert!(rest.is_empty());
                });
            });
        }
        group.bench_function("with framing and host", |b| {
            let simd = Simd::detect();
            b.iter(|| {
                let mut rest = black_box(bytes);
                for _ in 0..count {
                    let mut parser = HeadParser::new();
                    let status = parser.parse(simd, rest, &mut fields, &HeadLimits::default());
                    assert_eq!(status, Ok(Status::Complete(())));
                    let head = parser.head();
                    let target = parse_target(head.method, head.target.of(rest)).unwrap();
                    black_box(check_host(head, &fields, rest, &target)).unwrap();
                    black_box(request_body(head, &fields, rest)).unwrap();
                    black_box(connection_options(head, &fields, rest)).unwrap();
                    rest = &rest[head.len as usize..];
                }
            });
        });
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut rest = black_box(bytes);
                for _ in 0..count {
                    let mut headers = [const { std::mem::MaybeUninit::uninit() }; 100];
                    let mut request = httparse::Request::new(&mut []);
                    let len = request.parse_with_uninit_headers(rest, &mut headers).unwrap().unwrap();
                    rest = &rest[len..];
                }
            });
        });
        group.finish();
    }
}

fn chunked(c: &mut Criterion) {
    let mut body = Vec::new();
    for size in [5, 64, 1024, 16_384] {
        body.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        body.resize(body.len() + size, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n");
    c.bench_function("chunked, 4 chunks", |b| {
        b.iter(|| {
            let mut decoder = ChunkedDecoder::new();
            let mut rest = black_box(&body[..]);
            let mut data = 0;
            while let Chunk::Data { skip, len } = decoder.decode(rest).unwrap() {
                data += len;
                rest = &rest[skip + len..];
            }
            assert_eq!(data, 17_477);
        });
    });
}

criterion_group!(benches, heads, chunked);
criterion_main!(benches);
