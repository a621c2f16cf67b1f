//! What messages carry in a bench. Transactions are real and signed: how much of them are hashes, signatures, addresses
//! and zeros is what compression meets on a network. Random bytes are what nothing makes shorter. Both are the same in
//! every run.

use bytes::Bytes;
use devp2p::{
    eth_wire::{Address, EthMessage, TransferRequest},
    identity::NodeKey,
};
use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

/// What it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// A Transactions message of transfers, and of calls to a token and to an exchange.
    Transactions,
    /// Noise.
    Random,
}

const CHAIN_ID: u64 = 1;
/// 1 gwei and 1 ether, in wei.
const GWEI: u64 = 1_000_000_000;
const ETHER: u64 = 1_000_000_000 * GWEI;
/// Accounts that send, and contracts that are called: few, as the same ones recur in any pool.
const SENDERS: u8 = 32;
const CONTRACTS: usize = 8;
/// What a call to a token or an exchange may use (yellow paper, appendix G, and what such calls take on mainnet).
const TOKEN_GAS: u64 = 65_000;
const EXCHANGE_GAS: u64 = 210_000;
/// The first four bytes of the hash of `transfer(address,uint256)`.
const TOKEN_TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// The same of `swapExactTokensForTokens(uint256,uint256,address[],address,uint256)`.
const SWAP: [u8; 4] = [0x38, 0xed, 0x17, 0x39];
/// Until when an exchange may take, in seconds since 1970.
const DEADLINE: u64 = 1_800_000_000;

impl Payload {
    /// `len` bytes of it; of a message its beginning.
    pub(super) fn bytes(self, len: usize) -> Result<Vec<u8>, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(len as u64);
        match self {
            Self::Transactions => {
                let message = EthMessage::Transactions(envelopes(&mut rng, len)?).encode();
                Ok(message.get(..len).unwrap_or_default().to_vec())
            }
            Self::Random => {
                let mut bytes = vec![0; len];
                rng.fill_bytes(&mut bytes);
                Ok(bytes)
            }
        }
    }
}

/// Signed transactions of `len` bytes or some more.
fn envelopes(rng: &mut ChaCha8Rng, len: usize) -> Result<Vec<Bytes>, String> {
    let senders = (1..=SENDERS).map(|byte| NodeKey::from_bytes(&[byte; 32]));
    let senders: Vec<NodeKey> = senders.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let contracts: Vec<Address> = (0..CONTRACTS).map(|_| address(rng)).collect();
    let (mut envelopes, mut made, mut nonce) = (Vec::new(), 0, 0);
    while made < len {
        for sender in &senders {
            let envelope = request(rng, nonce, &contracts).sign(sender).envelope().clone();
            made += envelope.len();
            envelopes.push(envelope);
        }
        nonce += 1;
    }
    Ok(envelopes)
}

/// Half of them are transfers, a third goes to a token, and the rest to an exchange.
fn request(rng: &mut ChaCha8Rng, nonce: u64, contracts: &[Address]) -> TransferRequest {
    let contract = contracts[rng.random_range(0..contracts.len())];
    let (to, value, gas_limit, data) = match rng.random_range(0..6) {
        0..3 => (address(rng), rng.random_range(0..ETHER), 21_000, Vec::new()),
        3..5 => {
            let words = [word_of(&address(rng).0), number(rng.random_range(0..ETHER))];
            (contract, 0, TOKEN_GAS, [&TOKEN_TRANSFER[..], &words.concat()].concat())
        }
        _ => {
            let token = |place: usize| word_of(&contracts[place].0);
            let words = [
                number(rng.random_range(0..ETHER)),
                number(rng.random_range(0..ETHER)),
                // Where the path begins, in bytes: behind these five words.
                number(5 * 32),
                word_of(&address(rng).0),
                number(DEADLINE),
                number(2),
                token(rng.random_range(0..CONTRACTS)),
                token(rng.random_range(0..CONTRACTS)),
            ];
            (contract, 0, EXCHANGE_GAS, [&SWAP[..], &words.concat()].concat())
        }
    };
    TransferRequest {
        gas_limit,
        max_fee_per_gas: (rng.random_range(20..60) * GWEI).into(),
        max_priority_fee_per_gas: (rng.random_range(1..20) * GWEI / 10).into(),
        data: data.into(),
        ..TransferRequest::new(CHAIN_ID, nonce, to, value.into())
    }
}

fn address(rng: &mut ChaCha8Rng) -> Address {
    let mut bytes = [0; 20];
    rng.fill_bytes(&mut bytes);
    Address(bytes)
}

/// A word of the contract ABI: 32 bytes, zeros in front.
fn word_of(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

fn number(number: u64) -> [u8; 32] {
    word_of(&number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use devp2p::eth_wire::{EthVersion, Incoming, intake};

    use super::*;

    #[test]
    fn the_transactions_are_such_that_any_node_takes_them() {
        let envelopes = envelopes(&mut ChaCha8Rng::seed_from_u64(1), 100_000).unwrap();
        let message = EthMessage::Transactions(envelopes.clone());
        let read = intake(EthVersion::Eth69, message.code(), message.encode());
        let Ok(Incoming::Transactions(read)) = read else { panic!("{read:?}") };
        assert_eq!(read.len(), envelopes.len());
        let kinds = [110..130, 170..200, 350..400];
        let counts =
            kinds.map(|lens| envelopes.iter().filter(|envelope| lens.contains(&envelope.len())).count());
        assert!(counts.iter().all(|count| *count > 20), "{counts:?} of {}", envelopes.len());
        assert_eq!(counts.iter().sum::<usize>(), envelopes.len());
    }

    #[test]
    fn transactions_become_some_shorter_and_noise_does_not() {
        let share = |payload: Payload, len: usize| {
            let bytes = payload.bytes(len).unwrap();
            assert_eq!((bytes.len(), &payload.bytes(len).unwrap()), (len, &bytes));
            snap::raw::Encoder::new().compress_vec(&bytes).unwrap().len() as f64 / len as f64
        };
        for len in [64 * 1024, 1 << 20] {
            let (transactions, noise) = (share(Payload::Transactions, len), share(Payload::Random, len));
            println!("{len} bytes: transactions become {transactions:.2} of their length, noise {noise:.5}");
            assert!((0.5..0.85).contains(&transactions) && noise >= 1.0, "{transactions} {noise}");
        }
    }
}
