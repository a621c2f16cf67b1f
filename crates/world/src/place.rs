//! Where a node of a simulated network stands: each in a /24 of its own, so that limits by network, which are for many
//! nodes of one owner, let everybody be. Keys are numbered like places (`curve.rs`).

use std::net::IpAddr;

use identity::Endpoint;

/// The port of every node, for datagrams and streams.
pub(crate) const PORT: u16 = 30_303;
/// The first address: from here on each node has a /24 of its own, none of them private or reserved below 100.0.0.0.
const FIRST_ADDRESS: u32 = 0x1000_0001;
/// Addresses of one node's network: a /24.
const NETWORK_LEN: u32 = 256;
/// The most nodes, over all of a run.
pub const MAX_NODES: u32 = (0x6400_0000 - FIRST_ADDRESS) / NETWORK_LEN;

/// The address of the node with this number.
pub(crate) fn ip_of(number: u32) -> IpAddr {
    IpAddr::from(FIRST_ADDRESS.saturating_add(number.saturating_mul(NETWORK_LEN)).to_be_bytes())
}

/// Where the node with this number listens.
pub(crate) fn endpoint_of(number: u32) -> Endpoint {
    Endpoint { ip: ip_of(number), udp: PORT, tcp: PORT }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_node_has_a_public_network_of_its_own() {
        let numbers = (0..1_000).chain(MAX_NODES - 1_000..MAX_NODES);
        let networks: BTreeSet<[u8; 3]> = numbers
            .map(|number| {
                let IpAddr::V4(ip) = ip_of(number) else { panic!("{number}") };
                let [a, b, c, _] = ip.octets();
                assert!((16..100).contains(&a), "{ip}");
                [a, b, c]
            })
            .collect();
        assert_eq!(networks.len(), 2_000);
    }
}
