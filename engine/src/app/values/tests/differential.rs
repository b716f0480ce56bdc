//! The same forms as `serde_html_form` reads them. What is otherwise here, and why:
//!
//! - bytes that are no UTF-8 are an error, not `U+FFFD`: nobody should store what nobody sent;
//! - an empty value is `None` for an `Option` of anything that has no empty text, not of numbers and `bool`
//!   only: forms send empty fields for every type;
//! - `1` and `0` are `bool`s, as people write them in queries.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::super::from_pairs;

#[derive(Debug, PartialEq, Deserialize)]
struct Fields {
    a: Option<u32>,
    b: Option<String>,
    #[serde(default)]
    c: Vec<String>,
    #[serde(default)]
    d: Vec<Option<i8>>,
    #[serde(default)]
    e: Vec<Letter>,
    f: Option<f32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Letter {
    X,
    Y,
}

/// Both read it alike, or both refuse it.
fn alike<'de, T: Deserialize<'de> + PartialEq + std::fmt::Debug>(
    form: &'de str,
) -> Result<(), TestCaseError> {
    let ours = from_pairs::<T>(form.as_bytes());
    let theirs = serde_html_form::from_str::<T>(form);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{}", form),
        (Err(_), Err(_)) => {}
        _ => prop_assert!(false, "{form}: {ours:?} and {theirs:?}"),
    }
    Ok(())
}

fn pair(name: &'static str, value: &'static str) -> impl Strategy<Value = String> {
    (name, value).prop_map(|(name, value)| name + &value)
}

fn form(pair: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(pair, 0..40).prop_map(|pairs| pairs.join("&"))
}

/// Mostly what fits the struct, so that both read it and do not only refuse it together.
fn fields() -> impl Strategy<Value = String> {
    let pair = prop_oneof![
        40 => pair("c|%63", "|=[g-i+%]{0,3}|=%7[8-9]"),
        40 => pair("d|%6[4]", "|=-?[0-9]{1,2}|=%3[0-9]"),
        40 => pair("e|%65", "=[xy]|=%7[8-9]"),
        20 => pair("[g-z]{1,2}|", "=[0-9]?|"),
        1 => pair("a|%61", "|=[0-9]{1,10}"),
        1 => pair("b|%62", "|=[g-i+%]{0,3}"),
        1 => pair("f|%66", "|=-?[0-9]{1,2}([.][0-9])?"),
        1 => pair("[a-f]", "=[0-9xy.]{0,3}"),
    ];
    form(pair)
}

proptest! {
    #[test]
    fn any_text_as_pairs(form in "([a-c&=+%é]|%[0-7][0-9a-fA-F]|%[c-f][0-9]%[89ab][0-9]){0,30}") {
        let theirs: Vec<(String, String)> = serde_html_form::from_str(&form).expect("text as text");
        let lossy = theirs.iter().any(|(name, value)| (name.clone() + value).contains('\u{fffd}'));
        match from_pairs::<Vec<(String, String)>>(form.as_bytes()) {
            Ok(ours) => prop_assert_eq!(ours, theirs),
            // They put U+FFFD in the place of what is no UTF-8, we refuse it.
            Err(error) => prop_assert!(lossy, "{}: {}", form, error),
        }
    }

    #[test]
    fn pairs_as_a_struct(form in fields()) {
        alike::<Fields>(&form)?;
    }

    #[test]
    fn pairs_as_a_map_of_sequences(form in form(pair("[a-z]|[a-d][a-d]|%6[1-7]|", "=[0-9]|=[0-9+%]{2}|"))) {
        alike::<BTreeMap<String, Vec<String>>>(&form)?;
    }

    #[test]
    fn pairs_as_a_map_of_scalars(form in form(pair("[a-z]{1,3}", "=[0-9]?"))) {
        alike::<BTreeMap<String, Option<u8>>>(&form)?;
    }
}

#[test]
fn the_differences_are_still_there() {
    fn both<'de, T: Deserialize<'de>>(form: &'de str) -> (Option<T>, Option<T>) {
        (from_pairs(form.as_bytes()).ok(), serde_html_form::from_str(form).ok())
    }
    let pair = |value: &str| vec![("k".to_owned(), value.to_owned())];
    assert_eq!(both::<Vec<(String, String)>>("k=%ff"), (None, Some(pair("\u{fffd}"))));
    assert_eq!(both::<Vec<(char, Option<Letter>)>>("k="), (Some(vec![('k', None)]), None));
    assert_eq!(both::<Vec<(char, bool)>>("k=1"), (Some(vec![('k', true)]), None));
}
