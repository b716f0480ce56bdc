//! What an application says about TLS: the values alone. Loading and checking is for `certificate` and `context`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How endpoints of https are served (Kestrel's `HttpsConnectionAdapterOptions`).
///
/// ```
/// use peregrine::tls::{Certificate, TlsOptions};
///
/// let mut tls = TlsOptions::default();
/// tls.certificate = Some(Certificate::pem("/etc/app/fullchain.pem", "/etc/app/key.pem"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The certificate for every name that [`names`](Self::names) does not have, and for clients that name none.
    /// Default: none. Then such clients are turned away, if `names` has something; otherwise the certificate of
    /// `peregrine dev-certs https` is taken in the environment `Development`, and elsewhere the server does not start.
    pub certificate: Option<Certificate>,

    /// What differs for some of the names that clients ask for (SNI, RFC 6066 section 3). Default: nothing.
    pub names: Vec<TlsName>,

    /// Whether clients are asked for a certificate. Default [`ClientCertificates::None`] (Kestrel's
    /// `ClientCertificateMode`).
    pub client_certificates: ClientCertificates,

    /// A PEM file of the authorities that client certificates must come from; needed for [`ClientCertificates::Allow`]
    /// and [`ClientCertificates::Require`]. Default: none.
    pub client_ca: Option<PathBuf>,

    /// A file of revoked client certificates (CRL, RFC 5280 section 5): one list in DER, or in PEM as many as there are
    /// authorities that issue them. All of a client's chain is looked up; an authority without a list has revoked
    /// nothing, and a list past its date still counts. Default: none, and revocation is not looked at.
    pub client_crl: Option<PathBuf>,

    /// The oldest version that is spoken. Default [`TlsVersion::Tls12`].
    pub min_version: TlsVersion,

    /// The newest version that is spoken. Default [`TlsVersion::Tls13`].
    pub max_version: TlsVersion,

    /// The cipher suites to use, by their names in IANA's registry, e.g. `TLS_AES_256_GCM_SHA384` or
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, the most wanted first; the names of rustls (`TLS13_...`) are taken,
    /// too. Each version that is spoken needs one. Default: empty, which means all that rustls has, of which none is
    /// known to be weak: AES-128-GCM, then AES-256-GCM, then ChaCha20-Poly1305. This order decides, not the client's.
    pub cipher_suites: Vec<String>,

    /// How long a client may take from the connection to the end of the handshake. Default 10 s (Kestrel's
    /// `HandshakeTimeout`); `None` leaves it at [`Limits::keep_alive_timeout`](crate::Limits::keep_alive_timeout).
    pub handshake_timeout: Option<Duration>,

    /// Whether handshakes are computed on threads beside the workers, so that a flood of them takes none of the
    /// workers' time. Costs two hops between threads for each. Default false: a worker does a few of them in each turn
    /// of its loop, and serves its open connections in between. Each endpoint has its own choice.
    pub offload_handshakes: bool,

    /// Whether clients get tickets, with which they come back without another exchange of certificates (RFC 8446 section
    /// 4.6.1, RFC 5077). Default true. Their keys are made at random, shared by all workers, kept when certificates are
    /// taken anew and replaced every six hours; those before the last are forgotten, so that a ticket is good for six to
    /// twelve hours. A client gets one with each connection, as from Go. None is good under other rules for client
    /// certificates than those it was given under, nor after [`client_ca`](Self::client_ca) or
    /// [`client_crl`](Self::client_crl) have changed.
    pub tickets: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificate: None,
            names: Vec::new(),
            client_certificates: ClientCertificates::None,
            client_ca: None,
            client_crl: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            handshake_timeout: Some(Duration::from_secs(10)),
            offload_handshakes: false,
            tickets: true,
        }
    }
}

/// What differs for one name that clients ask for (Kestrel's `Sni` section).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsName {
    /// The name, e.g. `www.example.org`; `*.example.org` for all names that have one label more than `example.org`; `*`
    /// for all. A name itself comes before the longest pattern that fits it.
    pub name: String,
    /// Its certificate. Default: that of the endpoint.
    pub certificate: Option<Certificate>,
    /// Whether its clients are asked for a certificate. Default: as the endpoint. It holds for the name that is asked
    /// for in the handshake; the requests that follow may have another in `Host`.
    pub client_certificates: Option<ClientCertificates>,
    /// The oldest version that is spoken. Default: as the endpoint.
    pub min_version: Option<TlsVersion>,
    /// The newest version that is spoken. Default: as the endpoint.
    pub max_version: Option<TlsVersion>,
}

impl TlsName {
    /// A name with a certificate of its own.
    pub fn new(name: impl Into<String>, certificate: Certificate) -> Self {
        Self {
            name: name.into(),
            certificate: Some(certificate),
            client_certificates: None,
            min_version: None,
            max_version: None,
        }
    }
}

/// Where a certificate, its chain and its private key come from. The files are looked at again every second and taken
/// anew when what is in them has changed; if they are of no use then, what was loaded before stays. They must be
/// regular files, or links to such. Its `Debug` does not tell the password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The files.
    pub source: CertificateSource,
    /// The password of the key or of the archive, if it has one.
    pub password: Option<String>,
    /// A file with an OCSP response in DER, which is handed to clients that ask (RFC 6066 section 8). Default: none.
    pub ocsp_response: Option<PathBuf>,
}

/// The files of a [`Certificate`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateSource {
    /// PEM: the certificate with its chain behind it, and its key, which may be in the same file.
    Pem {
        /// The certificate, then those that lead to the root; the root itself may be left out.
        chain: PathBuf,
        /// PKCS#8 (encrypted, too), SEC1 or PKCS#1.
        key: PathBuf,
    },
    /// PKCS#12: all in one archive, `.pfx` or `.p12`, in whatever order. Its root is not sent to clients.
    Pkcs12(PathBuf),
}

impl Certificate {
    /// A certificate, with the chain behind it, and a key, both PEM.
    pub fn pem(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            source: CertificateSource::Pem { chain: chain.into(), key: key.into() },
            password: None,
            ocsp_response: None,
        }
    }

    /// A PKCS#12 archive, `.pfx` or `.p12`.
    pub fn pkcs12(archive: impl Into<PathBuf>) -> Self {
        Self { source: CertificateSource::Pkcs12(archive.into()), password: None, ocsp_response: None }
    }

    /// The same with a password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "...");
        f.debug_struct("Certificate")
            .field("source", &self.source)
            .field("password", &password)
            .field("ocsp_response", &self.ocsp_response)
            .finish()
    }
}

/// Whether clients are asked for a certificate (Kestrel's `ClientCertificateMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum ClientCertificates {
    /// They are not asked. The default.
    #[default]
    #[cfg_attr(feature = "cli", value(help = "clients are not asked for a certificate"))]
    None,
    /// They are asked, and may have none. One that no authority of the list has issued ends the handshake.
    #[cfg_attr(feature = "cli", value(help = "clients are asked, and may have none"))]
    Allow,
    /// Without one the handshake fails.
    #[cfg_attr(feature = "cli", value(help = "clients without one are turned away"))]
    Require,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[cfg_attr(feature = "cli", value(name = "1.2", help = "TLS 1.2"))]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[cfg_attr(feature = "cli", value(name = "1.3", help = "TLS 1.3"))]
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}
