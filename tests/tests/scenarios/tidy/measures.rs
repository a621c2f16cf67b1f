//! How long files, functions and impl blocks are, how many fields structs have, how deep functions nest.
//! Documentation and attributes count towards files alone. What a macro is given is not parsed, so nesting inside one
//! (`tokio::select!`) is not seen.

use syn::{
    Block, Expr, ExprClosure, ExprIf, Fields, ImplItemFn, Item, ItemFn, ItemImpl, ItemStruct, Signature,
    TraitItemFn, spanned::Spanned, visit::Visit,
};

use super::{
    source::{SourceFile, Workspace, lines},
    violation::Violation,
};

const MAX_FILE_LINES: usize = 600;
const MAX_DRIVER_LINES: usize = 300;
const MAX_FUNCTION_LINES: usize = 70;
/// Over all functions that are no tests.
const MAX_MEDIAN_FUNCTION_LINES: usize = 8;
const MAX_IMPL_LINES: usize = 300;
const MAX_FIELDS: usize = 12;
const MAX_NESTING: usize = 4;

/// Everything that is too long, too wide or too deep.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations: Vec<Violation> = workspace.sources.iter().filter_map(file_lines).collect();
    let mut lengths = Vec::new();
    for file in &workspace.sources {
        let production = measured(&file.path, &file.items);
        if !file.is_test {
            lengths.extend(production.function_lines);
        }
        violations.extend(production.violations);
        violations.extend(measured(&file.path, &file.test_items).violations);
    }
    violations.extend(median(lengths));
    violations
}

/// A file's length without what only tests have.
fn file_lines(file: &SourceFile) -> Option<Violation> {
    let test_lines: usize = file.test_lines().into_iter().map(Iterator::count).sum();
    let is_driver = file.in_src().is_some_and(|path| path == "driver.rs" || path.starts_with("driver/"));
    let most = if is_driver && !file.is_test { MAX_DRIVER_LINES } else { MAX_FILE_LINES };
    Violation::above(&file.path, 1, "lines of the file", file.text.lines().count() - test_lines, most)
}

fn median(mut lengths: Vec<usize>) -> Option<Violation> {
    lengths.sort_unstable();
    let middle = lengths.get(lengths.len() / 2).copied()?;
    Violation::above("crates", 1, "median of the lines of functions", middle, MAX_MEDIAN_FUNCTION_LINES)
}

fn measured<'a>(file: &'a str, items: &[Item]) -> Measured<'a> {
    let mut measured = Measured { file, function_lines: Vec::new(), violations: Vec::new() };
    for item in items {
        measured.visit_item(item);
    }
    measured
}

/// What a file's items measure.
struct Measured<'a> {
    file: &'a str,
    function_lines: Vec<usize>,
    violations: Vec<Violation>,
}

impl Measured<'_> {
    fn function(&mut self, signature: &Signature, body: &Block) {
        let (start, end) = (signature.span().start().line, body.span().end().line);
        let name = &signature.ident;
        let length = end - start + 1;
        self.function_lines.push(length);
        self.limit(start, format!("lines of fn {name}"), length, MAX_FUNCTION_LINES);
        let deepest = Nesting::of(body);
        self.limit(deepest.line, format!("nesting in fn {name}"), deepest.depth, MAX_NESTING);
    }

    fn limit(&mut self, line: usize, measure: String, value: usize, most: usize) {
        self.violations.extend(Violation::above(self.file, line, measure, value, most));
    }
}

impl<'ast> Visit<'ast> for Measured<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.function(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, method: &'ast ImplItemFn) {
        self.function(&method.sig, &method.block);
        syn::visit::visit_impl_item_fn(self, method);
    }

    fn visit_trait_item_fn(&mut self, method: &'ast TraitItemFn) {
        if let Some(body) = &method.default {
            self.function(&method.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, method);
    }

    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        let start = block.impl_token.span().start().line;
        self.limit(
            start,
            "lines of the impl block".to_owned(),
            lines(block).end() - start + 1,
            MAX_IMPL_LINES,
        );
        syn::visit::visit_item_impl(self, block);
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        let count = match &item.fields {
            Fields::Named(fields) => fields.named.len(),
            Fields::Unnamed(fields) => fields.unnamed.len(),
            Fields::Unit => 0,
        };
        let line = item.ident.span().start().line;
        self.limit(line, format!("fields of struct {}", item.ident), count, MAX_FIELDS);
    }
}

/// How deep a body nests: each branch, loop, match and block in it is one level, an `else if` or a match arm none more.
struct Nesting {
    depth: usize,
    deepest: Deepest,
}

#[derive(Clone, Copy)]
struct Deepest {
    depth: usize,
    line: usize,
}

impl Nesting {
    fn of(body: &Block) -> Deepest {
        let mut nesting = Self { depth: 0, deepest: Deepest { depth: 0, line: body.span().start().line } };
        syn::visit::visit_block(&mut nesting, body);
        nesting.deepest
    }

    fn deeper(&mut self, what: &impl Spanned, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        if self.depth > self.deepest.depth {
            self.deepest = Deepest { depth: self.depth, line: what.span().start().line };
        }
        visit(self);
        self.depth -= 1;
    }

    /// The body of an arm or a closure: braces around it are no level of their own.
    fn body(&mut self, body: &Expr) {
        match body {
            Expr::Block(block) => syn::visit::visit_block(self, &block.block),
            other => self.visit_expr(other),
        }
    }

    fn branches(&mut self, branch: &ExprIf) {
        self.visit_expr(&branch.cond);
        self.deeper(&branch.then_branch, |nesting| syn::visit::visit_block(nesting, &branch.then_branch));
        match branch.else_branch.as_ref().map(|(_, expression)| &**expression) {
            Some(Expr::If(next)) => self.branches(next),
            Some(last) => self.deeper(last, |nesting| nesting.body(last)),
            None => {}
        }
    }

    fn closure(&mut self, closure: &ExprClosure) {
        match &*closure.body {
            body @ Expr::Block(_) => self.deeper(closure, |nesting| nesting.body(body)),
            other => self.visit_expr(other),
        }
    }
}

impl<'ast> Visit<'ast> for Nesting {
    fn visit_expr(&mut self, expression: &'ast Expr) {
        match expression {
            Expr::If(branch) => self.branches(branch),
            Expr::Closure(closure) => self.closure(closure),
            Expr::Match(choice) => {
                self.visit_expr(&choice.expr);
                self.deeper(choice, |nesting| {
                    for arm in &choice.arms {
                        arm.guard.iter().for_each(|(_, guard)| nesting.visit_expr(guard));
                        nesting.body(&arm.body);
                    }
                });
            }
            Expr::ForLoop(_)
            | Expr::While(_)
            | Expr::Loop(_)
            | Expr::Block(_)
            | Expr::Unsafe(_)
            | Expr::Async(_) => {
                self.deeper(expression, |nesting| syn::visit::visit_expr(nesting, expression));
            }
            _ => syn::visit::visit_expr(self, expression),
        }
    }

    /// Functions inside functions are measured on their own.
    fn visit_item(&mut self, _: &'ast Item) {}
}

#[cfg(test)]
mod tests {
    use super::{super::source::snippets::workspace, *};

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(&workspace(&[(path, text)])).iter().map(Violation::to_string).collect()
    }

    fn function(name: &str, body_lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    a();\n".repeat(body_lines))
    }

    /// Enough short functions to keep the median low.
    fn short() -> String {
        (0..9).map(|number| function(&format!("short{number}"), 1)).collect()
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let lines = |count: usize| "// text\n".repeat(count);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(900));
        assert_eq!(violations("crates/x/src/a.rs", &(lines(600) + &tests)), [""; 0]);
        assert_eq!(
            violations("crates/x/src/a.rs", &(lines(601) + &tests)),
            ["crates/x/src/a.rs:1: lines of the file: 601, at most 600"]
        );
        assert_eq!(violations("crates/x/src/driver.rs", &lines(300)), [""; 0]);
        for path in ["crates/x/src/driver.rs", "crates/x/src/driver/mod.rs"] {
            assert_eq!(
                violations(path, &lines(301)),
                [format!("{path}:1: lines of the file: 301, at most 300")]
            );
        }
    }

    #[test]
    fn long_functions_are_found_wherever_they_are() {
        let path = "crates/x/src/a.rs";
        assert_eq!(violations(path, &(short() + &function("fits", 68))), [""; 0]);
        let long = ["crates/x/src/a.rs:28: lines of fn long: 71, at most 70"];
        assert_eq!(violations(path, &(short() + &function("long", 69))), long);
        for (before, after) in
            [("impl A {", "}"), ("trait A {", "}"), ("mod a {", "}"), ("#[cfg(test)] mod a {", "}")]
        {
            let text = format!("{}{before} /// Documentation\n{}{after}", short(), function("long", 69));
            assert_eq!(violations(path, &text).len(), 1, "{before}");
        }
    }

    #[test]
    fn the_median_is_that_of_all_functions_but_tests() {
        let nine = function("a", 7);
        assert_eq!(
            violations("crates/x/src/a.rs", &nine),
            ["crates:1: median of the lines of functions: 9, at most 8"]
        );
        assert_eq!(
            violations("crates/x/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{nine}}}")),
            [""; 0]
        );
        assert_eq!(violations("crates/x/tests/a.rs", &nine), [""; 0]);
    }

    #[test]
    fn long_impl_blocks_and_wide_structs_are_found() {
        let methods: String = (0..100).map(|number| function(&format!("a{number}"), 1)).collect();
        let text = format!("/// Documentation\nimpl A {{\n{methods}}}\n");
        assert_eq!(
            violations("crates/x/src/a.rs", &text),
            ["crates/x/src/a.rs:2: lines of the impl block: 302, at most 300"]
        );
        let wide = |count: usize| {
            format!("struct A {{ {} }}", (0..count).map(|n| format!("f{n}: u8,")).collect::<String>())
        };
        assert_eq!(violations("crates/x/src/a.rs", &wide(12)), [""; 0]);
        assert_eq!(
            violations("crates/x/src/a.rs", &wide(13)),
            ["crates/x/src/a.rs:1: fields of struct A: 13, at most 12"]
        );
        assert_eq!(violations("crates/x/src/a.rs", &format!("struct A({});", "u8,".repeat(13))).len(), 1);
    }

    #[test]
    fn nesting_counts_levels_that_a_reader_counts() {
        let depth = |body: &str| {
            let function: ItemFn = syn::parse_str(&format!("fn a() {{ {body} }}")).unwrap();
            Nesting::of(&function.block).depth
        };
        let cases = [
            ("a();", 0),
            ("if a { b() }", 1),
            ("if a { b() } else if c { d() } else { e() }", 1),
            ("match a { B => c(), D => { e() } }", 1),
            ("match a { B => if c { d() } }", 2),
            ("for a in b { while c { loop { d() } } }", 3),
            ("a.map(|b| c)", 0),
            ("a.map(|b| { c })", 1),
            ("a.map(|b| match b { C => d })", 1),
            ("let Some(a) = b else { return };", 1),
            ("let a = async { if b { c() } };", 2),
            ("unsafe { a() }", 1),
            ("if (if a { b } else { c }) { d() }", 1),
            ("fn b() { if a { if a { if a { a() } } } }", 0),
            ("if a { if a { if a { if a { if a {} } } } }", 5),
        ];
        for (body, expected) in cases {
            assert_eq!(depth(body), expected, "{body}");
        }
        let text = "fn a() {\n    if a { if a { if a {\n        match a { _ => loop {} }\n    } } }\n}";
        let deep = ["crates/x/src/a.rs:3: nesting in fn a: 5, at most 4"];
        assert_eq!(violations("crates/x/src/a.rs", text), deep);
    }
}
