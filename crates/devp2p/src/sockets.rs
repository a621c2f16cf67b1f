//! The two sockets of a node: TCP for peers and UDP for discovery, on one port where nothing else is asked for.
//! They are bound before anything else starts, so that a taken port is an error of the start and never of a task.
//! Reading, writing and accepting are the drivers' (discv4, `driver/task.rs`; rlpx, `driver/listener.rs`).

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, UdpSocket};

use crate::StartError;

/// How often a free port that is free for both protocols is looked for.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenOn {
    pub(crate) ip: IpAddr,
    /// 0 takes a free one.
    pub(crate) tcp: u16,
    /// None: that of TCP.
    pub(crate) udp: Option<u16>,
    /// Whether there is discovery at all.
    pub(crate) discovery: bool,
}

/// Sockets that are bound.
pub(crate) struct Sockets {
    pub(crate) tcp: TcpListener,
    pub(crate) tcp_port: u16,
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) udp_port: u16,
}

impl Sockets {
    /// Binds both or none.
    pub(crate) async fn bind(on: ListenOn) -> Result<Self, StartError> {
        let attempts = if on.tcp == 0 && on.udp.is_none() { FREE_PORT_ATTEMPTS } else { 1 };
        let mut result = Self::bind_once(on).await;
        for _ in 1..attempts {
            if result.is_ok() {
                break;
            }
            result = Self::bind_once(on).await;
        }
        result
    }

    async fn bind_once(on: ListenOn) -> Result<Self, StartError> {
        let tcp_addr = SocketAddr::new(on.ip, on.tcp);
        let refused =
            |protocol, addr, setting| move |error| StartError::Bind { protocol, addr, setting, error };
        let tcp = TcpListener::bind(tcp_addr).await.map_err(refused("TCP", tcp_addr, "port"))?;
        let tcp_port = tcp.local_addr().map_err(refused("TCP", tcp_addr, "port"))?.port();
        if !on.discovery {
            return Ok(Self { tcp, tcp_port, udp: None, udp_port: 0 });
        }
        let udp_addr = SocketAddr::new(on.ip, on.udp.unwrap_or(tcp_port));
        let failed = refused("UDP", udp_addr, "discovery port");
        let udp = UdpSocket::bind(udp_addr).await.map_err(failed)?;
        let udp_port = udp.local_addr().map_err(failed)?.port();
        Ok(Self { tcp, tcp_port, udp: Some(udp), udp_port })
    }
}
