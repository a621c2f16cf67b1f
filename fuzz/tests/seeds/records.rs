//! Seeds of node names: records of EIP-778 and EIP-1459 and what our own builder makes, as text, bytes and content; enode
//! URLs of the devp2p specification's form.

use std::net::IpAddr;

use hostile::records::{BYTES, CONTENT, ENODE, TEXT, sign, signer};
use identity::{Endpoint, Enode, Enr, EnrBuilder, UnverifiedEnr};

use super::{Seed, seed};

/// EIP-778, "Test Vectors".
const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";
/// EIP-1459, "Example": the records of its tree, which name no address.
const LEAVES: [&str; 3] = [
    "enr:-HW4QOFzoVLaFJnNhbgMoDXPnOvcdVuj7pDpqRvh6BRDO68aVi5ZcjB3vzQRZH2IcLBGHzo8uUN3snqmgTiE56CH3AMBgmlkgnY0iXNlY3AyNTZrMaECC2_24YYkYHEgdzxlSNKQEnHhuNAbNlMlWJxrJxbAFvA",
    "enr:-HW4QAggRauloj2SDLtIHN1XBkvhFZ1vtf1raYQp9TBW2RD5EEawDzbtSmlXUfnaHcvwOizhVYLtr7e6vw7NAf6mTuoCgmlkgnY0iXNlY3AyNTZrMaECjrXI8TLNXU0f8cthpAMxEshUyQlK-AM0PW2wfrnacNI",
    "enr:-HW4QLAYqmrwllBEnzWWs7I5Ev2IAs7x_dZlbYdRdMUx5EyKHDXp7AV5CkuPGUPdvbv1_Ms1CPfhcGCvSElSosZmyoqAgmlkgnY0iXNlY3AyNTZrMaECriawHKWdDRk2xeZkrOXBQ0dfMFLHY4eENZwdufn1S1o",
];
/// The header of a record's list of 56 to 255 bytes, and a signature with its own.
const LIST_HEADER_LEN: usize = 2;
const SIGNATURE_LEN: usize = 2 + 64;

pub(super) fn seeds() -> Vec<Seed> {
    [vectors(), own_records(), enodes(), faults()].into_iter().flatten().collect()
}

fn vectors() -> Vec<Seed> {
    let mut seeds = forms("eip778_example", EXAMPLE);
    for (number, leaf) in LEAVES.into_iter().enumerate() {
        seeds.extend(forms(&format!("eip1459_leaf{number}"), leaf));
    }
    seeds
}

/// A record in two forms; that of EIP-778 and our own, which [`signer`] signs, in the third too.
fn forms(name: &str, record: &str) -> Vec<Seed> {
    let parsed: Enr = record.parse().expect("a record");
    let bytes = parsed.encoded();
    let mut seeds = vec![
        seed(format!("{name}_text"), &[&[TEXT], record.as_bytes()]),
        seed(format!("{name}_bytes"), &[&[BYTES], bytes]),
    ];
    if parsed.public_key() == signer().public_key() {
        seeds.push(seed(format!("{name}_content"), &[&[CONTENT], content(bytes)]));
    }
    seeds
}

/// Signed by the target: the builder's own signatures differ each time.
fn own_records() -> Vec<Seed> {
    let records = [
        ("own_ipv4", EnrBuilder::new(7).endpoint(endpoint([1, 2, 3, 4].into(), 30303, 30304))),
        ("own_ipv6", EnrBuilder::new(u64::MAX).endpoint(endpoint(v6(), 30303, 30303))),
        ("own_without_address", EnrBuilder::new(0)),
        ("own_with_entries", EnrBuilder::new(1).entry("eth", list()).entry("x", vec![0x80].into())),
    ];
    let signed = |record: EnrBuilder| {
        let record = record.sign(signer()).expect("few entries");
        let record = UnverifiedEnr::decode(&sign(content(record.encoded()))).expect("a record's form");
        record.verify().expect("signed").to_string()
    };
    records.into_iter().flat_map(|(name, record)| forms(name, &signed(record))).collect()
}

/// What follows the signature.
fn content(record: &[u8]) -> &[u8] {
    assert_eq!(record[0], 0xf8, "a length of one byte");
    &record[LIST_HEADER_LEN + SIGNATURE_LEN..]
}

/// An entry `eth` as clients write it: a fork id in a list (EIP-2124).
fn list() -> bytes::Bytes {
    vec![0xc7, 0xc6, 0x84, 0xfc, 0x64, 0xec, 0x04, 0x80].into()
}

fn enodes() -> Vec<Seed> {
    let key = signer().public_key();
    let enode = |endpoint| Enode::new(key, endpoint).to_string();
    let urls = [
        ("enode_ipv4", enode(endpoint([1, 2, 3, 4].into(), 30303, 30303))),
        ("enode_two_ports", enode(endpoint([1, 2, 3, 4].into(), 30301, 30303))),
        ("enode_ipv6", enode(endpoint(v6(), 30303, 30303))),
        ("enode_dns_name", format!("enode://{key}@node.example.org:30303")),
        ("enode_spec_example_form", format!("enode://{key}@10.3.58.6:30303?discport=30301")),
        ("enode_without_port", format!("enode://{key}@10.3.58.6")),
        ("enode_key_alone", format!("enode://{key}")),
        ("enode_short_key", "enode://1234@10.3.58.6:30303".to_owned()),
    ];
    urls.into_iter().map(|(name, url)| seed(name, &[&[ENODE], url.as_bytes()])).collect()
}

fn faults() -> Vec<Seed> {
    let mut flipped = EXAMPLE.parse::<Enr>().expect("a record").encoded().to_vec();
    flipped[10] ^= 1;
    vec![
        seed("fault_text_padded", &[&[TEXT], EXAMPLE.as_bytes(), b"="]),
        seed("fault_text_no_prefix", &[&[TEXT], EXAMPLE.trim_start_matches("enr:").as_bytes()]),
        seed("fault_bytes_signature", &[&[BYTES], &flipped]),
        seed("fault_bytes_too_long", &[&[BYTES], &[0xf9, 1, 0x2a], &[0; 298]]),
        seed("fault_content_empty", &[&[CONTENT]]),
        seed("fault_content_no_key", &[&[CONTENT, 1, 0x82], b"id", &[0x82], b"v4"]),
        seed(
            "fault_content_unsorted",
            &[&[CONTENT, 1, 0x82], b"ip", &[0x84, 1, 2, 3, 4, 0x82], b"id", &[0x82], b"v4"],
        ),
    ]
}

fn v6() -> IpAddr {
    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()
}

const fn endpoint(ip: IpAddr, udp: u16, tcp: u16) -> Endpoint {
    Endpoint { ip, udp, tcp }
}
