//! Why a certificate cannot be used, each reason as a sentence that says what is wrong, in which file, and what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a certificate cannot be used. Its text is meant for whoever runs the server.
#[derive(Debug)]
pub(crate) enum CertificateError {
    /// A file cannot be read.
    Unreadable {
        /// What should be in it, e.g. `certificate`.
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file of PEM has a section that cannot be decoded.
    NotPem { path: PathBuf, problem: String },
    /// There is no certificate in the file.
    NoCertificate {
        path: PathBuf,
        /// It seems to be DER, which PEM is made of.
        is_der: bool,
    },
    /// There is no private key in the file.
    NoKey { path: PathBuf, is_der: bool },
    /// The key is encrypted in the form that OpenSSL had before PKCS#8.
    LegacyKey { path: PathBuf },
    /// The key or the archive is encrypted and no password was given.
    PasswordMissing { path: PathBuf },
    /// The password does not open it.
    PasswordWrong { path: PathBuf },
    /// It is encrypted in a way that is not known here.
    Encryption { path: PathBuf, is_archive: bool, problem: String },
    /// Something cannot be parsed.
    Damaged {
        /// What, e.g. `certificate 2`.
        what: String,
        path: PathBuf,
        problem: String,
    },
    /// The key is of a kind that cannot sign handshakes.
    UnsupportedKey { path: PathBuf, problem: String },
    /// The key belongs to another certificate.
    Mismatch {
        certificate: PathBuf,
        key: PathBuf,
        /// The certificate in the file that it does belong to, the first being 1.
        belongs_to: Option<usize>,
    },
    /// The certificate is not for servers.
    NotForServers { path: PathBuf, subject: String },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { what, path, source } => {
                write!(f, "Cannot read the {what} {}: {source}.", path.display())?;
                match source.kind() {
                    io::ErrorKind::NotFound => f.write_str(" Name a file that exists."),
                    io::ErrorKind::PermissionDenied => f.write_str(" Let the user of this process read it."),
                    _ => Ok(()),
                }
            }
            Self::NotPem { path, problem } => write!(
                f,
                "The file {} is damaged: {problem}. Get it anew from whoever issued it.",
                path.display()
            ),
            Self::NoCertificate { path, is_der: true } => write!(
                f,
                "The file {0} has no certificate in PEM; it seems to be DER. Convert it: openssl x509 -inform der \
                 -in {0} -out NEW_FILE",
                path.display()
            ),
            Self::NoCertificate { path, is_der: false } => write!(
                f,
                "The file {} has no certificate. Name one with the certificate of the server and its chain.",
                path.display()
            ),
            Self::NoKey { path, is_der: true } => write!(
                f,
                "The file {0} has no private key in PEM; it seems to be DER. Convert it: openssl pkey -inform der \
                 -in {0} -out NEW_FILE",
                path.display()
            ),
            Self::NoKey { path, is_der: false } => write!(
                f,
                "The file {} has no private key. Name one with the key of the certificate.",
                path.display()
            ),
            Self::LegacyKey { path } => write!(
                f,
                "The private key in {0} is encrypted in the old form of OpenSSL (Proc-Type: 4,ENCRYPTED), which is \
                 weak and not supported. Convert it: openssl pkcs8 -topk8 -in {0} -out NEW_FILE",
                path.display()
            ),
            Self::PasswordMissing { path } => {
                write!(f, "The private key in {} is encrypted. Give its password.", path.display())
            }
            Self::PasswordWrong { path } => write!(
                f,
                "The password given for {} does not open it. Give the one that it was made with.",
                path.display()
            ),
            Self::Encryption { path, is_archive, problem } => {
                write!(
                    f,
                    "The file {0} is encrypted in a way that is not supported: {problem}. Convert it: ",
                    path.display()
                )?;
                match is_archive {
                    true => write!(
                        f,
                        "openssl pkcs12 -in {} -nodes | openssl pkcs12 -export -out NEW_FILE",
                        path.display()
                    ),
                    false => write!(f, "openssl pkcs8 -topk8 -in {} -out NEW_FILE", path.display()),
                }
            }
            Self::Damaged { what, path, problem } => write!(
                f,
                "The {what} in {} is damaged: {problem}. Get it anew from whoever issued it.",
                path.display()
            ),
            Self::UnsupportedKey { path, problem } => write!(
                f,
                "The private key in {} cannot be used: {problem}. Use ECDSA with P-256, P-384 or P-521, Ed25519, or \
                 RSA with 2048 to 8192 bits.",
                path.display()
            ),
            Self::Mismatch { certificate, key, belongs_to: Some(number) } => write!(
                f,
                "The private key in {} belongs to certificate {number} in {}, not to the first. Put the certificate \
                 of the server first, and its chain behind it.",
                key.display(),
                certificate.display()
            ),
            Self::Mismatch { certificate, key, belongs_to: None } if certificate == key => write!(
                f,
                "The private key in {} does not belong to the certificate in it. Put both of one pair there.",
                key.display()
            ),
            Self::Mismatch { certificate, key, belongs_to: None } => write!(
                f,
                "The private key in {} does not belong to the certificate in {}. Name the two files of one pair.",
                key.display(),
                certificate.display()
            ),
            Self::NotForServers { path, subject } => write!(
                f,
                "The certificate {subject} in {} is not for servers: its extended key usage does not have \
                 serverAuth. Have one issued for servers.",
                path.display()
            ),
        }
    }
}

impl Error for CertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
