//! The measures and the import order that this workspace keeps (CONTRIBUTING.md, ARCHITECTURE.md), read from its sources.
//! A violation is printed with file and line; the checkers are themselves tested on snippets that break each rule.

#![expect(clippy::wildcard_enum_match_arm, reason = "the language's syntax is no enum of ours, and grows")]

mod heads;
mod measures;
mod names;
mod profile;
mod ranks;
mod source;
mod tokens;
mod violation;
mod words;

use self::{source::Workspace, violation::Violation};

/// Fails with one line a violation.
fn report(violations: &[Violation]) {
    let lines: String = violations.iter().map(|violation| format!("{violation}\n")).collect();
    assert!(violations.is_empty(), "{} violations:\n{lines}", violations.len());
}

#[test]
fn files_functions_and_types_keep_their_measures() {
    report(&measures::check(&Workspace::read()));
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    report(&heads::check(&Workspace::read()));
}

#[test]
fn crates_and_modules_import_only_leftward() {
    report(&ranks::check(&Workspace::read()));
}

#[test]
fn nothing_is_unfinished_switched_off_or_ambient() {
    report(&tokens::check(&Workspace::read()));
}

#[test]
fn names_say_what_a_thing_is() {
    report(&names::check(&Workspace::read()));
}

#[test]
fn s05_in_a_release_an_overflow_panics_and_a_panic_unwinds() {
    report(&profile::check(&Workspace::read()));
}

#[test]
fn no_file_tells_of_the_place_where_it_was_written() {
    report(&words::check(&Workspace::read()));
}
