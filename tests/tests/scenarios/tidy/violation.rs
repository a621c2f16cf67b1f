//! One broken rule: where, which, what was found and what is allowed.

use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The file, from the root of the workspace.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: usize,
    /// Which rule, and whose: `lines of fn decode`.
    pub(super) measure: String,
    /// What was found.
    pub(super) value: String,
    /// What is allowed.
    pub(super) limit: String,
}

impl Violation {
    /// A rule broken at `line` of `file`.
    pub(super) fn new(
        file: &str,
        line: usize,
        measure: impl Into<String>,
        value: impl fmt::Display,
        limit: impl fmt::Display,
    ) -> Self {
        let (value, limit) = (value.to_string(), limit.to_string());
        Self { file: file.to_owned(), line, measure: measure.into(), value, limit }
    }

    /// A number above the most that is allowed.
    pub(super) fn above(
        file: &str,
        line: usize,
        measure: impl Into<String>,
        value: usize,
        most: usize,
    ) -> Option<Self> {
        (value > most).then(|| Self::new(file, line, measure, value, format_args!("at most {most}")))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, measure, value, limit } = self;
        write!(f, "{file}:{line}: {measure}: {value}, {limit}")
    }
}
