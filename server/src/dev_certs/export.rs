//! Copies of the certificate and its key in the formats that other programs read. Must not know where the
//! certificate comes from.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use aws_lc_rs::rand;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use pem::{EncodeConfig, LineEnding, Pem};
use peregrine::tls::development::DevCertificate;
use pkcs8::PrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2;

use super::console::Console;
use super::{Code, Failure, Format};

/// Rounds between a password and its key; the number that .NET uses for both formats.
const ROUNDS: u32 = 100_000;

/// What happens to the private key.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    /// It is left out; only PEM can do without it.
    Omitted,
    /// Nothing protects it.
    Open,
    /// This password protects it.
    Encrypted(&'a str),
}

/// Writes the certificate to `path`, over an older file.
///
/// # Errors
/// A file could not be read or written.
pub(super) fn export(
    certificate: &DevCertificate,
    path: &Path,
    format: Format,
    key: Key<'_>,
    console: &Console,
) -> Result<(), Failure> {
    let chain = read_pem(&certificate.certificate)?;
    let private = read_pem(&certificate.key)?.pop().ok_or_else(|| failed("there is no key"))?;
    match format {
        Format::Pfx => {
            let password = if let Key::Encrypted(password) = key { password } else { "" };
            write(path, &pfx(certificate, &chain, private.contents(), password)?, 0o600)?;
        }
        Format::Pem => {
            write(path, encode(&chain).as_bytes(), 0o644)?;
            let private = match key {
                Key::Omitted => None,
                Key::Open => Some(private),
                Key::Encrypted(password) => {
                    Some(Pem::new("ENCRYPTED PRIVATE KEY", encrypt(private.contents(), password)?))
                }
            };
            if let Some(private) = private {
                let beside = key_beside(path);
                write(&beside, encode(&[private]).as_bytes(), 0o600)?;
                console.say(&format!("The key was exported to {}", beside.display()));
            }
        }
    }
    console.say(&format!("The certificate was exported to {}", path.display()));
    Ok(())
}

/// Where the key of a certificate in PEM lies.
pub(super) fn key_beside(path: &Path) -> PathBuf {
    path.with_extension("key")
}

/// PEM texts, one after the other.
pub(super) fn encode(pems: &[Pem]) -> String {
    pem::encode_many_config(pems, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

fn failed(why: impl Display) -> Failure {
    Failure::new(Code::Exporting, format!("The certificate could not be exported: {why}"))
}

fn read_pem(path: &Path) -> Result<Vec<Pem>, Failure> {
    let text = fs::read(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    pem::parse_many(text).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn pfx(certificate: &DevCertificate, chain: &[Pem], key: &[u8], password: &str) -> Result<Vec<u8>, Failure> {
    let chain: Result<Vec<_>, _> = chain.iter().map(|pem| Certificate::from_der(pem.contents())).collect();
    let key = PrivateKey::from_der(key).map_err(failed)?;
    let chain = PrivateKeyChain::new(certificate.thumbprint.as_bytes(), key, chain.map_err(failed)?);
    let mut store = KeyStore::new();
    store.add_entry("localhost", KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
    writer.write().map_err(failed)
}

fn encrypt(key: &[u8], password: &str) -> Result<Vec<u8>, Failure> {
    let (mut salt, mut vector) = ([0; 16], [0; 16]);
    rand::fill(&mut salt).and_then(|()| rand::fill(&mut vector)).map_err(failed)?;
    let parameters =
        pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, vector).map_err(failed)?;
    let key = PrivateKeyInfoRef::try_from(key).map_err(failed)?;
    Ok(key.encrypt_with_params(parameters, password).map_err(failed)?.as_bytes().to_vec())
}

/// Whoever reads the file meanwhile has the old one or the new one; and its mode is not that of an older one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", process::id()));
    let write_new = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    write_new().map_err(|error| {
        // Perhaps it was not even made.
        let _ = fs::remove_file(&new);
        failed(format!("{}: {error}", path.display()))
    })
}
