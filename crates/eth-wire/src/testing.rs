//! A moment for tests to begin at.
//! Only tests use it.

use identity::Now;

/// Some moment; tests go on from it by `later`.
#[expect(clippy::disallowed_methods, reason = "tests need a first moment, and any will do")]
pub(crate) fn start() -> Now {
    Now::system()
}
