//! Packets with our own signature, and what is done so that two processes with one key hear of each other: neither knows
//! the other as a node, for no node is its own neighbour. Where others name us at an address that is not ours, we send a
//! Ping, for whoever has our key there to see. What a Ping proves is `twin.rs`.

use std::net::{IpAddr, SocketAddr};

use identity::{Endpoint, Now};

use super::{Discovery, Event};
use crate::{
    Reject,
    jobs::{Inbound, Purpose},
    pending::Peer,
    wire::{Neighbor, Packet},
};

impl Discovery {
    /// A packet came that our own key has signed.
    pub(super) fn on_own_key(&mut self, now: Now, inbound: &Inbound) -> Result<(), Reject> {
        if let Packet::Ping(ping) = &inbound.packet
            && self.twin.is_of_another(ping)
        {
            self.event(Event::KeyInUse { from: inbound.from });
            if self.twin.take_answer() && self.limiter.ping_back(now.instant, inbound.from).is_ok() {
                self.tell_of_us(now, inbound.from);
            }
        }
        Err(Reject::OwnKey)
    }

    /// Somebody at `teller` names us at an address. Many do, and mostly it is ours.
    pub(super) fn on_own_name(&mut self, now: Now, teller: IpAddr, named: &Neighbor) {
        let Some(endpoint) = self.check_neighbor(named, teller) else { return };
        let own = [self.local.enr.endpoint_v4(), self.local.enr.endpoint_v6()];
        let is_ours = own.into_iter().flatten().any(|own| own.udp_addr() == endpoint.udp_addr());
        if let (Some(to), false) = (endpoint.udp_addr(), is_ours)
            && self.twin.take_turn(now.instant)
            && self.limiter.told(now.instant, to.ip()).is_ok()
        {
            self.tell_of_us(now, to);
        }
    }

    /// Sends a Ping that nobody waits for an answer to: whoever has our key does not give one.
    fn tell_of_us(&mut self, now: Now, to: SocketAddr) {
        let endpoint = Endpoint { ip: to.ip(), udp: to.port(), tcp: 0 };
        let peer = Peer { public_key: self.local.public_key, id: self.local.id, endpoint };
        let draft = self.draft_ping(now, &peer, Purpose::Notice);
        self.sign(now, to, vec![draft], true);
    }
}
