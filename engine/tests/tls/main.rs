//! https over real sockets: a server in this process, and rustls' own client.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod corners;
mod metrics;
mod names;
mod redirection;
mod reload;
mod serving;
mod start;
mod wrong;
