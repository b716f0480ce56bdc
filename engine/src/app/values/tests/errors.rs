//! What is said, and how long and in which characters.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::{ValueError, from_pairs};

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Colour {
    Red,
    Blue(u8),
    Green { shade: u8 },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    page: u32,
    on: bool,
    colour: Option<Colour>,
    port: Option<std::num::NonZeroU16>,
    nested: Option<BTreeMap<String, u8>>,
    #[serde(deserialize_with = "never")]
    own: u8,
    list: Vec<f32>,
}

fn never<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let text = String::deserialize(deserializer)?;
    Err(serde::de::Error::custom(format_args!("not today: \"{text}\"")))
}

fn error(form: &str) -> ValueError {
    from_pairs::<Target>(form.as_bytes()).expect_err("something that does not fit")
}

#[test]
fn an_error_names_the_parameter_and_both_sides() {
    for (form, message) in [
        ("page=abc", r#"parameter "page": expected u32, got "abc""#),
        ("page=", r#"parameter "page": expected u32, got """#),
        ("page=-1", r#"parameter "page": expected u32, got "-1""#),
        ("on=yes", r#"parameter "on": expected bool, got "yes""#),
        ("colour=Pink", r#"parameter "colour": expected one of Red, Blue, Green, got "Pink""#),
        ("colour=Blue", r#"parameter "colour": expected a variant with a value, got its name only"#),
        ("colour=Green", r#"parameter "colour": expected struct variant Colour::Green, got unit variant"#),
        ("port=0", r#"parameter "port": expected a nonzero u16, got integer `0`"#),
        ("nested=1", r#"parameter "nested": expected a map, got "1""#),
        ("own=x", r#"parameter "own": not today: "x""#),
        ("list=1&list=x", r#"parameter "list": expected f32, got "x""#),
    ] {
        let error = error(form);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.parameter(), form.split('=').next());
    }
    let whole = from_pairs::<u32>(b"a=1").expect_err("no scalar");
    assert_eq!(
        (whole.to_string().as_str(), whole.parameter()),
        ("expected u32, got parameters by name", None)
    );
}

#[test]
fn an_error_is_short_and_safe_to_print() {
    let long = "x".repeat(100_000);
    let quoted = format!("{}…", "x".repeat(64));
    assert_eq!(
        error(&format!("page={long}")).to_string(),
        format!("parameter \"page\": expected u32, got \"{quoted}\"")
    );
    assert_eq!(error(&format!("page={}", "x".repeat(64))).to_string().matches('…').count(), 0);
    assert!(error(&format!("own={long}")).to_string().chars().count() < 300);
    let name = from_pairs::<BTreeMap<String, u8>>(format!("{long}=y").as_bytes()).expect_err("no number");
    assert_eq!(name.to_string(), format!("parameter \"{quoted}\": expected u8, got \"y\""));

    // A line break, an escape sequence, a quote, and a mark that turns the direction of writing.
    let hostile = "%0a%1b%5b2J%22%e2%80%ae";
    let escaped = r#"\n\u{1b}[2J\"\u{202e}"#;
    assert_eq!(
        error(&format!("page={hostile}")).to_string(),
        format!("parameter \"page\": expected u32, got \"{escaped}\"")
    );
    assert_eq!(
        error(&format!("own={hostile}")).to_string(),
        format!("parameter \"own\": not today: \"{}\"", escaped.replace("\\\"", "\""))
    );
    let name = from_pairs::<BTreeMap<String, u8>>(format!("{hostile}=y").as_bytes()).expect_err("no number");
    assert_eq!(name.to_string(), format!("parameter \"{escaped}\": expected u8, got \"y\""));
}

#[test]
fn a_result_stays_small() {
    assert_eq!(size_of::<ValueError>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), ValueError>>(), 2 * size_of::<usize>());
    let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error("on=2"));
    assert_eq!(format!("{error:?}"), format!("ValueError({error})"));
}
