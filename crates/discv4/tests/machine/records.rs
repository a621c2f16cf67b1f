//! Records: asked for, given, refused, replaced, and followed to another endpoint.
//! The table keeps the old one unless the new one is newer and its sender's.

use std::time::Duration;

use discv4::{
    Event, Reject, RequestError,
    wire::{EnrResponse, Envelope, Packet, Ping, Pong},
};
use identity::{Endpoint, EnrBuilder, NodeKey, keccak256};
use rlp::RlpStream;

use super::{
    host, seal,
    stage::{Host, Sent, Stranger, endpoint, key, kinds, public},
    stranger,
};

/// Makes the host ask the bonded stranger for its record; gives the request.
fn make_it_want_the_record(host: &mut Host, stranger: &Stranger) -> Sent {
    host.bond(stranger);
    host.machine.request_enr(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    let sent = host.drain();
    assert_eq!(kinds(&sent), ["enr?"]);
    sent[0].clone()
}

#[test]
fn u20_a_record_arrives_at_its_asker_and_in_the_table() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
    assert!(
        matches!(&host.events[..], [Event::EnrReceived { enr, .. }] if *enr == record),
        "{:?}",
        host.events
    );
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, Some(record));
}

#[test]
fn u20_a_record_for_another_request_is_unsolicited() {
    let (mut host, friend) = (host(), stranger(2));
    make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&[9; 32], &record)));
    assert_eq!((host.rejected(Reject::Unsolicited), host.events.len()), (1, 0));
}

#[test]
fn u20_a_record_of_somebody_else_or_with_a_broken_signature_is_refused() {
    let somebody_else = EnrBuilder::new(5).sign(&key(3)).unwrap();
    let mut broken = EnrBuilder::new(5).sign(&key(2)).unwrap().encoded().to_vec();
    broken[10] ^= 1;
    for record in [somebody_else.encoded().to_vec(), broken] {
        let (mut host, friend) = (host(), stranger(2));
        let request = make_it_want_the_record(&mut host, &friend);
        let mut body = vec![0xf8, 0];
        body.push(0xa0);
        body.extend_from_slice(&request.hash());
        body.extend_from_slice(&record);
        body[1] = u8::try_from(body.len() - 2).unwrap();
        host.receive(friend.addr, &seal(&friend.key, 6, &body));
        assert_eq!(host.rejected(Reject::BadRecord), 1);
        assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::BadRecord, .. }]));
        assert_eq!(host.machine.table().nodes().next().unwrap().enr, None);
    }
}

#[test]
fn u20_no_damage_to_a_record_panics_or_enters_the_table() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
    let good = friend.sign(EnrResponse::encode(&request.hash(), &record));
    for offset in 98..good.len() {
        for value in [0x00, 0x7f, 0x80, 0x81, 0xb7, 0xb8, 0xbf, 0xc0, 0xf7, 0xf8, 0xff] {
            let mut bad = good[98..].to_vec();
            if bad[offset - 98] != value {
                bad[offset - 98] = value;
                // Signed by its sender, so that only the record is at fault.
                host.machine.handle_datagram(host.now, friend.addr, &seal(&friend.key, 6, &bad));
                host.drain();
            }
        }
    }
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, None);
}

/// A record of these items under a signature of `key`, whatever they are.
fn record_of(key: &NodeKey, items: &[&[u8]]) -> Vec<u8> {
    let mut content = RlpStream::new_list(items.len());
    items.iter().for_each(|item| _ = content.append_raw(item, 1));
    let signature = key.sign(&keccak256(&content.out()));
    let mut record = RlpStream::new_list(items.len() + 1);
    record.append(&&signature.0[..64]);
    items.iter().for_each(|item| _ = record.append_raw(item, 1));
    record.out().to_vec()
}

/// Records with the sequence number 9 that are not what a record has to be.
fn bad_records(friend: &NodeKey) -> Vec<Vec<u8>> {
    let text = |text: &str| rlp::encode(&text).to_vec();
    let of = |key: &NodeKey| rlp::encode(&key.public_key().to_compressed().as_slice()).to_vec();
    let (id, v4, v5, name, own, z) =
        (text("id"), text("v4"), text("v5"), text("secp256k1"), of(friend), text("z"));
    let (ip, udp, long) = (text("ip"), text("udp"), rlp::encode(&vec![1u8; 300]).to_vec());
    let nine: &[u8] = &[9];
    let bad: [&[&[u8]]; 15] = [
        &[nine, &name, &own, &id, &v4],
        &[nine, &id, &v4, &id, &v4, &name, &own],
        &[nine, &id, &v4, &name, &own, &z],
        &[nine, &id, &v4, &name],
        &[nine],
        &[],
        &[nine, &id, &v5, &name, &own],
        &[nine, &name, &own],
        &[nine, &id, &v4],
        &[nine, &id, &v4, &name, nine],
        &[nine, &id, &v4, &ip, &[0x83, 1, 2, 3], &name, &own],
        &[nine, &id, &v4, &name, &own, &udp, &[0x83, 1, 0, 0]],
        &[nine, &id, &v4, &name, &own, &udp, &[0x00]],
        &[&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], &id, &v4, &name, &own],
        &[nine, &id, &v4, &name, &own, &z, &long],
    ];
    let mut records: Vec<Vec<u8>> = bad.iter().map(|items| record_of(friend, items)).collect();
    // In order, but of somebody else, or signed by somebody else.
    records.push(record_of(&key(3), &[nine, &id, &v4, &name, &of(&key(3))]));
    records.push(record_of(&key(3), &[nine, &id, &v4, &name, &own]));
    records
}

#[test]
fn u20_the_table_keeps_the_old_record() {
    let friend = stranger(2);
    let old = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
    for (index, bad) in bad_records(&friend.key).iter().enumerate() {
        let mut host = host();
        let request = make_it_want_the_record(&mut host, &friend);
        host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &old)));
        host.events.clear();
        host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
        let request = host.drain().pop().unwrap();
        let mut body = RlpStream::new_list(2);
        body.append(&request.hash().as_slice()).append_raw(bad, 1);
        host.receive(friend.addr, &seal(&friend.key, 6, &body.out()));
        assert_eq!(host.rejected(Reject::BadRecord), 1, "record {index}");
        host.pass(Duration::from_secs(2));
        assert!(
            matches!(host.events[..], [Event::RequestFailed { .. }, ..]),
            "record {index}: {:?}",
            host.events
        );
        assert_eq!(host.machine.table().nodes().next().unwrap().enr.as_ref(), Some(&old), "record {index}");
    }
}

#[test]
fn u20_a_record_of_300_bytes_arrives_and_one_of_301_does_not() {
    let friend = stranger(2);
    let text = |text: &str| rlp::encode(&text).to_vec();
    let own = rlp::encode(&friend.key.public_key().to_compressed().as_slice()).to_vec();
    let (id, v4, name, z) = (text("id"), text("v4"), text("secp256k1"), text("z"));
    let mut seen = Vec::new();
    for len in 150..200 {
        let padding = rlp::encode(&vec![1u8; len]).to_vec();
        let record = record_of(&friend.key, &[&[9], &id, &v4, &name, &own, &z, &padding]);
        if !(299..=301).contains(&record.len()) {
            continue;
        }
        let mut host = host();
        let request = make_it_want_the_record(&mut host, &friend);
        let mut body = RlpStream::new_list(2);
        body.append(&request.hash().as_slice()).append_raw(&record, 1);
        host.receive(friend.addr, &seal(&friend.key, 6, &body.out()));
        let taken = host.machine.table().nodes().next().unwrap().enr.is_some();
        seen.push((record.len(), taken, host.rejected(Reject::BadRecord)));
    }
    assert_eq!(seen, [(299, true, 0), (300, true, 0), (301, false, 1)]);
}

#[test]
fn u20_a_record_with_a_port_of_zero_moves_nobody() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let nowhere = Endpoint { udp: 0, ..endpoint(public(77)) };
    let record = EnrBuilder::new(9).endpoint(nowhere).sign(&friend.key).unwrap();
    let sent = host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
    assert_eq!((kinds(&sent), host.machine.load().pending), (vec![], 0));
    assert_eq!(host.machine.table().nodes().next().unwrap().endpoint, endpoint(friend.addr));
}

#[test]
fn u21_an_older_record_does_not_replace_a_newer_one() {
    let (mut host, friend) = (host(), stranger(2));
    let tell = |host: &mut Host, seq| {
        host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
        let request = host.drain().pop().unwrap();
        let record = EnrBuilder::new(seq).sign(&friend.key).unwrap();
        host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
        host.now = host.now.later(Duration::from_secs(1));
        host.machine.table().nodes().next().unwrap().enr.as_ref().unwrap().seq()
    };
    host.bond(&friend);
    assert_eq!([5, 4, 6, 5].map(|seq| tell(&mut host, seq)), [5, 5, 6, 6]);
}

#[test]
fn eip_868_a_newer_sequence_number_is_followed_by_a_request() {
    let (mut host, friend) = (host(), stranger(2));
    let sent = host.receive(friend.addr, &friend.ping(&host));
    let pong = friend.sign(Pong::encode(&endpoint(host.addr), &sent[1].hash(), host.soon(), 7));
    let sent = host.receive(friend.addr, &pong);
    assert_eq!(kinds(&sent), ["enr?"]);
    let record = EnrBuilder::new(7).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&sent[0].hash(), &record)));
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, Some(record));
    let again = friend.sign(Ping::encode(&endpoint(friend.addr), &endpoint(host.addr), host.soon() + 1, 7));
    assert_eq!(kinds(&host.receive(friend.addr, &again)), ["pong"], "it is known");
    host.now = host.now.later(Duration::from_secs(61));
    let newer = friend.sign(Ping::encode(&endpoint(friend.addr), &endpoint(host.addr), host.soon() + 2, 8));
    let mut kinds = kinds(&host.receive(friend.addr, &newer));
    kinds.sort_unstable();
    assert_eq!(kinds, ["enr?", "pong"]);
}

#[test]
fn eip_868_our_record_is_given_to_the_proven() {
    let (mut host, friend) = (host(), stranger(2));
    host.bond(&friend);
    let request = friend.enr_request(&host);
    let sent = host.receive(friend.addr, &request);
    let Packet::EnrResponse(response) = sent[0].packet() else { panic!("not a record") };
    assert_eq!(response.request_hash, Envelope::read(&request).unwrap().hash);
    assert_eq!(response.record.verify().unwrap(), *host.machine.local());
}

#[test]
fn u30_a_record_that_names_another_endpoint_moves_the_node_after_its_pong() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let moved = Stranger { addr: public(77), ..friend.clone() };
    let record = EnrBuilder::new(5).endpoint(endpoint(moved.addr)).sign(&friend.key).unwrap();
    let sent = host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
    assert_eq!((kinds(&sent), sent[0].to), (vec!["ping"], moved.addr));
    let endpoints = |host: &Host| host.machine.table().nodes().map(|node| node.endpoint).collect::<Vec<_>>();
    assert_eq!(endpoints(&host), [endpoint(friend.addr)]);
    host.receive(moved.addr, &moved.pong(&host, &sent[0]));
    assert_eq!(endpoints(&host), [endpoint(moved.addr)]);
}
