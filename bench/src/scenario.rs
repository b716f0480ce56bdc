//! What `compare` asks the servers for, and what a right answer is. It knows no server beyond the names of those that
//! have the routes, and not how they are loaded.

use std::io::{Error, ErrorKind, Result};

use serde_json::{Value, json};

use crate::answer::{Answer, Request, ask};

/// The names of all scenarios.
pub const NAMES: [&str; 7] = ["plaintext", "user", "api", "db", "queries", "fortunes", "updates"];

const ORDER: &str = r#"{"customer":"Ada Lovelace","items":[{"sku":"A-1","quantity":2,"price":9.95},{"sku":"B-22","quantity":1,"price":149.5},{"sku":"C-303","quantity":12,"price":0.75},{"sku":"D-4","quantity":3,"price":20.0},{"sku":"E-55","quantity":7,"price":3.2}]}"#;
/// Another one, which a constant answer would not fit.
const OTHER_ORDER: &str = r#"{"items":[{"quantity":1,"price":1e2,"sku":"\u0041"},{"price":0.5,"sku":"B","quantity":3},{"sku":"C","quantity":0,"price":7}],"customer":"Zoë \"Z\" \\"}"#;

/// The rows of `world` have the numbers from 1 to this, and values in the same range.
const WORLDS: u64 = 10_000;
/// Added to the rows of `fortune`, with the number 0.
const ADDED_FORTUNE: &str = "Additional fortune added at request time.";
/// What makes and fills the tables.
const TABLES: &str = include_str!("../database.sql");

/// One scenario: the request that makes the load, and what every server must answer before that.
#[derive(Debug)]
pub struct Scenario {
    /// How tables call it.
    pub name: &'static str,
    /// The request that is measured.
    pub request: Request,
    /// Whether a database has a part in the answer.
    pub database: bool,
    /// The servers of this suite that have the route, and take part if nobody says otherwise.
    pub servers: &'static [&'static str],
    expected: Expected,
    /// Asked only to see whether the answer follows the request.
    others: Vec<(Request, Expected)>,
}

/// What an answer must be, with status 200.
#[derive(Clone, Debug)]
enum Expected {
    Anything,
    Text(&'static str),
    /// Numbers may differ by what a computation with floating point may.
    Json(Value),
    World,
    Worlds(usize),
    Fortunes,
}

impl Scenario {
    /// The scenario of a name; `None` if there is none. `queries` is the number of rows for those that ask for
    /// several.
    #[must_use]
    pub fn named(name: &str, queries: u32) -> Option<Self> {
        let name = *NAMES.iter().find(|known| **known == name)?;
        let rows = queries as usize;
        let (request, expected) = match name {
            "plaintext" => (get("/plaintext"), Expected::Text("Hello, World!")),
            "user" => (get("/users/42?verbose=true"), Expected::Json(user(42, true))),
            "api" => order(42, 10, "price", ORDER),
            "db" => (get("/db"), Expected::World),
            "queries" => (get(&format!("/queries?queries={queries}")), Expected::Worlds(rows)),
            "fortunes" => (get("/fortunes"), Expected::Fortunes),
            _ => (get(&format!("/updates?queries={queries}")), Expected::Worlds(rows)),
        };
        let others = match name {
            "user" => vec![(get("/users/7"), Expected::Json(user(7, false)))],
            "api" => vec![order(u64::MAX, 2, "sku", OTHER_ORDER), order(0, 0, "quantity", ORDER)],
            "queries" => vec![
                (get("/queries?queries=0"), Expected::Worlds(1)),
                (get("/queries?queries=x"), Expected::Worlds(1)),
                (get("/queries?queries=501"), Expected::Worlds(500)),
            ],
            _ => Vec::new(),
        };
        let (database, servers): (_, &[_]) = match name {
            "plaintext" => (false, &["floor", "peregrine", "hyper", "may"]),
            "user" | "api" => (false, &["axum", "actix"]),
            _ => (true, &["axum"]),
        };
        Some(Self { name, request, database, servers, expected, others })
    }

    /// The plaintext scenario with another path, whose answer may be anything of status 200. `None` if it does not
    /// begin with a slash.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        if !path.starts_with('/') {
            return None;
        }
        let plaintext = Self::named("plaintext", 1)?;
        Some(Self { name: "path", request: get(path), expected: Expected::Anything, ..plaintext })
    }

    /// Asks a server for everything once. The error says what it asked and what is wrong.
    pub fn verify(&self, server: &str, url: &str) -> Result<()> {
        let main = (&self.request, &self.expected);
        for (request, expected) in
            self.others.iter().map(|(request, expected)| (request, expected)).chain([main])
        {
            let wrong = match ask(url, request) {
                Ok(answer) => check(expected, &answer).err(),
                Err(error) => Some(error.to_string()),
            };
            if let Some(wrong) = wrong {
                let hint =
                    if self.database { " (DATABASE_URL must name a database with the tables)" } else { "" };
                let Request { method, path, .. } = request;
                let message = format!("{server} to {method} {path}: {wrong}{hint}");
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
        }
        Ok(())
    }
}

fn get(path: &str) -> Request {
    Request { method: "GET", path: path.into(), body: None }
}

fn user(id: u64, verbose: bool) -> Value {
    let mut user = json!({"id": id, "name": format!("User {id}")});
    if verbose {
        user["email"] = format!("user{id}@example.org").into();
    }
    user
}

/// An order, and the receipt for it.
fn order(id: u64, limit: usize, sort: &str, body: &'static str) -> (Request, Expected) {
    let path = format!("/users/{id}/orders?limit={limit}&sort={sort}");
    let order: Value = serde_json::from_str(body).unwrap_or_default();
    let lines = order["items"].as_array().into_iter().flatten().map(|item| {
        let mut line = item.clone();
        let total = item["quantity"].as_f64().zip(item["price"].as_f64()).map(|(count, price)| count * price);
        line["total"] = total.into();
        line
    });
    let lines: Vec<Value> = lines.collect();
    let total: f64 = lines.iter().filter_map(|line| line["total"].as_f64()).sum();
    let listed = &lines[..lines.len().min(limit)];
    let receipt =
        json!({"id": id, "customer": order["customer"], "total": total, "items": listed, "sort": sort});
    (Request { method: "POST", path, body: Some(body) }, Expected::Json(receipt))
}

type Check = std::result::Result<(), String>;

fn check(expected: &Expected, answer: &Answer) -> Check {
    let Answer { status, media, body } = answer;
    if *status != 200 {
        return Err(format!("status {status} {body}").trim_end().into());
    }
    let media_expected = match expected {
        Expected::Anything => return Ok(()),
        Expected::Text(_) => "text/plain",
        Expected::Fortunes => "text/html",
        _ => "application/json",
    };
    if media.split(';').next() != Some(media_expected) {
        return Err(format!("Content-Type is {media}, not {media_expected}"));
    }
    let json = || serde_json::from_str::<Value>(body).map_err(|error| format!("{error}: {body}"));
    let right = match expected {
        Expected::Anything => true,
        Expected::Text(text) => text == body,
        Expected::Json(expected) => is_same(expected, &json()?),
        Expected::World => is_world(&json()?),
        Expected::Worlds(count) => {
            json()?.as_array().is_some_and(|worlds| worlds.len() == *count && worlds.iter().all(is_world))
        }
        Expected::Fortunes => return check_fortunes(body),
    };
    if right { Ok(()) } else { Err(format!("not {expected:?}, but {body}")) }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one.is_f64() | other.is_f64()
                    && one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| (one - other).abs() < 1e-6)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get(key).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

fn is_world(value: &Value) -> bool {
    let in_range = |key| value[key].as_u64().is_some_and(|number| (1..=WORLDS).contains(&number));
    value.as_object().is_some_and(|world| world.len() == 2) && in_range("id") && in_range("randomNumber")
}

/// Every row of the table and the added one, by message.
fn fortunes() -> Vec<(String, String)> {
    let row = |line: &'static str| line.strip_prefix("    (")?.split_once(", '");
    let rows = TABLES.lines().filter_map(row).map(|(id, rest)| {
        let message = rest.rsplit_once("')").map_or(rest, |(message, _)| message);
        (id.to_owned(), message.replace("''", "'"))
    });
    let mut fortunes: Vec<_> = rows.chain([("0".into(), ADDED_FORTUNE.into())]).collect();
    fortunes.sort_by(|(_, one), (_, other)| one.cmp(other));
    fortunes
}

fn check_fortunes(page: &str) -> Check {
    if !page.to_ascii_lowercase().starts_with("<!doctype html>") {
        return Err(format!("no HTML document, but {page}"));
    }
    let mut rows = page.split("<tr><td>").skip(1);
    for (id, message) in fortunes() {
        let row = rows.next().unwrap_or_default();
        let cells = row.split_once("</td></tr>").and_then(|(cells, _)| cells.split_once("</td><td>"));
        let right = cells
            .is_some_and(|(i, text)| i == id && !text.contains(['<', '>']) && unescaped(text) == message);
        if !right {
            return Err(format!("not fortune {id}, {message}, but {row}"));
        }
    }
    if rows.next().is_some() { Err("more fortunes than there are".into()) } else { Ok(()) }
}

/// The references that templates write; the ampersand comes last, so that nothing is replaced twice.
fn unescaped(text: &str) -> String {
    let references = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#x22;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&#x2F;", "/"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    references.iter().fold(text.to_owned(), |text, (reference, meant)| text.replace(reference, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(media: &str, body: &str) -> Answer {
        Answer { status: 200, media: media.into(), body: body.into() }
    }

    fn is_right(expected: &Expected, media: &str, body: &str) -> bool {
        check(expected, &answer(media, body)).is_ok()
    }

    #[test]
    fn scenarios_have_their_names() {
        for name in NAMES {
            assert_eq!(Scenario::named(name, 20).expect("it is known").name, name);
        }
        assert!(Scenario::named("nothing", 20).is_none());
        assert_eq!(Scenario::named("updates", 20).expect("known").request.path, "/updates?queries=20");
        assert_eq!(Scenario::of_path("/json").expect("a path").request, get("/json"));
        assert!(Scenario::of_path("json").is_none());
    }

    #[test]
    fn a_receipt_follows_the_order() {
        let (request, expected) = order(9, 1, "sku", OTHER_ORDER);
        assert_eq!((request.method, request.path.as_str()), ("POST", "/users/9/orders?limit=1&sort=sku"));
        let receipt = r#"{"id":9,"customer":"Zoë \"Z\" \\","total":101.50000001,"sort":"sku",
                          "items":[{"sku":"A","quantity":1,"price":100,"total":100.0}]}"#;
        assert!(is_right(&expected, "application/json; charset=utf-8", receipt));
        for (from, to) in [
            ("\"id\":9", "\"id\":8"),
            ("101.5", "101.6"),
            ("}]", "},{}]"),
            ("\"sku\",", "\"sku\",\"more\":1,"),
            ("Zoë", "Zoe"),
            ("{", "["),
        ] {
            let wrong = receipt.replacen(from, to, 1);
            assert_ne!(wrong, receipt);
            assert!(!is_right(&expected, "application/json", &wrong), "{wrong}");
        }
        assert!(!is_right(&expected, "text/plain", receipt));
    }

    #[test]
    fn great_numbers_are_compared_exactly() {
        assert!(is_same(&json!(u64::MAX), &json!(u64::MAX)));
        assert!(!is_same(&json!(u64::MAX), &json!(u64::MAX - 1)));
    }

    #[test]
    fn other_statuses_are_wrong() {
        for expected in [Expected::Anything, Expected::Text("text")] {
            let mut answer = answer("text/plain", "text");
            check(&expected, &answer).expect("right");
            answer.status = 500;
            assert_eq!(check(&expected, &answer), Err("status 500 text".into()));
        }
    }

    #[test]
    fn worlds_are_counted_and_in_range() {
        let media = "application/json";
        let world = r#"{"id":1,"randomNumber":10000}"#;
        assert!(is_right(&Expected::World, media, world));
        assert!(is_right(&Expected::Worlds(2), media, &format!("[{world},{world}]")));
        assert!(!is_right(&Expected::Worlds(1), media, &format!("[{world},{world}]")));
        assert!(!is_right(&Expected::Worlds(1), media, world));
        for wrong in [r#"{"id":0,"randomNumber":1}"#, r#"{"id":1,"randomNumber":10001}"#, r#"{"id":1}"#, "[]"]
        {
            assert!(!is_right(&Expected::World, media, wrong), "{wrong}");
        }
    }

    #[test]
    fn fortunes_are_those_of_the_table_and_one_more() {
        let fortunes = fortunes();
        assert_eq!(fortunes.len(), 13);
        assert!(fortunes.contains(&("8".into(), "It's fast on your machine & on no other.".into())));
        let escape = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
        };
        let rows = fortunes
            .iter()
            .map(|(id, message)| format!("<tr><td>{id}</td><td>{}</td></tr>", escape(message)))
            .collect::<Vec<_>>();
        let page = |rows: &[String]| format!("<!DOCTYPE html><table>{}</table>", rows.concat());
        let media = "text/html; charset=utf-8";
        assert!(is_right(&Expected::Fortunes, media, &page(&rows)));
        assert!(!is_right(&Expected::Fortunes, media, &page(&rows[..12])));
        assert!(!is_right(&Expected::Fortunes, media, &page(&[&rows[..], &rows[..1]].concat())));
        assert!(!is_right(&Expected::Fortunes, media, &page(&rows).replace("&lt;", "<")));
        assert!(!is_right(&Expected::Fortunes, media, &page(&rows).replace("</td><td>", " ")));
        let mut swapped = rows;
        swapped.swap(3, 4);
        assert!(!is_right(&Expected::Fortunes, media, &page(&swapped)));
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(unescaped("&amp;lt; &lt;&#39;"), "&lt; <'");
    }
}
