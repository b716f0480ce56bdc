//! What one look at the files has given: a configuration for each name.
//!
//! It must not know where files are, nor when they change.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;

use super::ContextError;
use super::config::{Maker, Setting};
use crate::tls::certificate::{self, Loaded};
use crate::tls::files::Contents;
use crate::tls::{Certificate, TlsOptions};

/// One endpoint's configurations at one time. Handshakes that have begun with it end with it.
pub(crate) struct Snapshot {
    pub(super) default: Option<Arc<ServerConfig>>,
    pub(super) exact: HashMap<String, Arc<ServerConfig>>,
    /// By what is behind `*.`.
    pub(super) patterns: HashMap<String, Arc<ServerConfig>>,
    pub(super) any: Option<Arc<ServerConfig>>,
    /// In the order of [`certificates`].
    pub(super) certificates: Vec<Arc<Loaded>>,
}

/// The certificates that options name, each once: that of the endpoint first, then those of its names.
pub(super) fn certificates(options: &TlsOptions) -> Vec<&Certificate> {
    let mut distinct: Vec<&Certificate> = Vec::new();
    let names = options.names.iter().filter_map(|name| name.certificate.as_ref());
    for certificate in options.certificate.iter().chain(names) {
        if !distinct.contains(&certificate) {
            distinct.push(certificate);
        }
    }
    distinct
}

impl Snapshot {
    pub(super) fn new(
        options: &TlsOptions,
        contents: &Contents,
        maker: &mut Maker<'_>,
    ) -> Result<Self, ContextError> {
        if options.certificate.is_none() && options.names.is_empty() {
            return Err(ContextError::NoCertificate);
        }
        let mut loaded: Vec<(&Certificate, Arc<Loaded>)> = Vec::new();
        for certificate in certificates(options) {
            loaded.push((certificate, Arc::new(certificate::load_from(certificate, contents)?)));
        }
        let find = |wanted: &Certificate| {
            loaded.iter().find(|(certificate, _)| *certificate == wanted).map(|(_, loaded)| loaded)
        };

        let whole = Setting {
            min: options.min_version,
            max: options.max_version,
            clients: options.client_certificates,
        };
        let mut snapshot = Self {
            default: None,
            exact: HashMap::new(),
            patterns: HashMap::new(),
            any: None,
            certificates: loaded.iter().map(|(_, loaded)| Arc::clone(loaded)).collect(),
        };
        if let Some(certificate) = options.certificate.as_ref().and_then(find) {
            snapshot.default = Some(maker.config(whole, certificate)?);
        }
        for name in &options.names {
            let setting = Setting {
                min: name.min_version.unwrap_or(whole.min),
                max: name.max_version.unwrap_or(whole.max),
                clients: name.client_certificates.unwrap_or(whole.clients),
            };
            let own = name.certificate.as_ref().or(options.certificate.as_ref()).and_then(find);
            let certificate =
                own.ok_or_else(|| ContextError::NoCertificateFor { name: name.name.clone() })?;
            snapshot.insert(&name.name, maker.config(setting, certificate)?)?;
        }
        Ok(snapshot)
    }

    fn insert(&mut self, name: &str, config: Arc<ServerConfig>) -> Result<(), ContextError> {
        let invalid = |problem| ContextError::InvalidName { name: name.to_owned(), problem };
        let plain = normal(name);
        let before = if plain == "*" {
            self.any.replace(config)
        } else {
            let (table, suffix) = match plain.strip_prefix("*.") {
                Some(suffix) => (&mut self.patterns, suffix),
                None => (&mut self.exact, plain.as_ref()),
            };
            if suffix.is_empty() {
                return Err(invalid("it is empty"));
            }
            if suffix.contains('*') {
                return Err(invalid("'*' may stand for the first label alone, as in '*.example.org'"));
            }
            if !suffix.is_ascii() {
                return Err(invalid("clients ask for names in ASCII; write the form with 'xn--'"));
            }
            table.insert(suffix.to_owned(), config)
        };
        match before {
            Some(_) => Err(invalid("it is there twice")),
            None => Ok(()),
        }
    }

    /// The configuration for a client that asks for a name (RFC 6066 section 3), or for none. `None` means that there is
    /// none, and the client gets the alert `unrecognized_name`.
    ///
    /// The name itself comes first, then the pattern of all names that have one label more, then `*`, then what holds
    /// for the endpoint.
    pub(crate) fn config(&self, server_name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let named = server_name.and_then(|name| {
            let name = normal(name);
            let pattern = || self.patterns.get(name.split_once('.')?.1);
            self.exact.get(name.as_ref()).or_else(pattern).or(self.any.as_ref())
        });
        named.or(self.default.as_ref()).cloned()
    }

    /// The one configuration, if no name has another: then nobody need know what a client asks for.
    pub(crate) fn is_single(&self) -> Option<&Arc<ServerConfig>> {
        let has_names = self.any.is_some() || !self.exact.is_empty() || !self.patterns.is_empty();
        self.default.as_ref().filter(|_| !has_names)
    }

    /// The certificates in use, each once.
    pub(crate) fn certificates(&self) -> &[Arc<Loaded>] {
        &self.certificates
    }
}

/// A name as it is compared: in small letters, and without the dot of the root.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}
