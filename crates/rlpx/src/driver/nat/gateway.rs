//! Whoever was found, asked in the way it speaks; and the search for it. One operation is one exchange, bounded in time.

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
        if matches!(self.method, NatMethod::Any) { self.race().await } else { self.one().await }
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
    async fn race(self) -> Result<(Gateway, Found), NatFault> {
        let mut searches = JoinSet::new();
        for method in [NatMethod::Upnp(None), NatMethod::Pcp(None), NatMethod::NatPmp(None)] {
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
