//! Fork ids: whether two nodes can be on one chain, told from twelve bytes. EIP-2124, with forks by time as EIP-6122
//! has them, and the entry `eth` of node records.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use identity::Enr;

use crate::{
    Hash,
    error::DecodeError,
    message::item::{self, Items},
};

/// The key of the entry in a node record.
pub const ENR_KEY: &str = "eth";

/// A next fork above this is a time and not a block number: the time of Ethereum's genesis block, seconds since 1970
/// (EIP-6122; go-ethereum, `timestampThreshold`).
pub const TIME_THRESHOLD: u64 = 1_438_269_973;

/// The forks a chain has passed, and the next one it knows of.
///
/// ```text
/// [hash: 4 bytes, next: at most 8 bytes, 0 when none is known]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForkId {
    /// CRC32 of the genesis hash and of the blocks or times of the forks passed, 8 bytes each.
    pub hash: [u8; 4],
    /// The block or time of the next fork; 0 when none is known.
    pub next: u64,
}

impl ForkId {
    /// The list of both.
    pub(crate) fn encode(&self) -> Bytes {
        item::list_of([item::string_of(&self.hash).as_ref(), rlp::encode(&self.next).as_ref()])
    }

    /// Both fields, and no more.
    pub(crate) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let id = Self { hash: items.next("fork hash")?.array("fork hash")?, next: items.u64("next fork")? };
        items.end("fork id")?;
        Ok(id)
    }

    /// The value of the record's entry [`ENR_KEY`]: a list, of which the fork id is the first item.
    pub fn to_enr_value(&self) -> Bytes {
        item::list_of([self.encode()])
    }

    /// Reads the value of the entry; what comes after the fork id is for later versions.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn from_enr_value(value: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(Items::only(value, "record entry eth")?.list("fork id")?)
    }
}

impl fmt::Display for ForkId {
    /// `0x` and 8 hex digits, and the next fork where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", u32::from_be_bytes(self.hash))?;
        if self.next == 0 { Ok(()) } else { write!(f, " (next fork at {})", self.next) }
    }
}

/// Why two fork ids do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkIdError {
    /// The peer's chain has not had a fork that ours had, and it does not know of it: its software is too old.
    #[error("the remote node does not know of a fork that is past: its software is too old")]
    RemoteStale,
    /// The chains differ, or the peer's had a fork that we do not know of: ours may be too old.
    #[error("the chains are different, or ours does not know of a fork that is past")]
    LocalIncompatibleOrStale,
}

/// The forks of a chain, in order, with the fork hash that holds after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkSchedule {
    /// Those by block, then those by time; no zeros, no repeats.
    forks: Vec<u64>,
    /// How many of them are by block.
    block_fork_count: usize,
    /// One more than there are forks: the first is that of the genesis block alone.
    hashes: Vec<[u8; 4]>,
}

impl ForkSchedule {
    /// The schedule of the chain with this genesis block. Forks may be given in any order and more than once; those at or
    /// before the genesis block do not count.
    pub fn new(genesis: Hash, genesis_time: u64, block_forks: &[u64], time_forks: &[u64]) -> Self {
        let mut forks = in_order(block_forks, 0);
        let block_fork_count = forks.len();
        forks.append(&mut in_order(time_forks, genesis_time));
        let mut crc = Crc32::new(genesis.as_bytes());
        let mut hashes = vec![crc.bytes()];
        for fork in &forks {
            crc.update(&fork.to_be_bytes());
            hashes.push(crc.bytes());
        }
        Self { forks, block_fork_count, hashes }
    }

    /// The fork id of a node whose head has this number and time (seconds since 1970).
    pub fn fork_id(&self, head_number: u64, head_time: u64) -> ForkId {
        let passed = self.passed(head_number, head_time);
        ForkId {
            hash: self.hashes.get(passed).copied().unwrap_or_default(),
            next: self.forks.get(passed).copied().unwrap_or(0),
        }
    }

    /// Whether a peer with `remote` can be on our chain (EIP-2124, "Validation rules").
    ///
    /// # Errors
    /// Which of the two is behind or elsewhere.
    pub fn validate(&self, remote: &ForkId, head_number: u64, head_time: u64) -> Result<(), ForkIdError> {
        let passed = self.passed(head_number, head_time);
        match self.hashes.iter().position(|hash| *hash == remote.hash) {
            // Rule 1: the same forks passed, unless the peer's next one is behind us.
            Some(theirs) if theirs == passed => {
                let head = if passed < self.block_fork_count || self.is_by_block_alone() {
                    head_number
                } else {
                    head_time
                };
                let by_time = remote.next > TIME_THRESHOLD && head_time >= remote.next;
                let is_past = remote.next > 0 && (head >= remote.next || by_time);
                if is_past { Err(ForkIdError::LocalIncompatibleOrStale) } else { Ok(()) }
            }
            // Rule 2: the peer is behind us, and must know of the fork that comes next for it.
            Some(theirs) if theirs < passed => match self.forks.get(theirs) {
                Some(fork) if *fork == remote.next => Ok(()),
                Some(_) | None => Err(ForkIdError::RemoteStale),
            },
            // Rule 3: we are behind the peer, on its chain.
            Some(_) => Ok(()),
            // Rule 4.
            None => Err(ForkIdError::LocalIncompatibleOrStale),
        }
    }

    /// How many forks a head has passed.
    fn passed(&self, head_number: u64, head_time: u64) -> usize {
        let heads = self.forks.iter().enumerate();
        let is_passed = |(place, fork): &(usize, &u64)| {
            **fork <= if *place < self.block_fork_count { head_number } else { head_time }
        };
        heads.take_while(is_passed).count()
    }

    const fn is_by_block_alone(&self) -> bool {
        self.block_fork_count == self.forks.len()
    }
}

/// The forks above `start`, in order, each once.
fn in_order(forks: &[u64], start: u64) -> Vec<u64> {
    let mut forks: Vec<u64> = forks.iter().copied().filter(|fork| *fork > start).collect();
    forks.sort_unstable();
    forks.dedup();
    forks
}

/// CRC-32 of IEEE 802.3, bit by bit: it runs over a few hundred bytes once a schedule.
struct Crc32(u32);

impl Crc32 {
    /// The generator polynomial, reflected.
    const POLYNOMIAL: u32 = 0xedb8_8320;

    fn new(bytes: &[u8]) -> Self {
        let mut crc = Self(u32::MAX);
        crc.update(bytes);
        crc
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..u8::BITS {
                self.0 = (self.0 >> 1) ^ (Self::POLYNOMIAL * (self.0 & 1));
            }
        }
    }

    const fn bytes(&self) -> [u8; 4] {
        (!self.0).to_be_bytes()
    }
}

/// A schedule with the head it is asked about: tells whether fork ids fit. Clones share the head, so that whoever dials
/// asks with the head of whoever follows the chain.
#[derive(Clone, Debug)]
pub struct ForkFilter {
    schedule: Arc<ForkSchedule>,
    // Read one after the other: between two heads the answer may be that of either, which is all that is promised.
    number: Arc<AtomicU64>,
    time: Arc<AtomicU64>,
}

impl ForkFilter {
    /// The filter of a chain whose head has this number and time (seconds since 1970).
    pub fn new(schedule: ForkSchedule, head_number: u64, head_time: u64) -> Self {
        Self {
            schedule: Arc::new(schedule),
            number: Arc::new(AtomicU64::new(head_number)),
            time: Arc::new(AtomicU64::new(head_time)),
        }
    }

    /// The head has moved.
    pub fn set_head(&self, number: u64, time: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.time.store(time, Ordering::Relaxed);
    }

    /// Our own fork id.
    pub fn fork_id(&self) -> ForkId {
        let (number, time) = self.head();
        self.schedule.fork_id(number, time)
    }

    /// Whether a peer with `remote` can be on our chain.
    ///
    /// # Errors
    /// Which of the two is behind or elsewhere.
    pub fn validate(&self, remote: &ForkId) -> Result<(), ForkIdError> {
        let (number, time) = self.head();
        self.schedule.validate(remote, number, time)
    }

    /// Whether the record names a fork id that fits. A record without the entry is not of this chain.
    pub fn accepts_enr(&self, record: &Enr) -> bool {
        let id = record.entry(ENR_KEY).map(ForkId::from_enr_value);
        id.is_some_and(|id| id.is_ok_and(|id| self.validate(&id).is_ok()))
    }

    fn head(&self) -> (u64, u64) {
        (self.number.load(Ordering::Relaxed), self.time.load(Ordering::Relaxed))
    }
}
