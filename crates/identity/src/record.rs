//! Ethereum Node Records (EIP-778). Form is checked here; signing, verifying and the text form are the crate `enr`'s.
//!
//! Decoding checks form only: the signature is work on the curve, so it leaves a machine as a job
//! ([`CurveOp::Verify`](crate::curve::CurveOp::Verify)) and comes back as an [`Enr`], which is always verified.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr, sync::Arc};

use alloy_rlp::{Decodable, Encodable};
use bytes::Bytes;
use rlp::{DecoderError, Rlp, RlpStream};
use secp256k1::SecretKey;

use crate::{AddressClass, Endpoint, NodeId, NodeKey, PublicKey, steps};

/// The longest encoded record, in bytes (EIP-778).
pub const MAX_ENR_LEN: usize = 300;

/// The longest text form: `enr:` and the base64 of [`MAX_ENR_LEN`] bytes.
const MAX_TEXT_LEN: usize = 4 + MAX_ENR_LEN.div_ceil(3) * 4;

/// Why bytes or a text are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrError {
    /// Over [`MAX_ENR_LEN`] bytes.
    #[error("a node record has at most {MAX_ENR_LEN} bytes, {found} found")]
    TooLong {
        /// The length of what was given.
        found: usize,
    },
    /// The text is not `enr:` and base64.
    #[error("not a node record: write enr:<base64>")]
    Text,
    /// The RLP is malformed.
    #[error("malformed node record: {0}")]
    Rlp(#[from] DecoderError),
    /// The RLP is well-formed, but not of a record.
    #[error("malformed node record: {0}")]
    Form(&'static str),
    /// The record's key is no point, or the signature is not the key's.
    #[error("the signature of the node record is wrong")]
    Signature,
}

/// A record of the right form whose signature nobody has checked yet.
///
/// ```text
/// [signature: 64 bytes, seq: at most 8 bytes, key, value, key, value, ...]   keys sorted and unique
/// ```
#[derive(Clone, Debug)]
pub struct UnverifiedEnr {
    encoded: Bytes,
    seq: u64,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl UnverifiedEnr {
    /// Reads the RLP of a record, at most [`MAX_ENR_LEN`] bytes with nothing behind it.
    ///
    /// # Errors
    /// `TooLong`, `Rlp`, or `Form` when keys are unsorted, the identity is not `v4` or an entry has the wrong form.
    pub fn decode(encoded: &[u8]) -> Result<Self, EnrError> {
        if encoded.len() > MAX_ENR_LEN {
            return Err(EnrError::TooLong { found: encoded.len() });
        }
        let record = Rlp::new(encoded);
        if !record.is_list() || record.payload_info()?.total() != encoded.len() {
            return Err(EnrError::Form("not one list"));
        }
        if !has_pairs(encoded)? {
            return Err(EnrError::Form(
                "a signature, a sequence number and pairs of key and value are expected",
            ));
        }
        if string(&record.at(0)?)?.len() != 64 {
            return Err(EnrError::Form("a signature has 64 bytes"));
        }
        let seq = record.val_at(1)?;
        let form = Form::read(encoded)?;
        Ok(Self {
            encoded: Bytes::copy_from_slice(encoded),
            seq,
            v4: form.endpoint_v4(),
            v6: form.endpoint_v6(),
        })
    }

    /// The bytes that were decoded.
    pub const fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The sequence number, not yet to be believed.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Checks the signature: about 40 µs of work on the curve.
    ///
    /// # Errors
    /// [`EnrError::Signature`] when the key is no point or the signature is not the key's.
    pub fn verify(self) -> Result<Enr, EnrError> {
        let verified =
            enr::Enr::<SecretKey>::decode(&mut &self.encoded[..]).map_err(|_| EnrError::Signature)?;
        let key = PublicKey::from(&verified.public_key());
        Ok(self.assume_signed_by(key))
    }

    /// Takes the record as signed by `key` without looking: for simulations that answer curve jobs without curves.
    pub fn assume_signed_by(self, key: PublicKey) -> Enr {
        Enr(Arc::new(Verified { record: self, node_id: key.node_id(), public_key: key }))
    }
}

/// The entries of a record whose form EIP-778 fixes.
#[derive(Default)]
struct Form {
    ip: Option<[u8; 4]>,
    ip6: Option<[u8; 16]>,
    tcp: Option<u16>,
    udp: Option<u16>,
    tcp6: Option<u16>,
    udp6: Option<u16>,
}

impl Form {
    fn read(encoded: &[u8]) -> Result<Self, EnrError> {
        let (mut form, mut previous, mut is_v4, mut has_key) = (Self::default(), None, false, false);
        for (key, value) in pairs(encoded) {
            let key = string(&key)?;
            if previous.is_some_and(|previous| previous >= key) {
                return Err(EnrError::Form("keys are not sorted and unique"));
            }
            previous = Some(key);
            match key {
                b"id" => is_v4 = string(&value)? == b"v4",
                b"secp256k1" => has_key = matches!(string(&value)?, [2 | 3, x @ ..] if x.len() == 32),
                b"ip" => form.ip = Some(address(string(&value)?)?),
                b"ip6" => form.ip6 = Some(address(string(&value)?)?),
                b"tcp" => form.tcp = Some(value.as_val()?),
                b"udp" => form.udp = Some(value.as_val()?),
                b"tcp6" => form.tcp6 = Some(value.as_val()?),
                b"udp6" => form.udp6 = Some(value.as_val()?),
                _ => {}
            }
        }
        match (is_v4, has_key) {
            (true, true) => Ok(form),
            (false, _) => Err(EnrError::Form("the identity scheme is not v4")),
            (true, false) => Err(EnrError::Form("the entry secp256k1 is no compressed key")),
        }
    }

    fn endpoint_v4(&self) -> Option<Endpoint> {
        let ip = IpAddr::from(self.ip?);
        Some(Endpoint { ip, udp: self.udp.unwrap_or(0), tcp: self.tcp.unwrap_or(0) })
    }

    fn endpoint_v6(&self) -> Option<Endpoint> {
        let ip = IpAddr::from(self.ip6?);
        let (udp, tcp) = (self.udp6.or(self.udp).unwrap_or(0), self.tcp6.or(self.tcp).unwrap_or(0));
        Some(Endpoint { ip, udp, tcp })
    }
}

/// The items of a list, one after the other: nothing is collected, for small items would take fifty times their length.
struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Those of an encoded record.
    fn of(encoded: &'a [u8]) -> Result<Self, DecoderError> {
        let header_len = Rlp::new(encoded).payload_info()?.header_len;
        Ok(Self { rest: encoded.get(header_len..).unwrap_or_default() })
    }

    /// The next item. None at the end.
    fn next(&mut self) -> Result<Option<Rlp<'a>>, DecoderError> {
        steps::step();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let len = Rlp::new(self.rest).payload_info()?.total();
        let (item, rest) = self.rest.split_at_checked(len).ok_or(DecoderError::RlpIsTooShort)?;
        if matches!(item, [0x81, ..=0x7f]) {
            return Err(DecoderError::RlpInvalidIndirection);
        }
        self.rest = rest;
        Ok(Some(Rlp::new(item)))
    }
}

/// Whether a record is a signature, a sequence number and pairs, every item of it well-formed.
fn has_pairs(encoded: &[u8]) -> Result<bool, DecoderError> {
    let (mut items, mut count) = (Items::of(encoded)?, 0u32);
    while items.next()?.is_some() {
        count += 1;
    }
    Ok(count >= 2 && count.is_multiple_of(2))
}

/// The keys and values of an encoded record that has pairs, one pass.
fn pairs(encoded: &[u8]) -> impl Iterator<Item = (Rlp<'_>, Rlp<'_>)> {
    let mut items = Items::of(encoded).unwrap_or(Items { rest: &[] });
    let mut next = move || items.next().ok().flatten();
    let _signature_and_seq = (next(), next());
    std::iter::from_fn(move || next().zip(next()))
}

/// The bytes of an item that has to be a string.
fn string<'a>(item: &Rlp<'a>) -> Result<&'a [u8], DecoderError> {
    if item.is_list() { Err(DecoderError::RlpExpectedToBeData) } else { item.data() }
}

fn address<const N: usize>(bytes: &[u8]) -> Result<[u8; N], EnrError> {
    bytes.try_into().map_err(|_| EnrError::Form("an address has the wrong length"))
}

#[derive(Debug)]
struct Verified {
    record: UnverifiedEnr,
    public_key: PublicKey,
    node_id: NodeId,
}

/// A node record with a valid signature. Cheap to clone.
#[derive(Clone)]
pub struct Enr(Arc<Verified>);

impl Enr {
    /// The RLP of the record as it was signed.
    pub fn encoded(&self) -> &Bytes {
        &self.0.record.encoded
    }

    /// The sequence number: a record with a higher one replaces this one.
    pub fn seq(&self) -> u64 {
        self.0.record.seq
    }

    /// Who signed it.
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key
    }

    /// The signer's id.
    pub fn node_id(&self) -> NodeId {
        self.0.node_id
    }

    /// The RLP value of the entry `key`.
    pub fn entry(&self, key: &str) -> Option<&[u8]> {
        self.entries().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// Every key with its RLP value, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(self.encoded()).filter_map(|(key, value)| Some((key.data().ok()?, value.as_raw())))
    }

    /// The IPv4 endpoint: `ip`, `udp`, `tcp`; a missing port is 0.
    pub fn endpoint_v4(&self) -> Option<Endpoint> {
        self.0.record.v4
    }

    /// The IPv6 endpoint: `ip6`, `udp6`, `tcp6`; a missing port is that of IPv4.
    pub fn endpoint_v6(&self) -> Option<Endpoint> {
        self.0.record.v6
    }

    /// The endpoint that reaches furthest, IPv4 when both do.
    pub fn endpoint(&self) -> Option<Endpoint> {
        match (self.endpoint_v4(), self.endpoint_v6()) {
            (Some(v4), Some(v6)) => Some(if reach(v6.ip) > reach(v4.ip) { v6 } else { v4 }),
            (v4, v6) => v4.or(v6),
        }
    }
}

fn reach(ip: IpAddr) -> u8 {
    match AddressClass::of(ip) {
        AddressClass::Special => 0,
        AddressClass::Loopback => 1,
        AddressClass::Lan => 2,
        AddressClass::Global => 3,
    }
}

impl PartialEq for Enr {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl Eq for Enr {}

impl fmt::Display for Enr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match enr::Enr::<SecretKey>::decode(&mut &self.encoded()[..]) {
            Ok(record) => f.write_str(&record.to_base64()),
            // Only a simulation has a record that does not verify.
            Err(_) => write!(f, "{self:?}"),
        }
    }
}

impl fmt::Debug for Enr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enr({:?}, seq {}, {:?})", self.node_id(), self.seq(), self.endpoint())
    }
}

impl FromStr for Enr {
    type Err = EnrError;

    /// Reads and verifies `enr:<base64>`.
    fn from_str(text: &str) -> Result<Self, EnrError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(EnrError::TooLong { found: text.len() });
        }
        if !text.starts_with("enr:") {
            return Err(EnrError::Text);
        }
        let record: enr::Enr<SecretKey> = text.parse().map_err(|_| EnrError::Text)?;
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        UnverifiedEnr::decode(&encoded)?.verify()
    }
}

/// Collects the entries of a node's own record.
#[derive(Clone, Debug)]
pub struct EnrBuilder {
    seq: u64,
    entries: BTreeMap<String, Bytes>,
}

impl EnrBuilder {
    /// An empty record with the sequence number `seq`.
    pub const fn new(seq: u64) -> Self {
        Self { seq, entries: BTreeMap::new() }
    }

    /// Sets `ip` or `ip6` and the ports that are not 0.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        let (ip_key, udp_key, tcp_key, ip) = match endpoint.ip {
            IpAddr::V4(ip) => ("ip", "udp", "tcp", rlp::encode(&ip.octets().as_slice())),
            IpAddr::V6(ip) => ("ip6", "udp6", "tcp6", rlp::encode(&ip.octets().as_slice())),
        };
        self.entries.insert(ip_key.to_owned(), ip.freeze());
        for (key, port) in [(udp_key, endpoint.udp), (tcp_key, endpoint.tcp)] {
            if port != 0 {
                self.entries.insert(key.to_owned(), rlp::encode(&port).freeze());
            }
        }
        self
    }

    /// Sets the entry `key` to a value that is RLP already.
    #[must_use]
    pub fn entry(mut self, key: &str, value: Bytes) -> Self {
        self.entries.insert(key.to_owned(), value);
        self
    }

    /// Signs the record.
    ///
    /// # Errors
    /// [`EnrError::TooLong`] when the entries do not fit, `Form` or `Rlp` when one is of the wrong form.
    pub fn sign(&self, key: &NodeKey) -> Result<Enr, EnrError> {
        let mut builder = enr::Enr::<SecretKey>::builder();
        builder.seq(self.seq);
        for (name, value) in &self.entries {
            builder.add_value_rlp(name, value.clone());
        }
        let mut secret = key.secret_key();
        let signed = builder.build(&secret);
        secret.non_secure_erase();
        let signed = signed.map_err(|error| {
            let too_long = error == enr::Error::ExceedsMaxSize;
            if too_long {
                EnrError::TooLong { found: MAX_ENR_LEN + 1 }
            } else {
                EnrError::Form("an entry is no RLP of its kind")
            }
        })?;
        let mut encoded = Vec::new();
        signed.encode(&mut encoded);
        Ok(UnverifiedEnr::decode(&encoded)?.assume_signed_by(key.public_key()))
    }

    /// The record of the node with `key` under a signature that is not looked at: for simulations that answer curve jobs
    /// without curves. Unlike [`EnrBuilder::sign`] it gives the same bytes each time.
    ///
    /// # Errors
    /// As [`EnrBuilder::sign`].
    pub fn assume_signed(&self, key: &PublicKey, signature: &[u8; 64]) -> Result<Enr, EnrError> {
        let mut entries = self.entries.clone();
        entries.insert("id".to_owned(), rlp::encode(&"v4").freeze());
        entries.insert("secp256k1".to_owned(), rlp::encode(&key.to_compressed().as_slice()).freeze());
        let mut record = RlpStream::new_list(2 + 2 * entries.len());
        record.append(&signature.as_slice()).append(&self.seq);
        for (name, value) in &entries {
            record.append(&name.as_str()).append_raw(value, 1);
        }
        Ok(UnverifiedEnr::decode(&record.out())?.assume_signed_by(*key))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
