//! The packets of discovery v4 as bytes: the header with its hash and signature, and the six bodies.
//! No clocks, no state and no curves: a signature goes in and out as bytes.
//!
//! Follows devp2p `discv4.md`, "Wire Protocol", with the tolerance of EIP-8 (more list items and trailing bytes are
//! ignored) and the sequence numbers of EIP-868.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod enr;
mod find_node;
mod ping;

use bytes::{Bytes, BytesMut};
use identity::{PublicKey, Signature, keccak256, keccak256_concat, steps};
use rlp::{Rlp, RlpStream};

pub use enr::{EnrRequest, EnrResponse};
pub use find_node::{FindNode, MAX_NEIGHBORS, Neighbor, Neighbors};
pub use ping::{Ping, Pong, WireEndpoint};

/// The longest datagram, in bytes (`discv4.md`, "Wire Protocol").
pub const MAX_DATAGRAM_LEN: usize = 1280;

/// The shortest datagram, in bytes: hash, signature, kind and one byte of body.
pub const MIN_DATAGRAM_LEN: usize = HASH_LEN + SIGNATURE_LEN + 2;

const HASH_LEN: usize = 32;
const SIGNATURE_LEN: usize = 65;

/// Room for a packet that is no Neighbors, in bytes: a Ping over IPv6 has 160, a record of 300 gives 436.
const TYPICAL_LEN: usize = 448;

/// What RLP puts before a string of 64 bytes, and of 32 (yellow paper, appendix B).
const KEY_HEADER: [u8; 2] = [0xb8, 64];
const HASH_HEADER: [u8; 1] = [0x80 + 32];

/// What a packet is, by the byte after its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// `0x01`
    Ping = 1,
    /// `0x02`
    Pong = 2,
    /// `0x03`
    FindNode = 3,
    /// `0x04`
    Neighbors = 4,
    /// `0x05` (EIP-868)
    EnrRequest = 5,
    /// `0x06` (EIP-868)
    EnrResponse = 6,
}

impl PacketKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Ping,
            2 => Self::Pong,
            3 => Self::FindNode,
            4 => Self::Neighbors,
            5 => Self::EnrRequest,
            6 => Self::EnrResponse,
            _ => return None,
        })
    }

    /// Whether packets of this kind answer one of ours.
    pub const fn is_answer(self) -> bool {
        match self {
            Self::Pong | Self::Neighbors | Self::EnrResponse => true,
            Self::Ping | Self::FindNode | Self::EnrRequest => false,
        }
    }
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than [`MIN_DATAGRAM_LEN`].
    #[error("a datagram has at least {MIN_DATAGRAM_LEN} bytes, {found} found")]
    TooShort {
        /// Its length in bytes.
        found: usize,
    },
    /// Longer than [`MAX_DATAGRAM_LEN`].
    #[error("a datagram has at most {MAX_DATAGRAM_LEN} bytes, {found} found")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not one of the six kinds.
    #[error("packet kinds are 1 to 6, {found:#04x} found")]
    Kind {
        /// The byte.
        found: u8,
    },
    /// The first 32 bytes are not the hash of the rest.
    #[error("the hash does not match the packet")]
    Hash,
    /// A field is not the RLP that it should be.
    #[error("{kind:?}: malformed RLP in {field}")]
    Rlp {
        /// The packet.
        kind: PacketKind,
        /// The field, in the specification's words.
        field: &'static str,
    },
    /// An expiration past 2^63-1, which is no time.
    #[error("{kind:?}: expiration {found} is no time")]
    Expiration {
        /// The packet.
        kind: PacketKind,
        /// The number.
        found: u64,
    },
    /// The record of an answer is not of the form of EIP-778.
    #[error("EnrResponse: the record is malformed")]
    Record,
}

/// A datagram taken apart, its kind known and nothing else looked at.
///
/// ```text
/// hash: 32 bytes  signature: 65 bytes  kind: 1 byte  body: one RLP list, then ignored bytes
/// ```
/// The hash covers all that follows it; the signature is over `keccak256(kind || body)`.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The hash as it was sent; see [`Envelope::check_hash`].
    pub hash: [u8; 32],
    /// The signature as it was sent.
    pub signature: Signature,
    /// What the body is.
    pub kind: PacketKind,
    hashed: &'a [u8],
    signed: &'a [u8],
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes a datagram apart. Costs nothing: whoever goes on calls [`Envelope::check_hash`].
    ///
    /// # Errors
    /// `TooShort`, `TooLong` or `Kind`.
    pub fn read(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let found = datagram.len();
        if found > MAX_DATAGRAM_LEN {
            return Err(DecodeError::TooLong { found });
        }
        if found < MIN_DATAGRAM_LEN {
            return Err(DecodeError::TooShort { found });
        }
        let short = DecodeError::TooShort { found };
        let (hash, hashed) = datagram.split_first_chunk::<HASH_LEN>().ok_or(short)?;
        let (signature, signed) = hashed.split_first_chunk::<SIGNATURE_LEN>().ok_or(short)?;
        let (kind, body) = signed.split_first().ok_or(short)?;
        let kind = PacketKind::from_byte(*kind).ok_or(DecodeError::Kind { found: *kind })?;
        Ok(Self { hash: *hash, signature: Signature(*signature), kind, hashed, signed, body })
    }

    /// Compares the hash: about 4 µs for the longest datagram.
    ///
    /// # Errors
    /// `Hash`.
    pub fn check_hash(&self) -> Result<(), DecodeError> {
        if keccak256(self.hashed) == self.hash { Ok(()) } else { Err(DecodeError::Hash) }
    }

    /// What the signature is over.
    pub fn digest(&self) -> [u8; 32] {
        keccak256(self.signed)
    }

    /// Reads the body.
    ///
    /// # Errors
    /// `Rlp` with the field, `Expiration`, or `Record`.
    pub fn decode(&self) -> Result<Packet, DecodeError> {
        let items = Items::body(self.kind, self.body)?;
        Ok(match self.kind {
            PacketKind::Ping => Packet::Ping(Ping::decode(items)?),
            PacketKind::Pong => Packet::Pong(Pong::decode(items)?),
            PacketKind::FindNode => Packet::FindNode(FindNode::decode(items)?),
            PacketKind::Neighbors => Packet::Neighbors(Neighbors::decode(items)?),
            PacketKind::EnrRequest => Packet::EnrRequest(EnrRequest::decode(items)?),
            PacketKind::EnrResponse => Packet::EnrResponse(EnrResponse::decode(items)?),
        })
    }
}

/// A body that was read.
#[derive(Clone, Debug)]
pub enum Packet {
    /// Are you there?
    Ping(Ping),
    /// I am.
    Pong(Pong),
    /// Whom do you know near this key?
    FindNode(FindNode),
    /// These.
    Neighbors(Neighbors),
    /// What is your record?
    EnrRequest(EnrRequest),
    /// This.
    EnrResponse(EnrResponse),
}

impl Packet {
    /// When the packet ends, in Unix seconds; an `EnrResponse` has no end.
    pub const fn expiration(&self) -> Option<u64> {
        match self {
            Self::Ping(packet) => Some(packet.expiration),
            Self::Pong(packet) => Some(packet.expiration),
            Self::FindNode(packet) => Some(packet.expiration),
            Self::Neighbors(packet) => Some(packet.expiration),
            Self::EnrRequest(packet) => Some(packet.expiration),
            Self::EnrResponse(_) => None,
        }
    }
}

/// A packet of ours that lacks its signature and hash; the room for them is there.
#[derive(Clone, Debug)]
pub struct Unsigned(BytesMut);

impl Unsigned {
    /// Starts a body of `items` list items. The caller appends exactly so many.
    fn begin(kind: PacketKind, items: usize, capacity: usize) -> RlpStream {
        let mut buffer = BytesMut::with_capacity(capacity);
        buffer.extend_from_slice(&[0; HASH_LEN]);
        buffer.extend_from_slice(&[0; SIGNATURE_LEN]);
        buffer.extend_from_slice(&[kind as u8]);
        RlpStream::new_list_with_buffer(buffer, items)
    }

    fn finish(stream: RlpStream) -> Self {
        Self(stream.out())
    }

    /// What is to be signed.
    pub fn digest(&self) -> [u8; 32] {
        keccak256(self.0.get(HASH_LEN.saturating_add(SIGNATURE_LEN)..).unwrap_or_default())
    }

    /// The length of the datagram, in bytes.
    pub fn datagram_len(&self) -> usize {
        self.0.len()
    }

    /// Puts the signature and the hash in. Returns the datagram and its hash.
    pub fn seal(mut self, signature: &Signature) -> (Bytes, [u8; 32]) {
        let (_, rest) = self.0.split_at_mut(HASH_LEN);
        let (room, signed) = rest.split_at_mut(SIGNATURE_LEN);
        room.copy_from_slice(&signature.0);
        let hash = keccak256_concat(&[&signature.0, signed]);
        let (room, _) = self.0.split_at_mut(HASH_LEN);
        room.copy_from_slice(&hash);
        (self.0.freeze(), hash)
    }
}

/// Appends a key at once: [`RlpStream::append`] goes byte by byte, which most of the time of a Neighbors would go to.
fn append_key(stream: &mut RlpStream, key: &PublicKey) {
    stream.append_raw(&KEY_HEADER, 0).append_raw(key.as_bytes(), 1);
}

/// Appends a hash at once.
fn append_hash(stream: &mut RlpStream, hash: &[u8; HASH_LEN]) {
    stream.append_raw(&HASH_HEADER, 0).append_raw(hash, 1);
}

/// The items of an RLP list, one after the other; nothing behind the last one asked for is looked at.
struct Items<'a> {
    kind: PacketKind,
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// The list that a body starts with; bytes behind it are ignored (EIP-8).
    fn body(kind: PacketKind, body: &'a [u8]) -> Result<Self, DecodeError> {
        Self { kind, rest: body }.list("the body")
    }

    /// The next item, whatever it is. None at the end of the list.
    fn item(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        steps::step();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let error = DecodeError::Rlp { kind: self.kind, field };
        let len = Rlp::new(self.rest).payload_info().map_err(|_| error)?.total();
        let (item, rest) = self.rest.split_at_checked(len).ok_or(error)?;
        self.rest = rest;
        Ok(Some(item))
    }

    fn required(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.item(field)?.ok_or(DecodeError::Rlp { kind: self.kind, field })
    }

    /// The next item, a list.
    fn list(&mut self, field: &'static str) -> Result<Self, DecodeError> {
        let error = DecodeError::Rlp { kind: self.kind, field };
        let item = Rlp::new(self.required(field)?);
        if !item.is_list() {
            return Err(error);
        }
        let header_len = item.payload_info().map_err(|_| error)?.header_len;
        let rest = item.as_raw().get(header_len..).ok_or(error)?;
        Ok(Self { kind: self.kind, rest })
    }

    /// The next item, a canonical integer.
    fn number<T: rlp::Decodable>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        let item = self.required(field)?;
        Rlp::new(item).as_val().map_err(|_| DecodeError::Rlp { kind: self.kind, field })
    }

    /// The next item, a string, in its canonical form.
    fn string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let error = DecodeError::Rlp { kind: self.kind, field };
        let item = self.required(field)?;
        let len = Rlp::new(item).decoder().decode_value(|value| Ok(value.len())).map_err(|_| error)?;
        let header_len = item.len().checked_sub(len).ok_or(error)?;
        item.get(header_len..).ok_or(error)
    }

    /// The next item, a string of `N` bytes.
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.string(field)?.try_into().map_err(|_| DecodeError::Rlp { kind: self.kind, field })
    }

    fn expiration(&mut self) -> Result<u64, DecodeError> {
        let found = self.number("expiration")?;
        // Go reads it as a signed number, so the upper half would be long past there and far ahead elsewhere.
        if i64::try_from(found).is_ok() {
            Ok(found)
        } else {
            Err(DecodeError::Expiration { kind: self.kind, found })
        }
    }

    /// The sequence number of EIP-868, when one is there; 0 says that there is no record. A list in its place is an item
    /// of a later version.
    fn sequence(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.first().is_none_or(|first| *first >= 0xc0) {
            return Ok(None);
        }
        let found = self.number("enr-seq")?;
        Ok((found > 0).then_some(found))
    }
}

#[cfg(test)]
mod tests;
