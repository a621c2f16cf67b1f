//! Tests against real clients on loopback. Without the client each fails with one line that says how to get it.

#[path = "live/chain.rs"]
mod chain;
#[path = "live/discovery.rs"]
mod discovery;
#[path = "live/ethereumjs.rs"]
mod ethereumjs;
#[path = "live/genesis.rs"]
mod genesis;
#[path = "live/gossip.rs"]
mod gossip;
#[path = "live/handshake.rs"]
mod handshake;
#[path = "live/hang_ups.rs"]
mod hang_ups;
#[path = "live/launcher.rs"]
mod launcher;
#[path = "live/ours.rs"]
mod ours;
#[path = "live/reasons.rs"]
mod reasons;
#[path = "live/returns.rs"]
mod returns;
#[path = "live/slots.rs"]
mod slots;
#[path = "live/stranger.rs"]
mod stranger;
#[path = "live/transport.rs"]
mod transport;
