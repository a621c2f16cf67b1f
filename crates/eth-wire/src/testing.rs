//! A moment for the unit tests of this crate to begin at; time goes on from there by hand.
//! Peers, chains and conversations for tests of the whole machine are in `tests/support`.

use identity::Now;

/// Some moment; tests go on from it by `later`.
#[expect(clippy::disallowed_methods, reason = "tests need a first moment, and any will do")]
pub(crate) fn start() -> Now {
    Now::system()
}
