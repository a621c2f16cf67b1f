//! Addresses of loopback, 16 million of them: each connection has one that no other has had, and neighbours in time are
//! neighbours of no site (/24), so that limits by address hold off nobody.

use std::net::Ipv4Addr;

/// Sites of attackers: all but the first 256, where honest peers live.
const SITES: u32 = 0x1_0000 - 0x100;

/// The address of an attack's connection with this number.
pub fn attacker(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = (0x100 + number % SITES).to_be_bytes();
    let [_, _, _, host] = (1 + number / SITES % 250).to_be_bytes();
    Ipv4Addr::new(127, high, low, host)
}

/// The address of the honest connection with this number.
pub fn honest(number: u32) -> Ipv4Addr {
    let [_, _, _, site] = (1 + number % 250).to_be_bytes();
    let [_, _, _, host] = (2 + number / 250 % 250).to_be_bytes();
    Ipv4Addr::new(127, 0, site, host)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_of_half_a_million_connections_share_an_address() {
        const COUNT: u32 = 500_000;
        let attackers: BTreeSet<Ipv4Addr> = (0..COUNT).map(attacker).collect();
        let honest: BTreeSet<Ipv4Addr> = (0..10_000).map(honest).collect();
        assert_eq!((attackers.len(), honest.len()), (COUNT as usize, 10_000));
        assert!(attackers.is_disjoint(&honest));
        let sites: BTreeSet<[u8; 3]> =
            (0..10_000).map(|number| attacker(number).octets()).map(|[a, b, c, _]| [a, b, c]).collect();
        assert_eq!(sites.len(), 10_000);
    }
}
