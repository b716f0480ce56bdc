//! The command `peregrine`.
fn main() {}
