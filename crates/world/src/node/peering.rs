//! What the server orders, what sessions say and what the eth machine puts out, carried from one to the other as the
//! drivers of rlpx and eth-wire do it. Nothing is decided here.

use std::{io::ErrorKind, net::SocketAddr};

use eth_wire::{EthVersion, MessageKind, Output as EthOutput, PeerFault, counted_network, intake};
use identity::{AddressPolicy, Now, PublicKey, curve::Lane};
use rlpx::{
    DisconnectReason, Message, PeerId, ProtocolLimits, Session, SessionEnd, SessionError, SessionOutput,
    server::Output,
};
use simnet::{Net, StreamId};

use super::{
    Node,
    connection::{Connection, Seat},
};

/// Streams.
impl Node {
    pub(super) fn accept(&mut self, net: &mut Net, stream: StreamId, from: SocketAddr) {
        let now = net.now();
        let Ok(id) = self.server.handle_accepted(now, from) else { return net.close(stream) };
        let session = Session::recipient(now, self.session.clone(), Lane(id.0), &mut self.rng);
        self.connections.insert(id, Connection::accepted(stream, from, session));
    }

    fn dial(&mut self, net: &mut Net, id: PeerId, remote: PublicKey, addresses: &[SocketAddr]) {
        // Candidates and static peers of this world have one address each.
        let Some(address) = addresses.first().copied() else { return };
        let deadline = net.now().instant.checked_add(self.config.server.times.connect);
        let stream = net.connect(self.host, address);
        self.connections.insert(id, Connection::dialing(stream, address, remote, deadline));
    }

    pub(super) fn connected(&mut self, now: Now, stream: StreamId) {
        let Some((id, connection)) = self.connections.of_stream(stream) else { return };
        let Some(remote) = connection.dialed() else { return };
        connection.open(Session::initiator(now, self.session.clone(), remote, Lane(id.0), &mut self.rng));
        self.server.handle_connected(now, id);
        self.connections.touch(id);
    }

    pub(super) fn stream_ended(&mut self, now: Now, stream: StreamId, reset: bool) {
        let Some((id, connection)) = self.connections.of_stream(stream) else { return };
        connection.has_ended |= !reset;
        if let Some(session) = connection.session().filter(|_| reset) {
            session.handle_io_error(now, ErrorKind::ConnectionReset);
        }
        self.connections.touch(id);
    }

    /// A dial came to nothing.
    pub(super) fn fail(&mut self, net: &mut Net, id: PeerId, error: ErrorKind) {
        self.end(net, id, &SessionEnd::Broken(SessionError::Io(error)));
    }

    fn end(&mut self, net: &mut Net, id: PeerId, end: &SessionEnd) {
        let now = net.now();
        if let Some(connection) = self.connections.remove(id) {
            net.close(connection.stream);
            if connection.seat.is_some() {
                self.eth.handle_disconnected(now, id);
            }
        }
        self.server.handle_closed(now, id, end);
    }
}

/// The server and the sessions.
impl Node {
    pub(super) fn act_for_server(&mut self, net: &mut Net) {
        let now = net.now();
        while let Some(output) = self.server.poll_output() {
            match output {
                // There are no names here.
                Output::Resolve { id, .. } => self.server.handle_resolved(now, id, &[]),
                Output::Connect { id, remote, addresses } => self.dial(net, id, remote, &addresses),
                Output::Greet(id) => self.order(id, |session| session.admit(now)),
                Output::Establish { id, .. } => self.establish(now, id),
                Output::Disconnect(id, reason) => self.order(id, |session| session.disconnect(now, reason)),
                Output::Abort(id) => self.end(net, id, &SessionEnd::ABORTED),
                // Nobody in this world has another's key.
                Output::KeyInUse(_) => {}
                // There is no address book here.
                Output::Store(_) => self.server.handle_stored(now, true),
            }
        }
    }

    fn order(&mut self, id: PeerId, order: impl FnOnce(&mut Session)) {
        if let Some(session) = self.connections.get(id).and_then(Connection::session) {
            order(session);
            self.connections.touch(id);
        }
    }

    fn establish(&mut self, now: Now, id: PeerId) {
        let Some(connection) = self.connections.get(id) else { return };
        let network = counted_network(AddressPolicy::default(), connection.remote_addr.ip());
        let Some(session) = connection.session() else { return };
        let eth = (0..).zip(session.shared()).find(|(_, shared)| shared.name == *"eth");
        let version = eth.and_then(|(_, shared)| EthVersion::from_number(shared.version));
        let (Some(remote), Some((protocol, _)), Some(version)) = (session.remote(), eth, version) else {
            return;
        };
        session.admit(now);
        connection.seat = Some(Seat { protocol, version });
        self.eth.handle_connected(
            now,
            id,
            remote.node_id(),
            version,
            network,
            ProtocolLimits::DEFAULT.queued_len,
        );
        self.connections.touch(id);
    }

    /// Gives a connection its turn: bytes go to and fro until its session has something to say.
    pub(super) fn serve(&mut self, net: &mut Net, id: PeerId) {
        let now = net.now();
        let Some(connection) = self.connections.get(id) else { return };
        let output = connection.turn(net, now, &mut self.curve);
        let (messages, len) = connection.take_written();
        if messages > 0 {
            self.eth.handle_credit(now, id, messages, len);
        }
        match output {
            Some(SessionOutput::Authenticated { remote }) => {
                self.server.handle_authenticated(now, id, remote);
            }
            Some(SessionOutput::Hello { shared, .. }) => self.server.handle_hello(now, id, shared.len()),
            Some(SessionOutput::Message { message, .. }) => self.hear(now, id, message),
            Some(SessionOutput::Closed(end)) => self.end(net, id, &end),
            // Jobs are done by the connection.
            Some(SessionOutput::Curve(_)) => {}
            None => return,
        }
        self.connections.touch(id);
    }
}

/// The eth machine.
impl Node {
    fn hear(&mut self, now: Now, id: PeerId, message: Message) {
        let Some(connection) = self.connections.get(id) else { return };
        let Some(Seat { version, .. }) = connection.seat else { return };
        if let Some(kind) = MessageKind::from_code(version, message.code) {
            let counters = self.eth.counters();
            counters.received.add(kind);
            counters.received_bytes.add_many(kind, message.payload.len() as u64);
        }
        match intake(version, message.code, message.payload) {
            Ok(message) => self.eth.handle_message(now, id, message),
            Err(error) => {
                self.eth.handle_refused(now, id, error);
                let reason = PeerFault::from(error).reason();
                self.order(id, |session| session.disconnect(now, reason));
            }
        }
    }

    pub(super) fn act_for_eth(&mut self, now: Now) {
        while let Some(output) = self.eth.poll_output() {
            match output {
                EthOutput::Send { peer, message } => {
                    let Some(connection) = self.connections.get(peer) else { continue };
                    if connection.push(message) {
                        self.connections.touch(peer);
                    } else {
                        let reason = DisconnectReason::SubprotocolError;
                        self.order(peer, |session| session.disconnect(now, reason));
                    }
                }
                EthOutput::Disconnect { peer, reason, fault } => {
                    self.accusations.push(fault);
                    self.order(peer, |session| session.disconnect(now, reason));
                }
                EthOutput::Report { peer, verdict } => {
                    let session = self.connections.get(peer).and_then(Connection::session);
                    if let Some(remote) = session.and_then(|session| session.remote()) {
                        self.server.report(now, remote.node_id(), verdict);
                    }
                }
                EthOutput::Reading { peer, paused } => {
                    self.order(peer, |session| session.pause_reading(now, paused));
                }
                EthOutput::Backend { ticket, call } => {
                    let answer = call.run(&*self.config.chain, &*self.config.pool);
                    self.eth.handle_backend(now, ticket, answer);
                }
                // Of commands that never fail the events tell what came.
                EthOutput::Reply { .. } => {}
                EthOutput::Event(event) => self.events.push(event),
            }
        }
    }
}
