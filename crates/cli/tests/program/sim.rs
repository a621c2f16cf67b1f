//! Simulated networks: what a run prints, and that a seed replays it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{bad_input::refused, devp2p, run, text};

/// Small runs: seconds.
const SMALL: &[&str] = &["sim", "discovery", "--nodes", "30", "--hours", "0.05"];
const SMALL_GOSSIP: &[&str] =
    &["sim", "gossip", "--nodes", "5", "--transactions", "30", "--blocks", "3", "--duration", "1m"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

/// The object of a run with `--json`, which prints nothing else.
fn report(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&with(arguments, &["--json"]));
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(out.lines().count() == 1 && error.is_empty(), "{out}{error}");
    (output.status.code(), out)
}

/// Equal seeds give equal bytes, another seed another trace, and the claim holds.
fn replays_from_its_seed(small: &[&str]) {
    let (code, first) = report(&with(small, &["--seed", "3"]));
    let (_, second) = report(&with(small, &["--seed", "3"]));
    assert_eq!(first, second);
    let (_, other) = report(&with(small, &["--seed", "4"]));
    let [first, other]: [Value; 2] = [first, other].map(|out| serde_json::from_str(&out).unwrap());
    assert_eq!(code, Some(0), "{first}");
    assert_eq!((&first["holds"], &first["interrupted"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(first["settings"]["seed"], 3);
    assert!(first["settings"]["duration_s"].is_f64() && first["samples"][0]["at_s"].is_f64(), "{first}");
    assert!(first["trace"].is_string() && first["trace"] != other["trace"], "{first}{other}");
}

#[test]
fn discovery_replays_from_its_seed() {
    replays_from_its_seed(&with(SMALL, &["--loss", "5%", "--churn", "50"]));
}

#[test]
fn gossip_replays_from_its_seed() {
    replays_from_its_seed(&with(SMALL_GOSSIP, &["--loss", "10%", "--churn", "2000"]));
}

/// The run holds, its table has these rows, and its lines of progress go elsewhere.
fn tells_progress_apart_from(rows: &[&str], small: &[&str]) {
    let output = run(small);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{error}");
    for row in rows.iter().chain(&["datagrams", "trace         ", "result        holds: "]) {
        assert!(out.lines().any(|line| line.starts_with(row)), "{row}: {out}");
    }
    assert!(error.lines().count() >= 3 && error.lines().all(|line| line.starts_with("0:0")), "{error}");
    assert!(!error.contains('\u{1b}') && !out.contains('\u{1b}'), "no escape sequences");
}

#[test]
fn discovery_tells_its_progress_apart_from_its_table() {
    tells_progress_apart_from(&["settings      30 nodes, loss 0%", "lookups"], SMALL);
}

#[test]
fn gossip_tells_its_progress_apart_from_its_table() {
    let rows = [
        "settings      5 nodes of 8 peers, 30 transactions, 3 blocks, loss 5%, churn 1200% an hour, seed 1",
        "transactions  30 of 30 at every node",
        "blocks        3, the last at 5 nodes",
        "faults        ",
        "propagation   of ",
        "settled       after 0:0",
    ];
    tells_progress_apart_from(&rows, SMALL_GOSSIP);
}

/// The plot replaces an older one, leaves nothing beside it, and says what it is of.
fn draws(small: &[&str], told: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("plot.svg");
    fs::write(&plot, "an older plot").unwrap();
    let output = run(&with(small, &["--svg", plot.to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let svg = fs::read_to_string(&plot).unwrap();
    for told in told.iter().chain(&["virtual time"]) {
        assert!(svg.starts_with("<svg ") && svg.contains(told), "{told}: {svg}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_plot_of_discovery_takes_the_place_of_the_old_one() {
    draws(&with(SMALL, &["--partition", "1..2"]), &["30 nodes", "parted from 0:01:00"]);
}

#[test]
fn a_plot_of_gossip_takes_the_place_of_the_old_one() {
    draws(SMALL_GOSSIP, &["5 nodes", "at every node that runs", "with the last block"]);
}

/// Interrupts a run once it has shown its `first` line: it prints the table of what it has, and exits with 1.
fn is_interrupted(long: &[&str], first: &str) {
    let mut running = devp2p(long);
    let mut running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert!(line.starts_with(first), "{line}");
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = running.wait_with_output().unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("datagrams") && out.contains("interrupted: true"), "{out}");
}

#[test]
fn interrupted_discovery_prints_what_it_has() {
    is_interrupted(&["sim", "discovery", "--nodes", "60", "--hours", "168"], "0:01:00  60 nodes");
}

#[test]
fn interrupted_gossip_prints_what_it_has() {
    is_interrupted(
        &["sim", "gossip", "--nodes", "9", "--churn", "0", "--duration", "168h"],
        "0:00:10  9 nodes",
    );
}

/// Flags that both scenarios have, and what a refusal names.
const NONSENSE: &[(&[&str], &str)] = &[
    (&["--nodes", "0"], "--nodes"),
    (&["--nodes", "-3"], "--nodes"),
    (&["--nodes", "1000000000000000000000"], "--nodes"),
    (&["--loss", "101"], "0 to 100 per cent"),
    (&["--loss", "-1"], "--loss"),
    (&["--loss", "NaN"], "--loss"),
    (&["--churn", "-1"], "--churn"),
    (&["--churn", "NaN%"], "--churn"),
    (&["--seed", "-1"], "--seed"),
    (&["--svg", ""], "--svg"),
    (&["--svg", "/dev/null"], "this is not a file"),
];

#[test]
fn nonsense_is_refused_before_the_run() {
    for (scenario, (arguments, expected)) in
        ["discovery", "gossip"].iter().flat_map(|scenario| NONSENSE.iter().map(move |case| (scenario, case)))
    {
        refused(&with(&["sim", scenario], arguments), expected);
    }
    let discovery: &[(&[&str], &str)] = &[
        (&["--hours", "0"], "--hours"),
        (&["--hours", "1e12"], "--hours"),
        (&["--nodes", "10000", "--churn", "1000", "--hours", "10"], "at most 20000"),
        (&["--partition", "5..20"], "--partition ends after 0:20:00"),
        (&["--partition", "20..5"], "two numbers of minutes"),
    ];
    for (arguments, expected) in discovery {
        refused(&with(&["sim", "discovery"], arguments), expected);
    }
    let gossip: &[(&[&str], &str)] = &[
        (&["--nodes", "201"], "2 to 200"),
        (&["--transactions", "4001"], "0 to 4000"),
        (&["--transactions", "-1"], "--transactions"),
        (&["--transactions", "0"], "nothing to gossip"),
        (&["--blocks", "many"], "--blocks"),
        (&["--peers", "0"], "--peers"),
        (&["--duration", "30s"], "1m to 168h"),
        (&["--duration", "-5"], "--duration"),
        (&["--hours", "0"], "--hours"),
        (&["--hours", "1", "--duration", "1h"], "--hours"),
    ];
    for (arguments, expected) in gossip {
        refused(&with(&["sim", "gossip"], arguments), expected);
    }
    refused(&["sim", "weather"], "weather");
}

#[test]
fn a_plot_that_cannot_be_written_is_refused_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let [here, missing] = [dir.path().to_path_buf(), dir.path().join("missing/plot.svg")];
    let [here, missing] = [here.to_str().unwrap(), missing.to_str().unwrap()];
    for (file, expected) in [(here, "this is not a file"), (missing, "missing/plot.svg")] {
        refused(&["sim", "discovery", "--svg", file], expected);
        refused(&["sim", "gossip", "--svg", file], expected);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
