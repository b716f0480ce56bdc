//! What did not fit, in one line that is safe to print.
//!
//! Owns the wording and the limits of its length. It must not know where parameters come from.

use std::fmt::{self, Write};

use serde::de::{self, Expected, Unexpected};

/// How much of a name or value is shown, in characters.
const QUOTED: usize = 64;

/// How much of a problem is shown, in characters.
const PROBLEM: usize = 256;

/// Why parameters are not of the type that was asked for: `parameter "page": expected u32, got "abc"`.
///
/// What came with the request is quoted, escaped and cut.
pub(crate) struct ValueError(Option<Box<Parts>>);

struct Parts {
    /// Escaped and cut.
    parameter: Option<String>,
    problem: String,
}

impl ValueError {
    /// An error that somebody will throw away: it costs nothing and says little.
    pub(super) fn unsaid() -> Self {
        Self(None)
    }

    fn new(parameter: Option<&str>, problem: &dyn fmt::Display) -> Self {
        let parameter = parameter.map(|name| line(name, QUOTED, true));
        Self(Some(Box::new(Parts { parameter, problem: line(problem, PROBLEM, false) })))
    }

    pub(super) fn mismatch(expected: &dyn fmt::Display, got: &dyn fmt::Display) -> Self {
        Self::new(None, &format_args!("expected {expected}, got {got}"))
    }

    pub(super) fn repeated() -> Self {
        Self::new(None, &"given more than once")
    }

    /// Names the parameter, unless that has been done closer to the problem.
    pub(super) fn of(self, parameter: &str) -> Self {
        let mut parts = self.0.unwrap_or_else(|| {
            Box::new(Parts { parameter: None, problem: "expected a value, got nothing".to_owned() })
        });
        parts.parameter.get_or_insert_with(|| line(parameter, QUOTED, true));
        Self(Some(parts))
    }
}

#[cfg(test)]
impl ValueError {
    /// The parameter that did not fit, escaped and cut, if the problem is one parameter's.
    pub(super) fn parameter(&self) -> Option<&str> {
        self.0.as_ref().and_then(|parts| parts.parameter.as_deref())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = &self.0 else { return f.write_str("expected a value, got nothing") };
        if let Some(parameter) = &parts.parameter {
            write!(f, "parameter \"{parameter}\": ")?;
        }
        f.write_str(&parts.problem)
    }
}

impl fmt::Debug for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueError({self})")
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::new(None, &message)
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, &Got(got))
    }

    fn invalid_value(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, &Got(got))
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, &format_args!("{len}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::mismatch(&OneOf(expected), &Quoted(variant))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Some(field), &format_args!("unknown, expected {}", OneOf(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Some(field), &"missing")
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::repeated().of(field)
    }
}

/// A name or value between quotes.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        Line { out: f, left: QUOTED, quoted: true }.finish(&self.0)?;
        f.write_char('"')
    }
}

struct Got<'a>(Unexpected<'a>);

impl fmt::Display for Got<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => Quoted(text).fmt(f),
            Unexpected::Map => f.write_str("parameters by name"),
            other => other.fmt(f),
        }
    }
}

struct OneOf(&'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none at all"),
            [only] => f.write_str(only),
            several => {
                f.write_str("one of ")?;
                for (index, name) in several.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    f.write_str(name)?;
                }
                Ok(())
            }
        }
    }
}

/// At most `limit` characters of one line. Quotes and backslashes are escaped in `quoted` text only: a message
/// has its own, and may hold what was escaped before.
fn line(text: impl fmt::Display, limit: usize, quoted: bool) -> String {
    let mut out = String::new();
    let written = Line { out: &mut out, left: limit, quoted }.finish(&text);
    debug_assert!(written.is_ok(), "a string takes everything");
    out
}

/// Passes on a limited number of characters, none of which moves a cursor or the direction of writing.
struct Line<'a, W> {
    out: &'a mut W,
    left: usize,
    quoted: bool,
}

impl<W: Write> Line<'_, W> {
    fn finish(mut self, text: &dyn fmt::Display) -> fmt::Result {
        // The failure that ends a text which is too long is this writer's own.
        match write!(self, "{text}") {
            Err(_) if self.left == 0 => self.out.write_char('…'),
            result => result,
        }
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match char {
                '"' | '\'' | '\\' if !self.quoted => self.out.write_char(char)?,
                '\'' => self.out.write_char(char)?,
                _ => write!(self.out, "{}", char.escape_debug())?,
            }
        }
        Ok(())
    }
}
