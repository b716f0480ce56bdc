//! RFC 9112, HTTP/1.1: what it asks of an origin server, one test for each requirement and one module for each
//! section. Requests and answers are bytes; `Date` is masked. `docs/COMPLIANCE.md` is the index.

#[path = "../support/mod.rs"]
mod support;

mod section_11;
mod section_2_2;
mod section_2_3;
mod section_3;
mod section_3_2;
mod section_3_3;
mod section_4;
mod section_5;
mod section_6_1;
mod section_6_2;
mod section_6_3;
mod section_7;
mod section_8;
mod section_9;
