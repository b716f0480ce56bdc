//! Server addresses as they are configured: URLs in Kestrel's forms.
//!
//! Text in, endpoints out; no socket is opened here.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use super::error::{Result, StartError};

/// The ports of URLs that name none.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The longest path of a Unix socket: the kernel's 108 bytes less the closing zero.
const UNIX_PATH_MAX: usize = 107;

/// One address to listen on. Shown as the URL that it is without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// One address of this machine; `[::]` takes IPv4 too.
    Ip(SocketAddr),
    /// `127.0.0.1` and `[::1]`, on the same port.
    Localhost {
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// All interfaces, IPv4 and IPv6.
    Any {
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url("http"))
    }
}

impl Endpoint {
    /// The URL that it is by that scheme.
    pub(crate) fn url(&self, scheme: &str) -> String {
        match self {
            Self::Ip(address) => format!("{scheme}://{address}"),
            Self::Localhost { port } => format!("{scheme}://localhost:{port}"),
            Self::Any { port } => format!("{scheme}://[::]:{port}"),
            Self::Unix(path) => format!("{scheme}://unix:{}", path.display()),
        }
    }
}

/// One endpoint: where it listens, and whether for https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    pub(crate) is_https: bool,
    /// As it is configured.
    pub(crate) url: String,
}

impl Address {
    /// What is listened on when nothing is configured, and what too where a development certificate is at hand.
    pub(crate) fn default_http() -> Self {
        let endpoint = Endpoint::Localhost { port: 5000 };
        Self { url: endpoint.to_string(), endpoint, is_https: false }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn default_https() -> Self {
        let endpoint = Endpoint::Localhost { port: 5001 };
        Self { url: String::from("https://localhost:5001"), endpoint, is_https: true }
    }
}

/// Reads all configured URLs, each of which may be a list separated by `;`.
///
/// # Errors
/// The first URL that cannot be served.
pub(crate) fn parse_all<S: AsRef<str>>(urls: &[S]) -> Result<Vec<Address>> {
    let urls = urls.iter().flat_map(|list| list.as_ref().split(';')).map(str::trim);
    urls.filter(|url| !url.is_empty()).map(parse).collect()
}

/// Reads one URL.
fn parse(url: &str) -> Result<Address> {
    let invalid = |problem| StartError::InvalidUrl { url: url.to_owned(), problem };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(invalid("it has no scheme; write http://HOST:PORT"));
    };
    let is_https = scheme.eq_ignore_ascii_case("https");
    if is_https && !cfg!(feature = "tls") {
        return Err(StartError::TlsNotAvailable { url: url.to_owned() });
    }
    if !is_https && !scheme.eq_ignore_ascii_case("http") {
        return Err(StartError::UnknownScheme { url: url.to_owned() });
    }
    let endpoint = match rest.strip_prefix("unix:") {
        Some(path) => unix(path),
        None => tcp(rest, if is_https { HTTPS_PORT } else { HTTP_PORT }),
    };
    Ok(Address { endpoint: endpoint.map_err(invalid)?, is_https, url: url.to_owned() })
}

type Problem = &'static str;

fn unix(path: &str) -> Result<Endpoint, Problem> {
    if !path.starts_with('/') {
        return Err("the path of a Unix socket must be absolute, e.g. http://unix:/run/app.sock");
    }
    if path.ends_with('/') {
        return Err("the path of a Unix socket must name a file");
    }
    if path.len() > UNIX_PATH_MAX {
        return Err("the path of a Unix socket must not be longer than 107 bytes");
    }
    if path.contains('\0') {
        return Err("the path of a Unix socket must not contain a zero byte");
    }
    Ok(Endpoint::Unix(path.into()))
}

fn tcp(rest: &str, default_port: u16) -> Result<Endpoint, Problem> {
    let authority = match rest.split_once(['/', '?', '#']) {
        None => rest,
        Some((authority, "")) if rest.ends_with('/') => authority,
        Some(_) => return Err("a server address has no path; put prefixes into the routes"),
    };
    if let Some(literal) = authority.strip_prefix('[') {
        return v6(literal, default_port);
    }
    if authority.matches(':').nth(1).is_some() {
        return Err("an IPv6 address needs brackets, e.g. http://[::1]:5000");
    }
    let (host, port) = match authority.split_once(':') {
        None => (authority, default_port),
        Some((host, port)) => (host, parse_port(port)?),
    };
    if host.is_empty() {
        return Err("it has no host; write http://localhost for this machine or http://* for all interfaces");
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Endpoint::Localhost { port });
    }
    if host == "*" || host == "+" {
        return Ok(Endpoint::Any { port });
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // A name of digits would silently mean all interfaces: surely a slip in an address.
        let address: Ipv4Addr = host.parse().map_err(|_| "its host is not an IPv4 address")?;
        return Ok(Endpoint::Ip((address, port).into()));
    }
    if !host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        return Err("its host is neither an address nor a name");
    }
    Ok(Endpoint::Any { port })
}

fn v6(literal: &str, default_port: u16) -> Result<Endpoint, Problem> {
    let Some((_, after)) = literal.split_once(']') else {
        return Err("its IPv6 address lacks the closing bracket");
    };
    let port = match after.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if after.is_empty() => default_port,
        None => return Err("only a port may follow the IPv6 address"),
    };
    let host = &literal[..literal.len() - after.len()];
    // The standard library reads the address together with its scope (`%2`) only in this form.
    let mut address: SocketAddrV6 = format!("[{host}:0")
        .parse()
        .map_err(|_| "its host is not an IPv6 address (a scope is a number, e.g. [fe80::1%2])")?;
    address.set_port(port);
    Ok(Endpoint::Ip(address.into()))
}

fn parse_port(port: &str) -> Result<u16, Problem> {
    let problem = "its port is not a number from 0 to 65535";
    // The standard library would take a sign, too.
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        port.parse().map_err(|_| problem)
    } else {
        Err(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_mean_what_they_mean_to_kestrel() {
        for (url, shown) in [
            ("http://1.2.3.4:80", "http://1.2.3.4:80"),
            ("http://127.0.0.1", "http://127.0.0.1:80"),
            ("http://0.0.0.0:8080", "http://0.0.0.0:8080"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("http://[::]", "http://[::]:80"),
            ("http://[fe80::1%2]:5000", "http://[fe80::1%2]:5000"),
            ("http://localhost:5000", "http://localhost:5000"),
            ("http://localhost:5000/", "http://localhost:5000"),
            ("HTTP://LocalHost", "http://localhost:80"),
            ("http://localhost:0", "http://localhost:0"),
            ("http://*:80", "http://[::]:80"),
            ("http://+:8080", "http://[::]:8080"),
            ("http://*", "http://[::]:80"),
            ("http://www.example.org:5000", "http://[::]:5000"),
            ("http://münchen.example:5000", "http://[::]:5000"),
            ("http://unix:/run/app.sock", "http://unix:/run/app.sock"),
            ("http://unix:/run/a b:c.sock", "http://unix:/run/a b:c.sock"),
        ] {
            assert_eq!(parse(url).unwrap().endpoint.to_string(), shown, "{url}");
        }
        assert_eq!(parse("http://*:1").unwrap().endpoint, Endpoint::Any { port: 1 });
        assert_eq!(parse("http://[::]:1").unwrap().endpoint, Endpoint::Ip("[::]:1".parse().unwrap()));
    }

    #[test]
    fn urls_that_cannot_be_served_say_why() {
        let path = "a server address has no path; put prefixes into the routes";
        let port = "its port is not a number from 0 to 65535";
        let v4 = "its host is not an IPv4 address";
        let v6 = "its host is not an IPv6 address (a scope is a number, e.g. [fe80::1%2])";
        let brackets = "an IPv6 address needs brackets, e.g. http://[::1]:5000";
        let name = "its host is neither an address nor a name";
        let host = "it has no host; write http://localhost for this machine or http://* for all interfaces";
        let absolute = "the path of a Unix socket must be absolute, e.g. http://unix:/run/app.sock";
        for (url, problem) in [
            ("localhost:5000", "it has no scheme; write http://HOST:PORT"),
            ("5000", "it has no scheme; write http://HOST:PORT"),
            ("http://localhost:5000/base", path),
            ("http://localhost:5000//", path),
            ("http://localhost?x", path),
            ("http://localhost?", path),
            ("http://localhost#", path),
            ("http://", host),
            ("http://:5000", host),
            ("http://localhost:", port),
            ("http://localhost:65536", port),
            ("http://localhost:+80", port),
            ("http://localhost:80:80", brackets),
            ("http://::1", brackets),
            ("http://fe80::1", brackets),
            ("http://1.2.3", v4),
            ("http://1.2.3.400:80", v4),
            ("http://[::1", "its IPv6 address lacks the closing bracket"),
            ("http://[::1]80", "only a port may follow the IPv6 address"),
            ("http://[1.2.3.4]:80", v6),
            ("http://[fe80::1%eth0]", v6),
            ("http://[]", v6),
            ("http://user@host", name),
            ("http://ho st", name),
            ("http://**", name),
            ("http://unix:run/app.sock", absolute),
            ("http://unix:", absolute),
            ("http://unix:/run/", "the path of a Unix socket must name a file"),
        ] {
            let expected = format!("Invalid server address '{url}': {problem}.");
            assert_eq!(parse(url).unwrap_err().to_string(), expected);
        }
        let long = format!("http://unix:/{}", "a".repeat(UNIX_PATH_MAX));
        assert!(parse(&long).unwrap_err().to_string().contains("not be longer than 107 bytes"));
    }

    #[test]
    fn other_schemes_are_named() {
        assert_eq!(
            parse("ftp://localhost").unwrap_err().to_string(),
            "Unrecognized scheme in server address 'ftp://localhost'. Only 'http://' and 'https://' are \
             supported."
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn https_has_a_port_of_its_own() {
        for (url, shown) in [
            ("https://*", "https://[::]:443"),
            ("HTTPS://localhost", "https://localhost:443"),
            ("https://[::1]", "https://[::1]:443"),
            ("https://1.2.3.4:5001", "https://1.2.3.4:5001"),
            ("https://unix:/run/app.sock", "https://unix:/run/app.sock"),
        ] {
            let address = parse(url).unwrap();
            assert!(address.is_https);
            assert_eq!(address.endpoint.url("https"), shown);
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn https_takes_the_feature() {
        assert!(matches!(parse("https://*:443"), Err(StartError::TlsNotAvailable { .. })));
    }

    #[test]
    fn lists_are_split() {
        let endpoints = parse_all(&["http://*:80; http://[::1]:81;", "http://unix:/a"]).unwrap();
        let shown: Vec<String> = endpoints.iter().map(|address| address.endpoint.to_string()).collect();
        assert_eq!(shown, ["http://[::]:80", "http://[::1]:81", "http://unix:/a"]);
        assert!(parse_all::<String>(&[]).unwrap().is_empty());
        assert!(parse_all(&["", " ; "]).unwrap().is_empty());
        assert!(parse_all(&["http://*:80;nonsense"]).is_err());
    }
}
