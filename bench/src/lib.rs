//! What the load scenarios share: request counting for the floor, and for the harnesses the servers they start,
//! what they ask them for, the load that they put on them, the CPU time and memory that they measure and the reports that they write.

pub mod answer;
pub mod bulk;
pub mod cpu;
pub mod flags;
pub mod handshakes;
pub mod memory;
pub mod report;
pub mod requests;
pub mod scenario;
pub mod server;
pub mod tls;
pub mod transfers;
pub mod wrk;
