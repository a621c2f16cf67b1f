//! Our own place in the local network: the address that a packet to somebody leaves from, and the router it leaves by.
//! Nothing is sent to learn either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use crate::nat::NatFault;

/// An address outside, to ask the system which way it is: TEST-NET-1 (RFC 5737), port 9, discard (RFC 863).
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Linux's table of routes (proc(5)): a line each, with destination, gateway and flags in hexadecimal.
const ROUTES: &str = "/proc/net/route";

/// The flag of a route through a gateway (Linux, `linux/route.h`, RTF_GATEWAY).
const VIA_GATEWAY: u32 = 2;

/// All our addresses of the family of `address`.
pub(super) const fn any(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The address that packets to `target` come from. Connecting a UDP socket sends nothing.
pub(super) async fn toward(target: SocketAddr) -> Result<IpAddr, NatFault> {
    let socket = UdpSocket::bind((any(target), 0)).await.map_err(|_| NatFault::NoGateway)?;
    socket.connect(target).await.map_err(|_| NatFault::NoGateway)?;
    let local = socket.local_addr().map_err(|_| NatFault::NoGateway)?;
    Ok(local.ip())
}

/// The default gateway: the system's where it says so, and the first address of our network elsewhere, as go-ethereum
/// guesses. None is tried from a public address, which has no translation before it.
pub(super) async fn default_gateway() -> Result<IpAddr, NatFault> {
    let IpAddr::V4(local) = toward(OUTSIDE).await? else { return Err(NatFault::NoGateway) };
    if !local.is_private() {
        return Err(NatFault::NoGateway);
    }
    let routes = std::fs::read_to_string(ROUTES).unwrap_or_default();
    let [a, b, c, _] = local.octets();
    let gateway = routed(&routes).unwrap_or(Ipv4Addr::new(a, b, c, 1));
    if gateway.is_loopback() || gateway == local { Err(NatFault::NoGateway) } else { Ok(gateway.into()) }
}

fn routed(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let number = |column: Option<&str>| u32::from_str_radix(column?, 16).ok();
        let (destination, gateway) = (number(columns.next())?, number(columns.next())?);
        let is_default = destination == 0 && number(columns.next())? & VIA_GATEWAY != 0;
        // The kernel prints the four bytes as a number of its own order.
        is_default.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_read_from_the_systems_table() {
        let gateway = u32::from_ne_bytes([192, 168, 7, 1]);
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\neth0\t0007A8C0\t00000000\t0001\neth0\t00000000\t{gateway:08X}\t0003\n"
        );
        assert_eq!(routed(&table), Some(Ipv4Addr::new(192, 168, 7, 1)));
        assert_eq!(routed("Iface\tDestination\n"), None);
        assert_eq!(routed(""), None);
        assert_eq!(routed("x\ny z\n"), None);
    }
}
