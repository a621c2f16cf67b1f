//! Rows `handshake.pair` and `handshake.pair.three`: two new sessions until both may send messages, their Hellos included.
//!
//! The floor is work on the curve alone, without envelopes, secrets and Hello: of the one row what these sessions ask for, of
//! the other what a pair does whose recipient seals ack with a third key, as other clients have it.

use std::hint::black_box;

use super::{
    libsecp::{CurveWork, PlainContext},
    measure::{Turns, read_clocks, time_each},
    pair::Ends,
};

/// Handshakes in a turn: some milliseconds.
const TURN: usize = 8;
/// An ephemeral key of each end; at each end static keys, the two envelopes and ephemeral keys agreed on; and the auth
/// signed, and its signer recovered.
const WORK: CurveWork = CurveWork { generations: 2, agreements: 8, signatures: 1, recoveries: 1 };
/// The same and a key that seals ack.
const WORK_WITH_THREE_KEYS: CurveWork = CurveWork { generations: 3, ..WORK };

pub(super) struct Handshakes {
    ends: Ends,
    curve: PlainContext,
    work: &'static CurveWork,
}

impl Handshakes {
    /// Against the work that is done.
    pub(super) fn own() -> Result<Self, String> {
        Self::start(&WORK)
    }

    /// Against the work of a pair with a third key.
    pub(super) fn beside_three_keys() -> Result<Self, String> {
        Self::start(&WORK_WITH_THREE_KEYS)
    }

    fn start(work: &'static CurveWork) -> Result<Self, String> {
        Ok(Self { ends: Ends::new(true)?, curve: PlainContext::new(), work })
    }
}

impl Turns for Handshakes {
    fn measured(&mut self) -> Result<f64, String> {
        let now = read_clocks();
        let mut result = Ok(());
        let time = time_each(TURN, || {
            result = (0..TURN).try_for_each(|_| self.ends.shake_hands(now).map(|pair| drop(black_box(pair))));
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        self.curve.time_each(TURN, self.work)
    }
}
