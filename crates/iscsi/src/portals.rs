//! Which addresses discovery tells an initiator.
//!
//! The one it reached us under comes first: that one works from where it is. Then come the other
//! portals of the group, so that a host finds its second path, but only those that name an address
//! (a wildcard is not one) and can be reached from elsewhere, or at all, from where it is.

use std::net::{IpAddr, SocketAddr};

/// See the head of this file. `reached` is our end of the connection, `portals` where we listen.
pub fn advertised(reached: SocketAddr, portals: &[SocketAddr]) -> Vec<SocketAddr> {
    let reached = canonical(reached);
    let mut list = vec![reached];
    for portal in portals.iter().copied().map(canonical) {
        if is_of_use(portal.ip(), reached.ip()) && !list.contains(&portal) {
            list.push(portal);
        }
    }
    list
}

/// Without what only concerns this machine: an IPv4 address in IPv6 clothes, a scope, a flow label.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Who reached us under `reached` may reach this one, too.
fn is_of_use(portal: IpAddr, reached: IpAddr) -> bool {
    // Means nothing without the name of an interface of the other machine.
    let is_link_local = match portal {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !portal.is_unspecified() && !is_link_local && (!portal.is_loopback() || reached.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(reached: &str, portals: &[&str]) -> Vec<String> {
        let portals: Vec<_> = portals.iter().map(|portal| portal.parse().unwrap()).collect();
        advertised(reached.parse().unwrap(), &portals).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_one_that_worked_comes_first_and_the_others_once() {
        let portals = ["10.0.0.1:3260", "[fd00::1]:3260", "10.0.0.1:3261"];
        assert_eq!(
            listed("[fd00::1]:3260", &portals),
            ["[fd00::1]:3260", "10.0.0.1:3260", "10.0.0.1:3261"]
        );
        assert_eq!(listed("[::ffff:10.0.0.1]:3260", &portals)[0], "10.0.0.1:3260");
        assert_eq!(listed("[::ffff:10.0.0.1]:3260", &portals).len(), 3);
    }

    #[test]
    fn what_leads_nowhere_is_left_out() {
        let wildcards = ["0.0.0.0:3260", "[::]:3260"];
        assert_eq!(listed("10.0.0.1:3260", &wildcards), ["10.0.0.1:3260"]);
        let local = ["127.0.0.1:3260", "[::1]:3260", "169.254.1.1:3260", "[fe80::1]:3260"];
        assert_eq!(listed("10.0.0.1:3260", &local), ["10.0.0.1:3260"]);
        assert_eq!(listed("127.0.0.1:3260", &local), ["127.0.0.1:3260", "[::1]:3260"]);
        assert_eq!(listed("[fe80::1%2]:3260", &local)[0], "[fe80::1]:3260");
    }
}
