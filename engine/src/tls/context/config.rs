//! Configurations of rustls out of options: versions, suites, who must show a certificate, and tickets.
//!
//! It must not know which names there are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::ContextError;
use crate::tls::certificate::{CertificateError, Loaded};
use crate::tls::files::Contents;
use crate::tls::{ClientCertificates, TlsOptions, TlsVersion};

/// What may differ between the names of one endpoint.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) min: TlsVersion,
    pub(super) max: TlsVersion,
    pub(super) clients: ClientCertificates,
}

/// Makes the configurations of one look at the files.
pub(super) struct Maker<'a> {
    options: &'a TlsOptions,
    alpn: Vec<Vec<u8>>,
    contents: &'a Contents,
    provider: Arc<CryptoProvider>,
    ticketers: Ticketers,
    before: &'a Ticketers,
}

impl<'a> Maker<'a> {
    /// For options with the files that they name. Tickets of `before` stay good where the same rules hold.
    pub(super) fn new(
        options: &'a TlsOptions,
        alpn: &[Vec<u8>],
        contents: &'a Contents,
        before: &'a Ticketers,
    ) -> Result<Self, ContextError> {
        let provider = Arc::new(provider(&options.cipher_suites)?);
        Ok(Self { options, alpn: alpn.to_vec(), contents, provider, ticketers: Ticketers::default(), before })
    }

    pub(super) fn config(
        &mut self,
        setting: Setting,
        certificate: &Loaded,
    ) -> Result<Arc<ServerConfig>, ContextError> {
        let versions = self.versions(setting, certificate)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&versions)
            .map_err(|error| internal("choose versions of TLS", &error))?;
        let builder = match setting.clients {
            ClientCertificates::None => builder.with_no_client_auth(),
            clients => builder.with_client_cert_verifier(self.verifier(clients)?),
        };
        let resolver = SingleCertAndKey::from(Arc::clone(&certificate.key));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));

        // The engine keeps the records itself, once the handshake is over.
        config.enable_secret_extraction = true;
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        config.alpn_protocols.clone_from(&self.alpn);
        // As with Kestrel, and as auditors want it: what is agreed upon is not for whoever asks.
        config.ignore_client_order = true;
        // Sessions are in the tickets of their clients and nowhere else, so that every worker knows them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.options.tickets {
            config.ticketer = self.ticketer(setting.clients)?;
            // Each connection gets a new one, and every ticket costs a twentieth of a handshake.
            config.send_tls13_tickets = 1;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    /// The ticketers of all that was made.
    pub(super) fn into_ticketers(self) -> Ticketers {
        self.ticketers
    }

    fn versions(
        &self,
        setting: Setting,
        certificate: &Loaded,
    ) -> Result<Vec<&'static SupportedProtocolVersion>, ContextError> {
        let Setting { min, max, .. } = setting;
        if min > max {
            return Err(ContextError::Versions { min, max });
        }
        let suites = &self.provider.cipher_suites;
        let mut versions = Vec::new();
        for (spoken, version) in [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)]
        {
            if !(min..=max).contains(&spoken) {
                continue;
            }
            if !suites.iter().any(|suite| suite.version() == version) {
                return Err(ContextError::NoSuite { version: spoken });
            }
            let kind = certificate.key.key.algorithm();
            if !suites
                .iter()
                .any(|suite| suite.version() == version && suite.usable_for_signature_algorithm(kind))
            {
                return Err(ContextError::NoSuiteForKey { certificate: certificate.to_string() });
            }
            versions.push(version);
        }
        Ok(versions)
    }

    fn verifier(&self, clients: ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, ContextError> {
        let path = self.options.client_ca.as_deref().ok_or(ContextError::NoClientCa)?;
        let roots = authorities(self.read("authorities of clients", path)?, path)?;
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let mut blame = (path, false);
        if let Some(path) = self.options.client_crl.as_deref() {
            blame = (path, true);
            // An authority that publishes no list has revoked nothing.
            builder = builder
                .with_crls(revoked(self.read("revoked certificates of clients", path)?, path)?)
                .allow_unknown_revocation_status();
        }
        if clients == ClientCertificates::Allow {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| match blame {
            (path, true) => ContextError::ClientCrl { path: path.to_path_buf(), problem: error.to_string() },
            (path, false) => ContextError::ClientCa { path: path.to_path_buf(), problem: error.to_string() },
        })
    }

    fn read(&self, what: &'static str, path: &Path) -> Result<&'a [u8], CertificateError> {
        self.contents.get(path).map_err(|source| CertificateError::Unreadable {
            what,
            path: path.to_path_buf(),
            source,
        })
    }

    fn ticketer(&mut self, clients: ClientCertificates) -> Result<Arc<dyn ProducesTickets>, ContextError> {
        let rules = Rules::new(clients, self.options, self.contents);
        if let Some(ticketer) = self.ticketers.find(&rules) {
            return Ok(ticketer);
        }
        let ticketer = match self.before.find(&rules) {
            Some(ticketer) => ticketer,
            None => aws_lc_rs::Ticketer::new().map_err(|error| internal("make keys for tickets", &error))?,
        };
        self.ticketers.0.push((rules, Arc::clone(&ticketer)));
        Ok(ticketer)
    }
}

fn internal(attempt: &'static str, error: &rustls::Error) -> ContextError {
    ContextError::Internal { attempt, problem: error.to_string() }
}

/// What makes tickets, one for all that asks the same of clients.
///
/// Whoever comes back with a ticket is not asked for a certificate again, and the one that they had is not looked at
/// again. So a ticket must not be good where other rules hold, nor after a change of the authorities or of what they
/// have revoked. Otherwise its keys outlive whatever is loaded.
#[derive(Default)]
pub(super) struct Ticketers(Vec<(Rules, Arc<dyn ProducesTickets>)>);

#[derive(PartialEq, Eq)]
struct Rules {
    clients: ClientCertificates,
    /// Of the authorities, and of what they have revoked.
    digests: Vec<Option<Result<[u8; 32], io::ErrorKind>>>,
}

impl Rules {
    fn new(clients: ClientCertificates, options: &TlsOptions, contents: &Contents) -> Self {
        let digests = match clients {
            ClientCertificates::None => Vec::new(),
            ClientCertificates::Allow | ClientCertificates::Require => {
                [&options.client_ca, &options.client_crl]
                    .map(|path| contents.seen().digests().get(path.as_ref()?).copied())
                    .to_vec()
            }
        };
        Self { clients, digests }
    }
}

impl Ticketers {
    fn find(&self, rules: &Rules) -> Option<Arc<dyn ProducesTickets>> {
        self.0.iter().find(|(of, _)| of == rules).map(|(_, ticketer)| Arc::clone(ticketer))
    }

    /// Lets them replace keys that have had their time, which they do only when they are used.
    pub(super) fn roll(&self) {
        for (_, ticketer) in &self.0 {
            // Nothing is no ticket.
            let _ = ticketer.decrypt(&[]);
        }
    }
}

/// What computes, with all suites or with those named.
fn provider(wanted: &[String]) -> Result<CryptoProvider, ContextError> {
    let mut provider = aws_lc_rs::default_provider();
    if wanted.is_empty() {
        // Nobody breaks the smaller key either, and it is the one that TLS 1.3 asks everybody for (RFC 8446 section 9.1).
        provider.cipher_suites.sort_by_key(|suite| match registered(suite) {
            name if name.contains("AES_128_GCM") => 0,
            name if name.contains("AES_256_GCM") => 1,
            _ => 2,
        });
        return Ok(provider);
    }
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    for name in wanted {
        let Some(&suite) = provider.cipher_suites.iter().find(|suite| has_name(suite, name)) else {
            return Err(ContextError::UnknownSuite {
                suite: name.clone(),
                known: provider.cipher_suites.iter().map(registered).collect(),
            });
        };
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    provider.cipher_suites = suites;
    Ok(provider)
}

/// The name in IANA's registry, which rustls has for all but those of TLS 1.3.
fn registered(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.to_owned(),
    }
}

fn has_name(suite: &SupportedCipherSuite, name: &str) -> bool {
    name == registered(suite) || Some(name) == suite.suite().as_str()
}

fn authorities(bytes: &[u8], path: &Path) -> Result<RootCertStore, ContextError> {
    let wrong = |problem: String| ContextError::ClientCa { path: path.to_path_buf(), problem };
    let mut roots = RootCertStore::empty();
    for (index, der) in CertificateDer::pem_slice_iter(bytes).enumerate() {
        let der = der.map_err(|_| wrong(format!("certificate {} is not PEM", index + 1)))?;
        roots.add(der).map_err(|error| wrong(format!("certificate {}: {error}", index + 1)))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in it".to_owned())),
        false => Ok(roots),
    }
}

fn revoked(bytes: &[u8], path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, ContextError> {
    let wrong = |problem: String| ContextError::ClientCrl { path: path.to_path_buf(), problem };
    // A list in DER is one SEQUENCE, and no text begins with a zero.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let lists = lists.map_err(|error| wrong(error.to_string()))?;
    match lists.is_empty() {
        true => Err(wrong("there is no list in it".to_owned())),
        false => Ok(lists),
    }
}
