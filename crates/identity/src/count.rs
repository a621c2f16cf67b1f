//! Counters over a closed set of reasons: how a silent drop is seen (`reject_total{layer,reason}`).
//! The reasons stand where they arise: `reject.rs` of each protocol crate, `admission.rs` of rlpx, `counters.rs` of
//! eth-wire. There are no gauges, no histograms and no exporter here: an owner reads the counts and shows them.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A closed set of counter labels; written with [`labels!`](crate::labels).
pub trait Label: Copy + 'static {
    /// Every label, in order of [`Label::index`].
    const ALL: &'static [Self];
    /// The label's place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The label as metrics and logs write it, in snake case.
    fn label(self) -> &'static str;
}

/// Defines a fieldless enum whose variants are counter [`Label`]s.
///
/// ```
/// identity::labels! {
///     /// Why a datagram was dropped.
///     pub enum Reject {
///         /// Shorter than a header.
///         TooShort = "too_short",
///         /// The signature does not recover.
///         BadSignature = "bad_signature",
///     }
/// }
/// let counters = identity::Counters::<Reject>::default();
/// counters.add(Reject::TooShort);
/// assert_eq!(counters.count(Reject::TooShort), 1);
/// ```
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $variant),+ }

        impl $crate::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn index(self) -> usize {
                self as usize
            }
            fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

/// One counter a label. Clones share the counts, so a machine counts while its owner reads.
pub struct Counters<L> {
    counts: Arc<[AtomicU64]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Label> Counters<L> {
    /// Adds one.
    pub fn add(&self, label: L) {
        self.add_many(label, 1);
    }

    /// Adds `count`.
    pub fn add_many(&self, label: L, count: u64) {
        if let Some(counter) = self.counts.get(label.index()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What `label` stands at.
    pub fn count(&self, label: L) -> u64 {
        self.counts.get(label.index()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Every label with its count, in order.
    pub fn iter(&self) -> impl Iterator<Item = (L, u64)> + '_ {
        L::ALL.iter().map(|label| (*label, self.count(*label)))
    }

    /// The sum over all labels.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { counts: L::ALL.iter().map(|_| AtomicU64::new(0)).collect(), labels: PhantomData }
    }
}

impl<L> Clone for Counters<L> {
    fn clone(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), labels: PhantomData }
    }
}

impl<L: Label> fmt::Debug for Counters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(counted.map(|(label, count)| (label.label(), count))).finish()
    }
}
