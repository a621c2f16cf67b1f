//! The files of the workspace: every text file as it is, Rust sources also as syntax, with test code set apart.

use std::{
    collections::BTreeSet,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use syn::{Attribute, ImplItem, Item, spanned::Spanned};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 2] = [".git", "target"];

/// Every text file of the workspace.
pub(super) struct Workspace {
    pub(super) texts: Vec<TextFile>,
    pub(super) sources: Vec<SourceFile>,
}

/// A file that is UTF-8.
pub(super) struct TextFile {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// A Rust source.
pub(super) struct SourceFile {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// All but the items that only tests have.
    pub(super) items: Vec<Item>,
    /// The items that only tests have.
    pub(super) test_items: Vec<Item>,
    /// Whether the whole file is test code.
    pub(super) is_test: bool,
}

impl Workspace {
    /// Reads the workspace that this test belongs to.
    pub(super) fn read() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in the workspace");
        let mut paths = Vec::new();
        walk(root, &mut paths);
        let texts = paths.iter().filter_map(|path| {
            let relative =
                path.strip_prefix(root).expect("found under the root").to_string_lossy().replace('\\', "/");
            Some(TextFile { path: relative, text: fs::read_to_string(path).ok()? })
        });
        Self::of(texts.collect())
    }

    /// The workspace of these files.
    pub(super) fn of(texts: Vec<TextFile>) -> Self {
        let rust = texts.iter().filter(|file| file.path.ends_with(".rs"));
        let mut sources: Vec<SourceFile> =
            rust.map(|file| SourceFile::parse(&file.path, &file.text)).collect();
        let modules: BTreeSet<String> = sources.iter().flat_map(SourceFile::test_modules).collect();
        for source in &mut sources {
            let of_test_module = |module: &String| {
                source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
            };
            source.is_test |= modules.iter().any(of_test_module);
        }
        Self { texts, sources }
    }

    /// The sources that are no test code as a whole.
    pub(super) fn production(&self) -> impl Iterator<Item = &SourceFile> {
        self.sources.iter().filter(|source| !source.is_test)
    }
}

impl SourceFile {
    /// Parses `text`.
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (mut items, mut test_items) = (syntax.items, Vec::new());
        set_tests_apart(&mut items, &mut test_items);
        let folders: Vec<&str> = path.split('/').collect();
        let is_test = matches!(folders[..], [_, "tests", ..] | [_, _, "tests" | "benches", ..]);
        Self { path: path.to_owned(), text: text.to_owned(), items, test_items, is_test }
    }

    /// The folder of the crate under `crates/`, if it is in one.
    pub(super) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// The path inside the crate's `src`, if it stands there.
    pub(super) fn in_src(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split_once("/src/").map(|(_, rest)| rest)
    }

    /// The lines of items that only tests have.
    pub(super) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        self.test_items.iter().map(lines).collect()
    }

    /// The paths, without `.rs`, of test modules that stand in files of their own.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let base = if matches!(name, "mod" | "lib" | "main") { folder } else { stem };
        let name = |item: &Item| match item {
            Item::Mod(module) if module.content.is_none() => Some(format!("{base}/{}", module.ident)),
            _ => None,
        };
        self.test_items.iter().filter_map(name).collect()
    }
}

/// The lines an item spans, with its documentation and attributes.
pub(super) fn lines(item: &impl Spanned) -> RangeInclusive<usize> {
    let span = item.span();
    span.start().line..=span.end().line
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    // A file that is gone again was an editor's.
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        // In a second working tree .git is a file.
        if path.is_symlink() || SKIPPED.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_file() {
            found.push(path);
        } else {
            walk(&path, found);
        }
    }
}

/// Moves what only tests have from `items` to `tests`: items, also those of inline modules, and methods.
fn set_tests_apart(items: &mut Vec<Item>, tests: &mut Vec<Item>) {
    tests.extend(items.extract_if(.., |item| for_tests_only(attributes(item))));
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, content)) = &mut module.content {
                    set_tests_apart(content, tests);
                }
            }
            Item::Impl(block) => block.items.retain(|item| match item {
                ImplItem::Fn(method) => !for_tests_only(&method.attrs),
                _ => true,
            }),
            _ => {}
        }
    }
}

/// Whether `cfg(test)`, or a `cfg` that needs `test`, is among the attributes.
fn for_tests_only(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        let mut words = condition.split(|character: char| !character.is_alphanumeric() && character != '"');
        !condition.contains("not") && !condition.contains("any") && words.any(|word| word == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
pub(super) mod snippets {
    use super::*;

    /// A workspace of these files, given as path and text.
    pub(in super::super) fn workspace(files: &[(&str, &str)]) -> Workspace {
        let text =
            |(path, text): &(&str, &str)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() };
        Workspace::of(files.iter().map(text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{snippets::workspace, *};

    #[test]
    fn test_code_is_set_apart() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n\
                    #[cfg(all(test, unix))]\nfn d() {}\n#[cfg(feature = \"test\")]\nfn e() {}\nmod m {\n#[cfg(test)]\nfn f() {}\n}";
        let source = SourceFile::parse("crates/x/src/a.rs", text);
        assert_eq!(source.items.len(), 4, "a, c, e, m");
        assert_eq!(source.test_lines(), [2..=5, 8..=9, 13..=14]);
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_test_code() {
        let found = workspace(&[
            ("crates/x/src/lib.rs", "#[cfg(test)]\nmod tests;\nmod a;"),
            ("crates/x/src/tests.rs", ""),
            ("crates/x/src/a.rs", "#[cfg(test)]\nmod model;"),
            ("crates/x/src/a/model.rs", ""),
            ("crates/x/src/a/other.rs", ""),
            ("crates/x/tests/it.rs", ""),
            ("tests/tests/live.rs", ""),
            ("tests/src/lib.rs", ""),
        ]);
        let tests: Vec<&str> =
            found.sources.iter().filter(|file| file.is_test).map(|file| &*file.path).collect();
        let expected = [
            "crates/x/src/tests.rs",
            "crates/x/src/a/model.rs",
            "crates/x/tests/it.rs",
            "tests/tests/live.rs",
        ];
        assert_eq!(tests, expected);
    }
}
