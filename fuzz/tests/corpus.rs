//! The committed corpora, replayed: no input breaks a rule, enough of them get to the last check, and those that code can
//! make are as it makes them; those in which something is drawn are there. Inputs that a fuzzer found are kept under
//! names that begin with `found_`.

mod seeds;

use std::{collections::BTreeMap, fs, path::PathBuf};

use hostile::Verdict;

/// One input in so many has to get past every check, or a target tells nothing about what is behind.
const ACCEPTED_SHARE: usize = 3;
/// Most inputs of a corpus, and most bytes of one: what is tried first is tried at every start of a fuzzer.
const MAX_INPUTS: usize = 80;
const MAX_INPUT_LEN: usize = 4096;

/// The inputs of a target by the names of their files.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = seeds::folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file of a folder").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a file"))
    };
    entries.map(|entry| read(entry.expect("a readable folder").path())).collect()
}

/// Replays a corpus and prints what came of it.
fn replay(target: &str, run: fn(&[u8]) -> Verdict) {
    let corpus = corpus(target);
    assert!((1..=MAX_INPUTS).contains(&corpus.len()), "{target} has {} inputs", corpus.len());
    let mut counts = BTreeMap::<Verdict, usize>::new();
    for (name, input) in &corpus {
        assert!(input.len() <= MAX_INPUT_LEN, "{target}/{name} has {} bytes", input.len());
        let verdict = run(input);
        assert_eq!(run(input), verdict, "{target}/{name} ends differently the second time");
        println!("{target}/{name}: {verdict}");
        *counts.entry(verdict).or_default() += 1;
    }
    counts.iter().for_each(|(verdict, count)| println!("{target}: {count} {verdict}"));
    let accepted = counts.get(&Verdict::Accepted).copied().unwrap_or_default();
    println!("{target}: {accepted} of {} accepted", corpus.len());
    assert!(accepted * ACCEPTED_SHARE >= corpus.len(), "{target}: {accepted} of {}", corpus.len());
}

#[test]
fn discv4_takes_a_third_of_its_corpus() {
    replay("discv4", hostile::discv4::run);
}

#[test]
fn eth_takes_a_third_of_its_corpus() {
    replay("eth", hostile::eth::run);
}

#[test]
fn frame_takes_a_third_of_its_corpus() {
    replay("frame", hostile::frame::run);
}

#[test]
fn handshake_takes_a_third_of_its_corpus() {
    replay("handshake", hostile::handshake::run);
}

#[test]
fn records_takes_a_third_of_its_corpus() {
    replay("records", hostile::records::run);
}

#[test]
fn packets_that_our_sessions_once_wrote_are_still_taken() {
    let corpus = corpus("handshake");
    let own: Vec<_> = corpus.iter().filter(|(name, _)| name.starts_with("own_")).collect();
    assert_eq!(own.len(), 4);
    for (name, packet) in own {
        assert_eq!(hostile::handshake::run(packet), Verdict::Accepted, "{name}");
    }
}

#[test]
fn every_committed_input_is_a_seed_of_today_or_was_found() {
    for (target, seeds) in seeds::all() {
        let mut files = corpus(target);
        for seed in seeds {
            let file = files.remove(&seed.name);
            let is_same = file.is_some_and(|file| seed.is_drawn || file == seed.bytes);
            assert!(is_same, "{target}/{}: run the example write_corpus", seed.name);
        }
        files.retain(|name, _| !name.starts_with("found_"));
        assert!(files.is_empty(), "{target}: nobody made {:?}", files.keys());
    }
}
