//! Bodies that are sent from where they lie.

use std::sync::Arc;

use peregrine_pool::Payload;

/// The bytes of a response body, handed over instead of copied.
///
/// Small ones, up to 8 KiB, are copied behind the head all the same, because that costs less than a second
/// part.
///
/// ```
/// use peregrine::{Body, Request, Response};
///
/// fn logo(_: &Request, response: &mut Response) {
///     static LOGO: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'/>";
///     response.body("image/svg+xml", LOGO);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Body(pub(crate) Payload);

impl Body {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Payload::Static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self(Payload::Static(bytes))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self(Payload::Static(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Payload::Owned(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self(Payload::Owned(text.into_bytes()))
    }
}

impl From<Arc<[u8]>> for Body {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Payload::Shared(bytes))
    }
}
