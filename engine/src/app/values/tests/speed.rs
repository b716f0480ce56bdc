//! The work grows with the form, not with its square: names compared are counted, time is not looked at.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::from_pairs;
use super::super::repeats::{LOOKS, steps};

const PAIRS: u64 = 200_000;

/// `n log n` of the pairs with room for the index's sort and a look-up each way. The square would be a
/// thousand times more.
const STEPS: u64 = PAIRS * (LOOKS as u64 + 5 * PAIRS.ilog2() as u64);

fn form(pair: impl Fn(u64) -> String) -> String {
    (0..PAIRS).map(|n| pair(n) + "&").collect()
}

fn read<T: DeserializeOwned>(form: &str) -> T {
    let (steps, value) = steps::of(|| from_pairs(form.as_bytes()).expect("a form that fits"));
    assert!(steps <= STEPS, "{steps} steps for {PAIRS} pairs");
    value
}

#[test]
fn one_long_sequence() {
    #[derive(Deserialize)]
    struct List {
        v: Vec<u64>,
    }
    let form = form(|n| format!("v={n}"));
    let (steps, list) = steps::of(|| from_pairs::<List>(form.as_bytes()));
    assert!(list.expect("numbers").v.into_iter().eq(0..PAIRS));
    assert_eq!(steps, 2 * (PAIRS - 1), "once to collect them, once to pass over them");
}

#[test]
fn many_sequences_of_a_map() {
    let distinct: BTreeMap<String, Vec<u64>> = read(&form(|n| format!("k{n}={n}")));
    assert_eq!(distinct.len() as u64, PAIRS);
    let some: BTreeMap<String, Vec<u64>> = read(&form(|n| format!("k{}={n}", n % 1000)));
    assert_eq!(some.len(), 1000);
    for (name, values) in some {
        let first: u64 = name[1..].parse().expect("a number");
        assert!(values.into_iter().eq((first..PAIRS).step_by(1000)));
    }
    let two: BTreeMap<String, Vec<u64>> = read(&form(|n| format!("k{}={n}", n % (PAIRS / 2))));
    assert!(two.values().all(|values| values.len() == 2));
}

#[test]
fn a_large_map_of_scalars_and_what_is_not_asked_for() {
    #[derive(Deserialize)]
    struct Nothing {
        v: Option<u8>,
        #[serde(default)]
        list: Vec<u64>,
    }
    let map: BTreeMap<String, u64> = read(&form(|n| format!("k{n}={n}")));
    assert_eq!(map.len() as u64, PAIRS);
    let nothing: Nothing = read(&form(|n| format!("k{n}={n}")));
    assert_eq!((nothing.v, nothing.list), (None, vec![]));
    let half: Nothing = read(&form(|n| format!("{}={n}", if n % 2 == 0 { "list" } else { "other" })));
    assert!(half.list.into_iter().eq((0..PAIRS).step_by(2)));
}
