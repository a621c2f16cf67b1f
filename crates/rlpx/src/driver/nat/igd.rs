//! An Internet Gateway Device: found by search or by its address, then asked by SOAP, which is the crate `igd_next`'s.
//! UPnP IGD:1 and IGD:2. Searching is `ssdp.rs`, reading what a device says of itself `description.rs`.

use std::net::{IpAddr, SocketAddr};

use identity::Counters;
use igd_next::{
    AddPortError, GetExternalIpError, PortMappingProtocol, RemovePortError, RequestError, aio::Gateway,
};
use tokio::task::JoinSet;

use super::{
    description::{self, Service},
    http::{self, Capped, Target},
    local,
    ssdp::Search,
};
use crate::nat::{Found, Grant, IgdAddress, MAPPING_LEASE, MapRequest, NatFault, ServiceKind, Transport};

/// Devices of one search that are asked for their description. Further ones are ignored.
const MAX_DEVICES: usize = 8;

/// What the mapping is called in the gateway's own list.
const DESCRIPTION: &str = "ethereum devp2p";

/// What a mapping that can only be permanent is asked for with (UPnP IGD:1 WANIPConnection, section 2.4.16), in seconds.
const PERMANENT: u32 = 0;

/// The arguments of actions, in the order of the specification (WANIPConnection, sections 2.4.16 and 2.4.18): what a
/// device says of its actions is not fetched.
const ACTIONS: [(&str, &[&str]); 2] = [
    (
        "AddPortMapping",
        &[
            "NewRemoteHost",
            "NewExternalPort",
            "NewProtocol",
            "NewInternalPort",
            "NewInternalClient",
            "NewEnabled",
            "NewPortMappingDescription",
            "NewLeaseDuration",
        ],
    ),
    ("DeletePortMapping", &["NewRemoteHost", "NewExternalPort", "NewProtocol"]),
];

/// A device that has answered.
pub(super) struct Igd {
    gateway: Gateway<Capped>,
    /// Ourselves as the device sees us.
    client: IpAddr,
}

impl Igd {
    /// Finds one that tells an external address.
    pub(super) async fn find(
        at: Option<&IgdAddress>,
        listen: IpAddr,
        faults: &Counters<NatFault>,
    ) -> Result<(Self, Found), NatFault> {
        match at {
            Some(IgdAddress::Description { address, path }) => {
                Self::at(Target { address: *address, path: path.clone() }, listen).await
            }
            Some(IgdAddress::Search(address)) => {
                Self::searched(Search::of_one(*address).await?, listen, faults).await
            }
            None => Self::searched(Search::of_all(listen).await?, listen, faults).await,
        }
    }

    /// The first device that keeps what its answer to the search promised. A slow or false one does not hold up others.
    async fn searched(
        mut search: Search,
        listen: IpAddr,
        faults: &Counters<NatFault>,
    ) -> Result<(Self, Found), NatFault> {
        let mut seen: Vec<Target> = Vec::new();
        let mut asked: JoinSet<Result<(Self, Found), NatFault>> = JoinSet::new();
        let mut last = NatFault::Silent;
        let mut is_over = false;
        while !(is_over && asked.is_empty()) {
            tokio::select! {
                next = search.next(), if !is_over => match next {
                    Some(Ok(target)) if seen.contains(&target) || seen.len() >= MAX_DEVICES => {}
                    Some(Ok(target)) => {
                        seen.push(target.clone());
                        asked.spawn(Self::at(target, listen));
                    }
                    Some(Err(fault)) => faults.add(fault),
                    None => is_over = true,
                },
                Some(outcome) = asked.join_next() => match outcome {
                    Ok(Ok(found)) => return Ok(found),
                    Ok(Err(fault)) => {
                        faults.add(fault);
                        last = fault;
                    }
                    Err(_) => last = NatFault::Malformed,
                },
            }
        }
        Err(last)
    }

    /// The device whose description is at `target`.
    async fn at(target: Target, listen: IpAddr) -> Result<(Self, Found), NatFault> {
        let client = if listen.is_unspecified() { local::toward(target.address).await? } else { listen };
        let services = description::services(&target, &http::get(&target).await?)?;
        let mut outcome = Err(NatFault::Malformed);
        for service in services {
            let igd = Self { gateway: gateway(&target, &service), client };
            match igd.address().await {
                Ok(ip) => return Ok((igd, Found { kind: ServiceKind::Upnp, ip: Some(ip) })),
                Err(fault) => outcome = Err(fault),
            }
        }
        outcome
    }

    pub(super) async fn address(&self) -> Result<IpAddr, NatFault> {
        self.gateway.get_external_ip().await.map_err(|error| match error {
            GetExternalIpError::ActionNotAuthorized => NatFault::Refused,
            GetExternalIpError::RequestError(error) => http::fault(&error),
        })
    }

    pub(super) async fn map(&self, request: MapRequest) -> Result<Grant, NatFault> {
        let lease = u32::try_from(request.lease.as_secs()).unwrap_or(u32::MAX);
        match self.add(request, lease).await {
            Ok(()) => Ok(Grant { external: request.external, lease: request.lease, ip: None }),
            Err(AddPortError::OnlyPermanentLeasesSupported) => match self.add(request, PERMANENT).await {
                Ok(()) => Ok(Grant { external: request.external, lease: MAPPING_LEASE, ip: None }),
                Err(error) => Err(refusal(&error)),
            },
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn add(&self, request: MapRequest, seconds: u32) -> Result<(), AddPortError> {
        let client = SocketAddr::new(self.client, request.internal);
        let (protocol, external) = (protocol(request.transport), request.external);
        self.gateway.add_port(protocol, external, client, seconds, DESCRIPTION).await
    }

    pub(super) async fn unmap(&self, request: MapRequest) -> Result<(), NatFault> {
        let removed = self.gateway.remove_port(protocol(request.transport), request.external).await;
        removed.or_else(|error| match error {
            RemovePortError::NoSuchPortMapping => Ok(()),
            RemovePortError::ActionNotAuthorized => Err(NatFault::Refused),
            RemovePortError::RequestError(error) => Err(http::fault(&error)),
        })
    }
}

fn gateway(target: &Target, service: &Service) -> Gateway<Capped> {
    let arguments = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Gateway {
        addr: target.address,
        root_url: target.path.clone(),
        control_url: service.control.url(),
        control_schema_url: String::new(),
        control_schema: ACTIONS
            .iter()
            .map(|(action, names)| ((*action).to_owned(), arguments(names)))
            .collect(),
        service_type: service.kind.to_owned(),
        provider: Capped,
    }
}

fn refusal(error: &AddPortError) -> NatFault {
    match error {
        AddPortError::PortInUse => NatFault::PortTaken,
        AddPortError::RequestError(RequestError::ErrorCode(..))
        | AddPortError::ActionNotAuthorized
        | AddPortError::InternalPortZeroInvalid
        | AddPortError::ExternalPortZeroInvalid
        | AddPortError::SamePortValuesRequired
        | AddPortError::OnlyPermanentLeasesSupported
        | AddPortError::DescriptionTooLong => NatFault::Refused,
        AddPortError::RequestError(error) => http::fault(error),
    }
}

const fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Tcp => PortMappingProtocol::TCP,
        Transport::Udp => PortMappingProtocol::UDP,
    }
}
