//! Free ports of loopback for one client. They are looked for below the range from which the system takes ports of
//! outgoing connections, from a start that differs between processes, and no port is given twice by one process.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{Failure, Result};

/// Ports that are tried: above those of well-known services, below 32,768 (Linux `ip_local_port_range`).
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static TRIED: AtomicU16 = AtomicU16::new(0);

/// The ports of one geth, all of 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// RLPx (TCP) and discovery (UDP).
    pub(super) p2p: u16,
    /// The engine API.
    pub(super) engine: u16,
    /// The HTTP API.
    pub(super) http: u16,
}

impl Ports {
    /// Three ports that nobody had when they were bound for a moment.
    pub(super) fn choose() -> Result<Self> {
        Ok(Self { p2p: free_port()?, engine: free_port()?, http: free_port()? })
    }
}

fn free_port() -> Result<u16> {
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(tried) % COUNT;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(Failure::new(format!("no free port of 127.0.0.1 among {FIRST} to {}", FIRST + COUNT)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_taken_port_is_not_chosen_and_none_twice() {
        let first = free_port().unwrap();
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 1)).unwrap();
        let chosen: BTreeSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(chosen.len(), 50);
        assert!(!chosen.contains(&(first + 1)) && !chosen.contains(&first));
    }
}
