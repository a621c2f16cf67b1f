//! The node that is attacked: a server that takes loopback for the internet, with a protocol that echoes and pours.
//! Its limits are a node's own, but for the number of peers.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use devp2p::{
    identity::{AddressPolicy, CurvePool, Endpoint, Enode, NodeKey},
    rlpx::{Limits, MessageStream, Protocol, ProtocolPeer, Server, ServerConfig, Slots, protocol},
};
use interop::{
    Failure, Result,
    flood::{ECHO, POUR, POURED_LEN, PROTOCOL, V1},
};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::sync::mpsc;

/// Peers that may come in: more than any test has.
const MAX_PEERS: usize = 2_048;
/// Questions that may wait.
const MAX_QUESTIONS: usize = 1;

pub(super) async fn run(memory_budget: usize) -> Result<()> {
    let key = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
    let curves = CurvePool::for_this_machine();
    let slots = Slots { max_inbound: Some(MAX_PEERS), ..Slots::default() };
    let config = ServerConfig {
        max_peers: MAX_PEERS,
        slots,
        limits: Limits { memory_budget, ..Limits::default() },
        address_policy: AddressPolicy { loopback_is_public: true },
        ..ServerConfig::default()
    };
    let server = Server::builder(curves.handle(Arc::clone(&key)))
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .protocol(echo_and_pour())
        .config(config)
        .start()
        .map_err(|error| Failure::new(error.to_string()))?;
    let tcp = server.local_addr().map_or(0, |address| address.port());
    let endpoint = Endpoint { ip: Ipv4Addr::LOCALHOST.into(), udp: 0, tcp };
    println!("{}", Enode::new(key.public_key(), endpoint));
    let mut questions = questions()?;
    while questions.recv().await.is_some() {
        println!("{}", counts(&server));
    }
    server.shutdown().await;
    Ok(())
}

/// What a server has counted, in a line.
pub(super) fn counts(server: &Server) -> String {
    let counts = server.counters();
    format!(
        "peers {} refusals {:?} rejects {:?} turned away {:?}",
        server.peer_count(),
        counts.refusals,
        counts.rejects,
        counts.turned_away
    )
}

fn echo_and_pour() -> Arc<dyn Protocol> {
    Arc::new(protocol(PROTOCOL, [V1], |peer: ProtocolPeer, mut messages: MessageStream| async move {
        while let Some(message) = messages.next().await {
            if message.code == POUR {
                // Bytes that cannot be compressed.
                let mut payload = vec![0; POURED_LEN];
                UnwrapErr(SysRng).fill_bytes(&mut payload);
                let payload = Bytes::from(payload);
                while peer.send(POUR, payload.clone()).await.is_ok() {}
                return;
            }
            if message.code == ECHO && peer.send(ECHO, message.payload).await.is_err() {
                return;
            }
        }
    }))
}

/// The lines of standard input, read by a thread of its own.
pub(super) fn questions() -> Result<mpsc::Receiver<()>> {
    let (sender, questions) = mpsc::channel(MAX_QUESTIONS);
    let read = move || {
        let lines = std::io::stdin().lines().map_while(std::result::Result::ok);
        lines.map_while(|_| sender.blocking_send(()).ok()).for_each(drop);
    };
    std::thread::Builder::new().name("questions".to_owned()).spawn(read)?;
    Ok(questions)
}
