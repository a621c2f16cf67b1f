//! What kind of address an IP is, the group it is counted in, and lists of networks.
//! Follows the special-purpose address registries of IANA (RFC 6890) and go-ethereum's relay rules.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// An IPv4-mapped IPv6 address as the IPv4 address it is; any other as it stands.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Who can be reached at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// This machine: 127.0.0.0/8 and ::1.
    Loopback,
    /// The local network: private and link-local ranges.
    Lan,
    /// Nobody: unspecified, multicast, broadcast, documentation and other special ranges.
    Special,
    /// The public internet.
    Global,
}

impl AddressClass {
    /// The class of `ip`, an IPv4-mapped address counting as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match unmapped(ip) {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || ip.is_link_local() {
            Self::Lan
        } else if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_documentation() {
            Self::Special
        } else {
            match (a, b, c) {
                // "This network", shared address space, protocol assignments, 6to4 relay, benchmarking, reserved.
                (0, _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => {
                    Self::Special
                }
                (240..=255, _, _) => Self::Special,
                _ => Self::Global,
            }
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let segments = ip.segments();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_unicast_link_local() || ip.is_unique_local() {
            Self::Lan
        } else if ip.is_unspecified() || ip.is_multicast() {
            Self::Special
        } else {
            match (segments[0], segments[1]) {
                // Discard-only, protocol assignments (Teredo, benchmarking, ORCHID), documentation.
                (0x0100, 0) | (0x2001, 0..=0x01ff) | (0x2001, 0x0db8) | (0x3fff, _) => Self::Special,
                _ => Self::Global,
            }
        }
    }

    /// Whether a node of class `sender` may tell us of a node of this class: special addresses never,
    /// loopback only from loopback, the local network only from there or from loopback.
    pub fn may_be_told_by(self, sender: Self) -> bool {
        match self {
            Self::Global => true,
            Self::Lan => matches!(sender, Self::Lan | Self::Loopback),
            Self::Loopback => sender == Self::Loopback,
            Self::Special => false,
        }
    }
}

/// Which addresses are counted against limits by address or prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Treats loopback as public, so that a test on one machine can meet the limits. Default: false.
    pub loopback_is_public: bool,
}

impl AddressPolicy {
    /// Whether limits by address or prefix hold for `ip`. As in go-ethereum, loopback and the local network are exempt.
    pub fn counts(&self, ip: IpAddr) -> bool {
        match AddressClass::of(ip) {
            AddressClass::Loopback => self.loopback_is_public,
            AddressClass::Lan => false,
            AddressClass::Special | AddressClass::Global => true,
        }
    }
}

/// A group of addresses that probably have one owner. Orders and hashes as its leading bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bytes: [u8; 16],
    len: u8,
}

impl Prefix {
    /// The /24 of an IPv4 address, the /48 of an IPv6 address: one site.
    pub fn site(ip: IpAddr) -> Self {
        Self::cut(ip, 24, 48)
    }

    /// The /32 of an IPv4 address, the /64 of an IPv6 address: one host or link.
    pub fn host(ip: IpAddr) -> Self {
        Self::cut(ip, 32, 64)
    }

    fn cut(ip: IpAddr, v4_len: u8, v6_len: u8) -> Self {
        let ip = embedded_v4(unmapped(ip));
        let (octets, len) = match ip {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), 96 + v4_len),
            IpAddr::V6(ip) => (ip.octets(), v6_len),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Self { bytes: (u128::from_be_bytes(octets) & mask).to_be_bytes(), len }
    }
}

/// The IPv4 address inside 6to4 and NAT64 addresses, so that it counts in its own group.
fn embedded_v4(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (s[0], s[1]) {
        (0x2002, _) => join(s[1], s[2]),
        (0x0064, 0xff9b) => join(s[6], s[7]),
        _ => ip,
    }
}

/// A list of networks, as `--netrestrict` takes it; an empty list holds every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetList(Vec<IpNet>);

impl NetList {
    /// Whether `ip` is in one of the networks, or the list is empty.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = unmapped(ip);
        self.0.is_empty() || self.0.iter().any(|net| net.contains(&ip))
    }
}

impl FromStr for NetList {
    type Err = NetListError;

    /// Parses networks in CIDR notation, separated by commas.
    fn from_str(text: &str) -> Result<Self, NetListError> {
        let nets = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        nets.map(|item| item.parse().map_err(|_| NetListError(item.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for NetList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&nets.join(","))
    }
}

/// A word in a list of networks that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network: write an address and a prefix length, such as 10.0.0.0/8")]
pub struct NetListError(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn t03_embedded_ipv4_counts_in_its_own_group() {
        let plain = Prefix::site(ip("198.51.7.9"));
        assert_eq!(plain, Prefix::site(ip("::ffff:198.51.7.1")));
        assert_eq!(plain, Prefix::site(ip("2002:c633:0701::1")));
        assert_eq!(plain, Prefix::site(ip("64:ff9b::198.51.7.200")));
        assert_ne!(plain, Prefix::site(ip("198.51.8.9")));
        assert_ne!(Prefix::site(ip("2001:4860:1::1")), Prefix::site(ip("2001:4860:2::1")));
    }

    #[test]
    fn classes_follow_the_registries() {
        let rows = [
            ("127.3.2.1", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("10.1.1.1", AddressClass::Lan),
            ("169.254.0.1", AddressClass::Lan),
            ("fe80::1", AddressClass::Lan),
            ("0.0.0.0", AddressClass::Special),
            ("224.0.0.1", AddressClass::Special),
            ("192.0.2.7", AddressClass::Special),
            ("2001:db8::1", AddressClass::Special),
            ("8.8.8.8", AddressClass::Global),
            ("::ffff:10.0.0.1", AddressClass::Lan),
            ("2606:4700::1", AddressClass::Global),
        ];
        for (text, class) in rows {
            assert_eq!(AddressClass::of(ip(text)), class, "{text}");
        }
    }

    #[test]
    fn nobody_outside_names_an_inner_address() {
        use AddressClass::*;
        assert!(
            !Loopback.may_be_told_by(Lan) && !Lan.may_be_told_by(Global) && !Special.may_be_told_by(Loopback)
        );
        assert!(
            Loopback.may_be_told_by(Loopback) && Lan.may_be_told_by(Loopback) && Global.may_be_told_by(Lan)
        );
    }

    #[test]
    fn netlist_reads_cidr_and_names_the_bad_word() {
        let list: NetList = "127.0.0.0/8, 10.0.0.0/8".parse().unwrap();
        assert!(list.contains(ip("::ffff:127.1.1.1")) && !list.contains(ip("8.8.8.8")));
        assert!("127.0.0.0/8,nonsense".parse::<NetList>().unwrap_err().to_string().contains("\"nonsense\""));
    }
}
