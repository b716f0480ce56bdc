//! What is known of a secured connection, in plain values.
//!
//! Owns the words in which a stage between driver and connection tells of itself. It must not know how anything is
//! secured.

#[cfg(feature = "tls")]
use std::fmt;

/// What TLS has agreed upon for one connection (ASP.NET Core's `ITlsHandshakeFeature` and
/// `ITlsConnectionFeature`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(not(feature = "tls"), allow(unreachable_pub, reason = "then nobody shows it"))]
pub struct TlsInfo {
    /// The version, `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// The cipher suite, by its name in IANA's registry, e.g. `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// The group of the key exchange, e.g. `X25519MLKEM768`; none where a session was resumed without one.
    pub key_exchange: Option<&'static str>,
    /// The name that the client has asked for (SNI, RFC 6066 section 3).
    pub server_name: Option<String>,
    /// The protocol that was agreed upon (ALPN, RFC 7301).
    pub alpn: Option<String>,
    /// Whether the session was resumed.
    pub is_resumed: bool,
    /// The client's certificate in DER, with those that lead to its authority behind it. Empty if it has sent none.
    pub client_certificates: Vec<Vec<u8>>,
}

#[cfg(feature = "tls")]
impl TlsInfo {
    pub(crate) fn new(version: &'static str, cipher_suite: &'static str) -> Self {
        Self {
            version,
            cipher_suite,
            key_exchange: None,
            server_name: None,
            alpn: None,
            is_resumed: false,
            client_certificates: Vec::new(),
        }
    }
}

/// Why a connection could not be secured, or is so no longer.
#[cfg(feature = "tls")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// The handshake has failed; the peer is told by an alert.
    Handshake,
    /// The handshake has taken too long.
    Timeout,
    /// The peer speaks HTTP without TLS; what is sent to it from now on is not encrypted.
    PlainHttp,
    /// The peer has sent what no key fits, or what may not come; it is told by an alert.
    Record,
    /// The peer's socket has ended without a word, so that it may be an attacker who has ended it (RFC 8446 section 6.1).
    /// Like any end, but that what has come need not be all.
    Truncated,
}

#[cfg(feature = "tls")]
impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the TLS handshake has failed",
            Self::Timeout => "the TLS handshake has taken too long",
            Self::PlainHttp => "plain HTTP on an endpoint of https",
            Self::Record => "a TLS record that is broken or out of place",
            Self::Truncated => "an end without close_notify",
        })
    }
}
