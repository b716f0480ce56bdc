//! From a path to the template that matches it.
//!
//! Owns the order in which templates are tried, and what is found on the way. It knows nothing of methods and
//! handlers: a template leads to a value of any kind.
//!
//! The templates of an application are one tree, a level per segment. At each node, for the path's next segment,
//! the branches are tried in this order, that of ASP.NET Core: the literal; segments with literals in them;
//! parameters with constraints; the parameter without; catch-alls with constraints; the catch-all without. Equal
//! ranks are tried in the order of their insertion, but mixed segments without constraints after those with. The
//! first branch that leads to the path's end wins, so a path that an early branch takes and then cannot end comes
//! back for the others. As a segment of a template stands for one of the path, a look-up comes to each node once
//! at most, whatever the path: templates bound its time, peers do not.
//!
//! Paths are compared byte by byte, in their letter case.

use std::cmp::Ordering;
use std::ops::Range;

use super::literals::{Literals, next_segment};
use super::template::{Form, Mixed, Param, Segment, Template};
use crate::http::{PathParam, PathParams};

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Tree<T> {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    /// In the order of their insertion.
    routes: Vec<(Template, T)>,
}

/// What may follow the segments so far. Numbers are indices of nodes or of leaves.
#[derive(Clone, Debug, Default)]
struct Node {
    literals: Literals,
    plain: Option<u32>,
    /// What most nodes have not.
    rare: Option<Box<Rare>>,
    /// The templates that end here, the first of them wins.
    ends: Vec<u32>,
}

/// See [`Node`].
#[derive(Clone, Debug, Default)]
struct Rare {
    mixed: Vec<(Mixed, u32)>,
    constrained: Vec<(Param, u32)>,
    catch_alls: Vec<(Param, Vec<u32>)>,
}

/// The end of a form of a template.
#[derive(Clone, Debug)]
struct Leaf {
    route: u32,
    params: Box<[PathParam]>,
    segments: Vec<Segment>,
    /// Nothing is absent.
    is_whole: bool,
}

/// A template that is there matches the same paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) with: String,
}

/// A template whose paths all go to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    pub(crate) template: String,
    /// The one that is in its way.
    pub(crate) by: String,
}

impl<T> Tree<T> {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()], leaves: Vec::new(), routes: Vec::new() }
    }

    /// The templates and what they lead to, in the order of their insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Template, &T)> {
        self.routes.iter().map(|(template, value)| (template, value))
    }

    /// Adds a template.
    ///
    /// # Errors
    /// There is one that matches the same paths with the same precedence; then nothing has changed. What only an
    /// absent parameter makes the same is no conflict: of `/users` and `/users/{id?}` the first has `/users`.
    pub(crate) fn insert(&mut self, template: &Template, value: T) -> Result<(), Conflict> {
        let route = self.routes.len() as u32;
        for (number, Form { segments, defaults }) in template.forms().into_iter().enumerate() {
            let is_whole = number == 0;
            let ends = self.ends_mut(&segments).clone();
            if let Some(&known) = ends.iter().find(|&&known| is_whole && self.leaves[known as usize].is_whole)
            {
                return Err(Conflict { with: self.template_of(known).to_string() });
            }
            let before = |&&known: &&u32| {
                let known_is_whole = self.leaves[known as usize].is_whole;
                let ranks = || ranks(self.template_of(known)).cmp(&ranks(template));
                known_is_whole.cmp(&is_whole).reverse().then_with(ranks) != Ordering::Greater
            };
            let place = ends.iter().take_while(before).count();
            let captured = segments.iter().flat_map(Segment::params);
            let captured = captured.map(|param| PathParam { name: param.name.clone(), default: None });
            let absent = defaults.into_iter().map(|(name, value)| PathParam { name, default: Some(value) });
            let params = captured.chain(absent).collect();
            let leaf = self.leaves.len() as u32;
            self.ends_mut(&segments).insert(place, leaf);
            self.leaves.push(Leaf { route, params, segments, is_whole });
        }
        self.routes.push((template.clone(), value));
        Ok(())
    }

    /// Where the leaves of these segments are, with the nodes on the way.
    fn ends_mut(&mut self, segments: &[Segment]) -> &mut Vec<u32> {
        let mut node = 0;
        for segment in segments {
            let next = self.nodes.len() as u32;
            let found = match self.nodes[node].branch(segment, next) {
                Branch::Node(found) => found,
                Branch::Ends(index) => return &mut self.nodes[node].rare().catch_alls[index].1,
            };
            if found == next {
                self.nodes.push(Node::default());
            }
            node = found as usize;
        }
        &mut self.nodes[node].ends
    }

    fn template_of(&self, leaf: u32) -> &Template {
        &self.routes[self.leaves[leaf as usize].route as usize].0
    }

    /// Finds the value of the template that matches a path, and its parameters.
    #[inline]
    pub(crate) fn at<'a>(&'a self, path: &'a str, params: &mut PathParams<'a>) -> Option<&'a T> {
        self.find(path, params, |_| true)
    }

    /// As [`at`](Self::at), but passes over the templates whose values `accept` refuses.
    #[inline]
    pub(crate) fn find<'a>(
        &'a self,
        path: &'a str,
        params: &mut PathParams<'a>,
        accept: impl Fn(&T) -> bool,
    ) -> Option<&'a T> {
        params.begin(path);
        // No request is as long as what `PathParams` can not count.
        if !path.starts_with('/') || path.len() > u32::MAX as usize {
            return None;
        }
        // The root has no segments, not an empty one.
        let start = if path.len() == 1 { 2 } else { 1 };
        let leaf = self.walk(0, path, start, params, &accept)?;
        let Leaf { route, params: names, .. } = &self.leaves[leaf as usize];
        params.end(names);
        Some(&self.routes[*route as usize].1)
    }

    /// Goes on from a node with the segment that begins at `start`, behind the path's end if there is none. What
    /// leads nowhere leaves its parameters behind.
    fn walk<'a>(
        &'a self,
        mut node: u32,
        path: &'a str,
        mut start: usize,
        params: &mut PathParams<'a>,
        accept: &impl Fn(&T) -> bool,
    ) -> Option<u32> {
        // The last branch of a node is another turn, only those before it are calls.
        loop {
            #[cfg(test)]
            visits::count();
            let Node { literals, plain, rare, ends } = &self.nodes[node as usize];
            if start > path.len() {
                return self.first(ends, accept);
            }
            let (key, end) = next_segment(path.as_bytes(), start);
            let next = end + 1;
            let known = params.len();
            if let Some(child) = literals.get(key, &path.as_bytes()[start..end]) {
                if plain.is_none() && rare.is_none() {
                    (node, start) = (child, next);
                    continue;
                }
                if let Some(leaf) = self.walk(child, path, next, params, accept) {
                    return Some(leaf);
                }
                params.truncate(known);
            }
            let Some(rare) = rare else {
                node = (*plain).filter(|_| start < end)?;
                params.push(start..end);
                start = next;
                continue;
            };
            if start < end {
                if let Some(leaf) = self.walk_rare(rare, path, start..end, params, accept) {
                    return Some(leaf);
                }
                if let Some(child) = *plain {
                    params.push(start..end);
                    if let Some(leaf) = self.walk(child, path, next, params, accept) {
                        return Some(leaf);
                    }
                    params.truncate(known);
                }
            }
            let rest = Some(&path[start..]).filter(|rest| !rest.is_empty())?;
            let mut catch_alls = rare.catch_alls.iter().filter(|(param, _)| param.accepts(rest));
            let leaf = catch_alls.find_map(|(_, ends)| self.first(ends, accept))?;
            params.push(start..path.len());
            return Some(leaf);
        }
    }

    /// The branches of a node that look at the segment, which is not empty.
    fn walk_rare<'a>(
        &'a self,
        rare: &Rare,
        path: &'a str,
        Range { start, end }: Range<usize>,
        params: &mut PathParams<'a>,
        accept: &impl Fn(&T) -> bool,
    ) -> Option<u32> {
        let (segment, next, known) = (&path[start..end], end + 1, params.len());
        for (mixed, child) in &rare.mixed {
            mixed.params.iter().for_each(|_| params.push(start..start));
            let tell = |index, at: Range<usize>| params.set(known + index, start + at.start..start + at.end);
            if mixed.matches(segment, tell)
                && let Some(leaf) = self.walk(*child, path, next, params, accept)
            {
                return Some(leaf);
            }
            params.truncate(known);
        }
        for (_, child) in rare.constrained.iter().filter(|(param, _)| param.accepts(segment)) {
            params.push(start..end);
            if let Some(leaf) = self.walk(*child, path, next, params, accept) {
                return Some(leaf);
            }
            params.truncate(known);
        }
        None
    }

    #[inline]
    fn first(&self, ends: &[u32], accept: &impl Fn(&T) -> bool) -> Option<u32> {
        let is_accepted = |&leaf: &u32| {
            let route = self.leaves.get(leaf as usize).and_then(|leaf| self.routes.get(leaf.route as usize));
            route.is_some_and(|(_, value)| accept(value))
        };
        ends.iter().copied().find(is_accepted)
    }

    /// Looks for a template that no path can reach, because one other takes all of its paths before. What only
    /// several take together is not found, nor what would need insight into regular expressions and the like: a
    /// template that is named is unreachable, others may be too.
    pub(crate) fn unreachable(&self) -> Option<Unreachable> {
        let mut order = Vec::with_capacity(self.leaves.len());
        self.list(0, &mut order);
        let mut reached = vec![false; self.routes.len()];
        let mut covers: Vec<Option<u32>> = vec![None; self.routes.len()];
        // Those that may take what is behind them: literals and plain parameters stand last for all they match.
        let mut greedy: Vec<&Leaf> = Vec::new();
        for (place, &number) in order.iter().enumerate() {
            let leaf = &self.leaves[number as usize];
            let cover = match place.checked_sub(1).map(|before| &self.leaves[order[before] as usize]) {
                Some(before) if are_same(&before.segments, &leaf.segments) => Some(before),
                _ => greedy.iter().copied().find(|other| accepts_all_of(&other.segments, &leaf.segments)),
            };
            match cover {
                Some(cover) if leaf.is_whole => covers[leaf.route as usize] = Some(cover.route),
                Some(_) => {}
                None => reached[leaf.route as usize] = true,
            }
            if leaf.segments.iter().any(|segment| matches!(segment.rank(), 1 | 2 | 4)) {
                greedy.push(leaf);
            }
        }
        let (route, _) = self.iter().enumerate().find(|(route, _)| !reached[*route])?;
        let by = covers[route].map_or_else(String::new, |by| self.routes[by as usize].0.to_string());
        Some(Unreachable { template: self.routes[route].0.to_string(), by })
    }

    /// Lists the leaves below a node in the order in which they are tried.
    fn list(&self, node: u32, order: &mut Vec<u32>) {
        let node = &self.nodes[node as usize];
        order.extend(&node.ends);
        let rare = || node.rare.iter();
        let literals = node.literals.nodes();
        let mixed = rare().flat_map(|rare| &rare.mixed).map(|(_, child)| *child);
        let constrained = rare().flat_map(|rare| &rare.constrained).map(|(_, child)| *child);
        literals.chain(mixed).chain(constrained).chain(node.plain).for_each(|child| self.list(child, order));
        rare().flat_map(|rare| &rare.catch_alls).for_each(|(_, ends)| order.extend(ends));
    }
}

/// Where a segment leads.
enum Branch {
    Node(u32),
    /// The leaves of a catch-all.
    Ends(usize),
}

impl Node {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Where a segment leads; if nowhere yet, to the node that will be `next`.
    fn branch(&mut self, segment: &Segment, next: u32) -> Branch {
        Branch::Node(match segment {
            Segment::Literal(text) => self.literals.get_or_insert(text, next),
            Segment::Param(param) if !param.is_constrained() => *self.plain.get_or_insert(next),
            Segment::Param(param) => {
                let known = &mut self.rare().constrained;
                let place = place_of(known, |known| known.is_same(param), |_| true);
                place.unwrap_or_insert(known, || (param.clone(), next)).1
            }
            Segment::Mixed(mixed) => {
                let known = &mut self.rare().mixed;
                let goes_behind = |known: &Mixed| known.is_constrained() || !mixed.is_constrained();
                let place = place_of(known, |known| known.is_same(mixed), goes_behind);
                place.unwrap_or_insert(known, || (mixed.clone(), next)).1
            }
            Segment::CatchAll(param) => {
                let known = &mut self.rare().catch_alls;
                let goes_behind = |known: &Param| known.is_constrained() || !param.is_constrained();
                let place = place_of(known, |known| known.is_same(param), goes_behind);
                place.unwrap_or_insert(known, || (param.clone(), Vec::new()));
                return Branch::Ends(place.index());
            }
        })
    }
}

/// Where a branch is, or belongs.
#[derive(Clone, Copy)]
enum Place {
    Known(usize),
    New(usize),
}

/// Looks for a branch: the one that is the same, or a place behind all that it goes behind.
fn place_of<K, V>(
    branches: &[(K, V)],
    is_same: impl Fn(&K) -> bool,
    goes_behind: impl Fn(&K) -> bool,
) -> Place {
    match branches.iter().position(|(key, _)| is_same(key)) {
        Some(known) => Place::Known(known),
        None => Place::New(branches.iter().take_while(|(key, _)| goes_behind(key)).count()),
    }
}

impl Place {
    fn index(self) -> usize {
        match self {
            Self::Known(index) | Self::New(index) => index,
        }
    }

    fn unwrap_or_insert<B>(self, branches: &mut Vec<B>, make: impl FnOnce() -> B) -> &B {
        if let Self::New(index) = self {
            branches.insert(index, make());
        }
        &branches[self.index()]
    }
}

/// The ranks of a whole template's segments: the lower one wins, a shorter one before its continuations.
fn ranks(template: &Template) -> Vec<u8> {
    template.segments().iter().map(Segment::rank).collect()
}

fn are_same(one: &[Segment], other: &[Segment]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
}

/// Whether `own` matches each path that `other` matches. `false` may also mean that nobody knows.
fn accepts_all_of(own: &[Segment], other: &[Segment]) -> bool {
    match (own, other) {
        ([], []) => true,
        ([Segment::CatchAll(own)], rest) if own.accepts_everything() => match rest {
            // Of nothing it takes nothing.
            [] => false,
            [Segment::Literal(text)] => !text.is_empty(),
            _ => true,
        },
        ([first, own @ ..], [other_first, other @ ..]) => {
            first.accepts_all_of(other_first) && accepts_all_of(own, other)
        }
        _ => false,
    }
}

/// Counts the nodes that look-ups come to.
#[cfg(test)]
pub(crate) mod visits {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        COUNT.set(COUNT.get() + 1);
    }

    /// The count since the last call.
    pub(crate) fn take() -> usize {
        COUNT.take()
    }
}
