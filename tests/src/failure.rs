//! Why a launcher or a call failed: a text for whoever reads the test's output.
//! `Debug` prints it as it is, so that a test which returns or unwraps it shows lines and not an escaped string.

use std::fmt;

/// What failed, in words; a last part may be the end of the client's log.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

/// The result of everything here that talks to a client.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure in the words of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same failure, with what was tried in front.
    pub fn during(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
