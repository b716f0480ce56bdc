//! A name and its value as a tuple of two.
//!
//! Owns nothing else. It must not know where the two come from.

use serde::Deserialize;
use serde::de::{DeserializeSeed, SeqAccess};

use super::error::ValueError;
use super::scalar::{Empty, Scalar, read};
use super::text::Text;

/// The two that are left to read.
pub(super) struct Couple<'de> {
    name: Option<Text<'de>>,
    value: Option<Text<'de>>,
}

impl<'de> Couple<'de> {
    pub(super) fn new(name: Text<'de>, value: Text<'de>) -> Self {
        Self { name: Some(name), value: Some(value) }
    }

    fn take(&mut self) -> Option<Text<'de>> {
        self.name.take().or_else(|| self.value.take())
    }
}

impl<'de> SeqAccess<'de> for Couple<'de> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        self.take().map(|text| seed.deserialize(Scalar::new(text, Empty::Value))).transpose()
    }

    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, ValueError> {
        self.take().map(read).transpose()
    }
}
