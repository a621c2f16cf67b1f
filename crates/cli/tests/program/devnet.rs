//! Whole networks of nodes.

use serde_json::Value;

use crate::{run, text};

fn summary(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(arguments);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(out.lines().count(), 1, "{out}{error}");
    (output.status.code(), serde_json::from_str(&out).unwrap())
}

#[test]
fn everything_reaches_everyone() {
    let arguments =
        ["devnet", "--nodes", "5", "--duration", "3s", "--block-time", "500ms", "--seed", "7", "--json"];
    let (code, summary) = summary(&arguments);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!((&summary["complete"], &summary["seed"]), (&Value::Bool(true), &Value::from(7)));
    assert_eq!(summary["peers"], serde_json::json!([4, 4]));
    for (kind, least) in [("transactions", 25), ("blocks", 4)] {
        let items = &summary[kind];
        assert!(items["entered"].as_u64().unwrap() >= least, "{summary}");
        assert_eq!(items["entered"], items["delivered_everywhere"]);
        assert_eq!(items["deliveries"].as_u64().unwrap(), items["entered"].as_u64().unwrap() * 4);
        assert!(items["p50_ms"].as_f64().unwrap() <= items["p99_ms"].as_f64().unwrap());
    }
    assert!(summary["bytes_per_delivered_byte"].as_f64().unwrap() > 1.0, "{summary}");
}

#[test]
fn the_rest_gets_everything_when_nodes_are_stopped() {
    let (code, summary) = summary(&["devnet", "--nodes", "6", "--duration", "4s", "--kill", "2", "--json"]);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!((&summary["stopped"], &summary["complete"]), (&Value::from(2), &Value::Bool(true)));
}

#[test]
fn without_a_terminal_there_is_a_line_a_second() {
    let output = run(&["devnet", "--nodes", "2", "--duration", "2s"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(
        out.lines().filter(|line| line.contains(" s ") && line.contains(" nodes, table ")).count() >= 3,
        "{out}"
    );
    assert!(out.contains(" gossip: ") && out.contains(" done: "), "{out}");
    assert!(out.contains("complete: every transaction"), "{out}");
    assert!(!out.contains('\u{1b}'), "no escape sequences");
}
