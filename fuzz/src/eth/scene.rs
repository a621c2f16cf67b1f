//! The machine under test, a chain of three blocks and a pool behind it, the peer that the fuzzer plays and one that only
//! listens; and what has to hold after every call of the machine.

use std::{collections::VecDeque, sync::OnceLock, time::Duration};

use eth_wire::{
    Address, BackendCall, BackendTicket, Block, BlockBuilder, Chain, ChainStatus, Eth, EthTimes, EthVersion,
    ForkSchedule, HeadersQuery, Holdings, Incoming, MemoryChain, MemoryPool, MessageError, MessageKind,
    Output, PeerFault, Request, Status, Transaction, TransferRequest, intake,
    machine_config::{
        MAX_BACKEND_CALLS, MAX_BLOCK_FETCHES, MAX_ORPHANS, MAX_REQUESTS_PER_PEER, MAX_TRACKED_HASHES_PER_PEER,
    },
};
use identity::{Label, NodeId, NodeKey, Now};
use rlpx::{DisconnectReason, PeerId, SharedMessage};

/// The chain's and the network's number.
const CHAIN_ID: u64 = 1_337;
/// When the first block was made, in seconds since 1970.
const GENESIS_TIME: u64 = 1_700_000_000;
/// When it all happens, in seconds since 1970.
const START: u64 = 1_800_000_000;
/// How many blocks there are besides the first.
const BLOCKS: u64 = 3;
/// What the link to a peer holds, in bytes.
const CREDIT: usize = 256 * 1024;
/// The peer that the fuzzer plays, and the one that listens.
const PEERS: [PeerId; 2] = [PeerId(1), PeerId(2)];
/// What one call puts out at most for what holds no items: messages, calls and events to and about two peers.
const MAX_OUTPUTS: usize = 256;

/// The first block of the chain.
pub fn genesis() -> &'static Block {
    &blocks()[0]
}

/// A block of the chain, from the first on; beyond its end the next one that would fit.
pub fn block(number: u64) -> Block {
    let blocks = blocks();
    match blocks.get(usize::try_from(number).unwrap_or(usize::MAX)) {
        Some(block) => block.clone(),
        None => child(&blocks[blocks.len() - 1], BLOCKS + 1),
    }
}

fn blocks() -> &'static [Block] {
    static CHAIN: OnceLock<Vec<Block>> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let mut blocks = vec![BlockBuilder::genesis(GENESIS_TIME).build()];
        for number in 1..=BLOCKS {
            let next = child(&blocks[blocks.len() - 1], number);
            blocks.push(next);
        }
        blocks
    })
}

fn child(parent: &Block, number: u64) -> Block {
    let time = GENESIS_TIME + 12 * number;
    BlockBuilder::child_of(&parent.header, time).transactions(&[transfer(1_000 + number)]).build()
}

/// A transaction of its own for each nonce.
pub fn transfer(nonce: u64) -> Transaction {
    static KEY: OnceLock<NodeKey> = OnceLock::new();
    let key = KEY.get_or_init(|| NodeKey::from_bytes(&[7; 32]).expect("a small number is a key"));
    TransferRequest::new(CHAIN_ID, nonce, Address([1; 20]), 1).sign(key)
}

/// The network's number, as Status tells it.
pub const fn network_id() -> u64 {
    CHAIN_ID
}

/// What the node under test says of its chain, and so what fits it.
pub fn our_status(version: EthVersion) -> Status {
    status(&chain()).status(version)
}

fn chain() -> MemoryChain {
    let chain = MemoryChain::new(genesis());
    for block in &blocks()[1..] {
        chain.offer(block.raw.clone(), None);
    }
    chain
}

fn status(chain: &MemoryChain) -> ChainStatus {
    let forks = ForkSchedule::new(chain.genesis(), GENESIS_TIME, &[], &[]);
    ChainStatus::new(CHAIN_ID, chain.genesis(), forks, chain.head())
}

/// A machine with two peers.
pub(super) struct Scene {
    now: Now,
    eth: Eth,
    chain: MemoryChain,
    pool: MemoryPool,
    versions: [EthVersion; 2],
    connected: [bool; 2],
    held: Option<VecDeque<(BackendTicket, BackendCall)>>,
    /// Put out and not yet written, while writing is held up.
    unwritten: Option<Vec<(PeerId, usize)>>,
    last_request: u64,
    fault: Option<PeerFault>,
}

impl Scene {
    pub(super) fn new(version: EthVersion, greeted: bool) -> Self {
        let chain = chain();
        let now = Now::simulated(Duration::from_secs(START));
        let other = if version == EthVersion::Eth68 { EthVersion::Eth69 } else { EthVersion::Eth68 };
        let mut scene = Self {
            now,
            eth: Eth::new(EthTimes::default(), status(&chain), 1),
            chain,
            pool: MemoryPool::new(CHAIN_ID),
            versions: [version, other],
            connected: [false; 2],
            held: None,
            unwritten: None,
            last_request: 0,
            fault: None,
        };
        scene.connect(0);
        scene.other();
        if greeted {
            scene.greet(0);
        }
        scene
    }

    fn connect(&mut self, place: usize) {
        let id = NodeId::from_bytes([place as u8 + 1; 32]);
        let version = self.versions[place];
        self.eth.handle_connected(self.now, PEERS[place], id, version, None, CREDIT);
        self.connected[place] = true;
        self.drain(0);
    }

    fn greet(&mut self, place: usize) {
        let status = status(&self.chain).status(self.versions[place]);
        self.eth.handle_message(self.now, PEERS[place], Incoming::Status(status));
        self.drain(0);
    }

    /// A message of the fuzzer's peer, of so many bytes.
    pub(super) fn handle(&mut self, incoming: Incoming, len: usize) {
        self.eth.handle_message(self.now, PEERS[0], incoming);
        self.drain(len);
    }

    /// A message of the fuzzer's peer that was refused.
    pub(super) fn refuse(&mut self, error: MessageError) {
        self.eth.handle_refused(self.now, PEERS[0], error);
        self.drain(0);
        let is_malformed = self.fault.is_some_and(|fault| fault.reason() == DisconnectReason::ProtocolError);
        assert!(is_malformed || !error.is_malformed() || self.connected[0], "{error}");
    }

    pub(super) const fn last_request(&self) -> u64 {
        self.last_request
    }

    /// Whether the fuzzer's peer was disconnected.
    pub(super) const fn is_over(&self) -> bool {
        !self.connected[0]
    }

    /// Why it was, as it is counted.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault.map(|fault| fault.reject().label())
    }

    pub(super) fn wait(&mut self, time: u8) {
        self.now = self.now.later(Duration::from_millis(50) * u32::from(time));
        self.eth.handle_timeout(self.now);
        self.drain(0);
        let next = self.eth.next_timeout();
        assert!(next.is_none_or(|next| next > self.now.instant), "woken for nothing");
    }

    pub(super) fn ask(&mut self, what: u8) {
        let hashes = vec![block(1).header.hash, block(2).header.hash];
        let request = match what % 4 {
            0 => Request::Headers(HeadersQuery::from_number(1, 2)),
            1 => Request::Bodies(hashes),
            2 => Request::PooledTransactions(vec![transfer(1).hash(), transfer(2).hash()]),
            _ => Request::Receipts(hashes),
        };
        // A peer that has not greeted cannot be asked.
        let _ = self.eth.request(self.now, Some(PEERS[0]), request, None);
        self.drain(0);
    }

    pub(super) fn stall_or_write(&mut self) {
        match self.unwritten.take() {
            None => self.unwritten = Some(Vec::new()),
            Some(waiting) => {
                for (peer, len) in waiting {
                    self.eth.handle_credit(self.now, peer, 1, len);
                    self.drain(0);
                }
            }
        }
    }

    pub(super) fn hold_or_release(&mut self) {
        match self.held.take() {
            None => self.held = Some(VecDeque::new()),
            Some(calls) => {
                for (ticket, call) in calls {
                    self.call(ticket, call);
                    self.drain(0);
                }
            }
        }
    }

    pub(super) fn submit(&mut self, what: u8) {
        // The owner may have too many commands out while calls are held.
        let _ = match what {
            0 => self.eth.submit_block(self.now, block(u64::MAX), None),
            nonce => self.eth.submit_transactions(self.now, vec![transfer(nonce.into())], nonce & 1 > 0),
        };
        self.drain(0);
    }

    /// The second peer leaves, or comes and greets.
    pub(super) fn other(&mut self) {
        if self.connected[1] {
            self.connected[1] = false;
            self.eth.handle_disconnected(self.now, PEERS[1]);
            self.drain(0);
        } else {
            self.connect(1);
            self.greet(1);
        }
    }

    /// All leave and everything is answered: nothing is held.
    pub(super) fn finish(&mut self) {
        for (place, peer) in PEERS.into_iter().enumerate() {
            if std::mem::take(&mut self.connected[place]) {
                self.eth.handle_disconnected(self.now, peer);
                self.drain(0);
            }
        }
        if self.held.is_some() {
            self.hold_or_release();
        }
        let left = self.eth.holdings();
        assert_eq!(left, Holdings { quotas: left.quotas, orphans: left.orphans, ..Holdings::default() });
    }

    fn call(&mut self, ticket: BackendTicket, call: BackendCall) {
        let answer = call.run(&self.chain, &self.pool);
        self.eth.handle_backend(self.now, ticket, answer);
    }

    /// Does all that the machine wants done, after a message of so many bytes.
    fn drain(&mut self, len: usize) {
        let mut count = 0;
        while let Some(output) = self.eth.poll_output() {
            count += 1;
            match output {
                Output::Send { peer, message } => self.send(peer, &message),
                Output::Disconnect { peer, reason, fault } => self.disconnected(peer, reason, fault),
                Output::Backend { ticket, call } => match &mut self.held {
                    Some(held) => held.push_back((ticket, call)),
                    None => self.call(ticket, call),
                },
                Output::Report { .. } | Output::Reading { .. } | Output::Reply { .. } | Output::Event(_) => {}
            }
        }
        assert!(count <= MAX_OUTPUTS + len / 32, "{count} outputs for {len} bytes");
        self.check_holdings();
    }

    fn send(&mut self, peer: PeerId, message: &SharedMessage) {
        let place = PEERS.iter().position(|known| *known == peer).expect("one of two peers");
        assert!(self.connected[place], "a message for nobody");
        let (version, payload) = (self.versions[place], message.payload().clone());
        let kind = MessageKind::from_code(version, message.code()).expect("a message of the version");
        assert!(payload.len() <= kind.max_len());
        let incoming = intake(version, message.code(), payload).expect("others accept what we send");
        if let (Incoming::Request { id, .. }, 0) = (incoming, place) {
            self.last_request = id;
        }
        let len = message.payload().len();
        match &mut self.unwritten {
            Some(unwritten) => unwritten.push((peer, len)),
            None => self.eth.handle_credit(self.now, peer, 1, len),
        }
    }

    fn disconnected(&mut self, peer: PeerId, reason: DisconnectReason, fault: PeerFault) {
        assert_eq!(peer, PEERS[0], "the other peer did nothing: {fault}");
        assert_eq!(reason, fault.reason());
        assert!(std::mem::take(&mut self.connected[0]), "disconnected twice");
        self.fault = Some(fault);
    }

    fn check_holdings(&self) {
        let held = self.eth.holdings();
        let peers = PEERS.len();
        assert!(held.peers <= peers && held.quotas <= peers, "{held:?}");
        assert!(held.requests <= peers * MAX_REQUESTS_PER_PEER, "{held:?}");
        assert!(held.missing_transactions <= peers * MAX_TRACKED_HASHES_PER_PEER, "{held:?}");
        assert!(held.block_fetches <= MAX_BLOCK_FETCHES && held.orphans <= MAX_ORPHANS, "{held:?}");
        assert!(held.backend_calls <= MAX_BACKEND_CALLS, "{held:?}");
        assert!(held.unsent_len <= peers * 2 * CREDIT, "{held:?}");
    }
}
