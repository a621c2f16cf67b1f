//! Where a node is: one IP and two ports, as discovery, records and dials know it. A host may have a name only in
//! `enode.rs`; which addresses may be told or dialed is `address.rs`, and the bytes of an endpoint are discv4's
//! (`wire/ping.rs`). devp2p specification, `discv4.md`, "Ping Packet (0x01)", for the three fields.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// An address with a UDP port for discovery and a TCP port for RLPx; a port of 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The node's address.
    pub ip: IpAddr,
    /// The discovery port.
    pub udp: u16,
    /// The RLPx port.
    pub tcp: u16,
}

impl Endpoint {
    /// Where discovery packets go, unless there is no UDP port.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        (self.udp != 0).then(|| SocketAddr::new(self.ip, self.udp))
    }

    /// Where RLPx connections go, unless there is no TCP port.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        (self.tcp != 0).then(|| SocketAddr::new(self.ip, self.tcp))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddr::new(self.ip, self.tcp))?;
        if self.udp != self.tcp { write!(f, "?discport={}", self.udp) } else { Ok(()) }
    }
}
