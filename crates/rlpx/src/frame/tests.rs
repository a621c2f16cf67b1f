//! Frames against tampering, truncation, replay, and headers as nobody sends them. Encoder and decoder face each other
//! without a handshake: their secrets come from a seed. Frames within a session are `session/tests/messages.rs`.

use identity::{Keccak256, keccak256};

use super::*;
use crate::{
    config::MAX_READ_CHUNK,
    error::{DecodeError, Fault, SessionError, What},
};

const LIMIT: usize = 0xff_ffff;

/// A hash that has taken in `bytes`.
fn seeded(bytes: &[u8]) -> Keccak256 {
    let mut hash = Keccak256::new();
    hash.update(bytes);
    hash
}

/// One direction, both ends.
fn direction(seed: u8) -> (FrameEncoder, FrameDecoder) {
    let aes = keccak256(&[seed, 1]);
    let mac = keccak256(&[seed, 2]);
    let [sending, receiving] = FrameCipher::both(&aes);
    let [egress, ingress] = FrameMac::both(&mac, [(); 2].map(|()| seeded(&[seed, 3])));
    (FrameEncoder::new(sending, egress), FrameDecoder::new(receiving, ingress, LIMIT))
}

fn encode(encoder: &mut FrameEncoder, code: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.encode(code, payload, &mut out).unwrap();
    out
}

#[test]
fn a_payload_made_in_its_place_is_encrypted_as_one_that_is_copied_there() {
    let ((mut one, _), (mut other, _)) = (direction(5), direction(5));
    let (mut expected, mut made) = (Vec::new(), Vec::new());
    for (code, len) in [(0, 0), (1, 1), (16, 15), (200, 16), (1 << 40, 1_000), (7, 300_000)] {
        let payload: Vec<u8> = (0..len).map(|byte: u32| byte as u8).collect();
        one.encode(code, &payload, &mut expected).unwrap();
        let write = |place: &mut [u8]| {
            place[..payload.len()].copy_from_slice(&payload);
            payload.len()
        };
        other.encode_with(code, payload.len() + 100, &mut made, write).unwrap();
        assert!(made == expected, "{len} bytes");
    }
    assert_eq!(other.encode_with(0, LIMIT, &mut made, |place| place.len()), Err(FrameTooLong));
    one.encode(0, &[1], &mut expected).unwrap();
    other.encode(0, &[1], &mut made).unwrap();
    assert_eq!(made, expected);
}

/// A frame of any header and any padded body.
fn encode_raw(encoder: &mut FrameEncoder, header: [u8; HEADER_LEN], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.seal_header(header, &mut out);
    out.extend_from_slice(body);
    encoder.seal_body(HEADER_LEN + MAC_LEN, &mut out);
    out
}

/// What a decoder makes of `bytes`: the contents of whole frames, and how it ended.
fn decode(decoder: &mut FrameDecoder, mut bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), SessionError>) {
    let mut buffer = ReadBuffer::default();
    let mut contents = Vec::new();
    loop {
        let room = buffer.room(decoder.unit_len());
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        buffer.fill(len);
        bytes = &bytes[len..];
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(decoded)) => {
                    contents.push(buffer.filled()[..decoded.len].to_vec());
                    buffer.consume(decoded.unit_len);
                }
                Ok(None) => break,
                Err(error) => return (contents, Err(error)),
            }
        }
        if bytes.is_empty() {
            return (contents, Ok(()));
        }
    }
}

fn header(size: usize, rest: [u8; 13]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..3].copy_from_slice(&(size as u32).to_be_bytes()[1..]);
    header[3..].copy_from_slice(&rest);
    header
}

#[test]
fn f01_no_flipped_bit_of_a_frame_passes() {
    for len in 0..=256 {
        // Each bit of header, header MAC, body, padding and body MAC.
        let frame = encode(&mut direction(1).0, 7, &vec![0x5a; len]);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (contents, end) = decode(&mut direction(1).1, &bad);
            assert_eq!((contents.len(), end), (0, Err(SessionError::Mac)), "length {len}, bit {bit}");
        }
    }
}

#[test]
fn f02_a_cut_frame_delivers_nothing() {
    let frame = encode(&mut direction(1).0, 7, &[0x5a; 100]);
    for len in 0..frame.len() {
        assert_eq!(decode(&mut direction(1).1, &frame[..len]), (vec![], Ok(())), "{len} bytes");
    }
}

#[test]
fn f04_a_header_over_the_limit_is_refused_before_its_body() {
    let (mut encoder, mut decoder) = direction(1);
    decoder.set_limit(2048);
    let header = encode(&mut encoder, 0, &[0; 2048])[..HEADER_LEN + MAC_LEN].to_vec();
    let fault = Fault::TooLong { limit: 2048, found: 2049 };
    let expected = Err(SessionError::Malformed(DecodeError::new(What::Frame, fault)));
    assert_eq!(decode(&mut decoder, &header), (vec![], expected));
}

#[test]
fn f05_an_empty_frame_is_refused_and_padding_is_not_looked_at() {
    let (mut encoder, mut decoder) = direction(1);
    let empty = encode_raw(&mut encoder, header(0, [0; 13]), &[]);
    let expected = Err(SessionError::Malformed(DecodeError::new(What::Frame, Fault::Missing)));
    assert_eq!(decode(&mut decoder, &empty), (vec![], expected));

    let (mut encoder, mut decoder) = direction(1);
    let mut bytes = encode_raw(&mut encoder, header(1, [0; 13]), &[0xff; 16]);
    bytes.extend(encode_raw(&mut encoder, header(17, [0; 13]), &[0xee; 32]));
    assert_eq!(decode(&mut decoder, &bytes), (vec![vec![0xff], vec![0xee; 17]], Ok(())));
}

#[test]
fn f06_header_data_is_ignored_and_merges_nothing() {
    let nested = [0xc1; 13];
    let chunked = [0xc6, 0x01, 0x02, 0x83, 0x01, 0x00, 0x00, 0, 0, 0, 0, 0, 0];
    for rest in [[0; 13], [0xff; 13], nested, chunked, [0xbf; 13], [0xf8; 13]] {
        let (mut encoder, mut decoder) = direction(1);
        let mut bytes = encode_raw(&mut encoder, header(3, rest), &[1; 16]);
        bytes.extend(encode_raw(&mut encoder, header(2, rest), &[2; 16]));
        assert_eq!(decode(&mut decoder, &bytes), (vec![vec![1; 3], vec![2; 2]], Ok(())));
    }
}

#[test]
fn f07_replayed_reordered_and_foreign_frames_are_refused() {
    let (mut encoder, mut decoder) = direction(1);
    let first = encode(&mut encoder, 1, b"first");
    let second = encode(&mut encoder, 2, b"second");
    let refused = |decoder: &mut FrameDecoder, frames: &[&Vec<u8>]| {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
        decode(decoder, &bytes).1
    };
    assert_eq!(refused(&mut direction(1).1, &[&first, &first]), Err(SessionError::Mac));
    assert_eq!(refused(&mut direction(1).1, &[&second]), Err(SessionError::Mac));
    assert_eq!(refused(&mut direction(1).1, &[&second, &first]), Err(SessionError::Mac));
    assert_eq!(refused(&mut direction(2).1, &[&first]), Err(SessionError::Mac));
    assert_eq!(refused(&mut decoder, &[&first, &second]), Ok(()));
}

#[test]
fn f12_only_canonical_codes_are_read() {
    type Code = Option<(u64, usize)>;
    let expected: [(&[u8], Code); 14] = [
        (&[0x80], Some((0, 1))),
        (&[0x01], Some((1, 1))),
        (&[0x7f, 9], Some((0x7f, 1))),
        (&[0x81, 0x80], Some((0x80, 2))),
        (&[0x82, 0x01, 0x00], Some((0x100, 3))),
        (&[0x85, 1, 0, 0, 0, 0], Some((1 << 32, 6))),
        (&[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some((u64::MAX, 9))),
        (&[], None),
        (&[0x00], None),
        (&[0x81, 0x7f], None),
        (&[0x82, 0x00, 0x80], None),
        (&[0x82, 0x01], None),
        (&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
        (&[0xc0], None),
    ];
    for (content, code) in expected {
        assert_eq!(decode_code(content).ok(), code, "{content:02x?}");
    }
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            // Never a panic, and never more than there is.
            let content = [first, second];
            assert!(decode_code(&content).map_or(true, |(_, len)| len <= 2), "{content:02x?}");
        }
    }
}

#[test]
fn f17_what_no_frame_can_carry_changes_nothing() {
    let (mut encoder, mut decoder) = direction(1);
    let mut out = Vec::new();
    assert_eq!(encoder.encode(1, &vec![0; LIMIT], &mut out), Err(FrameTooLong));
    assert!(out.is_empty());
    encoder.encode(1, &vec![7; LIMIT - 1], &mut out).unwrap();
    let (contents, end) = decode(&mut decoder, &out);
    assert_eq!((contents.len(), contents[0].len(), end), (1, LIMIT, Ok(())));
}

#[test]
fn frames_of_every_length_round_trip_in_one_stream() {
    let (mut encoder, mut decoder) = direction(1);
    let payload: Vec<u8> = (0..600u32).map(|byte| byte as u8).collect();
    let mut bytes = Vec::new();
    for len in 0..payload.len() {
        encoder.encode(0x80 + len as u64, &payload[..len], &mut bytes).unwrap();
    }
    let (contents, end) = decode(&mut decoder, &bytes);
    assert_eq!((contents.len(), end), (payload.len(), Ok(())));
    for (len, content) in contents.iter().enumerate() {
        let (code, code_len) = decode_code(content).unwrap();
        assert_eq!((code, &content[code_len..]), (0x80 + len as u64, &payload[..len]));
    }
}

#[test]
fn f03_the_read_buffer_grows_with_what_came_and_shrinks_after_it() {
    const PIECES: [usize; 4] = [1000, 4096, 50_000, 1_000_000];
    for piece in PIECES {
        let (mut encoder, mut decoder) = direction(1);
        let frame = encode(&mut encoder, 1, &vec![7; 3_000_000]);
        let mut buffer = ReadBuffer::default();
        let mut received = 0;
        let mut reallocations = 0;
        while received < frame.len() {
            let before = buffer.capacity();
            let room = buffer.room(decoder.unit_len());
            let len = room.len().min(piece).min(frame.len() - received);
            room[..len].copy_from_slice(&frame[received..received + len]);
            reallocations += usize::from(buffer.capacity() != before);
            let limit = 2 * received + MAX_READ_CHUNK;
            assert!(buffer.capacity() <= limit, "{} after {received} bytes", buffer.capacity());
            buffer.fill(len);
            received += len;
            if let Some(decoded) = decoder.decode(&mut buffer).unwrap() {
                buffer.consume(decoded.unit_len);
            }
        }
        assert!(buffer.filled().is_empty());
        assert!(buffer.capacity() <= MAX_READ_CHUNK, "{}", buffer.capacity());
        assert!(reallocations < 20, "{reallocations} times for pieces of {piece}");
    }
}

#[test]
fn a_long_payload_is_handed_on_with_its_buffer_and_a_short_one_is_copied() {
    for (len, shares) in [(100, false), (100_000, true)] {
        let mut buffer = ReadBuffer::default();
        let total = len + 10;
        let mut filled = 0;
        while filled < total {
            let room = buffer.room(total);
            let len = room.len().min(total - filled);
            room[..len].fill(7);
            buffer.fill(len);
            filled += len;
        }
        let place = buffer.filled()[4..].as_ptr();
        let payload = buffer.take(4, 4 + len, total);
        assert_eq!(payload, vec![7; len]);
        assert_eq!(payload.as_ptr() == place, shares, "{len} bytes");
        assert!(buffer.filled().is_empty());
    }
}

#[test]
fn what_follows_a_handed_on_payload_is_kept() {
    let mut buffer = ReadBuffer::default();
    let total = MAX_READ_CHUNK;
    let room = buffer.exact_room(total);
    for (place, byte) in room.iter_mut().enumerate() {
        *byte = (place / 1000) as u8;
    }
    buffer.fill(total);
    let payload = buffer.take(0, 30_000, 40_000);
    assert_eq!((payload.len(), payload[29_999]), (30_000, 29));
    assert_eq!((buffer.filled().len(), buffer.filled()[0]), (total - 40_000, 40));
}

#[test]
fn the_next_header_starts_from_the_digest_of_the_last_tag() {
    let [mut mac, _] = FrameMac::both(&[1; 32], [seeded(b"seed"), seeded(b"other")]);
    assert_eq!(mac.digests(), 0);
    for frame in 1..=10 {
        mac.header(&[2; HEADER_LEN]);
        mac.absorb(&[3; 32]);
        mac.body();
        // The first frame has no frame before it; each further one costs three.
        assert_eq!(mac.digests(), 1 + 3 * frame);
    }
}
