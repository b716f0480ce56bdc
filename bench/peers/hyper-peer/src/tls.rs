//! TLS as rustls' users set it up: the certificate from PEM files, aws-lc as the provider, HTTP/1.1 alone by ALPN,
//! and tickets. It knows nothing of what is served.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Where the parts lie, and which cipher suites to speak, by IANA's names; none means all that rustls has.
#[derive(Debug, Default)]
pub struct Files {
    pub certificate: String,
    pub key: String,
    pub suites: Vec<String>,
}

pub fn acceptor(files: &Files) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain =
        CertificateDer::pem_file_iter(Path::new(&files.certificate))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(Path::new(&files.key))?;
    let provider = provider(&files.suites)?;
    let builder =
        ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn provider(names: &[String]) -> Result<CryptoProvider, Box<dyn Error>> {
    let mut provider = default_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    let all = std::mem::take(&mut provider.cipher_suites);
    for name in names {
        // rustls writes TLS13_ where IANA writes TLS_.
        let is_named = |known: &str| known == name || known.replacen("TLS13_", "TLS_", 1) == *name;
        let suite = all.iter().find(|suite| suite.suite().as_str().is_some_and(is_named));
        provider.cipher_suites.push(*suite.ok_or_else(|| format!("{name} is no cipher suite of rustls"))?);
    }
    Ok(provider)
}
