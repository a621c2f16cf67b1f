//! Node ids, the only thing with a distance. Buckets by distance are discv4's (`table`); hashes of blocks and transactions
//! are `Hash` of eth-wire, which has none.
//! devp2p specification, `discv4.md`, "Node Identities" and "Node Table".

use std::fmt;

use crate::{PublicKey, keccak256};

/// A node's place in the key space: `keccak256` of its 64-byte public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Takes the 32 bytes of an id as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The XOR distance to `other`, a 256-bit number.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut xor = [0; 32];
        for (out, (a, b)) in xor.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *out = a ^ b;
        }
        Distance(xor)
    }

    /// The position of the highest bit in which the ids differ: 0 when equal, else 1 to 256.
    pub fn log_distance(&self, other: &Self) -> usize {
        256 - self.distance(other).leading_zeros()
    }
}

impl From<&PublicKey> for NodeId {
    fn from(key: &PublicKey) -> Self {
        Self(keccak256(key.as_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({}..)", hex::encode(&self.0[..4]))
    }
}

/// The XOR of two ids; orders as the big-endian number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u8; 32]);

impl Distance {
    fn leading_zeros(&self) -> usize {
        let zero_bytes = self.0.iter().take_while(|byte| **byte == 0).count();
        let zero_bits = self.0.get(zero_bytes).map_or(0, |byte| byte.leading_zeros() as usize);
        zero_bytes * 8 + zero_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_distance_is_the_highest_differing_bit() {
        let zero = NodeId::from_bytes([0; 32]);
        for bit in 0..256usize {
            let mut bytes = [0; 32];
            bytes[31 - bit / 8] = 1 << (bit % 8);
            assert_eq!(zero.log_distance(&NodeId::from_bytes(bytes)), bit + 1);
        }
        assert_eq!(zero.log_distance(&zero), 0);
    }

    #[test]
    fn distance_orders_as_a_number() {
        let (zero, mut near, mut far) = (NodeId::from_bytes([0; 32]), [0; 32], [0; 32]);
        near[31] = 0xff;
        far[30] = 0x01;
        assert!(zero.distance(&NodeId::from_bytes(near)) < zero.distance(&NodeId::from_bytes(far)));
    }
}
