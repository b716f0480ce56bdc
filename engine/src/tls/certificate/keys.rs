//! Certificates and private keys out of PEM and PKCS#12, opened with their password.
//!
//! It must not know what certificates say.

use std::path::Path;
use std::sync::Arc;

use p12_keystore::{CertificateBag, Pkcs12Archive};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::{ErrorKind, Tag};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::CertificateError;

/// A chain, the certificate of the server first.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// Whether bytes look like DER: certificates and keys are one SEQUENCE, and PEM begins with no byte like that.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30) && !bytes.is_ascii()
}

/// The certificates of a PEM file in their order; other sections may be between them.
pub(super) fn chain(bytes: &[u8], path: &Path) -> Result<Chain, CertificateError> {
    let mut chain = Vec::new();
    for section in <(pem::SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        match section {
            Ok((pem::SectionKind::Certificate, der)) => chain.push(CertificateDer::from(der)),
            Ok(_) => {}
            // The key behind the certificates may be the one that says so, if both are in one file.
            Err(_) if is_legacy(bytes) => {
                return Err(CertificateError::LegacyKey { path: path.to_path_buf() });
            }
            Err(error) => return Err(not_pem(path, &error)),
        }
    }
    match chain.is_empty() {
        true => Err(CertificateError::NoCertificate { path: path.to_path_buf(), is_der: is_der(bytes) }),
        false => Ok(chain),
    }
}

/// The first private key of a PEM file.
pub(super) fn key(
    bytes: &[u8],
    path: &Path,
    password: Option<&str>,
) -> Result<Arc<dyn SigningKey>, CertificateError> {
    if is_legacy(bytes) {
        return Err(CertificateError::LegacyKey { path: path.to_path_buf() });
    }
    let der = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(der) => der,
        Err(pem::Error::NoItemsFound) => match encrypted(bytes) {
            Some(der) => decrypt(&der, path, password)?,
            None => {
                return Err(CertificateError::NoKey { path: path.to_path_buf(), is_der: is_der(bytes) });
            }
        },
        Err(error) => return Err(not_pem(path, &error)),
    };
    signing(&der, path)
}

fn not_pem(path: &Path, error: &pem::Error) -> CertificateError {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a section of PEM has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => {
            "a section of PEM begins with a line that is none".to_owned()
        }
        pem::Error::Base64Decode(_) => "a section of PEM is not base64".to_owned(),
        other => other.to_string(),
    };
    CertificateError::NotPem { path: path.to_path_buf(), problem }
}

/// Whether there is a key as OpenSSL encrypted them before PKCS#8 (RFC 1421 section 4.6.1.1).
fn is_legacy(bytes: &[u8]) -> bool {
    let encrypted = b"Proc-Type: 4,ENCRYPTED";
    bytes.split(|&byte| byte == b'\n').any(|line| line.starts_with(encrypted))
}

/// The section of an encrypted PKCS#8 key; the reader for the others does not know it (RFC 7468 section 11).
fn encrypted(bytes: &[u8]) -> Option<Vec<u8>> {
    Pem::iter_from_buffer(bytes)
        .map_while(Result::ok)
        .find(|section| section.label == "ENCRYPTED PRIVATE KEY")
        .map(|section| section.contents)
}

fn decrypt(
    der: &[u8],
    path: &Path,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let path = || path.to_path_buf();
    let sealed = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| match error {
        // PBES1 and what is named by no number of PKCS#5 ends here.
        pkcs8::Error::Asn1(error) if is_unknown(error.kind()) => CertificateError::Encryption {
            path: path(),
            is_archive: false,
            problem: "the cipher is not one of PBES2".to_owned(),
        },
        error => CertificateError::Damaged {
            what: "private key".to_owned(),
            path: path(),
            problem: error.to_string(),
        },
    })?;
    let password = password.ok_or_else(|| CertificateError::PasswordMissing { path: path() })?;
    let opened = sealed.decrypt(password).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            error @ (pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. }
            | pkcs8::pkcs5::Error::NoPbes1CryptSupport),
        ) => CertificateError::Encryption { path: path(), is_archive: false, problem: error.to_string() },
        // The padding is wrong, or what came out is no key: there is nothing else to know a password by.
        _ => CertificateError::PasswordWrong { path: path() },
    })?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

fn is_unknown(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::OidUnknown { .. } | ErrorKind::Value { tag: Tag::ObjectIdentifier })
}

fn signing(der: &PrivateKeyDer<'_>, path: &Path) -> Result<Arc<dyn SigningKey>, CertificateError> {
    any_supported_type(der).map_err(|error| CertificateError::UnsupportedKey {
        path: path.to_path_buf(),
        problem: match error {
            rustls::Error::General(problem) => problem,
            error => error.to_string(),
        },
    })
}

/// The key of a PKCS#12 archive that has a certificate there, that certificate, and those that lead to its root, without
/// the root: clients that trust it have it.
pub(super) fn archive(
    bytes: &[u8],
    path: &Path,
    password: Option<&str>,
) -> Result<(Chain, Arc<dyn SigningKey>), CertificateError> {
    let path_buf = || path.to_path_buf();
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default())
        .map_err(|error| not_opened(error, path, password.is_some()))?;
    if archive.keys.is_empty() {
        return Err(CertificateError::NoKey { path: path_buf(), is_der: false });
    }
    if archive.certs.is_empty() {
        return Err(CertificateError::NoCertificate { path: path_buf(), is_der: false });
    }
    for bag in &archive.keys {
        let key = signing(&PrivatePkcs8KeyDer::from(bag.key.as_der()).into(), path)?;
        let mut fits: Vec<&CertificateBag> =
            archive.certs.iter().filter(|bag| belongs(bag.cert.as_der(), key.as_ref())).collect();
        // Two certificates may have one key, when one was renewed: the archive says which is meant.
        let id = bag.local_key_id.as_ref().map(|id| id.0.as_slice());
        fits.sort_by_key(|bag| bag.local_key_id.as_deref() != id);
        if let Some(leaf) = fits.first() {
            return Ok((in_order(leaf, &archive.certs), key));
        }
    }
    Err(CertificateError::Mismatch { certificate: path_buf(), key: path_buf(), belongs_to: None })
}

fn not_opened(error: p12_keystore::error::Error, path: &Path, has_password: bool) -> CertificateError {
    use p12_keystore::error::Error;
    let path = path.to_path_buf();
    match error {
        // A wrong password shows in the checksum of the archive. Those without one show it when they are opened.
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) if !has_password => {
            CertificateError::PasswordMissing { path }
        }
        Error::MacError(_) | Error::UnpadError => CertificateError::PasswordWrong { path },
        Error::Pkcs5Error(problem) if problem == pkcs8::pkcs5::Error::DecryptFailed.to_string() => {
            CertificateError::PasswordWrong { path }
        }
        Error::Pkcs5Error(problem) => CertificateError::Encryption { path, is_archive: true, problem },
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm | Error::InvalidParameters => {
            CertificateError::Encryption { path, is_archive: true, problem: error.to_string() }
        }
        error => CertificateError::Damaged { what: "archive".to_owned(), path, problem: error.to_string() },
    }
}

/// Whether the key is that of the certificate.
pub(super) fn belongs(certificate: &[u8], key: &dyn SigningKey) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    key.public_key().is_some_and(|public| public.as_ref() == certificate.public_key().raw)
}

/// A certificate, its issuer, and so on, out of a heap of them.
fn in_order(leaf: &CertificateBag, heap: &[CertificateBag]) -> Chain {
    let mut chain = vec![CertificateDer::from(leaf.cert.as_der().to_vec())];
    let mut last = leaf.cert.as_der();
    while let Ok((_, current)) = X509Certificate::from_der(last) {
        let issuer = heap.iter().map(|bag| bag.cert.as_der()).find(|der| {
            X509Certificate::from_der(der).is_ok_and(|(_, other)| {
                other.subject().as_raw() == current.issuer().as_raw()
                    && other.subject().as_raw() != other.issuer().as_raw()
            })
        });
        match issuer {
            // Issuers that issue one another would go round for ever.
            Some(issuer) if !chain.iter().any(|der| der.as_ref() == issuer) => {
                chain.push(CertificateDer::from(issuer.to_vec()));
                last = issuer;
            }
            _ => break,
        }
    }
    chain
}
