//! Random templates and paths, in the tree, in `matchit`, and in a reader that tries all templates in turn.
//!
//! `matchit` knows literals, `{x}` and `{*x}`. It refuses some templates side by side that the tree can tell
//! apart, such as `/{x}` and `/{*x}`; those are left out here.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Template, Tree, template};
use crate::app::template::Segment;
use crate::http::PathParams;

fn text() -> impl Strategy<Value = String> {
    let literal =
        prop_oneof![Just(""), Just("a"), Just("ab"), Just("b"), Just("abcdefgh"), Just("abcdefghi")];
    let segment = prop_oneof![3 => literal.prop_map(str::to_owned), 2 => Just("{}".to_owned())];
    (vec(segment, 0..5), any::<bool>()).prop_map(|(mut segments, catches)| {
        if catches {
            segments.push("{*}".into());
        }
        // Names of their own, in order.
        let named =
            segments.iter().enumerate().map(|(index, segment)| segment.replace('}', &format!("p{index}}}")));
        format!("/{}", named.collect::<Vec<_>>().join("/"))
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just(""),
        Just("a"),
        Just("ab"),
        Just("abc"),
        Just("b"),
        Just("abcdefgh"),
        Just("abcdefghi"),
        Just("ü")
    ];
    vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

/// What a template makes of a path, segment by segment.
fn read<'p>(template: &Template, path: &'p str) -> Option<Vec<&'p str>> {
    let mut rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    let mut values = Vec::new();
    for segment in template.segments() {
        let left = rest?;
        let (first, behind) =
            left.split_once('/').map_or((left, None), |(first, behind)| (first, Some(behind)));
        rest = behind;
        match segment {
            Segment::Literal(text) if **text == *first => {}
            Segment::Param(_) if !first.is_empty() => values.push(first),
            Segment::CatchAll(_) if !left.is_empty() => {
                values.push(left);
                rest = None;
            }
            _ => return None,
        }
    }
    rest.is_none().then_some(values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_finds_what_its_peers_find(texts in vec(text(), 1..12), paths in vec(path(), 1..12)) {
        let mut peer = matchit::Router::new();
        let mut tree = Tree::new();
        let mut templates: Vec<Template> = Vec::new();
        for text in &texts {
            let template = template(text);
            let is_new = peer.insert(text.as_str(), templates.len()).is_ok();
            if is_new {
                prop_assert_eq!(tree.insert(&template, templates.len()), Ok(()));
                templates.push(template);
            }
        }
        prop_assert_eq!(tree.unreachable(), None);
        for path in &paths {
            let mut params = PathParams::new();
            let found = tree.at(path, &mut params).copied();
            let values: Vec<&str> = params.iter().map(|(_, value)| value).collect();

            let ranks = |index: &usize| -> Vec<u8> { templates[*index].segments().iter().map(Segment::rank).collect() };
            let best = (0..templates.len()).filter(|&index| read(&templates[index], path).is_some()).min_by_key(ranks);
            prop_assert_eq!(found, best, "{} among {:?}", path, texts);
            let expected = best.and_then(|index| read(&templates[index], path)).unwrap_or_default();
            prop_assert_eq!(&values, &expected);

            let matched = peer.at(path).ok();
            prop_assert_eq!(found, matched.as_ref().map(|matched| *matched.value), "{} among {:?}", path, texts);
            let named: Vec<(&str, &str)> = matched.iter().flat_map(|matched| matched.params.iter()).collect();
            prop_assert_eq!(params.iter().collect::<Vec<_>>(), named);
        }
    }
}
