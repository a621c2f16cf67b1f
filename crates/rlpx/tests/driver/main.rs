//! Servers and single connections over real TCP on loopback.
//! Time is real too: whatever is waited for has far longer than it takes, so that only what never comes fails.

#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[cfg(feature = "address-book")]
mod book;
mod budget;
mod candidates;
mod full;
mod functions;
mod life;
mod listeners;
mod owner;
mod peers;
mod protocols;
mod races;
mod rates;
mod status;
mod support;
mod watchdog;
