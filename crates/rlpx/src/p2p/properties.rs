//! Hello and Disconnect by chance: what is written is read back as it was, no bytes panic, and two nodes find the same
//! capabilities at the same codes as a plain model does.

use identity::{PublicKey, steps};
use proptest::{collection::vec, prelude::*, sample::Index};
use rlp::RlpStream;

use super::*;
use crate::{
    LocalCapability,
    capability::{Capability, CapabilityName, route, shared_capabilities},
};

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn names() -> impl Strategy<Value = CapabilityName> {
    "[!-~]{1,8}".prop_map(|name| CapabilityName::new(name).unwrap())
}

fn hellos() -> impl Strategy<Value = Hello> {
    let capability = (names(), any::<u32>()).prop_map(|(name, version)| Capability { name, version });
    let key = any::<[u8; 64]>().prop_filter("a key is no zeros", |key| *key != [0; 64]);
    let parts = (any::<u64>(), "\\PC{0,40}", vec(capability, 0..80), any::<u16>(), key);
    parts.prop_map(|(protocol_version, client_name, capabilities, listen_port, key)| Hello {
        protocol_version,
        client_name,
        capabilities,
        listen_port,
        public_key: PublicKey::from_bytes(key),
    })
}

/// Names that differ in little, so that lists share some.
fn offers() -> impl Strategy<Value = Vec<LocalCapability>> {
    let name = prop::sample::select(vec!["a", "eth", "ETH", "et", "ethx", "snap", "zzzzzzzz"]);
    let offer = (name, 0..5u32, 0..30u64).prop_map(|(name, version, message_count)| {
        LocalCapability::new(CapabilityName::new(name).unwrap(), version, message_count)
    });
    vec(offer, 0..12).prop_map(|mut offers| {
        offers.sort_by_key(|offer| offer.capability);
        offers.dedup_by_key(|offer| offer.capability);
        offers
    })
}

/// Who has which wire codes, by the letter of the specification: from 16 on, by name, the highest version of both.
fn codes(local: &[LocalCapability], remote: &[Capability]) -> Vec<(Capability, u64)> {
    let mut names: Vec<&str> = local.iter().map(|own| own.capability.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut codes = Vec::new();
    for name in names {
        let both = local.iter().filter(|own| own.capability.name == name && remote.contains(&own.capability));
        if let Some(best) = both.max_by_key(|own| own.capability.version) {
            codes.extend((0..best.message_count).map(|code| (best.capability, code)));
        }
    }
    codes
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn hello_arrives_as_it_was_sent(hello in hellos(), behind in vec(any::<u8>(), 0..10)) {
        let mut expected = hello.clone();
        expected.capabilities.sort();
        expected.capabilities.dedup();
        expected.capabilities.truncate(MAX_CAPABILITIES);
        let payload = [hello.encode(), behind].concat();
        prop_assert_eq!(Hello::decode(&payload), Ok(expected));
    }

    #[test]
    fn disconnect_arrives_as_it_was_sent(code in any::<u8>()) {
        let reason = DisconnectReason::from_code(code);
        prop_assert_eq!((DisconnectReason::decode(&reason.encode()), reason.code()), (reason, code));
        prop_assert_eq!(DisconnectReason::decode(&rlp::encode(&code)), reason);
    }

    #[test]
    fn p05_capabilities_are_matched_as_a_plain_model_does(local in offers(), other in offers(), order in any::<u64>()) {
        let remote: Vec<Capability> = other.iter().map(|own| own.capability).collect();
        let model = codes(&local, &remote);
        // The order of a list says nothing.
        let mut shuffled = local.clone();
        shuffled.sort_by_key(|own| (own.message_count ^ order, own.capability.version));
        let shared = shared_capabilities(&shuffled, &remote);
        for code in 0..16 {
            prop_assert_eq!(route(&shared, code), None);
        }
        for (code, (capability, relative)) in (16..).zip(&model) {
            let (index, found) = route(&shared, code).unwrap();
            prop_assert_eq!((shared[index].capability(), found), (*capability, *relative));
        }
        prop_assert_eq!(route(&shared, 16 + model.len() as u64), None);
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn f15_reading_hello_takes_a_step_a_byte_at_most(
        hello in hellos(),
        changes in vec(any::<(Index, u8)>(), 0..4),
        offers in vec(prop_oneof![prop::sample::select(vec![0x00, 0x80, 0x81, 0xb8, 0xc0, 0xc1, 0xf8]), any::<u8>()], 0..250),
    ) {
        let mut changed = hello.encode();
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        // In the place of the capabilities a list of anything.
        let header = [0xf8, offers.len() as u8];
        let mut odd = RlpStream::new_list(5);
        odd.append(&5u8).append(&"").append_raw(&[&header, &offers[..]].concat(), 1);
        odd.append(&0u8).append(&hello.public_key.as_bytes().as_slice());
        for payload in [hello.encode(), changed, odd.out().to_vec()] {
            // One that takes more ends in a panic.
            let (read, taken) = steps::within(payload.len(), || Hello::decode(&payload));
            let kept = read.map_or(0, |hello| hello.capabilities.len());
            prop_assert!(taken >= kept, "{} steps for {} capabilities", taken, kept);
        }
    }

    #[test]
    fn no_payload_panics_and_what_is_read_can_be_written(
        hello in hellos(),
        changes in vec(any::<(Index, u8)>(), 0..4),
        cut in any::<Index>(),
        bytes in vec(any::<u8>(), 0..100),
    ) {
        let mut changed = hello.encode();
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let cut = changed[..cut.index(changed.len())].to_vec();
        for payload in [changed, cut, bytes] {
            if let Ok(hello) = Hello::decode(&payload) {
                prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
            }
            let reason = DisconnectReason::decode(&payload);
            prop_assert_eq!(DisconnectReason::decode(&reason.encode()), reason);
        }
    }
}
