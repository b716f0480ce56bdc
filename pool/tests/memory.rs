//! Whether memory really goes back to the system: one test, alone in its process, for the figures are the
//! whole process's.

use std::fs;

use peregrine_pool::{BlockConfig, Blocks, Key, Lease, Region, Slab};

const ROLLUP: &str = "/proc/self/smaps_rollup";

/// The private memory of this process in bytes.
fn private_bytes() -> usize {
    let rollup = fs::read_to_string(ROLLUP).expect("a file that was readable before");
    let kib = |name| {
        let line = rollup.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches("kB").trim_end().parse::<usize>().unwrap()
    };
    1024 * (kib("Private_Clean:") + kib("Private_Dirty:"))
}

/// What `work` leaves behind in the process's private memory, in bytes; 0 when it takes some away.
fn growth(work: impl FnOnce()) -> usize {
    let before = private_bytes();
    work();
    private_bytes().saturating_sub(before)
}

fn slab_of_10_000() {
    let mut slab = Slab::new(1 << 20);
    let mut keys: Vec<Key> = vec![Key { index: 0, generation: 0 }; 10_000];
    for _ in 0..3 {
        let left = growth(|| {
            let mapped = growth(|| keys.fill_with(|| slab.insert([1_u64; 24]).unwrap()));
            assert!((192 * 10_000..208 * 10_000 + SLACK_BYTES).contains(&mapped), "{mapped} bytes");
            keys.iter().for_each(|key| assert!(slab.remove(*key).is_some()));
            slab.trim();
            assert_eq!(slab.capacity_mapped(), 0);
        });
        assert!(left < SLACK_BYTES, "{left} bytes left in the slab");
    }
}

fn a_thousand_blocks() {
    let config = BlockConfig { block_bytes: 4096, stride_bytes: 4160, max_blocks: 65_536, chunk_blocks: 64 };
    let blocks = Blocks::new(config);
    let mut leases: Vec<Lease> = Vec::with_capacity(1024);
    for _ in 0..3 {
        let left = growth(|| {
            let mapped = growth(|| {
                leases.extend((0..1024).map(|_| blocks.lease().unwrap()));
                leases.iter_mut().for_each(|lease| lease.fill(1));
            });
            assert!((4096 * 1024..4160 * 1024 + SLACK_BYTES).contains(&mapped), "{mapped} bytes");
            leases.clear();
            blocks.trim(0);
            assert_eq!(blocks.stats().mapped_blocks, 0);
        });
        assert!(left < SLACK_BYTES, "{left} bytes left in the blocks");
    }
}

#[test]
fn memory_comes_on_demand_and_goes_back() {
    if let Err(error) = fs::read_to_string(ROLLUP) {
        return eprintln!("skipped: this kernel does not tell what memory is private: {ROLLUP}: {error}");
    }
    private_bytes();
    let left = growth(slab_of_10_000);
    assert!(left < SLACK_BYTES, "{left} bytes left when the slab is gone");
    let left = growth(a_thousand_blocks);
    assert!(left < SLACK_BYTES, "{left} bytes left when the blocks are gone");
    let mapped = growth(|| {
        let region = Region::map(64 << 20).unwrap();
        assert!(growth(|| drop(region)) == 0);
    });
    assert!(mapped < SLACK_BYTES, "{mapped} bytes for a region that nobody touched");
}

/// For what the test itself and the heap take meanwhile.
const SLACK_BYTES: usize = 160 << 10;
