//! What goes wrong in a run besides loss: connections break, nodes restart, some nodes are cut off from the others for a
//! while. Which, and for how long, is drawn here; when, is `run`'s agenda.

use std::{ops::Range, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng, seq::SliceRandom};

use super::{Faults, run::Action};
use crate::node::{Node, Nodes};

/// How long a node that restarts is off, in seconds.
const OFF_SECONDS: Range<u64> = 1..20;
/// How long nodes are cut off, in seconds: less and more than streams live through (30 s).
const PARTED_SECONDS: Range<u64> = 5..60;
/// Of so many nodes one is cut off at most.
const PARTED_SHARE: usize = 4;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Break,
    Restart,
    Part,
}

/// How often each happens, out of the sum of all.
const WEIGHTS: [(Fault, u32); 3] = [(Fault::Break, 5), (Fault::Restart, 3), (Fault::Part, 2)];

/// Makes faults, and counts them.
#[derive(Debug, Default)]
pub(super) struct Mischief {
    pub(super) count: Faults,
    is_parted: bool,
}

impl Mischief {
    /// Does something bad, and says what has to follow after how long; with the node that was stopped, if one was.
    pub(super) fn strike(
        &mut self,
        nodes: &mut Nodes,
        rng: &mut ChaCha8Rng,
    ) -> (Option<usize>, Option<(Duration, Action)>) {
        let running: Vec<usize> = nodes.running().map(|(index, _)| index).collect();
        match draw(rng) {
            Fault::Restart if running.len() > 1 => {
                let index = running[rng.random_range(0..running.len())];
                self.count.restarts += 1;
                nodes.stop(index);
                let off = Duration::from_secs(rng.random_range(OFF_SECONDS));
                (Some(index), Some((off, Action::Start(index))))
            }
            Fault::Part if !self.is_parted && nodes.len() > 1 => {
                self.count.partings += 1;
                self.is_parted = true;
                part(nodes, rng);
                (None, Some((Duration::from_secs(rng.random_range(PARTED_SECONDS)), Action::Heal)))
            }
            Fault::Break | Fault::Restart | Fault::Part => {
                self.break_one(nodes, rng, running);
                (None, None)
            }
        }
    }

    /// The network is whole again.
    pub(super) fn heal(&mut self, nodes: &mut Nodes) {
        self.is_parted = false;
        nodes.net.heal();
    }

    fn break_one(&mut self, nodes: &mut Nodes, rng: &mut ChaCha8Rng, mut running: Vec<usize>) {
        running.shuffle(rng);
        for index in running {
            let choice = rng.random();
            let broken = nodes.with(index, |node: &mut Node, net| node.break_connection(net, choice));
            if broken == Some(true) {
                self.count.breaks += 1;
                return;
            }
        }
    }
}

fn draw(rng: &mut ChaCha8Rng) -> Fault {
    let mut place = rng.random_range(0..WEIGHTS.iter().map(|(_, weight)| weight).sum());
    for (fault, weight) in WEIGHTS {
        if place < weight {
            return fault;
        }
        place -= weight;
    }
    Fault::Break
}

fn part(nodes: &mut Nodes, rng: &mut ChaCha8Rng) {
    let mut all: Vec<usize> = (0..nodes.len()).collect();
    let most = (nodes.len() / PARTED_SHARE).max(1);
    let count = rng.random_range(1..=most);
    let (apart, _) = all.partial_shuffle(rng, count);
    let hosts: Vec<simnet::HostId> = apart.iter().map(|index| nodes.host(*index)).collect();
    nodes.net.partition(|host| u32::from(hosts.contains(&host)));
}
