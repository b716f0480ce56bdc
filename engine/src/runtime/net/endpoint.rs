//! Where to connect to: an address, or a name and a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The other end of a connection, made of a [`SocketAddr`], of `"127.0.0.1:80"`, `"[::1]:80"` or `"localhost:80"`, or
/// of a name or an address and a port, `("localhost", 80)`.
///
/// A name is looked up when it is connected to. Text that is none of these fails then, with
/// [`InvalidInput`](std::io::ErrorKind::InvalidInput).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub(super) Form);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Address(SocketAddr),
    Name(String, u16),
    Malformed,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self(Form::Address(address))
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(address: SocketAddrV4) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<SocketAddrV6> for Endpoint {
    fn from(address: SocketAddrV6) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(IpAddr, u16)> for Endpoint {
    fn from(address: (IpAddr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv4Addr, u16)> for Endpoint {
    fn from(address: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv6Addr, u16)> for Endpoint {
    fn from(address: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from((name, port): (&str, u16)) -> Self {
        if let Ok(address) = name.parse::<IpAddr>() {
            return (address, port).into();
        }
        // A colon would be part of another port, or of an address that is none.
        let is_name = !name.is_empty() && !name.contains([':', '/', ' ']);
        Self(if is_name { Form::Name(name.to_owned(), port) } else { Form::Malformed })
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return address.into();
        }
        let parts = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        // Without brackets it would not be clear where an address ends.
        parts.filter(|(name, _)| !name.contains(':')).map_or(Self(Form::Malformed), Self::from)
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        let v4 = Endpoint(Form::Address("127.0.0.1:80".parse().unwrap()));
        let v6 = Endpoint(Form::Address("[::1]:80".parse().unwrap()));
        assert_eq!(Endpoint::from("127.0.0.1:80"), v4);
        assert_eq!(Endpoint::from(("127.0.0.1", 80)), v4);
        assert_eq!(Endpoint::from((Ipv4Addr::LOCALHOST, 80)), v4);
        assert_eq!(Endpoint::from("[::1]:80".to_owned()), v6);
        assert_eq!(Endpoint::from(("::1", 80)), v6);
        let name = Endpoint(Form::Name("db.local".to_owned(), 5432));
        assert_eq!(Endpoint::from("db.local:5432"), name);
        assert_eq!(Endpoint::from(("db.local", 5432)), name);
    }

    #[test]
    fn what_names_no_place_is_malformed() {
        for text in
            ["", "host", ":80", "host:", "host:http", "host:65536", "::1:80", "http://host:80", "a b:1"]
        {
            assert_eq!(Endpoint::from(text), Endpoint(Form::Malformed), "{text}");
        }
    }
}
