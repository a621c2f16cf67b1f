//! Sessions against each other and against scripted peers.

mod base;
mod handshake;
mod kit;
mod messages;
mod timers;
