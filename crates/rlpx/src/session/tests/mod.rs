//! Sessions against each other and against scripted peers.

pub(crate) mod kit;

mod base;
mod handshake;
mod messages;
mod timers;
