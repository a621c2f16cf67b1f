//! Flags that several verbs share, named as geth names them, and the types that read their values.
//! What follows from them (keys, chains) is made in `setup`.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use devp2p::{
    identity::{Enode, Enr, EnrError, NetList, NodeKey, PublicKey},
    rlpx::{
        RateLimits,
        nat::{NatMethod, NatMethodError},
    },
};

/// geth's default port, for TCP and UDP.
const DEFAULT_PORT: u16 = 30303;
/// geth's default number of peers.
const DEFAULT_MAX_PEERS: usize = 50;

/// Where a node keeps its key and who it is.
#[derive(Args)]
pub(crate) struct KeyArgs {
    /// Directory for the node key, and with --bootnodes for the address book [default: .devp2p in the home directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,
    /// File with the node key (64 hex digits); created when missing.
    #[arg(long, value_name = "FILE", conflicts_with = "nodekeyhex")]
    pub(crate) nodekey: Option<PathBuf>,
    /// The node key itself, 64 hex digits (visible to other users of this machine: for tests).
    #[arg(long, value_name = "HEX", value_parser = parse_key)]
    pub(crate) nodekeyhex: Option<NodeKey>,
}

/// Where a node listens and whom it talks to.
#[derive(Args)]
pub(crate) struct NetworkArgs {
    /// Address to listen on; given twice, or as two with a comma, one IPv4 and one IPv6 address. Discovery takes the first.
    #[arg(long, value_name = "IP", value_delimiter = ',', default_value = "127.0.0.1")]
    pub(crate) addr: Vec<IpAddr>,
    /// TCP port for peers; 0 takes a free one.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// UDP port for discovery [default: that of --port].
    #[arg(long = "discovery.port", value_name = "PORT")]
    pub(crate) discovery_port: Option<u16>,
    /// Nodes to join the network through: enode URLs, separated by commas.
    #[arg(long, value_name = "ENODES", value_delimiter = ',')]
    pub(crate) bootnodes: Vec<Enode>,
    /// Nodes to stay connected to: enode URLs, separated by commas.
    #[arg(long, value_name = "ENODES", value_delimiter = ',')]
    pub(crate) peers: Vec<Enode>,
    /// How others reach this node: none, extip:IP, any, upnp[:GATEWAY], pmp[:IP], pcp[:IP], or stun[:HOST[:PORT]]. All but the
    /// first two ask the router or a server.
    #[arg(long, value_name = "NAT", default_value = "none")]
    pub(crate) nat: Nat,
    /// Talk to these networks only: CIDR masks, separated by commas.
    #[arg(long, value_name = "NETS")]
    pub(crate) netrestrict: Option<NetList>,
    /// The most peers at a time.
    #[arg(long, default_value_t = DEFAULT_MAX_PEERS)]
    pub(crate) maxpeers: usize,
    /// Take no part in discovery.
    #[arg(long)]
    pub(crate) nodiscover: bool,
    #[command(flatten)]
    pub(crate) rates: RateArgs,
}

/// The most bytes per second with peers.
#[derive(Args)]
pub(crate) struct RateArgs {
    /// The most bytes per second to all peers, such as 5MiB [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) upload_limit: Option<u64>,
    /// The most bytes per second from all peers.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) download_limit: Option<u64>,
    /// The most bytes per second to each peer.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) peer_upload_limit: Option<u64>,
    /// The most bytes per second from each peer.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) peer_download_limit: Option<u64>,
}

impl RateArgs {
    /// The limits as the transport takes them.
    pub(crate) const fn limits(&self) -> RateLimits {
        RateLimits {
            upload: self.upload_limit,
            download: self.download_limit,
            peer_upload: self.peer_upload_limit,
            peer_download: self.peer_download_limit,
        }
    }
}

/// Which chain a node follows.
#[derive(Args)]
pub(crate) struct ChainArgs {
    /// Network id [default: the genesis file's chain id].
    #[arg(long, value_name = "ID")]
    pub(crate) networkid: Option<u64>,
    /// The chain's genesis.json, in geth's form [default: a private network].
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
}

/// What the ping verbs are given.
#[derive(Args)]
pub(crate) struct PingArgs {
    /// The node: an enode URL or a record (enr:...).
    pub(crate) node: Target,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// 0 silent, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub(crate) verbosity: u8,
}

/// `--nat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// Others reach the node where it listens.
    None,
    /// Others reach the node at this address.
    ExtIp(IpAddr),
    /// A gateway or a server is asked.
    Ask(NatMethod),
}

impl FromStr for Nat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if matches!(text, "none" | "off" | "") => Ok(Self::None),
            Some(("extip" | "ip", ip)) => ip
                .parse()
                .map(Self::ExtIp)
                .map_err(|_| format!("{ip:?} is not an IP address: write extip:IP")),
            _ => text.parse().map(Self::Ask).map_err(|error| match error {
                NatMethodError::Unknown(text) => format!(
                    "{text:?} is no way through a NAT: write none, any, upnp, pmp, pcp, stun or extip:IP"
                ),
                NatMethodError::Target { .. } => error.to_string(),
            }),
        }
    }
}

fn parse_key(text: &str) -> Result<NodeKey, String> {
    NodeKey::from_hex(text).map_err(|error| error.to_string())
}

/// Bytes per second: a whole number, with its unit.
fn parse_rate(text: &str) -> Result<u64, String> {
    let expected = "write a whole number of bytes per second, such as 5MiB, 500kB or 100000";
    let text = text.strip_suffix("/s").unwrap_or(text);
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected.to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| expected.to_owned())?;
    number.checked_mul(unit).ok_or_else(|| expected.to_owned())
}

/// A number of seconds, or a number with its unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("write a number with ms, s, m or h".to_owned()),
    };
    let number: f64 =
        digits.parse().map_err(|_| "write a number with ms, s, m or h, such as 30s".to_owned())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| "write a positive number of seconds".to_owned())
}

/// A node as a verb's argument: an enode URL or a node record.
#[derive(Clone, Debug)]
pub(crate) struct Target(pub(crate) Enode);

impl Target {
    pub(crate) const fn public_key(&self) -> PublicKey {
        self.0.public_key
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("enr:") {
            return text.parse().map(Self).map_err(|error: devp2p::identity::EnodeError| error.to_string());
        }
        let record: Enr = text.parse().map_err(|error: EnrError| error.to_string())?;
        let endpoint = record.endpoint().ok_or("the record names no address")?;
        Ok(Self(Enode::new(record.public_key(), endpoint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nat_reads_geths_words() {
        assert_eq!("none".parse(), Ok(Nat::None));
        assert_eq!("extip:10.1.2.3".parse(), Ok(Nat::ExtIp([10, 1, 2, 3].into())));
        assert_eq!("upnp".parse(), Ok(Nat::Ask(NatMethod::Upnp(None))));
        assert_eq!(
            "stun:[::1]:7".parse::<Nat>(),
            "stun:[::1]:7".parse().map(Nat::Ask).map_err(|_: NatMethodError| String::new())
        );
        for bad in ["extip:", "extip:host", "upnp:", "extip", "none:1", "ask"] {
            assert!(bad.parse::<Nat>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(parse_rate("5MiB"), Ok(5 << 20));
        assert_eq!(parse_rate("500kB/s"), Ok(500_000));
        assert_eq!(parse_rate("100000"), Ok(100_000));
        for bad in ["", "MiB", "-1", "1.5MiB", "5Mbit", "5 MiB", "99999999999GiB"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("0.5m"), Ok(Duration::from_secs(30)));
        for bad in ["", "s", "-1s", "1d", "NaN", "1e400", "ten"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
