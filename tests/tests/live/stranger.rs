//! A peer that the test plays against a real client: it shakes hands as it should, and then says what the test says.
//! Unlike a node of ours it may lie, keep silent, and come with anybody's key.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use devp2p::{
    identity::{Endpoint, Enode, NodeKey, PublicKey},
    rlpx::{
        BASE_MESSAGE_COUNT, Capability, CapabilityName, DisconnectReason, Hello,
        testing::{Role, ScriptedPeer, curve},
    },
};
use interop::{Failure, Result, geth::Geth};

use crate::ours::LIMIT;

/// Codes of the base protocol (`rlpx.md`, "p2p Capability").
const HELLO: u64 = 0x00;
const DISCONNECT: u64 = 0x01;
/// Status, the first message of the one capability that a stranger shares.
pub(crate) const STATUS: u64 = BASE_MESSAGE_COUNT;
/// From this version of the base protocol on, payloads are compressed.
const SNAPPY_VERSION: u64 = 5;
/// RLP writes zero as the empty string.
const RLP_ZERO: u8 = 0x80;

/// How the other end left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// With a Disconnect.
    Told(DisconnectReason),
    /// Without a word.
    Silent,
}

/// A connection past the encrypted handshake.
pub(crate) struct Stranger {
    key: Arc<NodeKey>,
    stream: TcpStream,
    peer: ScriptedPeer,
    /// Whether payloads will be compressed once both Hellos are out.
    compresses: bool,
    /// Whether the other end's Hello has come.
    greeted: bool,
}

/// The node key that `secret` makes.
pub(crate) fn key(secret: u8) -> Arc<NodeKey> {
    Arc::new(NodeKey::from_bytes(&[secret; 32]).expect("a small number is a key"))
}

/// A capability by name and version.
pub(crate) fn capability(name: &str, version: u32) -> Capability {
    Capability { name: CapabilityName::new(name).expect("a name"), version }
}

/// What the node with `public_key` says of itself: version 5, eth/69 and nothing else.
pub(crate) fn hello(public_key: PublicKey) -> Hello {
    Hello {
        protocol_version: SNAPPY_VERSION,
        client_name: "stranger".to_owned(),
        capabilities: vec![capability("eth", 69)],
        listen_port: 0,
        public_key,
    }
}

impl Stranger {
    /// Dials `node` with the node key `key`.
    pub(crate) fn dial(node: &Enode, key: Arc<NodeKey>) -> Result<Self> {
        let address = node.endpoint().and_then(|endpoint| endpoint.tcp_addr()).expect("it listens");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let keys = (key.public_key(), node.public_key);
        let seed = u64::from(stream.local_addr()?.port());
        let own = &mut curve(Arc::clone(&key), seed);
        let peer = ScriptedPeer::connect_over(Role::Dialer, &mut stream, keys, own, seed)?;
        Ok(Self { key, stream, peer, compresses: false, greeted: false })
    }

    /// Dials `geth`, says the ordinary Hello and sends geth its own Status back: then it is a peer.
    pub(crate) fn settle(geth: &Geth, key: Arc<NodeKey>, version: u64) -> Result<Self> {
        let mut stranger = Self::dial(geth.enode(), key)?;
        let hello = Hello { protocol_version: version, ..hello(stranger.key.public_key()) };
        stranger.hello(&hello)?;
        loop {
            match stranger.next()? {
                Some((STATUS, status)) => break stranger.send(STATUS, &status)?,
                Some((DISCONNECT, reason)) => return Err(Failure::new(format!("refused: {reason:?}"))),
                Some(_) => {}
                None => return Err(Failure::new("closed before Status")),
            }
        }
        geth.wait_for_peer(&stranger.key.node_id(), LIMIT)?;
        Ok(stranger)
    }

    /// Where the other end sees it.
    pub(crate) fn enode(&self) -> Result<Enode> {
        let address = self.stream.local_addr()?;
        let endpoint = Endpoint { ip: address.ip(), udp: address.port(), tcp: address.port() };
        Ok(Enode::new(self.key.public_key(), endpoint))
    }

    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<()> {
        self.compresses = hello.protocol_version >= SNAPPY_VERSION;
        let frame = self.peer.hello(hello);
        self.write(&frame)
    }

    /// Sends a message, its code as the wire counts it, once the other end has said Hello: before that no version is known.
    pub(crate) fn send(&mut self, code: u64, payload: &[u8]) -> Result<()> {
        while !self.greeted {
            self.next()?.ok_or_else(|| Failure::new("closed before Hello"))?;
        }
        let frame = self.peer.message(code, payload);
        self.write(&frame)
    }

    /// Sends bytes that no frame is made of.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next message; None at the stream's end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        // One at a time: what follows Hello is read otherwise than Hello.
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // Whoever closes with something unread in its socket resets the connection.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let read = self.peer.read(&byte).map_err(|error| Failure::new(error.to_string()))?;
            if let Some(message) = read.into_iter().next() {
                if message.0 == HELLO {
                    self.greeted = true;
                    self.peer.snappy = self.compresses;
                }
                return Ok(Some(message));
            }
        }
    }

    /// Reads to the end of the connection: the reason in the other end's Disconnect.
    pub(crate) fn parting(&mut self) -> Result<Parting> {
        let mut parting = Parting::Silent;
        while let Some((code, payload)) = self.next()? {
            if code == DISCONNECT {
                parting = Parting::Told(reason(&payload));
            }
        }
        Ok(parting)
    }
}

/// The reason in a Disconnect: a list of one number below 0x80, or the number alone.
fn reason(payload: &[u8]) -> DisconnectReason {
    match payload {
        [0xc1, RLP_ZERO] | [RLP_ZERO] => DisconnectReason::Requested,
        [0xc1, code] | [code] => DisconnectReason::from_code(*code),
        _ => DisconnectReason::INVALID,
    }
}
