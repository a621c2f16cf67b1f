//! Port mapping against gateways and servers that the tests run themselves, on loopback alone: the sockets and the bytes
//! are real. Time is real while bytes travel; between, the tests move the runtime's clock over the minutes of waiting.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod igd;
mod port_control;
mod stun;
mod support;

use std::net::{IpAddr, Ipv4Addr};

use rlpx::{Nat, NatConfig, NatConfigError};

#[test]
fn s13_nothing_is_asked_from_a_loopback_address_unless_the_target_is_named() {
    for method in ["any", "upnp", "pmp", "pcp", "stun"] {
        for listen in
            [IpAddr::V4(Ipv4Addr::LOCALHOST), "::1".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()]
        {
            let method = method.parse().unwrap();
            let config = NatConfig { method, listen, tcp: 1, udp: None };
            // Outside a runtime: a task would not even start.
            let error = Nat::start(config).unwrap_err();
            assert!(matches!(error, NatConfigError::Loopback { .. }));
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}
