//! Frames by chance: messages of any code and length come out as they went in, however their bytes are cut, and no bytes
//! panic. Blocks of snappy the same way.

use identity::Keccak256;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{error::SessionError, snappy};

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Longest content that is taken here, in bytes.
const LIMIT: usize = 100_000;

/// One direction, both ends.
fn direction(key: [u8; 32]) -> (FrameEncoder, FrameDecoder) {
    let hashes = [(); 2].map(|()| {
        let mut hash = Keccak256::new();
        hash.update(&key);
        hash
    });
    let [sending, receiving] = FrameCipher::both(&key);
    let [egress, ingress] = FrameMac::both(&key, hashes);
    (FrameEncoder::new(sending, egress), FrameDecoder::new(receiving, ingress, LIMIT))
}

/// Messages: most are short, some longer than a read.
fn messages() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let code = (any::<u64>(), 0..64u32).prop_map(|(code, shift)| code >> shift);
    let payload = prop_oneof![
        6 => vec(any::<u8>(), 0..100),
        1 => (0..80_000usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    vec((code, payload), 1..12)
}

/// The messages in a stream that comes in pieces of these lengths, again and again.
fn decode(
    decoder: &mut FrameDecoder,
    mut bytes: &[u8],
    pieces: &[usize],
) -> Result<Vec<(u64, Vec<u8>)>, SessionError> {
    let (mut buffer, mut messages) = (ReadBuffer::default(), Vec::new());
    for piece in pieces.iter().cycle() {
        let room = buffer.room(decoder.unit_len());
        let len = room.len().min(bytes.len()).min(*piece);
        room[..len].copy_from_slice(&bytes[..len]);
        buffer.fill(len);
        bytes = &bytes[len..];
        while let Some(decoded) = decoder.decode(&mut buffer)? {
            let (code, code_len) = decode_code(&buffer.filled()[..decoded.len])?;
            let payload = buffer.take(code_len, decoded.len, decoded.unit_len);
            messages.push((code, payload.to_vec()));
        }
        if bytes.is_empty() {
            break;
        }
    }
    Ok(messages)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut(
        key in any::<[u8; 32]>(),
        messages in messages(),
        pieces in vec(1..5_000usize, 1..8),
    ) {
        let (mut encoder, mut decoder) = direction(key);
        let mut bytes = Vec::new();
        for (code, payload) in &messages {
            encoder.encode(*code, payload, &mut bytes).unwrap();
        }
        prop_assert_eq!(decode(&mut decoder, &bytes, &pieces), Ok(messages));
    }

    #[test]
    fn a_changed_byte_delivers_nothing_from_its_frame_on(
        key in any::<[u8; 32]>(),
        messages in messages(),
        (place, change) in (any::<Index>(), 1..=u8::MAX),
    ) {
        let (mut encoder, mut decoder) = direction(key);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (code, payload) in &messages {
            encoder.encode(*code, payload, &mut bytes).unwrap();
            ends.push(bytes.len());
        }
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        let whole = ends.iter().filter(|end| **end <= place).count();
        let (good, bad) = bytes.split_at(ends[..whole].last().copied().unwrap_or(0));
        prop_assert_eq!(decode(&mut decoder, good, &[4096]), Ok(messages[..whole].to_vec()));
        prop_assert_eq!(decode(&mut decoder, bad, &[4096]), Err(SessionError::Mac));
    }

    #[test]
    fn payloads_are_inflated_to_what_they_were(payload in vec(0..4u8, 0..3000), noise in vec(any::<u8>(), 0..300)) {
        for payload in [payload, noise] {
            let block = snappy::compress(&payload);
            prop_assert!(block.len() <= snappy::max_compressed_len(payload.len()));
            prop_assert_eq!(&snappy::decompress(&block, payload.len()).unwrap()[..], &payload[..]);
            if let Some(shorter) = payload.len().checked_sub(1) {
                prop_assert!(snappy::decompress(&block, shorter).is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn no_block_panics_or_becomes_longer_than_allowed(
        block in vec(any::<u8>(), 0..200),
        changes in vec(any::<(Index, u8)>(), 1..4),
        limit in 0..5_000usize,
    ) {
        let mut changed = snappy::compress(&[7, 8, 9, 7, 8, 9].repeat(50)).to_vec();
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        for block in [block, changed] {
            if let Ok(payload) = snappy::decompress(&block, limit) {
                prop_assert!(payload.len() <= limit);
            }
        }
    }

    #[test]
    fn no_content_of_a_frame_panics(content in vec(any::<u8>(), 0..20)) {
        if let Ok((code, len)) = decode_code(&content) {
            prop_assert_eq!(&rlp::encode(&code)[..], &content[..len]);
        }
    }
}
