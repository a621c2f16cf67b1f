//! From flags to what a node is made of: its key and its chain. Nothing is written until all input is known to be good.
//! How a genesis file is read stands in the crate devp2p.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use devp2p::{
    Genesis,
    eth_wire::{Block, BlockBuilder, Chain, ChainStatus, EthConfig, ForkSchedule, Hash, MemoryChain},
    genesis::MAX_GENESIS_LEN,
    identity::{KeyFileError, NodeKey},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};

use crate::{
    args::{ChainArgs, KeyArgs},
    failure::Failure,
};

/// Where the key stands in a data directory, as in geth's.
const KEY_FILE: &str = "nodekey";
/// Where the nodes that have served stand in a data directory.
const BOOK_FILE: &str = "addressbook.redb";
/// The data directory in the home directory.
const DEFAULT_DATADIR: &str = ".devp2p";
/// Chain and network id of the private network, as geth's own private chains have it.
pub(crate) const PRIVATE_CHAIN_ID: u64 = 1337;
/// When the private network's genesis block was made, seconds since 1970: fixed, so that all nodes have the same block.
const PRIVATE_GENESIS_TIME: u64 = 1_700_000_000;

/// A node key, and where it is to be kept when it is new.
pub(crate) struct ChosenKey {
    pub(crate) key: NodeKey,
    keep_at: Option<PathBuf>,
}

impl ChosenKey {
    /// The key that the flags name; a new one when there is none yet.
    pub(crate) fn from_args(args: &KeyArgs) -> Result<Self, Failure> {
        if let Some(key) = &args.nodekeyhex {
            return Ok(Self { key: key.clone(), keep_at: None });
        }
        let path = match &args.nodekey {
            Some(path) => path.clone(),
            None => datadir(args)?.join(KEY_FILE),
        };
        match NodeKey::load(&path) {
            Ok(key) => Ok(Self { key, keep_at: None }),
            Err(KeyFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { key: NodeKey::generate(&mut UnwrapErr(SysRng)), keep_at: Some(path) })
            }
            Err(error) => Err(Failure::input(error)),
        }
    }

    /// Writes a new key to its file. Called when all else is known to be good.
    pub(crate) fn keep(&self) -> Result<(), Failure> {
        let Some(path) = &self.keep_at else { return Ok(()) };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(|error| {
                Failure::input(format!("data directory {}: {error}", directory.display()))
            })?;
        }
        self.key.create(path).map_err(Failure::input)
    }
}

/// Where a node keeps its address book: in the data directory, if the node has one. A key that is named by itself makes
/// none, so that two such nodes do not share a book.
pub(crate) fn book_path(args: &KeyArgs) -> Result<Option<PathBuf>, Failure> {
    let has_own_key = args.nodekey.is_some() || args.nodekeyhex.is_some();
    if has_own_key && args.datadir.is_none() {
        return Ok(None);
    }
    Ok(Some(datadir(args)?.join(BOOK_FILE)))
}

/// The key that the flags name, or one for this run alone.
pub(crate) fn node_key_or_random(args: &KeyArgs) -> Result<NodeKey, Failure> {
    if args.nodekeyhex.is_some() || args.nodekey.is_some() || args.datadir.is_some() {
        return ChosenKey::from_args(args).map(|chosen| chosen.key);
    }
    Ok(NodeKey::generate(&mut UnwrapErr(SysRng)))
}

fn datadir(args: &KeyArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.datadir {
        return Ok(path.clone());
    }
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| {
        Failure::input("there is no home directory for the node key: name one with --datadir")
    })?;
    Ok(Path::new(&home).join(DEFAULT_DATADIR))
}

/// A chain with nothing on it but its first block.
pub(crate) struct NewChain {
    pub(crate) chain_id: u64,
    pub(crate) genesis: Block,
    pub(crate) status: ChainStatus,
    forks: ForkSchedule,
}

impl NewChain {
    /// The private network's.
    pub(crate) fn private() -> Self {
        let genesis = BlockBuilder::genesis(PRIVATE_GENESIS_TIME).build();
        let forks = ForkSchedule::new(genesis.header.hash, PRIVATE_GENESIS_TIME, &[], &[]);
        Self::new(PRIVATE_CHAIN_ID, PRIVATE_CHAIN_ID, genesis, forks)
    }

    /// The chain that the flags name.
    pub(crate) fn from_args(args: &ChainArgs) -> Result<Self, Failure> {
        let Some(path) = &args.genesis else {
            let Self { chain_id, genesis, forks, .. } = Self::private();
            return Ok(Self::new(chain_id, args.networkid.unwrap_or(chain_id), genesis, forks));
        };
        let genesis = read_genesis(path)?;
        let unusable = |error| Failure::input(format!("genesis file {}: {error}", path.display()));
        let (header, body) = (Bytes::from(genesis.header), Bytes::from(genesis.body));
        let block = Block::assemble(&header, &body).map_err(unusable)?;
        let forks =
            ForkSchedule::new(Hash(genesis.hash), genesis.time, &genesis.block_forks, &genesis.time_forks);
        let network_id = args.networkid.unwrap_or(genesis.chain_id);
        Ok(Self::new(genesis.chain_id, network_id, block, forks))
    }

    /// What the protocol says of the chain.
    pub(crate) fn eth_config(&self) -> EthConfig {
        EthConfig::new(self.status.network_id(), self.forks.clone())
    }

    fn new(chain_id: u64, network_id: u64, genesis: Block, forks: ForkSchedule) -> Self {
        let head = MemoryChain::new(&genesis).head();
        let status = ChainStatus::new(network_id, genesis.header.hash, forks.clone(), head);
        Self { chain_id, genesis, status, forks }
    }
}

fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let failed = |error: io::Error| Failure::input(format!("genesis file {}: {error}", path.display()));
    let len = fs::metadata(path).map_err(failed)?.len();
    if len > MAX_GENESIS_LEN as u64 {
        return Err(Failure::input(format!(
            "genesis file {}: {len} bytes, at most {MAX_GENESIS_LEN} are read",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Genesis::from_json(&text)
        .map_err(|error| Failure::input(format!("genesis file {}: {error}", path.display())))
}
