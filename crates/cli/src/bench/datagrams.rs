//! The load of the rows on UDP: a thread on the other core with a socket of its own, which makes, signs and sends
//! datagrams when it is told to and then rests. So a row's turn begins with datagrams that wait in its socket, and the
//! turn of a floor is disturbed by nobody.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use devp2p::{
    discv4::wire::{Envelope, PacketKind, Ping, Pong},
    identity::{Endpoint, NodeKey},
};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};

use super::pin::Cores;

/// When the packets of the load end, Unix seconds: the year 2100. Each ends a second after the one before, so that no two
/// are the same.
const EXPIRATION: u64 = 4_102_444_800;

/// What the load is to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Sign so many Pings, then send them.
    Pings(usize),
    /// Send so many datagrams of this length that look like Pings and have the wrong hash.
    Junk(usize, usize),
    /// Read all that has come; Pings are answered.
    Read,
}

/// A running load.
pub(super) struct Load {
    orders: SyncSender<Order>,
    done: Receiver<Result<usize, io::Error>>,
}

impl Load {
    /// Starts a load for the node at `target`.
    pub(super) fn start(cores: &Cores, target: SocketAddr) -> Result<Self, String> {
        let sender = Sender::bind(target).map_err(|error| error.to_string())?;
        let (orders, inbox) = sync_channel(1);
        let (outbox, done) = sync_channel(1);
        cores.spawn_load(move || sender.run(&inbox, &outbox))?;
        Ok(Self { orders, done })
    }

    /// Signs and sends so many Pings.
    pub(super) fn send_pings(&self, count: usize) -> Result<usize, String> {
        self.order(Order::Pings(count))
    }

    /// Sends so many datagrams of `len` bytes with the wrong hash.
    pub(super) fn send_junk(&self, count: usize, len: usize) -> Result<usize, String> {
        self.order(Order::Junk(count, len))
    }

    /// Reads what has come: how many Pongs.
    pub(super) fn read(&self) -> Result<usize, String> {
        self.order(Order::Read)
    }

    /// Waits until the order has been carried out.
    fn order(&self, order: Order) -> Result<usize, String> {
        self.orders.send(order).map_err(|_| "the load has ended".to_owned())?;
        let done = self.done.recv().map_err(|_| "the load has ended".to_owned())?;
        done.map_err(|error| format!("the load's socket: {error}"))
    }
}

struct Sender {
    socket: UdpSocket,
    key: NodeKey,
    own: Endpoint,
    target: Endpoint,
    sent: u64,
}

impl Sender {
    fn bind(target: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((target.ip(), 0))?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        let endpoint = |addr: SocketAddr| Endpoint { ip: addr.ip(), udp: addr.port(), tcp: addr.port() };
        let (own, target) = (endpoint(socket.local_addr()?), endpoint(target));
        Ok(Self { socket, key: NodeKey::generate(&mut UnwrapErr(SysRng)), own, target, sent: 0 })
    }

    fn run(mut self, orders: &Receiver<Order>, done: &SyncSender<Result<usize, io::Error>>) {
        while let Ok(order) = orders.recv() {
            let result = match order {
                Order::Pings(count) => {
                    let pings: Vec<_> = (0..count).map(|_| self.ping()).collect();
                    pings.iter().try_for_each(|ping| self.socket.send(ping).map(drop)).map(|()| count)
                }
                Order::Junk(count, len) => {
                    let junk = junk(len);
                    (0..count).try_for_each(|_| self.socket.send(&junk).map(drop)).map(|()| count)
                }
                Order::Read => self.read(),
            };
            if done.send(result).is_err() {
                return;
            }
        }
    }

    fn ping(&mut self) -> bytes::Bytes {
        self.sent += 1;
        let unsigned = Ping::encode(&self.own, &self.target, EXPIRATION + self.sent, 0);
        let signature = self.key.sign(&unsigned.digest());
        unsigned.seal(&signature).0
    }

    fn read(&self) -> io::Result<usize> {
        let (mut buffer, mut pongs) = ([0; 2_048], 0);
        loop {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pongs),
                Err(error) => return Err(error),
            };
            let Ok(envelope) = Envelope::read(&buffer[..len]) else { continue };
            pongs += usize::from(envelope.kind == PacketKind::Pong);
            if envelope.kind == PacketKind::Ping {
                let unsigned = Pong::encode(&self.target, &envelope.hash, EXPIRATION, 0);
                let signature = self.key.sign(&unsigned.digest());
                self.socket.send(&unsigned.seal(&signature).0)?;
            }
        }
    }
}

/// A datagram that is refused as late as can be without work on the curve: for its hash.
fn junk(len: usize) -> Vec<u8> {
    /// Where the kind stands: behind hash and signature.
    const KIND: usize = 32 + 65;
    let mut junk = vec![0; len];
    UnwrapErr(SysRng).fill_bytes(&mut junk);
    junk[KIND] = PacketKind::Ping as u8;
    junk
}
