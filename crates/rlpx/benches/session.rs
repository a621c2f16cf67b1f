//! What one end does with a message that goes out: compression, encryption. Both ends together are rows `frame.*`.
//! Not run by tests: `cargo bench --package eth-rlpx`.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use identity::{
    NodeKey, Now,
    curve::{InlineCurve, Lane},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{CapabilityName, LocalCapability, Session, SessionConfig, SessionOutput, SharedMessage};

struct End {
    session: Session,
    curve: InlineCurve<UnwrapErr<SysRng>>,
}

impl End {
    fn drain(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Curve(job) => {
                    let result = self.curve.run(job.ops);
                    self.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } => self.session.admit(now),
                SessionOutput::Message { .. } => {}
                SessionOutput::Closed(end) => panic!("{end}"),
            }
        }
    }
}

fn carry(from: &mut End, to: &mut End, now: Now) -> usize {
    let room = to.session.read_buf();
    let len = room.len().min(from.session.write_buf().len());
    room[..len].copy_from_slice(&from.session.write_buf()[..len]);
    from.session.handle_written(now, len);
    to.session.handle_read(now, len);
    to.drain(now);
    len
}

fn config(key: &NodeKey) -> Arc<SessionConfig> {
    let name = CapabilityName::new("bench").expect("five letters");
    Arc::new(SessionConfig::new(key.public_key(), "bench", vec![LocalCapability::new(name, 1, 1)]))
}

/// A session that may send messages.
fn running(now: Now) -> Session {
    let mut rng = UnwrapErr(SysRng);
    let [alice, bob] = [(); 2].map(|()| Arc::new(NodeKey::generate(&mut rng)));
    let session = Session::initiator(now, config(&alice), bob.public_key(), Lane(1), &mut rng);
    let listening = Session::recipient(now, config(&bob), Lane(2), &mut rng);
    let mut alice = End { session, curve: InlineCurve::new(alice, rng) };
    let mut bob = End { session: listening, curve: InlineCurve::new(bob, rng) };
    alice.drain(now);
    bob.drain(now);
    while carry(&mut alice, &mut bob, now) + carry(&mut bob, &mut alice, now) > 0 {}
    alice.session
}

#[expect(clippy::disallowed_methods, reason = "a session needs a first moment, and any will do")]
fn start() -> Now {
    Now::system()
}

fn send(criterion: &mut Criterion) {
    let now = start();
    let mut session = running(now);
    for len in [64, 1_024, 65_536] {
        let message = SharedMessage::new(0, Bytes::from(vec![0x5a; len]));
        let name = format!("send a shared message/{len}");
        // The first call compresses it for all that follow.
        criterion.bench_function(&name, |bench| {
            bench.iter(|| {
                session.send(now, 0, black_box(&message)).expect("all before it was written");
                let len = session.write_buf().len();
                session.handle_written(now, len);
            });
        });
    }
}

fn compress(criterion: &mut Criterion) {
    for len in [64, 1_024, 65_536] {
        let payload = Bytes::from(vec![0x5a; len]);
        criterion.bench_function(&format!("compress/{len}"), |bench| {
            bench.iter(|| SharedMessage::new(0, payload.clone()).compressed().len());
        });
    }
}

criterion_group!(benches, send, compress);
criterion_main!(benches);
