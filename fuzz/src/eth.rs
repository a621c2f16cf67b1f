//! The eth capability against a peer whose messages hold what the fuzzer likes: each goes through `intake`, and what
//! comes of it into the machine, behind which stand a chain and a pool in memory. A second peer listens.
//!
//! ```text
//! flags: 1 byte  steps: op (1 byte), argument (1 byte), then
//!   MESSAGE, ANSWER: payload (2-byte length, bytes)    BLOCK: extra data (2-byte length, bytes)
//! ```
//! What is accepted is written again, to the same bytes; what the machine sends others accept; it keeps no more than its
//! limits, and nothing once all have left.

mod scene;

use bytes::Bytes;
use eth_wire::{EthMessage, EthVersion, Incoming, MessageKind, Request, config::MAX_LOOKUPS, intake};
use identity::steps;

use crate::{MAX_STEPS, Verdict, input::Input};
use scene::Scene;
pub use scene::{block, genesis, network_id, our_status, transfer};

/// The peer speaks eth/68; otherwise eth/69.
pub const ETH_68: u8 = 1;
/// The peer has not said its Status.
pub const UNGREETED: u8 = 2;

/// A message with the code that is the argument.
pub const MESSAGE: u8 = 0;
/// The same; the payload is the content alone, and the id that of what the machine last asked the peer.
pub const ANSWER: u8 = 1;
/// Time passes: units of 50 ms.
pub const WAIT: u8 = 2;
/// The owner asks the peer for: 0 headers, 1 bodies, 2 transactions, 3 receipts (argument modulo 4).
pub const ASK: u8 = 3;
/// What the machine sends stays unwritten from now on, or is written.
pub const STALL: u8 = 4;
/// Calls to chain and pool are held back from now on, or are answered.
pub const HOLD: u8 = 5;
/// The owner submits: 0 a block, others the transaction of which this is the nonce.
pub const SUBMIT: u8 = 6;
/// The second peer leaves, or comes.
pub const OTHER: u8 = 7;
/// How many ops there are; a step's is its byte modulo this.
const OPS: u8 = 8;

/// Passes over a message, at most: items are counted, read, and what is inside is checked, a body's twice. A list within
/// counts at its beginning and at its end.
const PASSES: usize = 6;

/// Runs one input.
///
/// # Panics
/// When a message does not survive being written and read, reading it goes nowhere, or the machine exceeds a limit.
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let flags = input.byte();
    let version = if flags & ETH_68 > 0 { EthVersion::Eth68 } else { EthVersion::Eth69 };
    let mut scene = Scene::new(version, flags & UNGREETED == 0);
    let mut verdict = Verdict::EMPTY;
    for _ in 0..MAX_STEPS {
        if input.is_empty() || scene.is_over() {
            break;
        }
        if let Some(next) = step(&mut scene, version, &mut input) {
            verdict = verdict.then(next);
        }
    }
    verdict = scene.fault().map_or(verdict, |fault| verdict.then(Verdict::Rejected(fault)));
    scene.finish();
    verdict
}

/// One step; what came of the message in it, if it brought one.
fn step(scene: &mut Scene, version: EthVersion, input: &mut Input<'_>) -> Option<Verdict> {
    let (op, argument) = (input.byte() % OPS, input.byte());
    match op {
        MESSAGE => {
            let payload = Bytes::copy_from_slice(input.sized());
            return Some(receive(scene, version, argument.into(), payload));
        }
        ANSWER => {
            let id = rlp::encode(&scene.last_request());
            let mut message = rlp::RlpStream::new_list(2);
            message.append_raw(&id, 1).append_raw(input.sized(), 1);
            return Some(receive(scene, version, argument.into(), message.out().freeze()));
        }
        WAIT => scene.wait(argument),
        ASK => scene.ask(argument),
        STALL => scene.stall_or_write(),
        HOLD => scene.hold_or_release(),
        SUBMIT => scene.submit(argument),
        _ => scene.other(),
    }
    None
}

fn receive(scene: &mut Scene, version: EthVersion, code: u64, payload: Bytes) -> Verdict {
    let limit = PASSES * payload.len() + 1;
    let (read, _) = steps::within(limit, || intake(version, code, payload.clone()));
    match read {
        Ok(incoming) => {
            check_written(version, code, &payload, &incoming);
            scene.handle(incoming, payload.len());
            Verdict::Accepted
        }
        Err(error) => {
            scene.refuse(error);
            Verdict::Rejected(identity::Label::label(error.reject()))
        }
    }
}

/// Written again, what was accepted is what came: byte for byte, unless something of it was left out.
fn check_written(version: EthVersion, code: u64, payload: &Bytes, incoming: &Incoming) {
    let message = EthMessage::from(incoming.clone());
    assert_eq!(Some(message.kind()), MessageKind::from_code(version, code));
    let encoded = message.encode();
    assert_eq!(intake(version, code, encoded.clone()).as_ref(), Ok(incoming));
    if !is_cut(incoming, payload, &encoded) {
        assert_eq!(encoded, payload, "{incoming:?}");
    }
}

/// Whether what came may have had more than was taken of it: look-ups beyond the limit, announcements of unknown kinds,
/// and sizes that no message could have.
fn is_cut(incoming: &Incoming, payload: &Bytes, encoded: &Bytes) -> bool {
    match incoming {
        Incoming::NewPooledTransactionHashes(announced) => {
            encoded.len() < payload.len() || announced.iter().any(|item| item.size == u32::MAX)
        }
        Incoming::Request { request, .. } => match request {
            Request::Headers(_) => false,
            Request::Bodies(hashes) | Request::PooledTransactions(hashes) | Request::Receipts(hashes) => {
                hashes.len() >= MAX_LOOKUPS
            }
        },
        Incoming::Status(_)
        | Incoming::NewBlockHashes(_)
        | Incoming::NewBlock { .. }
        | Incoming::Transactions(_)
        | Incoming::Answer { .. }
        | Incoming::BlockRangeUpdate(_) => false,
    }
}
