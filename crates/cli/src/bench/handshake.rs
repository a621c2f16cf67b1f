//! Row `handshake.pair`: two new sessions until both may send messages, their Hellos included.
//!
//! Its floor is what both ends must ask of the curve: 3 key generations, 8 agreements, 1 signature and 1 recovery. All
//! else (the envelopes, the secrets, Hello) is not in it.

use std::hint::black_box;

use super::{
    libsecp::{CurveWork, PlainContext},
    measure::{Turns, read_clocks, time_each},
    pair::Ends,
};

/// Handshakes in a turn: some milliseconds.
const TURN: usize = 8;
/// One ephemeral key of the initiator and two of the recipient; at each end static keys, the two envelopes and ephemeral
/// keys agreed on; and the auth signed, and its signer recovered.
const WORK: CurveWork = CurveWork { generations: 3, agreements: 8, signatures: 1, recoveries: 1 };

pub(super) struct Handshakes {
    ends: Ends,
    curve: PlainContext,
}

impl Handshakes {
    pub(super) fn start() -> Result<Self, String> {
        Ok(Self { ends: Ends::new(true)?, curve: PlainContext::new() })
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
        self.curve.time_each(TURN, &WORK)
    }
}
