//! `enode://` URLs: a public key, a host and two ports. devp2p specification, `enode.md` (format of go-ethereum's v4
//! URLs). Names are not resolved here: a DNS host stays a name until it is dialed (rlpx, `driver/dial.rs`) or the node
//! starts (devp2p, `builder.rs`). Records and their `enr:` text are `record.rs`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use url::Url;

use crate::{Endpoint, NodeId, PublicKey};

/// The longest URL that is read, in bytes: 8 + 128 + 1 + 253 (a DNS name) + ports.
const MAX_URL_LEN: usize = 512;

/// The longest DNS name, in characters (RFC 1035, 2.3.4, without the length bytes).
const MAX_NAME_LEN: usize = 253;

/// The host of an [`Enode`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name, resolved whenever the node is dialed.
    Dns(String),
}

/// A node as an `enode://` URL names it.
///
/// ```text
/// enode://<128 hex digits>@<IP, [IPv6] or DNS name>:<TCP port>?discport=<UDP port>
/// ```
/// `discport` is written only when the ports differ; 0 stands for a node without discovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Enode {
    /// Whom the URL names.
    pub public_key: PublicKey,
    /// Where it is.
    pub host: Host,
    /// The RLPx port; 0 for a node that only takes part in discovery.
    pub tcp: u16,
    /// The discovery port; 0 for a node that takes no part in it.
    pub udp: u16,
}

/// Why a text is no enode URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnodeError {
    /// Not of the form `enode://key@host:port`.
    #[error("not an enode URL: write enode://<128 hex digits>@<host>:<port>")]
    Form,
    /// The key is not 128 hex digits.
    #[error("the key of an enode URL is 128 hex digits, {found} characters found")]
    KeyLength {
        /// How many characters stand before the `@`.
        found: usize,
    },
    /// The key is no point of the curve.
    #[error("the key of the enode URL is not a public key of secp256k1")]
    KeyInvalid,
    /// No port, or one that is not 0 to 65535 (0 only beside a `discport`).
    #[error("the port of an enode URL is 1 to 65535: write enode://<key>@<host>:<port>")]
    Port,
    /// `discport` is not 0 to 65535.
    #[error("discport of an enode URL is 0 to 65535, {found:?} found")]
    DiscPort {
        /// What stands there.
        found: String,
    },
}

impl Enode {
    /// The URL of the node with `public_key` at `endpoint`.
    pub const fn new(public_key: PublicKey, endpoint: Endpoint) -> Self {
        Self { public_key, host: Host::Ip(endpoint.ip), tcp: endpoint.tcp, udp: endpoint.udp }
    }

    /// The node's id.
    pub fn node_id(&self) -> NodeId {
        self.public_key.node_id()
    }

    /// The endpoint, when the host is an address.
    pub const fn endpoint(&self) -> Option<Endpoint> {
        match &self.host {
            Host::Ip(ip) => Some(Endpoint { ip: *ip, udp: self.udp, tcp: self.tcp }),
            Host::Dns(_) => None,
        }
    }
}

impl FromStr for Enode {
    type Err = EnodeError;

    fn from_str(text: &str) -> Result<Self, EnodeError> {
        if text.len() > MAX_URL_LEN {
            return Err(EnodeError::Form);
        }
        let url = Url::parse(text).map_err(|error| {
            if error == url::ParseError::InvalidPort { EnodeError::Port } else { EnodeError::Form }
        })?;
        if url.scheme() != "enode" || url.password().is_some() || !matches!(url.path(), "" | "/") {
            return Err(EnodeError::Form);
        }
        let public_key = parse_key(url.username())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EnodeError::Form)?;
        let tcp = url.port().ok_or(EnodeError::Port)?;
        let udp = parse_discport(&url)?;
        if tcp == 0 && udp.unwrap_or(0) == 0 {
            return Err(EnodeError::Port);
        }
        Ok(Self { public_key, host: parse_host(host)?, tcp, udp: udp.unwrap_or(tcp) })
    }
}

fn parse_key(text: &str) -> Result<PublicKey, EnodeError> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| EnodeError::KeyLength { found: text.chars().count() })?;
    let key = PublicKey::from_bytes(bytes);
    if key.is_on_curve() { Ok(key) } else { Err(EnodeError::KeyInvalid) }
}

/// The URL parser lets almost any character be a name and writes some as three, so that the text could outgrow its limit.
fn parse_host(text: &str) -> Result<Host, EnodeError> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed.map(|inner| inner.parse::<Ipv6Addr>().map(IpAddr::V6)).unwrap_or_else(|| text.parse()) {
        Ok(ip) => Ok(Host::Ip(crate::unmapped(ip))),
        Err(_) if is_dns_name(text) => Ok(Host::Dns(text.to_owned())),
        Err(_) => Err(EnodeError::Form),
    }
}

/// Letters, digits, hyphens and dots (RFC 1123, 2.1), and the underscores that resolvers take as well.
fn is_dns_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.len() <= MAX_NAME_LEN && text.bytes().all(is_allowed)
}

fn parse_discport(url: &Url) -> Result<Option<u16>, EnodeError> {
    let Some((_, found)) = url.query_pairs().find(|(name, _)| name == "discport") else { return Ok(None) };
    found.parse().map(Some).map_err(|_| EnodeError::DiscPort { found: found.into_owned() })
}

impl fmt::Display for Enode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enode://{}@", self.public_key)?;
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            Host::Dns(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.tcp)?;
        if self.udp != self.tcp { write!(f, "?discport={}", self.udp) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeKey;

    fn url(rest: &str) -> String {
        format!("enode://{}{rest}", NodeKey::from_bytes(&[3; 32]).unwrap().public_key())
    }

    #[test]
    fn urls_round_trip() {
        for rest in [
            "@127.0.0.1:30303",
            "@10.3.58.6:30303?discport=30301",
            "@[2001:db8:3c4d:15::abcd:ef12]:52150?discport=22334",
            "@node.example.org:30303",
            "@127.0.0.1:0?discport=30301",
            "@127.0.0.1:30303?discport=0",
        ] {
            assert_eq!(url(rest).parse::<Enode>().unwrap().to_string(), url(rest));
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name_that_dns_could_know() {
        let longest = "n".repeat(MAX_NAME_LEN);
        let named = url(&format!("@{longest}:65535?discport=65534"));
        assert_eq!(named.parse::<Enode>().unwrap().to_string(), named);
        let too_long = format!("{longest}n");
        // The URL parser writes a control character as three, so this name grew beyond what is read.
        for name in [&too_long, "10.3.\u{15}8", &"\u{17}".repeat(130), "käse.example.org", "a%20b", "a,b"] {
            assert_eq!(url(&format!("@{name}:30303")).parse::<Enode>(), Err(EnodeError::Form), "{name:?}");
        }
    }

    #[test]
    fn c07_bad_urls_are_named_in_one_line() {
        let key_cut = url("@127.0.0.1:1").replace("enode://", "enode://00");
        let cases = [
            (url("@127.0.0.1"), EnodeError::Port),
            (url("@127.0.0.1:0"), EnodeError::Port),
            (url("@127.0.0.1:65536"), EnodeError::Port),
            (url("@127.0.0.1:0?discport=0"), EnodeError::Port),
            (url("@127.0.0.1:1?discport=x"), EnodeError::DiscPort { found: "x".into() }),
            (key_cut, EnodeError::KeyLength { found: 130 }),
            (format!("enode://{}@127.0.0.1:1", "00".repeat(64)), EnodeError::KeyInvalid),
            ("http://example.org".into(), EnodeError::KeyLength { found: 0 }),
            ("nonsense".into(), EnodeError::Form),
            ("e".repeat(10 << 20), EnodeError::Form),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Enode>().unwrap_err();
            if text.starts_with("http") {
                assert_eq!(found, EnodeError::Form);
            } else {
                assert_eq!(found, expected, "{}", text.get(..200).unwrap_or(&text));
            }
            assert!(!found.to_string().contains('\n'));
        }
    }
}
