//! Packets as bytes, and what the machine does with one before and after the curve. Sockets and curve are in row
//! `discv4.ping_pong`. Not run by tests: `cargo bench --package eth-discv4`.

use std::{hint::black_box, net::SocketAddr};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use discv4::{
    Config, Discovery, Output,
    wire::{Envelope, FindNode, Neighbors, Ping},
};
use identity::{
    Endpoint, EnrBuilder, NodeKey, Now,
    curve::{CurveOp, CurveOutput, CurveResult},
};

/// Unix seconds: the year 2100. Packets end then and later.
const EXPIRATION: u64 = 4_102_444_800;

fn key(number: u8) -> NodeKey {
    NodeKey::from_bytes(&[number; 32]).expect("small numbers are keys")
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint { ip: [127, 0, 0, number].into(), udp: 30_303, tcp: 30_303 }
}

fn ping(expiration: u64) -> Bytes {
    let unsigned = Ping::encode(&endpoint(1), &endpoint(2), expiration, 1);
    let signature = key(1).sign(&unsigned.digest());
    unsigned.seal(&signature).0
}

fn neighbors() -> Bytes {
    let nodes: Vec<_> = (1..=12).map(|number| (key(number).public_key(), endpoint(number))).collect();
    let unsigned = Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), EXPIRATION);
    let signature = key(1).sign(&unsigned.digest());
    unsigned.seal(&signature).0
}

fn wire(criterion: &mut Criterion) {
    for (name, datagram) in [("ping", ping(EXPIRATION)), ("neighbors", neighbors())] {
        criterion.bench_function(&format!("decode/{name}"), |bench| {
            bench.iter(|| {
                let envelope = Envelope::read(black_box(&datagram)).expect("a packet");
                envelope.check_hash().and_then(|()| envelope.decode()).expect("a good one")
            });
        });
    }
    let signature = key(1).sign(&[7; 32]);
    let target = key(9).public_key();
    criterion.bench_function("encode and seal/find_node", |bench| {
        bench.iter(|| FindNode::encode(black_box(&target), EXPIRATION).seal(&signature));
    });
}

#[expect(clippy::disallowed_methods, reason = "a machine needs a first moment, and any will do")]
fn start() -> Now {
    Now::system()
}

/// Answers curve jobs without a curve, until the machine is at rest; gives the number of datagrams put out.
fn drain(machine: &mut Discovery, now: Now) -> usize {
    let mut sent = 0;
    while let Some(output) = machine.poll_output() {
        match output {
            Output::Curve(job) => {
                let outputs = job.ops.iter().map(|op| match op {
                    CurveOp::Recover(..) => CurveOutput::Recovered(key(1).public_key()),
                    CurveOp::Sign(..) => CurveOutput::Signed(identity::Signature([7; 65])),
                    CurveOp::Generate | CurveOp::Agree(..) | CurveOp::Verify(_) => CurveOutput::Invalid,
                });
                let result = CurveResult::Done(outputs.collect());
                machine.handle_curve(now, job.ticket, result);
            }
            Output::Send { .. } => sent += 1,
            Output::Event(_) => {}
        }
    }
    sent
}

fn machine(criterion: &mut Criterion) {
    let now = start();
    let record = EnrBuilder::new(1).endpoint(endpoint(2)).sign(&key(2)).expect("a short record");
    let config = Config { recoveries_per_second: u32::MAX, ..Config::default() };
    let mut machine = Discovery::new(config, record, 1);
    machine.handle_timeout(now);
    drain(&mut machine, now);
    let from: SocketAddr = "127.0.0.1:30303".parse().expect("an address");
    let mut expiration = EXPIRATION;
    let mut fresh_ping = || {
        expiration += 1;
        ping(expiration)
    };
    criterion.bench_function("machine/ping to pong without the curve", |bench| {
        let answer = |ping: Bytes| {
            machine.handle_datagram(now, from, &ping);
            assert!(drain(&mut machine, now) > 0);
        };
        bench.iter_batched(&mut fresh_ping, answer, BatchSize::SmallInput);
    });
    let mut junk = ping(EXPIRATION).to_vec();
    junk[0] ^= 1;
    criterion.bench_function("machine/wrong hash", |bench| {
        bench.iter(|| machine.handle_datagram(now, from, black_box(&junk)));
    });
}

criterion_group!(benches, wire, machine);
criterion_main!(benches);
