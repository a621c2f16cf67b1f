//! The MAC of a long body as a job of its own: the same message goes to many peers, and the MACs of several connections
//! are computed side by side (`eth-keccak`). The rest of a frame is `encoder.rs`'s; who brings jobs together is the owner's.

use identity::{Keccak256, update_each};

use super::FrameMac;

/// The body of a frame that is encrypted and not yet authenticated, on its way from [`Session::send_apart`] to
/// [`Session::handle_sealed`].
///
/// [`Session::send_apart`]: crate::Session::send_apart
/// [`Session::handle_sealed`]: crate::Session::handle_sealed
pub struct SealJob {
    pub(super) hash: Keccak256,
    /// What the session has to write, the body last.
    pub(crate) bytes: Vec<u8>,
    /// Where the body begins.
    pub(super) start: usize,
}

impl SealJob {
    /// Does several jobs: [`keccak_lanes`](identity::keccak_lanes) at a time side by side.
    pub fn run(jobs: &mut [Self]) {
        let each = jobs.iter_mut().map(|Self { hash, bytes, start }| {
            let body: &[u8] = bytes.get(*start..).unwrap_or_default();
            (hash, body)
        });
        update_each(&mut each.collect::<Vec<_>>());
    }

    /// A job for a body that no session has made.
    #[cfg(test)]
    pub(crate) fn of(body: Vec<u8>) -> Self {
        Self { hash: Keccak256::new(), bytes: body, start: 0 }
    }

    /// The hash of the body, once the job is done.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.hash.digest()
    }

    /// The buffer with the body's tag, and the hash for `mac` to go on with.
    pub(super) fn finish(self, mac: &mut FrameMac) -> Vec<u8> {
        let Self { hash, mut bytes, .. } = self;
        mac.go_on(hash);
        bytes.extend_from_slice(&mac.body());
        bytes
    }
}

impl std::fmt::Debug for SealJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealJob({} bytes)", self.bytes.len().saturating_sub(self.start))
    }
}
