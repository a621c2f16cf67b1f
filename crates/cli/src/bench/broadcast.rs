//! Rows `broadcast.*`: one message of 100 KiB, full of transactions, to 100 peers: encoded and compressed once, and encrypted
//! by each connection into what it writes. One by one, as where the processor cannot do better, and with the MACs of several
//! connections side by side, as a server does it elsewhere. Floors: one compression, and a frame's encryption for each peer.

use std::hint::black_box;

use bytes::Bytes;
use devp2p::{
    identity::keccak_lanes,
    rlpx::{SealJob, SharedMessage},
};

use super::{
    floors::Floors,
    frame::Floor,
    measure::{Turns, read_clocks, time_each},
    pair::{Ends, Pair},
    payload::Payload,
};

/// Bytes of the message: what go-ethereum packs at most (`maxTxPacketSize`).
const BATCH_LEN: usize = 100 * 1024;
const PEERS: usize = 100;

pub(super) struct Broadcast {
    pairs: Vec<Pair>,
    payload: Bytes,
    floor: Floor,
    /// How many MACs are computed together.
    lanes: usize,
}

impl Broadcast {
    pub(super) fn one_by_one(floors: &Floors) -> Result<Self, String> {
        Self::start(floors, 1)
    }

    pub(super) fn side_by_side(floors: &Floors) -> Result<Self, String> {
        Self::start(floors, keccak_lanes())
    }

    fn start(floors: &Floors, lanes: usize) -> Result<Self, String> {
        let payload = Payload::Transactions.bytes(BATCH_LEN)?;
        let ends = Ends::new(true)?;
        let pairs = (0..PEERS).map(|_| ends.shake_hands(read_clocks())).collect::<Result<_, _>>()?;
        Ok(Self { pairs, floor: Floor::new(*floors, &payload, true), payload: payload.into(), lanes })
    }

    fn send(&mut self, message: &SharedMessage) -> Result<(), String> {
        let lanes = self.lanes;
        if lanes < 2 {
            return self.pairs.iter_mut().try_for_each(|pair| pair.send_only(message));
        }
        let held = message.clone();
        for pairs in self.pairs.chunks_mut(lanes) {
            let jobs = pairs.iter_mut().map(|pair| pair.send_apart(black_box(&held)));
            let mut jobs = jobs.collect::<Result<Option<Vec<_>>, _>>()?.ok_or("nothing to seal")?;
            SealJob::run(&mut jobs);
            pairs.iter_mut().zip(jobs).for_each(|(pair, job)| pair.sealed(job));
        }
        Ok(())
    }
}

impl Turns for Broadcast {
    fn measured(&mut self) -> Result<f64, String> {
        let now = read_clocks();
        let mut result = Ok(());
        let time = time_each(PEERS, || {
            self.pairs.iter_mut().for_each(|pair| pair.set_now(now));
            result = self.send(&SharedMessage::new(0, self.payload.clone()));
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        time_each(PEERS, || match self.lanes {
            1 => self.floor.run_broadcast(PEERS),
            _ => self.floor.run_side_by_side(PEERS),
        })
    }
}
