//! Fork ids against the tables of EIP-2124 and EIP-6122 for the public networks.
#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod support;

use eth_wire::{ForkFilter, ForkId, ForkIdError, ForkSchedule, Hash, fork_id::ENR_KEY};
use identity::EnrBuilder;
use serde_json::Value;
use support::{hash, json, key, unhex};

const TABLES: &str = include_str!("vectors/fork_id.json");
const NETWORKS: &str = include_str!("vectors/networks.json");

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn schedule(network: &str) -> ForkSchedule {
    let chain = &json(NETWORKS)["networks"][network];
    let (blocks, times) = (numbers(&chain["block_forks"]), numbers(&chain["time_forks"]));
    ForkSchedule::new(hash(&chain["genesis_hash"]), chain["genesis_time"].as_u64().unwrap(), &blocks, &times)
}

fn id(row: &Value) -> ForkId {
    ForkId { hash: unhex(&row["hash"]).try_into().unwrap(), next: row["next"].as_u64().unwrap() }
}

fn id_of(hash: u32, next: u64) -> ForkId {
    ForkId { hash: hash.to_be_bytes(), next }
}

#[test]
fn public_networks_have_their_fork_ids() {
    let tables = json(TABLES);
    let mut rows = 0;
    for (network, table) in tables["creation"].as_object().unwrap() {
        let schedule = schedule(network);
        for row in table.as_array().unwrap() {
            let (head, time) = (row["head"].as_u64().unwrap(), row["time"].as_u64().unwrap());
            assert_eq!(
                schedule.fork_id(head, time),
                id(row),
                "{network} at {head}, {time}: {}",
                row["about"]
            );
            rows += 1;
        }
    }
    assert_eq!(rows, 78);
}

#[test]
fn e02_validation_follows_the_table_of_eip_2124() {
    let tables = json(TABLES);
    let mainnet = &json(NETWORKS)["networks"]["mainnet"];
    let until_petersburg: Vec<u64> =
        numbers(&mainnet["block_forks"]).into_iter().filter(|fork| *fork <= 7_280_000).collect();
    let schedule = ForkSchedule::new(hash(&mainnet["genesis_hash"]), 0, &until_petersburg, &[]);
    for row in tables["validation_mainnet_petersburg_cap"].as_array().unwrap() {
        let expected = match row["result"].as_str().unwrap() {
            "nil" => Ok(()),
            "ErrRemoteStale" => Err(ForkIdError::RemoteStale),
            "ErrLocalIncompatibleOrStale" => Err(ForkIdError::LocalIncompatibleOrStale),
            other => panic!("{other}"),
        };
        assert_eq!(
            schedule.validate(&id(row), row["head"].as_u64().unwrap(), 0),
            expected,
            "{}",
            row["about"]
        );
    }
}

/// The same rules where forks go by time: mainnet, with hashes of its table.
#[test]
fn e02_validation_holds_for_forks_by_time() {
    use ForkIdError::{LocalIncompatibleOrStale, RemoteStale};
    const GRAY_GLACIER: u32 = 0xf0af_d0e3;
    const SHANGHAI: u32 = 0xdce9_6c2d;
    const CANCUN: u32 = 0x9f3d_2254;
    const SHANGHAI_TIME: u64 = 1_681_338_455;
    const CANCUN_TIME: u64 = 1_710_338_135;
    let in_shanghai = (20_000_000, SHANGHAI_TIME + 10);
    let before_shanghai = (20_000_000, SHANGHAI_TIME - 10);
    let rows = [
        // The same forks, the next one known, unknown, or another that is still to come.
        (in_shanghai, id_of(SHANGHAI, CANCUN_TIME), Ok(())),
        (in_shanghai, id_of(SHANGHAI, 0), Ok(())),
        (in_shanghai, id_of(SHANGHAI, u64::MAX), Ok(())),
        (in_shanghai, id_of(SHANGHAI, CANCUN_TIME - 1), Ok(())),
        // The same forks, but the peer has had another since.
        (in_shanghai, id_of(SHANGHAI, SHANGHAI_TIME + 5), Err(LocalIncompatibleOrStale)),
        (before_shanghai, id_of(GRAY_GLACIER, SHANGHAI_TIME - 10), Err(LocalIncompatibleOrStale)),
        // A block number is no time: below the threshold it is compared with the head's time all the same.
        (in_shanghai, id_of(SHANGHAI, 20_000_000), Err(LocalIncompatibleOrStale)),
        // The peer is behind and knows of the fork, does not, or knows of another.
        (in_shanghai, id_of(GRAY_GLACIER, SHANGHAI_TIME), Ok(())),
        (in_shanghai, id_of(GRAY_GLACIER, 0), Err(RemoteStale)),
        (in_shanghai, id_of(GRAY_GLACIER, SHANGHAI_TIME + 1), Err(RemoteStale)),
        // We are behind.
        (before_shanghai, id_of(SHANGHAI, CANCUN_TIME), Ok(())),
        (before_shanghai, id_of(CANCUN, 0), Ok(())),
        ((0, 0), id_of(CANCUN, 0), Ok(())),
        // Another chain.
        (in_shanghai, id_of(0xdead_beef, 0), Err(LocalIncompatibleOrStale)),
    ];
    let mainnet = schedule("mainnet");
    for ((number, time), remote, expected) in rows {
        assert_eq!(mainnet.validate(&remote, number, time), expected, "{remote} at {number}, {time}");
    }
}

/// While forks go by block, a peer that announces a fork by time is told by our clock of blocks (EIP-6122).
#[test]
fn e02_a_fork_by_time_is_past_by_the_time_of_the_head() {
    let schedule = ForkSchedule::new(Hash([1; 32]), 0, &[100], &[2_000_000_000]);
    let before = schedule.fork_id(99, 0).hash;
    let announced = |next| ForkId { hash: before, next };
    let stale = Err(ForkIdError::LocalIncompatibleOrStale);
    assert_eq!(schedule.validate(&announced(1_500_000_000), 99, 1_499_999_999), Ok(()));
    assert_eq!(schedule.validate(&announced(1_500_000_000), 99, 1_500_000_000), stale);
    assert_eq!(
        schedule.validate(&announced(1_438_269_973), 99, 1_500_000_000),
        Ok(()),
        "not above the threshold"
    );
}

#[test]
fn forks_before_the_genesis_block_do_not_count() {
    let bare = ForkSchedule::new(Hash([1; 32]), 1_700_000_000, &[], &[]);
    assert_eq!(ForkSchedule::new(Hash([1; 32]), 1_700_000_000, &[0, 0], &[0, 1_700_000_000]), bare);
    let forked = ForkSchedule::new(Hash([1; 32]), 0, &[7, 5, 7], &[]);
    assert_eq!((forked.fork_id(4, 0).next, forked.fork_id(5, 0).next, forked.fork_id(7, 0).next), (5, 7, 0));
}

#[test]
fn records_are_accepted_by_their_fork_id_alone() {
    let filter = ForkFilter::new(schedule("mainnet"), 0, 0);
    let record = |value: Option<bytes::Bytes>| {
        let builder = EnrBuilder::new(1);
        let builder = match value {
            Some(value) => builder.entry(ENR_KEY, value),
            None => builder,
        };
        builder.sign(&key(1)).unwrap()
    };
    let ours = filter.fork_id();
    assert_eq!(ours.to_enr_value()[..], hex::decode("cac984fc64ec0483118c30").unwrap());
    assert_eq!(ForkId::from_enr_value(&ours.to_enr_value()), Ok(ours));
    assert!(filter.accepts_enr(&record(Some(ours.to_enr_value()))));
    assert!(
        filter.accepts_enr(&record(Some(schedule("mainnet").fork_id(30_000_000, u64::MAX).to_enr_value())))
    );
    assert!(!filter.accepts_enr(&record(Some(schedule("sepolia").fork_id(0, 0).to_enr_value()))));
    assert!(!filter.accepts_enr(&record(None)));
    for malformed in ["c0", "80", "c1c0", "cac984fc64ec048300ffff", "c9c883fc64ec83118c30", "cac984fc64ec04"]
    {
        // Some are no RLP at all and cannot even be put in a record.
        assert!(ForkId::from_enr_value(&hex::decode(malformed).unwrap()).is_err(), "{malformed}");
    }
    // Later versions may append to the entry.
    assert_eq!(ForkId::from_enr_value(&hex::decode("cbc984fc64ec0483118c3001").unwrap()), Ok(ours));
}

#[test]
fn a_filter_follows_the_head_of_whoever_it_was_cloned_from() {
    let filter = ForkFilter::new(schedule("mainnet"), 0, 0);
    let elsewhere = filter.clone();
    filter.set_head(1_150_000, 0);
    assert_eq!(elsewhere.fork_id(), schedule("mainnet").fork_id(1_150_000, 0));
}
