//! EnrRequest and EnrResponse: a node's record, asked for and given. The record itself is identity's (`record.rs`);
//! whether it is its sender's and newer is `discovery/answers.rs`. `discv4.md`, "ENRRequest Packet (0x05)" and
//! "ENRResponse Packet (0x06)"; EIP-868.

use identity::{Enr, UnverifiedEnr};

use super::{DecodeError, Items, PacketKind, TYPICAL_LEN, Unsigned, append_hash};

/// Asks for the receiver's record.
///
/// ```text
/// [expiration]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrRequest {
    /// When the packet ends, Unix seconds, at most 2^63-1.
    pub expiration: u64,
}

impl EnrRequest {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        Ok(Self { expiration: items.expiration()? })
    }

    /// Encodes an EnrRequest of ours.
    pub fn encode(expiration: u64) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::EnrRequest, 1, TYPICAL_LEN);
        stream.append(&expiration);
        Unsigned::finish(stream)
    }
}

/// Answers an EnrRequest. It has no expiration: the hash of the request stands for it.
///
/// ```text
/// [request-hash: 32 bytes, record: at most 300 bytes]
/// ```
#[derive(Clone, Debug)]
pub struct EnrResponse {
    /// The hash of the request's datagram.
    pub request_hash: [u8; 32],
    /// The record, of the right form; its signature is checked as work on the curve.
    pub record: Box<UnverifiedEnr>,
}

impl EnrResponse {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let request_hash = items.array("request-hash")?;
        let record = UnverifiedEnr::decode(items.required("record")?).map_err(|_| DecodeError::Record)?;
        Ok(Self { request_hash, record: Box::new(record) })
    }

    /// Encodes an EnrResponse of ours.
    pub fn encode(request_hash: &[u8; 32], record: &Enr) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::EnrResponse, 2, TYPICAL_LEN);
        append_hash(&mut stream, request_hash);
        stream.append_raw(record.encoded(), 1);
        Unsigned::finish(stream)
    }
}
