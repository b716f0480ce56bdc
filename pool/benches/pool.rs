//! What the hot path pays for memory: a lease and its return, a slab's insert, lookup and remove.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use peregrine_pool::{BlockConfig, Blocks, Key, Slab, Spare};

type Connection = [u64; 24];

fn blocks(criterion: &mut Criterion) {
    let config = BlockConfig { block_bytes: 4096, stride_bytes: 4160, max_blocks: 1024, chunk_blocks: 64 };
    let blocks = Blocks::new(config);
    criterion.bench_function("blocks/lease_drop", |b| b.iter(|| drop(black_box(blocks.lease()))));
    criterion.bench_function("blocks/lease_drop_16", |b| {
        b.iter(|| {
            let leases: [_; 16] = std::array::from_fn(|_| blocks.lease());
            drop(black_box(leases));
        });
    });
}

fn slab(criterion: &mut Criterion) {
    let mut slab: Slab<Connection> = Slab::new(1 << 20);
    let mut keys: Vec<Key> = (0..10_000).filter_map(|value| slab.insert([value; 24]).ok()).collect();
    criterion.bench_function("slab/insert_remove_8B", |b| {
        let mut slab: Slab<u64> = Slab::new(1 << 20);
        b.iter(|| {
            let key = slab.insert(black_box(1)).unwrap_or(Key { index: 0, generation: 0 });
            slab.remove(black_box(key))
        });
    });
    criterion.bench_function("slab/insert_remove_192B", |b| {
        b.iter(|| {
            let key = slab.insert(black_box([1; 24])).unwrap_or(keys[0]);
            slab.remove(black_box(key)).is_some()
        });
    });
    criterion.bench_function("slab/get_mut_one", |b| {
        b.iter(|| {
            if let Some(value) = slab.get_mut(black_box(keys[5000])) {
                value[0] += 1;
            }
        });
    });
    // Keys in an order that no prefetcher knows, over 2 MB of values.
    let mut seed = 1_u64;
    for at in (1..keys.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        keys.swap(at, (seed >> 33) as usize % (at + 1));
    }
    let mut at = 0;
    criterion.bench_function("slab/get_mut_10k_shuffled", |b| {
        b.iter(|| {
            at = if at + 1 == keys.len() { 0 } else { at + 1 };
            if let Some(value) = slab.get_mut(keys[at]) {
                value[0] += 1;
            }
        });
    });
}

fn spare(criterion: &mut Criterion) {
    let mut spare: Spare<Vec<u8>> = Spare::new(8);
    spare.give(Vec::with_capacity(4096));
    criterion.bench_function("spare/take_give", |b| {
        b.iter(|| {
            let bytes = spare.take_or(Vec::new);
            spare.give(black_box(bytes));
        });
    });
}

criterion_group!(benches, blocks, slab, spare);
criterion_main!(benches);
