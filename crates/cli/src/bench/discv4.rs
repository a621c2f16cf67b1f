//! Rows `discv4.*`: the real driver on real sockets of loopback. The load's datagrams wait in the socket when a turn
//! begins; the turn ends when the driver is done with all of them. System calls are measured, but in no floor.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use devp2p::{
    discv4::{Config, Discv4, Reject, wire::MAX_DATAGRAM_LEN},
    identity::{CurvePool, Endpoint, EnrBuilder, NodeKey},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::{net::UdpSocket, runtime::Runtime, task::yield_now, time::timeout};

use super::{
    datagrams::Load,
    floors::Floors,
    libsecp::PlainContext,
    measure::{Turns, time_each},
    pin::Cores,
};

/// Datagrams of a turn: so many find room in a socket's buffer, also the longest (208 KiB, 2,304 bytes each).
const TURN: usize = 64;
/// How long a turn may take before the row fails: a thousand times what it takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are hashed for a Ping and its Pong: the Ping behind its hash and behind its signature, the sender's key,
/// the Pong behind its signature and behind its hash. All are one permutation.
const HASHED: [usize; 5] = [104, 39, 64, 60, 125];
/// Length of the hash before a datagram's other bytes.
const HASH_LEN: usize = 32;

/// A node with its driver, on a runtime of this thread.
struct Node {
    runtime: Runtime,
    node: Discv4,
    load: Load,
    /// The curve's jobs of the node: on one core they run where they are put out.
    _curves: CurvePool,
}

impl Node {
    fn start(cores: &Cores) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let curves = CurvePool::for_this_machine();
        let node = runtime.block_on(start_node(&curves))?;
        let load = Load::start(cores, node.local_addr())?;
        Ok(Self { runtime, node, load, _curves: curves })
    }

    /// Lets the driver run until `done`.
    fn run_until(&self, done: impl Fn(&Discv4) -> bool) -> Result<(), String> {
        let done = async {
            while !done(&self.node) {
                yield_now().await;
            }
        };
        let waited = self.runtime.block_on(async { timeout(PATIENCE, done).await });
        waited.map_err(|_| format!("the node did not answer within {PATIENCE:?}"))
    }

    fn rejected(&self, reject: Reject) -> u64 {
        self.node.counters().rejects.count(reject)
    }
}

async fn start_node(curves: &CurvePool) -> Result<Discv4, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let addr = socket.local_addr().map_err(|error| error.to_string())?;
    let key = NodeKey::generate(&mut UnwrapErr(SysRng));
    let record = EnrBuilder::new(1).endpoint(endpoint(addr)).sign(&key).map_err(|error| error.to_string())?;
    let config = Config { recoveries_per_second: u32::MAX, ..Config::default() };
    Discv4::start(socket, config, record, curves.handle(Arc::new(key))).map_err(|error| error.to_string())
}

const fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint { ip: addr.ip(), udp: addr.port(), tcp: addr.port() }
}

/// Row `discv4.ping_pong`: Pings that were signed beforehand come in, Pongs go out and are not verified. Its floor is a
/// recovery, a signature and five hashes.
pub(super) struct PingPong {
    node: Node,
    curve: PlainContext,
    floors: Floors,
    hashed: [Vec<u8>; 5],
    missing: usize,
}

impl PingPong {
    pub(super) fn start(floors: &Floors, cores: &Cores) -> Result<Self, String> {
        let node = Node::start(cores)?;
        let hashed = HASHED.map(|len| vec![0x5a; len]);
        let row = Self { node, curve: PlainContext::new(), floors: *floors, hashed, missing: 0 };
        // The first Ping is answered and asked back; once that is answered too the endpoint is proven both ways.
        row.node.load.send_pings(1)?;
        row.node.run_until(|node| node.counters().datagrams_out() >= 2)?;
        row.node.load.read()?;
        row.node.run_until(|node| node.counters().datagrams_in() >= 2)?;
        Ok(row)
    }
}

impl Turns for PingPong {
    fn measured(&mut self) -> Result<f64, String> {
        let (out, refused) =
            (self.node.node.counters().datagrams_out(), self.node.rejected(Reject::GlobalRate));
        self.node.load.send_pings(TURN)?;
        let mut result = Ok(());
        let time = time_each(TURN, || {
            result = self.node.run_until(|node| node.counters().datagrams_out() >= out + TURN as u64);
        });
        result?;
        // The node may have asked something of its own meanwhile; one Pong or two then come a turn later.
        self.missing = (self.missing + TURN).saturating_sub(self.node.load.read()?);
        if self.missing > TURN / 2 || self.node.rejected(Reject::GlobalRate) > refused {
            return Err(format!("{} Pings had no Pong", self.missing));
        }
        Ok(time)
    }

    fn floor(&mut self) -> f64 {
        time_each(TURN, || {
            for _ in 0..TURN {
                self.curve.recover();
                self.curve.sign();
                for message in &self.hashed {
                    std::hint::black_box(self.floors.keccak(std::hint::black_box(message)));
                }
            }
        })
    }
}

/// Row `discv4.reject_junk`: the longest datagrams, as random as they can be and yet be hashed, are refused. Its floor is
/// their hash.
pub(super) struct RejectJunk {
    node: Node,
    floors: Floors,
    hashed: Vec<u8>,
}

impl RejectJunk {
    pub(super) fn start(floors: &Floors, cores: &Cores) -> Result<Self, String> {
        let node = Node::start(cores)?;
        Ok(Self { node, floors: *floors, hashed: vec![0x5a; MAX_DATAGRAM_LEN - HASH_LEN] })
    }
}

impl Turns for RejectJunk {
    fn measured(&mut self) -> Result<f64, String> {
        let before = self.node.rejected(Reject::BadHash);
        self.node.load.send_junk(TURN, MAX_DATAGRAM_LEN)?;
        let mut result = Ok(());
        let all = before + TURN as u64;
        let time = time_each(TURN, || {
            result = self.node.run_until(|node| node.counters().rejects.count(Reject::BadHash) >= all);
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        time_each(TURN, || {
            for _ in 0..TURN {
                std::hint::black_box(self.floors.keccak(std::hint::black_box(&self.hashed)));
            }
        })
    }
}
