//! Records by chance, as to how many steps it takes to read them. What is read of them is `tests/properties.rs`.
//! How records are signed, decoded and ordered by example is tested in `record.rs`.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::steps;

/// The passes over a record: its items are counted, and then read.
const PASSES: usize = 2;

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A good record with `more` in it.
fn record(more: &[u8]) -> Vec<u8> {
    let key = NodeKey::from_bytes(&[1; 32]).unwrap();
    let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 30303, tcp: 30303 };
    let builder = EnrBuilder::new(7).endpoint(endpoint).entry("z", rlp::encode(&more).freeze());
    builder.sign(&key).unwrap().encoded().to_vec()
}

/// Bytes of which most begin an item, and few are what their header says.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![prop::sample::select(vec![0x00, 0x7f, 0x80, 0x81, 0xb8, 0xc0, 0xc1, 0xf8]), any::<u8>()];
    (vec(byte, 0..250), any::<bool>()).prop_map(|(content, in_list)| {
        let header = [0xf8, content.len() as u8];
        if in_list { [&header, &content[..]].concat() } else { content }
    })
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn f15_reading_a_record_takes_two_steps_a_byte_at_most(
        headers in headers(),
        bytes in vec(any::<u8>(), 0..320),
        more in vec(any::<u8>(), 0..100),
        changes in vec(any::<(Index, u8)>(), 0..4),
        cut in any::<Index>(),
    ) {
        let mut changed = record(&more);
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let cut = changed[..cut.index(changed.len())].to_vec();
        for bytes in [headers, bytes, changed, cut] {
            // One that takes more ends in a panic.
            let (read, _) = steps::within(PASSES * bytes.len(), || UnverifiedEnr::decode(&bytes));
            if let Ok(read) = read {
                let key = NodeKey::from_bytes(&[1; 32]).unwrap().public_key();
                let record = read.assume_signed_by(key);
                let ((), taken) = steps::within(bytes.len(), || record.entries().for_each(drop));
                prop_assert!(taken > 0);
            }
        }
    }
}
