//! Every reason of Disconnect, both ways, one row a reason: geth gives it for what we do, and geth reads it from us for
//! what our rules or our owner say.
//!
//! What a real geth v1.17.8 cannot be made to do:
//!
//! - to send 0x01: it closes without a word where it would (`p2p/transport.go`, `close`). Here: a wrong MAC.
//! - to send 0x06: it takes any version of the base protocol, and speaks uncompressed to one below 5. Here: version 3.
//! - to send 0x07: it finds the fault, but wraps the reason in another error, and closes without a word. Here: a key of
//!   zeros in Hello.
//! - to send 0x0c to 0x0f, or from 0x11 on: it knows no such reasons.
//! - to deserve 0x07, 0x09 or 0x0a from us: its Hello carries its own key, and it dials nobody who has that key. Nor can
//!   it deserve 0x01 or 0x06, which no rule of ours gives. Those five come from us by our owner's word alone.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use devp2p::{
    identity::{CurvePool, Endpoint, Enode, NodeId, PublicKey},
    rlpx::{
        CapabilityName, DisconnectReason, Hello, Link, LocalCapability, PeerInfo, Protocol, ProtocolSession,
        ProtocolVersion, Server, ServerBuilder, ServerConfig, SessionConfig, SessionEnd, Timeouts,
    },
};
use interop::{
    Result, eventually,
    geth::{Geth, Options, Slots},
};

use crate::{
    ours::{LIMIT, run},
    stranger::{Parting, STATUS, Stranger, capability, hello, key},
};

/// The key of the geth that is told about itself.
const GETH_KEY: [u8; 32] = [0x77; 32];
/// Peers of that geth, of whom it dials one: so that is one more than may come in.
const GETH_PEERS: u8 = 4;
/// A message code of eth that may not come before Status.
const NEW_BLOCK_HASHES: u64 = STATUS + 1;
/// Below 5: without compression.
const OLD_VERSION: u64 = 3;

/// What a row does to geth, with a key of its own: how geth parts.
type Provocation = fn(&mut Geth, u8) -> Result<Parting>;

/// Reasons by what makes geth give them; the last row ends geth.
const BY_GETH: [(Parting, Provocation); 13] = [
    (Parting::Told(DisconnectReason::Requested), |geth, secret| {
        let mut stranger = Stranger::settle(geth, key(secret), 5)?;
        geth.admin_remove_peer(&stranger.enode()?)?;
        stranger.parting()
    }),
    // A wrong MAC, for which 0x01 stands.
    (Parting::Silent, |geth, secret| {
        let mut stranger = Stranger::settle(geth, key(secret), 5)?;
        stranger.write(&[0; 32])?;
        let parting = stranger.parting();
        logged(geth, &key(secret).node_id(), &["Removing p2p peer", "bad header MAC"])?;
        parting
    }),
    (Parting::Told(DisconnectReason::ProtocolError), |geth, secret| {
        let mut stranger = introduced(geth, secret, |_| {})?;
        // A list that is longer than the message.
        stranger.send(STATUS, &[0xf8, 0xff])?;
        stranger.parting()
    }),
    (Parting::Told(DisconnectReason::UselessPeer), |geth, secret| {
        introduced(geth, secret, |hello| hello.capabilities = vec![capability("other", 1)])?.parting()
    }),
    (Parting::Told(DisconnectReason::TooManyPeers), |geth, secret| {
        let others = (1..GETH_PEERS).map(|count| Stranger::settle(geth, key(secret + count), 5));
        let _others: Vec<Stranger> = others.collect::<Result<_>>()?;
        introduced(geth, secret, |_| {})?.parting()
    }),
    (Parting::Told(DisconnectReason::AlreadyConnected), |geth, secret| {
        let _first = Stranger::settle(geth, key(secret), 5)?;
        introduced(geth, secret, |_| {})?.parting()
    }),
    // An old version, for which 0x06 is meant: geth takes it, reads it and is read.
    (Parting::Told(DisconnectReason::Requested), |geth, secret| {
        let mut stranger = Stranger::settle(geth, key(secret), OLD_VERSION)?;
        geth.admin_remove_peer(&stranger.enode()?)?;
        stranger.parting()
    }),
    // Nobody's key, for which 0x07 is meant.
    (Parting::Silent, |geth, secret| {
        let parting =
            introduced(geth, secret, |hello| hello.public_key = PublicKey::from_bytes([0; 64]))?.parting();
        let id = key(secret).node_id();
        logged(geth, &id, &["Failed p2p handshake", "invalid node identity"])?;
        parting
    }),
    (Parting::Told(DisconnectReason::UnexpectedIdentity), |geth, secret| {
        introduced(geth, secret, |hello| hello.public_key = key(secret + 1).public_key())?.parting()
    }),
    (Parting::Told(DisconnectReason::ConnectedToSelf), |geth, _| {
        Stranger::dial(geth.enode(), key(GETH_KEY[0]))?.parting()
    }),
    (Parting::Told(DisconnectReason::ReadTimeout), |geth, secret| {
        // No Status.
        introduced(geth, secret, |_| {})?.parting()
    }),
    (Parting::Told(DisconnectReason::SubprotocolError), |geth, secret| {
        let mut stranger = introduced(geth, secret, |_| {})?;
        stranger.send(NEW_BLOCK_HASHES, &[0xc0])?;
        stranger.parting()
    }),
    (Parting::Told(DisconnectReason::Quitting), |geth, secret| {
        let mut stranger = Stranger::settle(geth, key(secret), 5)?;
        geth.stop()?;
        stranger.parting()
    }),
];

/// A stranger that has said Hello, as `change` has it.
fn introduced(geth: &Geth, secret: u8, change: impl FnOnce(&mut Hello)) -> Result<Stranger> {
    let mut stranger = Stranger::dial(geth.enode(), key(secret))?;
    let mut hello = hello(key(secret).public_key());
    change(&mut hello);
    stranger.hello(&hello)?;
    Ok(stranger)
}

/// Waits until geth logs a line about the node `id` with all of `words`.
fn logged(geth: &Geth, id: &NodeId, words: &[&str]) -> Result<()> {
    let id = &id.to_string()[..16];
    geth.wait_for_log(&words.join(", "), LIMIT, |line| {
        (line.contains(id) && words.iter().all(|word| line.contains(word))).then_some(())
    })
}

fn nobody_left(geth: &Geth) -> Result<()> {
    eventually("geth to be alone", LIMIT, || Ok(geth.admin_peers()?.is_empty().then_some(())))
}

#[test]
fn geth_gives_each_reason_that_it_can_for_what_we_do() -> Result<()> {
    let options = Options::new().no_discovery().node_key(hex::encode(GETH_KEY));
    let mut geth =
        Geth::launch(options.flag("--verbosity").flag("5").flag("--maxpeers").flag(GETH_PEERS.to_string()))?;
    for (row, (expected, provoke)) in (0_u8..).zip(BY_GETH) {
        let parting = provoke(&mut geth, 100 + 10 * row);
        let parting = parting.map_err(|failure| failure.during(format_args!("row {row}, {expected:?}")))?;
        assert_eq!(parting, expected, "row {row}");
        if expected != Parting::Told(DisconnectReason::Quitting) {
            nobody_left(&geth)?;
        }
    }
    Ok(())
}

/// All reasons that have a name, as geth calls them.
const NAMES: [(DisconnectReason, &str); 13] = [
    (DisconnectReason::Requested, "disconnect requested"),
    (DisconnectReason::NetworkError, "network error"),
    (DisconnectReason::ProtocolError, "breach of protocol"),
    (DisconnectReason::UselessPeer, "useless peer"),
    (DisconnectReason::TooManyPeers, "too many peers"),
    (DisconnectReason::AlreadyConnected, "already connected"),
    (DisconnectReason::IncompatibleVersion, "incompatible p2p protocol version"),
    (DisconnectReason::InvalidIdentity, "invalid node identity"),
    (DisconnectReason::Quitting, "client quitting"),
    (DisconnectReason::UnexpectedIdentity, "unexpected identity"),
    (DisconnectReason::ConnectedToSelf, "connected to self"),
    (DisconnectReason::ReadTimeout, "read timeout"),
    (DisconnectReason::SubprotocolError, "subprotocol error"),
];

fn name(reason: DisconnectReason) -> &'static str {
    NAMES.iter().find(|(named, _)| *named == reason).expect("all reasons with names are there").1
}

#[test]
fn geth_reads_every_reason_that_our_owner_gives() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery().flag("--verbosity").flag("5"))?;
    let address = geth.enode().endpoint().and_then(|endpoint| endpoint.tcp_addr()).expect("geth listens");
    let pool = CurvePool::for_this_machine();
    let eth = LocalCapability::new(CapabilityName::new("eth").expect("a name"), 69, 18);
    for (secret, (reason, name)) in (100_u8..).zip(NAMES) {
        let key = key(secret);
        let config = SessionConfig::new(key.public_key(), "an owner", vec![eth]);
        let end = run(async {
            let connected =
                Server::connect(pool.handle(Arc::clone(&key)), config, address, geth.enode().public_key);
            connected.await.expect("geth has room").disconnect(reason).await
        });
        assert_eq!(end, SessionEnd::Local { reason, error: None });
        logged(&geth, &key.node_id(), &["Removing p2p peer", "req=true", &format!("err=\"{name}\"")])?;
    }
    nobody_left(&geth)
}

/// A protocol of ours that geth has too, and that takes little.
struct Picky {
    versions: [ProtocolVersion; 1],
    max_message_len: usize,
    /// What the first message is answered with.
    refusal: Option<DisconnectReason>,
}

struct PickySession(Option<DisconnectReason>);

impl Picky {
    const fn new() -> Self {
        Self {
            versions: [ProtocolVersion { version: 69, message_count: 18 }],
            max_message_len: 1 << 20,
            refusal: None,
        }
    }
}

impl Protocol for Picky {
    fn name(&self) -> &str {
        "eth"
    }

    fn versions(&self) -> &[ProtocolVersion] {
        &self.versions
    }

    fn max_message_len(&self) -> usize {
        self.max_message_len
    }

    fn connect(&self, _peer: Arc<PeerInfo>, _version: u32, _link: Link) -> Box<dyn ProtocolSession> {
        Box::new(PickySession(self.refusal))
    }
}

impl ProtocolSession for PickySession {
    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }

    fn handle_message(&mut self, _code: u64, _payload: bytes::Bytes) -> Result<(), DisconnectReason> {
        self.0.map_or(Ok(()), Err)
    }

    fn handle_sent(&mut self, _len: usize) {}

    fn handle_closed(&mut self, _end: &SessionEnd) {}
}

/// A server of ours that geths may dial.
struct Lone {
    server: Server,
    enode: Enode,
    _pool: CurvePool,
}

impl Lone {
    fn start(secret: u8, protocol: Picky, more: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let pool = CurvePool::for_this_machine();
        let key = key(secret);
        let builder = Server::builder(pool.handle(Arc::clone(&key))).protocol(Arc::new(protocol));
        let builder = more(builder.listen((Ipv4Addr::LOCALHOST, 0).into()));
        let server = run(async { builder.start() }).expect("loopback has a free port");
        let address = server.local_addr().expect("it listens");
        let endpoint = Endpoint { ip: address.ip(), udp: address.port(), tcp: address.port() };
        Self { server, enode: Enode::new(key.public_key(), endpoint), _pool: pool }
    }

    fn wait_for_peer(&self) -> Result<()> {
        eventually("geth to be our peer", LIMIT, || Ok((self.server.peer_count() == 1).then_some(())))
    }
}

/// What a row has us do to two geths of one key; only a few need the second.
type Rule = fn(&[Geth; 2], u8) -> Result<Lone>;

/// Reasons by the rule that has us give them, and what geth's log calls the moment.
const BY_US: [(DisconnectReason, &str, Rule); 8] = [
    (DisconnectReason::Requested, PARTED, |[geth, _], secret| {
        let ours = Lone::start(secret, Picky::new(), |server| server);
        geth.admin_add_peer(&ours.enode)?;
        ours.wait_for_peer()?;
        run(ours.server.remove_peer(geth.enode().node_id())).expect("it runs");
        Ok(ours)
    }),
    // geth's Status is longer than we take it.
    (DisconnectReason::ProtocolError, PARTED, |[geth, _], secret| {
        let ours = Lone::start(secret, Picky { max_message_len: 8, ..Picky::new() }, |server| server);
        geth.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
    (DisconnectReason::UselessPeer, REFUSED, |[geth, _], secret| {
        let ours = Lone::start(secret, Picky::new(), |server| server);
        run(ours.server.ban(geth.enode().node_id(), LIMIT)).expect("it runs");
        geth.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
    (DisconnectReason::TooManyPeers, REFUSED, |[geth, _], secret| {
        let full = ServerConfig { max_peers: 0, ..ServerConfig::default() };
        let ours = Lone::start(secret, Picky::new(), |server| server.config(full));
        geth.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
    (DisconnectReason::AlreadyConnected, REFUSED, |[second, first], secret| {
        let ours = Lone::start(secret, Picky::new(), |server| server);
        first.admin_add_peer(&ours.enode)?;
        ours.wait_for_peer()?;
        second.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
    (DisconnectReason::Quitting, PARTED, |[geth, _], secret| {
        let ours = Lone::start(secret, Picky::new(), |server| server);
        geth.admin_add_peer(&ours.enode)?;
        ours.wait_for_peer()?;
        run(ours.server.shutdown());
        Ok(ours)
    }),
    // Sooner than geth misses our Status (5 s) and pings (15 s).
    (DisconnectReason::ReadTimeout, PARTED, |[geth, _], secret| {
        let timeouts = Timeouts { read: Duration::from_millis(500), ..Timeouts::default() };
        let ours = Lone::start(secret, Picky::new(), |server| {
            server.config(ServerConfig { timeouts, ..ServerConfig::default() })
        });
        geth.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
    (DisconnectReason::SubprotocolError, PARTED, |[geth, _], secret| {
        let refusal = Some(DisconnectReason::SubprotocolError);
        let ours = Lone::start(secret, Picky { refusal, ..Picky::new() }, |server| server);
        geth.admin_add_peer(&ours.enode)?;
        Ok(ours)
    }),
];
/// How geth logs the end of a peer that it had, and of one that it did not get.
const PARTED: &str = "Removing p2p peer";
const REFUSED: &str = "Failed p2p handshake";

#[test]
fn geth_reads_each_reason_that_our_rules_give() -> Result<()> {
    let slots = Slots::take(2);
    let launch = || {
        let options = Options::new().no_discovery().node_key(hex::encode(GETH_KEY));
        slots.launch(options.flag("--verbosity").flag("5"))
    };
    let geths = [launch()?, launch()?];
    for (secret, (reason, moment, rule)) in (100_u8..).zip(BY_US) {
        let ours = rule(&geths, secret)?;
        let read = format!("err=\"{}\"", name(reason));
        logged(&geths[0], &ours.enode.node_id(), &[moment, &read])
            .map_err(|failure| failure.during(format_args!("{reason:?}")))?;
        if moment == PARTED {
            logged(&geths[0], &ours.enode.node_id(), &[moment, "req=true", &read])?;
        }
        for geth in &geths {
            geth.admin_remove_peer(&ours.enode)?;
        }
        drop(ours);
        nobody_left(&geths[0])?;
    }
    Ok(())
}
