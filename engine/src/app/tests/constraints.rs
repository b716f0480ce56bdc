//! Each constraint at its edges.

use super::template;
use crate::app::constraint::Constraint;
use crate::app::template::Template;

fn constraint(name: &str, argument: Option<&str>) -> Constraint {
    Constraint::parse(name, argument).unwrap_or_else(|problem| panic!("{name}({argument:?}) {problem}"))
}

/// Checks values that a constraint takes, and such that it refuses.
fn check(name: &str, argument: Option<&str>, takes: &[&str], refuses: &[&str]) {
    let constraint = constraint(name, argument);
    for value in takes {
        assert!(constraint.accepts(value), "{name}({argument:?}) refuses {value:?}");
    }
    for value in refuses {
        assert!(!constraint.accepts(value), "{name}({argument:?}) takes {value:?}");
    }
}

#[test]
fn whole_numbers_fit_their_width() {
    let beyond_int = ["2147483648", "-2147483649"];
    check("int", None, &["0", "-1", "+7", "007", "2147483647", "-2147483648"], &beyond_int);
    check("int", None, &[], &["", "1.0", " 1", "1 ", "1,000", "0x1", "-", "1e3", "one", "١"]);
    check("long", None, &beyond_int, &["9223372036854775808", "-9223372036854775809", "a"]);
    check("long", None, &["9223372036854775807", "-9223372036854775808"], &[]);
}

#[test]
fn numbers_with_points_are_those_of_their_kind() {
    let doubles = ["1", "-1.5", "+.5", "5.", "1e10", "1E-10", "NaN", "nan", "Infinity", "-infinity", "1e999"];
    for name in ["double", "float"] {
        check(name, None, &doubles, &["", "inf", "-INF", "1,5", "1_0", "e5", ".", "0x1p3"]);
    }
    let most = "79228162514264337593543950335";
    check("decimal", None, &["0", "-1.5", "+.5", "5.", "000.000", most, &format!("-00{most}.4999")], &[]);
    check(
        "decimal",
        None,
        &[&format!("1.{}", "3".repeat(100))],
        &[&format!("{most}.5"), &format!("{most}0")],
    );
    check(
        "decimal",
        None,
        &[],
        &["", ".", "+", "1e3", "1.2.3", "1-", "NaN", "79228162514264337593543950336"],
    );
}

#[test]
fn words_and_letters_are_those_of_their_kind() {
    check("bool", None, &["true", "False", "TRUE"], &["", "1", "yes", "truth", " true"]);
    check("alpha", None, &["a", "Zz"], &["a1", "a-b", "ä", " "]);
    check("required", None, &["a", " "], &[""]);
    check(
        "file",
        None,
        &["a.b", ".gitignore", "dir/a.b", "a..b", "a.b."],
        &["a", "a.", "a..", "dir.d/a", ""],
    );
    check("nonfile", None, &["a", "a.", "dir.d/a", "dir.d/"], &["a.b", ".gitignore"]);
}

#[test]
fn a_guid_comes_in_four_forms() {
    let groups = "01234567-89ab-cdef-0123-456789ABCDEF";
    let plain = groups.replace('-', "");
    check("guid", None, &[groups, &plain, &format!("{{{groups}}}"), &format!("({groups})")], &[]);
    let wrong =
        [&groups[1..], &plain[1..], &format!("{{{plain}}}"), &format!("{{{groups})"), &format!("{groups}0")];
    check("guid", None, &[], &wrong);
    check("guid", None, &[], &["0123456789-ab-cdef-0123-456789ABCDEF", &groups.replace('a', "g"), ""]);
}

#[test]
fn a_date_is_one_of_the_calendar() {
    check("datetime", None, &["2026-01-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"], &[]);
    check("datetime", None, &[], &["2023-02-29", "1900-02-29", "2026-04-31", "2026-13-01", "2026-00-01"]);
    check(
        "datetime",
        None,
        &[],
        &["0000-01-01", "2026-01-00", "2026-1-1", "26-01-01", "2026/01/01", "2026-01"],
    );
    let times = ["2026-01-31T23:59:59Z", "2026-01-31t00:00", "2026-01-31 12:30:00.123456+01:30"];
    check(
        "datetime",
        None,
        &times,
        &["2026-01-31T", "2026-01-31T24:00", "2026-01-31T12:60", "2026-01-31T12"],
    );
    let wrong = ["2026-01-31T12:00:60Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00+1", "2026-01-31T12:00Zz"];
    check("datetime", None, &[], &wrong);
}

#[test]
fn ranges_and_lengths_include_their_ends() {
    check("min", Some("-3"), &["-3", "0", "9223372036854775807"], &["-4", "a", "1.5", "9223372036854775808"]);
    check("max", Some("10"), &["10", "-9223372036854775808"], &["11", "a"]);
    check("range", Some("1, 3"), &["1", "2", "3"], &["0", "4"]);
    check("length", Some("2"), &["ab", "äö"], &["a", "abc"]);
    check("length", Some("2,3"), &["ab", "abc"], &["a", "abcd"]);
    check("minlength", Some("2"), &["ab", "abc"], &["a"]);
    check("maxlength", Some("2"), &["a", "ab"], &["abc"]);
}

#[cfg(feature = "regex")]
#[test]
fn an_expression_is_searched_for_in_any_letter_case() {
    check("regex", Some("b+"), &["abc", "ABBC"], &["ac"]);
    check("regex", Some("^b+$"), &["b", "BB"], &["abc"]);
    check("regex", Some(r"^\d{2}-(a|b)$"), &["12-a", "12-B"], &["1-a", "12-c"]);
    let problem = Constraint::parse("regex", Some("(")).expect_err("no expression");
    assert!(problem.starts_with(r#"has the regular expression "(", which is none: "#), "{problem}");
}

#[cfg(not(feature = "regex"))]
#[test]
fn an_expression_needs_the_feature() {
    let problem = Constraint::parse("regex", Some("b+")).expect_err("no feature");
    assert_eq!(problem, r#"has the regular expression "b+", but this build has not the feature "regex""#);
}

#[test]
fn names_are_known_in_any_letter_case() {
    assert_eq!(constraint("INT", None), Constraint::Int);
    assert_eq!(constraint("MinLength", Some("3")), constraint("minlength", Some("3")));
}

#[test]
fn what_is_no_constraint_is_refused_with_the_reason() {
    for (text, expected) in [
        ("/{id:number}", r#"has the unknown constraint "number"; there are alpha, bool, datetime, "#),
        ("/{id:int(3)}", r#"has an argument for the constraint "int", which takes none, in the parameter"#),
        ("/{id:min}", r#"has the constraint "min" without its argument, in the parameter"#),
        ("/{id:min()}", r#"has "" in the constraint "min", where a number of 64 bits belongs"#),
        ("/{id:min(a)}", r#"has "a" in the constraint "min", where a number of 64 bits belongs"#),
        ("/{id:length(-1)}", r#"has "-1" in the constraint "length", where a length belongs"#),
        ("/{id:range(1)}", r#"has the constraint "range" without its two arguments"#),
        ("/{id:range(1,2,3)}", r#"has "2,3" in the constraint "range""#),
        ("/{id:range(3,1)}", r#"has the constraint "range" with its least value above its most"#),
        ("/{id:length(3,1)}", r#"has the constraint "length" with its least value above its most"#),
        ("/{id:regex}", r#"has the constraint "regex" without its expression"#),
        ("/{id:regex()}", r#"has the constraint "regex" without its expression"#),
    ] {
        let problem = Template::parse(text).expect_err(text).to_string();
        assert!(problem.starts_with(expected), "{text} {problem}");
    }
}

#[test]
fn what_takes_all_of_another_takes_what_it_takes() {
    let all: Vec<Constraint> = [
        "int",
        "long",
        "bool",
        "datetime",
        "decimal",
        "double",
        "float",
        "guid",
        "alpha",
        "required",
        "file",
        "nonfile",
        "min(1)",
        "min(5)",
        "max(3)",
        "max(-5000000000)",
        "range(1,3)",
        "range(-9000000000,9000000000)",
        "length(1)",
        "length(1,4)",
        "minlength(1)",
        "minlength(2)",
        "maxlength(4)",
    ]
    .iter()
    .flat_map(|text| {
        let template = template(&format!("/{{a:{text}}}"));
        template.segments()[0].params()[0].constraints.clone()
    })
    .collect();
    let values = [
        "1",
        "-1",
        "3",
        "5",
        "+5",
        "007",
        "2147483648",
        "9000000001",
        "9223372036854775808",
        "true",
        "TRUE",
        "a",
        "abcd",
        "abcde",
        "1.5",
        "1e3",
        "NaN",
        "infinity",
        ".",
        ".a",
        "a.b",
        "2026-01-31",
        " ",
        "ä",
        "-9000000001",
        "01234567-89ab-cdef-0123-456789ABCDEF",
        "79228162514264337593543950336",
        "-6000000000",
    ];
    let mut pairs = 0;
    for own in &all {
        for other in all.iter().filter(|other| own.accepts_all_of(other)) {
            pairs += 1;
            for value in values.iter().filter(|value| other.accepts(value)) {
                assert!(own.accepts(value), "{own:?} refuses {value:?}, which {other:?} takes");
            }
        }
        assert!(!own.accepts_everything() || values.iter().all(|value| own.accepts(value)), "{own:?}");
    }
    // Each takes all of itself; more are known than that.
    assert!(pairs > 3 * all.len(), "{pairs}");
}
