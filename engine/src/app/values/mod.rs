//! Parameters as serde types: those of a path, and the pairs of a query string or of a form.
//!
//! Owns what each kind of type means here, and the errors that say what did not fit. It must not know requests,
//! routes or where the bytes lie. Nothing allocates unless the target does, but for errors, for escaped text of
//! more than [`text::SHORT`] bytes on its way to a number or a name, and for the index of [`repeats`].
//!
//! A parameter is text, so its own type decides how it is read: integers and floats as `FromStr` has them,
//! `bool` from `true`, `false`, `1` and `0`, unit variants by name, `()` from nothing. An empty value is `None`
//! for an `Option` whose type cannot be read from an empty text, and `Some` for one of text.
//!
//! What serde buffers first (`flatten`, tagged and untagged enums) it buffers as text: there strings, maps of
//! strings and unit variants work, numbers and sequences do not.

mod couple;
mod error;
mod pairs;
mod path;
mod repeats;
mod scalar;
#[cfg(test)]
mod tests;
mod text;

use serde::Deserialize;

pub(crate) use error::ValueError;

/// Reads the parameters of a path, which are decoded already: names and values in the order of the template.
///
/// - a scalar or an enum: exactly one parameter;
/// - a tuple, a tuple struct, an array: as many as there are, in order;
/// - a struct or a map: by name, more than asked for is fine;
/// - a sequence: all values in order, or all `(name, value)`;
/// - an `Option` of any of these: `None` without parameters; `()`: whatever there is.
///
/// # Errors
/// What is missing, does not fit its type, or is of another number.
pub(crate) fn from_params<'de, T: Deserialize<'de>>(
    params: impl Iterator<Item = (&'de str, &'de str)> + Clone,
) -> Result<T, ValueError> {
    T::deserialize(path::Params::new(params))
}

/// Reads `a=1&b=x+y&c=%41` (WHATWG URL, section 5.1): `+` is a space, an invalid escape stays as it is.
///
/// - a struct or a map: by name, unknown ones are ignored unless the type denies them;
/// - a sequence: all `(name, value)` in order;
/// - an `Option` of any of these: `None` without pairs; `()`: whatever there is.
///
/// A field of a sequence type takes all pairs of its name, wherever they stand; one without pairs needs
/// `#[serde(default)]`. A tuple takes as many as it has places. Any other field, and any other value of a map,
/// stands once. Only what serde buffers itself (a flattened map, say) keeps the last one.
///
/// # Errors
/// What is missing, is repeated, does not fit its type, or is no UTF-8 once decoded. Values that nothing asks
/// for are not looked at.
pub(crate) fn from_pairs<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ValueError> {
    T::deserialize(pairs::Form::new(bytes))
}
