//! Two sessions joined in memory: what one has to write the other reads, as two sockets would bring it, and each has a
//! runner of curve jobs that runs them on the spot.

use std::sync::Arc;

use devp2p::{
    identity::{
        NodeKey, Now,
        curve::{InlineCurve, Lane},
    },
    rlpx::{
        BufferPool, CapabilityName, LocalCapability, Message, SealJob, Session, SessionConfig, SessionOutput,
        SharedMessage,
    },
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};

/// The version of the base protocol before payloads were compressed (EIP-706).
const PLAIN_VERSION: u64 = 4;

/// Who the two are, made once: sessions come and go.
pub(super) struct Ends {
    keys: [Arc<NodeKey>; 2],
    configs: [Arc<SessionConfig>; 2],
}

/// One of two sessions.
struct End {
    session: Session,
    curve: InlineCurve<UnwrapErr<SysRng>>,
    received: Option<Message>,
    failed: Option<String>,
}

/// Two sessions: what `send` is given comes out of the other one.
pub(super) struct Pair {
    now: Now,
    initiator: End,
    recipient: End,
}

impl Ends {
    /// Two nodes that share a capability, and compress if `snappy`.
    pub(super) fn new(snappy: bool) -> Result<Self, String> {
        let keys = [(); 2].map(|()| Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng))));
        let name = CapabilityName::new("bench").map_err(|error| error.to_string())?;
        let configs = [&keys[0], &keys[1]].map(|key| {
            let capability = LocalCapability::new(name, 1, 1);
            let mut config = SessionConfig::new(key.public_key(), "bench", vec![capability]);
            // As a server has it.
            config.buffers = BufferPool::new();
            if !snappy {
                config.hello.protocol_version = PLAIN_VERSION;
            }
            Arc::new(config)
        });
        Ok(Self { keys, configs })
    }

    /// A handshake from the first byte until both may send messages.
    #[expect(clippy::disallowed_methods, reason = "as a driver draws for its sessions")]
    pub(super) fn shake_hands(&self, now: Now) -> Result<Pair, String> {
        let mut rng = rand::rng();
        let ([dialler, listener], [dials, listens]) = (&self.configs, &self.keys);
        let remote = listens.public_key();
        let initiator = Session::initiator(now, Arc::clone(dialler), remote, Lane(1), &mut rng);
        let recipient = Session::recipient(now, Arc::clone(listener), Lane(2), &mut rng);
        let mut pair =
            Pair { now, initiator: End::new(initiator, dials), recipient: End::new(recipient, listens) };
        pair.initiator.drain(now);
        pair.recipient.drain(now);
        while carry(&mut pair.initiator, &mut pair.recipient, now)
            + carry(&mut pair.recipient, &mut pair.initiator, now)
            > 0
        {}
        if pair.initiator.session.is_running() && pair.recipient.session.is_running() {
            Ok(pair)
        } else {
            Err(pair.failure("the handshake ended early"))
        }
    }
}

impl Pair {
    /// The time from now on, as a driver reads it when it wakes.
    pub(super) const fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Sends `message` and carries it over: what the other end received.
    pub(super) fn send(&mut self, message: &SharedMessage) -> Result<Message, String> {
        self.initiator.session.send_alone(self.now, 0, message).map_err(|error| error.to_string())?;
        while carry(&mut self.initiator, &mut self.recipient, self.now) > 0 {}
        self.recipient.received.take().ok_or_else(|| self.failure("no message came"))
    }

    /// Sends `message` and has all of it written, to nobody.
    pub(super) fn send_only(&mut self, message: &SharedMessage) -> Result<(), String> {
        let session = &mut self.initiator.session;
        session.send(self.now, 0, message).map_err(|error| error.to_string())?;
        session.handle_written(self.now, session.write_buf().len());
        Ok(())
    }

    /// Gives `message` to be sent with its MAC left to a job, if it may be.
    pub(super) fn send_apart(&mut self, message: &SharedMessage) -> Result<Option<SealJob>, String> {
        let session = &mut self.initiator.session;
        session.send_apart(self.now, 0, message).map_err(|error| error.to_string())
    }

    /// Has all that a job has sealed written, to nobody.
    pub(super) fn sealed(&mut self, job: SealJob) {
        let session = &mut self.initiator.session;
        session.handle_sealed(self.now, job);
        session.handle_written(self.now, session.write_buf().len());
    }

    fn failure(&self, what: &str) -> String {
        let ends = [&self.initiator, &self.recipient];
        ends.iter().find_map(|end| end.failed.clone()).unwrap_or_else(|| what.to_owned())
    }
}

impl End {
    fn new(session: Session, key: &Arc<NodeKey>) -> Self {
        let curve = InlineCurve::new(Arc::clone(key), UnwrapErr(SysRng));
        Self { session, curve, received: None, failed: None }
    }

    /// Acts on what the session puts out.
    fn drain(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Curve(job) => {
                    let result = self.curve.run(job.ops);
                    self.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } => self.session.admit(now),
                SessionOutput::Message { message, .. } => self.received = Some(message),
                SessionOutput::Closed(end) => self.failed = Some(end.to_string()),
            }
        }
    }
}

/// What a socket does: as much as one has to write and the other has room for.
fn carry(from: &mut End, to: &mut End, now: Now) -> usize {
    let waiting = from.session.write_buf();
    let room = to.session.read_buf();
    let len = room.len().min(waiting.len());
    if len > 0 {
        room[..len].copy_from_slice(&waiting[..len]);
        from.session.handle_written(now, len);
        from.drain(now);
        to.session.handle_read(now, len);
        to.drain(now);
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::read_clocks;

    #[test]
    fn what_one_sends_the_other_receives() {
        for snappy in [false, true] {
            let mut pair = Ends::new(snappy).unwrap().shake_hands(read_clocks()).unwrap();
            for len in [1, 64, 70_000, 2_000_000] {
                let payload = bytes::Bytes::from(vec![7; len]);
                let message = pair.send(&SharedMessage::new(0, payload.clone())).unwrap();
                assert_eq!(message.payload, payload);
            }
        }
    }
}
