//! NAT-PMP (RFC 6886) and PCP (RFC 6887), which the crate `crab_nat` speaks: here its limits are set and its outcomes
//! are read. Both ask the default gateway on one UDP port, which has no choice of another.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig, VersionCode, natpmp,
    pcp,
};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};

use super::local;
use crate::nat::{Found, Grant, MapRequest, NatFault, OPERATION_TIMEOUT, ServiceKind, Transport};

/// When an unanswered request is sent again, and then after twice as long (RFC 6886, section 3.1, which begins at
/// 250 ms): three of them fit into [`OPERATION_TIMEOUT`].
const FIRST_RESEND: Duration = Duration::from_millis(400);

/// Requests after the first one.
const MAX_RESENDS: usize = 2;

const TIMEOUTS: TimeoutConfig = TimeoutConfig {
    initial_timeout: FIRST_RESEND,
    max_retries: MAX_RESENDS,
    max_retry_timeout: Some(OPERATION_TIMEOUT),
};

/// A gateway that speaks NAT-PMP.
pub(super) struct NatPmp(IpAddr);

impl NatPmp {
    pub(super) async fn find(at: Option<IpAddr>) -> Result<(Self, Found), NatFault> {
        let found = Self(gateway(at).await?);
        let ip = found.address().await?;
        Ok((found, Found { kind: ServiceKind::NatPmp, ip: Some(ip) }))
    }

    pub(super) async fn address(&self) -> Result<IpAddr, NatFault> {
        let told = natpmp::external_address(self.0.into(), Some(TIMEOUTS)).await;
        told.map(IpAddr::V4).map_err(|failure| pmp_fault(&failure))
    }

    pub(super) async fn map(&self, request: MapRequest) -> Result<Grant, NatFault> {
        let internal = port(request.internal)?;
        let granted =
            natpmp::port_mapping(self.0.into(), protocol(request.transport), internal, options(request))
                .await;
        let mapping = granted.map_err(|failure| pmp_fault(&failure))?;
        let lease = Duration::from_secs(mapping.lifetime().into());
        Ok(Grant { external: mapping.external_port().get(), lease, ip: None })
    }

    pub(super) async fn unmap(&self, request: MapRequest) -> Result<(), NatFault> {
        let (transport, internal) = (protocol(request.transport), port(request.internal)?);
        let dropped =
            natpmp::try_drop_mapping(self.0.into(), transport, Some(internal), Some(TIMEOUTS)).await;
        dropped.map_err(|failure| pmp_fault(&failure))
    }
}

/// A gateway that speaks PCP.
pub(super) struct Pcp {
    gateway: IpAddr,
    /// Ourselves as the gateway sees us.
    client: IpAddr,
    /// What shows that a later request about a mapping is ours (RFC 6887, section 11.1).
    nonce: pcp::Nonce,
}

impl Pcp {
    /// Looks whether the gateway speaks PCP by removing a mapping that is not there: it must then say so, and nothing has
    /// changed (RFC 6887, section 15.1).
    pub(super) async fn find(at: Option<IpAddr>, probe: u16) -> Result<(Self, Found), NatFault> {
        let gateway = gateway(at).await?;
        let client = local::toward(SocketAddr::new(gateway, GATEWAY_PORT)).await?;
        let mut random = UnwrapErr(SysRng);
        let nonce = [random.next_u32(), random.next_u32(), random.next_u32()];
        let found = Self { gateway, client, nonce };
        let answered = found.remove(Transport::Tcp, probe).await;
        match answered {
            // A mapping of an earlier run, whose nonce is lost, is no obstacle: the next port will do.
            Ok(()) | Err(NatFault::Refused) => Ok((found, Found { kind: ServiceKind::Pcp, ip: None })),
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn map(&self, request: MapRequest) -> Result<Grant, NatFault> {
        let (transport, internal) = (protocol(request.transport), port(request.internal)?);
        let base = pcp::BaseMapRequest::new(self.gateway.into(), self.client, transport, internal);
        let granted = pcp::port_mapping(base, Some(self.nonce), None, options(request)).await;
        let mapping = granted.map_err(|failure| pcp_fault(&failure))?;
        let ip = match mapping.mapping_type() {
            PortMappingType::Pcp { external_ip, .. } => Some(external_ip),
            PortMappingType::NatPmp => None,
        };
        let lease = Duration::from_secs(mapping.lifetime().into());
        Ok(Grant { external: mapping.external_port().get(), lease, ip })
    }

    pub(super) async fn unmap(&self, request: MapRequest) -> Result<(), NatFault> {
        self.remove(request.transport, request.internal).await
    }

    async fn remove(&self, transport: Transport, internal: u16) -> Result<(), NatFault> {
        let range =
            pcp::DropMappingRange::Single { internal_port: port(internal)?, protocol: protocol(transport) };
        let gateway = self.gateway.into();
        let dropped = pcp::try_drop_mapping(gateway, self.client, self.nonce, range, Some(TIMEOUTS)).await;
        dropped.map_err(|failure| pcp_fault(&failure))
    }
}

async fn gateway(at: Option<IpAddr>) -> Result<IpAddr, NatFault> {
    match at {
        Some(gateway) => Ok(gateway),
        None => local::default_gateway().await,
    }
}

fn options(request: MapRequest) -> PortMappingOptions {
    PortMappingOptions {
        external_port: NonZeroU16::new(request.external),
        lifetime_seconds: u32::try_from(request.lease.as_secs()).ok(),
        timeout_config: Some(TIMEOUTS),
    }
}

/// A node that listens has a port.
fn port(number: u16) -> Result<NonZeroU16, NatFault> {
    NonZeroU16::new(number).ok_or(NatFault::Refused)
}

const fn protocol(transport: Transport) -> InternetProtocol {
    match transport {
        Transport::Tcp => InternetProtocol::Tcp,
        Transport::Udp => InternetProtocol::Udp,
    }
}

fn pmp_fault(failure: &natpmp::Failure) -> NatFault {
    match failure {
        natpmp::Failure::Socket(_) => NatFault::Unreachable,
        natpmp::Failure::Timeout => NatFault::Silent,
        natpmp::Failure::InvalidResponse(_) => NatFault::Malformed,
        natpmp::Failure::UnsupportedVersion(_)
        | natpmp::Failure::NotAuthorized
        | natpmp::Failure::NetworkFailure
        | natpmp::Failure::OutOfResources
        | natpmp::Failure::UnsupportedOpcode => NatFault::Refused,
    }
}

fn pcp_fault(failure: &pcp::Failure) -> NatFault {
    match failure {
        pcp::Failure::Socket(_) => NatFault::Unreachable,
        pcp::Failure::Timeout => NatFault::Silent,
        // Whoever answers so speaks something else.
        pcp::Failure::UnsupportedVersion(VersionCode::NatPmp | VersionCode::Pcp)
        | pcp::Failure::Nonce
        | pcp::Failure::InvalidResponse(_) => NatFault::Malformed,
        pcp::Failure::CannotProvideExternal(_) => NatFault::PortTaken,
        pcp::Failure::NotAuthorized(_)
        | pcp::Failure::MalformedRequest
        | pcp::Failure::UnsupportedOpcode
        | pcp::Failure::UnsupportedOption
        | pcp::Failure::MalformedOption
        | pcp::Failure::NetworkFailure(_)
        | pcp::Failure::NoResources(_)
        | pcp::Failure::UnsupportedProtocol
        | pcp::Failure::UserExceededQuota(_)
        | pcp::Failure::AddressMismatch
        | pcp::Failure::ExcessiveRemotePeers => NatFault::Refused,
    }
}
