//! What the load scenarios share: request counting for the floor, and for the harness the servers it starts,
//! the load generator it reads, the CPU time it measures and the report it writes.

pub mod cpu;
pub mod report;
pub mod requests;
pub mod server;
pub mod wrk;
