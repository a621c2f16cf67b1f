//! Our reader of genesis files against geth's own: files of every fork, and those of the public networks.

use devp2p::genesis::Genesis;
use interop::{Result, geth};

/// The hashes of the public networks' first blocks, as everybody knows them.
const PUBLIC: [(&str, &str); 3] = [
    ("mainnet", "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
    ("sepolia", "25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9"),
    ("hoodi", "bbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b"),
];

#[test]
fn geth_makes_the_same_first_block_of_each_sample() -> Result<()> {
    for sample in interop::genesis::samples() {
        let theirs = geth::genesis_block(&sample.text).map_err(|failure| failure.during(sample.name))?;
        let ours = Genesis::from_json(&sample.text).unwrap();
        assert_eq!(hex::encode(ours.block()), hex::encode(theirs), "{}", sample.name);
    }
    Ok(())
}

#[test]
fn files_of_the_public_networks_give_their_hashes() -> Result<()> {
    for (name, hash) in PUBLIC {
        let genesis = Genesis::from_json(&geth::dump_genesis(name)?).unwrap();
        assert_eq!(hex::encode(genesis.hash), hash, "{name}");
    }
    Ok(())
}

#[test]
fn geth_refuses_the_fork_orders_that_we_refuse() -> Result<()> {
    geth::genesis_block(interop::GENESIS)?;
    let bad = [
        interop::GENESIS.replace("\"berlinBlock\": 0,", ""),
        interop::GENESIS.replace("\"londonBlock\": 0,", ""),
        interop::GENESIS.replace("\"pragueTime\": 0", "\"pragueTime\": 5"),
        interop::GENESIS.replace("\"istanbulBlock\": 0", "\"istanbulBlock\": 1"),
    ];
    for text in bad {
        assert_ne!(text, interop::GENESIS);
        assert!(Genesis::from_json(&text).is_err());
        let refusal = geth::genesis_block(&text).unwrap_err().to_string();
        assert!(refusal.contains("unsupported fork ordering"), "{refusal}");
    }
    Ok(())
}
