//! Server addresses as they are configured: URLs in Kestrel's forms.
//!
//! Text in, endpoints out; no socket is opened here.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use super::error::{Result, StartError};

/// What a server listens on when nothing is configured.
const DEFAULT: Endpoint = Endpoint::Localhost { port: 5000 };

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// The longest path of a Unix socket: the kernel's 108 bytes less the closing zero.
const UNIX_PATH_MAX: usize = 107;

/// One address to listen on. Shown as the URL that it is.
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
        match self {
            Self::Ip(address) => write!(f, "http://{address}"),
            Self::Localhost { port } => write!(f, "http://localhost:{port}"),
            Self::Any { port } => write!(f, "http://[::]:{port}"),
            Self::Unix(path) => write!(f, "http://unix:{}", path.display()),
        }
    }
}

/// Reads all configured URLs, each of which may be a list separated by `;`. None at all means
/// `http://localhost:5000`.
///
/// # Errors
/// The first URL that cannot be served.
pub(crate) fn parse_all<S: AsRef<str>>(urls: &[S]) -> Result<Vec<Endpoint>> {
    let urls = urls.iter().flat_map(|list| list.as_ref().split(';')).map(str::trim);
    let endpoints: Vec<Endpoint> = urls.filter(|url| !url.is_empty()).map(parse).collect::<Result<_>>()?;
    Ok(if endpoints.is_empty() { vec![DEFAULT] } else { endpoints })
}

/// Reads one URL.
fn parse(url: &str) -> Result<Endpoint> {
    let invalid = |problem| StartError::InvalidUrl { url: url.to_owned(), problem };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(invalid("it has no scheme; write http://HOST:PORT"));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(StartError::TlsNotAvailable { url: url.to_owned() });
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(StartError::UnknownScheme { url: url.to_owned() });
    }
    match rest.strip_prefix("unix:") {
        Some(path) => unix(path),
        None => tcp(rest),
    }
    .map_err(invalid)
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

fn tcp(rest: &str) -> Result<Endpoint, Problem> {
    let authority = match rest.split_once(['/', '?', '#']) {
        None => rest,
        Some((authority, "")) if rest.ends_with('/') => authority,
        Some(_) => return Err("a server address has no path; put prefixes into the routes"),
    };
    if let Some(literal) = authority.strip_prefix('[') {
        return v6(literal);
    }
    if authority.matches(':').nth(1).is_some() {
        return Err("an IPv6 address needs brackets, e.g. http://[::1]:5000");
    }
    let (host, port) = match authority.split_once(':') {
        None => (authority, HTTP_PORT),
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

fn v6(literal: &str) -> Result<Endpoint, Problem> {
    let Some((_, after)) = literal.split_once(']') else {
        return Err("its IPv6 address lacks the closing bracket");
    };
    let port = match after.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if after.is_empty() => HTTP_PORT,
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
            assert_eq!(parse(url).unwrap().to_string(), shown, "{url}");
        }
        assert_eq!(parse("http://*:1").unwrap(), Endpoint::Any { port: 1 });
        assert_eq!(parse("http://[::]:1").unwrap(), Endpoint::Ip("[::]:1".parse().unwrap()));
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
            "Unrecognized scheme in server address 'ftp://localhost'. Only 'http://' is supported."
        );
        assert!(matches!(parse("https://*:443"), Err(StartError::TlsNotAvailable { .. })));
        assert!(matches!(parse("HTTPS://localhost"), Err(StartError::TlsNotAvailable { .. })));
    }

    #[test]
    fn lists_are_split_and_nothing_means_the_default() {
        let endpoints = parse_all(&["http://*:80; http://[::1]:81;", "http://unix:/a"]).unwrap();
        let shown: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://[::]:80", "http://[::1]:81", "http://unix:/a"]);
        assert_eq!(parse_all::<String>(&[]).unwrap(), [DEFAULT]);
        assert_eq!(parse_all(&["", " ; "]).unwrap(), [DEFAULT]);
        assert!(parse_all(&["http://*:80;nonsense"]).is_err());
    }
}
