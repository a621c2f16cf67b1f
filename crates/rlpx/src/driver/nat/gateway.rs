//! Whoever was found, asked in the way it speaks; and the search for it. One operation is one exchange, bounded in time.
//! Which operation, and when, is the machine's (`nat/mappings.rs`); each protocol has a file beside this one.

use std::net::IpAddr;

use identity::Counters;
use tokio::{task::JoinSet, time::timeout};

use super::{
    igd::Igd,
    port_control::{NatPmp, Pcp},
    stun::Stun,
};
use crate::nat::{Found, Grant, MapRequest, NatFault, NatMethod, OPERATION_TIMEOUT, SEARCH_TIMEOUT};

/// A gateway or server that has answered.
pub(super) enum Gateway {
    Igd(Igd),
    NatPmp(NatPmp),
    Pcp(Pcp),
    Stun(Stun),
}

/// What a search needs to know.
#[derive(Clone)]
pub(super) struct Search {
    pub(super) method: NatMethod,
    /// Where the node listens.
    pub(super) listen: IpAddr,
    /// The TCP port it listens on.
    pub(super) tcp: u16,
    /// For answers that are passed over.
    pub(super) faults: Counters<NatFault>,
}

impl Search {
    pub(super) async fn run(self) -> Result<(Gateway, Found), NatFault> {
        timeout(SEARCH_TIMEOUT, self.find()).await.unwrap_or(Err(NatFault::Silent))
    }

    async fn find(self) -> Result<(Gateway, Found), NatFault> {
        match self.method {
            NatMethod::Any => {
                self.race([NatMethod::Upnp(None), NatMethod::Pcp(None), NatMethod::NatPmp(None)]).await
            }
            NatMethod::Upnp(_) | NatMethod::NatPmp(_) | NatMethod::Pcp(_) | NatMethod::Stun(_) => {
                self.one().await
            }
        }
    }

    async fn one(self) -> Result<(Gateway, Found), NatFault> {
        match &self.method {
            NatMethod::Any | NatMethod::Upnp(None) => {
                let found = Igd::find(None, self.listen, &self.faults).await;
                found.map(|(igd, found)| (Gateway::Igd(igd), found))
            }
            NatMethod::Upnp(Some(at)) => {
                let found = Igd::find(Some(at), self.listen, &self.faults).await;
                found.map(|(igd, found)| (Gateway::Igd(igd), found))
            }
            NatMethod::NatPmp(at) => {
                NatPmp::find(*at).await.map(|(gateway, found)| (Gateway::NatPmp(gateway), found))
            }
            NatMethod::Pcp(at) => {
                Pcp::find(*at, self.tcp).await.map(|(gateway, found)| (Gateway::Pcp(gateway), found))
            }
            NatMethod::Stun(at) => {
                let found = Stun::find(at.as_ref(), self.listen).await;
                found.map(|(server, found)| (Gateway::Stun(server), found))
            }
        }
    }

    /// The first that answers; the others are dropped in the middle.
    async fn race<const N: usize>(self, methods: [NatMethod; N]) -> Result<(Gateway, Found), NatFault> {
        let mut searches = JoinSet::new();
        for method in methods {
            searches.spawn(Self { method, ..self.clone() }.one());
        }
        let mut last = NatFault::Silent;
        while let Some(outcome) = searches.join_next().await {
            match outcome {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(fault)) => last = fault,
                Err(_) => last = NatFault::Malformed,
            }
        }
        Err(last)
    }
}

impl Gateway {
    pub(super) async fn address(&self) -> Result<IpAddr, NatFault> {
        let told = async {
            match self {
                Self::Igd(igd) => igd.address().await,
                Self::NatPmp(gateway) => gateway.address().await,
                // Told with each mapping: the machine does not ask.
                Self::Pcp(_) => Err(NatFault::Refused),
                Self::Stun(server) => server.address().await,
            }
        };
        within(told).await
    }

    pub(super) async fn map(&self, request: MapRequest) -> Result<Grant, NatFault> {
        let granted = async {
            match self {
                Self::Igd(igd) => igd.map(request).await,
                Self::NatPmp(gateway) => gateway.map(request).await,
                Self::Pcp(gateway) => gateway.map(request).await,
                Self::Stun(_) => Err(NatFault::Refused),
            }
        };
        within(granted).await
    }

    pub(super) async fn unmap(&self, request: MapRequest) -> Result<(), NatFault> {
        let removed = async {
            match self {
                Self::Igd(igd) => igd.unmap(request).await,
                Self::NatPmp(gateway) => gateway.unmap(request).await,
                Self::Pcp(gateway) => gateway.unmap(request).await,
                Self::Stun(_) => Err(NatFault::Refused),
            }
        };
        within(removed).await
    }
}

async fn within<T>(what: impl Future<Output = Result<T, NatFault>>) -> Result<T, NatFault> {
    timeout(OPERATION_TIMEOUT, what).await.unwrap_or(Err(NatFault::Silent))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::nat::{IgdAddress, ServiceKind, StunServer};

    #[tokio::test]
    async fn of_several_methods_the_first_that_answers_wins() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = silent.local_addr().unwrap();
        let igd = NatMethod::Upnp(Some(IgdAddress::Description { address, path: "/".to_owned() }));
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (host, port) = (Ipv4Addr::LOCALHOST.to_string(), server.local_addr().unwrap().port());
        let stun = NatMethod::Stun(Some(StunServer { host, port }));
        let listen = Ipv4Addr::LOCALHOST.into();
        let search = Search { method: NatMethod::Any, listen, tcp: 1, faults: Counters::default() };
        let answered = async {
            let mut request = [0; 64];
            let (_, from) = server.recv_from(&mut request).await.unwrap();
            let ip = [11 ^ request[4], 22 ^ request[5], 33 ^ request[6], 44 ^ request[7]];
            let answer = [&[1, 1, 0, 12], &request[4..20], &[0, 0x20, 0, 8, 0, 1, 0, 0], &ip].concat();
            server.send_to(&answer, from).await.unwrap();
        };
        let (found, ()) = tokio::join!(search.race([igd, stun]), answered);
        let expected = Found { kind: ServiceKind::Stun, ip: Some([11, 22, 33, 44].into()) };
        assert_eq!(found.map(|(_, found)| found), Ok(expected));
    }
}
