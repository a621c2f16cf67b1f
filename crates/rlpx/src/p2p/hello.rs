//! Hello: the first message of a session. Whether its key and capabilities will do is `session/ingress.rs`.
//! devp2p specification, `rlpx.md`, "Hello (0x00)"; additional list items are ignored as EIP-8 asks.

use identity::{PublicKey, steps};
use rlp::{Rlp, RlpStream};

use super::append_string;
use crate::{
    capability::{Capability, CapabilityName},
    error::{DecodeError, Fault, Incompatibility, SessionError, What},
};

/// Capabilities kept of a Hello; further ones are ignored. Clients announce fewer than ten.
pub const MAX_CAPABILITIES: usize = 64;

/// Length of a node key on the wire, in bytes.
const KEY_LEN: usize = 64;

/// What a node says of itself.
///
/// ```text
/// [protocol_version: int, client_name: text, [[name: text, version: int], ...], listen_port: int, key: 64 bytes, ...]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the base protocol; payloads are compressed when both have 5 or more.
    pub protocol_version: u64,
    /// The client's name as it tells it; unprintable bytes replaced. At most 2 KiB, to be escaped where shown.
    pub client_name: String,
    /// What the node offers. Received: at most 64, sorted, without duplicates and without what cannot be a capability.
    pub capabilities: Vec<Capability>,
    /// The TCP port it says to listen on; 0 for none or unknown. Most clients send 0.
    pub listen_port: u16,
    /// The node's key.
    pub public_key: PublicKey,
}

impl Hello {
    /// The message's payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut stream = RlpStream::new_list(5);
        stream.append(&self.protocol_version).append(&self.client_name).begin_list(self.capabilities.len());
        for capability in &self.capabilities {
            stream.begin_list(2).append(&capability.name.as_str()).append(&capability.version);
        }
        append_string(stream.append(&self.listen_port), self.public_key.as_bytes());
        stream.out().to_vec()
    }

    /// Reads a payload. Odd capabilities and an odd port are no error: honest clients have sent both.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, SessionError> {
        let list = exact_list(payload).ok_or(MALFORMED)?;
        let item = |index| list.at(index).map_err(|_| MALFORMED);
        let client_name =
            item(1)?.decoder().decode_value(|bytes| Ok(String::from_utf8_lossy(bytes).into_owned()));
        let capabilities = item(2)?;
        if !capabilities.is_list() {
            return Err(MALFORMED);
        }
        Ok(Self {
            protocol_version: item(0)?.as_val().map_err(|_| MALFORMED)?,
            client_name: client_name.map_err(|_| MALFORMED)?,
            capabilities: decode_capabilities(&capabilities),
            listen_port: item(3)?.as_val().unwrap_or(0),
            public_key: decode_key(&item(4)?)?,
        })
    }
}

const MALFORMED: SessionError = SessionError::Malformed(DecodeError::new(What::Hello, Fault::Rlp));

/// The list that `payload` opens with; bytes after it are ignored.
pub(crate) fn exact_list(payload: &[u8]) -> Option<Rlp<'_>> {
    let len = Rlp::new(payload).payload_info().ok()?.total();
    // Cut to length: the reader's cursor would run on into what follows the list.
    let list = Rlp::new(payload.get(..len)?);
    list.is_list().then_some(list)
}

fn decode_capabilities(list: &Rlp<'_>) -> Vec<Capability> {
    let mut capabilities: Vec<Capability> = list.iter().filter_map(|item| decode_capability(&item)).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities.truncate(MAX_CAPABILITIES);
    capabilities
}

/// None for what cannot be a capability of ours: no pair, a name of 0 or more than 8 characters, a huge version.
fn decode_capability(item: &Rlp<'_>) -> Option<Capability> {
    steps::step();
    let name = item.at(0).ok()?;
    let name = name.decoder().decode_value(|bytes| Ok(CapabilityName::new(bytes))).ok()?.ok()?;
    Some(Capability { name, version: item.at(1).ok()?.as_val().ok()? })
}

fn decode_key(item: &Rlp<'_>) -> Result<PublicKey, SessionError> {
    let key: Option<[u8; KEY_LEN]> =
        item.decoder().decode_value(|bytes| Ok(bytes.try_into().ok())).map_err(|_| MALFORMED)?;
    let key = key.filter(|key| *key != [0; KEY_LEN]);
    key.map(PublicKey::from_bytes).ok_or(SessionError::Incompatible(Incompatibility::NoIdentity))
}
