//! The pairs of a form, one by one, and the later pairs of the same name.
//!
//! Owns the search for repeated names, and which pairs a search has taken. It must not know serde.
//!
//! Who asks for the later pairs of a name makes a search through the rest. A few such searches just look; a
//! form of `n` pairs may have `n` names, though, and a map of sequences asks for each of them. So later
//! searches use an index of what is left, and all of them together stay at `n log n`.

use memchr::{memchr, memchr2};
use peregrine_parser::query_pairs;

use super::text::{compare, same};

/// How many searches look through the pairs before an index is made. A struct hardly has more sequences.
pub(super) const LOOKS: usize = 8;

/// One pair, still encoded.
#[derive(Clone, Copy)]
pub(super) struct Pair<'de> {
    pub(super) name: &'de [u8],
    pub(super) value: &'de [u8],
    /// Where it starts.
    start: usize,
}

/// The place in the bytes from which on pairs are read.
#[derive(Clone)]
struct Cursor<'de> {
    bytes: &'de [u8],
    at: usize,
}

impl<'de> Iterator for Cursor<'de> {
    type Item = Pair<'de>;

    fn next(&mut self) -> Option<Pair<'de>> {
        loop {
            let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
            let start = self.at;
            let part = rest.get(..memchr(b'&', rest).unwrap_or(rest.len())).unwrap_or_default();
            self.at += part.len() + 1;
            if let Some((name, value)) = query_pairs(part).next() {
                return Some(Pair { name, value, start });
            }
        }
    }
}

/// The pairs that nothing has taken yet.
pub(super) struct Pairs<'de> {
    cursor: Cursor<'de>,
    /// The names whose later pairs were taken by searches that looked.
    taken: [&'de [u8]; LOOKS],
    names: usize,
    looks: usize,
    index: Option<Index<'de>>,
}

impl<'de> Pairs<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { cursor: Cursor { bytes, at: 0 }, taken: [&[]; LOOKS], names: 0, looks: 0, index: None }
    }

    /// Begins a search for the pairs of the same name after `pair`, which is the one read last. If it is to
    /// `take` them, no one else will read them.
    pub(super) fn search(&mut self, pair: Pair<'de>, take: bool) -> Search<'de> {
        if self.looks < LOOKS {
            self.looks += 1;
            if take && let Some(place) = self.taken.get_mut(self.names) {
                *place = pair.name;
                self.names += 1;
            }
            return Search(Way::Look { cursor: self.cursor.clone(), name: pair.name });
        }
        let cursor = &self.cursor;
        let index = self.index.get_or_insert_with(|| Index::new(cursor.bytes, pair.start));
        let place = index.place(pair).unwrap_or(index.starts.len());
        Search(Way::Index { name: pair.name, place, take })
    }

    /// The next pair that a search finds.
    pub(super) fn find(&mut self, search: &mut Search<'de>) -> Option<Pair<'de>> {
        match &mut search.0 {
            Way::Look { cursor, name } => cursor.find(|pair| {
                steps::count();
                same(pair.name, name)
            }),
            Way::Index { name, place, take } => {
                *place += 1;
                self.index.as_mut()?.get(*place, name, *take)
            }
        }
    }

    fn is_taken(&self, pair: Pair<'de>) -> bool {
        let looked = self.taken.get(..self.names).unwrap_or_default().iter().any(|name| {
            steps::count();
            same(name, pair.name)
        });
        looked || self.index.as_ref().is_some_and(|index| index.is_taken(pair))
    }
}

impl<'de> Iterator for Pairs<'de> {
    type Item = Pair<'de>;

    fn next(&mut self) -> Option<Pair<'de>> {
        loop {
            let pair = self.cursor.next()?;
            if !self.is_taken(pair) {
                return Some(pair);
            }
        }
    }
}

/// A search for pairs of one name.
pub(super) struct Search<'de>(Way<'de>);

enum Way<'de> {
    Look { cursor: Cursor<'de>, name: &'de [u8] },
    Index { name: &'de [u8], place: usize, take: bool },
}

/// The pairs that were left when it was made, by name.
struct Index<'de> {
    bytes: &'de [u8],
    /// Where they start: by decoded name, then in order.
    starts: Vec<usize>,
    taken: Vec<bool>,
}

impl<'de> Index<'de> {
    fn new(bytes: &'de [u8], at: usize) -> Self {
        let mut starts: Vec<usize> = Cursor { bytes, at }.map(|pair| pair.start).collect();
        starts.sort_unstable_by(|&left, &right| {
            steps::count();
            compare(name_at(bytes, left), name_at(bytes, right)).then(left.cmp(&right))
        });
        let taken = vec![false; starts.len()];
        Self { bytes, starts, taken }
    }

    fn place(&self, pair: Pair<'de>) -> Option<usize> {
        let place = self.starts.binary_search_by(|&start| {
            steps::count();
            compare(name_at(self.bytes, start), pair.name).then(start.cmp(&pair.start))
        });
        place.ok()
    }

    fn get(&mut self, place: usize, name: &[u8], take: bool) -> Option<Pair<'de>> {
        let start = *self.starts.get(place)?;
        let pair = Cursor { bytes: self.bytes, at: start }.next().filter(|pair| same(pair.name, name))?;
        if take && let Some(taken) = self.taken.get_mut(place) {
            *taken = true;
        }
        Some(pair)
    }

    fn is_taken(&self, pair: Pair<'de>) -> bool {
        self.place(pair).and_then(|place| self.taken.get(place)).is_some_and(|taken| *taken)
    }
}

/// The name of the pair that starts there.
fn name_at(bytes: &[u8], start: usize) -> &[u8] {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.get(..memchr2(b'=', b'&', rest).unwrap_or(rest.len())).unwrap_or_default()
}

/// How many names have been compared on this thread: what could grow too fast. Counted in tests only.
pub(super) mod steps {
    #[cfg(test)]
    thread_local! {
        static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    #[inline]
    pub(super) fn count() {
        #[cfg(test)]
        STEPS.with(|steps| steps.set(steps.get() + 1));
    }

    /// Those of `work`.
    #[cfg(test)]
    pub(in super::super) fn of<T>(work: impl FnOnce() -> T) -> (u64, T) {
        let before = STEPS.get();
        let result = work();
        (STEPS.get() - before, result)
    }
}
