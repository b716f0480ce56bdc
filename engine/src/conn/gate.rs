//! Who may still come in: the limits on connections of the whole server.
//!
//! Owns the counts that all workers share. They are touched when a connection opens, ends or is upgraded, and
//! only where a limit is set. It must not know what a connection is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::proto::Rejection;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limits: GateLimits,
    connections: AtomicU64,
    upgraded: AtomicU64,
    addresses: Mutex<HashMap<IpAddr, u32>>,
}

/// How many may be open at once; `None` for any number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GateLimits {
    pub(crate) connections: Option<u64>,
    pub(crate) upgraded: Option<u64>,
    pub(crate) per_address: Option<u32>,
}

/// Counts one more, unless that is too many.
fn enter(count: &AtomicU64, limit: Option<u64>) -> bool {
    let Some(limit) = limit else { return true };
    let more = |count: u64| (count < limit).then(|| count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

fn leave(count: &AtomicU64, limit: Option<u64>) {
    if limit.is_some() {
        // Should one ever leave twice, the server must not take that for all places.
        let before = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        debug_assert!(before.is_ok(), "more leave than have entered");
    }
}

/// What counts as one address: of IPv6 the first 64 bits, which a single customer has to choose from.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

impl Gate {
    pub(crate) fn new(limits: GateLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Whether anybody counts by address.
    pub(crate) fn wants_addresses(&self) -> bool {
        self.limits.per_address.is_some()
    }

    /// Lets a connection in; each is to leave by [`leave`](Self::leave).
    ///
    /// # Errors
    /// There are as many as there may be. It does not count.
    pub(crate) fn enter(&self, address: Option<IpAddr>) -> Result<(), Rejection> {
        if !enter(&self.connections, self.limits.connections) {
            return Err(Rejection::TooManyConnections);
        }
        if let (Some(limit), Some(address)) = (self.limits.per_address, address) {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let count = addresses.entry(origin(address)).or_default();
            if *count >= limit {
                drop(addresses);
                leave(&self.connections, self.limits.connections);
                return Err(Rejection::TooManyConnectionsOfAddress);
            }
            *count += 1;
        }
        Ok(())
    }

    /// A connection that was let in has ended; `upgraded` if it was at the end.
    pub(crate) fn leave(&self, address: Option<IpAddr>, upgraded: bool) {
        if upgraded {
            leave(&self.upgraded, self.limits.upgraded);
        } else {
            leave(&self.connections, self.limits.connections);
        }
        if let (Some(_), Some(address)) = (self.limits.per_address, address) {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let origin = origin(address);
            if let Some(count) = addresses.get_mut(&origin) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&origin);
                }
            }
        }
    }

    /// Makes an open connection an upgraded one, which has a limit of its own. Returns whether it may.
    pub(crate) fn upgrade(&self) -> bool {
        let may = enter(&self.upgraded, self.limits.upgraded);
        if may {
            leave(&self.connections, self.limits.connections);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn the_last_place_is_given_and_no_more_until_one_leaves() {
        let gate = Gate::new(GateLimits { connections: Some(2), ..GateLimits::default() });
        assert_eq!([gate.enter(None), gate.enter(None)], [Ok(()), Ok(())]);
        assert_eq!(gate.enter(None), Err(Rejection::TooManyConnections));
        gate.leave(None, false);
        assert_eq!(gate.enter(None), Ok(()));
    }

    #[test]
    fn addresses_count_apart_and_those_of_one_ipv6_network_together() {
        let gate = Gate::new(GateLimits { per_address: Some(1), ..GateLimits::default() });
        let full = Err(Rejection::TooManyConnectionsOfAddress);
        assert_eq!(gate.enter(ip("192.0.2.1")), Ok(()));
        assert_eq!(gate.enter(ip("192.0.2.1")), full);
        assert_eq!(gate.enter(ip("::ffff:192.0.2.1")), full, "the same, as a dual-stack socket shows it");
        assert_eq!(gate.enter(ip("192.0.2.2")), Ok(()));
        assert_eq!(gate.enter(ip("2001:db8::1")), Ok(()));
        assert_eq!(gate.enter(ip("2001:db8::ffff")), full);
        assert_eq!(gate.enter(ip("2001:db8:0:1::1")), Ok(()));
        assert_eq!(gate.enter(None), Ok(()), "a Unix socket has none");
        gate.leave(ip("2001:db8::1"), false);
        assert_eq!(gate.enter(ip("2001:db8::2")), Ok(()));
        assert_eq!(gate.addresses.lock().unwrap().len(), 4);
    }

    #[test]
    fn a_refused_address_gives_its_place_back() {
        let limits = GateLimits { connections: Some(2), per_address: Some(1), ..GateLimits::default() };
        let gate = Gate::new(limits);
        assert_eq!(gate.enter(ip("192.0.2.1")), Ok(()));
        for _ in 0..3 {
            assert_eq!(gate.enter(ip("192.0.2.1")), Err(Rejection::TooManyConnectionsOfAddress));
        }
        assert_eq!(gate.enter(ip("192.0.2.2")), Ok(()));
    }

    #[test]
    fn upgraded_connections_make_room() {
        let limits = GateLimits { connections: Some(1), upgraded: Some(1), per_address: None };
        let gate = Gate::new(limits);
        assert_eq!(gate.enter(None), Ok(()));
        assert!(gate.upgrade());
        assert_eq!(gate.enter(None), Ok(()));
        assert!(!gate.upgrade());
        gate.leave(None, true);
        assert!(gate.upgrade());
    }
}
