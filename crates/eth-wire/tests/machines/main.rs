//! The eth machine against scripted peers, and up to twenty machines against each other: no sockets, virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod blocks;
mod breaches;
mod gossip;
mod net;
mod pressure;
