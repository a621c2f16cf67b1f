//! How releases are built: an overflow panics, and a panic unwinds to the one peer that it costs. Without either what is
//! tested is not what runs.

use super::{
    source::{TextFile, Workspace},
    violation::Violation,
};

const MANIFEST: &str = "Cargo.toml";
/// Where cargo looks for what overrides the manifest.
const OVERRIDES: [&str; 2] = [".cargo/config.toml", ".cargo/config"];
const RELEASE: &str = "profile.release";
const CHECKED: &str = "overflow-checks=true";

/// A profile that aborts or does not check, and a release that is not said to check.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let files = workspace.texts.iter().filter(|file| file.path == MANIFEST || is_override(file));
    files.flat_map(in_file).collect()
}

fn is_override(file: &TextFile) -> bool {
    OVERRIDES.iter().any(|path| file.path.ends_with(path))
}

/// Reads as much of TOML as profiles need: a table's name, and settings wherever they stand in a line.
fn in_file(file: &TextFile) -> Vec<Violation> {
    let (mut table, mut checked, mut found) = (String::new(), is_override(file), Vec::new());
    for (index, line) in file.text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().replace([' ', '\t'], "").replace('\'', "\"");
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').to_owned();
        }
        if !format!("{table}.{line}").contains("profile") {
            continue;
        }
        checked |= table == RELEASE && line == CHECKED;
        let aborts = line.contains("panic=") && !line.contains("panic=\"unwind\"");
        if aborts || line.contains("overflow-checks=false") {
            let limit = "panics that unwind, overflows that panic";
            found.push(Violation::new(&file.path, index + 1, "profile", line, limit));
        }
    }
    if !checked {
        found.push(Violation::new(&file.path, 1, RELEASE, "overflow unchecked", CHECKED));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    fn violations(path: &str, text: &str) -> Vec<usize> {
        check(&workspace(&[(path, text)])).iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_release_that_aborts_or_does_not_check_is_found_however_it_is_written() {
        let good = "[lints.clippy]\npanic = \"deny\"\n[profile.release]\noverflow-checks = true # always\n";
        assert_eq!(violations(MANIFEST, good), [0; 0]);
        assert_eq!(violations(MANIFEST, &format!("{good}panic = \"unwind\"")), [0; 0]);
        for bad in ["panic = \"abort\"", "panic='abort'", "[profile.dev]\npanic = \"abort\""] {
            assert_eq!(violations(MANIFEST, &format!("{good}{bad}")), [5 + bad.matches('\n').count()]);
        }
        assert_eq!(violations(MANIFEST, &format!("profile.release.panic = \"abort\"\n{good}")), [1]);
        let package = "[profile.release.package.rlp]\noverflow-checks = false";
        assert_eq!(violations(MANIFEST, &format!("{good}{package}")), [6]);
        for silent in ["", "[profile.release]\nlto = true", "[profile.dev]\noverflow-checks = true"] {
            assert_eq!(violations(MANIFEST, silent), [1], "{silent}");
        }
        assert_eq!(violations("crates/x/Cargo.toml", ""), [0; 0]);
        assert_eq!(violations(OVERRIDES[0], "[build]\njobs = 1"), [0; 0]);
        assert_eq!(violations(OVERRIDES[0], "[profile.release]\npanic = \"abort\""), [2]);
    }
}
