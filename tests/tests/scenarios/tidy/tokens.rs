//! Words of the language that must not stand in the sources: unfinished code, tests that are switched off, clocks read
//! by a core, unsafe code in more than one file of a crate. Read as tokens, so that text and comments do not count and
//! the arguments of macros do.

use std::{collections::BTreeMap, str::FromStr};

use proc_macro2::{TokenStream, TokenTree};

use super::{
    source::{SourceFile, Workspace},
    violation::Violation,
};

/// Never, tests included.
const UNFINISHED: [(&str, &[&str]); 4] = [
    ("todo!", &["todo", "!"]),
    ("unimplemented!", &["unimplemented", "!"]),
    ("dbg!", &["dbg", "!"]),
    ("#[ignore]", &["#", "[", "ignore"]),
];
/// Not in a core: its time and its randomness are handed in.
const AMBIENT: [(&str, &[&str]); 4] = [
    ("Instant::now", &["Instant", ":", ":", "now"]),
    ("SystemTime::now", &["SystemTime", ":", ":", "now"]),
    ("Now::system", &["Now", ":", ":", "system"]),
    ("rand::rng", &["rand", ":", ":", "rng"]),
];
/// Crates whose sources but for drivers are cores.
const CORES: [&str; 4] = ["discv4", "rlpx", "eth-wire", "simnet"];
const UNSAFE: [&[&str]; 2] = [&["expect", "(", "unsafe_code"], &["allow", "(", "unsafe_code"]];

/// Everything of the kind.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut unsafe_files: BTreeMap<&str, Vec<Violation>> = BTreeMap::new();
    for file in &workspace.sources {
        let tokens = Token::read(&file.text);
        violations.extend(
            find(&tokens, &UNFINISHED).map(|(line, name)| unwanted(file, line, name, "finished code")),
        );
        if is_core(file) {
            let own = find(&tokens, &AMBIENT)
                .filter(|(line, _)| !file.test_lines().iter().any(|test| test.contains(line)));
            violations.extend(own.map(|(line, name)| unwanted(file, line, name, "an argument of a core")));
        }
        let first_unsafe = UNSAFE.iter().filter_map(|words| position(&tokens, words)).min();
        if let (Some(line), Some(folder)) = (first_unsafe, file.crate_folder()) {
            let violation = unwanted(file, line, "a second file with unsafe code", "one file a crate");
            unsafe_files.entry(folder).or_default().push(violation);
        }
    }
    violations.extend(unsafe_files.into_values().flat_map(|files| files.into_iter().skip(1)));
    violations
}

fn is_core(file: &SourceFile) -> bool {
    let of_core = file.crate_folder().is_some_and(|folder| CORES.contains(&folder)) && !file.is_test;
    of_core && file.in_src().is_some_and(|path| path != "driver.rs" && !path.starts_with("driver/"))
}

fn unwanted(file: &SourceFile, line: usize, name: &str, instead: &str) -> Violation {
    Violation::new(&file.path, line, "unwanted", name, instead)
}

/// A token: a word, a sign, a literal or a bracket.
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn read(source: &str) -> Vec<Self> {
        let mut tokens = Vec::new();
        flatten(TokenStream::from_str(source).unwrap_or_default(), &mut tokens);
        tokens
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let text = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => "(",
                    proc_macro2::Delimiter::Bracket => "[",
                    proc_macro2::Delimiter::Brace => "{",
                    proc_macro2::Delimiter::None => "",
                };
                tokens.push(Token { text: text.to_owned(), line });
                flatten(group.stream(), tokens);
            }
            other => tokens.push(Token { text: other.to_string(), line }),
        }
    }
}

/// The lines where one of the `patterns` stands, with its name.
fn find<'a>(
    tokens: &'a [Token],
    patterns: &'a [(&'static str, &'static [&'static str])],
) -> impl Iterator<Item = (usize, &'static str)> + 'a {
    let at = |start: usize| {
        let matching = patterns.iter().find(|(_, words)| starts_with(&tokens[start..], words));
        matching.map(|(name, _)| (tokens[start].line, *name))
    };
    (0..tokens.len()).filter_map(at)
}

fn position(tokens: &[Token], words: &[&str]) -> Option<usize> {
    let start = (0..tokens.len()).find(|start| starts_with(&tokens[*start..], words))?;
    Some(tokens[start].line)
}

fn starts_with(tokens: &[Token], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        check(&workspace(files)).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn unfinished_code_is_found_also_in_macros_and_tests_but_not_in_text() {
        let text = "// todo!()\nconst A: &str = \"dbg!\";\nfn a() { assert!(dbg!(1) > 0); }\n#[ignore]\nfn ignore() {\n\
                    todo!() }\nfn todo() {}\n#[cfg(test)]\nmod tests { fn a() { unimplemented!() } }";
        let found = violations(&[("crates/x/src/a.rs", text)]);
        assert_eq!(
            found,
            [
                "crates/x/src/a.rs:3: unwanted: dbg!, finished code",
                "crates/x/src/a.rs:4: unwanted: #[ignore], finished code",
                "crates/x/src/a.rs:6: unwanted: todo!, finished code",
                "crates/x/src/a.rs:9: unwanted: unimplemented!, finished code",
            ]
        );
    }

    #[test]
    fn clocks_are_read_by_drivers_and_tests_alone() {
        let text = "fn a() {\n    Instant::now();\n    std::time::SystemTime::now();\n}\n#[cfg(test)]\nfn b() { Now::system(); }";
        let found = violations(&[
            ("crates/rlpx/src/a.rs", text),
            ("crates/rlpx/src/driver.rs", text),
            ("crates/rlpx/src/driver/mod.rs", text),
            ("crates/rlpx/tests/a.rs", text),
            ("crates/cli/src/a.rs", text),
        ]);
        assert_eq!(
            found,
            [
                "crates/rlpx/src/a.rs:2: unwanted: Instant::now, an argument of a core",
                "crates/rlpx/src/a.rs:3: unwanted: SystemTime::now, an argument of a core",
            ]
        );
    }

    #[test]
    fn one_file_of_a_crate_may_have_unsafe_code() {
        let text = "#![expect(unsafe_code, reason = \"proved below\")]\n";
        assert_eq!(violations(&[("crates/x/src/a.rs", text), ("crates/y/src/a.rs", text)]), [""; 0]);
        let found = violations(&[("crates/x/src/a.rs", text), ("crates/x/src/b.rs", text)]);
        assert_eq!(
            found,
            ["crates/x/src/b.rs:1: unwanted: a second file with unsafe code, one file a crate"]
        );
    }
}
