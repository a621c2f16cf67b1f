//! What enters the network, as a seed says: which node a transaction enters at, who makes the next block, who stops.
//! When it enters is decided in `run`.

use bytes::Bytes;
use devp2p::{
    eth_wire::{Address, Hash, TransferRequest},
    identity::NodeKey,
};
use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

/// How many accounts send transactions in turn.
const ACCOUNTS: usize = 16;

/// The load of one run.
pub(super) struct Load {
    rng: ChaCha8Rng,
    chain_id: u64,
    accounts: Vec<Account>,
    next: usize,
}

struct Account {
    key: NodeKey,
    nonce: u64,
}

impl Load {
    /// The load that follows from `seed`, on the chain with `chain_id`.
    pub(super) fn new(seed: u64, chain_id: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Accounts of a private chain that ends with the process: their keys guard nothing.
        let accounts =
            (0..ACCOUNTS).map(|_| Account { key: NodeKey::generate(&mut rng), nonce: 0 }).collect();
        Self { rng, chain_id, accounts, next: 0 }
    }

    /// The next transaction: its hash and its envelope.
    pub(super) fn transaction(&mut self) -> (Hash, Bytes) {
        let index = self.next % ACCOUNTS;
        self.next += 1;
        let account = &mut self.accounts[index];
        let mut to = [0; 20];
        self.rng.fill_bytes(&mut to);
        let request = TransferRequest::new(self.chain_id, account.nonce, Address(to), self.next as u128);
        account.nonce += 1;
        let transaction = request.sign(&account.key);
        (transaction.hash(), transaction.envelope().clone())
    }

    /// One of `nodes`.
    pub(super) fn choose(&mut self, nodes: &[usize]) -> Option<usize> {
        (!nodes.is_empty()).then(|| nodes[self.rng.random_range(0..nodes.len())])
    }

    /// `count` different ones of `nodes`, or all when there are fewer.
    pub(super) fn choose_many(&mut self, nodes: &[usize], count: usize) -> Vec<usize> {
        let mut left = nodes.to_vec();
        let mut chosen = Vec::new();
        while chosen.len() < count && !left.is_empty() {
            chosen.push(left.swap_remove(self.rng.random_range(0..left.len())));
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_loads() {
        let (mut one, mut two) = (Load::new(7, 1337), Load::new(7, 1337));
        for _ in 0..20 {
            assert_eq!(one.transaction(), two.transaction());
            assert_eq!(one.choose(&[3, 4, 5]), two.choose(&[3, 4, 5]));
        }
        assert_eq!(one.choose_many(&[1, 2, 3], 2), two.choose_many(&[1, 2, 3], 2));
        assert_ne!(Load::new(7, 1337).transaction(), Load::new(8, 1337).transaction());
    }

    #[test]
    fn many_are_different_ones() {
        let mut chosen = Load::new(1, 1).choose_many(&[1, 2, 3, 4], 9);
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 2, 3, 4]);
    }
}
