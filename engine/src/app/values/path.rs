//! The parameters of a path: one, some in order, or by name.
//!
//! Owns how their number and names meet a type. It must not know templates or encodings.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::couple::Couple;
use super::error::ValueError;
use super::scalar::{Empty, Scalar, forward_scalars, forward_to_scalar, read, read_twice};
use super::text::Text;

/// Deserializer of all parameters.
pub(super) struct Params<I> {
    params: I,
}

impl<'de, I: Iterator<Item = (&'de str, &'de str)> + Clone> Params<I> {
    pub(super) fn new(params: I) -> Self {
        Self { params }
    }

    /// The only one, as `read` has it.
    fn one<T>(self, read: impl FnOnce(Scalar<'de>) -> Result<T, ValueError>) -> Result<T, ValueError> {
        let mut params = self.params.clone();
        match (params.next(), params.next()) {
            (Some((name, value)), None) => {
                read(Scalar::new(Text::Plain(value), Empty::Value)).map_err(|error| error.of(name))
            }
            _ => Err(wrong_count(1, self.params.count())),
        }
    }

    fn exactly<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ValueError> {
        let count = self.params.clone().count();
        if count == len { visitor.visit_seq(self.access()) } else { Err(wrong_count(len, count)) }
    }

    fn access(self) -> Access<'de, I> {
        Access { params: self.params, current: ("", "") }
    }
}

fn wrong_count(expected: usize, got: usize) -> ValueError {
    let noun = if expected == 1 { "parameter" } else { "parameters" };
    ValueError::mismatch(&format_args!("{expected} {noun}"), &got)
}

macro_rules! one {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            self.one(|scalar| scalar.$method(visitor))
        })*
    };
}

impl<'de, I: Iterator<Item = (&'de str, &'de str)> + Clone> Deserializer<'de> for Params<I> {
    type Error = ValueError;

    one! {
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
        self.one(|scalar| scalar.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self.access())
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self.access())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_map(self.access())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(self.access())
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.exactly(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.exactly(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.params.clone().next() {
            None => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }
}

/// Parameters one after the other.
struct Access<'de, I> {
    params: I,
    current: (&'de str, &'de str),
}

impl<'de, I: Iterator<Item = (&'de str, &'de str)>> MapAccess<'de> for Access<'de, I> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        let Some(current) = self.params.next() else { return Ok(None) };
        self.current = current;
        let key = seed.deserialize(Scalar::new(Text::Plain(current.0), Empty::Value));
        key.map(Some).map_err(|error| error.of(current.0))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        let (name, value) = self.current;
        seed.deserialize(Scalar::new(Text::Plain(value), Empty::Value)).map_err(|error| error.of(name))
    }

    fn next_value<T: Deserialize<'de>>(&mut self) -> Result<T, ValueError> {
        let (name, value) = self.current;
        read(Text::Plain(value)).map_err(|error| error.of(name))
    }

    fn next_entry<K: Deserialize<'de>, T: Deserialize<'de>>(&mut self) -> Result<Option<(K, T)>, ValueError> {
        let Some(key) = self.next_key()? else { return Ok(None) };
        Ok(Some((key, self.next_value()?)))
    }
}

impl<'de, I: Iterator<Item = (&'de str, &'de str)>> SeqAccess<'de> for Access<'de, I> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some((name, value)) = self.params.next() else { return Ok(None) };
        let param = Param { name, value, empty: Empty::Value };
        seed.deserialize(param).map(Some).map_err(|error| error.of(name))
    }

    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, ValueError> {
        let Some((name, value)) = self.params.next() else { return Ok(None) };
        let read = read_twice(Text::Plain(value), |empty| T::deserialize(Param { name, value, empty }));
        read.map(Some).map_err(|error| error.of(name))
    }
}

/// One parameter in a row: its value, or both for those who ask for a pair.
#[derive(Clone, Copy)]
struct Param<'de> {
    name: &'de str,
    value: &'de str,
    empty: Empty,
}

impl<'de> Param<'de> {
    fn scalar(self) -> Result<Scalar<'de>, ValueError> {
        Ok(Scalar::new(Text::Plain(self.value), self.empty))
    }
}

impl<'de> Deserializer<'de> for Param<'de> {
    type Error = ValueError;

    forward_scalars!();

    forward_to_scalar! {
        deserialize_any deserialize_option deserialize_unit deserialize_ignored_any deserialize_seq
        deserialize_map
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ValueError> {
        if len != 2 {
            return self.scalar()?.deserialize_tuple(len, visitor);
        }
        visitor.visit_seq(Couple::new(Text::Plain(self.name), Text::Plain(self.value)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.scalar()?.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.scalar()?.deserialize_struct(name, fields, visitor)
    }
}
