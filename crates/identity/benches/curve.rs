//! The operations on the curve, one by one, and the hash: what rows `handshake.pair` and `discv4.ping_pong` are made of.
//! Not run by tests: `cargo bench --package eth-identity`.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use identity::{
    NodeKey, PublicKey,
    curve::{CurveOp, InlineCurve},
    keccak256,
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};

fn curve(criterion: &mut Criterion) {
    let [own, other] = [(); 2].map(|()| NodeKey::generate(&mut UnwrapErr(SysRng)));
    let digest = [7; 32];
    let signature = own.sign(&digest);
    let public = other.public_key();
    let compressed = public.to_compressed();
    let mut runner = InlineCurve::new(Arc::new(own.clone()), UnwrapErr(SysRng));
    criterion.bench_function("generate", |bench| bench.iter(|| runner.run(vec![CurveOp::Generate])));
    criterion.bench_function("agree", |bench| bench.iter(|| own.agree(black_box(&public))));
    criterion.bench_function("sign", |bench| bench.iter(|| own.sign(black_box(&digest))));
    criterion.bench_function("recover", |bench| bench.iter(|| signature.recover(black_box(&digest))));
    criterion.bench_function("is_on_curve", |bench| bench.iter(|| black_box(&public).is_on_curve()));
    criterion.bench_function("from_compressed", |bench| {
        bench.iter(|| PublicKey::from_compressed(black_box(&compressed)));
    });
}

fn keccak(criterion: &mut Criterion) {
    for len in [64, 112, 1_248] {
        let message = vec![0x5a; len];
        let name = format!("keccak256/{len}");
        criterion.bench_function(&name, |bench| bench.iter(|| keccak256(black_box(&message))));
    }
}

criterion_group!(benches, curve, keccak);
criterion_main!(benches);
