//! The regular expression of the constraint `regex`.
//!
//! Owns the choice of the library behind it, and that there may be none: it knows nothing of constraints. As in
//! ASP.NET Core an expression is searched for in the value, not anchored, and letter case does not matter. `\d`
//! and its like stand for ASCII. The time that a search takes is bounded by the lengths of the two.

#[cfg(not(feature = "regex"))]
use std::convert::Infallible as Regex;

#[cfg(feature = "regex")]
use regex_lite::{Regex, RegexBuilder};

/// An expression, compiled. Without the feature `regex` there is none.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<str>,
    compiled: Regex,
}

impl Pattern {
    /// # Errors
    /// Why the expression is none, or that this build has none, in words that follow the template.
    pub(crate) fn new(expression: &str) -> Result<Self, String> {
        Ok(Self { compiled: compile(expression)?, text: expression.into() })
    }

    /// Whether the expression is found in the value.
    #[cfg(feature = "regex")]
    pub(crate) fn accepts(&self, value: &str) -> bool {
        self.compiled.is_match(value)
    }

    /// Whether the expression is found in the value.
    #[cfg(not(feature = "regex"))]
    pub(crate) fn accepts(&self, _: &str) -> bool {
        match self.compiled {}
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(feature = "regex")]
fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .case_insensitive(true)
        .build()
        .map_err(|error| format!("has the regular expression {expression:?}, which is none: {error}"))
}

#[cfg(not(feature = "regex"))]
fn compile(expression: &str) -> Result<Regex, String> {
    Err(format!("has the regular expression {expression:?}, but this build has not the feature \"regex\""))
}
