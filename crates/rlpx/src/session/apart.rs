//! Sending a message, to one peer alone or to many; and one whose MAC is computed apart, beside those of other connections.
//! While that is done the session's buffer is away with it: nothing else is sent, and what the session has to say itself waits.

use identity::Now;

use super::{Frames, Phase, SendError, Session};
use crate::{
    config::{COMPRESS_IN_PLACE_LEN, MAX_MESSAGE_LEN, SEAL_APART_LEN, WRITE_HIGH_WATER},
    frame::{SealJob, WriteBuffer},
    message::SharedMessage,
};

impl Session {
    /// As [`Session::send`], for a message that goes to this peer alone: a short one is compressed where it is encrypted, in
    /// [`Session::write_buf`], if it is not compressed already.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_alone(
        &mut self,
        now: Now,
        protocol: usize,
        message: &SharedMessage,
    ) -> Result<(), SendError> {
        let payload = message.payload();
        let in_place = payload.len() <= COMPRESS_IN_PLACE_LEN && !message.is_compressed();
        if !in_place || !self.frames.as_ref().is_some_and(|frames| frames.snappy()) {
            return self.send(now, protocol, message);
        }
        let code = self.may_send(now, protocol, message)?;
        let frames = self.frames.as_mut().ok_or(SendError::Closed)?;
        frames.encode_compressed(code, payload, &mut self.egress).map_err(|_| SendError::TooLarge)?;
        self.watch_write();
        Ok(())
    }

    /// Takes a message as [`Session::send`] does. When it is long and goes to others too, its MAC is left to a job: for the
    /// owner to bring together with those of other sessions, do with [`SealJob::run`] and hand to
    /// [`Session::handle_sealed`]. Until then [`Session::has_room`] is false. Worth it where
    /// [`keccak_lanes`](identity::keccak_lanes) is more than 1.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_apart(
        &mut self,
        now: Now,
        protocol: usize,
        message: &SharedMessage,
    ) -> Result<Option<SealJob>, SendError> {
        if message.payload().len() < SEAL_APART_LEN || !message.is_shared() {
            return self.send(now, protocol, message).map(|()| None);
        }
        let (frames, egress, code, payload) = self.outgoing(now, protocol, message)?;
        let job = frames.encode_apart(code, payload, egress).map_err(|_| SendError::TooLarge)?;
        self.watch_write();
        Ok(Some(job))
    }

    /// The job that [`Session::send_apart`] gave is done.
    pub fn handle_sealed(&mut self, now: Now, job: SealJob) {
        self.now = now.instant;
        // Over, or broken: nothing of it can be written.
        if let Some(frames) = self.frames.as_mut().filter(|_| self.egress.is_away()) {
            frames.handle_sealed(job, &mut self.egress);
            self.watch_write();
        }
    }

    /// What a message is on the wire, if it may be sent now.
    pub(super) fn outgoing<'a>(
        &'a mut self,
        now: Now,
        protocol: usize,
        message: &'a SharedMessage,
    ) -> Result<(&'a mut Frames, &'a mut WriteBuffer, u64, &'a [u8]), SendError> {
        let code = self.may_send(now, protocol, message)?;
        let frames = self.frames.as_mut().ok_or(SendError::Closed)?;
        let payload =
            if frames.snappy() { message.compressed_in(&self.config.buffers) } else { message.payload() };
        Ok((frames, &mut self.egress, code, payload))
    }

    /// The code that a message has on the wire, if it may be sent now.
    pub(super) fn may_send(
        &mut self,
        now: Now,
        protocol: usize,
        message: &SharedMessage,
    ) -> Result<u64, SendError> {
        self.now = now.instant;
        if self.phase != Phase::Running {
            return Err(SendError::Closed);
        }
        let shared = self.peer.shared.get(protocol).ok_or(SendError::UnknownCode)?;
        if message.code() >= shared.message_count {
            return Err(SendError::UnknownCode);
        }
        if message.payload().len() > MAX_MESSAGE_LEN {
            return Err(SendError::TooLarge);
        }
        if self.egress.is_away() || self.egress.len() >= WRITE_HIGH_WATER {
            return Err(SendError::Full);
        }
        Ok(shared.offset.saturating_add(message.code()))
    }
}
