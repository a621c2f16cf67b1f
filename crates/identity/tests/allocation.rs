//! What records and URLs cost while they are read, counted by the allocator. They come from anybody, so the most they
//! may cost is a number, however they are made.

#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[path = "../../../tests/counting/mod.rs"]
mod counting;

use counting::{Counting, cost};
use identity::{Endpoint, Enode, Enr, EnrBuilder, MAX_ENR_LEN, NodeKey, UnverifiedEnr, keccak256};
use rlp::RlpStream;

#[global_allocator]
static ALLOCATOR: Counting = Counting { grows_in_place: false };

/// Form is read in place: what is kept is one copy and the two words that share it.
const MAX_FORM_COST: usize = MAX_ENR_LEN + 128;
/// The signature is checked by the crate `enr`, which keeps each entry by itself: in 300 bytes there are at most some 60.
const MAX_VERIFIED_COST: usize = 24 * 1024;
/// A URL of 512 bytes, and the forms that the crate `url` brings it into one after the other.
const MAX_URL_COST: usize = 8 * 1024;

fn key() -> NodeKey {
    NodeKey::from_bytes(&[1; 32]).unwrap()
}

/// The record of these items under a signature of theirs, whatever they are.
fn signed(items: &[Vec<u8>]) -> Vec<u8> {
    let mut content = RlpStream::new_list(items.len());
    items.iter().for_each(|item| _ = content.append_raw(item, 1));
    let signature = key().sign(&keccak256(&content.out()));
    let mut record = RlpStream::new_list(items.len() + 1);
    record.append(&&signature.0[..64]);
    items.iter().for_each(|item| _ = record.append_raw(item, 1));
    record.out().to_vec()
}

/// The identity and the key of a record, with `more` pairs of one byte each before them.
fn with_small_pairs(more: u8) -> Vec<Vec<u8>> {
    let mut items = vec![vec![1]];
    (1..=more).for_each(|name| items.extend([vec![name], vec![0x80]]));
    items.extend([
        rlp::encode(&"id").to_vec(),
        rlp::encode(&"v4").to_vec(),
        rlp::encode(&"secp256k1").to_vec(),
    ]);
    items.push(rlp::encode(&key().public_key().to_compressed().as_slice()).to_vec());
    items
}

/// The record with the most entries that there can be.
fn widest() -> Vec<u8> {
    let records = (0..=127).map(|more| signed(&with_small_pairs(more)));
    records.take_while(|record| record.len() <= MAX_ENR_LEN).last().unwrap()
}

/// Records as they should not be, of any length.
fn hostile() -> Vec<Vec<u8>> {
    let mut records = vec![Vec::new(), vec![0xbf; 300], vec![0xff; 300], vec![0xc0; 300], vec![0xf8; 300]];
    for fill in [0x00, 0x01, 0x7f, 0x80, 0xc0] {
        for len in [0, 1, 55, 100, 231] {
            let mut items = vec![vec![1]];
            items.extend(vec![vec![fill]; len]);
            records.push(signed(&items));
        }
        records.push(vec![fill; 1 << 20]);
    }
    let nested = (0..290).fold(vec![0xc0], |inner, _| {
        let mut outer = RlpStream::new_list(1);
        outer.append_raw(&inner, 1);
        outer.out().to_vec()
    });
    records.push(nested);
    records
}

#[test]
fn u20_a_record_costs_its_own_length_and_no_more() {
    let widest = widest();
    assert!(widest.len() > MAX_ENR_LEN - 3, "{} bytes", widest.len());
    let (read, cost_of_widest) = cost(|| UnverifiedEnr::decode(&widest));
    assert!(read.is_ok() && cost_of_widest <= MAX_FORM_COST, "{cost_of_widest} bytes");
    for record in hostile() {
        let (_, cost) = cost(|| UnverifiedEnr::decode(&record).is_ok());
        assert!(cost <= MAX_FORM_COST, "{cost} bytes for {} of {:?}", record.len(), record.first());
        assert!(record.len() <= MAX_ENR_LEN || cost == 0, "{cost} bytes for one that is too long");
    }
}

#[test]
fn u20_checking_a_signature_costs_a_fixed_amount_at_most() {
    let widest = UnverifiedEnr::decode(&widest()).unwrap();
    let text = widest.clone().verify().unwrap().to_string();
    let (read, cost_of_bytes) = cost(|| widest.verify());
    assert!(read.is_ok() && cost_of_bytes <= MAX_VERIFIED_COST, "{cost_of_bytes} bytes");
    let (read, cost_of_text) = cost(|| text.parse::<Enr>());
    assert!(read.is_ok() && cost_of_text <= MAX_VERIFIED_COST, "{cost_of_text} bytes for the text");
}

#[test]
fn u20_a_hostile_text_costs_a_fixed_amount_at_most() {
    let mut texts = vec!["enr:".to_owned(), "enr:=".to_owned(), "enr:".repeat(100), "A".repeat(404)];
    texts.extend(['A', '-', 'é', '\0'].map(|fill| format!("enr:{}", fill.to_string().repeat(200))));
    texts.extend([405, 1 << 20].map(|len| format!("enr:{}", "A".repeat(len))));
    for text in texts {
        let (read, cost) = cost(|| text.parse::<Enr>().is_ok());
        assert!(!read && cost <= MAX_VERIFIED_COST, "{cost} bytes for {} of {:.20}", text.len(), text);
    }
}

#[test]
fn a_url_costs_a_fixed_amount_at_most() {
    let endpoint =
        Endpoint { ip: "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".parse().unwrap(), udp: 1, tcp: 65535 };
    let honest = Enode::new(key().public_key(), endpoint).to_string();
    let (read, cost_of_honest) = cost(|| honest.parse::<Enode>());
    assert!(read.is_ok() && cost_of_honest <= MAX_URL_COST, "{cost_of_honest} bytes");
    let start = honest.split('@').next().unwrap();
    let name = |label: &str| format!("{start}@{}:1", label.repeat(300 / label.len()));
    let mut hostile = ["a", "a.", "%41", "\u{e9}", "[", ":", "?", "#", "/", "@", "\t"].map(name).to_vec();
    hostile.extend(
        ["?a&", "?discport=1&", "?%00", "//", "#x"]
            .map(|tail| format!("{start}@1.2.3.4:1{}", tail.repeat(60))),
    );
    hostile.extend(["e".repeat(512), "e".repeat(1 << 20), format!("enode://{}@h:1", "%ff".repeat(160))]);
    let names = EnrBuilder::new(1).sign(&key()).unwrap().to_string();
    hostile.push(names);
    for url in hostile {
        let (_, cost) = cost(|| url.parse::<Enode>().is_ok());
        assert!(cost <= MAX_URL_COST, "{cost} bytes for {} of {:.160}", url.len(), url);
        assert!(url.len() <= 512 || cost == 0, "{cost} bytes for one that is too long");
    }
}
