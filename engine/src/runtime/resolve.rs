//! From host names to addresses.
//!
//! Owns how the system's resolver is asked, which blocks, and the order of what it answers. It must not know who
//! connects where.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::blocking;

/// The addresses of `host`, each with `port`, in the order in which they should be tried.
///
/// `host` is a name, or an IP address, an IPv6 one also in brackets as URIs have it. An address is answered at once.
/// A name is looked up as the system does it (`getaddrinfo`: the hosts file, then DNS), on the pool of
/// [`blocking`](crate::blocking). The system's order of preference (RFC 6724) is kept within each of IPv6 and IPv4, and
/// the two take turns, the family of the first address first (RFC 8305 section 4): whoever tries one after the other
/// does not wait long when one family leads nowhere.
///
/// Nothing is remembered: each call looks the name up again. The system decides how long that may take; see
/// [`timeout`](crate::timeout).
///
/// ```
/// use peregrine::prelude::*;
///
/// async fn addresses(Path(host): Path<String>) -> Result<String> {
///     let addresses = peregrine::resolve(&host, 443).await?;
///     Ok(format!("{addresses:?}"))
/// }
/// # let mut app = App::new();
/// # app.get("/addresses/{host}", addresses);
/// ```
///
/// # Errors
/// What the system reports: mostly that the name is not known. `NotFound` when it has no address.
pub fn resolve(host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
    let host = literal(host).ok_or_else(|| host.to_owned());
    async move {
        let host = match host {
            Ok(address) => return Ok(vec![SocketAddr::new(address, port)]),
            Err(host) => host,
        };
        let look_up =
            move || Ok::<_, io::Error>((host.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>());
        let found = blocking(look_up).await.map_err(io::Error::other)??;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(take_turns(&found))
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Lets the two families take turns.
fn take_turns(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &&SocketAddr| address.is_ipv6() == found[0].is_ipv6();
    let mut first = found.iter().filter(is_first).copied();
    let mut second = found.iter().filter(|address| !is_first(address)).copied();
    let mut ordered = Vec::with_capacity(found.len());
    while ordered.len() < found.len() {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::super::testing::{block_on, poll_once};
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn literals_are_answered_at_once() {
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("::1", "[::1]:80"),
            ("[2001:db8::7]", "[2001:db8::7]:80"),
            ("0.0.0.0", "0.0.0.0:80"),
        ] {
            let mut future = Box::pin(resolve(host, 80));
            let answered = poll_once(future.as_mut()).map(|answer| answer.expect("a literal"));
            assert_eq!(answered, std::task::Poll::Ready(addresses(&[address])), "{host}");
        }
    }

    #[test]
    fn names_are_looked_up_by_the_system() {
        let found = block_on(resolve("localhost", 8080)).expect("every system knows it");
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 8080),
            "{found:?}"
        );
        assert!(!found.is_empty());
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        for host in ["", "a\0b", "[127.0.0.1]", "[", "no.such.name.invalid", "a b"] {
            assert!(block_on(resolve(host, 1)).is_err(), "{host:?}");
        }
    }

    #[test]
    fn the_families_take_turns_and_keep_their_order() {
        let six = |n: u32| format!("[::{n}]:1");
        let four = |n: u32| format!("0.0.0.{n}:1");
        let order = |list: &[String]| {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            take_turns(&addresses(&list)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&[six(2), six(3), six(4), four(1), four(2)]),
            [six(2), four(1), six(3), four(2), six(4)]
        );
        assert_eq!(order(&[four(9), six(2), six(3)]), [four(9), six(2), six(3)]);
        assert_eq!(order(&[four(2), four(1)]), [four(2), four(1)]);
    }
}
