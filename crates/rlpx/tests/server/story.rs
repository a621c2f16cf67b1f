//! A node with its clock in the test's hand, and the sentences its tests are told in.
//! Other nodes are numbers: each has a key, and an address or an enode where one is wanted.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{Endpoint, Enode, Host, NodeKey, Now, PublicKey};
use rlpx::{
    Candidate, PeerId, Refusal, ServerConfig, SessionEnd, SessionError,
    server::{Output, Server},
};

/// A node with a clock, driven by short sentences.
pub(crate) struct Story {
    pub(crate) now: Now,
    pub(crate) server: Server,
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn key(number: u16) -> PublicKey {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(&secret).unwrap().public_key()
}

/// The node whose server it is.
pub(crate) const OWN: u16 = 60_000;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn enode(number: u16) -> Enode {
    Enode { public_key: key(number), host: Host::Ip(ip("10.0.0.9")), tcp: number, udp: 0 }
}

pub(crate) fn candidate(number: u16, address: &str) -> Candidate {
    Candidate::new(key(number), Endpoint { ip: ip(address), udp: 0, tcp: 30_303 })
}

/// A public address of its own site.
pub(crate) fn far(number: u16) -> String {
    format!("77.{}.{}.1", number >> 8, number & 0xff)
}

pub(crate) const BROKEN: SessionEnd = SessionEnd::Broken(SessionError::Eof);

impl Story {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self::with_seed(config, 7)
    }

    pub(crate) fn with_seed(config: ServerConfig, seed: u64) -> Self {
        let now = Now { instant: epoch(), unix: Duration::from_secs(1_700_000_000) };
        Self { now, server: Server::new(now, config, key(OWN), seed) }
    }

    pub(crate) fn wait(&mut self, by: Duration) {
        self.now = self.now.later(by);
        self.server.handle_timeout(self.now);
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.server.poll_output()).collect()
    }

    /// The dials put out since the last look.
    pub(crate) fn dials(&mut self) -> Vec<(PeerId, PublicKey)> {
        let dial = |output| match output {
            Output::Connect { id, remote, .. } => Some((id, remote)),
            Output::Resolve { .. }
            | Output::Greet(_)
            | Output::Establish { .. }
            | Output::Disconnect(..)
            | Output::Abort(_)
            | Output::KeyInUse(_)
            | Output::Store(_) => None,
        };
        self.outputs().into_iter().filter_map(dial).collect()
    }

    pub(crate) fn accept(&mut self, from: &str) -> Result<PeerId, Refusal> {
        self.server.handle_accepted(self.now, SocketAddr::new(ip(from), 40_000))
    }

    /// Someone comes in and goes as far as it is let; what the server says at the end.
    pub(crate) fn come_in(&mut self, number: u16) -> (PeerId, Vec<Output>) {
        let id = self.accept("10.0.0.1").unwrap();
        (id, self.go_on(id, number))
    }

    pub(crate) fn go_on(&mut self, id: PeerId, number: u16) -> Vec<Output> {
        self.server.handle_authenticated(self.now, id, key(number));
        let outputs = self.outputs();
        if outputs != [Output::Greet(id)] {
            return outputs;
        }
        self.server.handle_hello(self.now, id, 1);
        self.outputs()
    }

    /// A dial reaches the node it was meant for.
    pub(crate) fn reach(&mut self, (id, remote): (PeerId, PublicKey)) -> Vec<Output> {
        self.server.handle_connected(self.now, id);
        self.server.handle_authenticated(self.now, id, remote);
        assert_eq!(self.outputs(), [Output::Greet(id)]);
        self.server.handle_hello(self.now, id, 1);
        self.outputs()
    }

    pub(crate) fn close(&mut self, id: PeerId, end: SessionEnd) {
        self.server.handle_closed(self.now, id, &end);
    }

    pub(crate) fn fail(&mut self, (id, _): (PeerId, PublicKey)) {
        self.close(id, BROKEN);
    }

    pub(crate) fn count(&self, refusal: Refusal) -> u64 {
        self.server.refusals().count(refusal)
    }
}

pub(crate) fn established(id: PeerId) -> Output {
    Output::Establish { id, static_peer: false, trusted: false }
}

/// Advances to each timeout in turn; when, after `from`, the next dial came.
pub(crate) fn next_dial(story: &mut Story, limit: Duration) -> Option<(Duration, (PeerId, PublicKey))> {
    let begin = story.now.instant;
    let dials = story.dials();
    if let Some(dial) = dials.first() {
        return Some((Duration::ZERO, *dial));
    }
    while let Some(at) = story.server.next_timeout(story.now) {
        let waited = at.saturating_duration_since(begin);
        if waited > limit {
            return None;
        }
        let step = at.saturating_duration_since(story.now.instant);
        assert!(step > Duration::ZERO, "a timeout that is due at once is a spin");
        story.wait(step);
        if let Some(dial) = story.dials().first() {
            return Some((waited, *dial));
        }
    }
    None
}
