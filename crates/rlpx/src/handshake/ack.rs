//! Ack: the recipient's answer, as RLP. How it is sealed is `ecies`, who waits for it `initiator.rs`. devp2p
//! specification, `rlpx.md`, "Initial Handshake"; EIP-8 form alone: more items, any version and trailing bytes pass.

use bytes::BytesMut;
use identity::PublicKey;

use super::{MAX_CONTENT_LEN, Nonce, VERSION, nonce, public_key};
use crate::{
    error::{DecodeError, Fault, HandshakeError, What},
    p2p::{append_string, exact_list},
};

/// The recipient's message.
///
/// ```text
/// [ephemeral key: 64 bytes, nonce: 32 bytes, version: int, ...]  and anything after it
/// ```
pub(crate) struct Ack {
    pub(crate) ephemeral: PublicKey,
    pub(crate) nonce: Nonce,
}

impl Ack {
    /// The message, and after it `padding`.
    pub(crate) fn encode(&self, padding: &[u8]) -> BytesMut {
        let mut stream = rlp::RlpStream::new_list_with_buffer(BytesMut::with_capacity(MAX_CONTENT_LEN), 3);
        append_string(&mut stream, self.ephemeral.as_bytes());
        append_string(&mut stream, &self.nonce);
        stream.append(&VERSION);
        let mut message = stream.out();
        message.extend_from_slice(padding);
        message
    }

    /// Reads a message. Items and bytes beyond the second are ignored, the version with them.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, HandshakeError> {
        const MALFORMED: HandshakeError = HandshakeError::Content(DecodeError::new(What::Ack, Fault::Rlp));
        let list = exact_list(message).ok_or(MALFORMED)?;
        Ok(Self { ephemeral: public_key(&list, 0, What::Ack)?, nonce: nonce(&list, 1, What::Ack)? })
    }
}
