//! Templates and the tree of them: what they say, what they match, and what a look-up costs at most.

mod constraints;
mod peer;
mod routers;
mod templates;
mod trees;

use super::template::Template;
use super::tree::{Tree, visits};
use crate::http::PathParams;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap_or_else(|error| panic!("{text} {error}"))
}

/// A tree of templates that lead to themselves.
fn tree<'t>(templates: &[&'t str]) -> Tree<&'t str> {
    let mut tree = Tree::new();
    for text in templates {
        tree.insert(&template(text), *text).unwrap_or_else(|conflict| panic!("{text}: {conflict:?}"));
    }
    tree
}

/// The template that matches a path, and its parameters: `/{id} id=7`.
fn found(tree: &Tree<&str>, path: &str) -> Option<String> {
    let mut params = PathParams::new();
    let template = tree.at(path, &mut params)?;
    let told: Vec<String> = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    for (name, value) in params.iter() {
        assert_eq!(params.get(name), Some(value), "{name} of {path}");
    }
    Some(format!("{template}{}", told.concat()))
}

/// What one template makes of a path: its parameters, each with a space before it.
fn matched(text: &str, path: &str) -> Option<String> {
    found(&tree(&[text]), path).map(|found| found[text.len()..].to_owned())
}
