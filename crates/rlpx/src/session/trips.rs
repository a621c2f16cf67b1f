//! A session's trips to the curve: the handshake's state, and the one job that may be out for it. What a job asks and
//! what its outputs prove is `handshake`; who runs it, the driver's curve pool (identity, `pool.rs`). A result under
//! another ticket, or for a handshake given up, changes nothing.

use identity::curve::{CurveJob, CurveOp, CurveResult, Lane, Ticket, Urgency};

use crate::{
    error::HandshakeError,
    handshake::{Complete, Handshake, Step},
};

/// The handshake of a session, at most one job of it out at a time.
pub(super) struct Trips {
    lane: Lane,
    /// The ticket of the last job.
    ticket: Ticket,
    /// Whether that job is still out.
    out: bool,
    state: Option<Handshake>,
}

/// What a step of the handshake asks of the session.
pub(super) enum Effect {
    /// Put out a job.
    Job(CurveJob),
    /// Write a packet and wait for the other side's.
    Write(Vec<u8>),
    /// The handshake is over.
    Done(Box<Complete>),
    /// The input was for no job that is out.
    Nothing,
}

impl Trips {
    pub(super) const fn new(lane: Lane, state: Option<Handshake>) -> Self {
        Self { lane, ticket: Ticket(0), out: false, state }
    }

    /// Whether the handshake waits for a packet, not for the curve.
    pub(super) fn wants_packet(&self) -> bool {
        self.state.as_ref().is_some_and(Handshake::wants_packet)
    }

    /// The handshake is given up: a job that is out finds nobody.
    pub(super) fn end(&mut self) {
        self.state = None;
        self.out = false;
    }

    pub(super) fn handle_packet(&mut self, packet: Vec<u8>) -> Result<Effect, HandshakeError> {
        let Some(state) = self.state.take() else { return Ok(Effect::Nothing) };
        state.handle_packet(packet).map(|step| self.take(step))
    }

    pub(super) fn handle_curve(
        &mut self,
        ticket: Ticket,
        result: CurveResult,
    ) -> Result<Effect, HandshakeError> {
        if !self.out || ticket != self.ticket {
            return Ok(Effect::Nothing);
        }
        self.out = false;
        let Some(state) = self.state.take() else { return Ok(Effect::Nothing) };
        match result {
            CurveResult::Done(outputs) => state.handle_curve(outputs).map(|step| self.take(step)),
            CurveResult::Refused => Err(HandshakeError::Refused),
        }
    }

    /// Keeps the state that a step leads to and says what to do.
    pub(super) fn take(&mut self, step: Step) -> Effect {
        match step {
            Step::Unproven(state, ops) => self.job(state, Urgency::Unproven, ops),
            Step::Curve(state, ops) => self.job(state, Urgency::Begun, ops),
            Step::Send(state, packet) => {
                self.state = Some(state);
                Effect::Write(packet)
            }
            Step::Done(complete) => Effect::Done(complete),
        }
    }

    fn job(&mut self, state: Handshake, urgency: Urgency, ops: Vec<CurveOp>) -> Effect {
        self.state = Some(state);
        self.ticket = Ticket(self.ticket.0.wrapping_add(1));
        self.out = true;
        Effect::Job(CurveJob { ticket: self.ticket, lane: self.lane, urgency, ops })
    }
}
