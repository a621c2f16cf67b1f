//! Discovery against strangers whose packets hold what the fuzzer likes, hashed and signed as they should be. Two of the
//! four have proved their endpoints; the machine can be made to ask them, and their answers name what they answer.
//!
//! ```text
//! steps: op (1 byte), argument (1 byte), then
//!   PACKET: kind (1 byte), body (2-byte length, bytes)    RAW: datagram (2-byte length, bytes)
//! ```
//! In a body the first 32 bytes in a row that are [`MARK`] stand for the hash of what the machine last asked the stranger.
//! No datagram makes the machine keep, put out or send more than its limits.

mod scene;

use bytes::Bytes;
use identity::{Endpoint, EnrBuilder, NodeKey};

use crate::{MAX_STEPS, Verdict, input::Input};
pub use scene::{START, host_endpoint, stranger_endpoint, stranger_key};
use scene::{STRANGERS, Scene};

/// A packet of the stranger given by the argument's lower two bits, sealed as the next three say: see `SEAL_..`.
pub const PACKET: u8 = 0;
/// A datagram as it is, from the stranger given by the argument.
pub const RAW: u8 = 1;
/// The stranger given by the argument answers, as it should, what it was last asked.
pub const HONEST: u8 = 2;
/// The machine's owner asks the stranger given by the argument's lower two bits: for a Pong, or with bit 4 for its record.
pub const ASK: u8 = 3;
/// The owner searches the neighbourhood of the stranger given by the argument.
pub const LOOKUP: u8 = 4;
/// The owner wants: 0 a refresh, 1 candidates, others a new record of its own.
pub const WANT: u8 = 5;
/// Time passes: the argument below 128 in units of 50 ms, from 128 on in minutes.
pub const WAIT: u8 = 6;
/// Curve jobs are held back from now on, or what was held comes back.
pub const HOLD: u8 = 7;
/// How many ops there are; a step's is its byte modulo this.
const OPS: u8 = 8;

/// Signed by the next stranger instead, under the same address.
pub const SEAL_AS_OTHER: u8 = 4;
/// The signature is the last 65 bytes of the body, which lacks them.
pub const SEAL_FREELY: u8 = 8;
/// The hash is wrong.
pub const SEAL_NO_HASH: u8 = 16;

/// A byte of which 32 in a row stand for a hash.
pub const MARK: u8 = 0x48;

/// Runs one input.
///
/// # Panics
/// When the machine exceeds a limit.
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let mut scene = Scene::new();
    let mut verdict = Verdict::EMPTY;
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        if let Some(next) = step(&mut scene, &mut input) {
            verdict = verdict.then(next);
        }
    }
    scene.finish();
    verdict
}

/// One step; what came of the datagram in it, if it brought one.
fn step(scene: &mut Scene, input: &mut Input<'_>) -> Option<Verdict> {
    let (op, argument) = (input.byte() % OPS, input.byte());
    let stranger = usize::from(argument) % STRANGERS;
    match op {
        PACKET => {
            let (kind, body) = (input.byte(), input.sized());
            let datagram = scene.seal(stranger, argument, kind, body);
            return Some(scene.receive(stranger, &datagram));
        }
        RAW => return Some(scene.receive(stranger, input.sized())),
        HONEST => return scene.honest(stranger).map(|datagram| scene.receive(stranger, &datagram)),
        ASK => scene.ask(stranger, argument & 4 > 0),
        LOOKUP => scene.lookup(stranger),
        WANT => scene.want(argument),
        WAIT => scene.wait(argument),
        _ => scene.hold_or_release(),
    }
    None
}

/// The record of the node with `key`, as it is signed here: by its key's bytes, without a curve.
///
/// # Panics
/// When the entries are too long.
pub fn record(key: &NodeKey, endpoint: Endpoint, seq: u64) -> Bytes {
    let record = world::sign_record(key, &EnrBuilder::new(seq).endpoint(endpoint));
    record.expect("few entries").encoded().clone()
}
