//! The order of the crates: what each may depend on (`Cargo.toml`) and name (`use`). discv4 and rlpx never import each
//! other, in no kind of dependency; the simulated network may serve every crate's tests.

use super::imports::imports;
use crate::tidy::{
    source::{SourceFile, TextFile, Workspace},
    violation::Violation,
};

/// A crate's folder, and the folders of those it may depend on.
const CRATES: [(&str, &[&str]); 10] = [
    ("eth-keccak", &[]),
    ("identity", &["eth-keccak"]),
    ("simnet", &["identity"]),
    ("discv4", &["identity"]),
    ("dnsdisc", &["identity"]),
    ("rlpx", &["identity"]),
    ("eth-wire", &["identity", "rlpx"]),
    ("devp2p", &["identity", "discv4", "dnsdisc", "rlpx", "eth-wire"]),
    ("world", &["identity", "discv4", "dnsdisc", "rlpx", "eth-wire", "devp2p", "simnet"]),
    ("cli", &["identity", "discv4", "dnsdisc", "rlpx", "eth-wire", "devp2p", "simnet", "world"]),
];
/// What tests of every crate may depend on too.
const FOR_TESTS: &str = "simnet";

/// Dependencies and imports that the order does not allow.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let manifests = workspace.texts.iter().flat_map(in_manifest);
    manifests.chain(workspace.sources.iter().flat_map(in_source)).collect()
}

fn allowed(folder: &str) -> Option<&'static [&'static str]> {
    CRATES.iter().find(|(name, _)| *name == folder).map(|(_, allowed)| *allowed)
}

/// The folder of the crate that sources call `name`.
fn folder_of(name: &str) -> Option<&'static str> {
    CRATES
        .iter()
        .map(|(folder, _)| *folder)
        .find(|folder| *folder == name || folder.replace('-', "_") == name)
}

fn in_manifest(file: &TextFile) -> Vec<Violation> {
    let folder = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
    let Some(folder) = folder else { return Vec::new() };
    let Some(allowed) = allowed(folder) else {
        return vec![Violation::new(&file.path, 1, "crate", folder, "one that the order of crates knows")];
    };
    let wrong = dependencies(&file.text).into_iter().filter_map(|dependency| {
        let of_tests = dependency.for_tests && dependency.name == FOR_TESTS;
        let fine = folder_of(&dependency.name).is_none_or(|name| allowed.contains(&name) || of_tests);
        (!fine).then(|| violation(&file.path, dependency.line, folder, &dependency.name, allowed))
    });
    wrong.collect()
}

fn in_source(file: &SourceFile) -> Vec<Violation> {
    let Some((folder, allowed)) = file.crate_folder().and_then(|folder| Some((folder, allowed(folder)?)))
    else {
        return Vec::new();
    };
    let wrong = imports(&file.items).into_iter().filter_map(|import| {
        let name = folder_of(import.names.first()?).filter(|_| import.names.len() > 1)?;
        let fine = name == folder || allowed.contains(&name) || (file.is_test && name == FOR_TESTS);
        (!fine).then(|| violation(&file.path, import.line, folder, name, allowed))
    });
    wrong.collect()
}

fn violation(file: &str, line: usize, folder: &str, name: &str, allowed: &[&str]) -> Violation {
    let limit = format!("only {}", if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") });
    Violation::new(file, line, format!("import of crate {folder}"), name, limit)
}

/// An entry of a manifest's tables of dependencies.
struct Dependency {
    line: usize,
    name: String,
    for_tests: bool,
}

/// Reads as much of TOML as manifests use: tables, and keys at the start of lines.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut table = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        let mut key = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
            // `[dependencies.name]` is a table of its own.
            key = table.split_once("dependencies.").map_or("", |(_, name)| name);
        }
        let in_table = table.ends_with("dependencies") || table.contains("dependencies.");
        if in_table && !key.is_empty() && !key.starts_with('#') && !line.starts_with(']') {
            let for_tests = table.contains("dev-dependencies");
            found.push(Dependency { line: index + 1, name: key.to_owned(), for_tests });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::snippets::workspace;

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(&workspace(&[(path, text)])).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn dependencies_against_the_order_are_found_in_every_table() {
        let manifest = "[package]\nname = \"eth-rlpx\"\n[dependencies]\nidentity.workspace = true\n# discv4\nbytes = \"1\"\n\
                        discv4.workspace = true\n[dev-dependencies]\nsimnet.workspace = true\n\
                        eth-wire = { path = \"..\" }\n[target.'cfg(unix)'.dependencies]\ndevp2p.workspace = true\n\
                        [build-dependencies.cli]\npath = \"..\"\n";
        let limit = "only identity";
        assert_eq!(
            violations("crates/rlpx/Cargo.toml", manifest),
            [
                format!("crates/rlpx/Cargo.toml:7: import of crate rlpx: discv4, {limit}"),
                format!("crates/rlpx/Cargo.toml:10: import of crate rlpx: eth-wire, {limit}"),
                format!("crates/rlpx/Cargo.toml:12: import of crate rlpx: devp2p, {limit}"),
                format!("crates/rlpx/Cargo.toml:13: import of crate rlpx: cli, {limit}"),
            ]
        );
        assert_eq!(violations("crates/identity/Cargo.toml", "[dependencies]\nrlpx = \"1\"").len(), 1);
        assert_eq!(violations("crates/new/Cargo.toml", "").len(), 1);
        assert_eq!(violations("tests/Cargo.toml", "[dependencies]\ncli = \"1\""), [""; 0]);
    }

    #[test]
    fn imports_against_the_order_are_found_in_use_and_in_code() {
        let text = "use eth_wire::Hash;\nuse identity::Enode;\nfn a() { discv4::b(); rlpx::c(); }\nfn devp2p(cli: u8) {}";
        assert_eq!(
            violations("crates/rlpx/src/a.rs", text),
            [
                "crates/rlpx/src/a.rs:1: import of crate rlpx: eth-wire, only identity",
                "crates/rlpx/src/a.rs:3: import of crate rlpx: discv4, only identity",
            ]
        );
        assert_eq!(violations("crates/rlpx/tests/a.rs", "use simnet::A;"), [""; 0]);
        assert_eq!(violations("crates/cli/src/a.rs", text), [""; 0]);
    }
}
