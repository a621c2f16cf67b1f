//! The limit on open files: each peer is one, and shells give 1,024 or fewer where far more are allowed.
//! What a server does when there are no more stands in the crate rlpx.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of this process to the most that it may set, as go-ethereum does. Where that fails the limit stays:
/// a server without file handles waits for some and goes on.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
