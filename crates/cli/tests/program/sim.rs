//! Simulated networks: what a run prints, and that a seed replays it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{bad_input::refused, devp2p, run, text};

/// A small run: seconds.
const SMALL: &[&str] = &["sim", "discovery", "--nodes", "30", "--hours", "0.05"];

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
fn a_run_tells_its_progress_apart_from_its_table() {
    let output = run(SMALL);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{error}");
    for row in ["settings      30 nodes, loss 0%", "lookups", "datagrams", "trace", "result        holds: "] {
        assert!(out.lines().any(|line| line.starts_with(row)), "{row}: {out}");
    }
    assert!(error.lines().count() >= 3 && error.lines().all(|line| line.starts_with("0:0")), "{error}");
    assert!(!error.contains('\u{1b}') && !out.contains('\u{1b}'), "no escape sequences");
}

#[test]
fn a_plot_takes_the_place_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("plot.svg");
    fs::write(&plot, "an older plot").unwrap();
    let output = run(&with(SMALL, &["--partition", "1..2", "--svg", plot.to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("30 nodes") && svg.contains("virtual time"), "{svg}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn an_interrupted_run_prints_what_it_has() {
    let mut running = devp2p(&["sim", "discovery", "--nodes", "60", "--hours", "168"]);
    let mut running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert!(line.starts_with("0:01:00  60 nodes"), "{line}");
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = running.wait_with_output().unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("datagrams") && out.contains("interrupted: true"), "{out}");
}

#[test]
fn nonsense_is_refused_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let [here, missing] = [dir.path().to_path_buf(), dir.path().join("missing/plot.svg")];
    let [here, missing] = [here.to_str().unwrap(), missing.to_str().unwrap()];
    let cases: &[(&[&str], &str)] = &[
        (&["--nodes", "0"], "--nodes"),
        (&["--nodes", "-3"], "--nodes"),
        (&["--nodes", "1000000000000000000000"], "--nodes"),
        (&["--loss", "101"], "0 to 100 per cent"),
        (&["--loss", "-1"], "--loss"),
        (&["--loss", "NaN"], "--loss"),
        (&["--churn", "-1"], "--churn"),
        (&["--churn", "NaN%"], "--churn"),
        (&["--hours", "0"], "--hours"),
        (&["--hours", "1e12"], "--hours"),
        (&["--seed", "-1"], "--seed"),
        (&["--svg", here], "this is not a file"),
        (&["--svg", missing], "missing/plot.svg"),
        (&["--svg", ""], "--svg"),
        (&["--svg", "/dev/null"], "this is not a file"),
    ];
    for (arguments, expected) in cases {
        refused(&with(&["sim", "discovery"], arguments), expected);
    }
    let too_much = ["sim", "discovery", "--nodes", "10000", "--churn", "1000", "--hours", "10"];
    refused(&too_much, "at most 20000");
    refused(&["sim", "discovery", "--partition", "5..20"], "--partition ends after 0:20:00");
    refused(&["sim", "discovery", "--partition", "20..5"], "two numbers of minutes");
    refused(&["sim", "weather"], "weather");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
