//! Sentences of RFC 9110 and 9112, and known tricks against them, one test each.

mod support;

use peregrine_parser::{
    BodyLength, ConnectionOptions, Expectation, FieldName, HeadError, HeadLimits, HeadParser, Method, Simd,
    Status, TargetForm, Version, check_host, connection_options, expectation, parse_target, request_body,
};
use support::{Parsed, accept, parse, parse_with, refusal};

/// A request with these field lines.
fn with_fields(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

#[test]
fn rfc9112_3_request_line_and_fields_come_out_as_spans() {
    let bytes = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length:  5 \r\nX-Other:\t\r\n\r\nhello";
    let parsed = accept(bytes);
    let head = &parsed.head;
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!(head.method_span.of(bytes), b"POST");
    assert_eq!(head.target.of(bytes), b"/a?b");
    assert_eq!(head.len as usize, bytes.len() - 5);
    assert_eq!(
        parsed.pairs(bytes),
        [(&b"Host"[..], &b"x"[..]), (b"Content-Length", b"5"), (b"X-Other", b"")]
    );
    assert_eq!(head.known.first(FieldName::Host), Some(0));
    assert_eq!(head.known.first(FieldName::ContentLength), Some(1));
    assert_eq!(head.known.first(FieldName::Connection), None);
    assert_eq!(parsed.fields[2].id, FieldName::Other);
}

#[test]
fn rfc9112_2_2_one_empty_line_before_the_request_is_skipped() {
    let parsed = accept(b"\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!(parsed.head.len, 20);
    assert_eq!(parsed.head.method_span.start, 2);
    assert_eq!(refusal(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), HeadError::ExtraEmptyLine);
    assert_eq!(refusal(b"\nGET / HTTP/1.1\r\n\r\n"), HeadError::BareLf);
    assert_eq!(refusal(b"\rGET / HTTP/1.1\r\n\r\n"), HeadError::BareCr);
}

#[test]
fn rfc9112_2_2_an_empty_line_does_not_start_a_request() {
    let mut fields = [];
    for (bytes, started) in
        [(&b""[..], false), (b"\r", false), (b"\r\n", false), (b"\r\nG", true), (b"G", true)]
    {
        let mut parser = HeadParser::new();
        let status = parser.parse(Simd::detect(), bytes, &mut fields, &HeadLimits::default());
        assert_eq!(status, Ok(Status::Partial));
        assert_eq!(parser.is_started(), started, "{bytes:?}");
    }
}

#[test]
fn rfc9112_2_2_bare_cr_and_bare_lf_are_refused() {
    for bytes in [
        &b"GET / HTTP/1.1\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\n",
        b"GET / HTTP/1.1\r\nHost\n: x\r\n\r\n",
        b"GET /\nHTTP/1.1\r\n\r\n",
        b"GET\n/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/\n1.1\r\n\r\n",
    ] {
        assert_eq!(refusal(bytes), HeadError::BareLf, "{:?}", String::from_utf8_lossy(bytes));
    }
    for bytes in [
        &b"GET / HTTP/1.1\rHost: x\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\rx",
    ] {
        assert_eq!(refusal(bytes), HeadError::BareCr, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn rfc9112_2_2_whitespace_before_the_first_field_is_refused() {
    assert_eq!(refusal(&with_fields(" Host: x\r\n")), HeadError::LeadingWhitespace);
    assert_eq!(refusal(&with_fields("\tHost: x\r\n")), HeadError::LeadingWhitespace);
}

#[test]
fn rfc9112_3_exactly_one_space_between_the_parts() {
    assert_eq!(refusal(b"GET  / HTTP/1.1\r\n\r\n"), HeadError::ExtraWhitespace);
    assert_eq!(refusal(b"GET /  HTTP/1.1\r\n\r\n"), HeadError::ExtraWhitespace);
    assert_eq!(refusal(b"GET\t/ HTTP/1.1\r\n\r\n"), HeadError::InvalidMethod);
    assert_eq!(refusal(b"GET /\tHTTP/1.1\r\n\r\n"), HeadError::InvalidTarget);
    assert_eq!(refusal(b" GET / HTTP/1.1\r\n\r\n"), HeadError::InvalidMethod);
    assert_eq!(refusal(b"GET / HTTP/1.1 \r\n\r\n"), HeadError::InvalidVersion);
}

#[test]
fn rfc9112_3_1_methods_are_tokens() {
    assert_eq!(accept(b"get / HTTP/1.1\r\n\r\n").head.method, Method::Other);
    assert_eq!(accept(b"GETT / HTTP/1.1\r\n\r\n").head.method, Method::Other);
    assert_eq!(refusal(b"G@T / HTTP/1.1\r\n\r\n"), HeadError::InvalidMethod);
    assert_eq!(refusal(b"GET\0 / HTTP/1.1\r\n\r\n"), HeadError::InvalidMethod);
    assert_eq!(refusal(b"GET\r\n\r\n"), HeadError::InvalidMethod);
}

#[test]
fn rfc9112_3_2_what_no_target_may_hold() {
    for byte in (0..=0x20).chain([b'#', b'"', b'<', b'>', 0x7f, 0x80, 0xc3, 0xff]) {
        let bytes = [b"GET /a", &[byte][..], b"b HTTP/1.1\r\n\r\n"].concat();
        let expected = match byte {
            b'\r' => HeadError::MissingVersion,
            b'\n' => HeadError::BareLf,
            b' ' => HeadError::InvalidVersion,
            _ => HeadError::InvalidTarget,
        };
        assert_eq!(refusal(&bytes), expected, "{byte:#x}");
    }
}

#[test]
fn rfc9112_2_3_versions() {
    assert_eq!(accept(b"GET / HTTP/1.0\r\n\r\n").head.version, Version::Http10);
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/9.9"] {
        let bytes = format!("GET / {version}\r\n\r\n");
        assert_eq!(refusal(bytes.as_bytes()), HeadError::UnsupportedVersion, "{version}");
    }
    for version in ["http/1.1", "HTTP/1", "HTTP/1.", "HTTP/11", "HTTP/1.10", "HTTP/1,1", "HTTPS/1.1", "X", ""]
    {
        let bytes = format!("GET / {version}\r\n\r\n");
        assert_eq!(refusal(bytes.as_bytes()), HeadError::InvalidVersion, "{version}");
    }
    assert_eq!(refusal(b"GET /\r\n\r\n"), HeadError::MissingVersion);
}

#[test]
fn rfc9113_3_4_preface_and_tls_handshake_have_their_own_names() {
    assert_eq!(refusal(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadError::Http2Preface);
    assert_eq!(refusal(b"GET * HTTP/2.0\r\n\r\n"), HeadError::UnsupportedVersion);
    assert_eq!(refusal(b"\x16\x03\x01"), HeadError::TlsHandshake);
}

#[test]
fn rfc9112_5_1_whitespace_before_colon_is_refused() {
    assert_eq!(refusal(&with_fields("Host : x\r\n")), HeadError::WhitespaceBeforeColon);
    assert_eq!(refusal(&with_fields("Host\t: x\r\n")), HeadError::WhitespaceBeforeColon);
    assert_eq!(refusal(&with_fields("Two words: x\r\n")), HeadError::WhitespaceBeforeColon);
}

#[test]
fn rfc9112_5_2_folded_lines_are_refused() {
    assert_eq!(refusal(&with_fields("Host: x\r\n y\r\n")), HeadError::ObsFold);
    assert_eq!(refusal(&with_fields("Host: x\r\n\ty\r\n")), HeadError::ObsFold);
    assert_eq!(refusal(&with_fields("Host: x\r\n \r\n")), HeadError::ObsFold);
}

#[test]
fn rfc9110_5_1_field_names_are_tokens() {
    assert_eq!(refusal(&with_fields(": x\r\n")), HeadError::EmptyFieldName);
    assert_eq!(refusal(&with_fields("Host\r\n")), HeadError::MissingColon);
    for byte in ["\0", "[", "(", "\"", "/", "@", "\u{7f}", "\u{e4}"] {
        assert_eq!(refusal(&with_fields(&format!("Ho{byte}st: x\r\n"))), HeadError::InvalidFieldName);
        assert_eq!(refusal(&with_fields(&format!("{byte}Host: x\r\n"))), HeadError::InvalidFieldName);
    }
}

#[test]
fn rfc9110_5_5_control_characters_in_values_are_refused() {
    for byte in 0..=255u8 {
        let mut bytes = with_fields("X: a?b\r\n");
        let at = bytes.iter().position(|&b| b == b'?').unwrap();
        bytes[at] = byte;
        match byte {
            b'\r' => assert_eq!(refusal(&bytes), HeadError::BareCr),
            b'\n' => assert_eq!(refusal(&bytes), HeadError::BareLf),
            b'\t' | b' '..=0x7e | 0x80.. => assert_eq!(accept(&bytes).pairs(&bytes)[0].1, [b'a', byte, b'b']),
            _ => assert_eq!(refusal(&bytes), HeadError::InvalidFieldValue, "{byte:#x}"),
        }
    }
}

#[test]
fn rfc9112_3_the_request_line_limit_counts_its_crlf_and_holds_without_one() {
    let bytes = b"\r\nGET /abc HTTP/1.1\r\n\r\n";
    let line = bytes.len() as u32 - 4;
    for simd in Simd::available() {
        let with = |max, bytes: &[u8]| {
            let limits = HeadLimits { max_request_line_bytes: max, ..HeadLimits::default() };
            parse_with(simd, bytes, &limits).map(|parsed| parsed.is_some())
        };
        assert_eq!(with(line, bytes), Ok(true));
        assert_eq!(with(line, &bytes[2..]), Ok(true));
        for max in 0..line {
            assert_eq!(with(max, bytes), Err(HeadError::RequestLineTooLong), "{max}");
            assert_eq!(with(max, &bytes[..max as usize + 2]).err().is_some(), max > 0, "{max}");
            assert_eq!(with(max + 1, &bytes[..max as usize + 2]), Ok(false), "{max}");
        }
        assert_eq!(with(u32::MAX, bytes), Ok(true));
    }
    let endless = [b"GET /", &[b'a'; 9000][..]].concat();
    assert_eq!(refusal(&endless), HeadError::RequestLineTooLong);
    assert_eq!(parse(&endless[..8191]), Ok(None));
    assert_eq!(refusal(&endless[..8192]), HeadError::RequestLineTooLong);
    // What is wrong behind the limit does not change what is said.
    assert_eq!(refusal(&[&endless[..8192], b"#"].concat()), HeadError::RequestLineTooLong);
    assert_eq!(refusal(&[b'M'; 100_000]), HeadError::RequestLineTooLong);
}

#[test]
fn rfc9112_5_the_field_limit_counts_lines_and_not_the_empty_one() {
    let bytes = with_fields("Host: x\r\nA: b\r\n");
    let start = "GET / HTTP/1.1\r\n".len();
    let lines = (bytes.len() - start - 2) as u32;
    for simd in Simd::available() {
        let with = |max, bytes: &[u8]| {
            let limits = HeadLimits { max_fields_bytes: max, ..HeadLimits::default() };
            parse_with(simd, bytes, &limits).map(|parsed| parsed.is_some())
        };
        assert_eq!(with(lines, &bytes), Ok(true));
        assert_eq!(with(u32::MAX, &bytes), Ok(true));
        assert_eq!(with(0, b"GET / HTTP/1.1\r\n\r\n"), Ok(true));
        for max in 0..lines {
            assert_eq!(with(max, &bytes), Err(HeadError::FieldsTooLarge), "{max}");
            assert_eq!(
                with(max, &bytes[..start + max as usize + 2]),
                Err(HeadError::FieldsTooLarge),
                "{max}"
            );
            assert_eq!(with(max, &bytes[..start + max as usize + 1]), Ok(false), "{max}");
        }
    }
}

#[test]
fn rfc9112_5_one_field_more_than_the_table_holds_is_refused() {
    let limits = HeadLimits::default();
    let bytes = with_fields("A: b\r\nC: d\r\n");
    for simd in Simd::available() {
        let with = |len: usize| {
            let mut fields = vec![Default::default(); len];
            HeadParser::new().parse(simd, &bytes, &mut fields, &limits)
        };
        assert_eq!(with(0), Err(HeadError::TooManyFields));
        assert_eq!(with(1), Err(HeadError::TooManyFields));
        assert_eq!(with(2), Ok(Status::Complete(())));
    }
    // The count of a larger table still fits.
    let mut fields = vec![Default::default(); 70_000];
    let many = with_fields(&"a:\r\n".repeat(65_536));
    let limits = HeadLimits { max_fields_bytes: 1 << 20, ..limits };
    let result = HeadParser::new().parse(Simd::detect(), &many, &mut fields, &limits);
    assert_eq!(result, Err(HeadError::TooManyFields));
}

#[test]
fn rfc9112_7_1_2_trailers_are_a_field_section_alone() {
    let bytes = b"Digest: abc\r\nX: y\r\n\r\nGET /";
    let mut fields = [Default::default(); 4];
    let mut parser = HeadParser::trailers();
    assert!(parser.is_started());
    let status = parser.parse(Simd::detect(), bytes, &mut fields, &HeadLimits::default());
    assert_eq!(status, Ok(Status::Complete(())));
    assert_eq!((parser.head().field_count, parser.head().len), (2, 21));
    assert_eq!(fields[1].value.of(bytes), b"y");

    let mut parser = HeadParser::trailers();
    let status = parser.parse(Simd::detect(), b"\r\n", &mut fields, &HeadLimits::default());
    assert_eq!((status, parser.head().len), (Ok(Status::Complete(())), 2));

    let mut parser = HeadParser::trailers();
    let status = parser.parse(Simd::detect(), b"\n", &mut fields, &HeadLimits::default());
    assert_eq!(status, Err(HeadError::BareLf));
}

fn body(lines: &str) -> Result<BodyLength, HeadError> {
    body_of(&with_fields(lines))
}

fn body_of(bytes: &[u8]) -> Result<BodyLength, HeadError> {
    let Parsed { head, fields } = accept(bytes);
    request_body(&head, &fields, bytes)
}

#[test]
fn rfc9112_6_3_body_length() {
    assert_eq!(body("Host: x\r\n"), Ok(BodyLength::None));
    assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyLength::Length(0)));
    assert_eq!(body("content-length:42\t\r\n"), Ok(BodyLength::Length(42)));
    assert_eq!(body("Content-Length: 18446744073709551615\r\n"), Ok(BodyLength::Length(u64::MAX)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(BodyLength::Chunked));
    assert_eq!(body("TRANSFER-ENCODING: \tChunkeD \r\n"), Ok(BodyLength::Chunked));
}

#[test]
fn rfc9110_8_6_content_length_is_one_run_of_digits() {
    for value in
        ["", "+5", "-0", "-1", "0x5", "5 5", "1_0", "5.0", "5;", "a", "005", "00", "\u{664}", "5\"", "'5'"]
    {
        let result = body(&format!("Content-Length: {value}\r\n"));
        assert_eq!(result, Err(HeadError::InvalidContentLength), "{value}");
    }
    for value in ["18446744073709551616", "99999999999999999999999999"] {
        let result = body(&format!("Content-Length: {value}\r\n"));
        assert_eq!(result, Err(HeadError::ContentLengthOverflow), "{value}");
    }
    for lines in
        ["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5, 5\r\n", "Content-Length: 5,6\r\n"]
    {
        assert_eq!(body(lines), Err(HeadError::MultipleContentLengths), "{lines}");
    }
}

#[test]
fn rfc9112_6_1_content_length_with_transfer_encoding_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 0\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
    ] {
        assert_eq!(body(lines), Err(HeadError::ContentLengthWithTransferEncoding), "{lines}");
    }
    let result = body_of(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(result, Err(HeadError::TransferEncodingOnHttp10));
}

#[test]
fn rfc9112_6_1_transfer_encoding_is_exactly_one_chunked() {
    for (value, error) in [
        ("gzip", HeadError::ChunkedNotFinal),
        ("identity", HeadError::ChunkedNotFinal),
        ("xchunked", HeadError::ChunkedNotFinal),
        ("chunked, gzip", HeadError::ChunkedNotFinal),
        ("chunked, identity", HeadError::ChunkedNotFinal),
        ("gzip, chunked", HeadError::UnknownTransferCoding),
        ("gzip;q=1, chunked", HeadError::UnknownTransferCoding),
        ("gzip\r\nTransfer-Encoding: chunked", HeadError::UnknownTransferCoding),
        ("chunked\r\nTransfer-Encoding: gzip", HeadError::ChunkedNotFinal),
        ("chunked, chunked", HeadError::RepeatedChunked),
        ("chunked\r\nTransfer-Encoding: chunked", HeadError::RepeatedChunked),
        ("", HeadError::InvalidTransferEncoding),
        (",chunked", HeadError::InvalidTransferEncoding),
        ("chunked,", HeadError::InvalidTransferEncoding),
        ("chunked;a=b", HeadError::InvalidTransferEncoding),
        ("chunked ;", HeadError::ChunkedNotFinal),
        ("\"chunked\"", HeadError::InvalidTransferEncoding),
        ("chu nked", HeadError::InvalidTransferEncoding),
        ("\u{a0}chunked", HeadError::InvalidTransferEncoding),
    ] {
        assert_eq!(body(&format!("Transfer-Encoding: {value}\r\n")), Err(error), "{value}");
    }
}

fn host(bytes: &[u8]) -> Result<(), HeadError> {
    let Parsed { head, fields } = accept(bytes);
    let target = parse_target(head.method, head.target.of(bytes))?;
    check_host(&head, &fields, bytes, &target)
}

#[test]
fn rfc9112_3_2_host_is_there_once_and_valid() {
    assert_eq!(host(b"GET / HTTP/1.1\r\nHost: example.com:80\r\n\r\n"), Ok(()));
    assert_eq!(host(b"GET / HTTP/1.1\r\n\r\n"), Err(HeadError::MissingHost));
    assert_eq!(host(b"GET / HTTP/1.0\r\n\r\n"), Ok(()));
    assert_eq!(host(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Err(HeadError::MultipleHosts));
    assert_eq!(host(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHOST: a\r\n\r\n"), Err(HeadError::MultipleHosts));
    for value in ["", "a b", "a,b", "user@a", "a/b", "a:b", "[::1"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
        assert_eq!(host(bytes.as_bytes()), Err(HeadError::InvalidHost), "{value}");
    }
}

#[test]
fn rfc9112_3_2_2_host_must_agree_with_an_absolute_target() {
    assert_eq!(host(b"GET http://A.com/ HTTP/1.1\r\nHost: a.COM:80\r\n\r\n"), Ok(()));
    assert_eq!(host(b"GET https://a.com:443 HTTP/1.1\r\nHost: a.com\r\n\r\n"), Ok(()));
    assert_eq!(host(b"GET http://a.com:443/ HTTP/1.1\r\nHost: a.com\r\n\r\n"), Err(HeadError::HostMismatch));
    assert_eq!(host(b"GET http://a.com/ HTTP/1.1\r\nHost: b.com\r\n\r\n"), Err(HeadError::HostMismatch));
    assert_eq!(host(b"GET http://a.com/ HTTP/1.1\r\n\r\n"), Err(HeadError::MissingHost));
    assert_eq!(host(b"CONNECT a.com:1 HTTP/1.1\r\nHost: a.com:1\r\n\r\n"), Ok(()));
    assert_eq!(host(b"CONNECT a.com:1 HTTP/1.1\r\nHost: a.com\r\n\r\n"), Err(HeadError::HostMismatch));
    assert_eq!(host(b"OPTIONS * HTTP/1.1\r\nHost: a.com\r\n\r\n"), Ok(()));
}

#[test]
fn rfc9112_3_2_targets_after_the_head() {
    let bytes = b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n";
    let Parsed { head, .. } = accept(bytes);
    let target = parse_target(head.method, head.target.of(bytes)).unwrap();
    assert_eq!(target.form, TargetForm::Absolute);
    assert_eq!(target.path.of(head.target.of(bytes)), b"/b");
}

#[test]
fn rfc9110_7_6_1_connection_options() {
    let options = |lines: &str| {
        let bytes = with_fields(lines);
        let Parsed { head, fields } = accept(&bytes);
        connection_options(&head, &fields, &bytes)
    };
    let none = ConnectionOptions::default();
    assert_eq!(options(""), Ok(none));
    assert_eq!(options("Connection: Keep-Alive\r\n"), Ok(ConnectionOptions { keep_alive: true, ..none }));
    assert_eq!(
        options("Connection: x-y, CLOSE ,\r\nA: b\r\nConnection: upgrade\r\n"),
        Ok(ConnectionOptions { close: true, upgrade: true, ..none })
    );
    assert_eq!(options("Connection: closed, keep-alive-x\r\n"), Ok(none));
    assert_eq!(options("Connection:\r\n"), Ok(none));
    assert_eq!(options("Connection: close;\r\n"), Err(HeadError::InvalidConnection));
    assert_eq!(options("Connection: \"close\"\r\n"), Err(HeadError::InvalidConnection));
}

#[test]
fn rfc9110_10_1_1_expectations() {
    let expects = |lines: &str| {
        let bytes = with_fields(lines);
        let Parsed { head, fields } = accept(&bytes);
        expectation(&head, &fields, &bytes)
    };
    assert_eq!(expects(""), Expectation::None);
    assert_eq!(expects("Expect: 100-Continue\r\n"), Expectation::Continue);
    assert_eq!(expects("Expect: 100-continue\r\nExpect: 100-continue\r\n"), Expectation::Continue);
    assert_eq!(expects("Expect: 100-continue\r\nExpect: x\r\n"), Expectation::Unknown);
    assert_eq!(expects("Expect:\r\n"), Expectation::Unknown);
    assert_eq!(expects("Expect: 200-ok\r\n"), Expectation::Unknown);
}

#[test]
fn values_of_a_repeated_name_come_in_order() {
    let bytes = with_fields("Cookie: a\r\nHost: x\r\ncookie: b\r\nUpgrade: c\r\n");
    let Parsed { head, fields } = accept(&bytes);
    let values = |id| head.values(id, &fields, &bytes).collect::<Vec<_>>();
    assert_eq!(values(FieldName::Cookie), [b"a", b"b"]);
    assert_eq!(values(FieldName::Upgrade), [b"c"]);
    assert_eq!(values(FieldName::Host), [b"x"]);
    assert_eq!(values(FieldName::Connection), [b""; 0]);
    assert_eq!(values(FieldName::Te), [b""; 0]);
}

#[test]
fn every_refusal_has_its_sentence() {
    assert_eq!(HeadError::ObsFold.describe(), "obsolete line folding");
    assert_eq!(HeadError::BareLf.to_string(), HeadError::BareLf.describe());
}
