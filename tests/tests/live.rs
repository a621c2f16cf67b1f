//! Tests against real clients on loopback. Without geth each fails with one line that says how to get it.

#[path = "live/genesis.rs"]
mod genesis;
#[path = "live/launcher.rs"]
mod launcher;
