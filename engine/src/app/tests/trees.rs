//! Templates beside each other: which wins, which are one too many, and what a look-up costs at most.

use super::{PathParams, Tree, found, template, tree, visits};
use crate::app::tree::{Conflict, Unreachable};

#[track_caller]
fn check(templates: &[&str], paths: &[(&str, &str)]) {
    let forwards = tree(templates);
    for &(path, expected) in paths {
        assert_eq!(found(&forwards, path).as_deref().unwrap_or_default(), expected, "{path}");
    }
}

/// The same, whatever the order of insertion.
#[track_caller]
fn check_in_any_order(templates: &[&str], paths: &[(&str, &str)]) {
    check(templates, paths);
    let mut reversed = templates.to_vec();
    reversed.reverse();
    check(&reversed, paths);
}

#[test]
fn the_more_specific_segment_wins() {
    check_in_any_order(
        &["/{*rest}", "/{*rest:int}", "/{a}", "/{a:int}", "/{a}.{b}", "/{a:int}.{b}", "/x.y"],
        &[
            ("/x.y", "/x.y"),
            ("/1.y", "/{a:int}.{b} a=1 b=y"),
            ("/x.z", "/{a}.{b} a=x b=z"),
            ("/1", "/{a:int} a=1"),
            ("/x", "/{a} a=x"),
            ("/1/", "/{*rest} rest=1/"),
            ("/", ""),
        ],
    );
    check_in_any_order(
        &["/{*r:file}", "/{*r}"],
        &[("/a/b.c", "/{*r:file} r=a/b.c"), ("/a/b", "/{*r} r=a/b")],
    );
}

#[test]
fn what_an_early_branch_can_not_end_comes_back_for_the_others() {
    check_in_any_order(
        &["/a/b/c", "/a/{x}/d", "/{y}/b/e", "/{y:alpha}/b/{z}.h", "/{*rest}"],
        &[
            ("/a/b/c", "/a/b/c"),
            ("/a/b/d", "/a/{x}/d x=b"),
            ("/a/b/e", "/{y}/b/e y=a"),
            ("/a/b/g.h", "/{y:alpha}/b/{z}.h y=a z=g"),
            ("/a/b/f", "/{*rest} rest=a/b/f"),
            ("/a", "/{*rest} rest=a"),
        ],
    );
}

#[test]
fn equal_ranks_are_tried_in_the_order_of_their_insertion() {
    check(
        &["/{a:int}", "/{b:min(5)}"],
        &[("/7", "/{a:int} a=7"), ("/3000000000", "/{b:min(5)} b=3000000000")],
    );
    check(&["/{b:min(5)}", "/{a:int}"], &[("/7", "/{b:min(5)} b=7"), ("/3", "/{a:int} a=3")]);
    check(&["/{a}.{b}", "/v{c}"], &[("/v.1", "/{a}.{b} a=v b=1"), ("/v1", "/v{c} c=1")]);
    check(&["/v{c}", "/{a}.{b}"], &[("/v.1", "/v{c} c=.1"), ("/w.1", "/{a}.{b} a=w b=1")]);
}

#[test]
fn a_whole_template_wins_over_one_with_something_absent() {
    check_in_any_order(
        &["/users", "/users/{id?}", "/{name=n}", "/users/{id:int?}"],
        &[
            ("/users", "/users"),
            ("/users/7", "/users/{id:int?} id=7"),
            ("/users/a", "/users/{id?} id=a"),
            ("/", "/{name=n} name=n"),
            ("/x", "/{name=n} name=x"),
        ],
    );
    // Of several with something absent the more specific, then the shorter.
    check_in_any_order(&["/a/{x=1}", "/a/{y:int=2}"], &[("/a", "/a/{y:int=2} y=2")]);
    check_in_any_order(
        &["/a/{x:int=1}", "/a/{x:int}/{y=2}"],
        &[("/a", "/a/{x:int=1} x=1"), ("/a/5", "/a/{x:int=1} x=5")],
    );
}

#[test]
fn templates_for_the_same_paths_are_in_conflict() {
    for (one, other) in [
        ("/users/{id}", "/users/{name}"),
        ("/", "/"),
        ("/a//b", "/a//b"),
        ("/{*a}", "/{**b}"),
        ("/{a:int:min(1)}/x", "/{b:range(1,9223372036854775807):INT}/x"),
        ("/{a:int}.{b}", "/{c:int}.{d}"),
        ("/{a}", "/{b?}"),
        ("/{*a=1}", "/{*b}"),
        ("/{{a}}", "/{{a}}"),
    ] {
        for (one, other) in [(one, other), (other, one)] {
            let mut tree = tree(&[one]);
            assert_eq!(tree.insert(&template(other), other), Err(Conflict { with: one.into() }));
            assert_eq!(tree.iter().count(), 1);
        }
    }
    // These are not, though they meet.
    tree(&[
        "/{a}",
        "/{b:int}",
        "/{c:long}",
        "/{d}.{e}",
        "/{d}-{e}",
        "/x{f}",
        "/{f}x",
        "/{*g}",
        "/",
        "/x",
        "/x/",
    ]);
    tree(&["/{a:int}/x", "/{b:int}/y", "/{c}/{d}", "/{e}/{f:int}"]);
}

#[test]
fn a_route_in_the_way_of_all_of_anothers_paths_is_named() {
    for (by, hidden) in [
        ("/{a:required}", "/{b}"),
        ("/{a:minlength(1)}/x", "/{b}/x"),
        ("/{a:int}", "/{b:int:min(5)}"),
        ("/{a:long}", "/{b:int}"),
        ("/{a:min(1)}", "/{b:range(5,9)}"),
        ("/{a:length(2,5)}", "/{b:length(3)}"),
        ("/{a:required}/{*rest}", "/{b}/x/{c:int}"),
        ("/{a:required}/{b}", "/{c}/d"),
        ("/{a:required}/{b:int}", "/{c}/5"),
        ("/{a:int}-{b}", "/{c:int:min(2)}-{d}"),
        ("/{*a:required}", "/{*b}"),
    ] {
        let expected = Unreachable { template: hidden.into(), by: by.into() };
        assert_eq!(tree(&[by, hidden]).unreachable(), Some(expected), "{hidden} behind {by}");
    }
    // Only a part of these is taken, or nobody knows.
    for templates in [
        &["/{a:required}", "/{b?}"][..],
        &["/{a:int}", "/{b:long}"],
        &["/{a:int}", "/{b}"],
        &["/{a:int:min(5)}", "/{b:int}"],
        &["/{a:required}/x", "/{b}/{c}"],
        &["/{a:required}/{*rest}", "/{b}/"],
        &["/{a:required}/{*rest}", "/{b}"],
        &["/{a:required}/{b:int}", "/{c}/d"],
        &["/users", "/users/{id?}", "/users/{id:int?}"],
        &["/{a}.{b}", "/{a}-{b}", "/{a}", "/x", "/{*rest}"],
    ] {
        assert_eq!(tree(templates).unreachable(), None, "{templates:?}");
    }
}

#[test]
fn a_value_that_is_refused_leaves_the_path_to_the_next() {
    let tree = tree(&["/a", "/a/{b?}", "/{c}", "/{*d}", "/{e:int}"]);
    for (path, refused, expected) in [
        ("/a", &["/a"][..], "/a/{b?}"),
        ("/a", &["/a", "/a/{b?}"], "/{c}"),
        ("/a", &["/a", "/a/{b?}", "/{c}"], "/{*d}"),
        ("/1", &["/{e:int}"], "/{c}"),
    ] {
        let mut params = PathParams::new();
        let found = tree.find(path, &mut params, |template| !refused.contains(template));
        assert_eq!(found, Some(&expected));
    }
    let mut params = PathParams::new();
    assert_eq!(tree.find("/a", &mut params, |_| false), None);
    assert_eq!(params.iter().count(), 0);
}

#[test]
fn literals_of_every_length_and_beginning_are_told_apart() {
    let texts: Vec<String> = (0..40)
        .flat_map(|len| ["a", "b", "ab", "é"].map(|unit| format!("/{}", unit.repeat(len))))
        .chain((0..40).map(|number| format!("/{}{number:02}", "same-beginning-")))
        .chain((0..40).map(|number| format!("/{number:02}{}", "-same-end-of-all")))
        .filter(|text| text != "/")
        .collect();
    let mut known: Vec<&str> = Vec::new();
    let mut tree = Tree::new();
    for text in &texts {
        // `ab` is there as `a` and `b` too.
        if !known.contains(&text.as_str()) {
            known.push(text);
            tree.insert(&template(text), text.as_str()).expect("another");
            tree.insert(&template(&format!("{text}/x/{{id}}")), text.as_str()).expect("another");
        }
    }
    for text in &known {
        let mut params = PathParams::new();
        assert_eq!(tree.at(text, &mut params), Some(text));
        assert_eq!(tree.at(&format!("{text}/x/7"), &mut params), Some(text));
        let mut shorter = text.chars();
        shorter.next_back();
        for other in [format!("{text}\0"), format!("{text}c"), format!("{text}/"), shorter.as_str().into()] {
            let expected = known.iter().find(|known| **known == other);
            assert_eq!(tree.at(&other, &mut PathParams::new()), expected, "{other:?}");
        }
    }
}

#[test]
fn more_parameters_than_fit_inline_are_found_too() {
    let names: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    for count in [7, 8, 9, 20] {
        let text: String = names[..count].iter().map(|name| format!("/{{{name}}}")).collect();
        let path: String = (0..count).map(|number| format!("/{}", number * 7)).collect();
        let expected: String = (0..count).map(|number| format!(" p{number}={}", number * 7)).collect();
        let text = &*text;
        assert_eq!(found(&tree(&[text]), &path), Some(format!("{text}{expected}")));
    }
    // And forgotten when their branch leads nowhere.
    let deep = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}-{h}-{i}/{j:required}/end";
    let tree = tree(&[deep, "/{a}/{b}/{c}/{d}/{e}/{*rest}"]);
    let expected = "/{a}/{b}/{c}/{d}/{e}/{*rest} a=1 b=2 c=3 d=4 e=5 rest=6/7-8-9/10/no";
    assert_eq!(found(&tree, "/1/2/3/4/5/6/7-8-9/10/no").as_deref(), Some(expected));
    let expected = format!("{deep} a=1 b=2 c=3 d=4 e=5 f=6 g=7 h=8 i=9 j=10");
    assert_eq!(found(&tree, "/1/2/3/4/5/6/7-8-9/10/end"), Some(expected));
}

#[test]
fn no_path_costs_more_visits_than_there_are_segments_in_all_templates() {
    // At each of twelve levels five branches take the segment, and only what is behind the last level fails.
    const DEPTH: usize = 12;
    const KINDS: [&str; 5] = ["a.a", "{p}.{q}", "{p:file}", "{p:length(3)}", "{p}"];
    let mut tree: Tree<usize> = Tree::new();
    let (mut segments, mut routes) = (0, 0);
    let mut add = |kinds: &[usize], end: &str| {
        let named = |(level, kind): (usize, &usize)| {
            format!("/{}", KINDS[*kind].replace('p', &format!("p{level}")).replace('q', &format!("q{level}")))
        };
        let text: String = kinds.iter().enumerate().map(named).chain([end.into()]).collect();
        if tree.insert(&template(&text), routes).is_ok() {
            segments += text.matches('/').count();
            routes += 1;
        }
    };
    for level in 0..DEPTH {
        for one in 0..KINDS.len() {
            for other in 0..KINDS.len() {
                let kinds: Vec<usize> = (0..DEPTH).map(|at| if at == level { one } else { other }).collect();
                add(&kinds, "/end");
                add(&kinds[..level + 1], "");
            }
        }
    }
    let near = format!("{}/no", "/a.a".repeat(DEPTH));
    let far = "/a.a".repeat(10_000);
    let slashes = "/".repeat(10_000);
    let mut most = 0;
    for path in [&near, &far, &slashes] {
        visits::take();
        assert_eq!(tree.at(path, &mut PathParams::new()), None, "{}", &path[..40]);
        let visited = visits::take();
        assert!(visited <= segments + 1, "{visited} visits, but {segments} segments in {routes} templates");
        most = most.max(visited);
    }
    // The paths are bad ones: they do come to most of the tree, which 5 to the power of 12 would dwarf.
    assert!(most > segments / 4, "{most} of {segments}");
}

#[test]
fn templates_are_listed_in_the_order_of_their_insertion() {
    let templates = ["/b/{x?}", "/a", "/{*rest}", "/a/{id:int}"];
    let listed: Vec<String> = tree(&templates).iter().map(|(template, _)| template.to_string()).collect();
    assert_eq!(listed, templates);
}
