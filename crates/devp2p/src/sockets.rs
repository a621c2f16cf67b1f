//! The sockets of a node: TCP for peers, one for each family that is asked for, and UDP for discovery, on one port where
//! nothing else is asked for. Discovery has one address, the first: its machine tells nodes apart by one socket's view.
//! They are bound before anything else starts, so that a taken port is an error of the start and never of a task.
//! Reading, writing and accepting are the drivers' (discv4, `driver/task.rs`; rlpx, `driver/listener.rs`).

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rlpx::bind_listener;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::StartError;

/// How often a free port that is free for both protocols is looked for.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenOn {
    pub(crate) ip: IpAddr,
    /// An address of the other family, for peers alone.
    pub(crate) other: Option<IpAddr>,
    /// 0 takes a free one.
    pub(crate) tcp: u16,
    /// None: that of TCP.
    pub(crate) udp: Option<u16>,
    /// Whether there is discovery at all.
    pub(crate) discovery: bool,
}

/// Sockets that are bound.
pub(crate) struct Sockets {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) tcp_port: u16,
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) udp_port: u16,
}

impl Sockets {
    /// Binds all or none.
    pub(crate) fn bind(on: ListenOn) -> Result<Self, StartError> {
        if let Some(other) = on.other.filter(|other| other.is_ipv4() == on.ip.is_ipv4()) {
            return Err(StartError::SameFamily { first: on.ip, second: other });
        }
        let attempts = if on.tcp == 0 && on.udp.is_none() { FREE_PORT_ATTEMPTS } else { 1 };
        let mut result = Self::bind_once(on);
        for _ in 1..attempts {
            if result.is_ok() {
                break;
            }
            result = Self::bind_once(on);
        }
        result
    }

    fn bind_once(on: ListenOn) -> Result<Self, StartError> {
        let tcp_addr = SocketAddr::new(on.ip, on.tcp);
        let refused =
            |protocol, addr, setting| move |error| StartError::Bind { protocol, addr, setting, error };
        let listener = bind_listener(tcp_addr).map_err(refused("TCP", tcp_addr, "port"))?;
        let tcp_port = listener.local_addr().map_err(refused("TCP", tcp_addr, "port"))?.port();
        let mut tcp = vec![listener];
        if let Some(other) = on.other {
            let addr = SocketAddr::new(other, tcp_port);
            tcp.push(bind_listener(addr).map_err(refused("TCP", addr, "port"))?);
        }
        if !on.discovery {
            return Ok(Self { tcp, tcp_port, udp: None, udp_port: 0 });
        }
        let udp_addr = SocketAddr::new(on.ip, on.udp.unwrap_or(tcp_port));
        let failed = refused("UDP", udp_addr, "discovery port");
        let udp = bind_udp(udp_addr).map_err(failed)?;
        let udp_port = udp.local_addr().map_err(failed)?.port();
        Ok(Self { tcp, tcp_port, udp: Some(udp), udp_port })
    }
}

/// As with TCP, an IPv6 socket is for IPv6 alone.
fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
