//! File handles: whatever a connection ends by, at whatever stage and whoever opened it, its handle is free again. A binary
//! with one test, because all tests of a process share their handles.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "driver/support.rs"]
#[expect(dead_code, reason = "made for the tests of the driver, of which these need a few sentences")]
mod support;

use std::{fs, time::Duration};

use identity::Enode;
use rlpx::DisconnectReason;
use support::{Node, Stage, ask_echo, listener, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Far under the 5 s after which a handshake ends by itself.
const FREED: Duration = Duration::from_secs(2);
/// Sessions that come and go.
const CHURN: usize = if cfg!(feature = "thorough") { 100_000 } else { 200 };
/// How far a packet of the handshake comes before the end: nothing, half of its size, its size, some of it, junk in full.
const STAGES: [usize; 5] = [0, 1, 2, 100, 302];

/// How a stream ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Fin,
    HalfClose,
    Reset,
}

const ENDINGS: [Ending; 3] = [Ending::Fin, Ending::HalfClose, Ending::Reset];

fn handles() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until there are so many handles again.
async fn back_to(count: usize, what: &str) {
    let freed = async {
        while handles() > count {
            tokio::task::yield_now().await;
        }
    };
    let done = timeout(FREED, freed).await;
    assert!(done.is_ok(), "{what}: {} handles, {count} before", handles());
}

/// Says as much of a packet of 300 bytes, and ends the stream. Ours is open still when only half was closed.
async fn say_and_end(mut stream: TcpStream, len: usize, ending: Ending) -> Option<TcpStream> {
    let mut packet = [0x5a; 302];
    packet[..2].copy_from_slice(&300u16.to_be_bytes());
    // Whoever has heard enough may have closed it.
    let _ = stream.write_all(&packet[..len]).await;
    match ending {
        Ending::Fin => None,
        Ending::HalfClose => {
            let _ = stream.shutdown().await;
            Some(stream)
        }
        Ending::Reset => {
            stream.set_zero_linger().unwrap();
            None
        }
    }
}

async fn those_that_come_in(node: &Node, before: usize) {
    for len in STAGES {
        for ending in ENDINGS {
            let stream = TcpStream::connect(node.server.local_addr().unwrap()).await.unwrap();
            // The other end of it is the node's.
            let taken = async {
                while handles() < before + 2 {
                    tokio::task::yield_now().await;
                }
            };
            within(taken).await;
            let ours = say_and_end(stream, len, ending).await;
            back_to(before + usize::from(ours.is_some()), &format!("{ending:?} after {len} bytes")).await;
        }
    }
}

async fn those_that_are_dialed(stage: &Stage, node: &Node) {
    let target = listener().await;
    let before = handles();
    let endpoint = identity::Endpoint {
        ip: target.local_addr().unwrap().ip(),
        udp: 0,
        tcp: target.local_addr().unwrap().port(),
    };
    let enode = Enode::new(stage.key().public_key(), endpoint);
    node.server.add_peer(enode.clone()).await.unwrap();
    let mut ours = Vec::new();
    for len in STAGES {
        for ending in ENDINGS {
            let (mut stream, _) = within(target.accept()).await.unwrap();
            within(stream.read_u8()).await.unwrap();
            ours.extend(say_and_end(stream, len, ending).await);
        }
    }
    // The next dial shows that the last is over; those before it left their handles to nobody.
    let (last, _) = within(target.accept()).await.unwrap();
    back_to(before + ours.len() + 2, "dialed").await;
    node.server.remove_peer(enode.node_id()).await.unwrap();
    drop((last, ours));
    back_to(before, "dialed").await;
}

#[tokio::test]
async fn h20_s08_every_end_at_every_stage_gives_its_handle_back() {
    let stage = Stage::new();
    let node = stage.echoing().await;
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"all that is opened once is open").await;
    let before = handles() - 2;
    drop(tool);
    back_to(before, "a session").await;
    those_that_come_in(&node, before).await;
    those_that_are_dialed(&stage, &node).await;
    for round in 0..CHURN {
        let tool = stage.tool(&node).await;
        if round % 2 == 0 {
            within(tool.disconnect(DisconnectReason::Quitting)).await;
        }
    }
    println!("{CHURN} sessions (thorough: 100000)");
    back_to(before, "churn").await;
}
