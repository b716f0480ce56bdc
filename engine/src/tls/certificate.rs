//! Loads a certificate with its chain and key, checks what would fail in a client's face later, and tells what it says.
//!
//! It must not know who asks for which name, nor configurations of rustls.

mod error;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

pub(crate) use error::CertificateError;

use super::files::{Contents, sha256};
use super::options::{Certificate, CertificateSource};

const DAY: i64 = 24 * 60 * 60;

/// A certificate that ends sooner than this is worth a warning; authorities renew those of 90 days by then. In days.
const SOON: i64 = 30;

/// A certificate that is ready for handshakes. `Debug` shows no secret.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The chain with the key, and the OCSP response.
    pub(crate) key: Arc<CertifiedKey>,
    /// The names that it is for: DNS names and IP addresses of its subject's alternative names (RFC 5280 section 4.2.1.6).
    pub(crate) names: Vec<String>,
    /// Its subject as in `CN=example.org`; empty if it has none.
    pub(crate) subject: String,
    /// The first second that it is valid, since 1970.
    pub(crate) not_before: i64,
    /// The last second that it is valid, since 1970.
    pub(crate) not_after: i64,
    /// SHA-256 of its DER in small hex digits.
    pub(crate) thumbprint: String,
}

/// Whether a certificate is valid at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    NotYet,
    Valid,
    /// It ends within 30 days.
    EndsSoon {
        /// Whole days that are left.
        days: i64,
    },
    Expired,
}

/// Loads a certificate from its files.
///
/// # Errors
/// What [`CertificateError`] lists. Its dates are no error: see [`Loaded::validity`].
#[cfg(test)]
pub(crate) fn load(certificate: &Certificate) -> Result<Loaded, CertificateError> {
    load_from(certificate, &Contents::read(files(certificate)))
}

/// The files of a certificate.
pub(super) fn files(certificate: &Certificate) -> impl Iterator<Item = &Path> {
    let (first, second) = match &certificate.source {
        CertificateSource::Pem { chain, key } => (chain, Some(key)),
        CertificateSource::Pkcs12(archive) => (archive, None),
    };
    [Some(first), second, certificate.ocsp_response.as_ref()].into_iter().flatten().map(AsRef::as_ref)
}

/// The same from files that were read before.
pub(super) fn load_from(certificate: &Certificate, contents: &Contents) -> Result<Loaded, CertificateError> {
    let read = |what, path: &Path| {
        contents.get(path).map_err(|source| CertificateError::Unreadable {
            what,
            path: path.to_path_buf(),
            source,
        })
    };
    let password = certificate.password.as_deref();
    let (path, key_path, chain, key) = match &certificate.source {
        CertificateSource::Pem { chain: path, key: key_path } => {
            let chain = keys::chain(read("certificate", path)?, path)?;
            let key = keys::key(read("private key", key_path)?, key_path, password)?;
            (path, key_path, chain, key)
        }
        CertificateSource::Pkcs12(path) => {
            let (chain, key) = keys::archive(read("archive", path)?, path, password)?;
            (path, path, chain, key)
        }
    };

    for (index, der) in chain.iter().enumerate() {
        if let Err(error) = X509Certificate::from_der(der) {
            return Err(CertificateError::Damaged {
                what: format!("certificate {}", index + 1),
                path: path.clone(),
                problem: error.to_string(),
            });
        }
    }
    let ocsp = match &certificate.ocsp_response {
        Some(path) => Some(read("OCSP response", path)?.to_vec()),
        None => None,
    };
    let certified = CertifiedKey { cert: chain, key, ocsp };
    if certified.keys_match().is_err() {
        let mut chain = certified.cert.iter();
        return Err(CertificateError::Mismatch {
            certificate: path.clone(),
            key: key_path.clone(),
            belongs_to: chain
                .position(|der| keys::belongs(der, certified.key.as_ref()))
                .map(|index| index + 1),
        });
    }
    describe(certified, path)
}

/// What the first certificate of a chain says.
fn describe(certified: CertifiedKey, path: &Path) -> Result<Loaded, CertificateError> {
    let damaged = |problem: String| CertificateError::Damaged {
        what: "certificate 1".to_owned(),
        path: path.to_path_buf(),
        problem,
    };
    let der = certified.cert.first().ok_or_else(|| damaged("there is none".to_owned()))?;
    let (_, leaf) = X509Certificate::from_der(der).map_err(|error| damaged(error.to_string()))?;

    let subject = leaf.subject().to_string();
    let alternatives = leaf.subject_alternative_name().map_err(|error| damaged(error.to_string()))?;
    let names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect();
    let usage = leaf.extended_key_usage().map_err(|error| damaged(error.to_string()))?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(CertificateError::NotForServers {
            path: path.to_path_buf(),
            subject: called(&subject, &names).to_owned(),
        });
    }
    let validity = leaf.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let thumbprint = sha256(der).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Loaded { names, subject, not_before, not_after, thumbprint, key: Arc::new(certified) })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// What to call a certificate. Some authorities leave the subject empty.
fn called<'a>(subject: &'a str, names: &'a [String]) -> &'a str {
    match (subject, names) {
        ("", [name, ..]) => name,
        ("", []) => "without a name",
        (subject, _) => subject,
    }
}

impl Loaded {
    /// Whether it is valid, at a time in seconds since 1970.
    pub(crate) fn validity(&self, now: i64) -> Validity {
        let left = self.not_after.saturating_sub(now);
        if now < self.not_before {
            Validity::NotYet
        } else if left < 0 {
            Validity::Expired
        } else if left <= SOON * DAY {
            Validity::EndsSoon { days: left / DAY }
        } else {
            Validity::Valid
        }
    }

    /// Whether handshakes with it succeed now.
    pub(crate) fn is_valid(&self, now: i64) -> bool {
        matches!(self.validity(now), Validity::Valid | Validity::EndsSoon { .. })
    }
}

/// As in `CN=example.org (SHA-256 0a1b2c3d…, until 2027-01-01)`.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.thumbprint.get(..8).unwrap_or_default();
        let (name, end) = (called(&self.subject, &self.names), Day(self.not_after));
        write!(f, "{name} (SHA-256 {short}…, until {end})")
    }
}

/// The day of a time in seconds since 1970, as in `2027-01-01`, in UTC.
pub(super) struct Day(pub(super) i64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ASN1Time::from_timestamp(self.0) {
            Ok(time) => time.to_datetime().date().fmt(f),
            Err(_) => f.write_str("a day that no calendar has"),
        }
    }
}
