//! The TLS of a server's addresses, before it starts: which certificate each has, and that it can be used.
//!
//! Owns the choice between what is configured and the development certificate. It must not know sockets, nor how a
//! certificate is loaded.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::error::{Result, StartError};
use super::options::Options;
use super::worker::Contexts;
use crate::telemetry;
use crate::tls::context::Context;
use crate::tls::development::DevCertificate;
use crate::tls::offload::Offload;
use crate::tls::watch::Watch;
use crate::tls::{Certificate, TlsOptions};

/// What is spoken behind TLS, the most wanted first.
const ALPN: [&[u8]; 1] = [b"http/1.1"];

/// So many threads compute the handshakes of all workers, if they do not do it themselves.
const OFFLOAD_THREADS: usize = 2;

/// What is secured, and how.
pub(super) struct Secured {
    pub(super) contexts: Arc<Contexts>,
    pub(super) watch: Option<Watch>,
    pub(super) offload: Option<Arc<Offload>>,
    pub(super) warnings: Vec<String>,
}

/// Loads what the addresses of https need. Without any address the defaults are listened on: `http://localhost:5000`,
/// and in Development `https://localhost:5001` as well.
///
/// # Errors
/// The first address that cannot be secured.
pub(super) fn prepare(configured: Vec<Address>, options: &Options) -> Result<(Vec<Address>, Secured)> {
    let mut warnings = Vec::new();
    let mut addresses = configured;
    if addresses.is_empty() {
        let wants_https = options.wants_default_https(&addresses);
        addresses.push(Address::default_http());
        if wants_https {
            match context(&options.tls, options) {
                Ok(_) => addresses.push(Address::default_https()),
                Err(error) => warnings.push(format!("https://localhost:5001 is not served: {error}")),
            }
        }
    }
    for (url, _) in &options.endpoint_tls {
        let is_there = addresses.iter().any(|address| address.is_https && address.url == *url);
        if !is_there {
            return Err(StartError::TlsWithoutEndpoint { url: url.clone() });
        }
    }
    let mut contexts = Contexts::new();
    let mut offloads = false;
    for (number, address) in addresses.iter().enumerate().filter(|(_, address)| address.is_https) {
        let own = options.endpoint_tls.iter().find(|(url, _)| *url == address.url);
        let tls = own.map_or(&options.tls, |(_, tls)| tls);
        let fail = |problem| StartError::Tls { url: address.url.clone(), problem };
        let context = context(tls, options).map_err(fail)?;
        warnings.extend(context.warnings(now()));
        offloads |= context.offload_handshakes();
        contexts.insert(number, context);
    }
    let all: Vec<Arc<Context>> = contexts.values().cloned().collect();
    let watch = if all.is_empty() {
        None
    } else {
        let watch = Watch::start(all, Box::new(|line: &str| telemetry::certificates(line)));
        Some(watch.map_err(|source| StartError::System { attempt: String::from("start a thread"), source })?)
    };
    let offload = offloads.then(|| Offload::start(OFFLOAD_THREADS)).filter(|offload| offload.is_usable());
    Ok((addresses, Secured { contexts: Arc::new(contexts), watch, offload, warnings }))
}

/// The TLS of one endpoint, with the development certificate where there is no other.
fn context(tls: &TlsOptions, options: &Options) -> Result<Arc<Context>, String> {
    let is_bare = tls.certificate.is_none() && tls.names.is_empty();
    if !is_bare {
        return Context::new(tls, &ALPN).map_err(|error| error.to_string());
    }
    if options.environment != "Development" {
        return Err(String::from(
            "it has no certificate. Name one with --tls-cert and --tls-key, or in TlsOptions::certificate; in the \
             environment Development a certificate for localhost is made",
        ));
    }
    let made = DevCertificate::find_or_create().map_err(|error| error.to_string())?;
    let mut tls = tls.clone();
    tls.certificate = Some(Certificate::pem(made.certificate, made.key));
    Context::new(&tls, &ALPN).map_err(|error| error.to_string())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
