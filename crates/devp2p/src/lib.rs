//! An Ethereum-style networking node: discovery, encrypted transport and the eth protocol wired into one.
