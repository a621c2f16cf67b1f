//! Reasons to disconnect, from one session to another: each arrives as it was sent, whoever dialed, before Hello and
//! after, compressed or not; and which reason each error of ours leads to. The forms that others send are in `base.rs`.

use std::io::ErrorKind;

use super::kit::*;
use crate::{
    CapabilityName, DisconnectReason, HandshakeError, SessionConfig, SessionEnd, SessionError, Wait,
    error::{DecodeError, Fault, Incompatibility, Misbehaviour, What},
};

fn config_of(byte: u8, version: u64) -> SessionConfig {
    let mut config = config(&key(byte));
    config.hello.protocol_version = version;
    config
}

/// One end, dialler or not, tells the other its reason: instead of its Hello, or once both run.
fn tell(reason: DisconnectReason, by_dialler: bool, instead_of_hello: bool, version: u64) {
    let now = start();
    let mut a = End::initiator(now, &key(1), config_of(1, version), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config_of(2, version), 2);
    let place = format!("{reason:?}, by dialler {by_dialler}, for Hello {instead_of_hello}, v{version}");
    let who = if by_dialler { &mut a } else { &mut b };
    who.admits = !instead_of_hello;
    pump(now, &mut a, &mut b);
    let (teller, told) = if by_dialler { (&mut a, &mut b) } else { (&mut b, &mut a) };
    assert!(teller.authenticated.is_some(), "{place}");
    assert_eq!(teller.session.is_running() && told.session.is_running(), !instead_of_hello, "{place}");
    teller.session.disconnect(now, reason);
    teller.drain(now);
    pump(now, &mut a, &mut b);
    let (teller, told) = if by_dialler { (a, b) } else { (b, a) };
    assert_eq!(teller.end, Some(SessionEnd::Local { reason, error: None }), "{place}");
    assert_eq!(told.end, Some(SessionEnd::Remote(reason)), "{place}");
}

#[test]
fn every_named_reason_arrives_both_ways_before_and_after_hello() {
    for (index, reason) in DisconnectReason::NAMED.into_iter().enumerate() {
        assert!(
            !matches!(reason, DisconnectReason::Unknown(_))
                && !DisconnectReason::NAMED[..index].contains(&reason)
        );
        for (by_dialler, instead_of_hello) in [(false, false), (false, true), (true, false), (true, true)] {
            for version in [4, 5] {
                tell(reason, by_dialler, instead_of_hello, version);
            }
        }
    }
    // There is no thirteenth name that was forgotten.
    let named =
        (0..=255).filter(|code| !matches!(DisconnectReason::from_code(*code), DisconnectReason::Unknown(_)));
    assert_eq!(named.map(DisconnectReason::from_code).collect::<Vec<_>>(), DisconnectReason::NAMED);
}

#[test]
fn each_cause_has_its_reason() {
    use DisconnectReason as R;
    use SessionError as E;
    let malformed = |what, fault| E::Malformed(DecodeError::new(what, fault));
    let too_long = Fault::TooLong { limit: 1, found: 2 };
    let table = [
        (E::Handshake(HandshakeError::Size { found: 1 }), R::NetworkError),
        (E::Handshake(HandshakeError::Envelope), R::NetworkError),
        (E::Mac, R::NetworkError),
        (malformed(What::Frame, Fault::Missing), R::ProtocolError),
        (malformed(What::Code, Fault::Rlp), R::ProtocolError),
        (malformed(What::Hello, Fault::Rlp), R::ProtocolError),
        (malformed(What::Payload, Fault::Snappy), R::ProtocolError),
        (malformed(What::Payload, too_long), R::ProtocolError),
        (E::Misbehaved(Misbehaviour::NoHello { code: 16 }), R::ProtocolError),
        (E::Misbehaved(Misbehaviour::SecondHello), R::ProtocolError),
        (E::Misbehaved(Misbehaviour::UnknownCode { code: 99 }), R::ProtocolError),
        (E::Misbehaved(Misbehaviour::ReservedCodes { code: 4 }), R::ProtocolError),
        (E::Misbehaved(Misbehaviour::PingFlood), R::ProtocolError),
        (E::Incompatible(Incompatibility::NothingShared), R::UselessPeer),
        (E::Incompatible(Incompatibility::NoIdentity), R::InvalidIdentity),
        (E::Incompatible(Incompatibility::OtherIdentity), R::UnexpectedIdentity),
        (E::Incompatible(Incompatibility::OwnKey), R::ConnectedToSelf),
        (E::TimedOut(Wait::Handshake), R::ReadTimeout),
        (E::TimedOut(Wait::Read), R::ReadTimeout),
        (E::TimedOut(Wait::Frame), R::ReadTimeout),
        (E::TimedOut(Wait::Write), R::ReadTimeout),
        (E::TimedOut(Wait::Memory), R::TooManyPeers),
        (E::TimedOut(Wait::Pace), R::ReadTimeout),
        (E::Stalled(CapabilityName::new("chat").unwrap()), R::Requested),
        (E::Exhausted, R::NetworkError),
        (E::Eof, R::NetworkError),
        (E::Io(ErrorKind::ConnectionReset), R::NetworkError),
        (E::Remote(R::Quitting), R::Quitting),
    ];
    for (error, reason) in table {
        assert_eq!(R::from(&error), reason, "{error:?}");
        assert_eq!(SessionEnd::Broken(error).reason(), reason, "{error:?}");
    }
}
