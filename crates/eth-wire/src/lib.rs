//! The eth capability: handshake, requests, and gossip of transactions and blocks over a peer set.
