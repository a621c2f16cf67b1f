//! No text file tells where or by whom it was written: a reader elsewhere has no use for paths and services of a
//! workplace. The words are put together here, or this file would hold them.

use super::{
    source::{TextFile, Workspace},
    violation::Violation,
};

const WORDS: [&str; 8] = [
    concat!("/wo", "rk/"),
    concat!("sha", "red/"),
    concat!("/tm", "p/w/"),
    concat!("iss", "ue #"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("proxy.gol", "ang.org"),
    concat!("sum.gol", "ang.org"),
];

/// Lines with such a word, whatever its case.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    workspace.texts.iter().flat_map(in_file).collect()
}

fn in_file(file: &TextFile) -> Vec<Violation> {
    let found = file.text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.to_lowercase();
        let word = WORDS.iter().find(|word| line.contains(*word))?;
        Some(Violation::new(&file.path, index + 1, "word of a workplace", word, "none"))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    #[test]
    fn words_are_found_in_any_text_file() {
        let text = format!("fine\nsee {}a\n\nIss{}5\n", WORDS[0], "ue #");
        let lines: Vec<usize> =
            check(&workspace(&[("README.md", &text)])).iter().map(|found| found.line).collect();
        assert_eq!(lines, [2, 4]);
        assert_eq!(check(&workspace(&[("README.md", "registries, work, issues")])), []);
    }
}
