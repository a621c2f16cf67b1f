//! Every short prefix in every field of every packet: what is read is what a plain model of RLP reads, and all else is
//! refused under its own name.

use discv4::wire::{DecodeError, EnrResponse, Envelope, PacketKind};
use identity::{EnrBuilder, UnverifiedEnr};

use super::{BODY, KINDS, datagram, stage::key, widest, widest_endpoint, with_body};

/// What belongs in a place of a packet.
enum Field {
    /// A number of at most so many bytes.
    Number(usize),
    /// A number of seconds that is a time in Go too.
    Time,
    /// A string of any length.
    Text,
    /// A string of exactly so many bytes.
    Bytes(usize),
    /// A list that begins with these.
    List(&'static [Field]),
    /// A list of lists that each begin with these.
    Lists(&'static [Field]),
    /// A number, a list of a later version, or nothing.
    Sequence,
    /// A node's record.
    Record,
}

use Field::{Bytes, List, Lists, Number, Record, Sequence, Text, Time};

const ENDPOINT: &[Field] = &[Text, Number(2), Number(2)];

/// The fields of a packet, as `discv4.md` lists them.
const fn fields(kind: PacketKind) -> &'static [Field] {
    match kind {
        PacketKind::Ping => &[Number(8), List(ENDPOINT), List(ENDPOINT), Time, Sequence],
        PacketKind::Pong => &[List(ENDPOINT), Bytes(32), Time, Sequence],
        PacketKind::FindNode => &[Bytes(64), Time],
        PacketKind::Neighbors => &[Lists(&[Text, Number(2), Number(2), Bytes(64)]), Time],
        PacketKind::EnrRequest => &[Time],
        PacketKind::EnrResponse => &[Bytes(32), Record],
    }
}

/// An item by the letter of the RLP specification.
#[derive(Clone, Copy)]
struct Item<'a> {
    is_list: bool,
    payload: &'a [u8],
    raw: &'a [u8],
    behind: &'a [u8],
}

fn item(bytes: &[u8]) -> Option<Item<'_>> {
    let first = usize::from(*bytes.first()?);
    let (header_len, payload_len) = match first {
        0x00..=0x7f => (0, 1),
        0x80..=0xb7 => (1, first - 0x80),
        0xb8..=0xbf => long(bytes, first - 0xb7)?,
        0xc0..=0xf7 => (1, first - 0xc0),
        _ => long(bytes, first - 0xf7)?,
    };
    let payload = bytes.get(header_len..header_len.checked_add(payload_len)?)?;
    let is_small = payload.len() == 1 && payload[0] < 0x80;
    if first == 0x81 && is_small {
        return None;
    }
    let (raw, behind) = bytes.split_at(header_len + payload_len);
    Some(Item { is_list: first >= 0xc0, payload, raw, behind })
}

/// A header whose length takes `len_of_len` bytes.
fn long(bytes: &[u8], len_of_len: usize) -> Option<(usize, usize)> {
    let digits = bytes.get(1..1 + len_of_len)?;
    let len = digits
        .iter()
        .try_fold(0usize, |len, digit| len.checked_mul(256)?.checked_add(usize::from(*digit)))?;
    (digits[0] != 0 && len >= 56).then_some((1 + len_of_len, len))
}

fn is_number(item: &Item<'_>, max_len: usize) -> bool {
    !item.is_list && item.payload.len() <= max_len && item.payload.first() != Some(&0)
}

/// Whether a list's payload begins with these fields.
fn begins_with(mut rest: &[u8], fields: &[Field]) -> bool {
    for field in fields {
        if matches!(field, Sequence) && (rest.is_empty() || rest[0] >= 0xc0) {
            continue;
        }
        let Some(item) = item(rest) else { return false };
        let fits = match field {
            Number(len) => is_number(&item, *len),
            Time => is_number(&item, 8) && (item.payload.len() < 8 || item.payload[0] < 0x80),
            Sequence => is_number(&item, 8),
            Text => !item.is_list,
            Bytes(len) => !item.is_list && item.payload.len() == *len,
            List(fields) => item.is_list && begins_with(item.payload, fields),
            Lists(fields) => item.is_list && all_begin_with(item.payload, fields),
            Record => UnverifiedEnr::decode(item.raw).is_ok(),
        };
        if !fits {
            return false;
        }
        rest = item.behind;
    }
    true
}

fn all_begin_with(mut rest: &[u8], fields: &[Field]) -> bool {
    while !rest.is_empty() {
        match item(rest) {
            Some(item) if item.is_list && begins_with(item.payload, fields) => rest = item.behind,
            Some(_) | None => return false,
        }
    }
    true
}

/// Whether the model takes a body.
fn is_packet(kind: PacketKind, body: &[u8]) -> bool {
    item(body).is_some_and(|item| item.is_list && begins_with(item.payload, fields(kind)))
}

/// Where the items of a body stand, those inside its lists too.
fn offsets(body: &[u8]) -> Vec<usize> {
    let (mut offsets, mut at) = (Vec::new(), 0);
    while at < body.len() {
        offsets.push(at);
        let item = item(&body[at..]).unwrap();
        at += if item.is_list { item.raw.len() - item.payload.len() } else { item.raw.len() };
    }
    offsets
}

/// A packet of a kind with something in every field.
fn packet(kind: PacketKind) -> Vec<u8> {
    if kind != PacketKind::EnrResponse {
        return datagram(widest(kind, 2));
    }
    let record = EnrBuilder::new(300).endpoint(widest_endpoint()).sign(&key(2)).unwrap();
    datagram(EnrResponse::encode(&[8; 32], &record))
}

/// Compares the reader with the model; tells whether they refuse.
fn refuses(kind: PacketKind, datagram: &[u8]) -> bool {
    let read = Envelope::read(datagram).unwrap().decode();
    assert_eq!(
        read.is_ok(),
        is_packet(kind, &datagram[BODY..]),
        "{kind:?}: {}",
        hex::encode(&datagram[BODY..])
    );
    match read {
        Ok(_) => false,
        Err(DecodeError::Rlp { kind: named, .. } | DecodeError::Expiration { kind: named, .. }) => {
            assert_eq!(named, kind);
            true
        }
        Err(DecodeError::Record) => true,
        Err(other) => panic!("{kind:?}: {other}"),
    }
}

/// The third bytes of a prefix of three that an ordinary run tries; a thorough one tries all.
const THIRD_BYTES: &[u8] = if cfg!(feature = "thorough") { &ALL_BYTES } else { &[0x00, 0xff] };
const ALL_BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = index as u8;
        index += 1;
    }
    bytes
};

/// A field overwritten with every prefix of one, two and three bytes; how many of them are refused.
fn prefixes(kind: PacketKind, good: &[u8], place: usize) -> usize {
    let mut bad = good.to_vec();
    let mut refused = 0;
    for first in ALL_BYTES {
        bad[place] = first;
        refused += usize::from(refuses(kind, &bad));
        if place + 1 == good.len() {
            continue;
        }
        for second in ALL_BYTES {
            bad[place + 1] = second;
            refused += usize::from(refuses(kind, &bad));
            for third in THIRD_BYTES.iter().take(good.len() - place - 2) {
                bad[place + 2] = *third;
                refused += usize::from(refuses(kind, &bad));
            }
            bad[place..].copy_from_slice(&good[place..]);
            bad[place] = first;
        }
    }
    refused
}

#[test]
fn u16_every_short_prefix_in_every_field_is_read_or_refused_as_rlp_says() {
    let mut tried = 0;
    for kind in KINDS {
        let good = packet(kind);
        assert!(!refuses(kind, &good));
        for offset in offsets(&good[BODY..]) {
            let refused = prefixes(kind, &good, BODY + offset);
            assert!(refused > 10_000 || offset + 3 > good.len() - BODY, "{kind:?} at {offset}: {refused}");
            tried += 256 * (1 + 256 * (1 + THIRD_BYTES.len()));
        }
    }
    println!("{tried} prefixes, of {} in a thorough run", tried / (2 + THIRD_BYTES.len()) * 258);
}

#[test]
fn u16_every_body_of_three_bytes_is_read_or_refused_as_rlp_says() {
    for kind in KINDS {
        let mut short = with_body(kind, &[0; 3]);
        let mut taken = 0;
        for (first, second) in ALL_BYTES.iter().flat_map(|first| ALL_BYTES.map(|second| (*first, second))) {
            for third in THIRD_BYTES {
                short[BODY..].copy_from_slice(&[first, second, *third]);
                taken += usize::from(!refuses(kind, &short));
            }
        }
        // A time alone, or a time behind no nodes.
        let may_be_short = matches!(kind, PacketKind::EnrRequest | PacketKind::Neighbors);
        assert!(taken == 0 || may_be_short, "{kind:?}: {taken}");
    }
}

#[test]
fn u16_a_cut_body_is_refused_at_every_byte() {
    for kind in KINDS {
        let whole = packet(kind);
        for len in BODY + 1..whole.len() {
            assert!(refuses(kind, &with_body(kind, &whole[BODY..len])), "{kind:?} of {len} bytes");
        }
    }
}
