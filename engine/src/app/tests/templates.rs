//! What one template says.

use super::{matched, template};
use crate::app::template::Template;

fn some(params: &str) -> Option<String> {
    Some(params.to_owned())
}

#[test]
fn a_literal_matches_itself() {
    assert_eq!(matched("/", "/"), some(""));
    assert_eq!(matched("/a/b", "/a/b"), some(""));
    assert_eq!(matched("/a//b", "/a//b"), some(""));
    assert_eq!(matched("/a/", "/a/"), some(""));
    assert_eq!(matched("/ä", "/ä"), some(""));
    for path in ["/a", "/a/b/", "/a/B", "//a/b", "a/b", "", "*", "/a/b/c", "/a/bb"] {
        assert_eq!(matched("/a/b", path), None, "{path}");
    }
    assert_eq!(matched("/a", "/a/"), None);
    assert_eq!(matched("/a/", "/a"), None);
    assert_eq!(matched("/a//b", "/a/b"), None);
    assert_eq!(matched("/", "//"), None);
}

#[test]
fn a_parameter_matches_a_segment_that_is_not_empty() {
    assert_eq!(matched("/users/{id}", "/users/7"), some(" id=7"));
    assert_eq!(matched("/{a}/x/{b}", "/1/x/2"), some(" a=1 b=2"));
    assert_eq!(matched("/{a}/", "/1/"), some(" a=1"));
    for path in ["/users/", "/users", "/users//", "/users/7/"] {
        assert_eq!(matched("/users/{id}", path), None, "{path}");
    }
    assert_eq!(matched("/{a}/x", "//x"), None);
}

#[test]
fn a_catch_all_matches_all_that_is_left_but_not_nothing() {
    for text in ["/files/{*rest}", "/files/{**rest}"] {
        assert_eq!(matched(text, "/files/a"), some(" rest=a"));
        assert_eq!(matched(text, "/files/a/b//"), some(" rest=a/b//"));
        assert_eq!(matched(text, "/files//"), some(" rest=/"));
        assert_eq!(matched(text, "/files/"), None);
        assert_eq!(matched(text, "/files"), None);
    }
    assert_eq!(matched("/{*rest:nonfile}", "/a.d/b"), some(" rest=a.d/b"));
    assert_eq!(matched("/{*rest:nonfile}", "/a/b.c"), None);
    assert_eq!(matched("/{*rest=index}", "/"), some(" rest=index"));
    assert_eq!(matched("/a/{*rest=b/c}", "/a"), some(" rest=b/c"));
    assert_eq!(matched("/a/{*rest=b/c}", "/a/"), None);
}

#[test]
fn constraints_all_have_to_be_fulfilled() {
    assert_eq!(matched("/{id:int:min(1)}", "/5"), some(" id=5"));
    assert_eq!(matched("/{id:int:min(1)}", "/0"), None);
    assert_eq!(matched("/{id:int:min(1)}", "/9999999999"), None);
}

#[test]
fn what_may_be_absent_is_so_from_the_end() {
    assert_eq!(matched("/users/{id?}", "/users"), some(""));
    assert_eq!(matched("/users/{id?}", "/users/7"), some(" id=7"));
    assert_eq!(matched("/users/{id?}", "/users/"), None);
    assert_eq!(matched("/users/{id:int?}", "/users"), some(""));
    assert_eq!(matched("/users/{id:int?}", "/users/a"), None);
    assert_eq!(matched("/users/{id=5}", "/users"), some(" id=5"));
    assert_eq!(matched("/users/{id:int=5}", "/users/7"), some(" id=7"));
    assert_eq!(matched("/{id?}", "/"), some(""));
    let text = "/{controller=Home}/{action=Index}/{id?}";
    assert_eq!(matched(text, "/"), some(" controller=Home action=Index"));
    assert_eq!(matched(text, "/a"), some(" controller=a action=Index"));
    assert_eq!(matched(text, "/a/b"), some(" controller=a action=b"));
    assert_eq!(matched(text, "/a/b/c"), some(" controller=a action=b id=c"));
    assert_eq!(matched(text, "/a/b/c/d"), None);
    assert_eq!(matched("/{a?}/{b=2}", "/"), some(" b=2"));
    assert_eq!(matched("/{a=}", "/"), some(" a="));
}

#[test]
fn a_mixed_segment_is_split_from_the_right() {
    assert_eq!(matched("/{name}.{ext}", "/a.b.c"), some(" name=a.b ext=c"));
    assert_eq!(matched("/{name}.{ext}", "/a.b."), some(" name=a ext=b."));
    assert_eq!(matched("/{name}.{ext}", "/..."), some(" name=. ext=."));
    assert_eq!(matched("/v{major}.{minor}", "/v1.2"), some(" major=1 minor=2"));
    assert_eq!(matched("/v{major}.{minor}", "/vv.2"), some(" major=v minor=2"));
    assert_eq!(matched("/@{user}", "/@me"), some(" user=me"));
    assert_eq!(matched("/{a}--{b}--{c}!", "/1--2--3-----!"), some(" a=1--2 b=3-- c=-"));
    assert_eq!(matched("/x{a}/y", "/xä/y"), some(" a=ä"));
    assert_eq!(matched("/{a}ö{b}", "/äöüöß"), some(" a=äöü b=ß"));
    assert_eq!(matched("/{a:int}x{b:alpha}", "/1xb"), some(" a=1 b=b"));
    assert_eq!(matched("/{a:int}x{b:alpha}", "/1x2"), None);
    for path in ["/.a", "/a.", "/a", "/.", "/..", "/"] {
        assert_eq!(matched("/{name}.{ext}", path), None, "{path}");
    }
    for path in ["/1.2", "/v1", "/v.1", "/v1.", "/xv1.2"] {
        assert_eq!(matched("/v{major}.{minor}", path), None, "{path}");
    }
    // Prefix and suffix share no byte.
    assert_eq!(matched("/aa{x}aa", "/aaa"), None);
    assert_eq!(matched("/aa{x}aa", "/aaaaa"), some(" x=a"));
}

#[test]
fn an_optional_end_of_a_mixed_segment_leaves_with_its_point() {
    assert_eq!(matched("/{name}.{ext?}", "/a.b"), some(" name=a ext=b"));
    assert_eq!(matched("/{name}.{ext?}", "/a"), some(" name=a"));
    assert_eq!(matched("/{name}.{ext?}", "/a."), some(" name=a."));
    assert_eq!(matched("/v{name}.{ext?}", "/va"), some(" name=a"));
    assert_eq!(matched("/v{name}.{ext?}", "/a"), None);
    assert_eq!(matched("/{a}-{b}.{c?}", "/1-2"), some(" a=1 b=2"));
    assert_eq!(matched("/{a}-{b}.{c?}", "/1-2.3"), some(" a=1 b=2 c=3"));
}

#[test]
fn braces_are_written_twice() {
    assert_eq!(matched("/{{a}}", "/{a}"), some(""));
    assert_eq!(matched("/{{{a}}}", "/{1}"), some(" a=1"));
    assert_eq!(matched("/{a={{1}}}", "/"), some(" a={1}"));
}

#[cfg(feature = "regex")]
#[test]
fn expressions_hold_parentheses_slashes_and_doubled_braces() {
    for (text, takes, refuses) in [
        (r"/{a:regex(^\d{{3}}-\d{{2}}$)}", "/123-45", "/123-456"),
        ("/{a:regex(^(x|y)$)}", "/x", "/z"),
        ("/{a:regex(^(x|y)$)?}", "/y", "/z"),
        ("/{a:regex(^((x)|(y)):z$):length(3)}", "/x:z", "/xz"),
        (r"/{a:regex(^[)]\($)}", "/)(", "/()"),
        ("/{*a:regex(^x/y$)}", "/x/y", "/x/z"),
        ("/{a:regex(^x=[}}]$)}", "/x=}", "/x="),
        ("/{a:regex(^x$)=x}", "/x", "/y"),
    ] {
        assert_eq!(matched(text, takes), Some(format!(" a={}", &takes[1..])), "{text}");
        assert_eq!(matched(text, refuses), None, "{text}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_the_place() {
    for (text, expected) in [
        ("users", r#"must begin with "/""#),
        ("", r#"must begin with "/""#),
        ("/users/{id", "has no end to the parameter that begins at byte 7"),
        ("/users/{id/a", "has no end to the parameter that begins at byte 7"),
        ("/{a:int", "has no end to the parameter that begins at byte 1"),
        ("/{a=5", "has no end to the parameter that begins at byte 1"),
        ("/{a:min(3}", "has no end to the argument that begins at byte 7; a brace in it is written twice"),
        (
            "/{a:regex(x{3})}",
            "has no end to the argument that begins at byte 9; a brace in it is written twice",
        ),
        ("/{", "has no name in the parameter that begins at byte 1"),
        ("/x/{}", "has no name in the parameter that begins at byte 3"),
        ("/{*}", "has no name in the parameter that begins at byte 1"),
        ("/{***a}", "has no name in the parameter that begins at byte 1"),
        ("/{a*}", "has an unexpected '*' in the parameter that begins at byte 1"),
        ("/{a{b}}", "has an unexpected '{' in the parameter that begins at byte 1"),
        ("/{a:}", "has a constraint without a name in the parameter that begins at byte 1"),
        ("/{a::int}", "has a constraint without a name in the parameter that begins at byte 1"),
        ("/{a?:int}", r#"has a "?" that is not the last character in the parameter that begins at byte 1"#),
        ("/{a=5?}", r#"has both a default and a "?" in the parameter that begins at byte 1"#),
        ("/{*a?}", r#"has a "?" with a "*" in the parameter that begins at byte 1"#),
        (
            "/{a:int=x}",
            "has a default that does not fulfil its own constraints in the parameter that begins at byte 1",
        ),
        ("/a}", r#"has a "}" at byte 2 that ends no parameter; one to match is written "}}""#),
        ("/a?b={c}", r#"has a "?" at byte 2, but a path has no query"#),
        ("/{a}/{a}", r#"has two parameters named "a""#),
        ("/{a}-{a}", r#"has two parameters named "a""#),
        ("/{*a}/b", "has segments behind one that takes all of them"),
        ("/{*a}/", "has segments behind one that takes all of them"),
        ("/x{*a}", "has a parameter at byte 2 that takes all segments, but is only a part of one"),
        ("/{a}{b}", "has a parameter at byte 4 that follows another without a text between them"),
        ("/x{a=5}", "has a parameter at byte 2 that has a default, but is only a part of a segment"),
        (
            "/x{a?}",
            "has a parameter at byte 2 that is optional in a segment, but not the last behind a single point",
        ),
        (
            "/{a}.{b?}x",
            "has a parameter at byte 5 that is optional in a segment, but not the last behind a single point",
        ),
        ("/{a?}/b", r#"has the parameter "a", which can not be absent because of what follows it"#),
        ("/{a=1}/{b}", r#"has the parameter "a", which can not be absent because of what follows it"#),
        ("/{a=1}/", r#"has the parameter "a", which can not be absent because of what follows it"#),
    ] {
        let problem = Template::parse(text).map(|known| known.to_string());
        assert_eq!(problem.map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn a_template_is_shown_as_it_was_written() {
    for text in ["/", "/a/{b:int:min(1)}/{c}.{d?}", "/{{x}}/{**rest}"] {
        assert_eq!(template(text).to_string(), text);
    }
}
