//! How the node is to learn its external address and to be mapped: the words after `--nat`.
//! They are go-ethereum's (`p2p/nat/nat.go`, `Parse`), with `pcp` and addresses for `upnp` besides. Names are not
//! resolved and nothing is sent here.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Where a gateway hears searches (UPnP Device Architecture 1.1, section 1.2.2).
pub const SSDP_PORT: u16 = 1900;

/// Where a STUN server listens unless another port is named (RFC 8489, section 18.6).
pub const STUN_PORT: u16 = 3478;

/// The longest name of a host (RFC 1035, section 2.3.4), in characters.
const MAX_HOST_LEN: usize = 253;

/// Whom to ask for the external address, and for mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatMethod {
    /// The first of UPnP, PCP and NAT-PMP that answers.
    Any,
    /// An Internet Gateway Device (UPnP IGD 1 and 2). None: one that answers a search on the local network.
    Upnp(Option<IgdAddress>),
    /// A gateway with NAT-PMP (RFC 6886). None: the default gateway.
    NatPmp(Option<IpAddr>),
    /// A gateway with PCP (RFC 6887). None: the default gateway.
    Pcp(Option<IpAddr>),
    /// A STUN server (RFC 8489), which tells the address and maps nothing. None: one of a few public ones.
    Stun(Option<StunServer>),
}

/// Where an Internet Gateway Device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgdAddress {
    /// It is searched for at this address alone.
    Search(SocketAddr),
    /// Its description is here: no search.
    Description {
        /// The HTTP server.
        address: SocketAddr,
        /// The path, which begins with `/`.
        path: String,
    },
}

/// A STUN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    /// A name or an address, without brackets.
    pub host: String,
    /// The UDP port. Default: [`STUN_PORT`].
    pub port: u16,
}

/// A text that names no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatMethodError {
    /// Not a word for a method.
    #[error("{0:?} is nobody to ask for a way through a NAT: write any, upnp, pmp, pcp or stun")]
    Unknown(String),
    /// What follows a word is no address.
    #[error("{text:?} is not {expected}")]
    Target {
        /// What was written.
        text: String,
        /// What could have been.
        expected: &'static str,
    },
}

impl NatMethod {
    /// Whether the owner named whom to ask: then that one is asked wherever the node listens.
    pub const fn names_its_target(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Upnp(target) => target.is_some(),
            Self::NatPmp(gateway) | Self::Pcp(gateway) => gateway.is_some(),
            Self::Stun(server) => server.is_some(),
        }
    }
}

impl FromStr for NatMethod {
    type Err = NatMethodError;

    /// Parses `any`, `upnp[:IP[:PORT]|:http://IP[:PORT]/PATH]`, `pmp[:IP]`, `pcp[:IP]`, `stun[:HOST[:PORT]]`.
    fn from_str(text: &str) -> Result<Self, NatMethodError> {
        let (word, target) = match text.split_once(':') {
            Some((word, target)) => (word, Some(target)),
            None => (text, None),
        };
        match (word.to_ascii_lowercase().as_str(), target) {
            ("any" | "auto" | "on", None) => Ok(Self::Any),
            ("upnp", target) => target.map(str::parse).transpose().map(Self::Upnp),
            ("pmp" | "natpmp" | "nat-pmp", target) => target.map(gateway).transpose().map(Self::NatPmp),
            ("pcp", target) => target.map(gateway).transpose().map(Self::Pcp),
            ("stun", target) => target.map(str::parse).transpose().map(Self::Stun),
            _ => Err(NatMethodError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for NatMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Upnp(None) => f.write_str("upnp"),
            Self::Upnp(Some(IgdAddress::Search(address))) => write!(f, "upnp:{address}"),
            Self::Upnp(Some(IgdAddress::Description { address, path })) => {
                write!(f, "upnp:http://{address}{path}")
            }
            Self::NatPmp(None) => f.write_str("pmp"),
            Self::NatPmp(Some(ip)) => write!(f, "pmp:{ip}"),
            Self::Pcp(None) => f.write_str("pcp"),
            Self::Pcp(Some(ip)) => write!(f, "pcp:{ip}"),
            Self::Stun(None) => f.write_str("stun"),
            Self::Stun(Some(StunServer { host, port })) if host.contains(':') => {
                write!(f, "stun:[{host}]:{port}")
            }
            Self::Stun(Some(StunServer { host, port })) => write!(f, "stun:{host}:{port}"),
        }
    }
}

impl FromStr for IgdAddress {
    type Err = NatMethodError;

    fn from_str(text: &str) -> Result<Self, NatMethodError> {
        let expected = "the address of a gateway: write IP, IP:PORT or http://IP:PORT/PATH";
        let wrong = || NatMethodError::Target { text: text.to_owned(), expected };
        let Some(url) = text.strip_prefix("http://") else {
            return socket_addr(text, SSDP_PORT).map(Self::Search).ok_or_else(wrong);
        };
        let (authority, path) = url.split_at(url.find('/').unwrap_or(url.len()));
        let path = if path.is_empty() { "/" } else { path };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        let address = socket_addr(authority, HTTP_PORT).ok_or_else(wrong)?;
        Ok(Self::Description { address, path: path.to_owned() })
    }
}

/// HTTP's port (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

impl FromStr for StunServer {
    type Err = NatMethodError;

    fn from_str(text: &str) -> Result<Self, NatMethodError> {
        if let Some(address) = socket_addr(text, STUN_PORT) {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
            None => (text, Some(STUN_PORT)),
        };
        let is_name = (1..=MAX_HOST_LEN).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        match port {
            Some(port) if is_name => Ok(Self { host: host.to_owned(), port }),
            Some(_) | None => {
                let expected = "a STUN server: write HOST or HOST:PORT";
                Err(NatMethodError::Target { text: text.to_owned(), expected })
            }
        }
    }
}

/// `IP`, `[IP]` or `IP:PORT`; port 0 is none.
fn socket_addr(text: &str, default_port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse() {
        Ok(ip) => SocketAddr::new(ip, default_port),
        Err(_) => text.parse().ok()?,
    };
    (address.port() != 0).then_some(address)
}

fn gateway(text: &str) -> Result<IpAddr, NatMethodError> {
    let expected = "the IP address of a gateway";
    text.parse().map_err(|_| NatMethodError::Target { text: text.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> NatMethod {
        text.parse().unwrap()
    }

    #[test]
    fn geths_words_are_read() {
        assert_eq!(parsed("any"), NatMethod::Any);
        assert_eq!(parsed("AUTO"), NatMethod::Any);
        assert_eq!(parsed("upnp"), NatMethod::Upnp(None));
        assert_eq!(parsed("natpmp"), NatMethod::NatPmp(None));
        assert_eq!(parsed("nat-pmp:192.168.1.1"), NatMethod::NatPmp(Some([192, 168, 1, 1].into())));
        assert_eq!(parsed("pcp:fe80::1"), NatMethod::Pcp("fe80::1".parse().ok()));
        assert_eq!(parsed("stun"), NatMethod::Stun(None));
        let server = |host: &str, port| NatMethod::Stun(Some(StunServer { host: host.to_owned(), port }));
        assert_eq!(parsed("stun:stun.example.org"), server("stun.example.org", STUN_PORT));
        assert_eq!(parsed("stun:stun.example.org:19302"), server("stun.example.org", 19302));
        assert_eq!(parsed("stun:[::1]:5"), server("::1", 5));
    }

    #[test]
    fn a_gateways_address_or_description_is_read() {
        let search = |text: &str| NatMethod::Upnp(Some(IgdAddress::Search(text.parse().unwrap())));
        assert_eq!(parsed("upnp:192.168.1.1"), search("192.168.1.1:1900"));
        assert_eq!(parsed("upnp:[fe80::1]:5"), search("[fe80::1]:5"));
        let description = |address: &str, path: &str| {
            let (address, path) = (address.parse().unwrap(), path.to_owned());
            NatMethod::Upnp(Some(IgdAddress::Description { address, path }))
        };
        assert_eq!(parsed("upnp:http://10.0.0.1:5000/root.xml"), description("10.0.0.1:5000", "/root.xml"));
        assert_eq!(parsed("upnp:http://10.0.0.1"), description("10.0.0.1:80", "/"));
    }

    #[test]
    fn every_method_reads_what_it_writes() {
        let all = [
            "any",
            "upnp",
            "upnp:10.0.0.1:1900",
            "upnp:http://10.0.0.1:5000/x",
            "pmp",
            "pmp:10.0.0.1",
            "pcp",
            "pcp:::1",
            "stun",
            "stun:a.b:1",
            "stun:[::1]:3478",
        ];
        for text in all {
            assert_eq!(parsed(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_method_is_said_in_one_line() {
        let bad = [
            "",
            "upmp",
            "any:1",
            "upnp:",
            "upnp:host",
            "upnp:10.0.0.1:0",
            "upnp:https://10.0.0.1/",
            "upnp:http://host/",
            "upnp:http://10.0.0.1/a b",
            "pmp:",
            "pmp:10.0.0.1:5351",
            "pcp:x",
            "stun:",
            "stun:host:",
            "stun:host:70000",
            "stun:ho/st",
        ];
        for text in bad {
            let error = text.parse::<NatMethod>().unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{text}: {error}");
        }
    }
}
