//! The bench as its reader sees it: rows, fields, exit codes. How fast anything is is for no test to say: other tests run
//! on the same cores.

use serde_json::Value;

use crate::{run, text};

/// The rows as `--json` prints them.
fn rows(arguments: &[&str]) -> (Vec<Value>, String) {
    let arguments: Vec<&str> = ["bench", "--quick", "--json"].iter().chain(arguments).copied().collect();
    let output = run(&arguments);
    let rows = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (rows, text(&output.stderr))
}

#[test]
fn a_row_has_its_fields_and_its_arithmetic_holds() {
    let (rows, error) = rows(&["--only", "frame.64B"]);
    let names: Vec<&Value> = rows.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["frame.64B.plain", "frame.64B.snappy"], "{error}");
    for row in &rows {
        let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} in {row}"));
        assert_eq!(row["unit"], "ns/frame");
        assert!(number("measured") > 0.0 && number("floor") > 0.0, "{row}");
        assert!((number("ratio") - number("floor") / number("measured")).abs() < 0.001, "{row}");
        assert!(row["holds"].is_boolean(), "{row}");
    }
    assert_eq!((&rows[0]["goal"], &rows[1]["goal"]), (&Value::from(0.77), &Value::Null));
}

#[test]
fn the_other_families_run_too() {
    for (pattern, unit) in [
        ("tcp.64KiB", "ns/message"),
        ("batch_100", "ns/peer"),
        ("side_by_side", "ns/peer"),
        ("handshake.pair.three", "ns/handshake"),
        ("handshake.accept", "ns/handshake"),
        ("ping_pong", "ns/ping"),
        ("reject_junk", "ns/datagram"),
        ("eth", "ns/transaction"),
    ] {
        let (rows, error) = rows(&["--only", pattern]);
        assert_eq!(rows.len(), 1, "{pattern}: {error}");
        assert_eq!(rows[0]["unit"], unit);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_row_without_a_floor_has_a_limit_and_says_what_was_seen() {
    for (pattern, unit, limit, seen) in [
        ("rlpx.idle_peer", "bytes/peer", 12_288.0, "400 peers"),
        ("rlpx.burst", "times idle", 1.2, "10 messages"),
        ("rlpx.idle_cpu", "% of a core", 2.0, "300 peers"),
    ] {
        let (rows, error) = rows(&["--only", pattern]);
        assert_eq!(rows.len(), 1, "{pattern}: {error}");
        let row = &rows[0];
        let measured = row["measured"].as_f64().unwrap();
        assert_eq!((row["unit"].as_str(), row["limit"].as_f64()), (Some(unit), Some(limit)), "{row}");
        assert_eq!(row["holds"].as_bool(), Some(measured <= limit), "{row}");
        assert!(measured > 0.0 && row["note"].as_str().unwrap().contains(seen), "{row}");
        assert!(row.get("floor").is_none() && row["goal"].is_null(), "{row}");
    }
}

#[test]
fn a_row_whose_limit_was_lifted_says_so() {
    let (rows, error) = rows(&["--only", "discv4.*pong"]);
    assert_eq!(rows.len(), 1, "{error}");
    assert!(
        rows[0]["note"].as_str().is_some_and(|note| note.contains("recoveries_per_second")),
        "{}",
        rows[0]
    );
}

#[test]
fn people_are_told_the_machine_and_the_floors() {
    let output = run(&["bench", "--quick", "--only", "frame.64B.plain"]);
    let out = text(&output.stdout);
    for expected in ["core", "floors: libsecp256k1", "quick", "ratio", "frame.64B.plain"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

#[test]
fn nonsense_is_refused_in_one_line() {
    for (arguments, expected) in [
        (vec!["bench", "--only", "frame.3B"], "no row matches \"frame.3B\"; there are frame.64B.plain"),
        (vec!["bench", "--only", ""], "--only"),
        (vec!["bench", "--slow"], "--slow"),
    ] {
        let output = run(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert!(error.starts_with("devp2p: ") && error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn an_interrupted_bench_has_printed_what_it_has() {
    use std::{
        io::{BufRead, BufReader, Read},
        process::Stdio,
    };

    let arguments = ["bench", "--quick", "--json"];
    let mut bench = crate::devp2p(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(bench.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["name"], "frame.64B.plain");
    let pid = rustix::process::Pid::from_child(&bench);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(lines.all(|line| serde_json::from_str::<Value>(&line.unwrap()).is_ok()));
    let mut error = String::new();
    bench.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((bench.wait().unwrap().code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("interrupted"), "{error}");
}
