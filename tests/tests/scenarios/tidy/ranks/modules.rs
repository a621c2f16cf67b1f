//! The ranks of files inside a protocol crate. A file may name what stands at its rank or left of it; a name that the
//! front page exports counts as the module it comes from.

use std::collections::BTreeMap;

use super::imports::{Import, imports};
use crate::tidy::{
    source::{SourceFile, Workspace},
    violation::Violation,
};

/// A crate whose files have ranks; every module that is not named here is a part.
struct Protocol {
    folder: &'static str,
    /// Forms of bytes, and the words in which they are told: small values, limits, errors.
    wire: &'static [&'static str],
    /// The writers of outputs.
    machines: &'static [&'static str],
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol { folder: "discv4", wire: &["wire"], machines: &["discovery"] },
    Protocol {
        folder: "rlpx",
        wire: &[
            "frame",
            "message",
            "p2p",
            "snappy",
            "capability",
            "config",
            "error",
            "reject",
            "tally",
            "buffer_pool",
        ],
        machines: &["session", "server"],
    },
    Protocol {
        folder: "eth-wire",
        wire: &["message", "transaction", "fork_id", "hash", "version", "config", "error", "reject"],
        machines: &["eth"],
    },
];
const DRIVER: &str = "driver";
/// What a crate offers to its users' tests: built on the machines, like the driver.
const TESTING: &str = "testing";
/// The name of the crate's root, which has none.
const ROOT: &str = "";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Wire,
    Part,
    Machine,
    Driver,
    FrontPage,
}

impl Protocol {
    /// The rank of a module directly under the crate's root, or of the root.
    fn rank(&self, module: &str) -> Rank {
        match module {
            ROOT => Rank::FrontPage,
            DRIVER | TESTING => Rank::Driver,
            name if self.machines.contains(&name) => Rank::Machine,
            name if self.wire.contains(&name) => Rank::Wire,
            _ => Rank::Part,
        }
    }
}

/// Imports from a rank to the right.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    PROTOCOLS.iter().flat_map(|protocol| in_crate(workspace, protocol)).collect()
}

fn in_crate(workspace: &Workspace, protocol: &Protocol) -> Vec<Violation> {
    let of_crate =
        |file: &&SourceFile| file.crate_folder() == Some(protocol.folder) && file.in_src().is_some();
    let files: Vec<&SourceFile> = workspace.production().filter(of_crate).collect();
    let front_page = files.iter().find(|file| file.in_src() == Some("lib.rs"));
    let exports = front_page.map(|file| exports(file)).unwrap_or_default();
    files.iter().flat_map(|file| in_file(file, protocol, &exports)).collect()
}

/// Names that the front page takes from modules, each with its module.
fn exports(front_page: &SourceFile) -> BTreeMap<String, String> {
    let named = imports(&front_page.items).into_iter().filter_map(|import| {
        let module = import.names.iter().find(|name| !matches!(name.as_str(), "crate" | "self"))?;
        Some((import.alias.clone()?, module.clone()))
    });
    named.collect()
}

fn in_file(file: &SourceFile, protocol: &Protocol, exports: &BTreeMap<String, String>) -> Vec<Violation> {
    let place = module_path(file.in_src().unwrap_or_default());
    let own = place.first().map_or(ROOT, String::as_str);
    let rightward = imports(&file.items).into_iter().filter_map(|import| {
        let module = target(&import, &place, exports)?;
        let (from, to) = (protocol.rank(own), protocol.rank(&module));
        (to > from && module != own).then(|| {
            let value = format!("{}, which is {to:?}", import.names.join("::"));
            Violation::new(&file.path, import.line, format!("import of {from:?}"), value, "leftward only")
        })
    });
    rightward.collect()
}

/// `a/b.rs` and `a/b/mod.rs` are the module a, b.
fn module_path(in_src: &str) -> Vec<String> {
    let stem = in_src.trim_end_matches(".rs").trim_end_matches("/mod");
    if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
}

/// The module under the crate's root that an import in the file at `place` reaches, or the root; None when it leaves
/// the crate or goes down from where it stands.
fn target(import: &Import, place: &[String], exports: &BTreeMap<String, String>) -> Option<String> {
    let mut place: Vec<&String> = place.iter().chain(&import.inside).collect();
    let mut names = import.names.as_slice();
    match names.first()?.as_str() {
        "crate" => {
            place.clear();
            names = names.get(1..)?;
        }
        "super" => {
            while let Some((_, rest)) = names.split_first().filter(|(name, _)| *name == "super") {
                place.pop();
                names = rest;
            }
        }
        _ => return None,
    }
    if let Some(module) = place.first() {
        return Some((*module).clone());
    }
    let name = names.first()?;
    let is_module = names.len() > 1 || name.starts_with(char::is_lowercase);
    exports.get(name).cloned().or_else(|| Some(if is_module { name.clone() } else { ROOT.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::snippets::workspace;

    const FRONT_PAGE: (&str, &str) = (
        "crates/rlpx/src/lib.rs",
        "pub use session::Session;\npub use crate::frame::Frame as Framed;\npub use driver::{Link, protocol};\npub struct Own;",
    );

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(&workspace(&[FRONT_PAGE, (path, text)])).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn every_rank_may_look_left_and_none_right() {
        let ranks = ["frame/mac.rs", "ecies.rs", "session/mod.rs", "driver/link.rs"];
        let modules =
            ["crate::frame::A", "crate::ecies::A", "crate::server::A", "crate::driver::A", "crate::Own"];
        for (own, file) in ranks.iter().enumerate() {
            for (other, path) in modules.iter().enumerate() {
                let found = violations(&format!("crates/rlpx/src/{file}"), &format!("use {path};"));
                assert_eq!(found.len(), usize::from(other > own), "{file} {path}: {found:?}");
            }
        }
    }

    #[test]
    fn a_violation_says_who_names_what() {
        let found = violations("crates/rlpx/src/ecies.rs", "fn a() {\n    crate::driver::b();\n}");
        assert_eq!(
            found,
            ["crates/rlpx/src/ecies.rs:2: import of Part: crate::driver::b, which is Driver, leftward only"]
        );
    }

    #[test]
    fn names_of_the_front_page_count_as_their_module() {
        let count = |path: &str, name: &str| violations(path, &format!("use {name};")).len();
        assert_eq!(count("crates/rlpx/src/ecies.rs", "crate::Session"), 1);
        assert_eq!(count("crates/rlpx/src/ecies.rs", "crate::Framed"), 0);
        assert_eq!(count("crates/rlpx/src/server.rs", "crate::protocol"), 1);
        assert_eq!(count("crates/rlpx/src/server.rs", "super::{Session, Link}"), 1);
        assert_eq!(count("crates/rlpx/src/frame/mod.rs", "super::Session"), 1);
        assert_eq!(count("crates/rlpx/src/frame/mac.rs", "super::Session"), 0, "of the frame module");
        assert_eq!(count("crates/rlpx/src/frame/mac.rs", "super::super::Session"), 1);
        assert_eq!(count("crates/rlpx/src/ecies.rs", "std::session::Session"), 0);
    }

    #[test]
    fn tests_and_other_crates_have_no_ranks() {
        let text = "#[cfg(test)]\nmod tests { use crate::driver::Link; }\nmod inner { use super::A; use super::super::Framed; }";
        assert_eq!(violations("crates/rlpx/src/ecies.rs", text), [""; 0]);
        assert_eq!(
            violations("crates/rlpx/src/ecies.rs", "mod inner { use super::super::Session; }").len(),
            1
        );
        assert_eq!(violations("crates/cli/src/wire.rs", "use crate::driver::Link;"), [""; 0]);
        assert_eq!(violations("crates/rlpx/tests/a.rs", "use crate::driver::Link;"), [""; 0]);
    }
}
