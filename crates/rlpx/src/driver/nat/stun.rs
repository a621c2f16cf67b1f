//! A STUN binding (RFC 8489): what address a server sees us at. The messages are the crate `stun_types`'s; here they are
//! sent, sent again, and matched. The port that a server sees is of a socket of its own and says nothing.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng, seq::SliceRandom};
use stun_types::{
    attribute::XorMappedAddress,
    message::{BINDING, Message, MessageClass, MessageWrite, MessageWriteVec, TransactionId},
};
use tokio::{
    net::{UdpSocket, lookup_host},
    time::timeout,
};

use super::local;
use crate::nat::{Found, NatFault, OPERATION_TIMEOUT, STUN_PORT, ServiceKind, StunServer};

/// Public servers, for who names none: of operators that offer them to everybody. Asked only with `--nat stun`.
const PUBLIC: [(&str, u16); 4] = [
    ("stun.cloudflare.com", STUN_PORT),
    ("stun.l.google.com", 19_302),
    ("stun.nextcloud.com", STUN_PORT),
    ("stun.sipgate.net", STUN_PORT),
];

/// Servers of [`PUBLIC`] tried in one search, by lot (go-ethereum, three).
const MAX_TRIES: usize = 3;

/// Waits for an answer, after each of which the request is sent again (RFC 8489, section 6.2.1: 500 ms, doubled);
/// together less than [`OPERATION_TIMEOUT`].
const WAITS: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(800), Duration::from_millis(1_600)];

/// The longest answer read, in bytes: one datagram of an Ethernet.
const MAX_ANSWER_LEN: usize = 1_500;

/// A server that has answered.
pub(super) struct Stun(SocketAddr);

impl Stun {
    pub(super) async fn find(at: Option<&StunServer>, listen: IpAddr) -> Result<(Self, Found), NatFault> {
        if let Some(StunServer { host, port }) = at {
            return Self::named(host, *port, listen).await;
        }
        let mut servers = PUBLIC;
        servers.shuffle(&mut UnwrapErr(SysRng));
        let mut last = NatFault::Silent;
        for (host, port) in servers.into_iter().take(MAX_TRIES) {
            match Self::named(host, port, listen).await {
                Ok(found) => return Ok(found),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn named(host: &str, port: u16, listen: IpAddr) -> Result<(Self, Found), NatFault> {
        let asked = async {
            let addresses = lookup_host((host, port)).await.map_err(|_| NatFault::Unreachable)?;
            let mut same_family = addresses.filter(|address| address.is_ipv4() == listen.is_ipv4());
            let found = Self(same_family.next().ok_or(NatFault::Unreachable)?);
            let ip = found.address().await?;
            Ok((found, Found { kind: ServiceKind::Stun, ip: Some(ip) }))
        };
        timeout(OPERATION_TIMEOUT, asked).await.unwrap_or(Err(NatFault::Silent))
    }

    pub(super) async fn address(&self) -> Result<IpAddr, NatFault> {
        let socket = UdpSocket::bind((local::any(self.0), 0)).await.map_err(|_| NatFault::Unreachable)?;
        // Connected: datagrams from elsewhere are not read.
        socket.connect(self.0).await.map_err(|_| NatFault::Unreachable)?;
        let mut random = UnwrapErr(SysRng);
        let id = u128::from(random.next_u64()) | u128::from(random.next_u64()) << u64::BITS;
        let id = TransactionId::from(id);
        let request = Message::builder(request_type(), id, MessageWriteVec::new()).finish();
        let mut fault = NatFault::Silent;
        for wait in WAITS {
            socket.send(&request).await.map_err(|_| NatFault::Unreachable)?;
            let answer = async {
                loop {
                    match answer(&socket, id).await {
                        Err(NatFault::Malformed) => fault = NatFault::Malformed,
                        outcome => return outcome,
                    }
                }
            };
            if let Ok(outcome) = timeout(wait, answer).await {
                return outcome;
            }
        }
        Err(fault)
    }
}

async fn answer(socket: &UdpSocket, id: TransactionId) -> Result<IpAddr, NatFault> {
    let mut answer = [0; MAX_ANSWER_LEN];
    let len = socket.recv(&mut answer).await.map_err(|_| NatFault::Unreachable)?;
    told(answer.get(..len).unwrap_or_default(), id)
}

/// The address in `answer` to the request `id`.
fn told(answer: &[u8], id: TransactionId) -> Result<IpAddr, NatFault> {
    let message = Message::from_bytes(answer).map_err(|_| NatFault::Malformed)?;
    if message.transaction_id() != id || message.method() != BINDING || !message.is_response() {
        return Err(NatFault::Malformed);
    }
    if message.has_class(MessageClass::Error) {
        return Err(NatFault::Refused);
    }
    let mapped = message.attribute::<XorMappedAddress>().map_err(|_| NatFault::Malformed)?;
    Ok(mapped.addr(id).ip())
}

fn request_type() -> stun_types::message::MessageType {
    stun_types::message::MessageType::from_class_method(MessageClass::Request, BINDING)
}

#[cfg(test)]
mod tests {
    use stun_types::message::MessageWriteExt;

    use super::*;

    const ID: u128 = 7;

    fn response(id: u128, address: SocketAddr) -> Vec<u8> {
        let request = Message::builder(request_type(), id.into(), MessageWriteVec::new()).finish();
        let request = Message::from_bytes(&request).unwrap();
        let mut message = Message::builder_success(&request, MessageWriteVec::new());
        message.add_attribute(&XorMappedAddress::new(address, id.into())).unwrap();
        message.finish()
    }

    #[test]
    fn s13_an_answer_with_any_byte_changed_or_cut_tells_no_panic() {
        let whole = response(ID, "11.22.33.44:5".parse().unwrap());
        assert_eq!(told(&whole, ID.into()), Ok([11, 22, 33, 44].into()));
        assert_eq!(told(&whole, 8.into()), Err(NatFault::Malformed));
        for len in 0..whole.len() {
            assert_eq!(told(&whole[..len], ID.into()), Err(NatFault::Malformed));
        }
        for (index, flip) in (0..whole.len()).flat_map(|index| (0..8).map(move |bit| (index, 1_u8 << bit))) {
            let mut changed = whole.clone();
            changed[index] ^= flip;
            let _any = told(&changed, ID.into());
        }
    }
}
