//! The pairs of a query or form: as a map, or one after the other.
//!
//! Owns how values that are given once and values that are given many times meet a type. It must not know how
//! pairs are found.

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::couple::Couple;
use super::error::ValueError;
use super::repeats::{Pair, Pairs, Search};
use super::scalar::{Empty, Scalar, forward_scalars, forward_to_scalar, read};
use super::text::Text;

/// Deserializer of all pairs.
pub(super) struct Form<'de> {
    bytes: &'de [u8],
}

impl<'de> Form<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes }
    }

    fn fields(&self, once: bool) -> Fields<'de> {
        Fields { pairs: Pairs::new(self.bytes), current: None, once, is_sequence: false }
    }
}

impl<'de> Deserializer<'de> for Form<'de> {
    type Error = ValueError;

    // A scalar's visitor says best itself that it wants no map.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf enum identifier
        struct
    }

    /// A struct sees itself that a field comes twice.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self.fields(false))
    }

    /// A map does not: it would keep the last one without a word.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(self.fields(true))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let mut couples = Couples { pairs: Pairs::new(self.bytes), read: 0 };
        let value = visitor.visit_seq(&mut couples)?;
        match couples.pairs.count() {
            0 => Ok(value),
            more => {
                let expected = couples.read;
                Err(ValueError::mismatch(&format_args!("{expected} parameters"), &(expected + more)))
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match Pairs::new(self.bytes).next() {
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

/// The problem is that of the parameter of this name.
fn named<T>(result: Result<T, ValueError>, name: &[u8]) -> Result<T, ValueError> {
    result.map_err(|error| error.of(&Text::Encoded(name).to_lossy()))
}

/// All pairs in order, each as a tuple.
struct Couples<'de> {
    pairs: Pairs<'de>,
    read: usize,
}

impl<'de> SeqAccess<'de> for &mut Couples<'de> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(pair) = self.pairs.next() else { return Ok(None) };
        self.read += 1;
        let couple = Couple::new(Text::Encoded(pair.name), Text::Encoded(pair.value));
        named(seed.deserialize(SeqAccessDeserializer::new(couple)), pair.name).map(Some)
    }
}

/// The pairs as fields of a struct, or entries of a map.
struct Fields<'de> {
    pairs: Pairs<'de>,
    /// The pair whose value is next.
    current: Option<Pair<'de>>,
    /// Refuse what comes again, unless it is asked for as a sequence.
    once: bool,
    /// The value that was read last is a sequence: it has taken pairs, and cannot be read again.
    is_sequence: bool,
}

impl<'de> Fields<'de> {
    fn begin_value(&mut self) -> Result<Pair<'de>, ValueError> {
        self.is_sequence = false;
        self.current.take().ok_or_else(|| Error::custom("a value was asked for before its name"))
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        self.current = self.pairs.next();
        let Some(pair) = self.current else { return Ok(None) };
        named(seed.deserialize(Scalar::new(Text::Encoded(pair.name), Empty::Value)), pair.name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        let pair = self.begin_value()?;
        named(seed.deserialize(Value { fields: self, pair, empty: Empty::Value }), pair.name)
    }

    fn next_value<T: Deserialize<'de>>(&mut self) -> Result<T, ValueError> {
        let pair = self.begin_value()?;
        let mut read = |empty| T::deserialize(Value { fields: &mut *self, pair, empty });
        let first = read(if pair.value.is_empty() { Empty::Probe } else { Empty::Value });
        let again = first.is_err() && pair.value.is_empty() && !self.is_sequence;
        let value =
            if again { T::deserialize(Value { fields: self, pair, empty: Empty::Nothing }) } else { first };
        named(value, pair.name)
    }

    fn next_entry<K: Deserialize<'de>, T: Deserialize<'de>>(&mut self) -> Result<Option<(K, T)>, ValueError> {
        let Some(key) = self.next_key()? else { return Ok(None) };
        Ok(Some((key, self.next_value()?)))
    }
}

/// The value of a pair, and of those with the same name if it turns out to be a sequence.
struct Value<'a, 'de> {
    fields: &'a mut Fields<'de>,
    pair: Pair<'de>,
    empty: Empty,
}

impl<'de> Value<'_, 'de> {
    /// The value, if it is the only one.
    fn scalar(self) -> Result<Scalar<'de>, ValueError> {
        if self.fields.once {
            let mut search = self.fields.pairs.search(self.pair, false);
            if self.fields.pairs.find(&mut search).is_some() {
                return Err(ValueError::repeated());
            }
        }
        Ok(self.first())
    }

    fn first(&self) -> Scalar<'de> {
        Scalar::new(Text::Encoded(self.pair.value), self.empty)
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = ValueError;

    forward_scalars!();

    forward_to_scalar! { deserialize_unit deserialize_map }

    /// What serde buffers: it may be dropped later, so that it comes again is not held against it.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.first().deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if !self.first().is_nothing() {
            return visitor.visit_some(self);
        }
        self.scalar()?;
        visitor.visit_none()
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

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.fields.is_sequence = true;
        let search = self.fields.pairs.search(self.pair, true);
        let mut values =
            Values { pairs: &mut self.fields.pairs, search, first: Some(self.pair.value), read: 0 };
        let value = visitor.visit_seq(&mut values)?;
        if values.next().is_some() {
            let expected = values.read - 1;
            return Err(ValueError::mismatch(&format_args!("{expected} values"), &"more"));
        }
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }
}

/// All values of one name.
struct Values<'a, 'de> {
    pairs: &'a mut Pairs<'de>,
    search: Search<'de>,
    first: Option<&'de [u8]>,
    read: usize,
}

impl<'de> Values<'_, 'de> {
    fn next(&mut self) -> Option<Text<'de>> {
        let value = self.first.take().or_else(|| Some(self.pairs.find(&mut self.search)?.value))?;
        self.read += 1;
        Some(Text::Encoded(value))
    }
}

impl<'de> SeqAccess<'de> for &mut Values<'_, 'de> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        self.next().map(|text| seed.deserialize(Scalar::new(text, Empty::Value))).transpose()
    }

    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, ValueError> {
        self.next().map(read).transpose()
    }
}
