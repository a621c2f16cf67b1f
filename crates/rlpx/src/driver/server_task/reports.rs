//! What the tasks of connections bring to a running server: how far each is, and how it ended.
//! `orders.rs` lists the reports; the machine decides what follows (`server/`).

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use tokio::task::JoinError;

use super::{Live, ServerTask};
use crate::{
    SessionEnd, SessionError,
    driver::{event::Event, now, orders::Report},
    peer::PeerId,
};

impl ServerTask {
    pub(super) fn handle_report(&mut self, id: PeerId, report: Report) {
        let Some(live) = self.live.get_mut(&id) else { return };
        match report {
            Report::Trying(address, answer) => {
                // A dial that is called off no longer waits for it.
                let _ = answer.send(self.machine.handle_attempt(now(), id, address));
            }
            Report::Connected(address) => {
                live.address = address;
                self.machine.handle_connected_to(now(), id, address);
            }
            Report::Auth => self.machine.handle_auth(now(), id),
            Report::Authenticated(remote) => {
                live.public_key = Some(remote);
                self.machine.handle_authenticated(now(), id, remote);
            }
            Report::Verdict(verdict) => {
                if let Some(public_key) = live.public_key {
                    self.machine.report(now(), public_key.node_id(), verdict);
                }
            }
            Report::Hello(shared_count) => self.machine.handle_hello(now(), id, shared_count),
            Report::Established(info) => {
                live.info = Some(Arc::clone(&info));
                self.peer_count.fetch_add(1, Ordering::Relaxed);
                self.tell(Event::PeerConnected(info));
            }
        }
    }

    /// A dial has ended before there was an address to try.
    pub(super) fn handle_nowhere(&mut self, id: PeerId) {
        let (rule, end) = (self.machine.rule(id), self.machine.end_of(id, SessionEnd::ABORTED));
        let public_key = self.machine.public_key(id);
        self.machine.handle_closed(now(), id, &end);
        if let Some(public_key) = public_key {
            self.tell(Event::DialFailed { public_key, address: None, end, rule });
        }
    }

    pub(super) fn handle_end(&mut self, joined: Result<(PeerId, SessionEnd), JoinError>) {
        let (id, end) = match joined {
            Ok(ended) => ended,
            Err(error) => match self.live.iter().find(|(_, live)| live.task.id() == error.id()) {
                Some((id, _)) => (*id, SessionEnd::Broken(SessionError::Io(io::ErrorKind::Other))),
                None => return,
            },
        };
        // What it reported before comes first, and is among as many as can wait.
        for _ in 0..self.intake.reports.max_capacity() {
            let Ok((id, report)) = self.intake.reports.try_recv() else { break };
            self.handle_report(id, report);
        }
        let Some(live) = self.live.remove(&id) else { return };
        let (rule, end) = (self.machine.rule(id), self.machine.end_of(id, end));
        self.machine.handle_closed(now(), id, &end);
        let Live { address, inbound, public_key, info, .. } = live;
        match (info, public_key) {
            (Some(info), _) => {
                self.peer_count.fetch_sub(1, Ordering::Relaxed);
                self.tell(Event::PeerDisconnected { info, end, rule });
            }
            (None, Some(public_key)) if inbound => {
                self.tell(Event::Refused { public_key, address, end, rule });
            }
            (None, Some(public_key)) => {
                let address = Some(address);
                self.tell(Event::DialFailed { public_key, address, end, rule });
            }
            (None, None) => {}
        }
    }
}
