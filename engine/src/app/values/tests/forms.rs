//! Queries and forms.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::from_pairs;
use super::super::text::SHORT;
use super::lies_in;

fn read<'de, T: Deserialize<'de>>(form: &'de str) -> T {
    from_pairs(form.as_bytes()).expect("a form that fits")
}

fn refused<T: DeserializeOwned>(form: &str) -> String {
    from_pairs::<T>(form.as_bytes()).err().expect("a form that does not fit").to_string()
}

/// A field `v` of any type.
#[derive(Debug, PartialEq, Deserialize)]
struct One<T> {
    v: T,
}

fn value<'de, T: Deserialize<'de>>(form: &'de str) -> T {
    read::<One<T>>(form).v
}

#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Id(u64);

#[test]
fn scalars_are_parsed() {
    assert_eq!(value::<u8>("v=255"), u8::MAX);
    assert_eq!(value::<u16>("v=65535"), u16::MAX);
    assert_eq!(value::<u32>("v=%34%32"), 42);
    assert_eq!(value::<u64>("v=18446744073709551615"), u64::MAX);
    assert_eq!(value::<u128>(&format!("v={}", u128::MAX)), u128::MAX);
    assert_eq!(value::<i8>("v=-128"), i8::MIN);
    assert_eq!(value::<i16>("v=%2B7"), 7);
    assert_eq!(value::<i32>("v=-1"), -1);
    assert_eq!(value::<i64>("v=-9223372036854775808"), i64::MIN);
    assert_eq!(value::<i128>(&format!("v={}", i128::MIN)), i128::MIN);
    assert_eq!(value::<f32>("v=1.5"), 1.5);
    assert_eq!(value::<f64>("v=-2e3"), -2000.0);
    assert_eq!(value::<char>("v=%C3%A9"), 'é');
    assert_eq!(value::<(bool, bool, bool, bool)>("v=true&v=1&v=false&v=0"), (true, true, false, false));
    assert_eq!(value::<Colour>("v=green"), Colour::Green);
    assert_eq!(value::<Colour>("v=gree%6e"), Colour::Green);
    assert_eq!(value::<Id>("v=7"), Id(7));
    assert_eq!(value::<NonZeroU16>("v=7").get(), 7);
    assert_eq!(value::<IpAddr>("v=%3A%3A1"), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
    value::<()>("v=");
}

#[test]
fn a_number_may_be_longer_than_the_scratch_room() {
    let long = format!("v={}%31", "0".repeat(SHORT));
    assert_eq!(value::<u32>(&long), 1);
    let fits = format!("v={}%31", "0".repeat(SHORT - 3));
    assert_eq!(value::<u32>(&fits), 1);
}

#[test]
fn text_is_decoded() {
    assert_eq!(value::<String>("v=x+y%2b%26%3D%C3%A9"), "x y+&=é");
    assert_eq!(value::<String>("v=100%&w"), "100%");
    assert_eq!(value::<String>("v=%4%41%zz%"), "%4A%zz%");
    assert_eq!(value::<String>("%76=a=b"), "a=b");
    assert_eq!(value::<String>("&&v&&"), "");
    assert_eq!(value::<Box<[u8]>>("v=1&v=2").as_ref(), [1, 2]);
}

#[test]
fn what_needs_no_decoding_is_borrowed() {
    #[derive(Deserialize)]
    struct Search<'a> {
        q: &'a str,
        #[serde(borrow)]
        sort: Cow<'a, str>,
        tag: Vec<&'a str>,
        raw: &'a [u8],
        lone: Option<&'a str>,
    }
    let form = String::from("q=abc&tag=x&sort=up&tag=yz&raw=r%zz&lone=100%");
    let search: Search<'_> = read(&form);
    assert_eq!((search.q, search.tag.as_slice()), ("abc", ["x", "yz"].as_slice()));
    assert_eq!((search.raw, search.lone), (b"r%zz".as_slice(), Some("100%")));
    let Cow::Borrowed(sort) = search.sort else { panic!("{} was copied", search.sort) };
    let raw = str::from_utf8(search.raw).expect("UTF-8");
    for part in [search.q, sort, search.tag[0], search.tag[1], raw, search.lone.expect("given")] {
        assert!(lies_in(part, form.as_bytes()), "{part} was copied");
    }

    let map: HashMap<&str, &str> = read(&form[..5]);
    assert!(
        map.iter().all(|(name, value)| lies_in(name, form.as_bytes()) && lies_in(value, form.as_bytes()))
    );
    let pairs: Vec<(&str, &str)> = read(&form);
    assert!(pairs.iter().all(|(_, value)| lies_in(value, form.as_bytes())));
}

#[test]
fn what_needs_decoding_is_owned_or_refused() {
    #[derive(Debug, Deserialize)]
    struct Search<'a> {
        #[serde(borrow)]
        q: Cow<'a, str>,
    }
    for form in [String::from("q=a+b"), format!("q={}+", "x".repeat(2 * SHORT))] {
        assert!(matches!(read::<Search<'_>>(&form).q, Cow::Owned(_)));
        let refused = from_pairs::<One<&str>>(form.replace('q', "v").as_bytes()).map(drop);
        assert!(refused.expect_err("not in the form").to_string().contains("a borrowed string"));
    }
}

#[test]
fn fields_may_be_missing_or_empty() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Paging {
        page: Option<u32>,
        size: Option<Id>,
        colour: Option<Colour>,
        on: Option<bool>,
        letter: Option<char>,
        address: Option<IpAddr>,
        text: Option<String>,
        #[serde(default = "ten")]
        limit: u8,
        #[serde(default)]
        tags: Vec<Option<u8>>,
    }
    fn ten() -> u8 {
        10
    }
    let nothing = Paging {
        page: None,
        size: None,
        colour: None,
        on: None,
        letter: None,
        address: None,
        text: None,
        limit: 10,
        tags: vec![],
    };
    assert_eq!(read::<Paging>(""), nothing);
    let empty = read::<Paging>("page=&size&colour=&on=&letter=&address=&text=&tags=&tags=3&tags=");
    assert_eq!(empty, Paging { text: Some(String::new()), tags: vec![None, Some(3), None], ..nothing });
    let some = read::<Paging>("page=2&size=3&colour=red&on=1&letter=x&limit=4&text=t");
    assert_eq!(
        some,
        Paging {
            page: Some(2),
            size: Some(Id(3)),
            colour: Some(Colour::Red),
            on: Some(true),
            letter: Some('x'),
            address: None,
            text: Some("t".to_owned()),
            limit: 4,
            tags: vec![]
        }
    );
    let map: BTreeMap<String, Option<u8>> = read("a=&b=1");
    assert_eq!(map, BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(1))]));
    let pairs: Vec<(String, Option<u8>)> = read("a=&b=1");
    assert_eq!(pairs, [("a".to_owned(), None), ("b".to_owned(), Some(1))]);
}

#[test]
fn an_optional_sequence_is_not_read_twice() {
    assert_eq!(value::<Option<Vec<String>>>("v=&v=a"), Some(vec![String::new(), "a".to_owned()]));
    assert_eq!(value::<Option<Vec<Option<u8>>>>("v=&v=1"), Some(vec![None, Some(1)]));
    assert_eq!(read::<One<Option<Vec<u8>>>>("").v, None);
    assert_eq!(refused::<One<Option<Vec<u8>>>>("v=&v=1"), r#"parameter "v": expected u8, got """#);
}

#[test]
fn sequences_collect_their_name() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Lists {
        a: Vec<u8>,
        b: HashSet<Colour>,
        c: [char; 2],
        d: (u8, String),
        e: Id,
    }
    let form = "a=1&b=red&e=5&d=1&%61=2&c=x&b=green&unknown=1&d=two&a=3&c=y&b=red&unknown=2";
    assert_eq!(
        read::<Lists>(form),
        Lists {
            a: vec![1, 2, 3],
            b: HashSet::from([Colour::Red, Colour::Green]),
            c: ['x', 'y'],
            d: (1, "two".to_owned()),
            e: Id(5)
        }
    );
    assert_eq!(value::<Vec<u8>>("v=1"), [1]);
    assert_eq!(refused::<One<(u8, u8)>>("v=1"), r#"parameter "v": expected a tuple of size 2, got 1"#);
    assert_eq!(refused::<One<(u8, u8)>>("v=1&v=2&v=3"), r#"parameter "v": expected 2 values, got more"#);
}

/// More sequences than are looked for without an index, and a field that comes twice behind them.
#[test]
fn many_sequences_are_collected_alike() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Many {
        #[serde(rename = "0")]
        s0: Vec<u32>,
        #[serde(rename = "1")]
        s1: Vec<u32>,
        #[serde(rename = "2")]
        s2: Vec<u32>,
        #[serde(rename = "3")]
        s3: Vec<u32>,
        #[serde(rename = "4")]
        s4: Vec<u32>,
        #[serde(rename = "5")]
        s5: Vec<u32>,
        #[serde(rename = "6")]
        s6: Vec<u32>,
        #[serde(rename = "7")]
        s7: Vec<u32>,
        #[serde(rename = "8")]
        s8: Vec<u32>,
        #[serde(rename = "9")]
        s9: Vec<u32>,
        last: u32,
    }
    let rounds: String =
        (0..5).map(|r| (0..10).map(|n| format!("{n}={}&", r * 10 + n)).collect::<String>()).collect();
    // The last two in other words.
    let form = format!("{rounds}last=1&%38=1&%39=2");
    let many: Many = read(&form);
    assert_eq!(many.s0, [0, 10, 20, 30, 40]);
    assert_eq!(many.s7, [7, 17, 27, 37, 47]);
    assert_eq!(many.s8, [8, 18, 28, 38, 48, 1]);
    assert_eq!(many.s9, [9, 19, 29, 39, 49, 2]);
    assert_eq!(refused::<Many>(&format!("{form}&last=2")), r#"parameter "last": given more than once"#);

    let map: BTreeMap<String, Vec<u32>> = read(&rounds);
    for n in 0..10 {
        assert_eq!(map[&n.to_string()], (0..5).map(|r| r * 10 + n).collect::<Vec<u32>>());
    }
}

#[test]
fn everything_else_is_given_once() {
    #[derive(Debug, Deserialize)]
    struct Page {
        #[expect(dead_code, reason = "only read")]
        page: Option<u32>,
    }
    let repeated = |name: &str| format!(r#"parameter "{name}": given more than once"#);
    assert_eq!(refused::<Page>("page=1&x=1&x=2&page=2"), repeated("page"));
    assert_eq!(refused::<Page>("page=&page="), repeated("page"));
    assert_eq!(refused::<BTreeMap<String, String>>("a=1&b=1&%62=2"), repeated("b"));
    assert_eq!(refused::<BTreeMap<String, Option<u8>>>("a=&b=1&a="), repeated("a"));
    let many: String = (0..20).map(|n| format!("k{n}=1&")).collect();
    assert_eq!(read::<BTreeMap<String, String>>(&many).len(), 20);
    assert_eq!(refused::<BTreeMap<String, String>>(&format!("{many}k17=1")), repeated("k17"));
}

#[test]
fn whole_forms_have_many_shapes() {
    read::<()>("a=1");
    assert_eq!(read::<Vec<(String, u8)>>("a=1&a=2"), [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    assert_eq!(read::<((char, u8), (char, u8))>("a=1&b=2"), (('a', 1), ('b', 2)));
    assert_eq!(refused::<[(char, u8); 1]>("a=1&b=2"), "expected 1 parameters, got 2");
    assert_eq!(read::<Option<One<u8>>>("&"), None);
    assert_eq!(read::<Option<One<u8>>>("v=1"), Some(One { v: 1 }));
    assert_eq!(read::<HashMap<u8, Colour>>("7=red"), HashMap::from([(7, Colour::Red)]));
    assert_eq!(read::<HashMap<String, untyped::Any>>("a=x")["a"].0, "x");
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(One<u8>);
    assert_eq!(read::<Wrapped>("v=1"), Wrapped(One { v: 1 }));
    #[derive(Debug, PartialEq, Deserialize)]
    struct Unit;
    assert_eq!(read::<Unit>("v=1"), Unit);
}

/// A type that takes what it is given.
mod untyped {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Visitor};

    pub(super) struct Any(pub(super) String);

    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Text;
            impl Visitor<'_> for Text {
                type Value = Any;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("anything")
                }

                fn visit_str<E>(self, text: &str) -> Result<Any, E> {
                    Ok(Any(text.to_owned()))
                }
            }
            deserializer.deserialize_any(Text)
        }
    }
}

#[test]
fn text_can_be_flattened_and_tagged() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        page: u32,
        tags: Vec<u8>,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: BTreeMap<String, String>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        name: String,
        colour: Colour,
    }
    let outer: Outer = read("name=n&x=1&tags=1&page=3&colour=red&tags=2&x=2");
    assert_eq!(
        outer,
        Outer {
            page: 3,
            tags: vec![1, 2],
            inner: Inner { name: "n".to_owned(), colour: Colour::Red },
            // serde has buffered both, and keeps the last.
            rest: BTreeMap::from([("x".to_owned(), "2".to_owned())]),
        }
    );

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind")]
    enum Shape {
        Named { name: String },
    }
    assert_eq!(read::<Shape>("name=n&kind=Named"), Shape::Named { name: "n".to_owned() });

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Colour(Colour),
        Text(String),
    }
    assert_eq!(value::<Either>("v=red"), Either::Colour(Colour::Red));
    assert_eq!(value::<Either>("v=blue"), Either::Text("blue".to_owned()));
}

#[test]
fn only_what_is_asked_for_must_be_text() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[expect(dead_code, reason = "only read")]
        v: String,
    }
    read::<One<u8>>("v=1&w=%ff");
    assert_eq!(refused::<One<String>>("v=a%ff"), "parameter \"v\": expected UTF-8, got \"a\u{fffd}\"");
    assert_eq!(refused::<One<u8>>("v=%ff"), "parameter \"v\": expected UTF-8, got \"\u{fffd}\"");
    assert_eq!(refused::<One<u8>>("%ff=1&v=1"), "parameter \"\u{fffd}\": expected UTF-8, got \"\u{fffd}\"");
    let raw = from_pairs::<One<&str>>(b"v=\xff").map(drop).expect_err("no UTF-8");
    assert_eq!(raw.to_string(), "parameter \"v\": expected UTF-8, got \"\u{fffd}\"");
    assert_eq!(refused::<Strict>("v=1&w=2"), r#"parameter "w": unknown, expected v"#);
}
