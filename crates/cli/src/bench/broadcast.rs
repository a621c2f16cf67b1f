//! Row `broadcast.batch_100`: one message of 100 KiB, full of transactions, to 100 peers: encoded and compressed once, and
//! encrypted by each connection into what it writes. Its floor is a frame's encryption for each peer and one compression.

use std::hint::black_box;

use bytes::Bytes;
use devp2p::rlpx::SharedMessage;

use super::{
    floors::Floors,
    frame::{Floor, payload},
    measure::{Turns, read_clocks, time_each},
    pair::{Ends, Pair},
};

/// Bytes of the message: what go-ethereum packs at most (`maxTxPacketSize`).
const BATCH_LEN: usize = 100 * 1024;
const PEERS: usize = 100;

pub(super) struct Broadcast {
    pairs: Vec<Pair>,
    payload: Bytes,
    floor: Floor,
}

impl Broadcast {
    pub(super) fn start(floors: &Floors) -> Result<Self, String> {
        let payload = payload(BATCH_LEN);
        let ends = Ends::new(true)?;
        let pairs = (0..PEERS).map(|_| ends.shake_hands(read_clocks())).collect::<Result<_, _>>()?;
        Ok(Self { pairs, floor: Floor::new(*floors, &payload, true), payload: payload.into() })
    }
}

impl Turns for Broadcast {
    fn measured(&mut self) -> Result<f64, String> {
        let now = read_clocks();
        let mut result = Ok(());
        let time = time_each(PEERS, || {
            let message = SharedMessage::new(0, self.payload.clone());
            result = self.pairs.iter_mut().try_for_each(|pair| {
                pair.set_now(now);
                pair.send_only(black_box(&message))
            });
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        time_each(PEERS, || self.floor.run_broadcast(PEERS))
    }
}
