//! Rows that have no floor: an amount of memory or time that a serving process needs, and the most that it may be.
//! What is measured stands in the files of the rows, how it is printed in `report`.

/// What an amount is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes of resident memory for a peer.
    BytesPerPeer,
    /// Resident memory over that of an idle process.
    TimesIdle,
    /// Hundredths of one core's time.
    Percent,
}

impl Unit {
    /// The unit as a program reads it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BytesPerPeer => "bytes/peer",
            Self::TimesIdle => "times idle",
            Self::Percent => "% of a core",
        }
    }

    /// The amount as people read it.
    pub(super) fn show(self, amount: f64) -> String {
        match self {
            Self::BytesPerPeer => format!("{:.1} KiB", amount / 1_024.0),
            Self::TimesIdle => format!("{amount:.2} x"),
            Self::Percent => format!("{amount:.2} %"),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Amount {
    /// In the row's unit.
    pub(super) value: f64,
    /// What stood behind it: counts, times, sizes.
    pub(super) seen: String,
}

/// Why a row has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The user wants no more rows.
    Interrupted,
    /// This system does not tell what is to be measured.
    NotHere(&'static str),
    /// Something that must work did not.
    Failed(String),
}

impl From<String> for Halt {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}
