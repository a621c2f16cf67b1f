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
mod tests {
    use super::*;
    use crate::keccak256;

    /// The test vector of EIP-778.
    const SPEC_KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    const SPEC_TEXT: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

    fn spec_key() -> NodeKey {
        NodeKey::from_hex(SPEC_KEY).unwrap()
    }

    #[test]
    fn eip_778_vector_reads() {
        let record: Enr = SPEC_TEXT.parse().unwrap();
        assert_eq!(
            record.node_id().to_string(),
            "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
        );
        assert_eq!(record.public_key(), spec_key().public_key());
        assert_eq!(record.seq(), 1);
        assert_eq!(record.endpoint(), Some(Endpoint { ip: [127, 0, 0, 1].into(), udp: 30303, tcp: 0 }));
        assert_eq!(record.to_string(), SPEC_TEXT);
    }

    #[test]
    fn built_records_verify_and_keep_their_entries() {
        let endpoint = Endpoint { ip: "2606:4700::1".parse().unwrap(), udp: 30301, tcp: 30303 };
        let eth = Bytes::from_static(&[0xc7, 0xc6, 0x84, 1, 2, 3, 4, 0x80]);
        let record =
            EnrBuilder::new(7).endpoint(endpoint).entry("eth", eth.clone()).sign(&spec_key()).unwrap();
        let read = UnverifiedEnr::decode(record.encoded()).unwrap().verify().unwrap();
        assert_eq!((read.seq(), read.endpoint(), read.entry("eth")), (7, Some(endpoint), Some(&eth[..])));
        assert_eq!(read.public_key(), spec_key().public_key());
        assert_eq!(record.to_string().parse::<Enr>().unwrap(), record);
    }

    #[test]
    fn u20_every_flipped_bit_is_refused() {
        let good = SPEC_TEXT.parse::<Enr>().unwrap().encoded().to_vec();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = UnverifiedEnr::decode(&bad).and_then(UnverifiedEnr::verify);
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }

    /// Signs a record of these items as they are, and reads it back.
    fn sign(items: &[&[u8]]) -> (usize, Result<Enr, EnrError>) {
        let mut body = rlp::RlpStream::new_list(items.len());
        let mut record = rlp::RlpStream::new_list(items.len() + 1);
        for item in items {
            body.append_raw(item, 1);
        }
        record.append(&&spec_key().sign(&keccak256(&body.out())).0[..64]);
        for item in items {
            record.append_raw(item, 1);
        }
        let encoded = record.out();
        (encoded.len(), UnverifiedEnr::decode(&encoded).and_then(UnverifiedEnr::verify))
    }

    fn text(value: &str) -> Vec<u8> {
        rlp::encode(&value).to_vec()
    }

    fn compressed_key() -> Vec<u8> {
        rlp::encode(&spec_key().public_key().to_compressed().as_slice()).to_vec()
    }

    #[test]
    fn u20_records_end_at_300_bytes() {
        let mut seen = Vec::new();
        for len in 150..200 {
            let padding = rlp::encode(&vec![1; len]).to_vec();
            let items = [
                &[1][..],
                &text("id"),
                &text("v4"),
                &text("secp256k1"),
                &compressed_key(),
                &text("z"),
                &padding,
            ];
            let (total, read) = sign(&items);
            match total {
                ..=MAX_ENR_LEN => assert!(read.is_ok(), "{total}: {read:?}"),
                found => assert_eq!(read, Err(EnrError::TooLong { found })),
            }
            seen.push(total);
        }
        assert!([299, 300, 301].iter().all(|total| seen.contains(total)), "{seen:?}");
        assert_eq!(UnverifiedEnr::decode(&[0; 301]).unwrap_err(), EnrError::TooLong { found: 301 });
    }

    /// What is wrong with the record of these items; None when nothing is.
    fn fault(items: &[&[u8]]) -> Option<EnrError> {
        sign(items).1.err()
    }

    const PAIRS: EnrError =
        EnrError::Form("a signature, a sequence number and pairs of key and value are expected");
    const SORTED: EnrError = EnrError::Form("keys are not sorted and unique");
    const SCHEME: EnrError = EnrError::Form("the identity scheme is not v4");
    const KEY: EnrError = EnrError::Form("the entry secp256k1 is no compressed key");
    const ADDRESS: EnrError = EnrError::Form("an address has the wrong length");

    #[test]
    fn u20_malformed_records_are_typed_errors() {
        let (id, v4, v5, key_name, key) =
            (text("id"), text("v4"), text("v5"), text("secp256k1"), compressed_key());
        let (one, nine) = (vec![1], [&[0x89][..], &[1; 9]].concat());
        // 4 says that the point is not compressed; 5 is the x of no point.
        let mut uncompressed = key.clone();
        uncompressed[1] = 4;
        let off_curve = [&[0xa1, 2][..], &[0; 31], &[5]].concat();
        let too_long = DecoderError::RlpIsTooBig.into();
        let rows: [(&[&[u8]], Option<EnrError>); 16] = [
            (&[&one, &id, &v4, &key_name, &key], None),
            (&[&one, &key_name, &key, &id, &v4], Some(SORTED)),
            (&[&one, &id, &v4, &id, &v4, &key_name, &key], Some(SORTED)),
            (&[&one, &id, &v4, &key_name, &key, &text("z")], Some(PAIRS)),
            (&[&one, &id, &v4, &key_name], Some(PAIRS)),
            (&[], Some(PAIRS)),
            (&[&one], Some(SCHEME)),
            (&[&one, &id, &v5, &key_name, &key], Some(SCHEME)),
            (&[&one, &key_name, &key], Some(SCHEME)),
            (&[&one, &id, &v4], Some(KEY)),
            (&[&one, &id, &v4, &key_name, &one], Some(KEY)),
            (&[&one, &id, &v4, &key_name, &uncompressed], Some(KEY)),
            (&[&one, &id, &v4, &key_name, &off_curve], Some(EnrError::Signature)),
            (&[&nine, &id, &v4, &key_name, &key], Some(too_long)),
            (&[&[0x82, 0, 1], &id, &v4, &key_name, &key], Some(DecoderError::RlpInvalidIndirection.into())),
            (&[&one, &id, &[0xc2, b'v', b'4'], &key_name, &key], Some(NO_STRING)),
        ];
        for (items, expected) in rows {
            assert_eq!(fault(items), expected, "{items:02x?}");
        }
        assert_eq!(UnverifiedEnr::decode(&[0xc0]).unwrap_err(), PAIRS);
        for not_one_list in [&[][..], &[0x80], &[0xc0, 0xc0], &[0xc1]] {
            assert!(UnverifiedEnr::decode(not_one_list).is_err(), "{not_one_list:02x?}");
        }
    }

    const NO_STRING: EnrError = EnrError::Rlp(DecoderError::RlpExpectedToBeData);

    /// An entry's name, its value if it is there, and what is wrong with it.
    type Row = (&'static str, Option<Vec<u8>>, Option<EnrError>);

    #[test]
    fn u20_malformed_addresses_and_ports_are_typed_errors() {
        let (id, v4, key_name, key) = (text("id"), text("v4"), text("secp256k1"), compressed_key());
        let of_len = |len: usize| Some(rlp::encode(&vec![9; len]).to_vec());
        let mut rows: Vec<Row> = vec![
            ("ip", Some(vec![0xc4, 1, 2, 3, 4]), Some(NO_STRING)),
            ("ip6", Some([&[0xd0][..], &[1; 16]].concat()), Some(NO_STRING)),
        ];
        for len in 0..20 {
            rows.push(("ip", of_len(len), (len != 4).then_some(ADDRESS)));
            rows.push(("ip6", of_len(len), (len != 16).then_some(ADDRESS)));
        }
        for port in ["tcp", "tcp6", "udp", "udp6"] {
            let (zero, invalid) = (vec![0x80], DecoderError::RlpInvalidIndirection);
            rows.push((port, Some(zero), None));
            rows.push((port, Some(vec![0x00]), Some(invalid.clone().into())));
            rows.push((port, Some(vec![0x82, 0, 5]), Some(invalid.clone().into())));
            rows.push((port, Some(vec![0x81, 5]), Some(invalid.into())));
            rows.push((port, Some(vec![0x83, 1, 0, 0]), Some(DecoderError::RlpIsTooBig.into())));
            rows.push((port, Some(vec![0xc1, 5]), Some(NO_STRING)));
        }
        for (name, value, expected) in rows {
            let (name, value) = (text(name), value.unwrap_or_default());
            let mut pairs = [(&name, &value), (&id, &v4), (&key_name, &key)];
            pairs.sort_by_key(|(name, _)| rlp::Rlp::new(name).data().unwrap().to_vec());
            let items: Vec<&[u8]> = [&[1][..]]
                .into_iter()
                .chain(pairs.iter().flat_map(|(name, value)| [&name[..], &value[..]]))
                .collect();
            assert_eq!(fault(&items), expected, "{items:02x?}");
        }
    }

    #[test]
    fn u20_a_port_of_zero_is_nowhere() {
        let endpoint = Endpoint { ip: [8, 8, 8, 8].into(), udp: 0, tcp: 0 };
        let zero = rlp::encode(&0u16).freeze();
        let builder = EnrBuilder::new(1).endpoint(endpoint).entry("udp", zero.clone()).entry("tcp", zero);
        let read = UnverifiedEnr::decode(builder.sign(&spec_key()).unwrap().encoded()).unwrap();
        let found = read.verify().unwrap().endpoint().unwrap();
        assert_eq!((found, found.udp_addr(), found.tcp_addr()), (endpoint, None, None));
    }

    #[test]
    fn u20_cut_and_malformed_items_are_refused_in_every_place() {
        let good = spec_key();
        let record = EnrBuilder::new(1).entry("z", Bytes::from_static(&[0xc3, 1, 2, 3])).sign(&good).unwrap();
        let whole = record.encoded().to_vec();
        for len in 0..whole.len() {
            assert!(UnverifiedEnr::decode(&whole[..len]).is_err(), "{len} bytes");
        }
        // In place of the last value: headers that reach too far, of no canonical length, or of one small byte.
        for bad in
            [&[0x82, 1][..], &[0xc2, 1], &[0xb8, 1, 1], &[0xbf; 9], &[0xff; 9], &[0x81, 5], &[0xf8, 1, 1]]
        {
            let (id, v4, key_name, key) = (text("id"), text("v4"), text("secp256k1"), compressed_key());
            let items: [&[u8]; 7] = [&[1], &id, &v4, &key_name, &key, &text("z"), bad];
            assert!(fault(&items).is_some(), "{bad:02x?}");
        }
    }

    #[test]
    fn f14_lists_within_lists_in_any_place_of_a_record_need_no_stack() {
        const SMALL_STACK: usize = 256 * 1024;
        let nested = |depth: usize| {
            (1..depth).fold(vec![0xc0], |inner, _| {
                let mut outer = RlpStream::new_list(1);
                outer.append_raw(&inner, 1);
                outer.out().to_vec()
            })
        };
        let read_all = move || {
            let (id, v4, name, key) = (text("id"), text("v4"), text("secp256k1"), compressed_key());
            for depth in [1, 10, 33, 60, 80] {
                let bomb = nested(depth);
                let items: [&[u8]; 7] = [&[1], &id, &v4, &name, &key, &text("z"), &[0x80]];
                for place in 0..items.len() {
                    let mut items = items;
                    items[place] = &bomb;
                    // The last is an entry that may be anything.
                    assert_eq!(fault(&items).is_none(), place == 6, "{depth} deep in place {place}");
                }
                let record = EnrBuilder::new(1).entry("z", bomb.clone().into()).sign(&spec_key()).unwrap();
                assert_eq!(record.to_string().parse::<Enr>().unwrap().entry("z"), Some(&bomb[..]));
                assert!(UnverifiedEnr::decode(&bomb).is_err());
            }
            assert_eq!(
                UnverifiedEnr::decode(&vec![0xff; 1 << 24]).unwrap_err(),
                EnrError::TooLong { found: 1 << 24 }
            );
        };
        std::thread::Builder::new().stack_size(SMALL_STACK).spawn(read_all).unwrap().join().unwrap();
    }

    #[test]
    fn a_record_with_an_assumed_signature_has_the_bytes_of_a_signed_one() {
        let key = NodeKey::from_hex(SPEC_KEY).unwrap();
        let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 30303, tcp: 30304 };
        let builder = EnrBuilder::new(7).endpoint(endpoint).entry("eth", rlp::encode(&7u8).freeze());
        let signed = builder.sign(&key).unwrap();
        let assumed = builder.assume_signed(&key.public_key(), &[5; 64]).unwrap();
        assert_eq!(signed.encoded()[68..], assumed.encoded()[68..]);
        assert_eq!(assumed.encoded()[4..68], [5; 64]);
        assert_eq!((assumed.node_id(), assumed.endpoint()), (signed.node_id(), Some(endpoint)));
        let too_long = builder.entry("long", rlp::encode(&vec![1u8; 200]).freeze());
        assert!(too_long.assume_signed(&key.public_key(), &[5; 64]).is_err());
    }
}
