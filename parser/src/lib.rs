//! Codecs of HTTP/1.1: bytes in, spans out.
//!
//! A head is parsed where it lies. What comes out are offsets ([`Span`]), so that a block may move or be
//! lent elsewhere between two receives, and a torn head goes on where it stopped. Nothing here allocates,
//! does I/O, or panics on what a peer sent.
//!
//! This crate knows grammar and message framing. It must not know sockets, time, status policy
//! (which [`HeadError`] becomes which answer) or whether a request is welcome.
//!
//! The grammar is that of RFC 9110, 9112 and 3986, read strictly: where a recipient MAY be lenient, and
//! two recipients on one connection could therefore disagree about where a message ends, it is refused.
//!
//! ```
//! use peregrine_parser::{Field, HeadLimits, HeadParser, Method, Simd, Status};
//!
//! let bytes = b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n";
//! let mut fields = [Field::default(); 16];
//! let mut parser = HeadParser::new();
//! let status = parser.parse(Simd::detect(), bytes, &mut fields, &HeadLimits::default());
//! assert_eq!(status, Ok(Status::Complete(())));
//!
//! let head = parser.head();
//! assert_eq!(head.method, Method::Get);
//! assert_eq!(head.target.of(bytes), b"/hello");
//! assert_eq!(fields[0].value.of(bytes), b"example.com");
//! assert_eq!(head.len as usize, bytes.len());
//! ```

#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

mod careful;
mod chunked;
mod connection;
mod date;
mod encode;
mod error;
mod field;
mod framing;
mod head;
mod host;
mod list;
mod method;
mod percent;
mod simd;
mod span;
mod status;
mod table;
mod target;

pub use chunked::{CHUNK_EXTENSION_BYTES_MAX, Chunk, ChunkError, ChunkedDecoder};
pub use connection::{ConnectionOptions, Expectation, connection_options, expectation};
pub use date::{IMF_FIXDATE_BYTES, parse_imf_fixdate, write_imf_fixdate};
pub use encode::{decimal_len, is_field_value, is_token, write_decimal, write_hex};
pub use error::HeadError;
pub use field::{Field, FieldName, eq_ignore_ascii_case};
pub use framing::{BodyLength, request_body};
pub use head::{HeadLimits, HeadParser, Known, RequestHead};
pub use host::{Authority, check_host, host_matches, parse_authority};
pub use list::{ListItems, list_items};
pub use method::{Method, Version};
pub use percent::{Plus, QueryPairs, normalize_path, path_needs_normalizing, percent_decode, query_pairs};
pub use simd::Simd;
pub use span::{Span, Status};
pub use status::{reason, status_line, write_status_line};
pub use target::{Target, TargetForm, parse_target};
