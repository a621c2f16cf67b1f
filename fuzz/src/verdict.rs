//! What a target says of an input: whether it got past every check, or which one ended it.
//! A target that only rejects proves nothing, so `tests/corpus.rs` counts.

use std::fmt;

/// How far an input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing in it was refused, and there was something.
    Accepted,
    /// Something in it was refused; why, in the words of the check that did.
    Rejected(&'static str),
}

impl Verdict {
    /// Nothing was there to be accepted.
    pub const EMPTY: Self = Self::Rejected("empty");

    /// Whether everything got to the last check.
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Accepted)
    }

    /// What becomes of this verdict when a further part of the input had `next`: the first refusal stays.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        if self == Self::EMPTY || self == Self::Accepted { next } else { self }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Rejected(why) => write!(f, "rejected: {why}"),
        }
    }
}
