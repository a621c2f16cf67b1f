//! The paths that a source names, in `use` and anywhere else, with the inline module around them.
//! What a macro is given is not parsed, so paths there are not seen; each is imported somewhere in a visible `use`.

use syn::{Ident, Item, ItemMod, ItemUse, UseTree, spanned::Spanned, visit::Visit};

/// A path as it stands in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    /// The names between `::`.
    pub(super) names: Vec<String>,
    /// The inline modules it stands in.
    pub(super) inside: Vec<String>,
    /// The name it has here, when it is a `use`: the last one, or that after `as`.
    pub(super) alias: Option<String>,
}

/// All paths of `items`.
pub(super) fn imports(items: &[Item]) -> Vec<Import> {
    let mut found = Paths { imports: Vec::new(), inside: Vec::new() };
    for item in items {
        found.visit_item(item);
    }
    found.imports
}

struct Paths {
    imports: Vec<Import>,
    inside: Vec<String>,
}

impl Paths {
    fn push(&mut self, line: usize, names: Vec<String>, alias: Option<String>) {
        self.imports.push(Import { line, names, inside: self.inside.clone(), alias });
    }

    /// The leaves of a `use`; its tree is as deep as whoever wrote it made it.
    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        let line = tree.span().start().line;
        let with = |name: &Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        let (names, alias) = match tree {
            UseTree::Path(path) => return self.tree(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.tree(tree, before)),
            UseTree::Name(name) if name.ident == "self" => (before.to_vec(), before.last().cloned()),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(name) => (with(&name.ident), Some(name.rename.to_string())),
            UseTree::Glob(_) => (before.to_vec(), None),
        };
        self.push(line, names, alias);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.push(path.span().start().line, names, None);
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.inside.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.inside.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leaves_of_a_use_and_all_paths_are_found() {
        let text = "use a::{self, b::C as D, e::*};\nmod m {\n    fn f(x: g::H) -> Vec<i::J> { k::l() }\n}";
        let syntax = syn::parse_file(text).unwrap();
        let found: Vec<String> = imports(&syntax.items)
            .iter()
            .map(|import| {
                let alias = import.alias.as_deref().unwrap_or("-");
                format!("{} {} {alias} {}", import.line, import.names.join("::"), import.inside.join("::"))
            })
            .collect();
        assert_eq!(
            found,
            ["1 a a ", "1 a::b::C D ", "1 a::e - ", "3 g::H - m", "3 Vec - m", "3 i::J - m", "3 k::l - m"]
        );
    }
}
