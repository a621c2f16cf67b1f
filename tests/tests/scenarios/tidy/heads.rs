//! Every source file opens with `//!`: two to six lines that say what lives there; a crate's front page may be longer.

use super::{source::Workspace, violation::Violation};

const LEAST: usize = 2;
const MOST: usize = 6;

/// The files under `crates/*/src` whose head is missing, too short or too long.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let heads = workspace.sources.iter().filter_map(|file| {
        let front_page = matches!(file.in_src()?, "lib.rs" | "main.rs");
        let lines = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        let fits = lines >= LEAST && (front_page || lines <= MOST);
        (!fits).then(|| {
            Violation::new(&file.path, 1, "lines of `//!`", lines, format_args!("{LEAST} to {MOST}"))
        })
    });
    heads.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    #[test]
    fn heads_have_two_to_six_lines_and_front_pages_at_least_two() {
        let head = |count: usize| format!("{}\nfn a() {{}}\n", "//! Text.\n".repeat(count));
        let found = workspace(&[
            ("crates/x/src/none.rs", "fn a() {}\n"),
            ("crates/x/src/one.rs", &head(1)),
            ("crates/x/src/two.rs", &head(2)),
            ("crates/x/src/six.rs", &head(6)),
            ("crates/x/src/seven.rs", &head(7)),
            ("crates/x/src/lib.rs", &head(40)),
            ("crates/y/src/lib.rs", &head(1)),
            ("crates/x/tests/it.rs", "fn a() {}"),
        ]);
        let lines: Vec<String> = check(&found).iter().map(Violation::to_string).collect();
        assert_eq!(
            lines,
            [
                "crates/x/src/none.rs:1: lines of `//!`: 0, 2 to 6",
                "crates/x/src/one.rs:1: lines of `//!`: 1, 2 to 6",
                "crates/x/src/seven.rs:1: lines of `//!`: 7, 2 to 6",
                "crates/y/src/lib.rs:1: lines of `//!`: 1, 2 to 6",
            ]
        );
    }
}
