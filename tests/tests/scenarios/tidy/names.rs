//! Names that say nothing are not given to crates or modules: what is in them would belong elsewhere.

use syn::{ItemMod, visit::Visit};

use super::{source::Workspace, violation::Violation};

const EMPTY: [&str; 9] = ["util", "utils", "common", "helper", "helpers", "misc", "type", "types", "manager"];

/// Folders, files and modules with such a name.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut found = Modules { file: "", violations: Vec::new() };
    for file in &workspace.sources {
        found.file = &file.path;
        for name in file.path.trim_end_matches(".rs").split('/') {
            found.check(1, name);
        }
        for item in file.items.iter().chain(&file.test_items) {
            found.visit_item(item);
        }
    }
    found.violations
}

struct Modules<'a> {
    file: &'a str,
    violations: Vec<Violation>,
}

impl Modules<'_> {
    fn check(&mut self, line: usize, name: &str) {
        if EMPTY.contains(&name) {
            self.violations.push(Violation::new(self.file, line, "name", name, "a name for what is in it"));
        }
    }
}

impl<'ast> Visit<'ast> for Modules<'_> {
    /// A module in a file of its own is seen there.
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.content.is_some() {
            self.check(module.ident.span().start().line, &module.ident.to_string());
        }
        syn::visit::visit_item_mod(self, module);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    #[test]
    fn empty_names_of_crates_files_and_modules_are_found() {
        let found = workspace(&[
            ("crates/common/src/lib.rs", ""),
            ("crates/x/src/helpers/mod.rs", ""),
            ("crates/x/src/utils.rs", ""),
            ("crates/x/src/a.rs", "mod b {\n    mod types {}\n}\n"),
            ("crates/x/src/manager_of_nothing.rs", ""),
        ]);
        let lines: Vec<String> = check(&found).iter().map(Violation::to_string).collect();
        assert_eq!(
            lines,
            [
                "crates/common/src/lib.rs:1: name: common, a name for what is in it",
                "crates/x/src/helpers/mod.rs:1: name: helpers, a name for what is in it",
                "crates/x/src/utils.rs:1: name: utils, a name for what is in it",
                "crates/x/src/a.rs:2: name: types, a name for what is in it",
            ]
        );
    }
}
