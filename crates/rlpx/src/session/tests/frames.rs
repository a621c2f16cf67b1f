//! Frames that no honest peer sends, as a session meets them: our own sent back, and contents without a code.
//! The frame layer by itself is `frame/tests.rs`; changed, cut and overlong frames are in `base.rs`.

use identity::steps;
use proptest::{collection::vec, prelude::*};

use super::kit::*;
use crate::{
    DisconnectReason, Reject, SessionError,
    config::PING_INTERVAL,
    error::{DecodeError, Fault, What},
};

#[test]
fn f07_our_own_frames_sent_back_to_us_have_the_wrong_mac() {
    let now = start();
    let reflect = |mut end: End, at: identity::Now| {
        let own = end.written(at);
        assert!(end.end.is_none() && !own.is_empty());
        let rejects = end.session.config.rejects.clone();
        end.read(at, &own);
        assert_eq!(end.broken(), SessionError::Mac);
        assert!(end.written(at).is_empty());
        assert_eq!((rejects.count(Reject::FrameMac), rejects.total()), (1, 1));
    };
    // The first frame of each side, when nothing but the handshake tells the directions apart.
    let meet = || {
        let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
        let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
        b.admits = false;
        carry(now, &mut a, &mut b);
        carry(now, &mut b, &mut a);
        b.session.admit(now);
        [a, b]
    };
    meet().into_iter().for_each(|end| reflect(end, now));
    // And a later one.
    let due = now.later(PING_INTERVAL);
    let (a, b) = pair(now, config(&key(1)), config(&key(2)));
    for mut end in [a, b] {
        end.timeout(due);
        reflect(end, due);
    }
}

/// The frame of a content that may be anything.
fn raw(peer: &mut Scripted, content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut header = [0; 16];
    header[..3].copy_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
    peer.encoder.seal_header(header, &mut frame);
    let start = frame.len();
    frame.extend_from_slice(content);
    frame.resize(start + content.len().next_multiple_of(16), 0);
    peer.encoder.seal_body(start, &mut frame);
    frame
}

#[test]
fn f12_a_content_without_a_canonical_code_is_a_breach() {
    let now = start();
    let bad: [&[u8]; 9] = [
        &[0x00],
        &[0x81, 0x7f],
        &[0x82, 0x00, 0x01],
        &[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 0x01],
        &[0xb8, 0x01, 0x11],
        &[0xc0],
        &[0xc1, 0x11],
        &[0xff],
    ];
    for version in [4, 5] {
        for content in bad {
            let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
            let rejects = end.session.config.rejects.clone();
            let frame = raw(&mut peer, content);
            end.read(now, &frame);
            assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError, "{content:02x?}");
            assert_eq!((rejects.count(Reject::FrameCode), rejects.total()), (1, 1), "{content:02x?}");
            assert!(end.messages.is_empty());
        }
    }
}

#[test]
fn f05_a_frame_of_no_bytes_is_a_breach_and_one_of_a_code_alone_is_none() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    let frame = raw(&mut peer, &[16]);
    end.read(now, &frame);
    assert_eq!((end.messages.len(), end.messages[0].1.payload.len(), end.end), (1, 0, None));
    for version in [4, 5] {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
        let rejects = end.session.config.rejects.clone();
        let frame = raw(&mut peer, &[]);
        end.read(now, &frame);
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
        assert_eq!((rejects.count(Reject::FrameSize), rejects.total()), (1, 1));
        let missing = SessionError::Malformed(DecodeError::new(What::Frame, Fault::Missing));
        let local =
            crate::SessionEnd::Local { reason: DisconnectReason::ProtocolError, error: Some(missing) };
        assert_eq!(end.end, Some(local));
    }
}

/// What a peer sends: contents of frames, or bytes that are none.
fn sendings() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    let content = prop_oneof![
        vec(any::<u8>(), 0..40),
        (prop::sample::select(vec![0x80, 1, 2, 3, 5, 16, 17, 30]), vec(any::<u8>(), 0..40))
            .prop_map(|(code, payload)| [vec![code], payload].concat()),
    ];
    vec(prop_oneof![9 => content.prop_map(Some), 1 => Just(None)], 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn f15_a_session_takes_a_step_for_each_frame_and_each_read_whatever_comes(
        sendings in sendings(),
        piece in 1..200usize,
        is_plain in any::<bool>(),
    ) {
        let now = start();
        let version = if is_plain { 4 } else { 5 };
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
        let (mut bytes, mut frames) = (Vec::new(), 0);
        for content in sendings {
            match content {
                Some(content) => {
                    bytes.extend(raw(&mut peer, &content));
                    frames += 1;
                }
                None => bytes.extend([0x5a; 7]),
            }
        }
        // A read may end within the rest of a header, and is followed by one step that finds no more.
        let reads = bytes.len().div_ceil(piece) + 2 * frames + 2;
        let (_, taken) = steps::within(frames + reads, || {
            end.read_in_pieces(now, &bytes, piece);
            end.eof(now);
        });
        prop_assert!(taken > 0);
    }
}
