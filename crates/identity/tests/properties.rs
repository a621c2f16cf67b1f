//! Records and URLs by chance: what is written is read back as it was, what is read is written as it came, and no bytes
//! and no text panic.

use bytes::Bytes;
use identity::{Endpoint, Enode, Enr, EnrBuilder, Host, NodeKey, UnverifiedEnr, keccak256};
use proptest::{collection::vec, prelude::*};
use rlp::RlpStream;

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn keys() -> impl Strategy<Value = NodeKey> {
    any::<[u8; 32]>().prop_filter_map("a number of the group", |secret| NodeKey::from_bytes(&secret).ok())
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    any::<(std::net::IpAddr, u16, u16)>().prop_map(|(ip, udp, tcp)| Endpoint { ip, udp, tcp })
}

fn hosts() -> impl Strategy<Value = Host> {
    let name = "[a-z][a-z0-9-]{0,20}(\\.[a-z][a-z0-9]{0,10}){0,3}";
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(|ip| Host::Ip(identity::unmapped(ip))),
        name.prop_map(Host::Dns),
    ]
}

/// Any item: a string or a list of some.
fn items() -> impl Strategy<Value = Vec<u8>> {
    let string = vec(any::<u8>(), 0..40).prop_map(|bytes| rlp::encode(&bytes).to_vec());
    string.prop_recursive(3, 12, 4, |inner| {
        vec(inner, 0..4).prop_map(|items| {
            let mut list = RlpStream::new_list(items.len());
            items.iter().for_each(|item| _ = list.append_raw(item, 1));
            list.out().to_vec()
        })
    })
}

/// The list of a payload, however that is cut into items.
fn list(payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let header = match len {
        0..=55 => vec![0xc0 + len as u8],
        56..=255 => vec![0xf8, len as u8],
        _ => vec![0xf9, (len >> 8) as u8, len as u8],
    };
    [header, payload.to_vec()].concat()
}

/// Whether form and signature of a record are right, when its content is signed by the key in it.
fn readings(key: &NodeKey, content: &[u8]) -> (bool, bool) {
    let signature = key.sign(&keccak256(&list(content)));
    let signed = list(&[&[0xb8, 64][..], &signature.0[..64], content].concat());
    let form = UnverifiedEnr::decode(&signed);
    (form.is_ok(), form.and_then(UnverifiedEnr::verify).is_ok())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn every_record_is_read_as_it_was_signed(
        key in keys(),
        seq in any::<u64>(),
        endpoint in endpoints(),
        (name, value) in ("[a-h][a-z]{0,6}", items()),
    ) {
        let builder = EnrBuilder::new(seq).endpoint(endpoint).entry(&name, value.clone().into());
        let Ok(record) = builder.sign(&key) else {
            // The value is too long for a record.
            prop_assert!(value.len() > 50, "{}", value.len());
            return Ok(());
        };
        let read = UnverifiedEnr::decode(record.encoded()).unwrap().verify().unwrap();
        prop_assert_eq!((&read, read.seq(), read.public_key()), (&record, seq, key.public_key()));
        prop_assert_eq!(read.endpoint(), Some(endpoint));
        prop_assert_eq!(read.entry(&name), Some(&value[..]));
        let text = record.to_string();
        prop_assert_eq!(text.parse::<Enr>().unwrap(), record);
    }

    #[test]
    fn a_record_whose_form_is_right_has_the_form_that_its_signature_is_checked_in(
        key in keys(),
        mut content in vec(items(), 0..4),
        (place, byte) in any::<(prop::sample::Index, u8)>(),
        damaged in any::<bool>(),
    ) {
        let text = |text: &str| rlp::encode(&text).to_vec();
        let compressed = rlp::encode(&key.public_key().to_compressed().as_slice()).to_vec();
        content.splice(0..0, [vec![1], text("id"), text("v4"), text("secp256k1"), compressed]);
        let mut content = content.concat();
        if damaged {
            let place = place.index(content.len());
            content[place] = byte;
        }
        let (form, verified) = readings(&key, &content);
        // A damaged key may be another point, or none.
        prop_assert!(form == verified || damaged, "{}", hex::encode(content));
    }

    #[test]
    fn every_url_is_read_as_it_was_written(
        key in keys(),
        host in hosts(),
        (tcp, udp) in any::<(u16, u16)>().prop_filter("one port at least", |(tcp, udp)| tcp | udp != 0),
    ) {
        let enode = Enode { public_key: key.public_key(), host, tcp, udp };
        prop_assert_eq!(enode.to_string().parse::<Enode>().unwrap(), enode);
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn no_bytes_of_a_record_panic(bytes in vec(any::<u8>(), 0..320)) {
        if let Ok(record) = UnverifiedEnr::decode(&bytes) {
            prop_assert_eq!(record.encoded(), &Bytes::from(bytes));
            let _ = record.verify();
        }
    }

    #[test]
    fn no_damage_to_a_record_panics(
        changes in vec(any::<(prop::sample::Index, u8)>(), 1..4),
        cut in any::<prop::sample::Index>(),
        keeps_all in any::<bool>(),
    ) {
        let key = NodeKey::from_bytes(&[1; 32]).unwrap();
        let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 30303, tcp: 30303 };
        let mut bytes = EnrBuilder::new(7).endpoint(endpoint).sign(&key).unwrap().encoded().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(if keeps_all { bytes.len() } else { cut.index(bytes.len()) });
        if let Ok(record) = UnverifiedEnr::decode(&bytes).and_then(UnverifiedEnr::verify) {
            prop_assert_eq!(record.encoded(), &Bytes::from(bytes));
        }
    }

    #[test]
    fn no_text_panics_and_what_is_read_says_what_it_was(text in "\\PC{0,60}", tail in "[@:/?#\\[\\]0-9a-f.%&=-]{0,60}") {
        let key = NodeKey::from_bytes(&[1; 32]).unwrap().public_key();
        for url in [text.clone(), format!("enode://{text}{tail}"), format!("enode://{key}@{tail}"), format!("enode://{key}{tail}")] {
            if let Ok(enode) = url.parse::<Enode>() {
                prop_assert_eq!(enode.to_string().parse::<Enode>(), Ok(enode), "{}", url);
            }
        }
        for record in [text.clone(), format!("enr:{text}"), format!("enr:{tail}")] {
            let _ = record.parse::<Enr>();
        }
    }
}
