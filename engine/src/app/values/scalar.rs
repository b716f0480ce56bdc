//! One text as a value: numbers, truth, characters, strings, the names of variants.
//!
//! Owns how each of these is written. It must not know where the text comes from, nor that there may be more.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, Unexpected, VariantAccess, Visitor};

use super::error::{Quoted, ValueError};
use super::text::{Decoded, NotUtf8, Scratch, Text};

/// What an empty text means. serde asks for an `Option` before it tells of what, and takes one answer only.
/// So an empty text is read twice: first as a value, and if the type has none for it, as nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// An empty value; there will be no second reading.
    Value,
    /// An empty value, of which nobody will read the error.
    Probe,
    /// `None`, for an `Option`.
    Nothing,
}

/// Deserializer of one text.
#[derive(Clone, Copy)]
pub(super) struct Scalar<'de> {
    text: Text<'de>,
    empty: Empty,
}

/// Reads `text` as a `T`.
pub(super) fn read<'de, T: Deserialize<'de>>(text: Text<'de>) -> Result<T, ValueError> {
    read_twice(text, |empty| T::deserialize(Scalar::new(text, empty)))
}

/// Reads once, or twice if `text` is empty: see [`Empty`].
pub(super) fn read_twice<T>(
    text: Text<'_>,
    mut attempt: impl FnMut(Empty) -> Result<T, ValueError>,
) -> Result<T, ValueError> {
    if !text.is_empty() {
        return attempt(Empty::Value);
    }
    attempt(Empty::Probe).or_else(|_| attempt(Empty::Nothing))
}

impl<'de> Scalar<'de> {
    pub(super) fn new(text: Text<'de>, empty: Empty) -> Self {
        Self { text, empty }
    }

    /// Whether an `Option` is `None`.
    pub(super) fn is_nothing(self) -> bool {
        self.empty == Empty::Nothing && self.text.is_empty()
    }

    fn mismatch(self, expected: &str) -> ValueError {
        match self.empty {
            Empty::Probe => ValueError::unsaid(),
            _ => ValueError::mismatch(&expected, &Quoted(&self.text.to_lossy())),
        }
    }

    fn short<'s>(self, scratch: &'s mut Scratch) -> Result<Decoded<'de, 's>, ValueError> {
        self.text.to_short(scratch).map_err(|NotUtf8| self.mismatch("UTF-8"))
    }

    fn parse<T: FromStr>(self, expected: &str) -> Result<T, ValueError> {
        self.short(&mut Scratch::new())?.as_str().parse().map_err(|_| self.mismatch(expected))
    }

    fn refuse<'v, V: Visitor<'v>>(self, visitor: &V) -> ValueError {
        Error::invalid_type(Unexpected::Str(&self.text.to_lossy()), visitor)
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            visitor.$visit(self.parse::<$type>(stringify!($type))?)
        })*
    };
}

impl<'de> Deserializer<'de> for Scalar<'de> {
    type Error = ValueError;

    parsed! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_i128 visit_i128 i128
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
        deserialize_u128 visit_u128 u128
        deserialize_f32 visit_f32 f32
        deserialize_f64 visit_f64 f64
        deserialize_char visit_char char
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.short(&mut Scratch::new())?.as_str() {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_string(visitor)
    }

    /// For types that keep the text.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.text.to_text().map_err(|NotUtf8| self.mismatch("UTF-8"))? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// For types that borrow the text, or that are made of it.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.short(&mut Scratch::new())? {
            Decoded::Input(text) => visitor.visit_borrowed_str(text),
            Decoded::Scratch(text) => visitor.visit_str(text),
            Decoded::Heap(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.short(&mut Scratch::new())? {
            Decoded::Input(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            Decoded::Scratch(text) => visitor.visit_bytes(text.as_bytes()),
            Decoded::Heap(text) => visitor.visit_byte_buf(text.into_bytes()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.text.to_text().map_err(|NotUtf8| self.mismatch("UTF-8"))? {
            Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.is_nothing() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.text.is_empty() { visitor.visit_unit() } else { Err(self.mismatch("nothing")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_enum(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        Err(self.refuse(&visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        Err(self.refuse(&visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        Err(self.refuse(&visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        Err(self.refuse(&visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        Err(self.refuse(&visitor))
    }
}

impl<'de> EnumAccess<'de> for Scalar<'de> {
    type Error = ValueError;
    type Variant = UnitOnly;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, UnitOnly), ValueError> {
        Ok((seed.deserialize(self)?, UnitOnly))
    }
}

/// A variant of which there is no more than its name.
pub(super) struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, ValueError> {
        Err(ValueError::mismatch(&"a variant with a value", &"its name only"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &visitor))
    }
}

/// Methods of a `Deserializer` whose `scalar` answers them: `fn scalar(self) -> Result<Scalar, ValueError>`.
macro_rules! forward_to_scalar {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            self.scalar()?.$method(visitor)
        })*
    };
}

/// All that are scalars whatever stands around them.
macro_rules! forward_scalars {
    () => {
        forward_to_scalar! {
            deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
            deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
            deserialize_byte_buf deserialize_identifier
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            name: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, ValueError> {
            self.scalar()?.deserialize_enum(name, variants, visitor)
        }
    };
}

pub(super) use {forward_scalars, forward_to_scalar};
