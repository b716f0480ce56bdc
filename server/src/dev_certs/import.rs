//! Certificates that were made elsewhere: their files are read and handed to the engine, which judges them.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use pem::Pem;
use peregrine::tls::development::{DevCertificate, DevCertificateError, DevCertificates, Found};
use pkcs8::EncryptedPrivateKeyInfoRef;

use super::console::Console;
use super::export::{encode, key_beside};
use super::{Code, Failure, saving};

/// Takes the certificate of a file into the store.
///
/// # Errors
/// The file is not there or not what it should be, or there is a certificate already.
pub(super) fn import(
    store: &DevCertificates,
    file: &Path,
    password: Option<&str>,
    console: &Console,
) -> Result<DevCertificate, Failure> {
    let bytes = fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(Code::ImportMissing, format!("{} is not there", file.display()))
        }
        _ => unreadable(file, error),
    })?;
    if let Found::Valid(_) = store.look().map_err(|error| saving(&error))? {
        let why = "There is a valid certificate already: add --clean to put this one in its place";
        return Err(Failure::new(Code::ImportExisting, why));
    }
    let (certificates, key) = if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        from_pem(file, &bytes, password)?
    } else {
        from_pfx(file, &bytes, password)?
    };
    let kept = store.adopt(&encode(&certificates), &encode(&[key]));
    let certificate = kept.map_err(|error| match error {
        DevCertificateError::Unusable(why) => {
            Failure::new(Code::ImportUnfit, format!("{}: {why}", file.display()))
        }
        other => saving(&other),
    })?;
    console.say(&format!("The certificate was imported, thumbprint {}", certificate.thumbprint));
    Ok(certificate)
}

fn unreadable(file: &Path, why: impl Display) -> Failure {
    Failure::new(Code::ImportUnreadable, format!("{} cannot be imported: {why}", file.display()))
}

fn from_pfx(file: &Path, bytes: &[u8], password: Option<&str>) -> Result<(Vec<Pem>, Pem), Failure> {
    let store = KeyStore::from_pkcs12(bytes, password.unwrap_or_default(), Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| {
            unreadable(file, format!("it is not PKCS#12, or the password is wrong ({error})"))
        })?;
    let (_, chain) = store.private_key_chain().ok_or_else(|| unreadable(file, "it holds no private key"))?;
    let certificates = chain.certs().iter().map(|each| Pem::new("CERTIFICATE", each.as_der())).collect();
    Ok((certificates, Pem::new("PRIVATE KEY", chain.key().as_der())))
}

fn from_pem(file: &Path, bytes: &[u8], password: Option<&str>) -> Result<(Vec<Pem>, Pem), Failure> {
    let parse = |bytes: &[u8]| pem::parse_many(bytes).map_err(|error| unreadable(file, error));
    let is_key = |pem: &Pem| pem.tag().ends_with("PRIVATE KEY");
    let pems = parse(bytes)?;
    let mut key = pems.iter().find(|pem| is_key(pem)).cloned();
    if key.is_none() {
        let beside = key_beside(file);
        let bytes = fs::read(&beside).map_err(|error| {
            let beside = beside.display();
            unreadable(
                file,
                format!("it holds no private key, and the one in {beside} cannot be read: {error}"),
            )
        })?;
        key = parse(&bytes)?.into_iter().find(is_key);
    }
    let key = key.ok_or_else(|| unreadable(file, "there is no private key"))?;
    let certificates = pems.into_iter().filter(|pem| pem.tag() == "CERTIFICATE").collect();
    match key.tag() {
        "PRIVATE KEY" => Ok((certificates, key)),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.ok_or_else(|| unreadable(file, "the key needs a --password"))?;
            let key = EncryptedPrivateKeyInfoRef::try_from(key.contents())
                .and_then(|encrypted| encrypted.decrypt(password))
                .map_err(|error| unreadable(file, format!("the password of the key is wrong ({error})")))?;
            Ok((certificates, Pem::new("PRIVATE KEY", key.as_bytes())))
        }
        other => Err(unreadable(
            file,
            format!("the key is a {other}, not PKCS#8: convert it with openssl pkcs8 -topk8 -nocrypt"),
        )),
    }
}
