//! The slab against a map, and what its keys promise.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr;
use std::rc::Rc;

use peregrine_pool::{Key, Slab};
use proptest::prelude::*;

#[test]
fn an_old_key_finds_nothing() {
    let mut slab = Slab::new(4);
    let old = slab.insert("old").unwrap();
    assert_eq!(slab.remove(old), Some("old"));
    let new = slab.insert("new").unwrap();
    assert_eq!(new.index, old.index);
    assert_ne!(new.generation, old.generation);
    assert_eq!(slab.get(old), None);
    assert_eq!(slab.get_mut(old), None);
    assert_eq!(slab.remove(old), None);
    assert_eq!(slab.get(new), Some(&"new"));
    assert_eq!(slab.len(), 1);
}

#[test]
fn keys_pack_into_56_bits() {
    let key = Key { index: u32::MAX, generation: (1 << 24) - 1 };
    assert_eq!(key.pack(), (1 << 56) - 1);
    assert_eq!(Key::unpack(key.pack() | 0xab << 56), key);
    let key = Key { index: 7, generation: 9 };
    assert_eq!(Key::unpack(key.pack()), key);
}

#[test]
fn made_up_keys_find_nothing_or_a_real_value() {
    let mut slab = Slab::new(300);
    assert_eq!(slab.get(Key { index: 0, generation: 0 }), None);
    let key = slab.insert(5).unwrap();
    for generation in [0, 1 << 24, 1 << 30, u32::MAX] {
        assert_eq!(slab.get(Key { index: key.index, generation }), None);
    }
    for index in [1, 255, 256, 299, 300, u32::MAX] {
        for generation in [0, 1, 0x7fff_ffff, 1 << 31, u32::MAX] {
            assert_eq!(slab.remove(Key { index, generation }), None);
        }
    }
    slab.remove(key);
    for generation in [0, 1, 0x7fff_ffff, 1 << 31, u32::MAX] {
        assert_eq!(slab.get(Key { index: key.index, generation }), None);
    }
}

#[test]
fn generations_wrap_and_only_then_repeat() {
    let mut slab = Slab::new(1);
    let first = slab.insert(0).unwrap();
    slab.remove(first);
    for round in 1..1 << 24 {
        let key = slab.insert(round).unwrap();
        assert!(slab.get(first).is_none());
        assert!(key.generation < 1 << 24);
        slab.remove(key);
    }
    assert_eq!(slab.insert(0).unwrap(), first);
}

#[test]
fn generations_run_on_over_a_trim() {
    let mut slab = Slab::new(1000);
    let mut old = Vec::new();
    for round in 0..50 {
        let keys: Vec<Key> = (0..600).map(|value| slab.insert(value + round).unwrap()).collect();
        assert!(old.iter().all(|key| slab.get(*key).is_none()));
        keys.iter().for_each(|key| assert!(slab.remove(*key).is_some()));
        old.extend(keys);
        assert_eq!(slab.capacity_mapped(), 768);
        slab.trim();
        assert_eq!(slab.capacity_mapped(), 0);
        assert!(old.iter().all(|key| slab.get(*key).is_none()));
    }
}

#[test]
fn a_full_slab_gives_the_value_back() {
    let mut slab = Slab::new(257);
    let keys: Vec<Key> = (0..257).map(|value| slab.insert(Box::new(value)).unwrap()).collect();
    assert_eq!(slab.insert(Box::new(-1)), Err(Box::new(-1)));
    assert_eq!((slab.len(), slab.capacity_mapped()), (257, 257));
    slab.remove(keys[256]);
    assert_eq!(slab.insert(Box::new(-2)).unwrap().index, 256);
}

#[test]
fn low_chunks_fill_first_so_high_ones_drain() {
    // Two million slots: chunks of 512, and both levels of the table of chunks with room.
    let max = 2 * 1024 * 1024;
    let mut slab = Slab::new(max);
    let keys: Vec<Key> = (0..max).map(|_| slab.insert(1_u8).unwrap()).collect();
    assert!(slab.insert(1).is_err());
    let freed = [max - 1, 70_000, 69_999, 1_000_000, 3];
    freed.iter().for_each(|index| assert!(slab.remove(keys[*index as usize]).is_some()));
    let again: Vec<u32> = freed.iter().map(|_| slab.insert(2).unwrap().index).collect();
    assert_eq!(again, [3, 69_999, 70_000, 1_000_000, max - 1]);
    assert!(slab.insert(1).is_err());
}

#[test]
fn only_chunks_without_a_value_are_trimmed() {
    let mut slab = Slab::new(10_000);
    let keys: Vec<Key> = (0..10_000_u64).map(|value| slab.insert([value; 24]).unwrap()).collect();
    assert_eq!(slab.capacity_mapped(), 10_000);
    let kept = [0, 5000, 5120, 9999].map(|index| keys[index]);
    keys.iter().filter(|key| !kept.contains(key)).for_each(|key| assert!(slab.remove(*key).is_some()));
    slab.trim();
    assert_eq!(slab.capacity_mapped(), 3 * 256 + 16);
    for key in kept {
        assert_eq!(slab.get(key), Some(&[u64::from(key.index); 24]));
    }
    assert_eq!(slab.iter_keys().collect::<Vec<_>>(), kept);
    for value in 0..9996 {
        slab.insert([value; 24]).unwrap();
    }
    assert!(slab.insert([0; 24]).is_err());
}

#[test]
fn values_are_dropped_once() {
    struct Counted(Rc<Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let mut slab = Slab::new(600);
    let keys: Vec<Key> = (0..600).map(|_| slab.insert(Counted(Rc::clone(&dropped))).ok().unwrap()).collect();
    drop(slab.insert(Counted(Rc::clone(&dropped))));
    assert_eq!(dropped.get(), 1);
    (0..100).for_each(|index| drop(slab.remove(keys[index])));
    assert_eq!(dropped.get(), 101);
    slab.trim();
    drop(slab);
    assert_eq!(dropped.get(), 601);
    assert_eq!(Rc::strong_count(&dropped), 1);
}

#[test]
fn any_shape_of_value_fits() {
    #[repr(align(64))]
    #[derive(Debug, PartialEq)]
    struct Line(u8);
    let mut lines = Slab::new(300);
    for value in 0..300_u32 {
        let key = lines.insert(Line(value as u8)).unwrap();
        let line = lines.get(key).unwrap();
        assert_eq!(ptr::from_ref(line) as usize % 64, 0);
        assert_eq!(line, &Line(value as u8));
    }
    let mut units = Slab::new(2);
    let key = units.insert(()).unwrap();
    assert_eq!(units.get(key), Some(&()));
    assert_eq!(units.remove(key), Some(()));
    assert_eq!(units.get(key), None);
}

#[test]
#[should_panic(expected = "slab too large")]
fn an_impossible_size_is_refused() {
    let _ = Slab::<[u8; 1 << 40]>::new(u32::MAX);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(usize),
    Remove(usize, usize),
    Change(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..200_usize).prop_map(Step::Insert),
        4 => (any::<usize>(), 1..200_usize).prop_map(|(at, count)| Step::Remove(at, count)),
        2 => any::<usize>().prop_map(Step::Change),
        1 => Just(Step::Trim),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_map(max in 1_u32..1500, steps in prop::collection::vec(step(), 0..60)) {
        let mut slab = Slab::new(max);
        // By packed key: the value and where it lies.
        let mut model: BTreeMap<u64, (Box<u64>, usize)> = BTreeMap::new();
        let mut gone: Vec<Key> = Vec::new();
        let mut serial = 0;
        for step in steps {
            match step {
                Step::Insert(count) => for _ in 0..count {
                    serial += 1;
                    match slab.insert(Box::new(serial)) {
                        Ok(key) => {
                            let address = ptr::from_ref(slab.get(key).unwrap()) as usize;
                            let entry = (Box::new(serial), address);
                            prop_assert!(model.insert(key.pack(), entry).is_none());
                            prop_assert!(key.index < max);
                        }
                        Err(value) => {
                            prop_assert_eq!((*value, model.len()), (serial, max as usize));
                        }
                    }
                },
                Step::Remove(at, count) => for turn in 0..count.min(model.len()) {
                    let packed = *model.keys().nth((at ^ (turn * 7)) % model.len()).unwrap();
                    let key = Key::unpack(packed);
                    let (value, _) = model.remove(&packed).unwrap();
                    prop_assert_eq!(slab.remove(key), Some(value));
                    gone.push(key);
                },
                Step::Change(at) if !model.is_empty() => {
                    let (packed, entry) = model.iter_mut().nth(at % slab.len() as usize).unwrap();
                    **slab.get_mut(Key::unpack(*packed)).unwrap() += 1;
                    *entry.0 += 1;
                }
                Step::Change(_) => {}
                Step::Trim => slab.trim(),
            }
            prop_assert_eq!(slab.len() as usize, model.len());
            prop_assert!(slab.capacity_mapped() >= slab.len());
            for (packed, (value, address)) in &model {
                let found = slab.get(Key::unpack(*packed)).unwrap();
                prop_assert_eq!((found, ptr::from_ref(found) as usize), (value, *address));
            }
            prop_assert!(gone.iter().all(|key| slab.get(*key).is_none()));
            let mut keys: Vec<u64> = slab.iter_keys().map(Key::pack).collect();
            keys.sort_unstable();
            prop_assert!(keys.iter().eq(model.keys()));
        }
    }
}
