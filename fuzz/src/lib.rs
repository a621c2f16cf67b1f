//! Fuzz targets as plain functions: bytes go in, a [`Verdict`] comes out, and whatever must never happen panics.
//!
//! A fuzzer that has to guess a hash, a tag or a signature never gets past it. So the harness of a target writes those
//! itself: the fuzzer chooses what is inside, and what is right about the outside. Everything is deterministic; curve
//! jobs are answered by `world::SimCurve`, without curves, where nothing depends on real ones.
//!
//! - [`discv4`]: packets, re-hashed and re-signed, into the machine of one node.
//! - [`handshake`]: auth and ack, sealed and tagged anew, in pieces, into either side.
//! - [`frame`]: frames under known keys into a session past Hello, with snappy and without.
//! - [`eth`]: messages of each version into `intake` and the machine.
//! - [`records`]: enode URLs, and records as text, as bytes, and signed anew.
//!
//! `tests/corpus.rs` replays the committed corpora; `corpus/README.md` tells where they come from.

pub mod discv4;
pub mod eth;
pub mod frame;
pub mod handshake;
mod input;
mod nodes;
pub mod records;
mod verdict;

pub use input::MAX_STEPS;
pub use verdict::Verdict;
