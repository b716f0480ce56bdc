//! One endpoint's TLS, shared by all workers: what was loaded last, and how it is loaded anew when files change.
//!
//! It must not know connections, nor who writes its lines down.

mod change;
mod config;
mod error;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use change::Change;
pub(crate) use error::ContextError;
pub(crate) use snapshot::Snapshot;

use super::certificate::{self, Day, Loaded, Validity};
use super::files::{Contents, Digests, Seen, unix_now};
use super::options::{ClientCertificates, TlsOptions};
use config::{Maker, Ticketers};

/// The time between two warnings about the same thing, in seconds.
const REPEAT: i64 = 24 * 60 * 60;

/// One endpoint's TLS.
pub(crate) struct Context {
    options: TlsOptions,
    alpn: Vec<Vec<u8>>,
    current: Mutex<Arc<Snapshot>>,
    looked: Mutex<Looked>,
    warned: Mutex<HashMap<Warning, i64>>,
}

/// What the last looks at the files have come to.
struct Looked {
    /// At the last look.
    seen: Seen,
    /// Of what is in use.
    in_use: Digests,
    /// Nothing of what was seen last is in use, for it was of no use.
    has_failed: bool,
    /// The time to try the same files once more: a certificate becomes valid. Seconds since 1970.
    again_at: Option<i64>,
    ticketers: Ticketers,
}

/// What was warned of: a certificate's thumbprint, and that it is not valid yet, ends soon or has expired.
type Warning = (String, u8);

/// Nothing is half done when a thread panics: each value is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Loads all files that the options name. `alpn` are the protocols to agree on, the most wanted first (RFC 7301).
    ///
    /// # Errors
    /// Whatever would make handshakes fail, but for dates: those are told by [`warnings`](Self::warnings).
    pub(crate) fn new(options: &TlsOptions, alpn: &[&[u8]]) -> Result<Arc<Self>, ContextError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let contents = Contents::read(files(options));
        let (snapshot, ticketers) = make(options, &alpn, &contents, &Ticketers::default())?;
        let seen = contents.seen().clone();
        let in_use = seen.digests().clone();
        Ok(Arc::new(Self {
            options: options.clone(),
            alpn,
            current: Mutex::new(Arc::new(snapshot)),
            looked: Mutex::new(Looked { seen, in_use, has_failed: false, again_at: None, ticketers }),
            warned: Mutex::new(HashMap::new()),
        }))
    }

    /// What is in use now. To be taken once for each handshake: the next may get another.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.current))
    }

    /// [`TlsOptions::handshake_timeout`].
    pub(crate) fn handshake_timeout(&self) -> Option<Duration> {
        self.options.handshake_timeout
    }

    /// [`TlsOptions::offload_handshakes`].
    pub(crate) fn offload_handshakes(&self) -> bool {
        self.options.offload_handshakes
    }

    /// The earliest end of the certificates in use, in seconds since 1970.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.snapshot().certificates().iter().map(|certificate| certificate.not_after).min()
    }

    /// Looks at the files, and takes all of them anew if one has changed. If they are of no use, all stays as it is;
    /// that is told once for each change, and they are read again at each look until they are of use.
    ///
    /// To be called about every second. Costs one `stat` for each file as long as they stay as they are.
    pub(crate) fn refresh(&self) -> Vec<Change> {
        self.refresh_at(unix_now())
    }

    fn refresh_at(&self, now: i64) -> Vec<Change> {
        let mut looked = lock(&self.looked);
        looked.ticketers.roll();
        let is_due = looked.again_at.is_some_and(|at| at <= now);
        if !is_due && !looked.has_failed && looked.seen.is_current() {
            return Vec::new();
        }
        let contents = Contents::read(files(&self.options));
        let is_same = contents.seen().digests() == looked.seen.digests();
        looked.seen = contents.seen().clone();
        if *looked.seen.digests() == looked.in_use {
            looked.has_failed = false;
            looked.again_at = None;
            return Vec::new();
        }
        // The same files would come to the same end, which was told.
        if is_same && !is_due {
            return Vec::new();
        }

        looked.again_at = None;
        looked.has_failed = true;
        let (snapshot, ticketers) = match make(&self.options, &self.alpn, &contents, &looked.ticketers) {
            Ok(made) => made,
            Err(error) => return vec![Change::Failed(error)],
        };
        let before = self.snapshot();
        let worse = worse(before.certificates(), snapshot.certificates(), now);
        if !worse.is_empty() {
            let starts = worse.iter().map(|(_, new)| new.not_before);
            looked.again_at = starts.filter(|&start| start > now).min();
            return worse
                .into_iter()
                .map(|(old, new)| Change::OutOfDate { new: Arc::clone(new), old: Arc::clone(old), now })
                .collect();
        }
        let changes = Change::between(
            &self.options,
            (before.certificates(), &looked.in_use),
            (snapshot.certificates(), looked.seen.digests()),
        );
        looked.has_failed = false;
        looked.in_use = looked.seen.digests().clone();
        looked.ticketers = ticketers;
        *lock(&self.current) = Arc::new(snapshot);
        changes
    }

    /// What to warn of at a time in seconds since 1970: certificates that end within 30 days, have expired or are not
    /// valid yet. Each is told once in a day.
    pub(crate) fn warnings(&self, now: i64) -> Vec<String> {
        let mut warned = lock(&self.warned);
        warned.retain(|_, at| now.saturating_sub(*at) < REPEAT);
        let mut lines = Vec::new();
        for certificate in self.snapshot().certificates() {
            let (kind, line) = match certificate.validity(now) {
                Validity::Valid => continue,
                Validity::NotYet => {
                    let start = Day(certificate.not_before);
                    (0, format!("Certificate {certificate} is not valid before {start}: clients refuse it."))
                }
                Validity::EndsSoon { days } => {
                    let left = match days {
                        0 => "less than a day".to_owned(),
                        1 => "a day".to_owned(),
                        days => format!("{days} days"),
                    };
                    (1, format!("Certificate {certificate} ends in {left}. Renew it."))
                }
                Validity::Expired => {
                    (2, format!("Certificate {certificate} has expired: clients refuse it. Renew it."))
                }
            };
            let warning = (certificate.thumbprint.clone(), kind);
            if let Entry::Vacant(vacant) = warned.entry(warning) {
                vacant.insert(now);
                lines.push(line);
            }
        }
        lines
    }
}

/// All files that the options name and that are looked at.
fn files(options: &TlsOptions) -> Vec<&Path> {
    let mut paths: Vec<&Path> =
        snapshot::certificates(options).into_iter().flat_map(certificate::files).collect();
    let of_names = options.names.iter().filter_map(|name| name.client_certificates);
    if of_names.chain([options.client_certificates]).any(|clients| clients != ClientCertificates::None) {
        paths.extend(options.client_ca.as_deref());
        paths.extend(options.client_crl.as_deref());
    }
    paths
}

fn make(
    options: &TlsOptions,
    alpn: &[Vec<u8>],
    contents: &Contents,
    ticketers: &Ticketers,
) -> Result<(Snapshot, Ticketers), ContextError> {
    let mut maker = Maker::new(options, alpn, contents, ticketers)?;
    let snapshot = Snapshot::new(options, contents, &mut maker)?;
    Ok((snapshot, maker.into_ticketers()))
}

/// Certificates that are valid, with those that are not and would come in their place.
fn worse<'a>(
    old: &'a [Arc<Loaded>],
    new: &'a [Arc<Loaded>],
    now: i64,
) -> Vec<(&'a Arc<Loaded>, &'a Arc<Loaded>)> {
    old.iter().zip(new).filter(|(old, new)| old.is_valid(now) && !new.is_valid(now)).collect()
}
