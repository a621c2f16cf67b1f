//! Rows `frame.*`: a message from one session to another, encoded, carried over in memory, decoded.
//!
//! The floor of a frame is, for encoding and decoding each: three permutations of Keccak (a header's tag, and two for a
//! body's), one more for every 136 bytes that the MAC absorbs (the body's ciphertext and two seeds of 16 bytes), AES over
//! header, body and seeds, and with snappy the compression or inflation.

use std::hint::black_box;

use bytes::Bytes;
use devp2p::{
    identity::{Keccak256, update_each},
    rlpx::SharedMessage,
};

use super::{
    floors::{Floors, Snappy, message_of, permutations_for},
    measure::{Turns, read_clocks, time_each},
    pair::{Ends, Pair},
    payload::Payload,
};

/// Length of a header, of a MAC's seed, and of the blocks that bodies are padded to, in bytes.
const BLOCK_LEN: usize = 16;
/// Length of the message code before the payload, in bytes.
const CODE_LEN: usize = 1;
/// Permutations of a frame besides those that absorb: a header's tag, the digest that opens the body's tag, and that tag.
const DIGESTS: usize = 3;
/// Bytes of payload that a turn sends, about, and the fewest frames: some milliseconds.
const TURN_LEN: usize = 256 * 1024;
const MIN_TURN_FRAMES: usize = 2;
const MAX_TURN_FRAMES: usize = 1_000;
/// Frames whose absorbed bytes together are whole permutations, for every length: 136 is 17 times 8.
const EVEN_FRAMES: usize = 17;
/// From this length on the part of a permutation that one frame has too much or too little does not show.
const LONG: usize = 64 * 1024;

/// One length of payload, compressed or not.
pub(super) struct Frames {
    pair: Pair,
    payload: Bytes,
    turn_frames: usize,
    floor: Floor,
}

/// What frames of one payload cost at least.
pub(super) struct Floor {
    floors: Floors,
    /// Frames that the buffers are for.
    frames: usize,
    hashed: Vec<u8>,
    ciphered: Vec<u8>,
    snappy: Option<Snappy>,
}

impl Frames {
    pub(super) fn start(floors: &Floors, len: usize, payload: Payload, snappy: bool) -> Result<Self, String> {
        let payload = payload.bytes(len)?;
        let pair = Ends::new(snappy)?.shake_hands(read_clocks())?;
        let floor = Floor::new(*floors, &payload, snappy);
        let turn_frames = (TURN_LEN / len).clamp(MIN_TURN_FRAMES, MAX_TURN_FRAMES);
        Ok(Self { pair, payload: payload.into(), turn_frames, floor })
    }
}

impl Turns for Frames {
    fn measured(&mut self) -> Result<f64, String> {
        self.pair.set_now(read_clocks());
        let mut result = Ok(());
        let time = time_each(self.turn_frames, || {
            result = (0..self.turn_frames).try_for_each(|_| {
                // Made anew each time, because it keeps its compressed form.
                let message = SharedMessage::new(0, self.payload.clone());
                self.pair.send(black_box(&message)).map(|message| drop(black_box(message)))
            });
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        self.floor.time(self.turn_frames)
    }
}

impl Floor {
    pub(super) fn new(floors: Floors, payload: &[u8], snappy: bool) -> Self {
        let mut snappy = snappy.then(|| Snappy::new(payload));
        let content = CODE_LEN + snappy.as_mut().map_or(payload.len(), Snappy::round_trip);
        let body = content.next_multiple_of(BLOCK_LEN);
        let frames = if payload.len() < LONG { EVEN_FRAMES } else { 1 };
        let permutations = DIGESTS * frames + permutations_for((body + 2 * BLOCK_LEN) * frames);
        let hashed = vec![0x5a; message_of(permutations)];
        let ciphered = vec![0x5a; (BLOCK_LEN + body + 2 * BLOCK_LEN) * frames];
        Self { floors, frames, hashed, ciphered, snappy }
    }

    /// Nanoseconds for a frame, encoded and decoded, of `frames` or some more.
    pub(super) fn time(&mut self, frames: usize) -> f64 {
        let turns = frames.div_ceil(self.frames);
        time_each(turns * self.frames, || (0..turns).for_each(|_| self.run()))
    }

    /// The work of one frame for so many peers: compressed once, encoded for each. For a payload of 64 KiB or more.
    pub(super) fn run_broadcast(&mut self, peers: usize) {
        self.compress();
        (0..peers).for_each(|_| self.run_one_way());
    }

    /// The same with the hashes of several peers side by side.
    pub(super) fn run_side_by_side(&mut self, peers: usize) {
        self.compress();
        let mut hashes = vec![Keccak256::new(); peers];
        let mut each: Vec<_> = hashes.iter_mut().map(|hash| (hash, self.hashed.as_slice())).collect();
        update_each(black_box(&mut each));
        black_box(hashes);
        (0..peers).for_each(|_| self.floors.encrypt(black_box(&mut self.ciphered)));
    }

    fn compress(&mut self) {
        if let Some(snappy) = &mut self.snappy {
            black_box(snappy.compress());
        }
    }

    fn run_one_way(&mut self) {
        black_box(self.floors.keccak(black_box(&self.hashed)));
        self.floors.encrypt(black_box(&mut self.ciphered));
    }

    /// The work of its frames, encoded and decoded.
    fn run(&mut self) {
        for _ in ["encode", "decode"] {
            self.run_one_way();
        }
        if let Some(snappy) = &mut self.snappy {
            for _ in 0..self.frames {
                black_box(snappy.round_trip());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_counts_the_permutations_of_every_frame() {
        let floors = Floors::choose();
        // 65 bytes of content are padded to 80; with two seeds 112 are absorbed, 14 permutations for 17 frames.
        let noise = |len| Payload::Random.bytes(len).unwrap();
        let floor = Floor::new(floors, &noise(64), false);
        assert_eq!((floor.frames, floor.hashed.len()), (17, (3 * 17 + 14) * 136 - 1));
        let floor = Floor::new(floors, &noise(64 * 1024), false);
        assert_eq!((floor.frames, floor.hashed.len()), (1, (3 + 482) * 136 - 1));
        // Compressed, noise is a little longer, and transactions are shorter.
        let floor = Floor::new(floors, &noise(64 * 1024), true);
        assert_eq!(floor.hashed.len(), (3 + 482) * 136 - 1);
        let transactions = Payload::Transactions.bytes(64 * 1024).unwrap();
        let floor = Floor::new(floors, &transactions, true);
        assert!((240 * 136..420 * 136).contains(&floor.hashed.len()), "{}", floor.hashed.len());
    }
}
