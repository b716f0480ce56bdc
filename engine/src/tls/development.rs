//! The development certificate: where it lies, how it is made, and whether what lies there can be used.
//!
//! Owns the two files and the lock on their folder. It must not know who trusts the certificate: that is for the
//! command `peregrine dev-certs`. A module for the command, for tests, and for servers in the environment
//! `Development`; its interface may change with any version.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, process};

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, date_time_ymd,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

/// How long a certificate is valid (as that of `dotnet dev-certs`).
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long ago its validity begins, for clocks that are behind: those of virtual machines and containers.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// The names of a host that a developer reaches it by; the same as those of `dotnet dev-certs`. There is no
/// `*.localhost`, because browsers take no wildcard right below a top-level name.
const NAMES: [&str; 5] =
    ["localhost", "*.dev.localhost", "*.dev.internal", "host.docker.internal", "host.containers.internal"];

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A folder with a development certificate, or without one yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificates {
    folder: PathBuf,
}

/// A development certificate that can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevCertificate {
    /// The PEM file of the certificate; for an imported one perhaps followed by those of its authorities.
    pub certificate: PathBuf,

    /// The PEM file of its private key, in PKCS#8.
    pub key: PathBuf,

    /// The end of its validity, in seconds of Unix time.
    pub not_after: i64,

    /// The SHA-256 of its DER encoding, in small hexadecimal digits.
    pub thumbprint: String,

    /// Who has signed it; `None` if that is itself.
    pub issuer: Option<String>,
}

/// What lies in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A certificate that can be used now.
    Valid(DevCertificate),

    /// A certificate whose time is over or has not come: nothing is wrong with it otherwise.
    Expired(Unusable),

    /// Files that are no certificate for localhost with its key.
    Invalid(Unusable),

    /// Neither a certificate nor a key.
    Nothing,
}

/// Why what was found cannot be used, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unusable {}

/// Why a development certificate could neither be looked for nor be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevCertificateError {
    /// No variable says where the certificate lies: neither `PEREGRINE_DEV_CERTS`, `XDG_DATA_HOME` nor `HOME`.
    NoFolder,

    /// A file or the folder could not be read or written.
    File(PathBuf, io::Error),

    /// What was to be kept is no certificate for localhost with its key.
    Unusable(Unusable),

    /// No key or certificate could be computed.
    Making(rcgen::Error),
}

impl fmt::Display for DevCertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFolder => f.write_str("There is no folder for the development certificate: set HOME"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unusable(why) => why.fmt(f),
            Self::Making(error) => write!(f, "The development certificate could not be made: {error}"),
        }
    }
}

impl Error for DevCertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoFolder => None,
            Self::File(_, error) => Some(error),
            Self::Unusable(why) => Some(why),
            Self::Making(error) => Some(error),
        }
    }
}

impl DevCertificate {
    /// The certificate of this user, if there is a valid one.
    ///
    /// # Errors
    /// There is no folder for it, or the files cannot be read. What can be read but not used counts as not there;
    /// [`DevCertificates::look`] says why.
    pub fn find() -> Result<Option<Self>, DevCertificateError> {
        DevCertificates::of_user()?.find()
    }

    /// The certificate of this user, made now if there is no valid one.
    ///
    /// # Errors
    /// It could be neither read nor written.
    pub fn find_or_create() -> Result<Self, DevCertificateError> {
        DevCertificates::of_user()?.find_or_create()
    }

    /// A new certificate of this user, in the place of an older one.
    ///
    /// # Errors
    /// It could not be written.
    pub fn create() -> Result<Self, DevCertificateError> {
        DevCertificates::of_user()?.create()
    }

    /// Removes the certificate of this user; says whether there was one.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn remove() -> Result<bool, DevCertificateError> {
        DevCertificates::of_user()?.remove()
    }

    /// The first eight digits of the thumbprint, by which places of trust name the certificate.
    #[must_use]
    pub fn short_thumbprint(&self) -> &str {
        &self.thumbprint[..8]
    }
}

impl DevCertificates {
    /// Those of this user: in `$PEREGRINE_DEV_CERTS`, else `$XDG_DATA_HOME/peregrine/dev-certs`, else
    /// `~/.local/share/peregrine/dev-certs`.
    ///
    /// # Errors
    /// None of the variables is set.
    pub fn of_user() -> Result<Self, DevCertificateError> {
        folder_by(|name| env::var_os(name)).map(Self::at).ok_or(DevCertificateError::NoFolder)
    }

    /// Those in a folder, which need not be there yet.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at what is there.
    ///
    /// # Errors
    /// The files are there but cannot be read.
    pub fn look(&self) -> Result<Found, DevCertificateError> {
        let folder = match File::open(&self.folder) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(self.failed(error)),
        };
        // A pair that is being replaced is not read half. What cannot be locked is read as it is.
        let _ = folder.lock_shared();
        self.look_under_lock()
    }

    /// The certificate, if there is a valid one.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn find(&self) -> Result<Option<DevCertificate>, DevCertificateError> {
        Ok(self.look()?.valid())
    }

    /// The certificate, made now if there is no valid one. Of several processes at once, one makes it and the
    /// others find it.
    ///
    /// # Errors
    /// It could be neither read nor written.
    pub fn find_or_create(&self) -> Result<DevCertificate, DevCertificateError> {
        if let Some(certificate) = self.find()? {
            return Ok(certificate);
        }
        let _lock = self.lock()?;
        match self.look_under_lock()?.valid() {
            Some(certificate) => Ok(certificate),
            None => self.make(SystemTime::now()),
        }
    }

    /// A new certificate in the place of an older one.
    ///
    /// # Errors
    /// It could not be written.
    pub fn create(&self) -> Result<DevCertificate, DevCertificateError> {
        self.create_as_of(SystemTime::now())
    }

    /// As [`create`](Self::create), but as if it were another time; so that tests have expired ones.
    ///
    /// # Errors
    /// It could not be written.
    #[doc(hidden)]
    pub fn create_as_of(&self, now: SystemTime) -> Result<DevCertificate, DevCertificateError> {
        let _lock = self.lock()?;
        self.make(now)
    }

    /// Keeps a certificate and its key that were made elsewhere, in the place of an older one: PEM texts, the first
    /// certificate being that of the server, the key in PKCS#8.
    ///
    /// # Errors
    /// They do not belong together, are not valid now or not for localhost; or they could not be written.
    pub fn adopt(&self, certificate: &str, key: &str) -> Result<DevCertificate, DevCertificateError> {
        let judged = self.judge(certificate.as_bytes(), key).valid_or_why();
        let judged = judged.map_err(DevCertificateError::Unusable)?;
        let _lock = self.lock()?;
        self.write_pair(certificate, key)?;
        Ok(judged)
    }

    /// Removes certificate and key; says whether there was either.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn remove(&self) -> Result<bool, DevCertificateError> {
        // The folder stays: another process may be waiting for its lock.
        if !self.folder.exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut removed = false;
        for path in [self.key_path(), self.certificate_path()] {
            match fs::remove_file(&path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(DevCertificateError::File(path, error)),
            }
        }
        Ok(removed)
    }

    fn certificate_path(&self) -> PathBuf {
        self.folder.join("localhost.pem")
    }

    fn key_path(&self) -> PathBuf {
        self.folder.join("localhost-key.pem")
    }

    fn failed(&self, error: io::Error) -> DevCertificateError {
        DevCertificateError::File(self.folder.clone(), error)
    }

    /// Keeps all others from reading and writing until it is dropped. Makes the folder if it is not there.
    fn lock(&self) -> Result<File, DevCertificateError> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        make.map_err(|error| self.failed(error))?;
        let folder = File::open(&self.folder).map_err(|error| self.failed(error))?;
        match folder.lock() {
            // Some network file systems have no locks; there the check of the pair is what is left.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(self.failed(error)),
            _ => Ok(folder),
        }
    }

    fn look_under_lock(&self) -> Result<Found, DevCertificateError> {
        let certificate = read(&self.certificate_path())?;
        let key = read(&self.key_path())?;
        Ok(match (certificate, key) {
            (None, None) => Found::Nothing,
            (Some(_), None) => invalid(format!("{} is missing", self.key_path().display())),
            (None, Some(_)) => invalid(format!("{} is missing", self.certificate_path().display())),
            (Some(certificate), Some(key)) => self.judge(&certificate, &String::from_utf8_lossy(&key)),
        })
    }

    fn judge(&self, certificate: &[u8], key: &str) -> Found {
        let Some(Ok(pem)) = Pem::iter_from_buffer(certificate).find(is_certificate) else {
            return invalid("There is no certificate in PEM".to_owned());
        };
        let Ok((_, x509)) = parse_x509_certificate(&pem.contents) else {
            return invalid("The certificate is damaged".to_owned());
        };
        if let Err(why) = check_purpose(&x509).and_then(|()| check_key(&x509, key)) {
            return invalid(why);
        }
        let validity = x509.validity();
        if !validity.is_valid() {
            let (begin, end) = (validity.not_before, validity.not_after);
            return Found::Expired(Unusable(format!("The certificate is valid from {begin} to {end} only")));
        }
        Found::Valid(DevCertificate {
            certificate: self.certificate_path(),
            key: self.key_path(),
            not_after: validity.not_after.timestamp(),
            thumbprint: thumbprint(&pem.contents),
            issuer: (x509.issuer() != x509.subject()).then(|| x509.issuer().to_string()),
        })
    }

    fn make(&self, now: SystemTime) -> Result<DevCertificate, DevCertificateError> {
        let (certificate, key) = generate(now).map_err(DevCertificateError::Making)?;
        self.write_pair(&certificate, &key)?;
        let pem = Pem::iter_from_buffer(certificate.as_bytes()).find_map(Result::ok);
        Ok(DevCertificate {
            certificate: self.certificate_path(),
            key: self.key_path(),
            not_after: end_of_validity(now),
            thumbprint: thumbprint(&pem.expect("it was just encoded").contents),
            issuer: None,
        })
    }

    /// Both are written beside the old ones and then renamed, so that whoever comes without the lock finds whole files.
    fn write_pair(&self, certificate: &str, key: &str) -> Result<(), DevCertificateError> {
        let files = [(self.key_path(), key, 0o600), (self.certificate_path(), certificate, 0o644)];
        let temporary = |path: &Path| path.with_extension(format!("{}.new", process::id()));
        let mut result = Ok(());
        for (path, text, mode) in &files {
            let new = temporary(path);
            result = result.and_then(|()| {
                write_new(&new, text, *mode).map_err(|error| DevCertificateError::File(new, error))
            });
        }
        for (path, ..) in &files {
            let new = temporary(path);
            result = result.and_then(|()| {
                fs::rename(&new, path).map_err(|error| DevCertificateError::File(path.clone(), error))
            });
            if result.is_err() {
                // What is left of it, if anything.
                let _ = fs::remove_file(&new);
            }
        }
        result
    }
}

impl Found {
    /// The certificate, if it can be used.
    #[must_use]
    pub fn valid(self) -> Option<DevCertificate> {
        match self {
            Self::Valid(certificate) => Some(certificate),
            Self::Expired(_) | Self::Invalid(_) | Self::Nothing => None,
        }
    }

    fn valid_or_why(self) -> Result<DevCertificate, Unusable> {
        match self {
            Self::Valid(certificate) => Ok(certificate),
            Self::Expired(why) | Self::Invalid(why) => Err(why),
            Self::Nothing => Err(Unusable("There is no certificate".to_owned())),
        }
    }
}

fn invalid(why: String) -> Found {
    Found::Invalid(Unusable(why))
}

fn is_certificate<E>(pem: &Result<Pem, E>) -> bool {
    pem.as_ref().is_ok_and(|pem| pem.label == "CERTIFICATE")
}

/// A variable that is empty counts as not set, and a relative path of `XDG_DATA_HOME` too, as its specification says.
fn folder_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = || {
        let stated = path("XDG_DATA_HOME").filter(|path| path.is_absolute());
        stated.or_else(|| path("HOME").map(|home| home.join(".local/share")))
    };
    path("PEREGRINE_DEV_CERTS").or_else(|| data().map(|data| data.join("peregrine/dev-certs")))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DevCertificateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DevCertificateError::File(path.to_owned(), error)),
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // One that a process of the same number has left would keep its mode.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Checks that a server may be `localhost` with it (RFC 5280 sections 4.2.1.6 and 4.2.1.12).
fn check_purpose(x509: &X509Certificate<'_>) -> Result<(), String> {
    let names = x509.subject_alternative_name().map_err(|error| error.to_string())?;
    let is_localhost = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case("localhost"));
    if !names.is_some_and(|names| names.value.general_names.iter().any(is_localhost)) {
        return Err("The certificate is not for localhost".to_owned());
    }
    let usages = x509.extended_key_usage().map_err(|error| error.to_string())?;
    if usages.is_some_and(|usages| !usages.value.server_auth && !usages.value.any) {
        return Err("The certificate is not for servers".to_owned());
    }
    Ok(())
}

fn check_key(x509: &X509Certificate<'_>, key: &str) -> Result<(), String> {
    let key = KeyPair::from_pem(key).map_err(|error| format!("The private key cannot be used: {error}"))?;
    if key.subject_public_key_info() == x509.public_key().raw {
        Ok(())
    } else {
        Err("The private key is not that of the certificate".to_owned())
    }
}

fn thumbprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end_of_validity(now: SystemTime) -> i64 {
    let end = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(BACKDATED) + VALIDITY;
    i64::try_from(end.as_secs()).unwrap_or(i64::MAX)
}

/// A certificate and its key, both in PEM. It is no authority: whoever steals the key can be this host to this
/// developer, and nobody else to anybody.
fn generate(now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let end = u64::try_from(end_of_validity(now)).unwrap_or_default();
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    params.not_before = params.not_after - VALIDITY;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    for name in NAMES {
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    params.subject_alt_names.extend(ADDRESSES.map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests;
