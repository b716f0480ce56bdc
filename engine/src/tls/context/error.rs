//! Why TLS cannot be served as it was asked for, each reason as a sentence that says what is wrong and what to do.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::tls::TlsVersion;
use crate::tls::certificate::CertificateError;

/// Why TLS cannot be served. Its text is meant for whoever runs the server.
#[derive(Debug)]
pub(crate) enum ContextError {
    /// There is no certificate at all.
    NoCertificate,
    /// A name has none, and the endpoint has none for it.
    NoCertificateFor { name: String },
    /// A name cannot be one that clients ask for.
    InvalidName { name: String, problem: &'static str },
    /// Whatever is wrong with a certificate, or a file that cannot be read.
    Certificate(CertificateError),
    /// The oldest version is newer than the newest.
    Versions { min: TlsVersion, max: TlsVersion },
    UnknownSuite {
        suite: String,
        /// Those that there are, by the names of the registry.
        known: Vec<String>,
    },
    /// A version is spoken for which no suite was named.
    NoSuite { version: TlsVersion },
    /// The suites named for TLS 1.2 are for keys of another kind.
    NoSuiteForKey { certificate: String },
    /// Clients are asked for certificates and nothing says whose.
    NoClientCa,
    /// The list of authorities cannot be used.
    ClientCa { path: PathBuf, problem: String },
    /// The list of revoked certificates cannot be used.
    ClientCrl { path: PathBuf, problem: String },
    /// Something of rustls failed that should not.
    Internal { attempt: &'static str, problem: String },
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("There is no certificate for TLS. Name one with its key."),
            Self::NoCertificateFor { name } => write!(
                f,
                "There is no certificate for the name '{name}', and none for the endpoint. Name one for either."
            ),
            Self::InvalidName { name, problem } => {
                write!(f, "The name '{name}' cannot be served with TLS: {problem}.")
            }
            Self::Certificate(error) => error.fmt(f),
            Self::Versions { min, max } => write!(
                f,
                "No version of TLS is left: the oldest to speak is {min}, the newest is {max}. Exchange them."
            ),
            Self::UnknownSuite { suite, known } => write!(
                f,
                "There is no cipher suite '{suite}' here. Those that there are: {}.",
                known.join(", ")
            ),
            Self::NoSuite { version } => write!(
                f,
                "None of the cipher suites is for {version}, which is to be spoken. Add one, or leave the version \
                 out."
            ),
            Self::NoSuiteForKey { certificate } => write!(
                f,
                "None of the cipher suites for TLS 1.2 goes with the key of the certificate {certificate}. Add one \
                 with ECDSA for keys of elliptic curves, with RSA for others, or speak TLS 1.3 alone."
            ),
            Self::NoClientCa => f.write_str(
                "Clients are asked for certificates, and no authorities are named that these must come from. Name a \
                 file of them.",
            ),
            Self::ClientCa { path, problem } => write!(
                f,
                "The authorities of clients in {} cannot be used: {problem}. Name a file with their certificates in \
                 PEM.",
                path.display()
            ),
            Self::ClientCrl { path, problem } => write!(
                f,
                "The revoked certificates in {} cannot be used: {problem}. Name a file with lists (X509 CRL) in PEM, \
                 or with one in DER.",
                path.display()
            ),
            Self::Internal { attempt, problem } => write!(f, "Failed to {attempt}: {problem}."),
        }
    }
}

impl Error for ContextError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Certificate(error) => error.source(),
            _ => None,
        }
    }
}

impl From<CertificateError> for ContextError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}
