//! RLPx: encrypted TCP transport, frames, the base protocol, peers, server and dialer.
//!
//! [`Server`] is a node's layer of peers: it listens and dials, keeps as many peers as it should, and serves each
//! [`Protocol`] that it is given. Here two of them have one that echoes:
//!
//! ```
//! use std::{net::Ipv4Addr, sync::Arc};
//!
//! use bytes::Bytes;
//! use rand::{rand_core::UnwrapErr, rngs::SysRng};
//! use rlpx::{
//!     Event, ProtocolVersion, Server, ServerConfig,
//!     identity::{CurvePool, Enode, Host, NodeKey},
//!     protocol,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 2 };
//! // Threads for the work on the curve, which as many servers share as there are.
//! let curves = CurvePool::for_this_machine();
//! let start = || {
//!     let echo = protocol("echo", [V1], |peer, mut messages| async move {
//!         while let Some(message) = messages.next().await {
//!             if peer.send(1, message.payload).await.is_err() {
//!                 return;
//!             }
//!         }
//!     });
//!     let key = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
//!     // All limits and times that an owner may set, with their defaults.
//!     let config = ServerConfig { max_peers: 10, ..ServerConfig::default() };
//!     let listens = (Ipv4Addr::LOCALHOST, 0).into();
//!     Server::builder(curves.handle(key)).listen(listens).protocol(echo).config(config).start()
//! };
//! let (ours, theirs) = (start()?, start()?);
//! let mut events = ours.events();
//! let (public_key, tcp) = (theirs.node_info().public_key, theirs.local_addr().map_or(0, |at| at.port()));
//! ours.add_peer(Enode { public_key, host: Host::Ip(Ipv4Addr::LOCALHOST.into()), tcp, udp: 0 }).await?;
//! let Some(Event::PeerConnected(peer)) = events.next().await else { panic!("it is there") };
//! assert_eq!((peer.public_key, peer.shared.len(), ours.peer_count()), (public_key, 1, 1));
//! ours.shutdown().await;
//! let end = events.next().await;
//! assert!(matches!(end, Some(Event::PeerDisconnected { .. })), "{end:?}");
//! # Ok(())
//! # }
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `tokio` (default) | all that has sockets and tasks: [`Server`], [`Connection`], [`Protocol`] |
//! | `nat` (default) | [`Nat`]: ports mapped by UPnP, NAT-PMP and PCP, the address from outside by STUN |
//! | `address-book` (default) | [`ServerBuilder::address_book`]: nodes that served, in a file |
//! | `testing` | two sessions or two protocols without sockets, and peers that send what a test likes |
//!
//! [`Session`] is the machine of one connection: bytes in, bytes out, and outputs to act on; it knows no socket and no
//! clock. Two of them, driven by hand without a runtime:
//!
//! ```
//! use std::sync::Arc;
//!
//! use identity::{NodeKey, Now, curve::{InlineCurve, Lane}};
//! use rand::{rand_core::UnwrapErr, rngs::SysRng};
//! use rlpx::{CapabilityName, LocalCapability, Message, Session, SessionConfig, SessionOutput, SharedMessage};
//!
//! struct End {
//!     session: Session,
//!     curve: InlineCurve<UnwrapErr<SysRng>>,
//!     received: Vec<Message>,
//! }
//!
//! impl End {
//!     /// After every input: act on what the session puts out.
//!     fn drain(&mut self, now: Now) {
//!         while let Some(output) = self.session.poll_output() {
//!             match output {
//!                 SessionOutput::Curve(job) => {
//!                     let result = self.curve.run(job.ops);
//!                     self.session.handle_curve(now, job.ticket, result);
//!                 }
//!                 // Here an owner decides whether it wants this peer.
//!                 SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } => self.session.admit(now),
//!                 SessionOutput::Message { message, .. } => self.received.push(message),
//!                 SessionOutput::Closed(end) => panic!("{end}"),
//!             }
//!         }
//!     }
//! }
//!
//! /// What a socket does. A driver also calls `handle_timeout` when `next_timeout` has come.
//! fn carry(from: &mut Session, to: &mut End, now: Now) -> usize {
//!     let room = to.session.read_buf();
//!     let len = room.len().min(from.write_buf().len());
//!     room[..len].copy_from_slice(&from.write_buf()[..len]);
//!     from.handle_written(now, len);
//!     to.session.handle_read(now, len);
//!     to.drain(now);
//!     len
//! }
//!
//! let now = Now::system();
//! let mut rng = UnwrapErr(SysRng);
//! let (alice, bob) = (Arc::new(NodeKey::generate(&mut rng)), Arc::new(NodeKey::generate(&mut rng)));
//! let chat = LocalCapability::new(CapabilityName::new("chat")?, 1, 2);
//! let config = |key: &NodeKey| Arc::new(SessionConfig::new(key.public_key(), "example/1.0", vec![chat]));
//!
//! let session = Session::initiator(now, config(&alice), bob.public_key(), Lane(1), &mut rng);
//! let mut alice = End { session, curve: InlineCurve::new(alice, UnwrapErr(SysRng)), received: vec![] };
//! let session = Session::recipient(now, config(&bob), Lane(2), &mut rng);
//! let mut bob = End { session, curve: InlineCurve::new(bob, UnwrapErr(SysRng)), received: vec![] };
//!
//! alice.drain(now);
//! bob.drain(now);
//! while carry(&mut alice.session, &mut bob, now) + carry(&mut bob.session, &mut alice, now) > 0 {}
//!
//! // Both have shaken hands and let each other in. The payload is RLP: here the text "hello".
//! alice.session.send(now, 0, &SharedMessage::new(1, (&b"\x85hello"[..]).into()))?;
//! while carry(&mut alice.session, &mut bob, now) > 0 {}
//! assert_eq!(bob.received[0].payload, &b"\x85hello"[..]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address_book;
mod admission;
mod bans;
pub mod budget;
mod buffer_pool;
mod capability;
pub mod config;
mod contradiction;
#[cfg(test)]
#[path = "../../../tests/counting/mod.rs"]
mod counting;
mod dialer;
#[cfg(feature = "tokio")]
mod driver;
mod ecies;
mod endings;
mod error;
mod expiring;
mod frame;
mod handshake;
pub mod limits;
mod message;
pub mod nat;
pub mod p2p;
mod peer;
mod peer_set;
mod race;
#[cfg_attr(not(any(test, feature = "tokio")), expect(dead_code, reason = "a driver keeps the rates"))]
mod rate;
mod reject;
mod rotation;
mod rtt;
pub mod server;
mod server_config;
mod session;
mod shortage;
mod snappy;
mod standing;
#[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "a driver writes it"))]
mod status;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;

pub use buffer_pool::BufferPool;
pub use capability::{
    BASE_MESSAGE_COUNT, Capability, CapabilityName, CapabilityNameError, SharedCapability,
    shared_capabilities,
};
pub use config::{BufferLimits, LocalCapability, MAX_MESSAGE_COUNT, SessionConfig, SessionLimits, Timeouts};
pub use error::{
    DecodeError, Fault, HandshakeError, Incompatibility, Misbehaviour, SessionEnd, SessionError, Wait, What,
};
pub use frame::SealJob;
/// Keys, ids, endpoints, records and the pool for work on the curve: what this crate's functions take and give.
pub use identity;
pub use limits::{AdmissionLimits, BookLimits, DialLimits, Limits, ListLimits, ProtocolLimits, QueueLimits};
pub use message::{Message, SharedMessage};
pub use p2p::{DisconnectReason, Hello};
pub use reject::Reject;
pub use rtt::Rtt;
pub use session::{SendError, Session, SessionOutput};

pub use address_book::{
    BookChanges, BookEntry, BookTimes, MAX_BOOK_ADDRESSES, MAX_BOOK_ENTRIES, MAX_ENTRY_LEN,
};
pub use admission::Refusal;
pub use bans::{Ban, BanTarget};
pub use contradiction::Contradiction;
pub use dialer::Candidate;
#[cfg(feature = "address-book")]
pub use driver::BookError;
#[cfg(feature = "tokio")]
pub use driver::{
    ConfigError, ConnectError, Connection, Counts, Event, EventStream, FunctionProtocol, Held, Link,
    MessageStream, NodeInfo, Protocol, ProtocolPeer, ProtocolSession, ProtocolVersion, Received, Server,
    ServerBuilder, bind_listener, protocol,
};
#[cfg(feature = "nat")]
pub use driver::{Nat, NatChanges, NatConfig, NatConfigError};
pub use endings::Endings;
pub use peer::{PeerId, PeerInfo};
pub use race::{ATTEMPT_DELAY, Race};
pub use server::CommandError;
pub use server_config::{
    HoldTimes, MAX_LISTENERS, MIN_RATE, RateLimits, RedialTimes, RotationTimes, ServerConfig, ServerTimes,
    Slots,
};
pub use standing::Verdict;
pub use status::{Details, MAX_DETAIL_LEN, MAX_DETAILS, PeerStatus, ProtocolStatus};
pub use tally::{CodeTraffic, MAX_COUNTED_CODES, ProtocolTraffic, Volume};

/// Unit tests measure what decoders allocate, each on its own thread.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting { grows_in_place: false };
