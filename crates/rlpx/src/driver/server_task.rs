//! The task of a server: hands the machine what connections, the listener, the owner and whoever finds candidates bring,
//! and does what it puts out. Waits for nobody.

mod commands;
mod reports;
mod round;
mod storing;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
};

use identity::{PublicKey, curve::Lane};
use tokio::{
    net::TcpStream,
    sync::{broadcast, mpsc, oneshot},
    task::{AbortHandle, JoinSet, yield_now},
    time::Instant,
};

use self::round::Round;
use super::{
    dial::{Dial, resolve},
    event::Event,
    intake::{Intake, next_accepted, next_candidate},
    keeper::Keeper,
    now,
    orders::Order,
    peer_task::PeerTask,
    protocol::opinions,
    shared::Common,
    sleep_until_some,
    wire::Wire,
};
use crate::{
    Refusal, SessionEnd,
    config::MAX_ORDERS,
    dialer::Candidate,
    peer::{PeerId, PeerInfo},
    server::{Output, Server},
};

/// A connection's task as the server sees it.
struct Live {
    /// None once it was cut off.
    orders: Option<mpsc::Sender<Order>>,
    task: AbortHandle,
    /// Where it goes, or came from.
    address: SocketAddr,
    inbound: bool,
    public_key: Option<PublicKey>,
    info: Option<Arc<PeerInfo>>,
}

/// A server that is ending.
struct Closing {
    deadline: Option<Instant>,
    waiting: Vec<oneshot::Sender<()>>,
}

pub(super) struct ServerTask {
    machine: Server,
    common: Arc<Common>,
    intake: Intake,
    events: broadcast::Sender<Event>,
    peer_count: Arc<AtomicUsize>,
    live: BTreeMap<PeerId, Live>,
    tasks: JoinSet<(PeerId, SessionEnd)>,
    lookups: JoinSet<(PeerId, Vec<SocketAddr>)>,
    keeper: Keeper,
    closing: Option<Closing>,
    /// Whether the last turn was for what was due.
    woke: bool,
    round: Round,
}

impl ServerTask {
    pub(super) fn new(
        machine: Server,
        common: Arc<Common>,
        intake: Intake,
        events: broadcast::Sender<Event>,
        peer_count: Arc<AtomicUsize>,
        keeper: Keeper,
    ) -> Self {
        let (live, tasks, lookups) = (BTreeMap::new(), JoinSet::new(), JoinSet::new());
        let (closing, woke, round) = (None, false, Round::of(&intake));
        Self {
            machine,
            common,
            intake,
            events,
            peer_count,
            live,
            tasks,
            lookups,
            keeper,
            closing,
            woke,
            round,
        }
    }

    /// Runs until a shutdown is complete, or the last handle is gone and all peers are told.
    pub(super) async fn run(mut self) {
        loop {
            self.act();
            if self.closing.is_some() && self.live.is_empty() {
                break;
            }
            self.turn().await;
        }
        self.store_the_rest().await;
        for waiting in self.closing.into_iter().flat_map(|closing| closing.waiting) {
            let _ = waiting.send(());
        }
    }

    /// Waits for one thing to happen and hands it in.
    async fn turn(&mut self) {
        let moment = now();
        let wake = match &self.closing {
            Some(closing) => closing.deadline,
            None => self.machine.next_timeout(moment).map(Instant::from_std),
        };
        // Every other turn before all that comes: in a flood something always does.
        self.woke = !self.woke && wake.is_some_and(|wake| wake <= Instant::from_std(moment.instant));
        if self.woke {
            return self.handle_wake();
        }
        let wants_candidates = self.intake.candidates.is_some() && self.machine.wanted_candidates(moment) > 0;
        let is_closing = self.closing.is_some();
        let Intake { commands, reports, accepted, candidates, .. } = &mut self.intake;
        // The last handle's end is heard once, whenever it came.
        let hears_commands = !is_closing || !commands.is_closed() || !commands.is_empty();
        tokio::select! {
            biased;
            Some((id, report)) = reports.recv(), if self.round.reports > 0 => {
                self.round.reports -= 1;
                self.handle_report(id, report);
            }
            Some(joined) = self.tasks.join_next() => self.handle_end(joined),
            Some(Ok((id, addresses))) = self.lookups.join_next() => {
                self.machine.handle_resolved(now(), id, &addresses);
            }
            Some(is_stored) = self.keeper.written() => self.machine.handle_stored(now(), is_stored),
            command = commands.recv(), if hears_commands && self.round.commands > 0 => {
                self.round.commands -= 1;
                self.handle_command(command);
            }
            candidate = next_candidate(candidates), if wants_candidates => self.handle_candidate(candidate),
            connection = next_accepted(accepted) => {
                self.round = Round::of(&self.intake);
                self.handle_accepted(connection);
                // What has come with it is read before the next: in a flood it would make room unread.
                yield_now().await;
            }
            () = yield_now(), if self.round.is_over() => self.round = Round::of(&self.intake),
            () = sleep_until_some(wake) => self.handle_wake(),
        }
    }

    fn handle_wake(&mut self) {
        match &mut self.closing {
            Some(closing) => {
                closing.deadline = None;
                self.tasks.abort_all();
            }
            None => self.machine.handle_timeout(now()),
        }
    }

    fn handle_accepted(&mut self, connection: Option<(TcpStream, SocketAddr)>) {
        let Some((stream, from)) = connection else {
            self.intake.accepted = None;
            return;
        };
        let Ok(id) = self.machine.handle_accepted(now(), from) else { return };
        let common = Arc::clone(&self.common);
        let (sender, orders) = mpsc::channel(MAX_ORDERS);
        let (curve, session) = (common.curve.clone(), Arc::clone(&common.session));
        let wire = Wire::accepted(stream, curve, session, Lane(id.0), common.counts.traffic());
        let task = PeerTask::new(id, common, orders, wire, (from, true));
        let task = self.tasks.spawn(async move { (id, task.run().await) });
        let orders = Some(sender);
        self.live
            .insert(id, Live { orders, task, address: from, inbound: true, public_key: None, info: None });
    }

    fn dial(&mut self, id: PeerId, remote: PublicKey, addresses: Vec<SocketAddr>) {
        let Some(address) = addresses.first().copied() else { return };
        let (sender, orders) = mpsc::channel(MAX_ORDERS);
        let dial = Dial { id, remote, addresses, common: Arc::clone(&self.common), orders };
        let task = self.tasks.spawn(async move { (id, dial.run().await) });
        let (orders, public_key) = (Some(sender), Some(remote));
        self.live.insert(id, Live { orders, task, address, inbound: false, public_key, info: None });
    }

    fn handle_candidate(&mut self, candidate: Option<Candidate>) {
        match candidate {
            Some(candidate) => {
                let Common { protocols, counts, .. } = &*self.common;
                let opinions = opinions(protocols, candidate.record.as_ref(), &counts.refusals);
                self.machine.handle_judged(now(), candidate, opinions);
            }
            None => self.intake.candidates = None,
        }
    }

    fn tell(&self, event: Event) {
        tracing::debug!(?event, "rlpx");
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    /// Does what the machine puts out.
    fn act(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Resolve { id, name, port } => {
                    let limit = self.common.times.connect;
                    self.lookups.spawn(async move { (id, resolve(name, port, limit).await) });
                }
                Output::Connect { id, remote, addresses } => self.dial(id, remote, addresses),
                Output::Greet(id) => self.order(id, Order::Greet),
                Output::Establish { id, static_peer, trusted } => {
                    self.order(id, Order::Establish { static_peer, trusted });
                }
                Output::Disconnect(id, reason) => self.order(id, Order::Disconnect(reason)),
                Output::Store(changes) => self.keeper.write(changes),
                Output::KeyInUse(address) => self.tell(Event::KeyInUse { address }),
                Output::Abort(id) => match self.live.get_mut(&id) {
                    Some(live) => live.orders = None,
                    // Not begun: it was still a name.
                    None => self.handle_nowhere(id),
                },
            }
        }
    }

    fn order(&mut self, id: PeerId, order: Order) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let taken = live.orders.as_ref().map(|orders| orders.try_send(order));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = taken {
            live.orders = None;
            self.machine.note(id, Refusal::ControlFull);
        }
    }
}
