//! Records against the vector of EIP-778, what a record may hold,
//! and what becomes of one that is flipped, cut or malformed in any place.

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
    let record = EnrBuilder::new(7).endpoint(endpoint).entry("eth", eth.clone()).sign(&spec_key()).unwrap();
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
        let items =
            [&[1][..], &text("id"), &text("v4"), &text("secp256k1"), &compressed_key(), &text("z"), &padding];
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
    for bad in [&[0x82, 1][..], &[0xc2, 1], &[0xb8, 1, 1], &[0xbf; 9], &[0xff; 9], &[0x81, 5], &[0xf8, 1, 1]]
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
