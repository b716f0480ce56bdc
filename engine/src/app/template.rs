//! Route templates: `/users/{id:int}`, `/files/{name}.{ext?}`, `/static/{*rest}`.
//!
//! Owns what a template says: its segments, parameters, and the shorter forms that it stands for. It does not
//! know other templates, nor which of them wins; `reader` knows how one is written. The syntax is that of
//! ASP.NET Core:
//!
//! | written | matches |
//! |---|---|
//! | `users` | the segment as it stands, in its letter case |
//! | `{id}` | one segment that is not empty |
//! | `{id:int:min(1)}` | one that fulfils the [constraints](super::constraint) too |
//! | `{id?}`, `{id:int?}` | the same, and its absence at the end of the path: then there is no parameter |
//! | `{id=5}` | the same, and its absence at the end of the path: then it has this value |
//! | `{name}.{ext}`, `v{major}` | a segment with literals in it, split from the right: `a.b.c` is `a.b` and `c` |
//! | `{name}.{ext?}` | the same, and the name alone |
//! | `{*rest}`, `{**rest}` | all that is left, at least one byte; `{*rest=index}` also its absence |
//! | `{{`, `}}` | a brace |
//!
//! `/users/` is another path than `/users`: what is absent is absent with its slash.

use std::fmt;
use std::ops::Range;

use super::constraint::Constraint;
use super::reader;

/// A template, read.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: Box<str>,
    segments: Vec<Segment>,
}

/// What is between two slashes.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Literal(Box<str>),
    Mixed(Mixed),
    Param(Param),
    /// Only the last.
    CatchAll(Param),
}

/// A named part of the path.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub(crate) name: Box<str>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) absence: Absence,
}

/// What becomes of a parameter when the path ends before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Absence {
    /// The path does not match.
    Impossible,
    /// There is no such parameter.
    Unset,
    /// It has this value.
    Default(Box<str>),
}

/// A segment of parameters and literals: the prefix, the first parameter, then separators and parameters in
/// turn, the suffix. Separators are not empty.
#[derive(Clone, Debug)]
pub(crate) struct Mixed {
    pub(crate) prefix: Box<str>,
    pub(crate) params: Vec<Param>,
    pub(crate) separators: Vec<Box<str>>,
    pub(crate) suffix: Box<str>,
}

/// One of the forms that a template stands for: all of its segments, or fewer.
pub(crate) struct Form {
    pub(crate) segments: Vec<Segment>,
    /// The parameters that have left, and had defaults: name and value.
    pub(crate) defaults: Vec<(Box<str>, Box<str>)>,
}

/// What is wrong with a template, in words that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError(pub(crate) String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// Reads a template. `/` has no segments.
    ///
    /// # Errors
    /// What is wrong and where, counted in bytes from 0.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let segments = reader::read(text)?;
        let last = segments.len().saturating_sub(1);
        if segments[..last].iter().any(|segment| matches!(segment, Segment::CatchAll(_))) {
            return Err(TemplateError("has segments behind one that takes all of them".into()));
        }
        let mut names: Vec<&str> = Vec::new();
        for param in segments.iter().flat_map(Segment::params) {
            if names.contains(&&*param.name) {
                return Err(TemplateError(format!("has two parameters named {:?}", param.name)));
            }
            names.push(&param.name);
        }
        // What may be absent is so from the end only: absence in the middle would name no path.
        for (index, segment) in segments.iter().enumerate() {
            let (Segment::Param(param), Some(next)) = (segment, segments.get(index + 1)) else { continue };
            if param.absence != Absence::Impossible && !next.may_be_absent() {
                let problem = format!(
                    "has the parameter {:?}, which can not be absent because of what follows it",
                    param.name
                );
                return Err(TemplateError(problem));
            }
        }
        Ok(Self { text: text.into(), segments })
    }

    /// All segments, in their order.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The forms, the longest first.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let mut forms = vec![Form { segments: self.segments.clone(), defaults: Vec::new() }];
        let mut left = self.segments.clone();
        let mut defaults = Vec::new();
        while let Some(segment) = left.pop() {
            if let Segment::Mixed(mixed) = &segment
                && let Some(shorter) = mixed.without_last()
            {
                left.push(shorter);
                forms.push(Form { segments: left, defaults });
                break;
            }
            if !segment.may_be_absent() {
                break;
            }
            for param in segment.params() {
                if let Absence::Default(value) = &param.absence {
                    defaults.insert(0, (param.name.clone(), value.clone()));
                }
            }
            forms.push(Form { segments: left.clone(), defaults: defaults.clone() });
        }
        forms
    }
}

impl Segment {
    /// The parameters in their order.
    pub(crate) fn params(&self) -> &[Param] {
        match self {
            Self::Literal(_) => &[],
            Self::Mixed(mixed) => &mixed.params,
            Self::Param(param) | Self::CatchAll(param) => std::slice::from_ref(param),
        }
    }

    fn may_be_absent(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Mixed(_) => false,
            Self::Param(param) | Self::CatchAll(param) => param.absence != Absence::Impossible,
        }
    }

    /// The rank among the segments at one place: the lowest wins.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Mixed(_) => 1,
            Self::Param(param) if param.is_constrained() => 2,
            Self::Param(_) => 3,
            Self::CatchAll(param) if param.is_constrained() => 4,
            Self::CatchAll(_) => 5,
        }
    }

    /// Whether both match the same and rank the same. Names do not matter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(own), Self::Literal(other)) => own == other,
            (Self::Mixed(own), Self::Mixed(other)) => own.is_same(other),
            (Self::Param(own), Self::Param(other)) | (Self::CatchAll(own), Self::CatchAll(other)) => {
                own.is_same(other)
            }
            _ => false,
        }
    }

    /// Whether it matches each segment that `other` matches. `false` may also mean that nobody knows. What
    /// catch-alls take is more than a segment; they are compared with each other only.
    pub(crate) fn accepts_all_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(own), Self::Literal(other)) => own == other,
            (Self::Mixed(own), Self::Literal(text)) => own.matches(text, |_, _| ()),
            (Self::Mixed(own), Self::Mixed(other)) => {
                let mut pairs = own.params.iter().zip(&other.params);
                own.has_shape_of(other) && pairs.all(|(own, other)| own.accepts_all_of(other))
            }
            (Self::Param(own), Self::Literal(text)) => !text.is_empty() && own.accepts(text),
            (Self::Param(own), Self::Mixed(_)) => own.accepts_everything(),
            (Self::Param(own), Self::Param(other)) | (Self::CatchAll(own), Self::CatchAll(other)) => {
                own.accepts_all_of(other)
            }
            _ => false,
        }
    }
}

impl Param {
    #[inline]
    pub(crate) fn accepts(&self, value: &str) -> bool {
        self.constraints.iter().all(|constraint| constraint.accepts(value))
    }

    pub(crate) fn is_constrained(&self) -> bool {
        !self.constraints.is_empty()
    }

    pub(crate) fn accepts_everything(&self) -> bool {
        self.constraints.iter().all(Constraint::accepts_everything)
    }

    fn accepts_all_of(&self, other: &Self) -> bool {
        self.constraints.iter().all(|own| {
            own.accepts_everything() || other.constraints.iter().any(|other| own.accepts_all_of(other))
        })
    }

    /// The order of constraints does not matter, nor how often one is there.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.constraints.iter().all(|own| other.constraints.contains(own))
            && other.constraints.iter().all(|other| self.constraints.contains(other))
    }
}

impl Mixed {
    /// Matches a segment from the right, each separator at its last occurrence, and tells the parameters'
    /// places in it by their index, in no order. Where several splits are possible it tries no second one for
    /// a constraint's sake, as ASP.NET Core.
    #[inline]
    pub(crate) fn matches(&self, segment: &str, mut tell: impl FnMut(usize, Range<usize>)) -> bool {
        let inner = segment.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        let Some(mut inner) = inner else { return false };
        for index in (0..self.params.len()).rev() {
            let start = match index.checked_sub(1) {
                None => 0,
                Some(before) => {
                    let separator = &*self.separators[before];
                    // The parameter behind it takes at least one character.
                    let last = inner.char_indices().next_back().map_or(0, |(last, _)| last);
                    let Some(found) = inner[..last].rfind(separator) else { return false };
                    found + separator.len()
                }
            };
            let value = &inner[start..];
            if value.is_empty() || !self.params[index].accepts(value) {
                return false;
            }
            let offset = self.prefix.len() + start;
            tell(index, offset..offset + value.len());
            if index > 0 {
                inner = &inner[..start - self.separators[index - 1].len()];
            }
        }
        true
    }

    pub(crate) fn is_constrained(&self) -> bool {
        self.params.iter().any(Param::is_constrained)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.has_shape_of(other)
            && self.params.iter().zip(&other.params).all(|(own, other)| own.is_same(other))
    }

    fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |of: &Self| (of.prefix.clone(), of.separators.clone(), of.suffix.clone());
        shape(self) == shape(other)
    }

    /// What is left without an optional last parameter and the point before it.
    fn without_last(&self) -> Option<Segment> {
        let (last, params) = self.params.split_last()?;
        if last.absence == Absence::Impossible {
            return None;
        }
        match params {
            [only] if self.prefix.is_empty() => Some(Segment::Param(only.clone())),
            params => {
                let separators = self.separators[..params.len() - 1].to_vec();
                let (prefix, suffix) = (self.prefix.clone(), "".into());
                Some(Segment::Mixed(Self { prefix, params: params.to_vec(), separators, suffix }))
            }
        }
    }
}
