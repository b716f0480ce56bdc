//! RFC 9110, HTTP semantics: what it asks of an origin server's engine, one test for each requirement and one
//! module for each chapter. Requests and answers are bytes; `Date` is masked. `docs/COMPLIANCE.md` is the index,
//! and names what is the application's.

#[path = "../support/mod.rs"]
mod support;

mod section_10;
mod section_15;
mod section_4;
mod section_5;
mod section_6;
mod section_7;
mod section_8;
mod section_9;
