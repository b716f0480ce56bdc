//! The middleware that keeps clients with https: redirection, and strict transport security.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Middleware, Next};
use crate::http::{Redirect, Reply, Request};

/// Sends clients of plain HTTP to https (ASP.NET Core's `UseHttpsRedirection`).
///
/// The port is [`port`](Self::port), or else that of the environment variable `PEREGRINE_HTTPS_PORT` or `HTTPS_PORT`, or
/// else that of the server's only endpoint of https. Without any of them requests go on as they are, which is told once
/// on standard error: behind a proxy that ends TLS there is none. A request without a usable Host goes on, too.
///
/// ```
/// # let mut app = peregrine::App::new();
/// app.middleware(peregrine::middleware::https_redirection());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HttpsRedirection {
    status: u16,
    port: Option<u16>,
}

/// See [`HttpsRedirection`]. The status is 307, so that the client repeats its request as it was.
#[must_use]
pub fn https_redirection() -> HttpsRedirection {
    HttpsRedirection { status: 307, port: None }
}

impl HttpsRedirection {
    /// With 308 instead of 307: browsers remember it.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.status = 308;
        self
    }

    /// To this port, whatever the server listens on.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    fn target(&self, request: &Request<'_>) -> Option<String> {
        let host = request.field("Host").map(host_of).filter(|host| !host.is_empty())?;
        let Some(port) = self.port.or_else(port_of_environment).or(request.worker().https_port) else {
            static IS_TOLD: AtomicBool = AtomicBool::new(false);
            if !IS_TOLD.swap(true, Ordering::Relaxed) {
                eprintln!(
                    "warning: https_redirection knows no port of https and redirects nothing. Listen on one, or set \
                     PEREGRINE_HTTPS_PORT."
                );
            }
            return None;
        };
        let target = request.target();
        // Only what is a path can follow a host: not `*`, and of the absolute form what is behind its own.
        let target = match target.split_once("://") {
            _ if target.starts_with('/') => target,
            Some((_, behind)) => behind.find('/').map_or("/", |slash| &behind[slash..]),
            None => "/",
        };
        Some(if port == 443 {
            format!("https://{host}{target}")
        } else {
            format!("https://{host}:{port}{target}")
        })
    }
}

impl Middleware for HttpsRedirection {
    fn handle<'a>(&'a self, request: &'a Request<'a>, next: Next<'a>) -> super::Replying<'a> {
        let replying = async move {
            if request.is_https() {
                return next.run().await;
            }
            match self.target(request) {
                None => next.run().await,
                Some(target) if self.status == 308 => request.reply(Redirect::permanent(target)),
                Some(target) => request.reply(Redirect::temporary(target)),
            }
        };
        request.context().slots.place(replying, |replying| replying as &mut (dyn Future<Output = Reply> + 'a))
    }
}

fn port_of_environment() -> Option<u16> {
    ["PEREGRINE_HTTPS_PORT", "HTTPS_PORT"].iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// The host without a port.
fn host_of(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Tells browsers to ask for this host by https alone from now on (RFC 6797; ASP.NET Core's `UseHsts`). Responses over
/// plain HTTP, and those for excluded hosts, do not carry it.
///
/// ```
/// use std::time::Duration;
/// # let mut app = peregrine::App::new();
/// app.middleware(peregrine::middleware::hsts().max_age(Duration::from_secs(365 * 24 * 60 * 60)).include_subdomains());
/// ```
#[derive(Clone, Debug)]
pub struct Hsts {
    max_age: Duration,
    include_subdomains: bool,
    preload: bool,
    excluded_hosts: Vec<String>,
}

/// See [`Hsts`]. For 30 days, without subdomains, and not for `localhost`, `127.0.0.1` and `[::1]`.
#[must_use]
pub fn hsts() -> Hsts {
    Hsts {
        max_age: Duration::from_secs(30 * 24 * 60 * 60),
        include_subdomains: false,
        preload: false,
        excluded_hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
    }
}

impl Hsts {
    /// For how long browsers keep to it, in whole seconds; 0 makes them forget.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// For all hosts below this one, too.
    #[must_use]
    pub fn include_subdomains(mut self) -> Self {
        self.include_subdomains = true;
        self
    }

    /// The site agrees to be in the lists that browsers come with.
    #[must_use]
    pub fn preload(mut self) -> Self {
        self.preload = true;
        self
    }

    /// Hosts whose responses do not carry it, instead of the three of [`hsts`].
    #[must_use]
    pub fn excluded_hosts<T: Into<String>>(mut self, hosts: impl IntoIterator<Item = T>) -> Self {
        self.excluded_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    fn value(&self) -> String {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())
    }

    fn applies(&self, request: &Request<'_>) -> bool {
        let host = host_of(request.field("Host").unwrap_or_default());
        request.is_https() && !self.excluded_hosts.iter().any(|excluded| excluded.eq_ignore_ascii_case(host))
    }
}

impl Middleware for Hsts {
    fn handle<'a>(&'a self, request: &'a Request<'a>, next: Next<'a>) -> super::Replying<'a> {
        let replying = async move {
            if self.applies(request) {
                // It is a token and a value by construction.
                let _ = request.response_field("Strict-Transport-Security", self.value());
            }
            next.run().await
        };
        request.context().slots.place(replying, |replying| replying as &mut (dyn Future<Output = Reply> + 'a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port_alone() {
        for (host, alone) in [
            ("example.org", "example.org"),
            ("example.org:8080", "example.org"),
            ("[::1]", "[::1]"),
            ("[::1]:5000", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_of(host), alone);
        }
    }

    #[test]
    fn the_value_is_that_of_rfc_6797() {
        assert_eq!(hsts().value(), "max-age=2592000");
        let all = hsts().max_age(Duration::from_secs(1)).include_subdomains().preload();
        assert_eq!(all.value(), "max-age=1; includeSubDomains; preload");
    }
}
