//! What a route's constraints let through: `{id:int}`, `{name:length(2,20)}`.
//!
//! Owns the names, the arguments and the meaning of constraints. It knows neither templates nor paths: it is
//! asked about one value at a time. The names and their meaning are those of ASP.NET Core, except that
//!
//! - numbers have neither spaces around them nor separators in them, so that [`str::parse`] takes what `int`,
//!   `long`, `float` and `double` have let through;
//! - `datetime` takes dates and times of ISO 8601 and RFC 3339 only, not all that .NET's cultures can read;
//! - `guid` does not take .NET's form `X`, with `0x` and nested braces;
//! - lengths are counted in characters, not in units of UTF-16.

use super::pattern::Pattern;

/// One condition on a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constraint {
    /// `int`: 32 bits, signed.
    Int,
    /// `long`: 64 bits, signed.
    Long,
    /// `bool`: `true` or `false` in any letter case.
    Bool,
    /// `datetime`: `2026-01-31`, or with a time behind it, `2026-01-31T23:59:59.5+01:00`. The `T` may be a
    /// space, the seconds and the offset may be missing, the offset may be `Z`.
    DateTime,
    /// `decimal`: 96 bits with a sign and a decimal point, without an exponent.
    Decimal,
    /// `double`, with or without an exponent, or `NaN`, or `Infinity`.
    Double,
    /// `float`: what `double` takes, because what is too large becomes infinity.
    Float,
    /// `guid`: 32 hexadecimal digits, plain or in groups, and the groups also in braces or parentheses.
    Guid,
    /// `alpha`: letters of ASCII only.
    Alpha,
    /// `required`: anything. A parameter never matches nothing.
    Required,
    /// `file`: what is behind the last `/` has a point, and more than points behind it.
    File,
    /// `nonfile`: what is no `file`.
    NonFile,
    /// `length(n)`, `length(min,max)`, `minlength(n)`, `maxlength(n)`, in characters, inclusive.
    Length(usize, usize),
    /// `min(n)`, `max(n)`, `range(min,max)`: a `long` between the two, inclusive.
    Between(i64, i64),
    /// `regex(expression)`.
    Regex(Pattern),
}

/// All names, as messages list them.
const NAMES: &str = "alpha, bool, datetime, decimal, double, file, float, guid, int, length, long, max, \
                     maxlength, min, minlength, nonfile, range, regex, required";

impl Constraint {
    /// Makes a constraint of its name, in any letter case, and of what is in its parentheses.
    ///
    /// # Errors
    /// What is wrong, in words that follow the template.
    pub(crate) fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let known = name.to_ascii_lowercase();
        let plain = match known.as_str() {
            "int" => Some(Self::Int),
            "long" => Some(Self::Long),
            "bool" => Some(Self::Bool),
            "datetime" => Some(Self::DateTime),
            "decimal" => Some(Self::Decimal),
            "double" => Some(Self::Double),
            "float" => Some(Self::Float),
            "guid" => Some(Self::Guid),
            "alpha" => Some(Self::Alpha),
            "required" => Some(Self::Required),
            "file" => Some(Self::File),
            "nonfile" => Some(Self::NonFile),
            _ => None,
        };
        if let Some(plain) = plain {
            return match argument {
                Some(_) => Err(format!("has an argument for the constraint {known:?}, which takes none")),
                None => Ok(plain),
            };
        }
        let arguments = Arguments { name: &known, text: argument };
        match known.as_str() {
            "min" => Ok(Self::Between(arguments.one()?, i64::MAX)),
            "max" => Ok(Self::Between(i64::MIN, arguments.one()?)),
            "range" => arguments.two().map(|(least, most)| Self::Between(least, most)),
            "minlength" => Ok(Self::Length(arguments.one()?, usize::MAX)),
            "maxlength" => Ok(Self::Length(0, arguments.one()?)),
            "length" if argument.is_some_and(|text| text.contains(',')) => {
                arguments.two().map(|(least, most)| Self::Length(least, most))
            }
            "length" => arguments.one().map(|exactly| Self::Length(exactly, exactly)),
            "regex" => match argument {
                Some(expression) if !expression.is_empty() => Pattern::new(expression).map(Self::Regex),
                _ => Err(r#"has the constraint "regex" without its expression"#.into()),
            },
            _ => Err(format!("has the unknown constraint {name:?}; there are {NAMES}")),
        }
    }

    /// Whether a value, which is not empty, fulfils it.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::DateTime => is_date_time(value).is_some(),
            Self::Decimal => is_decimal(value),
            Self::Double | Self::Float => is_double(value),
            Self::Guid => is_guid(value.as_bytes()),
            Self::Alpha => value.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Required => !value.is_empty(),
            Self::File => is_file(value),
            Self::NonFile => !is_file(value),
            Self::Length(least, most) => (*least..=*most).contains(&value.chars().count()),
            Self::Between(least, most) => {
                value.parse().is_ok_and(|number| (*least..=*most).contains(&number))
            }
            Self::Regex(pattern) => pattern.accepts(value),
        }
    }

    /// Whether it takes every value that is not empty.
    pub(crate) fn accepts_everything(&self) -> bool {
        matches!(self, Self::Required | Self::Length(0 | 1, usize::MAX))
    }

    /// Whether it takes whatever `other` takes. `false` may also mean that nobody knows.
    pub(crate) fn accepts_all_of(&self, other: &Self) -> bool {
        const INT: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
        match (other, self) {
            (Self::Int, Self::Long | Self::Decimal | Self::Double | Self::Float)
            | (Self::Long | Self::Between(..), Self::Long | Self::Decimal | Self::Double | Self::Float)
            | (Self::Decimal | Self::Double | Self::Float, Self::Double | Self::Float)
            | (Self::Bool, Self::Alpha) => true,
            (Self::Int, Self::Between(least, most)) => *least <= INT.0 && INT.1 <= *most,
            (Self::Between(least, most), Self::Int) => INT.0 <= *least && *most <= INT.1,
            (Self::Between(least, most), Self::Between(own_least, own_most)) => {
                own_least <= least && most <= own_most
            }
            (Self::Length(least, most), Self::Length(own_least, own_most)) => {
                own_least <= least && most <= own_most
            }
            (other, own) => own == other || own.accepts_everything(),
        }
    }
}

/// What is in the parentheses behind a constraint's name.
struct Arguments<'a> {
    name: &'a str,
    text: Option<&'a str>,
}

impl Arguments<'_> {
    fn number<T: std::str::FromStr>(&self, text: &str) -> Result<T, String> {
        let text = text.trim();
        text.parse().map_err(|_| {
            let kind = if self.name.contains("length") { "a length" } else { "a number of 64 bits" };
            format!("has {text:?} in the constraint {:?}, where {kind} belongs", self.name)
        })
    }

    fn one<T: std::str::FromStr>(&self) -> Result<T, String> {
        match self.text {
            Some(text) => self.number(text),
            None => Err(format!("has the constraint {:?} without its argument", self.name)),
        }
    }

    fn two<T: std::str::FromStr + PartialOrd>(&self) -> Result<(T, T), String> {
        let Some((least, most)) = self.text.and_then(|text| text.split_once(',')) else {
            return Err(format!("has the constraint {:?} without its two arguments", self.name));
        };
        let (least, most) = (self.number(least)?, self.number(most)?);
        if least > most {
            return Err(format!("has the constraint {:?} with its least value above its most", self.name));
        }
        Ok((least, most))
    }
}

fn is_double(value: &str) -> bool {
    // `str::parse` also knows this short form, .NET does not.
    let is_short =
        value.get(value.len().saturating_sub(3)..).is_some_and(|end| end.eq_ignore_ascii_case("inf"));
    !is_short && value.parse::<f64>().is_ok()
}

fn is_decimal(value: &str) -> bool {
    /// 2 to the power of 96, less one.
    const MOST: u128 = (1 << 96) - 1;
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    match whole.trim_start_matches('0') {
        "" => !(whole.is_empty() && fraction.is_empty()),
        // The fraction is rounded to what fits, and may be what makes it too large.
        whole => match whole.parse::<u128>() {
            Ok(MOST) => fraction.bytes().next().unwrap_or(b'0') < b'5',
            Ok(whole) => whole < MOST,
            Err(_) => false,
        },
    }
}

fn is_guid(value: &[u8]) -> bool {
    let value = match value {
        [b'{', inner @ .., b'}'] | [b'(', inner @ .., b')'] if inner.len() == 36 => inner,
        value => value,
    };
    match value.len() {
        32 => value.iter().all(u8::is_ascii_hexdigit),
        36 => value.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    }
}

fn is_file(value: &str) -> bool {
    let name = value.rsplit('/').next().unwrap_or_default();
    name.split_once('.').is_some_and(|(_, end)| end.bytes().any(|byte| byte != b'.'))
}

/// A date, or a date and a time (RFC 3339 section 5.6, with what ISO 8601 lets one leave out).
fn is_date_time(value: &str) -> Option<()> {
    let mut rest = value.as_bytes();
    let year = digits(&mut rest, 4)?;
    take(&mut rest, b"-")?;
    let month = digits(&mut rest, 2)?;
    take(&mut rest, b"-")?;
    let day = digits(&mut rest, 2)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || !(1..=days).contains(&day) {
        return None;
    }
    if rest.is_empty() {
        return Some(());
    }
    take(&mut rest, b"Tt ")?;
    hours_and_minutes(&mut rest)?;
    if take(&mut rest, b":").is_some() {
        digits(&mut rest, 2).filter(|&second| second < 60)?;
        if take(&mut rest, b".").is_some() {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest = rest.get(length..).filter(|_| length > 0)?;
        }
    }
    if take(&mut rest, b"+-").is_some() {
        hours_and_minutes(&mut rest)?;
    } else {
        let _ = take(&mut rest, b"Zz");
    }
    rest.is_empty().then_some(())
}

fn hours_and_minutes(rest: &mut &[u8]) -> Option<()> {
    digits(rest, 2).filter(|&hour| hour < 24)?;
    take(rest, b":")?;
    digits(rest, 2).filter(|&minute| minute < 60).map(|_| ())
}

fn digits(rest: &mut &[u8], count: usize) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

fn take(rest: &mut &[u8], one_of: &[u8]) -> Option<()> {
    let (first, behind) = rest.split_first()?;
    *rest = one_of.contains(first).then_some(behind)?;
    Some(())
}
