//! Our reader of genesis files gives the first blocks that geth gives.

use devp2p::genesis::Genesis;

#[test]
fn first_blocks_have_the_hashes_that_geth_gives_them() {
    for sample in interop::genesis::samples() {
        let genesis =
            Genesis::from_json(&sample.text).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert_eq!(hex::encode(genesis.hash), sample.hash, "{}", sample.name);
    }
}
