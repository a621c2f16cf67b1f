//! The task of one connection of a server: it owns the wire, asks the server at both stops, and serves the protocols.
//! It may wait for the server; the server never waits for it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use identity::PublicKey;
use tokio::{sync::mpsc, task::yield_now, time::Instant};

use super::{
    account::Account,
    attached::{Attached, Ending},
    now,
    orders::{Order, Report},
    pool::Purse,
    shared::Common,
    sleep_until_some,
    throttle::Gate,
    turn::Turn,
    wire::Wire,
};
use crate::{
    Hello, SessionEnd, SessionOutput, SharedCapability,
    peer::{PeerId, PeerInfo},
    rtt::Rtt,
};

pub(super) struct PeerTask {
    pub(super) id: PeerId,
    pub(super) common: Arc<Common>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) wire: Wire,
    pub(super) account: Account,
    pub(super) remote_addr: SocketAddr,
    pub(super) inbound: bool,
    pub(super) attached: Option<Attached>,
    /// What limits on bytes per second leave it: to be sent, and to be read.
    pub(super) gates: (Option<Gate>, Option<Gate>),
    /// The round trips that others were told of.
    pub(super) told: Option<Rtt>,
    /// Set when the session may have outputs that were not looked at, so that there is nothing to wait for.
    pub(super) busy: bool,
    /// Whether the server still has to be told that auth has come.
    auth_awaited: bool,
}

impl PeerTask {
    pub(super) fn new(
        id: PeerId,
        common: Arc<Common>,
        orders: mpsc::Receiver<Order>,
        mut wire: Wire,
        (remote_addr, inbound): (SocketAddr, bool),
    ) -> Box<Self> {
        wire.session().govern_memory();
        let account = Account::new(Purse::new(&common.pool, id.0));
        let gates = common.throttle.gates();
        Box::new(Self {
            id,
            common,
            orders,
            wire,
            account,
            remote_addr,
            inbound,
            attached: None,
            gates,
            told: None,
            busy: false,
            auth_awaited: inbound,
        })
    }

    /// Boxed, because the future would hold it twice: as what it was given, and as what it works on.
    pub(super) async fn run(mut self: Box<Self>) -> SessionEnd {
        let mut turn = Turn::new(self.common.pool.protocols.turn_messages);
        let end = loop {
            if let Some(end) = self.handle_outputs(&mut turn).await {
                break end;
            }
            if self.auth_awaited && self.wire.worked() {
                self.auth_awaited = false;
                self.report(Report::Auth).await;
            }
            if let Err(ending) = self.send_queued() {
                self.end_for(ending);
                continue;
            }
            let behind = self.attached.as_ref().is_some_and(Attached::is_behind);
            self.busy |= self.account.settle(self.wire.session(), behind);
            self.tell_rtt();
            self.pace();
            if let Some(end) = turn.wait(pin!(self.wait())).await {
                break end;
            }
        };
        if let Some(mut attached) = self.attached.take() {
            attached.close(&end);
        }
        if let SessionEnd::Local { error, .. } = end {
            // Those that the server has ended it counts itself.
            let place = error.map(|_| self.common.closers.try_acquire());
            if !matches!(place, Some(Err(_))) {
                Box::pin(self.wire.linger()).await;
            }
        }
        end
    }

    /// The server answers at once as a rule: then what ends the handshake and our Hello leave in one write.
    async fn authenticated(&mut self, remote: PublicKey) {
        self.report(Report::Authenticated(remote)).await;
        yield_now().await;
        if let Ok(order) = self.orders.try_recv() {
            self.handle_order(order).await;
        }
    }

    /// Waits for one thing to happen.
    async fn wait(&mut self) -> Option<SessionEnd> {
        let running = self.wire.session().is_running();
        let (upload, download) = &self.gates;
        let [held, unread] = [upload, download].map(|gate| gate.as_ref().and_then(Gate::opens_at));
        let has_room = self.wire.session().has_room();
        if let (Some(attached), Some(opens_at)) = (&mut self.attached, held) {
            attached.excuse(opens_at);
        }
        let short_since = || self.account.short_since();
        let stall_end =
            self.attached.as_mut().filter(|_| running).and_then(|attached| attached.stall_end(short_since));
        let moment = now().instant;
        if let (Some(attached), true) =
            (&mut self.attached, stall_end.is_some_and(|end| end <= Instant::from_std(moment)))
        {
            let ending = attached.give_up_stalled();
            self.end_for(ending);
            return None;
        }
        let is_open = |opens_at: Option<std::time::Instant>| opens_at.is_some_and(|at| at <= moment);
        // What has opened since it was tried is tried again, unless it waits for something else.
        self.busy |= running && ((is_open(held) && has_room) || (is_open(unread) && self.wire.is_spent()));
        let waits = held.into_iter().chain(unread).filter(|at| running && *at > moment).min();
        let wake = waits.map(Instant::from_std).into_iter().chain(stall_end).min();
        let has_room = has_room && held.is_none();
        let protocols = async {
            match &mut self.attached {
                Some(attached) if running => attached.turn(has_room).await,
                // Once we have said goodbye, protocols have no more say.
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = self.orders.recv() => match order {
                // Rare, and it would be the largest part of every connection that waits.
                Some(order) => Box::pin(self.handle_order(order)).await,
                None => return Some(SessionEnd::ABORTED),
            },
            result = protocols => self.handle_turn(result),
            () = self.wire.turn() => {}
            hurried = self.account.turn() => self.account.handle_turn(self.wire.session(), hurried),
            () = sleep_until_some(wake) => {}
            () = yield_now(), if self.busy => {}
        }
        None
    }

    fn handle_turn(&mut self, result: Result<(), Ending>) {
        match result {
            Ok(()) => {
                let stalled = self.attached.as_ref().is_some_and(Attached::is_stalled);
                self.wire.session().pause_reading(now(), stalled);
            }
            Err(ending) => self.end_for(ending),
        }
    }

    fn end_for(&mut self, ending: Ending) {
        self.wire.session().end_for(now(), ending.reason(), ending.error());
    }

    async fn handle_order(&mut self, order: Order) {
        match order {
            Order::Greet => self.wire.session().admit(now()),
            Order::Establish { static_peer, trusted } => self.establish(static_peer, trusted).await,
            Order::Disconnect(reason) => self.wire.session().disconnect(now(), reason),
        }
    }

    /// Handles what the session puts out, its end also when the turn is over; how it ended, if it did.
    async fn handle_outputs(&mut self, turn: &mut Turn) -> Option<SessionEnd> {
        self.busy = false;
        while !turn.is_over() || self.wire.session().is_closed() {
            turn.count();
            match self.wire.output()? {
                SessionOutput::Authenticated { remote } => Box::pin(self.authenticated(remote)).await,
                SessionOutput::Hello { shared, .. } => self.report(Report::Hello(shared.len())).await,
                SessionOutput::Message { protocol, message } => {
                    if let Some(attached) = &mut self.attached {
                        let result = attached.handle_message(protocol, message).await;
                        self.handle_turn(result.map(|_| ()));
                    }
                }
                SessionOutput::Closed(end) => return Some(end),
                // The wire keeps these to itself.
                SessionOutput::Curve(_) => {}
            }
        }
        self.busy = true;
        None
    }

    /// Allows more to be read when the limits leave it, or else has the session wait. In a shortage of memory, while others
    /// wait for this one to be read, it is read, and pays later.
    fn pace(&mut self) {
        let Some(gate) = &mut self.gates.1 else { return };
        if !self.wire.is_spent() || !self.wire.session().is_running() {
            return;
        }
        let (moment, quantum) = (now(), gate.quantum());
        let hurried = self.wire.session().is_hurried();
        if hurried {
            gate.force(moment.instant, quantum);
        }
        let allowed = hurried || gate.pass(moment.instant, quantum);
        if allowed {
            self.wire.allow(quantum);
        }
        self.wire.session().throttle_reading(moment, !allowed);
        // It has to be asked for outputs before it is read on.
        self.busy |= allowed;
    }

    fn tell_rtt(&mut self) {
        let rtt = self.wire.session().round_trips();
        if let Some(rtt) = rtt.filter(|_| rtt != self.told) {
            self.told = Some(rtt);
            self.wire.live().measured(rtt);
        }
    }

    async fn report(&mut self, report: Report) {
        // Without a server the orders' way is closed too.
        let _ = self.common.reports.send((self.id, report)).await;
    }

    async fn establish(&mut self, static_peer: bool, trusted: bool) {
        let local_addr =
            self.wire.stream().local_addr().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let session = self.wire.session();
        let (Some(public_key), Some(hello)) = (session.remote(), session.hello().cloned()) else { return };
        let shared: Vec<SharedCapability> = session.shared().to_vec();
        let Hello { client_name, capabilities, .. } = hello;
        let info = Arc::new(PeerInfo {
            peer_id: self.id,
            public_key,
            node_id: public_key.node_id(),
            client_name,
            capabilities,
            shared,
            remote_addr: self.remote_addr,
            local_addr,
            inbound: self.inbound,
            static_peer,
            trusted,
            live: Arc::clone(self.wire.live()),
        });
        let Common { protocols, times, counts, reports, .. } = &*self.common;
        match Attached::new(
            protocols,
            &info,
            times.protocol_stall,
            (counts.clone(), self.account.purse()),
            reports.clone(),
        ) {
            Ok(attached) => {
                self.attached = Some(attached);
                self.wire.session().admit(now());
                if let Some(gate) = &mut self.gates.1 {
                    // The first words of a protocol must not wait for the turns of all others.
                    gate.force(now().instant, gate.quantum());
                    self.wire.allow(gate.quantum());
                }
                self.report(Report::Established(info)).await;
            }
            Err(ending) => self.end_for(ending),
        }
    }

    /// Moves on what protocols have queued, as far as the socket takes it, and gives back the credit.
    fn send_queued(&mut self) -> Result<(), Ending> {
        let Some(attached) = &mut self.attached else { return Ok(()) };
        let sealing = attached.send_queued(self.wire.session(), &mut self.gates.0, &self.common.sealer)?;
        sealing.into_iter().for_each(|sealing| self.wire.seal(sealing));
        self.busy |= self.wire.flush();
        attached.credit(self.wire.session().written())
    }
}
