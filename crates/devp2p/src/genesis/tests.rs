//! Claims about reading `genesis.json`; the hashes were read from go-ethereum v1.17.8 (`geth init`, `geth export`).
//! The test binaries `scenarios` and `live` compare more files, and geth itself.

use super::*;

/// A file with `config` members beside the chain id and `fields` beside those that must be there.
fn file(config: &str, fields: &str) -> String {
    format!(
        r#"{{"config":{{"chainId":5{config}}},"gasLimit":"0x47b760","difficulty":"1","alloc":{{}}{fields}}}"#
    )
}

fn error(text: &str) -> String {
    let error = Genesis::from_json(text).unwrap_err().to_string();
    assert!(!error.contains('\n') && error.len() < 400, "{error}");
    error
}

const TO_LONDON: &str = r#","homesteadBlock":0,"eip150Block":0,"eip155Block":0,"eip158Block":0,"byzantiumBlock":0,
    "constantinopleBlock":0,"petersburgBlock":0,"istanbulBlock":0,"berlinBlock":0,"londonBlock":0"#;

#[test]
fn lists_hold_each_point_once_in_order() {
    let text = file(
        r#","homesteadBlock":0,"eip150Block":2,"eip155Block":3,"eip158Block":3,"byzantiumBlock":3,
        "constantinopleBlock":7,"petersburgBlock":7,"istanbulBlock":7,"muirGlacierBlock":8,"berlinBlock":9,
        "londonBlock":9,"mergeNetsplitBlock":12,"shanghaiTime":5,"cancunTime":5,"pragueTime":10,"osakaTime":10,
        "bpo1Time":11,"bpo2Time":12,"bpo3Time":13,"bpo4Time":14,"bpo5Time":15,"amsterdamTime":20,"bogotaTime":30,
        "terminalTotalDifficulty":58750000000000000000000"#,
        r#","timestamp":"5""#,
    );
    let genesis = Genesis::from_json(&text).unwrap();
    assert_eq!(genesis.block_forks, [0, 2, 3, 7, 8, 9, 12]);
    assert_eq!(genesis.time_forks, [5, 10, 11, 12, 13, 14, 15, 20, 30]);
    assert_eq!((genesis.chain_id, genesis.time), (5, 5));
    assert_eq!(genesis.difficulty[31], 1);
    assert_eq!(
        genesis.terminal_total_difficulty.unwrap()[22..],
        hex::decode("0c70d808a128d7380000").unwrap()
    );
}

#[test]
fn each_fork_adds_its_header_items() {
    let added = [
        ("", 15),
        (TO_LONDON, 16),
        (&format!(r#"{TO_LONDON},"shanghaiTime":0"#), 17),
        (&format!(r#"{TO_LONDON},"shanghaiTime":0,"cancunTime":0"#), 20),
        (&format!(r#"{TO_LONDON},"shanghaiTime":0,"cancunTime":0,"pragueTime":0,"osakaTime":0"#), 21),
        (&format!(r#"{TO_LONDON},"shanghaiTime":0,"cancunTime":0,"pragueTime":0,"amsterdamTime":0"#), 23),
        // Not yet at the first block's time.
        (&format!(r#"{TO_LONDON},"shanghaiTime":1"#), 16),
    ];
    for (config, expected) in added {
        let genesis = Genesis::from_json(&file(config, "")).unwrap();
        let header = rlp::Rlp::new(&genesis.header);
        assert_eq!(header.item_count(), Ok(expected), "{config}");
        assert_eq!(genesis.body.len(), if expected > 16 { 4 } else { 3 });
    }
}

#[test]
fn an_item_that_is_absent_before_a_present_one_is_empty() {
    let genesis = Genesis::from_json(&file("", r#","excessBlobGas":"0x7","blobGasUsed":"0x9""#)).unwrap();
    let header = rlp::Rlp::new(&genesis.header);
    assert_eq!(header.item_count(), Ok(19));
    let items: Vec<Vec<u8>> = (15..19).map(|index| header.val_at(index).unwrap()).collect();
    assert_eq!(
        items,
        [vec![], vec![], vec![], vec![7]],
        "blob gas used needs Cancun, excess blob gas does not"
    );
}

#[test]
fn names_ignore_case_and_null_is_absent_as_in_geth() {
    let plain = Genesis::from_json(&file("", r#","extraData":"0x01","nonce":"0x42""#)).unwrap();
    let odd = Genesis::from_json(&file("", r#","EXTRADATA":"0x01","Nonce":66,"mixhash":null,"unknown":{}"#))
        .unwrap();
    assert_eq!(plain, odd);
}

#[test]
fn storage_of_value_zero_and_the_order_of_accounts_do_not_count() {
    let with = |alloc: &str| {
        let text = file("", "").replace(r#""alloc":{}"#, &format!(r#""alloc":{{{alloc}}}"#));
        Genesis::from_json(&text).unwrap().hash
    };
    let one = format!(r#""0x{}":{{"balance":"1","storage":{{"0x01":"0x02","03":"00"}}}}"#, "11".repeat(20));
    let same = format!(r#""{}":{{"balance":"0x1","storage":{{"0001":"02"}}}}"#, "11".repeat(20));
    let other = format!(r#""{}":{{"balance":0}}"#, "22".repeat(20));
    assert_eq!(with(&one), with(&same));
    assert_eq!(with(&format!("{one},{other}")), with(&format!("{other},{same}")));
    assert_ne!(with(&one), with(&format!("{one},{other}")), "an empty account stays");
}

#[test]
fn c07_a_bad_value_is_named_in_one_line_with_what_to_write() {
    let account = |fields: &str| {
        file("", "").replace(r#""alloc":{}"#, &format!(r#""alloc":{{"{}":{{{fields}}}}}"#, "11".repeat(20)))
    };
    let cases = [
        (
            file("", r#","extraData":"0x123""#),
            "extraData is \"0x123\"; write hex in quotes with 0x and an even number",
        ),
        (file("", r#","extraData":"12""#), "extraData is \"12\"; write hex"),
        (
            file("", r#","mixHash":"0x12""#),
            "mixHash is \"0x12\"; write a hash in quotes: 0x and 64 hex digits",
        ),
        (file("", r#","coinbase":5"#), "coinbase is 5; write an address"),
        (
            file("", r#","nonce":"0x10000000000000000""#),
            "nonce is \"0x10000000000000000\"; write an integer from 0 to 2^64-1",
        ),
        (file("", r#","nonce":"1_0""#), "nonce is \"1_0\"; write an integer"),
        (file("", r#","nonce":-1"#), "nonce is -1; write an integer"),
        (file("", r#","nonce":1e3"#), "nonce is 1e3; write an integer"),
        (file("", r#","nonce":"0x""#), "nonce is \"0x\"; write an integer"),
        (file("", r#","nonce":[]"#), "nonce is []; write an integer"),
        (file("", r#","nonce":"\u000a\u202e""#), "nonce is "),
        (file("", r#","number":"0x1""#), "number is 1; write 0"),
        (file(r#","enableUBTAtGenesis":true"#, ""), "config.enableUBTAtGenesis is true; write false"),
        (file(r#","enableUBTAtGenesis":1"#, ""), "config.enableUBTAtGenesis is 1; write true or false"),
        (account(""), "alloc.1111111111111111111111111111111111111111.balance is missing; add it"),
        (account(r#""balance":"0x1","code":"0x1""#), "11.code is \"0x1\"; write hex"),
        (account(r#""balance":"0x1","storage":{"0x1":"0x01"}"#), "storage.0x1 is 0x1; write hex in quotes"),
        (
            account(r#""balance":"0x1","storage":{"0x01":"0x1"}"#),
            "storage.0x01 is \"0x1\"; write hex in quotes",
        ),
        (account(&format!(r#""balance":"0x1{}""#, "0".repeat(64))), "2^256-1"),
        (
            file("", "").replace(r#""alloc":{}"#, r#""alloc":{"0x12":{}}"#),
            "genesis: the name of alloc.0x12 is 0x12; write 40 hex",
        ),
        (file("", "").replace("{}", "[]"), "alloc is []; write a JSON object"),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}

#[test]
fn c07_missing_and_doubled_fields_are_named() {
    for field in ["gasLimit", "difficulty", "alloc", "config"] {
        let text = file("", "").replace(field, "other");
        assert_eq!(error(&text), format!("genesis: {field} is missing; add it"));
    }
    assert_eq!(error(&file("", "").replace("chainId", "x")), "genesis: config.chainId is missing; add it");
    assert_eq!(error(&file("", r#","GasLimit":1"#)), "genesis: gasLimit stands twice; keep one");
    let address = "ab".repeat(20);
    let twice = format!(r#"{{"{address}":{{"balance":1}},"0X{}":{{"balance":1}}}}"#, address.to_uppercase());
    assert!(error(&file("", "").replace("{}", &twice)).ends_with("stands twice; keep one"));
    let slots = format!(r#"{{"{address}":{{"balance":1,"storage":{{"01":"01","0x0001":"02"}}}}}}"#);
    assert!(error(&file("", "").replace("{}", &slots)).ends_with("storage.0x0001 stands twice; keep one"));
}

#[test]
fn c07_forks_out_of_order_are_refused_as_by_geth() {
    let gap = file(r#","homesteadBlock":0,"eip155Block":0"#, "");
    assert!(error(&gap).starts_with("genesis: config.eip155Block is set but config.eip150Block is not"));
    let no_shanghai = file(&format!(r#"{TO_LONDON},"cancunTime":0"#), "");
    assert!(
        error(&no_shanghai).starts_with("genesis: config.cancunTime is set but config.shanghaiTime is not")
    );
    let back = file(&format!(r#"{TO_LONDON},"shanghaiTime":7,"pragueTime":6"#), "");
    assert!(error(&back).starts_with("genesis: config.pragueTime comes before config.shanghaiTime"));
    let big = file(r#","homesteadBlock":18446744073709551616"#, "");
    assert!(
        error(&big).starts_with("genesis: config.homesteadBlock is 18446744073709551616; write an integer")
    );
}

#[test]
fn c07_what_is_no_json_is_refused_without_deep_recursion() {
    assert!(error("").starts_with("genesis: no JSON: EOF"));
    assert!(error("{\"config\":").starts_with("genesis: no JSON: EOF"));
    assert_eq!(error("5"), "genesis: the file is 5; write a JSON object");
    assert!(error(&"[".repeat(1 << 20)).starts_with("genesis: no JSON"));
    assert!(
        error(&format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20)))
            .starts_with("genesis: the file is [[[")
    );
    let long = " ".repeat(MAX_GENESIS_LEN + 1);
    assert_eq!(Genesis::from_json(&long), Err(GenesisError::TooLong { len: MAX_GENESIS_LEN + 1 }));
}
