//! What a look at changed files has come to, each as a line for the log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ContextError, snapshot};
use crate::tls::TlsOptions;
use crate::tls::certificate::{Day, Loaded, files};
use crate::tls::files::Digests;

/// What a look at changed files has come to.
#[derive(Debug)]
pub(crate) enum Change {
    /// A certificate is another one.
    Certificate { new: Arc<Loaded>, old: Arc<Loaded> },
    /// A certificate is the same, and its chain or the form of its key is another one.
    Chain { certificate: Arc<Loaded> },
    /// A file beside the certificates was taken anew.
    File {
        /// E.g. `OCSP response`.
        what: &'static str,
        path: PathBuf,
    },
    /// The files cannot be used, and what was loaded before stays.
    Failed(ContextError),
    /// A certificate has expired or is not valid yet, and the one before stays.
    OutOfDate { new: Arc<Loaded>, old: Arc<Loaded>, now: i64 },
}

impl Change {
    /// What stays as it was.
    #[cfg(test)]
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::OutOfDate { .. })
    }

    /// What differs between two looks that have both succeeded.
    pub(super) fn between(
        options: &TlsOptions,
        (old, old_digests): (&[Arc<Loaded>], &Digests),
        (new, new_digests): (&[Arc<Loaded>], &Digests),
    ) -> Vec<Self> {
        let differs = |path: &Path| old_digests.get(path) != new_digests.get(path);
        let mut changes = Vec::new();
        for ((certificate, old), new) in snapshot::certificates(options).into_iter().zip(old).zip(new) {
            let response = certificate.ocsp_response.as_deref();
            if old.thumbprint != new.thumbprint {
                changes.push(Self::Certificate { new: Arc::clone(new), old: Arc::clone(old) });
            } else if files(certificate).any(|path| Some(path) != response && differs(path)) {
                changes.push(Self::Chain { certificate: Arc::clone(new) });
            }
            if let Some(path) = response.filter(|path| differs(path)) {
                changes.push(Self::File { what: "OCSP response", path: path.to_path_buf() });
            }
        }
        for (what, path) in
            [("authorities of clients", &options.client_ca), ("revoked certificates", &options.client_crl)]
        {
            if let Some(path) = path.as_deref().filter(|path| differs(path)) {
                changes.push(Self::File { what, path: path.to_path_buf() });
            }
        }
        changes
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { new, old } => write!(f, "Certificate {new} replaces {old}."),
            Self::Chain { certificate } => {
                write!(f, "Certificate {certificate} stays, its chain or its key file was taken anew.")
            }
            Self::File { what, path } => write!(f, "The {what} in {} was taken anew.", path.display()),
            Self::Failed(error) => {
                write!(f, "Changed files for TLS are not used, what was loaded before stays. {error}")
            }
            Self::OutOfDate { new, old, now } if *now < new.not_before => write!(
                f,
                "Certificate {new} is not used before {}, {old} stays until then.",
                Day(new.not_before)
            ),
            Self::OutOfDate { new, old, .. } => {
                write!(
                    f,
                    "Certificate {new} has expired and is not used, {old} stays. Put a newer one there."
                )
            }
        }
    }
}
