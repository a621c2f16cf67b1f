//! Auth: what the initiator says first, as RLP. How it is sealed is `ecies`, what its signature proves `recipient.rs`.
//! devp2p specification, `rlpx.md`, "Initial Handshake"; EIP-8 form alone: more items, any version and trailing bytes
//! pass.

use bytes::BytesMut;
use identity::{PublicKey, Signature};

use super::{MAX_CONTENT_LEN, Nonce, VERSION, item, nonce, public_key};
use crate::{
    error::{DecodeError, Fault, HandshakeError, What},
    p2p::{append_string, exact_list},
};

/// Length of a signature on the wire, in bytes.
const SIGNATURE_LEN: usize = 65;

/// The initiator's message.
///
/// ```text
/// [signature: 65 bytes, initiator's key: 64 bytes, nonce: 32 bytes, version: int, ...]  and anything after it
/// ```
pub(crate) struct Auth {
    /// Over `static-shared-secret ^ nonce`, by the initiator's ephemeral key.
    pub(crate) signature: Signature,
    pub(crate) initiator: PublicKey,
    pub(crate) nonce: Nonce,
}

impl Auth {
    /// The message, and after it `padding`.
    pub(crate) fn encode(&self, padding: &[u8]) -> BytesMut {
        let mut stream = rlp::RlpStream::new_list_with_buffer(BytesMut::with_capacity(MAX_CONTENT_LEN), 4);
        append_string(&mut stream, &self.signature.0);
        append_string(&mut stream, self.initiator.as_bytes());
        append_string(&mut stream, &self.nonce);
        stream.append(&VERSION);
        let mut message = stream.out();
        message.extend_from_slice(padding);
        message
    }

    /// Reads a message. Items and bytes beyond the third are ignored, the version with them.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, HandshakeError> {
        let list = exact_list(message).ok_or(MALFORMED)?;
        Ok(Self {
            signature: Signature(item::<SIGNATURE_LEN>(&list, 0).ok_or(MALFORMED)?),
            initiator: public_key(&list, 1, What::Auth)?,
            nonce: nonce(&list, 2, What::Auth)?,
        })
    }
}

const MALFORMED: HandshakeError = HandshakeError::Content(DecodeError::new(What::Auth, Fault::Rlp));
