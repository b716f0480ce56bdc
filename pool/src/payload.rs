//! Bytes that are sent from where they lie, whoever owns them.
//!
//! It must not know what they mean or where they go.

use std::fmt;
use std::sync::Arc;

/// Bytes outside any block, handed over to be sent without a copy.
#[derive(Clone)]
pub enum Payload {
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// Bytes that this send alone owns.
    Owned(Vec<u8>),
    /// Bytes that others may be reading.
    Shared(Arc<[u8]>),
}

impl Payload {
    /// The bytes. Their address does not change when the payload is moved.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Static(_) => "Static",
            Self::Owned(_) => "Owned",
            Self::Shared(_) => "Shared",
        };
        write!(f, "{kind}({} bytes)", self.as_slice().len())
    }
}
