//! Who imports whom: crates as ARCHITECTURE.md orders them, and inside a protocol crate files by rank, leftward only:
//! wire and vocabulary, parts, the machine, the driver, the crate's front page.

mod crates;
mod imports;
mod modules;

use super::{source::Workspace, violation::Violation};

/// Every import in the wrong direction.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = crates::check(workspace);
    violations.extend(modules::check(workspace));
    violations
}
