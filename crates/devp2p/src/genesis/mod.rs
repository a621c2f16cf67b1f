//! A chain's first block and forks, read from go-ethereum's `genesis.json`: chain id, header, body, hash, fork lists.
//! What geth v1.17.8 reads is read as geth reads it; what geth drops in silence (doubled keys, numbers cut to 64 bits)
//! is an error here. No network and no fork id live here: `eth_wire` makes the fork id of these lists.

mod alloc;
mod fields;
mod forks;
mod header;

use rlp::{Rlp, RlpStream};
use serde_json::value::RawValue;

use self::{fields::Object, forks::Forks};

/// The longest `genesis.json` that is read, in bytes: mainnet's has 0.7 MB, the largest test networks' some 20 MB.
pub const MAX_GENESIS_LEN: usize = 64 << 20;

/// What a `genesis.json` says about a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// `config.chainId`; the default network id.
    pub chain_id: u64,
    /// The hash of the first block: keccak256 of [`Genesis::header`].
    pub hash: [u8; 32],
    /// The RLP of the first block's header.
    pub header: Vec<u8>,
    /// The RLP of the first block's body: `[[], []]`, from Shanghai on `[[], [], []]`.
    pub body: Vec<u8>,
    /// The first block's time: Unix seconds.
    pub time: u64,
    /// The first block's difficulty, hence its total difficulty: big-endian.
    pub difficulty: [u8; 32],
    /// `config.terminalTotalDifficulty`, big-endian; None on a chain that knows no merge.
    pub terminal_total_difficulty: Option<[u8; 32]>,
    /// Block numbers of the forks, ascending, each once; 0 stands for forks that hold from the first block on.
    pub block_forks: Vec<u64>,
    /// Times of the forks in Unix seconds, ascending, each once, also those at or before [`Genesis::time`].
    pub time_forks: Vec<u64>,
}

/// Why a text is no usable `genesis.json`; one line that names the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Longer than [`MAX_GENESIS_LEN`].
    #[error("genesis: {len} bytes, but at most {MAX_GENESIS_LEN} are read; give the chain's genesis.json")]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// No JSON.
    #[error("genesis: no JSON: {message}; give the chain's genesis.json")]
    Json {
        /// What the parser says, with line and column.
        message: String,
    },
    /// A field that must be there is not.
    #[error("genesis: {field} is missing; add it")]
    Missing {
        /// The field, as a path.
        field: String,
    },
    /// A field or an address stands twice (names are compared as geth does, without regard to case).
    #[error("genesis: {field} stands twice; keep one")]
    Duplicate {
        /// The field, as a path.
        field: String,
    },
    /// A field has a value of the wrong form or range.
    #[error("genesis: {field} is {found}; write {expected}")]
    Value {
        /// The field, as a path.
        field: String,
        /// What may stand there.
        expected: &'static str,
        /// What stands there, cut short.
        found: String,
    },
    /// A fork is set though one before it is not; geth refuses that too.
    #[error(
        "genesis: config.{later} is set but config.{earlier} is not; set it too, at the latest to the same point"
    )]
    ForkGap {
        /// The fork that is missing.
        earlier: &'static str,
        /// The fork that needs it.
        later: &'static str,
    },
    /// A fork comes before one that must precede it; geth refuses that too.
    #[error("genesis: config.{later} comes before config.{earlier}; forks happen in that order or at once")]
    ForkOrder {
        /// The fork that must come first.
        earlier: &'static str,
        /// The fork that comes before it.
        later: &'static str,
    },
}

impl Genesis {
    /// Reads the text of a `genesis.json`.
    ///
    /// # Errors
    /// The first fault, by the variants of [`GenesisError`].
    pub fn from_json(text: &str) -> Result<Self, GenesisError> {
        if text.len() > MAX_GENESIS_LEN {
            return Err(GenesisError::TooLong { len: text.len() });
        }
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| fields::json_error(&error))?;
        let file = Object::read(String::new(), raw.get())?;
        let config = file.object("config")?;
        if config.optional("enableUBTAtGenesis").map_or(Ok(false), |field| field.bool())? {
            return Err(config.refused(
                "enableUBTAtGenesis",
                "false: binary state tries are not supported",
                "true",
            ));
        }
        let time = file.optional("timestamp").map_or(Ok(0), |field| field.u64())?;
        let forks = Forks::read(&config, time)?;
        let state_root = alloc::state_root(&file)?;
        let header = header::encode(&file, &forks, state_root)?;
        Ok(Self {
            chain_id: config.required("chainId")?.u64()?,
            hash: identity::keccak256(&header),
            header,
            body: empty_body(&forks),
            time,
            difficulty: file.required("difficulty")?.u256()?,
            terminal_total_difficulty: config
                .optional("terminalTotalDifficulty")
                .map(|field| field.u256())
                .transpose()?,
            block_forks: forks.blocks(),
            time_forks: forks.times(),
        })
    }

    /// The RLP of the whole first block: `[header, ..body]`.
    pub fn block(&self) -> Vec<u8> {
        let lists: Vec<&[u8]> = Rlp::new(&self.body).iter().map(|list| list.as_raw()).collect();
        let mut block = RlpStream::new_list(1 + lists.len());
        block.append_raw(&self.header, 1);
        for list in lists {
            block.append_raw(list, 1);
        }
        block.out().to_vec()
    }
}

fn empty_body(forks: &Forks) -> Vec<u8> {
    let list_count = if forks.active("shanghaiTime") { 3 } else { 2 };
    let mut body = RlpStream::new_list(list_count);
    for _ in 0..list_count {
        body.begin_list(0);
    }
    body.out().to_vec()
}

#[cfg(test)]
mod tests;
