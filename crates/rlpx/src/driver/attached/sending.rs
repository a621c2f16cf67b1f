//! What the protocols of one peer have queued, on its way into the session: one of each in turn, as far as the socket and
//! the limits on bytes per second take it, and the credit for what was written.

use std::sync::Arc;

use super::{Attached, Ending, InFlight};
use crate::{
    Session, SharedMessage,
    driver::{
        now,
        sealer::{Sealer, Sealing},
        throttle::Gate,
    },
};

impl Attached {
    /// Moves queued messages into the session while it has room, one of each protocol in turn. One that is sealed with those
    /// of other connections is the last.
    ///
    /// # Errors
    /// Why the peer is to go.
    pub(in crate::driver) fn send_queued(
        &mut self,
        session: &mut Session,
        gate: &mut Option<Gate>,
        sealer: &Arc<Sealer>,
    ) -> Result<Option<Sealing>, Ending> {
        let mut sealing = None;
        while session.has_room() {
            if let Some(gate) = gate
                && !self.may_send(session, gate)
            {
                break;
            }
            let Some((seat, message, len)) = self.pop_queued() else { break };
            let sent = if !message.is_shared() {
                session.send_alone(now(), seat, &message).map(|()| None)
            } else if sealer.is_worth_it() {
                session.send_apart(now(), seat, &message)
            } else {
                session.send(now(), seat, &message).map(|()| None)
            };
            match sent {
                Ok(job) => {
                    // Where there is a job, there is no more room.
                    sealing = job.map(|job| sealer.submit(job));
                    let (end, code) = (session.queued(), message.code());
                    self.in_flight.push_back(InFlight { end, seat, code, len });
                }
                // Too long once it is compressed; `has_room` and the link have ruled out the rest.
                Err(_) => self.call(seat, |session| session.handle_sent(len))?,
            }
        }
        Ok(sealing)
    }

    /// Whether the next message may go now; if not, it is the next one when the gate opens.
    fn may_send(&mut self, session: &Session, gate: &mut Gate) -> bool {
        let front = self.order().find_map(|seat| Some((seat, self.seats.get(seat)?.link.queue().front()?)));
        let Some((seat, message)) = front else { return false };
        self.next_seat = seat;
        gate.pass(now().instant, session.wire_len(&message))
    }

    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.next_seat, self.seats.len());
        (0..count).map(move |offset| (first + offset) % count.max(1))
    }

    fn pop_queued(&mut self) -> Option<(usize, SharedMessage, usize)> {
        let (seat, (message, len)) =
            self.order().find_map(|seat| Some((seat, self.seats.get(seat)?.link.queue().try_pop()?)))?;
        self.next_seat = seat + 1;
        Some((seat, message, len))
    }

    /// Gives back the credit of what has been written: `written` bytes in all.
    ///
    /// # Errors
    /// Why the peer is to go.
    pub(in crate::driver) fn credit(&mut self, written: u64) -> Result<(), Ending> {
        while let Some(sent) = self.in_flight.pop_front_if(|sent| sent.end <= written) {
            self.count_out(&sent);
            self.call(sent.seat, |session| session.handle_sent(sent.len))?;
        }
        Ok(())
    }

    fn count_out(&self, sent: &InFlight) {
        self.traffic.message_out();
        if let Some(tally) = self.live.tally(sent.seat) {
            tally.sent(sent.len);
        }
        if let Some(tally) = self.seats.get(sent.seat).and_then(|seat| seat.tally.as_ref()) {
            tally.sent(sent.code, sent.len);
        }
    }
}
