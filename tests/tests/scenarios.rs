//! Tests across crates that need nothing but this workspace.

#[path = "scenarios/genesis.rs"]
mod genesis;
#[path = "scenarios/tidy/mod.rs"]
mod tidy;
