//! The task of port mapping: does what the machine puts out, each as a task of its own, and hands the outcomes back.
//! Which gateway answers is known here; what is asked of it, and when, is the machine's.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    super::sleep_until_some,
    gateway::{Gateway, Search},
    now,
};
use crate::nat::{Event, External, Found, Grant, MapRequest, Mappings, NatFault, Output, Transport};

/// What is under way.
#[derive(Clone, Copy)]
enum Job {
    Search,
    Address,
    Map(Transport),
    Unmap(Transport),
}

/// How it went.
enum Outcome {
    Search(Result<(Gateway, Found), NatFault>),
    Address(Result<IpAddr, NatFault>),
    Map(Transport, Result<Grant, NatFault>),
    Unmap(Transport, Result<(), NatFault>),
}

pub(super) struct Task {
    machine: Mappings,
    search: Search,
    gateway: Option<Arc<Gateway>>,
    jobs: JoinSet<Outcome>,
    /// At most one of a kind, and one a port.
    names: BTreeMap<Id, Job>,
    external: watch::Sender<External>,
    orders: mpsc::Receiver<()>,
}

impl Task {
    pub(super) fn machine(tcp: u16, udp: Option<u16>, seed: u64) -> Mappings {
        Mappings::new(now(), tcp, udp, seed)
    }

    pub(super) fn new(
        machine: Mappings,
        search: Search,
        external: watch::Sender<External>,
        orders: mpsc::Receiver<()>,
    ) -> Self {
        let (jobs, names) = (JoinSet::new(), BTreeMap::new());
        Self { machine, search, gateway: None, jobs, names, external, orders }
    }

    /// Runs until it is told to end and the mappings are removed, or the machine has given up.
    pub(super) async fn run(mut self) {
        let mut is_ending = false;
        self.machine.handle_timeout(now());
        loop {
            let gave_up = self.act();
            if gave_up || self.machine.is_closed() {
                return;
            }
            let wake = self.machine.next_timeout().map(Instant::from_std);
            tokio::select! {
                _ = self.orders.recv(), if !is_ending => {
                    is_ending = true;
                    self.machine.shutdown(now());
                }
                Some(joined) = self.jobs.join_next_with_id() => self.handle_joined(joined),
                () = sleep_until_some(wake) => self.machine.handle_timeout(now()),
            }
        }
    }

    fn handle_joined(&mut self, joined: Result<(Id, Outcome), JoinError>) {
        let outcome = match joined {
            Ok((id, outcome)) => {
                self.names.remove(&id);
                outcome
            }
            // What a crate cannot take must not end the node, nor leave the machine waiting.
            Err(error) => match self.names.remove(&error.id()) {
                Some(Job::Search) => Outcome::Search(Err(NatFault::Malformed)),
                Some(Job::Address) => Outcome::Address(Err(NatFault::Malformed)),
                Some(Job::Map(transport)) => Outcome::Map(transport, Err(NatFault::Malformed)),
                Some(Job::Unmap(transport)) => Outcome::Unmap(transport, Err(NatFault::Malformed)),
                None => return,
            },
        };
        let moment = now();
        match outcome {
            Outcome::Search(outcome) => {
                let outcome = outcome.map(|(gateway, found)| {
                    self.gateway = Some(Arc::new(gateway));
                    found
                });
                tracing::debug!(?outcome, "nat: search");
                self.machine.handle_search(moment, outcome);
            }
            Outcome::Address(outcome) => self.machine.handle_address(moment, outcome),
            Outcome::Map(transport, outcome) => {
                tracing::debug!(?transport, ?outcome, "nat: mapping");
                self.machine.handle_map(moment, transport, outcome);
            }
            Outcome::Unmap(transport, outcome) => self.machine.handle_unmap(moment, transport, outcome),
        }
    }

    /// Does what the machine puts out. True when it has given up: it will put out nothing more.
    fn act(&mut self) -> bool {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Search => {
                    let search = self.search.clone().run();
                    self.start(Job::Search, async { Outcome::Search(search.await) });
                }
                Output::Address => {
                    let gateway = self.gateway.clone();
                    self.start(Job::Address, async { Outcome::Address(address(gateway).await) });
                }
                Output::Map(request) => {
                    let gateway = self.gateway.clone();
                    let mapped = async move { Outcome::Map(request.transport, map(gateway, request).await) };
                    self.start(Job::Map(request.transport), mapped);
                }
                Output::Unmap(request) => {
                    let gateway = self.gateway.clone();
                    let removed =
                        async move { Outcome::Unmap(request.transport, unmap(gateway, request).await) };
                    self.start(Job::Unmap(request.transport), removed);
                }
                Output::Event(Event::Changed(external)) => {
                    tracing::info!(?external, "seen from outside");
                    self.external.send_replace(external);
                }
                Output::Event(Event::GaveUp) => {
                    tracing::warn!(method = %self.search.method, "nobody maps our ports: given up");
                    return true;
                }
            }
        }
        false
    }

    fn start(&mut self, job: Job, work: impl Future<Output = Outcome> + Send + 'static) {
        let id = self.jobs.spawn(work).id();
        self.names.insert(id, job);
    }
}

/// The machine asks only whom it has found.
async fn address(gateway: Option<Arc<Gateway>>) -> Result<IpAddr, NatFault> {
    gateway.ok_or(NatFault::NoGateway)?.address().await
}

async fn map(gateway: Option<Arc<Gateway>>, request: MapRequest) -> Result<Grant, NatFault> {
    gateway.ok_or(NatFault::NoGateway)?.map(request).await
}

async fn unmap(gateway: Option<Arc<Gateway>>, request: MapRequest) -> Result<(), NatFault> {
    gateway.ok_or(NatFault::NoGateway)?.unmap(request).await
}
