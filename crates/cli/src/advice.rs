//! What to change when a node says no: for every way a session can end, one sentence for the user.
//! The reasons themselves, and their words, are rlpx's.

use devp2p::rlpx::{HandshakeError, SessionEnd, SessionError, Wait, p2p::DisconnectReason};

/// What the user can do about the way a session ended.
pub(crate) fn for_end(end: &SessionEnd) -> &'static str {
    match end {
        SessionEnd::Local { reason, error: None } | SessionEnd::Remote(reason) => for_reason(*reason),
        SessionEnd::Local { error: Some(error), .. } | SessionEnd::Broken(error) => for_error(error),
    }
}

/// What the user can do about a Disconnect reason.
pub(crate) const fn for_reason(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::Requested => "the node was told to hang up, or does so after a probe: try again",
        DisconnectReason::NetworkError => "the connection broke at the node: try again",
        DisconnectReason::ProtocolError => {
            "the node found our messages malformed: compare the versions above"
        }
        DisconnectReason::UselessPeer => "no capability in common: compare the capabilities above with ours",
        DisconnectReason::TooManyPeers => {
            "the node is full: try later, raise its --maxpeers, or make this key a trusted peer there (admin_addTrustedPeer)"
        }
        DisconnectReason::AlreadyConnected => "the node has a session with this key: use another --nodekey",
        DisconnectReason::IncompatibleVersion => "the node speaks another version of the base protocol",
        DisconnectReason::InvalidIdentity => {
            "the node found no key in our Hello: report this as a fault of ours"
        }
        DisconnectReason::Quitting => "the node is shutting down: try again when it is up",
        DisconnectReason::UnexpectedIdentity => {
            "another node than the URL names answers there: check the public key"
        }
        DisconnectReason::ConnectedToSelf => "the node has our own key: use another --nodekey",
        DisconnectReason::ReadTimeout => "the node waited for us in vain: check the line between the two",
        DisconnectReason::SubprotocolError => {
            "eth refused us: compare network id, genesis and fork id (--genesis, --networkid)"
        }
        DisconnectReason::Unknown(_) => "the node's own reason: see its log",
    }
}

const fn for_error(error: &SessionError) -> &'static str {
    match error {
        SessionError::Handshake(HandshakeError::Size { .. }) => {
            "what answers there is not RLPx: check the port"
        }
        SessionError::Handshake(_) => "the handshake cannot be read: check the public key of the URL",
        SessionError::TimedOut(Wait::Handshake) => {
            "something listens there but does not answer as a node: check the port"
        }
        SessionError::TimedOut(_) => "the node has gone silent: check the line between the two",
        SessionError::Exhausted => {
            "let this program open more files (ulimit -n), or free ports on this machine"
        }
        SessionError::Nowhere => {
            "the name cannot be resolved, or leads to addresses that are not dialed: check it"
        }
        SessionError::Stalled(_) => "a protocol of ours takes no messages: look into that",
        SessionError::Panicked(_) => "a protocol of ours panicked: report this as a fault of ours",
        SessionError::Protocol(_) => "a protocol of ours wanted the end: see the reason above",
        SessionError::Eof | SessionError::Io(_) => {
            "the node hung up without a word: it may have another key than the URL names, be full, or refuse our address"
        }
        SessionError::Incompatible(_) => "the nodes do not fit: compare the lines above",
        SessionError::Mac | SessionError::Malformed(_) | SessionError::Misbehaved(_) => {
            "the node broke the protocol: report it to its makers, with the client name above"
        }
        SessionError::Remote(reason) => for_reason(*reason),
    }
}
