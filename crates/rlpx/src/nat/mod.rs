//! Being reachable behind a router: what is asked of it (`method.rs`), and the machine that decides when to map, renew,
//! retry and give up (`mappings.rs`). The protocols themselves and all I/O are the driver's (`driver/nat/`).
//! Intervals follow go-ethereum (`p2p/server_nat.go`, `p2p/nat/nat.go`). Off unless the owner names a method: a router's
//! answer comes from whoever shares the local network.

mod mappings;
mod method;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

pub use self::{
    mappings::{Event, Found, Grant, MapRequest, Mappings, Output, ServiceKind, Transport},
    method::{IgdAddress, NatMethod, NatMethodError, SSDP_PORT, STUN_PORT, StunServer},
};

/// How long a mapping is asked for (go-ethereum, `portMapDuration`).
pub const MAPPING_LEASE: Duration = Duration::from_secs(600);

/// When a mapping is renewed (go-ethereum, `portMapRefreshInterval`): four fifths of the lease. Of a shorter lease the
/// same part.
pub const RENEW_AFTER: Duration = Duration::from_secs(480);

/// A mapping is renewed no sooner, however short a lease the gateway grants: two messages a minute harm nobody.
pub const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// When what failed is tried again (go-ethereum, `portMapRetryInterval`), and up to [`RETRY_JITTER`] later.
pub const RETRY_AFTER: Duration = Duration::from_secs(300);

/// A tenth of [`RETRY_AFTER`], so that the nodes of one network do not all ask at once after a power cut.
pub const RETRY_JITTER: Duration = Duration::from_secs(30);

/// How often the external address is asked for (go-ethereum, `extipRetryInterval`).
pub const ADDRESS_INTERVAL: Duration = Duration::from_secs(120);

/// So many failures in a row and a mapping is dropped (go-ethereum drops after five refreshes), or the search ends.
pub const MAX_FAILURES: u32 = 5;

/// External ports tried after the wanted one is refused, one after the other (go-ethereum, three random ports).
pub const MAX_ALTERNATIVES: u32 = 3;

/// The lowest port tried in place of a refused one (go-ethereum, 10000 and up): above what gateways keep for themselves.
pub const FIRST_ALTERNATIVE_PORT: u16 = 10_000;

/// One exchange with a gateway or a STUN server (go-ethereum, `soapRequestTimeout`).
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);

/// Finding a gateway: three exchanges, which is a search, a description and a first question.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(9);

/// Removing the mappings at the end; what is not removed by then runs out with its lease. As long as peers are given.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest reply of a gateway in bytes, headers and body each. Descriptions of real ones have a few KiB.
pub const MAX_REPLY_LEN: usize = 64 * 1_024;

identity::labels! {
    /// What was wrong with an answer, or why there was none; counted once each time. Layer `nat`.
    pub enum NatFault {
        /// No answer in time.
        Silent = "silent",
        /// The connection was refused or broke.
        Unreachable = "unreachable",
        /// Nothing but this machine itself is on the way, so nothing was sent.
        NoGateway = "no_gateway",
        /// An answer that its protocol does not allow.
        Malformed = "malformed",
        /// An answer longer than [`MAX_REPLY_LEN`].
        TooLarge = "too_large",
        /// An answer that sends us to another host.
        ForeignHost = "foreign_host",
        /// The gateway would rather not.
        Refused = "refused",
        /// The external port is another's.
        PortTaken = "port_taken",
        /// A mapping granted for no time at all, or to port 0.
        EmptyGrant = "empty_grant",
        /// An external address that nobody outside reaches: private, loopback, unspecified, multicast and the like.
        AddressNotGlobal = "address_not_global",
    }
}

impl NatFault {
    /// The layer that metrics name beside the reason.
    pub const fn layer(self) -> &'static str {
        "nat"
    }
}

/// What the node is seen as from outside, as far as a gateway or server told. Default: nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// The address.
    pub ip: Option<IpAddr>,
    /// The port that leads to our TCP port.
    pub tcp: Option<u16>,
    /// The port that leads to our UDP port.
    pub udp: Option<u16>,
}
