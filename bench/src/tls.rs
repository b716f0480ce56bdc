//! A client's side of TLS, for servers that are measured: it checks no certificate, which costs the client less and
//! the server nothing. What is sent over it is for others to know.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// The version that is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    #[default]
    Tls13,
}

/// The key exchange that is offered, as the only one in TLS 1.3: what a server would choose among several differs, and
/// costs differ more. Before that secp256r1 follows it, for there the list speaks of certificates too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// X25519, which all servers have.
    #[default]
    X25519,
    /// X25519MLKEM768, against quantum computers; TLS 1.3 alone.
    Hybrid,
    /// secp256r1.
    P256,
}

/// What a client offers. The default is TLS 1.3 with X25519, all suites, and nothing resumed.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The version.
    pub version: Version,
    /// The key exchange.
    pub group: Group,
    /// The only cipher suite, by IANA's name or rustls'; without one all of them.
    pub suite: Option<String>,
    /// Whether tickets are kept and used: those of the connections of one configuration.
    pub resumes: bool,
}

/// The configuration of a client, with a store of tickets of its own. Fails if there is no such suite, or if the parts
/// do not fit one another.
pub fn config(client: &Client) -> Result<Arc<ClientConfig>> {
    let mut provider = default_provider();
    if let Some(wanted) = &client.suite {
        provider
            .cipher_suites
            .retain(|suite| suite_name(suite.suite()) == wanted.replacen("TLS13_", "TLS_", 1));
    }
    provider.kx_groups = vec![match client.group {
        Group::X25519 => kx_group::X25519,
        Group::Hybrid => kx_group::X25519MLKEM768,
        Group::P256 => kx_group::SECP256R1,
    }];
    if client.version == Version::Tls12 && client.group != Group::P256 {
        provider.kx_groups.push(kx_group::SECP256R1);
    }
    let version = match client.version {
        Version::Tls12 => &rustls::version::TLS12,
        Version::Tls13 => &rustls::version::TLS13,
    };
    let verifier = Trusting(provider.signature_verification_algorithms.supported_schemes());
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).map_err(unfit)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption =
        if client.resumes { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

/// A connection that has sent nothing yet. Servers are named by their address, so that none is told by SNI.
pub fn connection(config: &Arc<ClientConfig>) -> Result<ClientConnection> {
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    ClientConnection::new(Arc::clone(config), name).map_err(unfit)
}

/// IANA's name of a cipher suite, where rustls has its own for those of TLS 1.3.
#[must_use]
pub fn suite_name(suite: rustls::CipherSuite) -> String {
    suite.as_str().unwrap_or("unknown").replacen("TLS13_", "TLS_", 1)
}

fn unfit(error: rustls::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, error)
}

/// Takes any certificate and any signature.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_goes_by_either_name() {
        for name in ["TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"] {
            config(&Client { suite: Some(name.into()), ..Client::default() }).expect("it is known");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let client = Client { suite: Some("TLS_RSA_WITH_RC4_128_MD5".into()), ..Client::default() };
        assert_eq!(config(&client).expect_err("nobody wants it").kind(), ErrorKind::InvalidInput);
        let suite = Some("TLS_AES_128_GCM_SHA256".into());
        let client = Client { version: Version::Tls12, suite, ..Client::default() };
        assert_eq!(config(&client).expect_err("it is of TLS 1.3").kind(), ErrorKind::InvalidInput);
    }
}
