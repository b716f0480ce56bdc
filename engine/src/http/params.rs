//! The parameters of one path: which of a route's names has which part of it.
//!
//! Owns where the values are, without a copy. It knows nothing of templates: whoever matches a path writes the
//! places in here.

use std::ops::Range;

/// How many parameters fit without an allocation.
const INLINE: usize = 8;

/// A parameter that a route has.
#[derive(Clone, Debug)]
pub(crate) struct PathParam {
    pub(crate) name: Box<str>,
    /// Its value if it is not in the path. Those that are come first in a route's list.
    pub(crate) default: Option<Box<str>>,
}

/// Where a value begins and ends in the path.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u32,
    end: u32,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct PathParams<'a> {
    path: &'a str,
    route: &'a [PathParam],
    len: usize,
    places: [Place; INLINE],
    /// The places that do not fit.
    more: Vec<Place>,
}

impl<'a> PathParams<'a> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { path: "", route: &[], len: 0, places: [Place::default(); INLINE], more: Vec::new() }
    }

    /// Begins with a path, of at most 4 GiB, and no places.
    #[inline]
    pub(crate) fn begin(&mut self, path: &'a str) {
        self.path = path;
        self.route = &[];
        self.truncate(0);
    }

    /// Gives the places their names.
    #[inline]
    pub(crate) fn end(&mut self, route: &'a [PathParam]) {
        self.route = route;
    }

    /// The number of places.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds the place of the next value.
    #[inline]
    pub(crate) fn push(&mut self, Range { start, end }: Range<usize>) {
        let place = Place { start: start as u32, end: end as u32 };
        match self.places.get_mut(self.len) {
            Some(free) => *free = place,
            None => self.push_more(place),
        }
        self.len += 1;
    }

    #[cold]
    fn push_more(&mut self, place: Place) {
        self.more.push(place);
    }

    /// Corrects a place.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, Range { start, end }: Range<usize>) {
        let place = Place { start: start as u32, end: end as u32 };
        match self.places.get_mut(index) {
            Some(known) => *known = place,
            None => self.more[index - INLINE] = place,
        }
    }

    /// Forgets all places but the first.
    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len > INLINE {
            self.more.truncate(len.saturating_sub(INLINE));
        }
        self.len = len;
    }

    fn value(&self, index: usize) -> &'a str {
        match &self.route[index].default {
            Some(default) => default,
            None => {
                let place = self.places.get(index).copied().unwrap_or_else(|| self.more[index - INLINE]);
                &self.path[place.start as usize..place.end as usize]
            }
        }
    }

    /// The value of a parameter.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.route.iter().position(|param| *param.name == *name).map(|index| self.value(index))
    }

    /// Name and value at a place in the template's order.
    pub(crate) fn pair(&self, at: usize) -> Option<(&'a str, &'a str)> {
        let param = self.route.get(at)?;
        Some((&param.name, self.value(at)))
    }

    /// Names and values in the order of the template.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        (0..).map_while(|at| self.pair(at))
    }
}
