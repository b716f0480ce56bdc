//! Parameters of paths.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::{ValueError, from_params};
use super::lies_in;

fn read<'de, T: Deserialize<'de>>(params: &[(&'de str, &'de str)]) -> Result<T, ValueError> {
    from_params(params.iter().copied())
}

fn refused<T: DeserializeOwned>(params: &[(&str, &str)]) -> String {
    read::<T>(params).err().expect("parameters that do not fit").to_string()
}

#[derive(Debug, PartialEq, Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Id(u64);

#[test]
fn one_parameter_is_a_scalar() -> Result<(), ValueError> {
    assert_eq!(read::<u64>(&[("id", "7")])?, 7);
    assert_eq!(read::<i128>(&[("id", "-7")])?, -7);
    assert_eq!(read::<f32>(&[("id", "0.5")])?, 0.5);
    assert!(read::<bool>(&[("id", "1")])?);
    assert_eq!(read::<char>(&[("id", "é")])?, 'é');
    assert_eq!(read::<String>(&[("id", "a+%41")])?, "a+%41");
    assert_eq!(read::<Colour>(&[("id", "Green")])?, Colour::Green);
    assert_eq!(read::<Id>(&[("id", "7")])?, Id(7));
    assert_eq!(read::<Option<Id>>(&[("id", "7")])?, Some(Id(7)));
    assert_eq!(read::<Option<Id>>(&[])?, None);
    assert_eq!(refused::<u64>(&[]), "expected 1 parameter, got 0");
    assert_eq!(refused::<Colour>(&[("a", "Red"), ("b", "Red")]), "expected 1 parameter, got 2");
    Ok(())
}

#[test]
fn some_parameters_are_a_tuple() -> Result<(), ValueError> {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Place(String, Id);
    let params = [("name", "x"), ("id", "7")];
    assert_eq!(read::<(String, u8)>(&params)?, ("x".to_owned(), 7));
    assert_eq!(read::<(Colour,)>(&[("c", "Red")])?, (Colour::Red,));
    assert_eq!(read::<Place>(&params)?, Place("x".to_owned(), Id(7)));
    assert_eq!(read::<[char; 2]>(&params)?, ['x', '7']);
    assert_eq!(read::<(Option<u8>, Option<String>)>(&[("a", ""), ("b", "")])?, (None, Some(String::new())));
    assert_eq!(refused::<(String, u8, u8)>(&params), "expected 3 parameters, got 2");
    assert_eq!(refused::<(String,)>(&params), "expected 1 parameter, got 2");
    assert_eq!(
        refused::<(String, char)>(&[("a", "x"), ("b", "yz")]),
        r#"parameter "b": expected char, got "yz""#
    );
    Ok(())
}

#[test]
fn named_parameters_are_a_struct_or_a_map() -> Result<(), ValueError> {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Place {
        id: Id,
        name: Option<String>,
        page: Option<u8>,
        colour: Option<Colour>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Place);
    let place = || Place { id: Id(7), name: Some("x".to_owned()), page: None, colour: None };
    let params = [("name", "x"), ("more", "!"), ("id", "7"), ("page", "")];
    assert_eq!(read::<Place>(&params)?, place());
    assert_eq!(read::<Wrapped>(&params)?, Wrapped(place()));
    assert_eq!(
        read::<BTreeMap<&str, Option<u8>>>(&[("a", "1"), ("b", "")])?,
        BTreeMap::from([("a", Some(1)), ("b", None)])
    );
    assert_eq!(refused::<Place>(&params[..2]), r#"parameter "id": missing"#);
    assert_eq!(refused::<Place>(&[("id", "7.0")]), r#"parameter "id": expected u64, got "7.0""#);
    Ok(())
}

#[test]
fn all_parameters_are_a_sequence() -> Result<(), ValueError> {
    let params = [("name", "x"), ("id", "7")];
    let owned = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    assert_eq!(read::<Vec<(String, String)>>(&params)?, params.map(owned));
    assert_eq!(read::<Vec<String>>(&params)?, ["x", "7"]);
    assert_eq!(read::<Vec<Id>>(&params[1..])?, [Id(7)]);
    assert!(read::<Vec<u8>>(&[])?.is_empty());
    read::<()>(&params)?;
    Ok(())
}

#[test]
fn a_parameter_holds_one_value() {
    assert_eq!(
        refused::<BTreeMap<String, Vec<u8>>>(&[("a", "1")]),
        r#"parameter "a": expected a sequence, got "1""#
    );
    assert_eq!(
        refused::<Vec<BTreeMap<String, u8>>>(&[("a", "1")]),
        r#"parameter "a": expected a map, got "1""#
    );
    assert_eq!(
        refused::<(Vec<u8>, u8)>(&[("a", "1"), ("b", "1")]),
        r#"parameter "a": expected a sequence, got "1""#
    );
    assert_eq!(
        refused::<Vec<(u8, u8, u8)>>(&[("a", "1")]),
        r#"parameter "a": expected a tuple of size 3, got "1""#
    );
}

#[test]
fn text_is_borrowed() -> Result<(), ValueError> {
    #[derive(Deserialize)]
    struct Place<'a> {
        id: &'a str,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let input = String::from("7xyz");
    let inside = |part: &str| lies_in(part, input.as_bytes());
    let params = [("id", &input[..1]), ("name", &input[1..])];
    let place: Place<'_> = read(&params)?;
    assert!(inside(place.id) && inside(&place.name) && matches!(place.name, Cow::Borrowed("xyz")));
    let (id, name): (&str, &str) = read(&params)?;
    assert!(inside(id) && inside(name));
    assert!(inside(read::<&str>(&params[..1])?));
    assert!(read::<Vec<(&str, &str)>>(&params)?.iter().all(|(_, value)| inside(value)));
    Ok(())
}
