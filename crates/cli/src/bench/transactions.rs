//! Row `eth.transactions`: a message of 5,000 transactions that another peer has sent before is split, each hashed and
//! dropped as a duplicate: intake and machine. Its floor is Keccak-256 of each.

use std::hint::black_box;

use bytes::Bytes;
use devp2p::{
    eth_wire::{
        Address, BackendAnswer, BackendCall, BlockBuilder, Chain, ChainStatus, Delivery, Eth, EthMessage,
        EthTimes, EthVersion, ForkSchedule, Insert, MemoryChain, Output, TransferRequest,
        config::MAX_TRANSACTIONS, intake,
    },
    identity::{NodeId, NodeKey, Now},
    rlpx::PeerId,
};

use super::{
    floors::Floors,
    measure::{Turns, read_clocks, time_each},
};

const VERSION: EthVersion = EthVersion::Eth69;
const CHAIN_ID: u64 = 1_337;
const GENESIS_TIME: u64 = 1_700_000_000;
/// Bytes on their way to a peer that its link takes.
const CREDIT: usize = 1 << 20;
/// The peer that sends the transactions first, and the one that sends them after it.
const FIRST: PeerId = PeerId(1);
const AGAIN: PeerId = PeerId(2);

pub(super) struct Duplicates {
    floors: Floors,
    eth: Eth,
    code: u64,
    message: Bytes,
    envelopes: Vec<Bytes>,
}

impl Duplicates {
    pub(super) fn start(floors: &Floors) -> Result<Self, String> {
        let key = NodeKey::from_bytes(&[7; 32]).map_err(|error| error.to_string())?;
        let transfer = |nonce| TransferRequest::new(CHAIN_ID, nonce, Address([1; 20]), 1).sign(&key);
        let envelopes: Vec<Bytes> =
            (0..MAX_TRANSACTIONS as u64).map(|nonce| transfer(nonce).envelope().clone()).collect();
        let message = EthMessage::Transactions(envelopes.clone());
        let chain = MemoryChain::new(&BlockBuilder::genesis(GENESIS_TIME).build());
        let forks = ForkSchedule::new(chain.genesis(), GENESIS_TIME, &[], &[]);
        let status = ChainStatus::new(CHAIN_ID, chain.genesis(), forks, chain.head());
        let eth = Eth::new(EthTimes::default(), status.clone(), 1);
        let (code, message) = (message.code(), message.encode());
        let mut duplicates = Self { floors: *floors, eth, code, message, envelopes };
        duplicates.connect(FIRST, &status);
        duplicates.deliver(read_clocks(), FIRST)?;
        duplicates.connect(AGAIN, &status);
        duplicates.deliver(read_clocks(), AGAIN)?;
        let deliveries = duplicates.eth.counters().deliveries;
        let counts = [Delivery::Transaction, Delivery::TransactionAgain].map(|label| deliveries.count(label));
        if counts == [MAX_TRANSACTIONS as u64; 2] {
            Ok(duplicates)
        } else {
            Err(format!("{counts:?} transactions came first and again"))
        }
    }

    fn connect(&mut self, peer: PeerId, status: &ChainStatus) {
        let now = read_clocks();
        let mut id = [0; 32];
        id[0] = peer.0 as u8;
        self.eth.handle_connected(now, peer, NodeId::from_bytes(id), VERSION, None, CREDIT);
        let status = EthMessage::Status(status.status(VERSION));
        if let Ok(status) = intake(VERSION, status.code(), status.encode()) {
            self.eth.handle_message(now, peer, status);
        }
        drain(&mut self.eth, now);
    }

    fn deliver(&mut self, now: Now, from: PeerId) -> Result<(), String> {
        let incoming = intake(VERSION, self.code, self.message.clone()).map_err(|error| error.to_string())?;
        self.eth.handle_message(now, from, black_box(incoming));
        drain(&mut self.eth, now);
        Ok(())
    }
}

impl Turns for Duplicates {
    fn measured(&mut self) -> Result<f64, String> {
        let now = read_clocks();
        let mut result = Ok(());
        let time = time_each(self.envelopes.len(), || result = self.deliver(now, AGAIN));
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        time_each(self.envelopes.len(), || {
            for envelope in &self.envelopes {
                black_box(self.floors.keccak(black_box(envelope)));
            }
        })
    }
}

/// Acts on what the machine puts out: the pool takes all transactions and had none before, and what is sent is written
/// at once.
fn drain(eth: &mut Eth, now: Now) {
    while let Some(output) = eth.poll_output() {
        match output {
            Output::Backend { ticket, call } => {
                let answer = if let BackendCall::Insert(envelopes) = call {
                    BackendAnswer::Inserted(vec![Insert::New; envelopes.len()])
                } else {
                    BackendAnswer::Announcements(Vec::new())
                };
                eth.handle_backend(now, ticket, answer);
            }
            Output::Send { peer, message } => eth.handle_credit(now, peer, 1, message.payload().len()),
            Output::Disconnect { .. }
            | Output::Report { .. }
            | Output::Reading { .. }
            | Output::Reply { .. }
            | Output::Event(_) => {}
        }
    }
}
