//! The owner's commands as a running server carries them out: each is the machine's, and its answer goes back.
//! `intake.rs` lists the commands; the handle in `driver/mod.rs` says what they mean.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::{Closing, ServerTask};
use crate::{
    driver::{intake::Command, now},
    peer::PeerInfo,
};

impl ServerTask {
    pub(super) fn handle_command(&mut self, command: Option<Command>) {
        let (moment, machine) = (now(), &mut self.machine);
        // Whoever asked may have stopped waiting for the answer.
        match command {
            Some(Command::AddStatic(enode, answer)) => {
                let _ = answer.send(machine.add_static(moment, enode));
            }
            Some(Command::RemoveStatic(node_id, answer)) => {
                machine.remove_static(moment, node_id);
                let _ = answer.send(());
            }
            Some(Command::AddTrusted(node_id, answer)) => {
                let _ = answer.send(machine.add_trusted(node_id));
            }
            Some(Command::RemoveTrusted(node_id, answer)) => {
                machine.remove_trusted(node_id);
                let _ = answer.send(());
            }
            Some(Command::Disconnect(node_id, reason, answer)) => {
                machine.disconnect(moment, node_id, reason);
                let _ = answer.send(());
            }
            Some(Command::Ban(target, duration, answer)) => {
                let _ = answer.send(machine.ban(moment, target, duration));
            }
            Some(Command::Unban(target, answer)) => {
                machine.unban(moment, &target);
                let _ = answer.send(());
            }
            Some(Command::Bans(answer)) => {
                let _ = answer.send(machine.bans(moment));
            }
            Some(Command::Report(node_id, verdict, answer)) => {
                machine.report(moment, node_id, verdict);
                let _ = answer.send(());
            }
            Some(Command::Peers(answer)) => {
                let infos = self.live.values().filter_map(|live| live.info.as_ref());
                let _ = answer.send(infos.map(|info| self.as_it_stands(info)).collect());
            }
            Some(Command::Shutdown(answer)) => self.shutdown(Some(answer)),
            None => self.shutdown(None),
        }
    }

    /// A peer with the privileges that it has now.
    fn as_it_stands(&self, info: &Arc<PeerInfo>) -> Arc<PeerInfo> {
        let (static_peer, trusted) = self.machine.privileges(&info.node_id);
        match (info.static_peer, info.trusted) == (static_peer, trusted) {
            true => Arc::clone(info),
            false => Arc::new(PeerInfo { static_peer, trusted, ..PeerInfo::clone(info) }),
        }
    }

    fn shutdown(&mut self, waiting: Option<oneshot::Sender<()>>) {
        let moment = now();
        let deadline = moment.instant.checked_add(self.common.times.shutdown).map(Instant::from_std);
        let closing = self.closing.get_or_insert(Closing { deadline, waiting: Vec::new() });
        closing.waiting.extend(waiting);
        self.machine.shutdown(moment);
        self.intake.tasks.abort_all();
        self.intake.accepted = None;
        self.intake.candidates = None;
    }
}
